//! The greatest numbers: exact through ledger, file and manifest, or refused.

use crate::support::*;

#[test]
fn b12_the_edges_of_the_numbers_are_exact_through_ledger_file_and_manifest_or_refused() {
    for bytes in [u64::from(u32::MAX), 1 << 32, (1 << 32) + 1, (1 << 53) + 1, (1 << 63) - 1] {
        let mut node = Node::new();
        let mut exporter = node.open(at(0));
        exporter.checkpoint(&tick(1, at(0), &[(exempt("1", "a"), volume(bytes, 0))])).unwrap();
        exporter.seal_due(at(15 * MINUTE)).unwrap();
        exporter.publish().unwrap();
        let path = &node.data_files()[0];
        assert_eq!(rows(path)[0]["up_bytes"], bytes.to_string());
        assert_eq!(rows(path)[0]["up_bytes_total"], bytes.to_string());
        assert_eq!(manifest(path)["up_bytes"], bytes.to_string());
        assert_eq!(manifest(path)["seen_up_bytes"], bytes.to_string());
        assert_eq!(node.verify().up_bytes, i128::from(bytes));
    }
    for bytes in [1 << 63, u64::MAX] {
        let mut node = Node::new();
        let mut exporter = node.open(at(0));
        exporter.checkpoint(&tick(1, at(0), &[(exempt("1", "a"), volume(1, 1))])).unwrap();
        let error =
            exporter.checkpoint(&tick(2, at(1_000), &[(exempt("1", "a"), volume(bytes, 0))])).unwrap_err();
        assert!(error.to_string().contains("wanted at most"), "{error}");
        exporter.checkpoint(&tick(2, at(1_000), &[(exempt("1", "a"), volume(1, 1))])).unwrap();
        exporter.seal_due(at(15 * MINUTE)).unwrap();
        exporter.publish().unwrap();
        assert_eq!(node.verify().up_bytes, 2, "the refused tick changed nothing");
    }
}

#[test]
fn b12_a_running_total_beyond_the_store_is_refused_and_never_wraps() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    exporter.checkpoint(&tick(1, at(0), &[(exempt("1", "a"), volume((1 << 63) - 1, 0))])).unwrap();
    exporter.seal_due(at(15 * MINUTE)).unwrap();
    let error =
        exporter.checkpoint(&tick(2, at(15 * MINUTE), &[(exempt("1", "a"), volume(1, 0))])).unwrap_err();
    assert!(error.to_string().contains("running total"), "{error}");
    exporter.checkpoint(&tick(3, at(15 * MINUTE), &[(exempt("2", "a"), volume(1, 0))])).unwrap();
}

#[test]
fn t29_more_than_four_gibibytes_in_one_period_and_over_many() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    let five_gib = 5 << 30;
    for period in 0..3_u64 {
        let from = at(i64::try_from(period).unwrap() * 15 * MINUTE);
        exporter.checkpoint(&tick(period + 1, from, &[(exempt("1", "a"), volume(9, five_gib))])).unwrap();
    }
    exporter.seal_due(at(45 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    let totals: Vec<_> = node.rows().iter().map(|row| number(row, "down_bytes_total")).collect();
    assert_eq!(totals, [five_gib, 2 * five_gib, 3 * five_gib], "monotone, exact");
    node.verify();
}

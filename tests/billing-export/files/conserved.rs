//! Bytes are conserved in each file, and what does not add up is told and never mended.

use std::path::Path;

use crate::support::*;

#[test]
fn b26_a_seal_over_several_files_is_conserved_in_each_and_chained() {
    let mut node = Node::new();
    node.settings.file_records_max = 3;
    let mut exporter = node.open(at(0));
    let usage: Vec<_> = (0..8).map(|id| (exempt(&id.to_string(), "a"), volume(10, 1))).collect();
    let mut one = tick(1, at(0), &usage);
    one.pending_after = volume(7, 7);
    one.seen = volume(87, 15);
    exporter.checkpoint(&one).unwrap();
    exporter.seal_due(at(15 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    let files = node.data_files();
    let records: Vec<_> = files.iter().map(|path| rows(path).len()).collect();
    assert_eq!(records, [3, 3, 2]);
    let figure = |path: &Path, key: &str| manifest(path)[key].as_str().unwrap().parse::<u64>().unwrap();
    let seen: Vec<_> = files.iter().map(|path| figure(path, "seen_up_bytes")).collect();
    assert_eq!(seen, [87, 0, 0]);
    let after: Vec<_> = files.iter().map(|path| figure(path, "pending_after_up_bytes")).collect();
    assert_eq!(after, [57, 27, 7]);
    node.verify();
    node.render_all_again();
}

#[test]
fn b26_bytes_that_do_not_add_up_are_an_alarm_and_a_gap_record_and_never_mended() {
    for (seen, up) in [(99, "too few seen"), (101, "too many seen")] {
        let mut node = Node::new();
        let mut exporter = node.open(at(0));
        let mut one = tick(1, at(0), &[(exempt("1", "a"), volume(100, 100))]);
        one.seen.up = seen;
        exporter.checkpoint(&one).unwrap();
        assert_eq!(exporter.seal_due(at(15 * MINUTE)).unwrap(), 2);
        assert_eq!(exporter.conservation_mismatches(), 1, "{up}");
        exporter.seal_due(at(30 * MINUTE)).unwrap();
        exporter.publish().unwrap();
        let files = node.data_files();
        assert_eq!(manifest(&files[0])["conserved"], false);
        assert_eq!(manifest(&files[0])["seen_up_bytes"], seen.to_string(), "as counted");
        assert_eq!(manifest(&files[1])["conserved"], true, "the next period is judged by itself");
        assert_eq!(rows(&files[0])[1]["kind"], "gap");
        let report = verify_paths(std::slice::from_ref(&node.settings.pickup_dir));
        assert_eq!(report.faults.len(), 1, "{:?}", report.faults);
        assert!(report.faults[0].text.contains("not conserved"));
        exporter.close().unwrap();
        assert_eq!(node.open(at(31 * MINUTE)).conservation_mismatches(), 1, "kept over a restart");
    }
}

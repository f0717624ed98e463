//! Rows changed while the exporter runs: found at the next tick or seal.

use billing_export::*;

use super::{change, counted, told_after};
use crate::support::*;

#[test]
fn f64_a_change_while_the_exporter_runs_is_found_at_the_next_tick_or_seal() {
    let usage = [(exempt("1", "a"), volume(1, 1))];
    for (name, statement, at_seal) in [
        ("dirty", "UPDATE counter SET list_serial = 9, row_check = zeroblob(16) WHERE id = 1", false),
        ("still", "UPDATE counter SET list_serial = 9 WHERE id = 2", true),
        ("gone", "DELETE FROM counter WHERE id = 2", true),
        ("total", "UPDATE total SET up_bytes = 0 WHERE id = 2", true),
        ("numbers", "UPDATE node SET next_record_seq = 1", false),
        ("segment", "UPDATE segment SET seen_up = 0", false),
    ] {
        let mut node = Node::new();
        let mut exporter = counted(&mut node);
        change(&node, statement);
        let ticked =
            exporter.checkpoint(&tick(3, at(17 * MINUTE), &usage)).map_err(|error| error.to_string());
        assert_eq!(ticked.is_ok(), at_seal, "{name}: {ticked:?}");
        let error = exporter.seal_due(at(30 * MINUTE)).unwrap_err();
        assert!(matches!(error, ExportError::Changed { .. }), "{name}: {error}");
        // What was sealed before the change has gone out already, and nothing of the change is sealed.
        assert_eq!(exporter.courier().deliver().unwrap(), 0, "{name}");
        drop(exporter);
        let (opened, rows) = told_after(&mut node);
        assert!(opened.found.is_some(), "{name}");
        assert!(!rows.iter().any(|row| row.contains(" 9 ")), "{name}: {rows:?}");
    }
}

#[test]
fn f64_a_total_changed_while_its_account_has_no_counter_is_not_gone_on_from() {
    let mut node = Node::new();
    let mut exporter = counted(&mut node);
    exporter.seal_due(at(30 * MINUTE)).unwrap();
    change(&node, "UPDATE total SET up_bytes = 0 WHERE id = 1");
    let error =
        exporter.checkpoint(&tick(3, at(31 * MINUTE), &[(exempt("1", "a"), volume(1, 1))])).unwrap_err();
    assert!(matches!(error, ExportError::Changed { .. }), "{error}");
    drop(exporter);
    let exporter = node.open(at(32 * MINUTE));
    assert_eq!((exporter.epoch(), exporter.opened().found.map(|found| found.totals)), (2, Some(1)));
}

//! What was spent and then changed: it counts as used up, and is not gone on from.

use billing_export::*;

use super::{change, counted, spent};
use crate::support::*;

#[test]
fn f64_what_was_spent_and_then_changed_counts_as_used_up() {
    for (statement, used_up) in [
        ("UPDATE spent SET bytes = 0 WHERE subscriber_id = '1'", true),
        ("UPDATE spent SET bytes = bytes + 1 WHERE subscriber_id = '1'", true),
        ("UPDATE spent SET row_check = x'' WHERE subscriber_id = '1'", true),
        ("DELETE FROM spent WHERE subscriber_id = '1'", false),
    ] {
        let mut node = Node::new();
        drop(counted(&mut node));
        change(&node, statement);
        let mut exporter = node.open(at(17 * MINUTE));
        let found = exporter.opened().found.unwrap_or_else(|| panic!("{statement}: not found"));
        assert_eq!(found.spent, u64::from(used_up), "{statement}");
        assert!(used_up || found.other, "{statement}");
        let mut known = std::collections::BTreeMap::new();
        let spans = ["day 2020-04-06".to_owned()];
        let mut each = |spent: Spent| {
            known.insert(spent.subscriber.subscriber_id().to_owned(), spent.bytes);
        };
        exporter.each_spent(&spans, &mut each).unwrap();
        assert_eq!(known.get("1").copied(), used_up.then_some(i64::MAX.unsigned_abs()), "{statement}");
        assert_eq!(known.get("2"), Some(&2_090), "{statement}: nobody else's");
        exporter
            .checkpoint(&Tick { spent: vec![spent("2", 3_000)], ..tick(1, at(17 * MINUTE), &[]) })
            .unwrap();
        exporter.close().unwrap();
        assert_eq!(node.open(at(18 * MINUTE)).opened().found, None, "{statement}: once");
    }
}

#[test]
fn f64_what_was_spent_and_changed_while_the_exporter_runs_is_not_gone_on_from() {
    let mut node = Node::new();
    let mut exporter = counted(&mut node);
    change(&node, "UPDATE spent SET bytes = 0 WHERE subscriber_id = '1'");
    let next = Tick { spent: vec![spent("1", 2_070)], ..tick(3, at(17 * MINUTE), &[]) };
    let error = exporter.checkpoint(&next).unwrap_err();
    assert!(matches!(error, ExportError::Changed { .. }), "{error}");
    drop(exporter);
    assert_eq!(node.open(at(18 * MINUTE)).opened().found.map(|found| found.spent), Some(1));
}

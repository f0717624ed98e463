//! Stops, clean and unclean, and ticks offered twice: what was counted is counted once.

use billing_export::*;

use crate::support::*;

#[test]
fn a_tick_offered_twice_is_applied_once() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    let one = tick(1, at(0), &[(exempt("1", "a"), volume(10, 20))]);
    for _ in 0..3 {
        exporter.checkpoint(&one).unwrap();
    }
    exporter.seal_now(at(MINUTE), Cause::Shutdown).unwrap();
    exporter.publish().unwrap();
    assert_eq!(node.verify().up_bytes, 10);
    exporter.close().unwrap();
    let mut exporter = node.open(at(2 * MINUTE));
    exporter.checkpoint(&tick(1, at(2 * MINUTE), &[(exempt("1", "a"), volume(3, 3))])).unwrap();
    exporter.seal_now(at(3 * MINUTE), Cause::Shutdown).unwrap();
    exporter.publish().unwrap();
    assert_eq!(node.verify().up_bytes, 13, "sequences begin again with each run");
}

#[test]
fn an_unclean_stop_keeps_and_flags_what_was_open_and_accounts_for_what_was_pending() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    let mut one = tick(1, at(0), &[(exempt("1", "a"), volume(10, 20))]);
    one.pending_after = volume(300, 400);
    one.seen = volume(310, 420);
    exporter.checkpoint(&one).unwrap();
    drop(exporter);
    let mut exporter = node.open(at(40 * MINUTE));
    assert!(exporter.opened().unclean);
    assert_eq!(exporter.opened().orphaned, volume(300, 400));
    assert_eq!(exporter.opened().sealed, 2);
    exporter.publish().unwrap();
    let rows = node.rows();
    assert_eq!(rows[0]["subscriber_type"], "msisdn");
    assert_eq!(rows[1]["subscriber_type"], "none");
    assert_eq!((rows[1]["class"].as_str(), rows[1]["reason"].as_str()), ("unattributed", "undecided"));
    assert_eq!((number(&rows[1], "up_bytes"), number(&rows[1], "down_bytes")), (300, 400));
    for row in &rows {
        assert_eq!((row["flags"].as_str(), row["cause"].as_str()), ("recovered", "recovered"));
        assert_eq!(row["end_utc"], "2020-04-06T12:00:01.000Z", "the last tick, not the restart");
    }
    assert_eq!(manifest(&node.data_files()[0])["conserved"], true);
    node.verify();
}

#[test]
fn an_unclean_stop_within_the_period_goes_on_in_it() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    exporter.checkpoint(&tick(1, at(0), &[(exempt("1", "a"), volume(10, 20))])).unwrap();
    drop(exporter);
    let mut exporter = node.open(at(5 * MINUTE));
    exporter.checkpoint(&tick(1, at(5 * MINUTE), &[(exempt("1", "a"), volume(1, 2))])).unwrap();
    exporter.seal_due(at(15 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    let rows = node.rows();
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (number(&rows[0], "up_bytes"), rows[0]["flags"].as_str(), rows[0]["cause"].as_str()),
        (11, "recovered", "period")
    );
}

#[test]
fn a_clean_stop_leaves_no_flag() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    exporter.checkpoint(&tick(1, at(0), &[(exempt("1", "a"), volume(10, 20))])).unwrap();
    exporter.close().unwrap();
    let mut exporter = node.open(at(5 * MINUTE));
    assert!(!exporter.opened().unclean);
    exporter.seal_due(at(15 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    assert_eq!(node.rows()[0]["flags"], "");
}

#[test]
fn another_byte_basis_seals_what_was_counted_on_the_old_one() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    exporter.checkpoint(&tick(1, at(0), &[(exempt("1", "a"), volume(10, 20))])).unwrap();
    exporter.close().unwrap();
    node.settings.byte_basis = ByteBasis::Ip;
    let mut exporter = node.open(at(MINUTE));
    exporter.checkpoint(&tick(1, at(MINUTE), &[(exempt("1", "a"), volume(1, 2))])).unwrap();
    exporter.seal_due(at(15 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    let bases: Vec<_> = node.rows().iter().map(|row| row["byte_basis"].clone()).collect();
    assert_eq!(bases, ["payload", "ip"]);
    node.verify();
}

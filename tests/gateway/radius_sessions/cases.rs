//! One session: what its own packets do, late, twice and out of order.

use gateway::flow::session::accounting::{Kind, Outcome, Status, Takeover};

use super::{Desk, NAS, Packet, interim, outcome, start, stop};

#[test]
fn c1_a_start_before_the_address_binds_nothing_and_the_interim_does() {
    let mut desk = Desk::new();
    assert_eq!(outcome(&desk.hear(start("a", "1", 100))), Outcome::NoAddress);
    assert_eq!(desk.who("10.0.0.1"), "");
    assert_eq!(outcome(&desk.hear(interim("a", "1", 101).v4("10.0.0.1"))), Outcome::Applied);
    assert_eq!(desk.who("10.0.0.1"), "1");
    assert_eq!(desk.session("10.0.0.1"), "a@1700000100", "it carries the time of the Start");
}

#[test]
fn c2_c4_kinds_of_address_are_added_replaced_and_kept_where_a_packet_lacks_them() {
    let mut desk = Desk::new();
    desk.hear(start("a", "1", 100).v4("10.0.0.1"));
    desk.hear(interim("a", "1", 101).at(Kind::Prefix, "2001:db8:0:1::/64"));
    assert_eq!((desk.who("10.0.0.1"), desk.who("2001:db8:0:1::9")), ("1".into(), "1".into()));
    desk.hear(interim("a", "1", 700).at(Kind::Prefix, "2001:db8:0:2::/64"));
    assert_eq!((desk.who("10.0.0.1"), desk.who("2001:db8:0:1::9")), ("1".into(), String::new()));
    assert_eq!(desk.who("2001:db8:0:2::9"), "1");
    desk.hear(start("b", "2", 800).at(Kind::Prefix, "2001:db8:0:1::/64"));
    assert_eq!(desk.who("2001:db8:0:1::9"), "2");
    desk.hear(interim("a", "1", 1_300));
    assert_eq!((desk.who("10.0.0.1"), desk.who("2001:db8:0:2::9")), ("1".into(), "1".into()));
}

#[test]
fn c3_t36_b21_what_accounting_does_not_say_is_nobodys_and_the_longest_prefix_wins() {
    let mut desk = Desk::new();
    desk.hear(start("a", "1", 100).at(Kind::Prefix, "2001:db8:0:1::/64"));
    assert_eq!(desk.who("2001:db8:1::1"), "");
    desk.hear(interim("a", "1", 700).at(Kind::Delegated, "2001:db8:1::/56"));
    assert_eq!((desk.who("2001:db8:1:ff::1"), desk.who("2001:db8:1:100::1")), ("1".into(), String::new()));
    desk.hear(start("b", "2", 800).at(Kind::V6, "2001:db8:1:7::7"));
    assert_eq!((desk.who("2001:db8:1:7::7"), desk.who("2001:db8:1:7::8")), ("2".into(), "1".into()));
    desk.hear(stop("b", "2", 900));
    assert_eq!(desk.who("2001:db8:1:7::7"), "1");
}

#[test]
fn c5_t36_two_sessions_of_one_subscriber_end_independently() {
    let mut desk = Desk::new();
    desk.hear(start("a4", "1", 100).v4("10.0.0.1"));
    desk.hear(start("a6", "1", 101).at(Kind::Prefix, "2001:db8::/64"));
    desk.hear(stop("a4", "1", 200));
    assert_eq!((desk.who("10.0.0.1"), desk.who("2001:db8::1")), (String::new(), "1".into()));
}

#[test]
fn c11_c12_b19_an_interim_opens_a_stopped_session_from_a_minute_after_the_stop_on() {
    let mut desk = Desk::new();
    desk.hear(start("a", "1", 100).v4("10.0.0.1"));
    let decision = desk.hear(stop("a", "1", 1_000));
    assert!(decision.ended.iter().all(|ended| !ended.stop_lost && ended.at == super::BEGIN + 1_000));
    assert_eq!(decision.ended.len(), 1);
    for second in [900, 1_000, 1_001, 1_059] {
        assert_eq!(outcome(&desk.hear(interim("a", "1", second).v4("10.0.0.1"))), Outcome::Old, "{second}");
        assert_eq!(desk.who("10.0.0.1"), "", "{second}");
    }
    assert_eq!(outcome(&desk.hear(interim("a", "1", 1_060).v4("10.0.0.1"))), Outcome::Reopened);
    assert_eq!(desk.session("10.0.0.1"), "a@1700000100");
}

#[test]
fn c10_t34_b19_a_stop_ends_its_own_session_only() {
    let mut desk = Desk::new();
    desk.hear(start("a", "1", 100).v4("10.0.0.1"));
    desk.hear(start("b", "2", 200).v4("10.0.0.1"));
    assert_eq!(outcome(&desk.hear(stop("a", "1", 201).v4("10.0.0.1"))), Outcome::Applied);
    assert_eq!(desk.who("10.0.0.1"), "2");
    assert_eq!(outcome(&desk.hear(interim("a", "1", 150).v4("10.0.0.1"))), Outcome::Old);
    assert_eq!(desk.who("10.0.0.1"), "2");
}

#[test]
fn c13_b22_another_session_under_the_id_of_one_that_ended_is_told_by_its_session_time() {
    let mut desk = Desk::new();
    desk.hear(start("a", "1", 100).v4("10.0.0.1"));
    desk.hear(stop("a", "1", 1_000));
    // It began at 1001, within the minute in which the old one may not be heard of.
    assert_eq!(outcome(&desk.hear(interim("a", "1", 1_020).lasting(19).v4("10.0.0.2"))), Outcome::Applied);
    assert_eq!(desk.session("10.0.0.2"), "a@1700001001");
    // A Start of another subscriber under an id that is open ends it.
    let decision = desk.hear(start("a", "2", 1_100).v4("10.0.0.2"));
    assert_eq!(decision.takeovers, [Takeover::SubscriberChanged]);
    assert_eq!((desk.who("10.0.0.2"), desk.session("10.0.0.2")), ("2".into(), "a@1700001100".into()));
    // So does an Interim, and its start is its own.
    desk.hear(interim("a", "3", 2_000).lasting(300).v4("10.0.0.2"));
    assert_eq!((desk.who("10.0.0.2"), desk.session("10.0.0.2")), ("3".into(), "a@1700001700".into()));
}

#[test]
fn c29_who_logs_in_within_a_session_has_nothing_of_before() {
    let mut desk = Desk::new();
    desk.hear(start("a", "mac", 100).v4("10.0.0.1"));
    let decision = desk.hear(interim("a", "1", 160).lasting(60).v4("10.0.0.1"));
    assert_eq!(desk.session("10.0.0.1"), "a@1700000160", "from the log-in on");
    assert_eq!(decision.ended.len(), 1);
    assert_eq!(decision.ended[0].session.subscriber_id(), "mac");
    // A packet of before changes nothing; one of the same second leaves it open who it is.
    assert_eq!(outcome(&desk.hear(interim("a", "mac", 159))), Outcome::Old);
    assert_eq!(desk.who("10.0.0.1"), "1");
    assert_eq!(outcome(&desk.hear(interim("a", "mac", 160))), Outcome::NoSubscriber);
    assert_eq!(desk.who("10.0.0.1"), "");
    desk.hear(interim("a", "1", 160).v4("10.0.0.1"));
    assert_eq!(desk.who("10.0.0.1"), "");
    desk.hear(interim("a", "1", 760).v4("10.0.0.1"));
    assert_eq!(desk.who("10.0.0.1"), "1");
}

#[test]
fn t37_a_session_without_subscriber_binds_nobody_and_occupies_its_address() {
    let mut desk = Desk::new();
    desk.hear(start("w", "9", 50).at(Kind::Prefix, "10.0.0.0/24"));
    desk.hear(start("a", "1", 100).v4("10.0.0.1"));
    let nobody = Packet::new(Status::Start, NAS, "b", 200).v4("10.0.0.1");
    assert_eq!(outcome(&desk.hear(nobody)), Outcome::NoSubscriber);
    assert_eq!((desk.who("10.0.0.1"), desk.who("10.0.0.2")), (String::new(), "9".into()));
    // Its subscriber becomes known: then it is his.
    desk.hear(interim("b", "2", 800));
    assert_eq!(desk.session("10.0.0.1"), "b@1700000200");
    // A later packet without one says nothing of it.
    desk.hear(Packet::new(Status::Interim, NAS, "b", 1_400).v4("10.0.0.1"));
    assert_eq!(desk.who("10.0.0.1"), "2");
}

#[test]
fn b19_a_start_that_comes_after_the_stop_of_its_session_binds_nothing() {
    let mut desk = Desk::new();
    desk.hear(stop("a", "1", 200).lasting(100).v4("10.0.0.1"));
    assert_eq!(outcome(&desk.hear(start("a", "1", 100).v4("10.0.0.1"))), Outcome::Old);
    assert_eq!(desk.who("10.0.0.1"), "");
}

#[test]
fn b19_a_stop_of_a_session_never_heard_of_had_its_addresses() {
    let mut desk = Desk::new();
    desk.hear(start("a", "1", 100).v4("10.0.0.1"));
    let decision = desk.hear(stop("b", "2", 900).lasting(300).v4("10.0.0.1"));
    assert_eq!(desk.who("10.0.0.1"), "", "who had it before has lost it");
    assert_eq!(decision.takeovers, [Takeover::LaterStart]);
    assert_eq!(decision.ended.iter().filter(|ended| ended.stop_lost).count(), 1);
    // An earlier holder that was never heard of does not come back by it.
    assert_eq!(outcome(&desk.hear(stop("c", "3", 950).lasting(850).v4("10.0.0.1"))), Outcome::Applied);
    assert_eq!(desk.who("10.0.0.1"), "");
}

#[test]
fn b19_a_late_packet_of_a_session_that_has_ended_tells_who_has_lost_its_addresses() {
    let mut desk = Desk::new();
    desk.hear(start("a", "1", 100).at(Kind::Prefix, "2001:db8::/64"));
    desk.hear(start("b", "2", 200).v4("10.0.0.1"));
    desk.hear(stop("b", "2", 300));
    let late = desk.hear(interim("b", "2", 260).at(Kind::Prefix, "2001:db8::/64"));
    assert_eq!((outcome(&late), desk.who("2001:db8::1")), (Outcome::Old, String::new()));
    assert!(late.ended[0].stop_lost);
    // Whoever came after it has lost nothing.
    desk.hear(start("c", "3", 400).at(Kind::Prefix, "2001:db8::/64"));
    desk.hear(interim("b", "2", 270).at(Kind::Prefix, "2001:db8::/64"));
    assert_eq!(desk.who("2001:db8::1"), "3");
}

#[test]
fn c13_b22_an_id_that_comes_again_for_its_subscriber_takes_nothing_and_leaves_nothing_to_others() {
    let mut desk = Desk::new();
    desk.hear(start("a", "1", 100).v4("10.0.0.1"));
    desk.hear(start("b", "2", 200).v4("10.0.0.2"));
    // A reboot that nobody told of. By its id it is the session of before, which began before the other one.
    desk.hear(start("a", "1", 300).v4("10.0.0.2"));
    assert_eq!((desk.who("10.0.0.1"), desk.who("10.0.0.2")), (String::new(), String::new()));
}

#[test]
fn c13_b22_of_a_session_that_lost_its_address_the_id_is_anothers_that_began_after_its_last_event() {
    let mut desk = Desk::new();
    desk.hear(start("a", "1", 100).v4("10.0.0.1"));
    desk.hear(start("b", "2", 200).v4("10.0.0.2"));
    desk.hear(start("c", "3", 600).v4("10.0.0.1"));
    desk.hear(interim("a", "1", 610).lasting(60).v4("10.0.0.2"));
    assert_eq!(desk.session("10.0.0.2"), "a@1700000550");
}

#[test]
fn t35_packets_that_come_twice_change_nothing() {
    let mut desk = Desk::new();
    let packets = [
        start("a", "1", 100).v4("10.0.0.1"),
        interim("a", "1", 700).lasting(600).v4("10.0.0.1"),
        start("b", "2", 800).v4("10.0.0.1"),
        stop("b", "2", 900),
    ];
    for packet in packets.clone() {
        desk.hear(packet.clone());
        let again = desk.hear(packet);
        assert!(again.changes.is_empty() && again.ended.is_empty() && again.takeovers.is_empty());
    }
    for packet in packets {
        assert!(desk.hear(packet).changes.is_empty(), "all of them once more");
    }
}

#[test]
fn c26_an_unknown_status_changes_nothing() {
    let mut desk = Desk::new();
    desk.hear(start("a", "1", 100).v4("10.0.0.1"));
    let decision = desk.hear(Packet::new(Status::Other, NAS, "a", 200).of("2").v4("10.0.0.1"));
    assert!(decision.changes.is_empty() && decision.rows.is_empty());
    assert_eq!(desk.who("10.0.0.1"), "1");
}

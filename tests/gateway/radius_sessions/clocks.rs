//! Whose clock is believed, and what silence does.

use std::time::Duration;

use gateway::flow::session::SessionState;
use gateway::flow::session::accounting::Outcome;
use gateway::flow::time::{Moment, Monotonic};

use super::{BEGIN, Desk, HISTORY_S, Packet, interim, moment, outcome, start, stop};

/// A packet with another stamp.
fn stamped(mut packet: Packet, stamp: Option<u32>, delay: Option<u32>) -> Packet {
    packet.0.event_timestamp = stamp;
    packet.0.delay = delay;
    packet
}

#[test]
fn c20_a_clock_that_was_never_set_is_not_believed() {
    for stamp in [0, 1_199_145_600, BEGIN + 1_000_000 - HISTORY_S - 1] {
        let mut desk = Desk::new();
        let packet = stamped(start("a", "1", 0).v4("10.0.0.1"), Some(stamp), Some(5));
        let decision = desk.hear_at(packet, 1_000_000);
        assert!(decision.clock_doubt, "{stamp}");
        assert_eq!(desk.session("10.0.0.1"), format!("a@{}", BEGIN + 999_995), "{stamp}");
    }
}

#[test]
fn c21_a_clock_is_believed_up_to_five_minutes_ahead() {
    for (ahead, event) in [(300, 1_300), (301, 1_000), (3 * 3_600, 1_000)] {
        let mut desk = Desk::new();
        let packet = stamped(start("a", "1", 0).v4("10.0.0.1"), Some(BEGIN + 1_000 + ahead), None);
        let decision = desk.hear_at(packet, 1_000);
        assert_eq!(decision.clock_doubt, event == 1_000, "{ahead}");
        assert_eq!(desk.session("10.0.0.1"), format!("a@{}", BEGIN + event), "{ahead}");
    }
}

#[test]
fn c22_what_a_relay_sends_hours_later_is_old_and_what_is_new_of_it_counts() {
    let mut desk = Desk::new();
    let hours = 7 * 86_400 - 10;
    desk.hear_at(start("b", "2", hours).v4("10.0.0.1"), hours);
    // The detail file of before, behind live packets: old holders take nothing back.
    let decision = desk.hear_at(start("a", "1", 100).v4("10.0.0.1"), hours + 5);
    assert!(!decision.clock_doubt);
    assert_eq!(desk.who("10.0.0.1"), "2");
    desk.hear_at(start("c", "3", 200).v4("10.0.0.3"), hours + 6);
    assert_eq!(desk.session("10.0.0.3"), format!("c@{}", BEGIN + 200));
    desk.hear_at(stop("c", "3", 300), hours + 7);
    assert_eq!(desk.who("10.0.0.3"), "");
}

#[test]
fn c23_the_delay_counts_without_a_stamp_only() {
    for (stamp, event) in [(Some(BEGIN + 900), 900), (None, 940)] {
        let mut desk = Desk::new();
        desk.hear_at(stamped(start("a", "1", 0).v4("10.0.0.1"), stamp, Some(60)), 1_000);
        assert_eq!(desk.session("10.0.0.1"), format!("a@{}", BEGIN + event));
    }
    let mut desk = Desk::new();
    let packet = stamped(start("a", "1", 0).v4("10.0.0.1"), None, Some(HISTORY_S + 1));
    assert!(desk.hear_at(packet, 1_000).clock_doubt);
    assert_eq!(desk.session("10.0.0.1"), format!("a@{}", BEGIN + 1_000));
}

#[test]
fn c20_a_start_that_comes_late_by_less_than_a_second_and_without_a_stamp_opens_nothing_after_the_stop() {
    let mut desk = Desk::new();
    let packet = |packet: Packet| stamped(packet.v4("10.0.0.1"), None, None);
    desk.hear_at(packet(start("a", "1", 0)), 100);
    desk.hear_at(packet(stop("a", "1", 0)), 200);
    assert_eq!(outcome(&desk.hear_at(packet(start("a", "1", 0)), 201)), Outcome::Old);
    assert_eq!(desk.who("10.0.0.1"), "");
    desk.hear_at(packet(start("a", "1", 0)), 202);
    assert_eq!(desk.session("10.0.0.1"), format!("a@{}", BEGIN + 202));
}

#[test]
fn c35_a_session_is_stale_after_three_intervals_or_as_long_as_one_may_last_until_it_is_heard_of() {
    let silent = |packet: Packet| packet.client(|client| client.interim = None);
    for (packet, silence) in
        [(start("a", "1", 100).v4("10.0.0.1"), 1_800), (silent(start("a", "1", 100).v4("10.0.0.1")), 86_400)]
    {
        let mut desk = Desk::new();
        desk.hear(packet);
        desk.tick(100 + silence - 1);
        assert_eq!(desk.state("10.0.0.1"), Some(SessionState::Active));
        desk.tick(100 + silence);
        assert_eq!(desk.state("10.0.0.1"), Some(SessionState::Stale));
        assert_eq!(desk.who("10.0.0.1"), "1", "it is still his");
        desk.hear(interim("a", "1", 200 + silence));
        assert_eq!(desk.state("10.0.0.1"), Some(SessionState::Active));
    }
}

#[test]
fn c35_of_two_sessions_of_a_subscriber_one_that_is_heard_of_keeps_the_address() {
    let mut desk = Desk::new();
    desk.hear(start("a", "1", 100).v4("10.0.0.1"));
    desk.hear(start("b", "1", 200).v4("10.0.0.1"));
    desk.hear(interim("b", "1", 1_500));
    desk.tick(1_950);
    assert_eq!(desk.state("10.0.0.1"), Some(SessionState::Active));
    desk.tick(3_300);
    assert_eq!(desk.state("10.0.0.1"), Some(SessionState::Stale));
    // An old packet is no news.
    assert_eq!(outcome(&desk.hear(interim("b", "1", 1_499))), Outcome::Old);
    assert_eq!(desk.state("10.0.0.1"), Some(SessionState::Stale));
}

#[test]
fn c35_a_step_of_our_own_clock_makes_nobody_stale() {
    let mut desk = Desk::new();
    desk.hear(start("a", "1", 100).v4("10.0.0.1"));
    let stepped = |wall, monotonic: u64| Moment {
        wall: moment(wall).wall,
        monotonic: Monotonic::new(Duration::from_secs(monotonic)),
    };
    let decision = desk.registry.tick(stepped(86_400, 200));
    assert!(decision.changes.is_empty());
    let decision = desk.registry.tick(stepped(0, 1_900));
    assert_eq!(decision.changes.len(), 1, "silence goes on while the clock is set back");
}

#[test]
fn b22_a_session_that_nobody_hears_of_is_forgotten_in_the_end() {
    let mut desk = Desk::new();
    desk.hear(start("a", "1", 100).v4("10.0.0.1"));
    desk.tick(2_000);
    let decision = desk.tick(100 + HISTORY_S);
    assert!(decision.ended.iter().all(|ended| ended.stop_lost) && decision.ended.len() == 1);
    assert_eq!(desk.who("10.0.0.1"), "");
    desk.tick(100 + 3 * HISTORY_S);
    assert_eq!((desk.registry.known(), desk.registry.spots(), desk.memory.rows.len()), (0, 0, 0));
}

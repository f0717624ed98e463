//! What a restart leaves of sessions.

use std::time::Duration;

use gateway::flow::session::SessionState;
use gateway::flow::session::accounting::{Away, Kind, Outcome};

use super::{Desk, interim, limits, outcome, start, stop};

fn away(seconds: u64) -> Away {
    Away::For { gap: Duration::from_secs(seconds), trust_gap: Duration::from_secs(30) }
}

#[test]
fn b22_bindings_outlive_a_restart_suspect_after_a_short_gap_and_stale_after_a_long_one() {
    for (gap, state) in [
        (away(0), SessionState::Suspect),
        (away(30), SessionState::Suspect),
        (away(31), SessionState::Stale),
        (Away::TookOver, SessionState::Active),
    ] {
        let mut desk = Desk::new();
        desk.hear(start("a", "1", 100).v4("10.0.0.1").at(Kind::Prefix, "2001:db8::/64"));
        let mut desk = desk.restarted(gap);
        assert_eq!((desk.who("10.0.0.1"), desk.state("10.0.0.1")), ("1".into(), Some(state)));
        assert_eq!(desk.state("2001:db8::1"), Some(state));
        // A successor knows what the process before it knew.
        let mut after = desk.restarted(Away::TookOver);
        assert_eq!(after.state("10.0.0.1"), Some(state));
        after.hear(interim("a", "1", 200));
        assert_eq!(after.state("10.0.0.1"), Some(SessionState::Active));
        desk.tick(1_900);
        assert_eq!(desk.state("10.0.0.1"), Some(SessionState::Stale));
    }
}

#[test]
fn b22_b19_a_restart_forgets_neither_the_end_of_a_session_nor_who_had_an_address_last() {
    let mut desk = Desk::new();
    desk.hear(start("a", "1", 100).v4("10.0.0.1").at(Kind::Prefix, "2001:db8::/64"));
    desk.hear(start("b", "2", 200).v4("10.0.0.1"));
    desk.hear(stop("b", "2", 300));
    desk.hear(start("c", "3", 250).v4("10.0.0.3"));
    desk.hear(interim("c", "3", 400).v4("10.0.0.4"));
    let mut desk = desk.restarted(away(1));
    assert_eq!((desk.who("10.0.0.1"), desk.who("2001:db8::1")), (String::new(), "1".into()));
    assert_eq!((desk.who("10.0.0.3"), desk.who("10.0.0.4")), (String::new(), "3".into()));
    desk.hear(interim("a", "1", 500).v4("10.0.0.1"));
    assert_eq!(desk.who("10.0.0.1"), "", "another had it since");
    assert_eq!(outcome(&desk.hear(interim("b", "2", 350).v4("10.0.0.1"))), Outcome::Old);
    assert_eq!(outcome(&desk.hear(start("d", "4", 240).v4("10.0.0.3"))), Outcome::Applied);
    assert_eq!(desk.who("10.0.0.3"), "", "who had it before the one that left it");
}

#[test]
fn b22_b19_a_dispute_is_one_after_a_restart() {
    let mut desk = Desk::new();
    desk.hear(start("a", "1", 100).v4("10.0.0.1"));
    desk.hear(start("b", "2", 100).v4("10.0.0.1"));
    let mut desk = desk.restarted(Away::TookOver);
    assert_eq!(desk.who("10.0.0.1"), "");
    desk.hear(interim("b", "2", 102));
    assert_eq!(desk.who("10.0.0.1"), "2");
}

#[test]
fn c12_b22_the_minute_after_a_stop_outlives_a_restart() {
    let mut desk = Desk::new();
    desk.hear(start("a", "1", 100).v4("10.0.0.1"));
    desk.hear(stop("a", "1", 200));
    let mut desk = desk.restarted(away(1));
    assert_eq!(outcome(&desk.hear(interim("a", "1", 259).v4("10.0.0.1"))), Outcome::Old);
    assert_eq!(outcome(&desk.hear(interim("a", "1", 260).v4("10.0.0.1"))), Outcome::Reopened);
    assert_eq!(desk.session("10.0.0.1"), "a@1700000100");
}

#[test]
fn b22_b19_an_address_lost_to_a_session_that_is_not_kept_does_not_come_back_by_a_restart() {
    let mut desk = Desk::with(limits(1));
    desk.hear(start("a", "1", 100).v4("10.0.0.1").at(Kind::Prefix, "2001:db8::/64"));
    assert_eq!(outcome(&desk.hear(start("b", "2", 200).v4("10.0.0.1"))), Outcome::Full);
    for _ in 0..3 {
        desk = desk.restarted(Away::TookOver);
        assert_eq!((desk.who("10.0.0.1"), desk.who("2001:db8::1")), (String::new(), "1".into()));
        desk.hear(interim("a", "1", 300).v4("10.0.0.1"));
        assert_eq!(desk.who("10.0.0.1"), "", "the other has it");
    }
    desk.hear(stop("a", "1", 400));
    desk.hear(start("c", "3", 500).v4("10.0.0.1"));
    assert_eq!(desk.who("10.0.0.1"), "3", "whoever began later may have it");
}

#[test]
fn b22_b19_what_was_forgotten_for_want_of_room_is_not_believed_after_a_restart_either() {
    let mut desk = Desk::with(limits(1));
    let lives = |desk: &mut Desk, id: &str, second: u32| {
        desk.hear(start(id, id, second).v4("10.0.0.1"));
        desk.hear(stop(id, id, second + 10));
    };
    lives(&mut desk, "1", 100);
    lives(&mut desk, "2", 200);
    let mut desk = desk.restarted(Away::TookOver);
    let late = interim("1", "1", 105).lasting(5).v4("10.0.0.9");
    assert_eq!(outcome(&desk.hear(late)), Outcome::Old, "it may have ended");
    // Four blocks are remembered; the fifth displaces the first.
    for last in 1..=6 {
        desk.hear(start("3", "3", 300 + last).v4(&format!("10.0.1.{last}")));
    }
    let forgotten = desk.memory.forgotten;
    assert!(forgotten > 0);
    let mut desk = desk.restarted(Away::TookOver);
    desk.hear(stop("3", "3", 400));
    let early = interim("4", "4", 401).lasting(301).v4("10.0.2.1");
    assert_eq!(outcome(&desk.hear(early)), Outcome::Full, "somebody may have had it since");
    assert_eq!(desk.who("10.0.2.1"), "");
}

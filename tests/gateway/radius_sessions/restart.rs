//! What a restart leaves of sessions.

use std::hash::RandomState;
use std::time::Duration;

use gateway::flow::session::accounting::{Away, Kind, Outcome, Registry};
use gateway::flow::session::{SessionState, Sessions};

use super::{Desk, interim, limits, moment, outcome, start, stop};

/// The same desk after a restart.
fn restarted(desk: &Desk, away: Away) -> Desk {
    let mut after = Desk {
        registry: Registry::new(limits(1_000), moment(desk.now)),
        table: Sessions::new(1_000, RandomState::new()),
        rows: desk.rows.clone(),
        now: desk.now,
    };
    let decision = after.registry.restore(desk.rows.clone(), Vec::new(), away, moment(desk.now));
    after.apply(&decision);
    assert!(decision.takeovers.is_empty());
    after
}

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
        let mut desk = restarted(&desk, gap);
        assert_eq!((desk.who("10.0.0.1"), desk.state("10.0.0.1")), ("1".into(), Some(state)));
        assert_eq!(desk.state("2001:db8::1"), Some(state));
        // A successor knows what the process before it knew.
        let mut after = restarted(&desk, Away::TookOver);
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
    let mut desk = restarted(&desk, away(1));
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
    let mut desk = restarted(&desk, Away::TookOver);
    assert_eq!(desk.who("10.0.0.1"), "");
    desk.hear(interim("b", "2", 102));
    assert_eq!(desk.who("10.0.0.1"), "2");
}

#[test]
fn c12_b22_the_minute_after_a_stop_outlives_a_restart() {
    let mut desk = Desk::new();
    desk.hear(start("a", "1", 100).v4("10.0.0.1"));
    desk.hear(stop("a", "1", 200));
    let mut desk = restarted(&desk, away(1));
    assert_eq!(outcome(&desk.hear(interim("a", "1", 259).v4("10.0.0.1"))), Outcome::Old);
    assert_eq!(outcome(&desk.hear(interim("a", "1", 260).v4("10.0.0.1"))), Outcome::Reopened);
    assert_eq!(desk.session("10.0.0.1"), "a@1700000100");
}

//! The address of an open flow goes to another session, or nothing is heard of its own any more.

use allowlist::Transport;
use gateway::flow::engine::Observation;
use gateway::flow::mark::Mark;
use gateway::flow::session::SessionState;

use super::life::{Life, judged, named, to_site};
use super::world::{DATA, MARK, session};

#[test]
fn b19_a_flow_is_judged_again_only_if_its_session_changed_and_a_stale_ones_bytes_are_nobodys() {
    let (mut life, bytes) = judged(Life::trusted());
    life.tell(Observation::Tick);
    let one = session("one");
    let mut turn = |state, up| {
        life.pass_to(state, Some(&one));
        life.up(up);
        life.settle();
        (life.ship.judged_again, life.ship.mark)
    };
    assert_eq!(turn(SessionState::Active, 1), (0, MARK));
    assert_eq!(turn(SessionState::Stale, 2), (1, Mark::NONE));
    // Heard of again it is what it was.
    assert_eq!(turn(SessionState::Active, 4), (2, MARK));
    // The account stays, and has a remark from here on.
    assert_eq!(turn(SessionState::Suspect, 8), (3, MARK));
    assert_eq!(life.bill(), [("exempt", bytes + 13, 0), ("stale_subscriber", 2, 0)]);
}

#[test]
fn b19_bytes_of_a_session_that_nothing_was_heard_of_say_so_also_over_a_limit_and_on_their_way() {
    let one = session("one");
    let remarks = |life: &Life, label: &str| life.flags(label).to_string();
    // Over a limit.
    let (mut life, bytes) = judged(Life::trusted());
    life.tell(Observation::Tick);
    life.known.limit(100);
    life.pass_to(SessionState::Suspect, Some(&one));
    life.up(1_000);
    life.tell(Observation::Tick);
    assert_eq!(life.bill(), [("cap_reached", 900, 0), ("exempt", bytes + 100, 0)]);
    assert_eq!(
        (remarks(&life, "exempt"), remarks(&life, "cap_reached")),
        ("stale_binding".into(), "stale_binding".into())
    );
    // What was sent before it was heard of again is known to have left only after.
    let (mut life, _) = judged(Life::trusted());
    life.tell(Observation::Tick);
    assert_eq!(remarks(&life, "exempt"), "");
    life.pass_to(SessionState::Suspect, Some(&one));
    life.down(1_000);
    life.pass_to(SessionState::Active, Some(&one));
    life.settle();
    assert_eq!(remarks(&life, "exempt"), "stale_binding");
    // And what was sent before nothing was heard of it has none.
    let (mut life, _) = judged(Life::trusted());
    life.down(1_000);
    life.pass_to(SessionState::Suspect, Some(&one));
    life.settle();
    assert_eq!(remarks(&life, "exempt"), "");
}

#[test]
fn b24_what_comes_after_the_session_is_nobodys_whoever_has_the_address() {
    let (mut life, bytes) = judged(Life::trusted());
    life.down(700);
    life.tell(Observation::Tick);
    life.pass_to(SessionState::Active, Some(&session("another")));
    life.up(5);
    life.settle();
    life.pass_to(SessionState::Active, Some(&session("one")));
    life.up(6);
    life.settle();
    assert_eq!(life.bill(), [("exempt", bytes, 700), ("session_ended", 11, 0)]);
    assert_eq!(life.ship.mark, Mark::NONE);
    assert_eq!(
        life.engine.subscriber(),
        Life::new(Transport::Tcp, to_site(), None, false).engine.subscriber()
    );
}

#[test]
fn c6_a_flow_goes_on_with_the_next_session_of_its_subscriber_and_nobody_elses() {
    let (mut life, bytes) = judged(Life::trusted());
    let next = |id: &str| {
        let one = session("one");
        billing_export::Session::new(one.subscriber_type(), one.subscriber_id(), id).unwrap()
    };
    life.down(700);
    life.pass_to(SessionState::Active, Some(&next("second")));
    life.down(40);
    life.settle();
    let of = |life: &Life, id: &str| {
        let own = life.ship.bill.iter().filter(|(account, _)| account.session.session_id() == id);
        own.fold(0, |sum, (_, (_, volume))| sum + volume.down)
    };
    assert_eq!(life.bill(), [("exempt", bytes, 740)]);
    assert_eq!((of(&life, "second"), life.ship.mark), (40, MARK));
}

#[test]
fn c30_what_passed_before_the_session_was_heard_of_stays_nobodys() {
    let nobodys = || {
        let mut life = Life::new(Transport::Tcp, to_site(), None, false);
        life.known.trust();
        life
    };
    // With a verdict.
    let (mut life, bytes) = judged(nobodys());
    life.down(3_000);
    life.adopt(&session("one"));
    life.down(500);
    life.up(7);
    life.settle();
    assert_eq!(life.bill(), [("exempt", 7, 500), ("no_subscriber", bytes, 3_000)]);
    assert_eq!(life.ship.mark, MARK);
    // Without one.
    let (mut life, bytes) = named(nobodys());
    assert!(!life.engine.is_decided());
    life.adopt(&session("one"));
    life.read(&DATA);
    life.settle();
    assert_eq!(life.bill(), [("exempt", DATA.len() as u64, 0), ("no_subscriber", bytes, 0)]);
    // One whose session has ended is nobody's for good.
    let (mut life, bytes) = judged(Life::trusted());
    life.pass_to(SessionState::Active, None);
    life.adopt(&session("one"));
    life.up(9);
    life.settle();
    assert_eq!(life.bill(), [("exempt", bytes, 0), ("session_ended", 9, 0)]);
}

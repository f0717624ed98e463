//! When a flow is judged, and what becomes of what it carried before.

use allocation_counter::measure;
use allowlist::Transport;
use billing_export::{Flag, Flags, Reason};
use gateway::flow::decide::Vouched;
use gateway::flow::engine::{LookedUp, Observation};
use gateway::flow::mark::Mark;

use super::capture::hello;
use super::life::{Life, STEERED, initial, judged, named, to_site};
use super::world::{DATA, SITE, list, session};

#[test]
fn what_was_pending_goes_where_the_verdict_says() {
    let (mut life, bytes) = named(Life::trusted());
    life.down(5_000);
    life.settle();
    assert_eq!((life.bill(), life.engine.is_decided()), (vec![], false));
    life.read(&DATA);
    life.up(100);
    life.settle();
    assert_eq!(life.bill(), [("exempt", bytes + 106, 5_000)]);
    assert_eq!(life.ship.decided, [(true, "exempt")]);
}

#[test]
fn t23_a_verdict_that_comes_late_is_applied_to_all_that_is_pending() {
    for (answer, label) in [(LookedUp::Found, "exempt"), (LookedUp::NotFound, "address_mismatch")] {
        let (mut life, bytes) = judged(Life::stream());
        assert_eq!(life.ship.asked, [("listed.example".to_owned(), SITE.parse().unwrap())]);
        life.down(9_000);
        life.up(10);
        life.settle();
        // Nothing that happens meanwhile judges it, nor asks again.
        life.tell(Observation::Dated);
        life.tell(Observation::Deadline);
        life.tell(Observation::Finished);
        assert_eq!((life.bill(), life.ship.asked.len()), (vec![], 1));
        life.tell(Observation::LookedUp(answer));
        life.settle();
        assert_eq!((life.bill(), life.ship.let_go), (vec![(label, bytes + 10, 9_000)], 0));
    }
}

#[test]
fn a_look_up_that_is_not_begun_is_a_mismatch_at_once() {
    let mut life = Life::stream();
    life.known.may_ask = false;
    let (mut life, bytes) = judged(life);
    life.tell(Observation::Tick);
    assert_eq!(life.bill(), [("address_mismatch", bytes, 0)]);
    // What is known by the next change is asked again; meanwhile the account stays.
    life.known.may_ask = true;
    life.tell(Observation::Renewed);
    life.up(50);
    life.tell(Observation::Tick);
    assert_eq!((life.bill(), life.ship.asked.len()), (vec![("address_mismatch", bytes + 50, 0)], 2));
    life.tell(Observation::LookedUp(LookedUp::Found));
    life.up(7);
    life.tell(Observation::Tick);
    assert_eq!(life.bill(), [("address_mismatch", bytes + 50, 0), ("exempt", 7, 0)]);
    assert_eq!(life.ship.decided, [(true, "address_mismatch"), (false, "exempt")]);
}

#[test]
fn an_end_before_the_verdict_is_judged_by_what_is_known() {
    let (mut life, bytes) = named(Life::trusted());
    life.down(800);
    life.end();
    life.settle();
    assert_eq!((life.bill(), life.ship.let_go), (vec![("exempt", bytes, 800)], 1));
    let mut life = Life::trusted();
    life.read(&hello("listed.example")[..20]);
    life.end();
    assert_eq!((life.bill(), life.ship.let_go), (vec![("undecided", 20, 0)], 1));
    // With a look-up on its way it is kept until the answer is here.
    let (mut life, bytes) = named(Life::stream());
    life.end();
    assert_eq!((life.bill(), life.ship.let_go, life.ship.asked.len()), (vec![], 0, 1));
    life.tell(Observation::LookedUp(LookedUp::Found));
    assert_eq!((life.bill(), life.ship.let_go), (vec![("exempt", bytes, 0)], 1));
}

#[test]
fn the_last_call_waits_for_no_answer() {
    let (mut life, bytes) = judged(Life::stream());
    life.tell(Observation::LastCall);
    life.tell(Observation::Tick);
    assert_eq!(life.bill(), [("address_mismatch", bytes, 0)]);
    let (mut held, bytes) = named(Life::new(Transport::Tcp, STEERED, Some(&session("one")), false));
    held.tell(Observation::LastCall);
    held.tell(Observation::Tick);
    assert_eq!(held.bill(), [("address_mismatch", bytes, 0)]);
    let mut unanswered = Life::datagrams();
    unanswered.datagram(&initial("listed.example", 1));
    unanswered.tell(Observation::LastCall);
    unanswered.tell(Observation::Tick);
    assert_eq!(unanswered.bill(), [("undecided", 1_200, 0)]);
}

#[test]
fn a_deadline_judges_the_silent_and_leaves_the_named_watched() {
    let mut silent = Life::trusted();
    silent.tell(Observation::Deadline);
    silent.up(4);
    silent.tell(Observation::Tick);
    assert_eq!(silent.bill(), [("timeout", 4, 0)]);
    let (mut life, _) = named(Life::trusted());
    life.tell(Observation::Deadline);
    assert_eq!(life.ship.decided, [(true, "exempt")]);
    life.read(&hello("other.example"));
    assert_eq!(life.ship.decided, [(true, "exempt"), (false, "second_name")]);
}

#[test]
fn a_steered_flow_has_no_verdict_before_its_place() {
    let steered = |placed: Option<(Vouched, Option<&str>)>| {
        let mut life = Life::new(Transport::Tcp, STEERED, Some(&session("one")), false);
        life.read(&hello("listed.example"));
        life.read(&DATA);
        assert!(!life.engine.is_decided() && life.ship.mark == Mark::NONE);
        if let Some((vouched, dialled)) = placed {
            let dialled = dialled.map(|address| address.parse().unwrap());
            life.tell(Observation::Placed { vouched, dialled });
        }
        life.end();
        life
    };
    let life = steered(Some((Vouched::Steered, Some(SITE))));
    assert_eq!((life.bill()[0].0, life.flags("exempt")), ("exempt", Flags::NONE));
    // Charged bytes pass free in the core all the same, for they go by the gateway's address.
    for placed in [Some((Vouched::No, None)), None] {
        let life = steered(placed);
        assert_eq!(life.bill()[0].0, "address_mismatch");
        assert_eq!(life.flags("address_mismatch"), Flags::from(Flag::FreeInCore));
    }
}

#[test]
fn what_is_over_its_subscribers_limit_is_charged() {
    let mut life = Life::new(Transport::Tcp, to_site(), Some(&session("one")), true);
    assert_eq!(life.ship.decided, [(true, "overload")]);
    life.read(&hello("listed.example"));
    life.read(&DATA);
    assert_eq!(life.ship.decided.len(), 1);
    // A steered one is read as far as its place.
    let mut life = Life::new(Transport::Tcp, STEERED, Some(&session("one")), true);
    life.read(&hello("listed.example"));
    let dialled = Some(SITE.parse().unwrap());
    life.tell(Observation::Placed { vouched: Vouched::Steered, dialled });
    assert_eq!(life.ship.decided, [(true, "overload")]);
    assert!(!life.engine.claim().is_observed());
}

#[test]
fn what_no_server_answers_is_neither_exempt_nor_charged_to_anybody() {
    let first = initial("listed.example", 1);
    let bytes = first.len() as u64;
    let sent = |owner: Option<&str>, is_trusted: bool| {
        let owner = owner.map(session);
        let mut life = Life::new(Transport::Udp, to_site(), owner.as_ref(), false);
        if is_trusted {
            life.known.trust();
        }
        life.datagram(&first);
        life.tell(Observation::Tick);
        life
    };
    let mut answered = sent(Some("one"), true);
    assert_eq!((answered.bill(), answered.ship.mark), (vec![], Mark::NONE));
    answered.tell(Observation::Answered);
    answered.tell(Observation::Answered);
    answered.tell(Observation::Tick);
    assert_eq!(answered.bill(), [("exempt", bytes, 0)]);
    // Whoever forges addresses costs no look-up either.
    let mut forged = sent(Some("one"), false);
    assert_eq!((forged.bill(), forged.ship.asked.len()), (vec![], 0));
    forged.tell(Observation::Overdue);
    forged.datagram(&[0x40; 50]);
    forged.end();
    assert_eq!(forged.bill(), [("undecided", bytes + 50, 0)]);
    assert_eq!(
        forged.ship.bill.keys().map(|account| account.entry.class().label()).next(),
        Some("unattributed")
    );
    // What is nobody's anyhow does not wait.
    let unknown = sent(None, false);
    assert_eq!(unknown.bill(), [("no_subscriber", bytes, 0)]);
}

#[test]
fn a_flow_that_continues_another_has_its_name_and_loses_it_to_a_hello() {
    let mut first = Life::datagrams();
    first.datagram(&initial("listed.example", 1));
    let identity = first.engine.claim().identity().unwrap().clone();
    let mut life = Life::datagrams();
    life.known.trust();
    life.tell(Observation::Continues(identity));
    life.datagram(&[0x40; 50]);
    life.tell(Observation::Answered);
    life.tell(Observation::Tick);
    assert_eq!(life.bill(), [("exempt", 50, 0)]);
    life.datagram(&initial("other.example", 2));
    life.tell(Observation::Tick);
    assert_eq!(life.bill(), [("exempt", 50, 0), (Reason::SecondName.label(), 1_200, 0)]);
}

#[test]
fn t24_what_is_exempt_at_a_shared_address_is_told_apart() {
    let mut life = Life::trusted();
    life.known.shared.insert(SITE.parse().unwrap());
    let (mut life, bytes) = judged(life);
    life.tell(Observation::Tick);
    assert_eq!(life.ship.at_shared_address, bytes);
    life.known.list = Some(list(false));
    life.tell(Observation::Renewed);
    life.up(100);
    life.tell(Observation::Tick);
    assert_eq!(life.ship.at_shared_address, bytes);
}

#[test]
fn what_nothing_says_has_left_is_a_lower_bound() {
    let (mut life, bytes) = judged(Life::trusted());
    life.down(1_000);
    life.tell(Observation::Tick);
    life.tell(Observation::Unwatched);
    assert_eq!(life.bill(), [("exempt", bytes, 0)]);
    assert_eq!(life.flags("exempt"), Flags::from(Flag::LowerBound));
}

#[test]
fn the_terms_are_asked_for_verdicts_and_a_byte_allocates_nothing() {
    for limit in [None, Some(1 << 30)] {
        let mut life = Life::trusted();
        if let Some(limit) = limit {
            life.known.limit(limit);
        }
        let (mut life, _) = judged(life);
        let consulted = life.known.consulted.get();
        assert_eq!(consulted, 2, "the mark that is foreseen, and the verdict");
        life.settle();
        let allocated = measure(|| {
            for _ in 0..100 {
                life.up(1);
                life.down(1);
                life.read(&DATA);
                life.look(0);
            }
        });
        assert_eq!((life.known.consulted.get(), allocated.count_total), (consulted, 0));
        assert!(life.bill()[0].1 > 100 && life.bill()[0].2 > 90);
    }
}

//! When a flow is judged, and what becomes of what it carried before.

use allocation_counter::measure;
use allowlist::Transport;
use billing_export::{Flag, Flags, Reason};
use gateway::flow::decide::Vouched;
use gateway::flow::engine::{Exemption, LookedUp, Observation};
use gateway::flow::mark::Mark;
use gateway::flow::session::SessionState;

use super::capture::{hello, hello_message};
use super::quic::Initial;
use super::world::{DATA, Life, MARK, SITE, STEERED, list, session, to_site};

/// A datagram with the hello of a connection to this id.
fn initial(name: &str, id: u8) -> Vec<u8> {
    Initial::of(&hello_message(name, 0)).to(&[id; 8]).seal()
}

/// A stream whose hello for the listed name was read, and its length.
fn named(mut life: Life) -> (Life, u64) {
    let bytes = hello("listed.example");
    life.read(&bytes);
    (life, bytes.len() as u64)
}

/// The same after the next flight: nothing can contradict the name any more.
fn judged(life: Life) -> (Life, u64) {
    let (mut life, bytes) = named(life);
    life.read(&DATA);
    (life, bytes + DATA.len() as u64)
}

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
fn t38_the_mark_is_set_from_the_first_hello_on_and_a_second_name_takes_it_back() {
    let (mut life, bytes) = named(Life::trusted());
    assert_eq!((life.ship.mark, life.engine.is_decided()), (MARK, false));
    let second = hello("other.example");
    life.read(&second);
    life.tell(Observation::Tick);
    assert_eq!(life.ship.mark, Mark::NONE);
    assert_eq!(life.bill(), [("second_name", bytes + second.len() as u64, 0)]);
    // Nothing is marked before its verdict that a look-up would have to decide.
    let (life, _) = named(Life::stream());
    assert_eq!((life.ship.mark, life.ship.asked.len()), (Mark::NONE, 0));
    // Nor what a change has made doubtful.
    let (mut life, _) = named(Life::trusted());
    life.known.list = Some(list(false));
    life.tell(Observation::Renewed);
    assert_eq!((life.ship.mark, life.engine.is_decided()), (Mark::NONE, false));
}

#[test]
fn t16_a_second_name_in_datagrams_is_charged_from_there_on() {
    let mut life = Life::datagrams();
    life.known.trust();
    let first = initial("listed.example", 1);
    life.datagram(&first);
    life.tell(Observation::Answered);
    life.down(4_000);
    life.settle();
    life.down(1_000);
    let second = initial("other.example", 2);
    life.datagram(&second);
    life.down(300);
    life.settle();
    // What was on its way carried the mark of the account it was sent under.
    assert_eq!(
        life.bill(),
        [("exempt", first.len() as u64, 5_000), ("second_name", second.len() as u64, 300)]
    );
    assert_eq!(life.ship.mark, Mark::NONE);
}

#[test]
fn t32_a_change_of_list_moves_what_follows_and_leaves_what_was() {
    let (mut life, bytes) = judged(Life::trusted());
    life.down(2_000);
    life.settle();
    // Passed, on its way, and not read yet.
    life.up(8);
    life.down(1_500);
    let bytes = bytes + 8;
    life.known.list = Some(list(false));
    life.tell(Observation::Renewed);
    life.down(400);
    life.up(3);
    life.settle();
    assert_eq!(life.bill(), [("exempt", bytes, 3_500), ("not_listed", 3, 400)]);
    assert_eq!(life.ship.mark, Mark::NONE);
    life.known.list = Some(list(true));
    life.tell(Observation::Renewed);
    life.up(20);
    life.settle();
    assert_eq!(life.bill(), [("exempt", bytes + 20, 3_500), ("not_listed", 3, 400)]);
    assert_eq!(life.ship.mark, MARK);
}

#[test]
fn t32_what_is_on_its_way_under_more_accounts_than_are_kept_is_nobodys() {
    // So many changes of the list while nothing of what was sent is known to have left.
    let bill = |changes: u32| {
        let (mut life, bytes) = judged(Life::trusted());
        for change in 0..changes {
            life.down(1_000);
            life.known.list = Some(list(change % 2 == 1));
            life.tell(Observation::Renewed);
        }
        life.down(10);
        life.settle();
        let without_hello =
            |(label, up, down)| if label == "exempt" { (label, up - bytes, down) } else { (label, up, down) };
        life.bill().into_iter().map(without_hello).collect::<Vec<_>>()
    };
    assert_eq!(bill(8), [("exempt", 0, 4_010), ("not_listed", 0, 4_000)]);
    // One over: with the last one that is kept it would be charged, or exempt, wrongly.
    assert_eq!(bill(9), [("exempt", 0, 4_000), ("not_listed", 0, 3_010), ("overload", 0, 2_000)]);
    assert_eq!(bill(12), [("exempt", 0, 4_010), ("not_listed", 0, 3_000), ("overload", 0, 5_000)]);
}

#[test]
fn a_drop_among_what_two_accounts_sent_makes_no_charged_byte_exempt() {
    let (mut life, bytes) = judged(Life::trusted());
    life.tell(Observation::Tick);
    life.known.list = Some(list(false));
    life.down(3_000);
    life.tell(Observation::Renewed);
    life.down(3_000);
    life.look(1);
    life.look(0);
    let [("exempt", up, exempt), ("not_listed", 0, charged)] = life.bill()[..] else { panic!() };
    // A drop may have been seen late: it is taken from what was sent before it and after it.
    assert_eq!((up, exempt + charged), (bytes, 3_000));
    assert!(exempt <= 1_500, "{exempt}");
    assert!(life.flags("exempt").union(life.flags("not_listed")).contains(Flag::LowerBound));
}

#[test]
fn a_date_that_passes_is_a_change() {
    let (mut life, bytes) = judged(Life::trusted());
    life.tell(Observation::Tick);
    life.known.now = "2026-06-01T00:00:00Z".parse().unwrap();
    life.tell(Observation::Dated);
    life.up(9);
    life.tell(Observation::Tick);
    assert_eq!(life.bill(), [("exempt", bytes, 0), ("list_expired", 9, 0)]);
}

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
fn while_counts_cannot_be_saved_nothing_is_exempt() {
    let (mut life, bytes) = judged(Life::trusted());
    life.tell(Observation::Tick);
    life.known.exemption = Exemption::Suspended;
    life.tell(Observation::Renewed);
    life.up(40);
    life.tell(Observation::Tick);
    assert_eq!((life.bill(), life.ship.mark), (vec![("exempt", bytes, 0), ("overload", 40, 0)], Mark::NONE));
    life.known.exemption = Exemption::Allowed;
    life.tell(Observation::Renewed);
    life.up(2);
    life.tell(Observation::Tick);
    assert_eq!(life.bill(), [("exempt", bytes + 2, 0), ("overload", 40, 0)]);
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
fn what_is_pending_when_the_ledger_changes_hands_is_nobodys() {
    let (mut life, bytes) = named(Life::trusted());
    life.tell(Observation::Tick);
    life.tell(Observation::Orphaned);
    life.read(&DATA);
    life.tell(Observation::Tick);
    assert_eq!(life.bill(), [("exempt", DATA.len() as u64, 0), ("undecided", bytes, 0)]);
    assert_eq!(life.flags("undecided"), Flags::from(Flag::Recovered));
    life.tell(Observation::Orphaned);
    assert_eq!(life.bill().len(), 2, "nothing is pending");
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

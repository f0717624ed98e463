//! What changes while a flow is open: a second name, the list, the date, and whether counts can be saved. What was stays.

use billing_export::{Flag, Flags};
use gateway::flow::engine::{Exemption, Observation};
use gateway::flow::mark::Mark;

use super::capture::hello;
use super::life::{Life, initial, judged, named};
use super::world::{DATA, MARK, list};

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

/// The kernel took the exemption back by itself; what passed without it is known to have left when another account stands.
#[test]
fn k28_k6_what_was_refused_stays_charged_though_the_account_has_changed() {
    let (mut life, bytes) = judged(Life::trusted());
    life.down(3_000);
    life.ship.meter.refused = 1_000;
    life.known.list = Some(list(false));
    life.tell(Observation::Renewed);
    life.down(400);
    life.settle();
    assert_eq!(life.bill(), [("exempt", bytes, 2_000), ("not_listed", 0, 400), ("overload", 0, 1_000)]);
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

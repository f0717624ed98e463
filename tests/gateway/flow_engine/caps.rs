//! What a subscriber may have exempt: where it ends, and what is held against it.

use billing_export::Flag;
use gateway::flow::engine::Observation;
use gateway::flow::mark::Mark;

use super::capture::hello;
use super::life::Life;
use super::world::{DATA, MARK};

/// An exempt flow of which so many bytes more may be exempt.
fn limited(limit: u64) -> Life {
    let mut life = Life::trusted();
    let bytes = hello("listed.example").len() + DATA.len();
    life.known.limit(limit + bytes as u64);
    life.read(&hello("listed.example"));
    life.read(&DATA);
    life.tell(Observation::Tick);
    life
}

/// Bytes exempt and over the limit, but for those of the hello.
fn beyond(life: &Life) -> (u64, u64) {
    let hello = (hello("listed.example").len() + DATA.len()) as u64;
    let of = |label| {
        life.bill().iter().filter(|(known, ..)| *known == label).map(|(_, up, down)| up + down).sum::<u64>()
    };
    (of("exempt") - hello, of("cap_reached"))
}

#[test]
fn t31_a_cap_splits_the_bytes_and_takes_the_mark() {
    let mut life = limited(10_000);
    assert_eq!(life.ship.mark, MARK);
    life.up(9_000);
    life.up(3_000);
    assert_eq!(life.ship.mark, Mark::NONE, "at once, without a tick");
    life.up(500);
    life.tell(Observation::Tick);
    assert_eq!(beyond(&life), (10_000, 2_500));
    assert!(life.ship.capped > 0);
    assert_eq!(life.ship.decided, [(true, "exempt"), (false, "cap_reached")]);
    // Its name stays judged: more room makes it exempt again.
    life.known.limit(100_000);
    life.tell(Observation::Renewed);
    life.up(40);
    life.tell(Observation::Tick);
    assert_eq!((beyond(&life), life.ship.mark), ((10_040, 2_500), MARK));
}

#[test]
fn t31_what_was_on_its_way_when_a_cap_was_reached_is_split_where_it_ends() {
    let mut life = limited(10_000);
    life.down(6_000);
    life.look(0);
    life.down(6_000);
    life.look(0);
    life.down(4_000);
    life.settle();
    let (exempt, over) = beyond(&life);
    assert_eq!((exempt, exempt + over, life.ship.mark), (10_000, 16_000, Mark::NONE));
}

#[test]
fn t31_other_flows_of_the_subscriber_spend_the_same_allowance() {
    let mut life = limited(10_000);
    let (spending, limit) = life.known.cap.clone().unwrap();
    spending.restore(limit);
    assert!(life.engine.is_spent());
    life.up(70);
    life.tell(Observation::Tick);
    life.tell(Observation::Spent);
    assert_eq!((beyond(&life), life.ship.mark), ((0, 70), Mark::NONE));
    life.tell(Observation::Spent);
    assert!(!life.engine.is_limited());
}

#[test]
fn a_flow_that_begins_with_nothing_left_is_charged_and_bears_no_mark() {
    let mut life = Life::trusted();
    life.known.limit(0);
    life.read(&hello("listed.example"));
    assert_eq!(life.ship.mark, Mark::NONE);
    life.read(&DATA);
    assert_eq!(life.ship.decided, [(true, "cap_reached")]);
    let mut life = Life::trusted();
    life.known.has_counter = false;
    life.read(&hello("listed.example"));
    life.read(&DATA);
    assert_eq!(life.ship.decided, [(true, "overload")], "what cannot be counted is not exempt");
}

#[test]
fn t38_near_a_limit_no_mark_goes_ahead_of_its_verdict() {
    let foreseen = |limit| {
        let mut life = Life::trusted();
        life.known.limit(limit);
        life.read(&hello("listed.example"));
        (life.ship.mark, life.engine.is_decided())
    };
    assert_eq!(foreseen(1_000_000), (MARK, false));
    assert_eq!(foreseen(16 << 10), (Mark::NONE, false));
    assert_eq!(foreseen((16 << 10) + 1), (MARK, false));
}

#[test]
fn t31_pending_bytes_are_held_against_the_limit_from_the_verdict_on() {
    let mut life = Life::trusted();
    let spending = life.known.limit(10_000);
    life.read(&hello("listed.example"));
    life.up(9_000);
    life.tell(Observation::Tick);
    assert_eq!(spending.exempt(), 0);
    life.read(&DATA);
    life.up(1);
    // Near the limit everything is counted at once.
    assert!(spending.exempt() > 9_000);
    life.up(2_000);
    assert_eq!((spending.exempt(), life.ship.mark), (10_000, Mark::NONE));
    assert!(!life.flags("exempt").contains(Flag::LowerBound));
}

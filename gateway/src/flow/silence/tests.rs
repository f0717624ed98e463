//! Tests of `silence`.

use std::net::Ipv4Addr;

use billing_export::{Session, SubscriberType};
use proptest::prelude::*;

use super::*;

const LIMITS: SilenceLimits = SilenceLimits { time: Duration::from_secs(100), max: 5, per_subscriber_max: 2 };

fn subscriber(number: u32) -> SubscriberKey {
    SubscriberKey::Session(Session::new(SubscriberType::Account, &format!("s{number}"), "").unwrap())
}

fn source(number: u32) -> IpAddr {
    Ipv4Addr::from(0x0a00_0000 + number).into()
}

fn destination(number: u32) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::from(0x0b00_0000 + number).into(), 443)
}

fn at(seconds: u64) -> Monotonic {
    Monotonic::new(Duration::from_secs(seconds))
}

fn pass(whose: Option<u32>, to: u32, seconds: u64) -> Order {
    let passing = Passing { source: whose.map(source), destination: destination(to) };
    Order::Pass(passing, Duration::from_secs(seconds))
}

/// Subscriber `who` fails at `to`.
fn fail(silence: &mut Silence, who: u32, to: u32, now: u64) {
    silence.failed(&subscriber(who), source(who), destination(to), Failure::Silent, at(now));
}

#[test]
fn f31_a_failure_counts_for_whoever_had_it_and_only_while_it_is_young() {
    let mut silence = Silence::new(LIMITS);
    fail(&mut silence, 1, 9, 0);
    assert_eq!(silence.take_orders(), [pass(Some(1), 9, 100)]);
    assert!(silence.is_silent_for(source(1), destination(9), at(99)));
    assert!(!silence.is_silent_for(source(1), destination(9), at(100)));
    assert!(!silence.is_silent_for(source(2), destination(9), at(0)), "somebody else's");
    assert!(!silence.is_silent_for(source(1), destination(8), at(0)), "another place");
    silence.expire(at(99));
    assert_eq!(silence.len(), 1);
    silence.expire(at(100));
    assert!(silence.is_empty() && silence.destinations().count() == 0);
}

#[test]
fn f31_three_known_subscribers_make_it_everybodys_and_one_answer_undoes_that() {
    let mut silence = Silence::new(LIMITS);
    fail(&mut silence, 1, 9, 0);
    // The same one again, from another of his addresses, and one who is not known.
    silence.failed(&subscriber(1), source(11), destination(9), Failure::Silent, at(0));
    silence.failed(&SubscriberKey::Address(source(12)), source(12), destination(9), Failure::Silent, at(0));
    fail(&mut silence, 2, 9, 10);
    let all = |order: &&Order| matches!(order, Order::Pass(Passing { source: None, .. }, _));
    assert_eq!(silence.take_orders().iter().filter(all).count(), 0);
    fail(&mut silence, 3, 9, 20);
    assert_eq!(silence.take_orders(), [pass(Some(3), 9, 100), pass(None, 9, 50)]);
    assert!(silence.is_silent_for(source(77), destination(9), at(69)));
    assert!(!silence.is_silent_for(source(77), destination(9), at(70)));
    silence.answered(source(1), destination(9));
    let take =
        |whose: Option<u32>| Order::Take(Passing { source: whose.map(source), destination: destination(9) });
    assert_eq!(silence.take_orders(), [take(Some(1)), take(None)]);
    assert!(!silence.is_silent_for(source(77), destination(9), at(20)));
}

#[test]
fn f31_an_answer_between_the_failures_of_others_means_that_it_lives() {
    let mut silence = Silence::new(LIMITS);
    for who in 1..=5 {
        fail(&mut silence, who, 9, 0);
        silence.answered(source(99), destination(9));
    }
    assert!(!silence.is_silent_for(source(77), destination(9), at(0)));
}

#[test]
fn f31_after_its_time_it_takes_as_many_again() {
    let mut silence = Silence::new(SilenceLimits { max: 100, ..LIMITS });
    (1..=3).for_each(|who| fail(&mut silence, who, 9, 0));
    assert!(silence.is_silent_for(source(77), destination(9), at(49)));
    fail(&mut silence, 4, 9, 60);
    fail(&mut silence, 5, 9, 61);
    assert!(!silence.is_silent_for(source(77), destination(9), at(61)));
    fail(&mut silence, 6, 9, 62);
    assert!(silence.is_silent_for(source(77), destination(9), at(62)));
}

#[test]
fn f31_what_said_no_is_asked_again_sooner() {
    let mut silence = Silence::new(LIMITS);
    silence.failed(&subscriber(1), source(1), destination(9), Failure::Told, at(0));
    assert_eq!(silence.take_orders(), [pass(Some(1), 9, 10)]);
    assert!(!silence.is_silent_for(source(1), destination(9), at(10)));
}

#[test]
fn f31_each_subscriber_has_his_share_and_all_have_theirs() {
    let mut silence = Silence::new(LIMITS);
    (1..=3).for_each(|to| fail(&mut silence, 1, to, 0));
    assert_eq!((silence.len(), silence.full()), (2, 1), "his share");
    assert!(!silence.is_silent_for(source(1), destination(3), at(0)));
    (2..=3).for_each(|who| (1..=2).for_each(|to| fail(&mut silence, who, to, 1)));
    assert_eq!((silence.len(), silence.full()), (5, 2), "everybody's");
    // What is over makes room.
    fail(&mut silence, 3, 2, 100);
    assert_eq!((silence.len(), silence.full()), (4, 2));
    // Nobody takes orders: there are no more of them than there may be pairs.
    (0..50).for_each(|_| fail(&mut silence, 3, 2, 100));
    assert_eq!(silence.take_orders().len(), 5);
}

proptest! {
    #[test]
    fn f31_nobody_alone_lets_another_pass_by_and_no_limit_is_passed(
        steps in prop::collection::vec((0_u32..2, 0_u32..6, 0_u32..4, 0_u64..40, any::<bool>()), 0..200),
    ) {
        let mut silence = Silence::new(LIMITS);
        let mut now = 0;
        for (who, address, to, passed, answers) in steps {
            now += passed;
            // Two subscribers, whatever they do, are too few.
            let from = source(who * 10 + address);
            if answers {
                silence.answered(from, destination(to));
            } else {
                silence.failed(&subscriber(who), from, destination(to), Failure::Silent, at(now));
            }
            prop_assert!((0..4).all(|to| !silence.is_silent_for(source(77), destination(to), at(now))));
            prop_assert!(silence.len() <= LIMITS.max && silence.orders.len() <= LIMITS.max);
            prop_assert_eq!(silence.held.values().sum::<usize>(), silence.len());
            prop_assert!(silence.held.values().all(|held| (1..=LIMITS.per_subscriber_max).contains(held)));
        }
        silence.expire(at(now + 100));
        prop_assert!(silence.is_empty() && silence.held.is_empty() && silence.destinations.is_empty());
    }
}

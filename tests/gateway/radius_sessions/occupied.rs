//! An address that several sessions claim.

use gateway::flow::session::accounting::{Kind, Outcome, Takeover};
use gateway::flow::session::{Change, Event, SessionSource};

use super::{BEGIN, Desk, Packet, Status, interim, ip, outcome, start, stop};

#[test]
fn c6_c8_sessions_of_one_subscriber_hold_an_address_together_until_the_last_ends() {
    for order in [["a", "b", "c"], ["c", "b", "a"], ["b", "c", "a"]] {
        let mut desk = Desk::new();
        for (id, second) in [("a", 100), ("b", 100), ("c", 300)] {
            let decision = desk.hear(start(id, "1", second).v4("10.0.0.1"));
            assert!(decision.takeovers.is_empty());
        }
        assert_eq!(desk.session("10.0.0.1"), "a@1700000100", "who came first stays");
        for (ended, second) in order.into_iter().zip(400..) {
            assert_eq!(desk.who("10.0.0.1"), "1", "before {ended} ends");
            desk.hear(stop(ended, "1", second));
        }
        assert_eq!(desk.who("10.0.0.1"), "");
    }
}

#[test]
fn c7_an_address_is_held_across_the_access_servers_of_a_realm() {
    let mut desk = Desk::new();
    let at = |nas, status, second| Packet::new(status, nas, "a", second).of("1").v4("10.0.0.1");
    desk.hear(at("192.0.2.1", Status::Start, 100));
    assert!(desk.hear(at("192.0.2.2", Status::Start, 200)).takeovers.is_empty());
    desk.hear(at("192.0.2.1", Status::Stop, 300));
    assert_eq!(desk.who("10.0.0.1"), "1");
    // In another realm the same id is somebody else.
    let elsewhere = at("192.0.2.3", Status::Start, 400).client(|client| client.realm = "other".into());
    assert_eq!(desk.hear(elsewhere).takeovers, [Takeover::LaterStart]);
    desk.hear(at("192.0.2.2", Status::Stop, 500));
    assert_eq!(desk.who("10.0.0.1"), "1", "of the other realm");
}

#[test]
fn c9_t34_b19_with_the_stop_lost_the_later_start_takes_the_address_and_no_other() {
    let mut desk = Desk::new();
    desk.hear(start("a", "1", 100).v4("10.0.0.1").at(Kind::Prefix, "2001:db8::/64"));
    let decision = desk.hear(start("b", "2", 200).v4("10.0.0.1"));
    assert_eq!(decision.takeovers, [Takeover::LaterStart]);
    assert!(decision.ended.is_empty());
    assert_eq!(decision.bound.len(), 1);
    assert_eq!((decision.bound[0].start, decision.bound[0].free_since), (BEGIN + 200, Some(BEGIN + 200)));
    assert_eq!((desk.who("10.0.0.1"), desk.who("2001:db8::1")), ("2".into(), "1".into()));
    let decision = desk.hear(start("c", "3", 300).at(Kind::Prefix, "2001:db8::/64"));
    assert_eq!(decision.ended.len(), 1, "that was its last");
    assert!(decision.ended[0].stop_lost && decision.ended[0].session.subscriber_id() == "1");
    // It is heard of again: both addresses were another's since.
    let late = interim("a", "1", 400).v4("10.0.0.1").at(Kind::Prefix, "2001:db8::/64");
    desk.hear(late.clone());
    desk.hear(stop("b", "2", 500));
    desk.hear(stop("c", "3", 500));
    desk.hear(Packet(super::Report { event_timestamp: Some(BEGIN + 1_000), ..late.0 }));
    assert_eq!((desk.who("10.0.0.1"), desk.who("2001:db8::1")), (String::new(), String::new()));
}

#[test]
fn b19_an_earlier_start_takes_nothing_however_late_it_comes() {
    let mut desk = Desk::new();
    desk.hear(start("b", "2", 200).v4("10.0.0.1"));
    let decision = desk.hear(start("a", "1", 199).v4("10.0.0.1"));
    assert!(decision.takeovers.is_empty() && decision.changes.is_empty());
    assert_eq!(desk.who("10.0.0.1"), "2");
    desk.hear(stop("b", "2", 300));
    desk.hear(interim("a", "1", 800).v4("10.0.0.1"));
    assert_eq!(desk.who("10.0.0.1"), "", "it started before the one that had the address last");
    desk.hear(start("c", "1", 900).v4("10.0.0.1"));
    assert_eq!(desk.session("10.0.0.1"), "c@1700000900");
}

#[test]
fn b19_equal_starts_have_nobody_until_one_ends() {
    let mut desk = Desk::new();
    desk.hear(start("a", "1", 100).v4("10.0.0.1"));
    assert_eq!(desk.hear(start("b", "2", 100).v4("10.0.0.1")).takeovers, [Takeover::EqualStart]);
    assert_eq!(desk.who("10.0.0.1"), "");
    desk.hear(interim("a", "1", 101).v4("10.0.0.1"));
    assert_eq!(desk.who("10.0.0.1"), "", "a second is not enough");
    desk.hear(stop("a", "1", 101));
    assert_eq!(desk.who("10.0.0.1"), "2");
}

#[test]
fn b19_of_equal_starts_the_one_that_is_heard_of_two_seconds_later_has_the_address() {
    let mut desk = Desk::new();
    desk.hear(start("a", "1", 100).v4("10.0.0.1"));
    desk.hear(start("b", "2", 100).v4("10.0.0.1"));
    let decision = desk.hear(interim("b", "2", 102));
    assert_eq!(desk.who("10.0.0.1"), "2");
    assert!(decision.ended.iter().any(|ended| ended.stop_lost), "the other one lost its last address");
    // The other one goes on too: whose it is nobody can tell.
    desk.hear(interim("a", "1", 700).v4("10.0.0.1"));
    assert_eq!(desk.who("10.0.0.1"), "");
    desk.hear(interim("b", "2", 702));
    assert_eq!(desk.who("10.0.0.1"), "");
    desk.hear(stop("a", "1", 800));
    assert_eq!(desk.who("10.0.0.1"), "2");
}

#[test]
fn b19_in_ten_milliseconds_from_stop_to_start() {
    // The stamps have seconds only: Stop of one and Start of the other are in the same.
    let mut desk = Desk::new();
    desk.hear(start("a", "1", 100).v4("10.0.0.1"));
    desk.hear(stop("a", "1", 200));
    assert_eq!(desk.who("10.0.0.1"), "");
    desk.hear(start("b", "2", 200).v4("10.0.0.1"));
    assert_eq!(desk.who("10.0.0.1"), "2");
    let mut desk = Desk::new();
    desk.hear(start("a", "1", 100).v4("10.0.0.1"));
    desk.hear(start("b", "2", 200).v4("10.0.0.1"));
    desk.hear(stop("a", "1", 200));
    assert_eq!(desk.who("10.0.0.1"), "2", "swapped");
    // One that lasted for less than a second: only what comes later tells.
    let mut desk = Desk::new();
    desk.hear(start("a", "1", 100).v4("10.0.0.1"));
    desk.hear(stop("a", "1", 100));
    desk.hear(start("b", "2", 100).v4("10.0.0.1"));
    assert_eq!(desk.who("10.0.0.1"), "");
    desk.hear(interim("b", "2", 102));
    assert_eq!(desk.who("10.0.0.1"), "2");
}

#[test]
fn b19_sessions_of_one_subscriber_do_not_outlast_another_who_was_between_them() {
    let mut desk = Desk::new();
    desk.hear(start("a", "1", 100).v4("10.0.0.1"));
    desk.hear(start("c", "1", 300).v4("10.0.0.1"));
    assert_eq!(outcome(&desk.hear(start("b", "2", 200).v4("10.0.0.1"))), Outcome::Applied);
    assert_eq!(desk.who("10.0.0.1"), "1");
    desk.hear(stop("c", "1", 400));
    assert_eq!(desk.who("10.0.0.1"), "", "the first one lost it when the second subscriber's began");
}

#[test]
fn c30_what_a_flow_needs_that_is_older_than_the_news_comes_with_the_block() {
    let mut desk = Desk::new();
    let decision = desk.hear(interim("a", "1", 700).lasting(600).v4("10.0.0.1"));
    assert_eq!((decision.bound[0].start, decision.bound[0].free_since), (BEGIN + 100, None));
    desk.hear(stop("a", "1", 800));
    let decision = desk.hear(start("b", "2", 900).v4("10.0.0.1"));
    assert_eq!((decision.bound[0].start, decision.bound[0].free_since), (BEGIN + 900, Some(BEGIN + 800)));
}

#[test]
fn b21_a_static_block_around_an_address_that_is_nobodys_does_not_have_it() {
    let mut desk = Desk::new();
    let around = billing_export::Session::new(billing_export::SubscriberType::Account, "school", "").unwrap();
    desk.table.apply([Change {
        block: "10.0.0.0/24".parse::<ipnet::IpNet>().unwrap().into(),
        source: SessionSource::Static,
        event: Event::Bind(around.clone()),
    }]);
    desk.hear(start("a", "1", 100).v4("10.0.0.1"));
    desk.hear(start("b", "2", 100).v4("10.0.0.1"));
    assert_eq!(desk.table.find(ip("10.0.0.1")), None);
    desk.hear(stop("a", "1", 200));
    desk.hear(stop("b", "2", 200));
    assert_eq!(desk.table.find(ip("10.0.0.1")).map(|holding| holding.session), Some(around));
}

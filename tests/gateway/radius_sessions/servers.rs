//! Access servers: which is which, and what On and Off end.

use gateway::flow::session::accounting::{Kind, Nas, Outcome, Status};

use super::{Desk, NAS, Packet, interim, ip, outcome, start, stop};

fn named(v4: Option<&str>, identifier: Option<&str>, source: &str) -> Nas {
    Nas::new(v4.map(|v4| v4.parse().unwrap()), None, identifier.map(str::as_bytes), ip(source))
}

fn on(second: u32) -> Packet {
    Packet::new(Status::On, NAS, "", second)
}

#[test]
fn c14_the_same_session_id_at_two_access_servers_is_two_sessions() {
    let mut desk = Desk::new();
    let at = |nas, subscriber, address| {
        Packet::new(Status::Start, nas, "81a09556", 100).of(subscriber).v4(address)
    };
    desk.hear(at("192.0.2.1", "1", "10.0.0.1"));
    desk.hear(at("192.0.2.2", "2", "10.0.0.2"));
    assert_eq!((desk.who("10.0.0.1"), desk.who("10.0.0.2")), ("1".into(), "2".into()));
    desk.hear(Packet::new(Status::Stop, "192.0.2.1", "81a09556", 200));
    assert_eq!((desk.who("10.0.0.1"), desk.who("10.0.0.2")), (String::new(), "2".into()));
}

#[test]
fn c15_an_access_server_is_what_is_present_of_it() {
    let mut desk = Desk::new();
    let servers = [
        named(None, Some("bng-1"), "192.0.2.1"),
        named(None, Some("bng-2"), "192.0.2.1"),
        named(Some("192.0.2.1"), None, "192.0.2.1"),
        named(None, None, "192.0.2.1"),
        named(None, None, "192.0.2.2"),
    ];
    for (number, nas) in servers.iter().enumerate() {
        let subscriber = number.to_string();
        desk.hear(start("a", &subscriber, 100).v4(&format!("10.0.0.{number}")).nas(nas.clone()));
    }
    for number in 0..servers.len() {
        assert_eq!(desk.who(&format!("10.0.0.{number}")), number.to_string());
    }
    // The source is no part of one that has a name.
    desk.hear(stop("a", "0", 200).nas(named(None, Some("bng-1"), "192.0.2.99")));
    assert_eq!(desk.who("10.0.0.0"), "");
}

#[test]
fn c16_t35_after_an_on_that_was_no_reboot_the_next_interim_opens_its_session_at_once() {
    let mut desk = Desk::new();
    desk.hear(start("a", "1", 100).v4("10.0.0.1"));
    let decision = desk.hear(on(500));
    assert_eq!(decision.ended.len(), 1);
    assert_eq!(desk.who("10.0.0.1"), "");
    assert_eq!(outcome(&desk.hear(interim("a", "1", 500).v4("10.0.0.1"))), Outcome::Old);
    assert_eq!(outcome(&desk.hear(interim("a", "1", 501).v4("10.0.0.1"))), Outcome::Reopened);
    assert_eq!(desk.session("10.0.0.1"), "a@1700000100");
    // One that was never heard of and went on through it is there at once too; one of before is not.
    desk.hear(interim("b", "2", 510).lasting(300).v4("10.0.0.2"));
    desk.hear(interim("c", "3", 490).lasting(300).v4("10.0.0.3"));
    assert_eq!((desk.who("10.0.0.2"), desk.who("10.0.0.3")), ("2".into(), String::new()));
}

#[test]
fn c17_an_on_ends_sessions_that_agree_with_each_of_its_attributes() {
    let mut desk = Desk::new();
    let servers = [
        (named(Some("192.0.2.1"), Some("vrf-a"), "192.0.2.1"), "10.0.0.1"),
        (named(Some("192.0.2.1"), Some("vrf-b"), "192.0.2.1"), "10.0.0.2"),
        (named(Some("192.0.2.1"), None, "192.0.2.1"), "10.0.0.3"),
        (named(Some("192.0.2.2"), Some("vrf-a"), "192.0.2.1"), "10.0.0.4"),
    ];
    for (nas, address) in &servers {
        desk.hear(start("a", address, 100).v4(address).nas(nas.clone()));
    }
    let elsewhere = start("a", "else", 100).v4("10.0.0.5").client(|client| client.realm = "other".into());
    desk.hear(elsewhere.nas(servers[0].0.clone()));
    let left =
        |desk: &Desk| (1..=5).filter(|n| !desk.who(&format!("10.0.0.{n}")).is_empty()).collect::<Vec<_>>();
    desk.hear(on(200).nas(servers[0].0.clone()));
    assert_eq!(left(&desk), [2, 3, 4, 5]);
    desk.hear(Packet::new(Status::Off, NAS, "", 300));
    assert_eq!(left(&desk), [4, 5]);
}

#[test]
fn c18_t35_b22_an_on_ends_what_began_before_it_and_its_repeats_change_nothing() {
    let mut desk = Desk::new();
    desk.hear(start("old", "1", 100).v4("10.0.0.1"));
    desk.hear(start("new", "2", 500).v4("10.0.0.2"));
    desk.hear(start("newer", "3", 501).v4("10.0.0.3"));
    desk.hear(on(500));
    assert_eq!((desk.who("10.0.0.1"), desk.who("10.0.0.2")), (String::new(), "2".into()));
    desk.hear(interim("old", "1", 503).v4("10.0.0.1"));
    for _ in 0..50 {
        let decision = desk.hear(on(500));
        assert_eq!((outcome(&decision), decision.changes.len()), (Outcome::Old, 0));
    }
    assert_eq!((desk.who("10.0.0.1"), desk.who("10.0.0.3")), ("1".into(), "3".into()));
    // After a reboot its ids come again, for others.
    desk.hear(on(600));
    desk.hear(start("old", "4", 610).v4("10.0.0.1"));
    desk.hear(interim("old", "1", 599).v4("10.0.0.1"));
    assert_eq!(desk.session("10.0.0.1"), "old@1700000610");
}

#[test]
fn c18_a_start_that_comes_late_from_before_the_on_binds_nothing() {
    let mut desk = Desk::new();
    desk.hear(on(500));
    assert_eq!(outcome(&desk.hear(start("a", "1", 400).v4("10.0.0.1"))), Outcome::Old);
    // Of a server that is new to us, too.
    let part = named(Some(NAS), Some("vrf"), NAS);
    assert_eq!(outcome(&desk.hear(start("b", "1", 450).v4("10.0.0.2").nas(part.clone()))), Outcome::Old);
    assert_eq!(outcome(&desk.hear(start("b", "1", 550).v4("10.0.0.2").nas(part))), Outcome::Applied);
}

#[test]
fn c19_b22_a_reboot_that_nobody_tells_of_is_cleared_by_later_starts_and_silence() {
    let mut desk = Desk::new();
    desk.hear(start("a", "1", 100).v4("10.0.0.1"));
    desk.hear(start("b", "2", 100).v4("10.0.0.2"));
    // The ids come again.
    desk.hear(start("a", "2", 400).v4("10.0.0.1"));
    assert_eq!(desk.who("10.0.0.1"), "2");
    desk.tick(1_900);
    assert_eq!(desk.state("10.0.0.2"), Some(super::SessionState::Stale));
    desk.hear(start("b", "3", 2_000).v4("10.0.0.2"));
    assert_eq!(desk.who("10.0.0.2"), "3");
}

#[test]
fn c36_routes_are_bound_where_that_is_configured() {
    let mut desk = Desk::new();
    let school = || start("a", "school", 100).v4("10.0.0.1").at(Kind::Route, "198.51.100.0/24");
    desk.hear(school());
    assert_eq!(desk.who("198.51.100.7"), "");
    let mut desk = Desk::new();
    desk.hear(school().client(|client| client.routes = true));
    assert_eq!(desk.who("198.51.100.7"), "school");
    desk.hear(start("b", "guest", 200).v4("198.51.100.7"));
    assert_eq!((desk.who("198.51.100.7"), desk.who("198.51.100.8")), ("guest".into(), "school".into()));
}

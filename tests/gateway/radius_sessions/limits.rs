//! The room there is: at the limit, one over it, and what a session takes of it.

use gateway::flow::session::Block;
use gateway::flow::session::accounting::{Kind, Nas, Outcome, Registry};

use super::{Desk, HISTORY_S, Packet, interim, ip, limits, moment, outcome, start, stop};

#[test]
fn one_session_more_than_there_is_room_for_binds_nothing() {
    let mut desk = Desk::with(limits(2));
    let at = |id: &str, second| start(id, id, second).v4(&format!("10.0.0.{id}"));
    assert_eq!(outcome(&desk.hear(at("1", 100))), Outcome::Applied);
    assert_eq!(outcome(&desk.hear(at("2", 100))), Outcome::Applied);
    let decision = desk.hear(at("3", 101));
    assert_eq!((outcome(&decision), decision.rows.len()), (Outcome::Full, 0));
    assert_eq!((desk.who("10.0.0.1"), desk.who("10.0.0.3")), ("1".into(), String::new()));
    assert_eq!(outcome(&desk.hear(interim("2", "2", 150))), Outcome::Applied, "who is in goes on");
    desk.hear(stop("1", "1", 200));
    assert_eq!(outcome(&desk.hear(at("3", 201))), Outcome::Applied);
}

#[test]
fn b19_a_session_for_which_there_is_no_room_has_its_address_from_whoever_had_it() {
    let mut desk = Desk::with(limits(2));
    desk.hear(start("1", "1", 100).v4("10.0.0.1").at(Kind::Prefix, "2001:db8::/64"));
    desk.hear(start("2", "2", 100).v4("10.0.0.2"));
    assert_eq!(outcome(&desk.hear(start("3", "3", 200).v4("10.0.0.1"))), Outcome::Full);
    assert_eq!((desk.who("10.0.0.1"), desk.who("2001:db8::1")), (String::new(), "1".into()));
    desk.hear(interim("1", "1", 300).v4("10.0.0.1"));
    assert_eq!(desk.who("10.0.0.1"), "");
    // Where that was the other's last address there is room.
    assert_eq!(outcome(&desk.hear(start("4", "4", 400).v4("10.0.0.2"))), Outcome::Applied);
    assert_eq!(desk.who("10.0.0.2"), "4");
}

#[test]
fn one_block_more_than_a_session_may_name_is_told() {
    let many = |count: u8| (0..count).map(|last| Block::of([10, 0, 1, last].into())).collect::<Vec<_>>();
    let mut desk = Desk::new();
    assert_eq!(outcome(&desk.hear(start("a", "1", 100).blocks(Kind::V6, many(64)))), Outcome::Applied);
    assert_eq!(outcome(&desk.hear(start("b", "2", 101).blocks(Kind::V6, many(65)))), Outcome::Full);
    assert_eq!((desk.who("10.0.1.63"), desk.who("10.0.1.64")), ("2".into(), String::new()));
}

#[test]
fn one_block_more_than_all_may_have_is_told() {
    let many = |count: u8| (0..count).map(|last| Block::of([10, 0, 1, last].into())).collect::<Vec<_>>();
    for (count, what) in [(4, Outcome::Applied), (5, Outcome::Full)] {
        let mut desk = Desk::with(limits(1));
        assert_eq!(outcome(&desk.hear(start("a", "1", 100).blocks(Kind::V6, many(count)))), what);
        assert_eq!((desk.who("10.0.1.3"), desk.who("10.0.1.4")), ("1".into(), String::new()));
    }
}

#[test]
fn one_access_server_more_than_are_told_apart_binds_nothing_and_a_sweep_looks_at_so_many_sessions() {
    let mut registry = Registry::new(limits(100_000), moment(0));
    let mut hear = |number: u32, id: &str| {
        let nas = Nas::new(Some(std::net::Ipv4Addr::from_bits(number)), None, None, ip("192.0.2.1"));
        registry.decide(&start(id, "1", 100).nas(nas).0, moment(100)).outcome
    };
    for number in 0..65_536 {
        assert_eq!(hear(number, "a"), Outcome::NoAddress);
    }
    assert_eq!(hear(65_536, "a"), Outcome::Full);
    assert_eq!(hear(65_535, "b"), Outcome::NoAddress);
    // Of the sessions, one more than that, all but one are looked at, and then the one.
    assert_eq!(registry.tick(moment(1_900)).rows.len(), 65_536);
    assert_eq!(registry.tick(moment(1_901)).rows.len(), 1);
    assert_eq!(registry.tick(moment(1_902)).rows.len(), 0);
}

#[test]
fn b19_who_is_forgotten_for_want_of_room_does_not_come_back() {
    let mut desk = Desk::with(limits(4));
    for number in 1..=20_u32 {
        let (id, address) = (number.to_string(), format!("10.0.0.{number}"));
        desk.hear(start(&id, &id, 100 * number).v4(&address));
        desk.hear(stop(&id, &id, 100 * number + 50));
    }
    assert_eq!((desk.registry.known(), desk.registry.spots(), desk.memory.rows.len()), (4, 16, 4));
    // The first is forgotten: whether it has ended nobody can tell.
    assert_eq!(outcome(&desk.hear(interim("1", "1", 140).v4("10.0.0.1"))), Outcome::Old);
    assert_eq!(desk.who("10.0.0.1"), "");
    // Nor who had its address: it is for those that start later than whoever is forgotten.
    desk.hear(interim("x", "x", 2_100).lasting(2_000).v4("10.0.0.1"));
    assert_eq!(desk.who("10.0.0.1"), "");
    desk.hear(start("y", "y", 2_200).v4("10.0.0.1"));
    assert_eq!(desk.who("10.0.0.1"), "y");
}

#[test]
fn what_comes_and_goes_leaves_nothing_behind() {
    let mut desk = Desk::with(limits(10));
    for number in 0..5_000_u32 {
        let second = 10 * number;
        let id = (number % 7).to_string();
        desk.hear(start(&id, &id, second).v4("10.0.0.1"));
        desk.hear(stop(&id, &id, second + 5));
    }
    assert_eq!((desk.registry.open(), desk.registry.spots()), (0, 1));
    desk.tick(50_000 + HISTORY_S + 1);
    assert_eq!((desk.registry.known(), desk.registry.spots(), desk.memory.rows.len()), (0, 0, 0));
}

/// Bytes for each of so many sessions that came in any order.
fn bytes_each(sessions: u32, packet: impl Fn(u32) -> Packet) -> u64 {
    let mut registry = Registry::new(limits(1_000_000), moment(0));
    let packets: Vec<_> = (0..sessions).map(|number| packet(number.wrapping_mul(7_919) % sessions)).collect();
    let info = allocation_counter::measure(|| {
        for packet in &packets {
            registry.decide(&packet.0, moment(200));
        }
    });
    assert_eq!(registry.open(), sessions as usize);
    u64::try_from(info.bytes_current).unwrap() / u64::from(sessions)
}

#[test]
fn a_session_takes_at_most_512_bytes() {
    let address = |number: u32| Block::of(std::net::IpAddr::V4((0x0a00_0000 + number).into()));
    let prefix = |number: u32| {
        let network = std::net::Ipv6Addr::from_bits((0x2001_0db8_u128 << 96) + (u128::from(number) << 64));
        Block::from(ipnet::IpNet::new(network.into(), 64).unwrap())
    };
    let packet = |number: u32| {
        let id = format!("{number:08x}{number:08x}");
        start(&id, &format!("{:012}", 77_010_000_000_u64 + u64::from(number)), 100)
    };
    // A sixteenth of a million: tables that grow by doubling are as full as of a million.
    let sessions = 62_500;
    let single = bytes_each(sessions, |number| packet(number).blocks(Kind::V4, vec![address(number)]));
    let dual = bytes_each(sessions, |number| {
        let packet = packet(number).blocks(Kind::V4, vec![address(number)]);
        packet.blocks(Kind::Prefix, vec![prefix(number)])
    });
    println!("bytes a session: {single} with an address, {dual} with an address and a prefix");
    assert!(single <= 512 && dual <= 512, "{single} and {dual} bytes a session");
}

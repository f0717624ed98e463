//! Translators: ports of an outside address, outside addresses, and a translator that accounts by itself.

use gateway::flow::session::accounting::{ClientKind, Kind, Outcome, Ports, Side, Takeover};

use super::{Desk, Packet, interim, outcome, start, stop};

const OUT: &str = "198.51.100.1";

fn outside(packet: Packet) -> Packet {
    packet.client(|client| client.side = Side::Outside)
}

/// A packet of a translator's own, about an inside address.
fn nat(packet: Packet) -> Packet {
    let mut packet = outside(packet).client(|client| client.kind = ClientKind::Nat);
    packet.0.subscriber = super::account("LSN44@10.0.0.1");
    packet
}

#[test]
fn c31_sessions_with_ports_share_their_inside_address_and_do_not_end_one_another() {
    let mut desk = Desk::new();
    let of = |id: &str, subscriber: &str, first, last| {
        outside(start(id, subscriber, 100)).v4("10.0.0.1").ports(OUT, first, last, Ports::Replace)
    };
    desk.hear(of("a", "1", 1_000, 1_999));
    assert!(desk.hear(of("b", "2", 2_000, 2_999)).ended.is_empty());
    assert_eq!(desk.who("10.0.0.1"), "", "one of many alike");
    for (port, who) in [(999, ""), (1_000, "1"), (1_999, "1"), (2_000, "2"), (2_999, "2"), (3_000, "")] {
        assert_eq!(desk.at_port(OUT, port), who, "{port}");
    }
    // Ports may come later than the Start; then the inside address goes.
    desk.hear(outside(start("c", "3", 200)).v4("10.0.0.3"));
    assert_eq!(desk.who("10.0.0.3"), "3");
    desk.hear(outside(interim("c", "3", 201)).v4("10.0.0.3").ports(OUT, 5_000, 5_001, Ports::Add));
    assert_eq!((desk.who("10.0.0.3"), desk.at_port(OUT, 5_000)), (String::new(), "3".into()));
    // And it stays away when they go.
    desk.hear(outside(interim("c", "3", 300)).v4("10.0.0.3").ports(OUT, 5_000, 5_001, Ports::Remove));
    assert_eq!((desk.who("10.0.0.3"), desk.at_port(OUT, 5_000)), (String::new(), String::new()));
}

#[test]
fn c32_b21_blocks_are_added_taken_away_and_replaced() {
    let mut desk = Desk::new();
    let packet = |second| outside(interim("a", "1", second));
    desk.hear(packet(100).ports(OUT, 37_674, 37_723, Ports::Replace).ports(OUT, 35_807, 38_556, Ports::Add));
    assert_eq!(desk.at_port(OUT, 38_556), "1");
    desk.hear(packet(200).ports(OUT, 60_000, 65_535, Ports::Add));
    assert_eq!((desk.at_port(OUT, 65_535), desk.at_port(OUT, 35_807)), ("1".into(), "1".into()));
    desk.hear(packet(300).ports(OUT, 60_000, 65_535, Ports::Remove));
    assert_eq!((desk.at_port(OUT, 60_000), desk.at_port(OUT, 37_700)), (String::new(), "1".into()));
    desk.hear(packet(400).ports(OUT, 0, 10, Ports::Replace));
    assert_eq!((desk.at_port(OUT, 37_700), desk.at_port(OUT, 0)), (String::new(), "1".into()));
    desk.hear(packet(500));
    assert_eq!(desk.at_port(OUT, 10), "1", "a packet that says nothing of ports leaves them");
    desk.hear(outside(stop("a", "1", 600)));
    assert_eq!(desk.at_port(OUT, 0), "");
}

#[test]
fn c31_b19_ports_pass_on_as_addresses_do() {
    let mut desk = Desk::new();
    let of = |id: &str, subscriber: &str, second, first, last| {
        outside(start(id, subscriber, second)).ports(OUT, first, last, Ports::Replace)
    };
    desk.hear(of("a", "1", 100, 1_000, 1_999));
    // A block that shares a port with it, by a later start, takes all of it; an earlier one takes nothing.
    desk.hear(of("z", "9", 99, 1_999, 2_500));
    assert_eq!((desk.at_port(OUT, 1_999), desk.at_port(OUT, 2_000)), ("1".into(), String::new()));
    let decision = desk.hear(of("b", "2", 200, 1_500, 2_499));
    assert_eq!(decision.takeovers, [Takeover::LaterStart]);
    assert!(decision.ended.iter().all(|ended| ended.stop_lost) && decision.ended.len() == 1);
    assert_eq!((desk.at_port(OUT, 1_000), desk.at_port(OUT, 1_500)), (String::new(), "2".into()));
    // Equal starts, blocks that overlap: nobody's, until one goes on.
    desk.hear(of("c", "3", 200, 2_000, 2_999));
    assert_eq!((desk.at_port(OUT, 1_500), desk.at_port(OUT, 2_999)), (String::new(), String::new()));
    desk.hear(outside(interim("c", "3", 300)).ports(OUT, 2_000, 2_999, Ports::Replace));
    assert_eq!(desk.at_port(OUT, 2_000), "3");
    // The other goes on as well: nobody's for good.
    desk.hear(outside(interim("b", "2", 310)).ports(OUT, 1_500, 2_499, Ports::Replace));
    desk.hear(outside(interim("c", "3", 900)).ports(OUT, 2_000, 2_999, Ports::Replace));
    desk.hear(outside(interim("b", "2", 910)).ports(OUT, 1_500, 2_499, Ports::Replace));
    assert_eq!((desk.at_port(OUT, 1_500), desk.at_port(OUT, 2_200)), (String::new(), String::new()));
    desk.hear(of("d", "4", 1_000, 2_000, 2_999));
    assert_eq!(desk.at_port(OUT, 2_000), "4", "whoever starts later has them");
}

#[test]
fn c37_a_whole_outside_address_is_seen_from_outside_and_the_inside_one_from_inside() {
    let packet = || start("a", "1", 100).v4("10.0.0.1").at(Kind::Outside, OUT);
    let mut desk = Desk::new();
    desk.hear(outside(packet()));
    assert_eq!((desk.who("10.0.0.1"), desk.who(OUT)), (String::new(), "1".into()));
    assert_eq!(desk.at_port(OUT, 443), "1");
    let mut desk = Desk::new();
    desk.hear(packet().ports(OUT, 1, 2, Ports::Add));
    assert_eq!((desk.who("10.0.0.1"), desk.who(OUT)), ("1".into(), String::new()));
}

#[test]
fn c33_a_translators_session_is_the_access_sessions_while_that_lasts() {
    let mut desk = Desk::new();
    desk.hear(outside(start("a", "1", 100)).v4("10.0.0.1"));
    let ports = |packet| nat(packet).v4("10.0.0.1").ports(OUT, 1_000, 1_999, Ports::Replace);
    assert_eq!(outcome(&desk.hear(ports(start("n", "", 110)))), Outcome::Applied);
    assert_eq!((desk.at_port(OUT, 1_000), desk.at_port(OUT, 2_000)), ("1".into(), String::new()));
    let decision = desk.hear(stop("a", "1", 200));
    assert_eq!((desk.at_port(OUT, 1_000), decision.ended.len()), (String::new(), 2));
    // Another subscriber has the inside address: the ports are his when the translator says so.
    desk.hear(outside(start("b", "2", 300)).v4("10.0.0.1"));
    assert_eq!(desk.at_port(OUT, 1_000), "");
    desk.hear(ports(interim("n", "", 299)));
    assert_eq!(desk.at_port(OUT, 1_000), "");
    desk.hear(ports(interim("n", "", 310)));
    assert_eq!(desk.at_port(OUT, 1_000), "2");
    // He loses the inside address, and with it the ports.
    desk.hear(outside(start("c", "3", 400)).v4("10.0.0.1"));
    assert_eq!(desk.at_port(OUT, 1_000), "");
    desk.hear(ports(stop("n", "", 500)));
    assert_eq!((desk.who("10.0.0.1"), desk.at_port(OUT, 1_000)), ("3".into(), String::new()));
}

#[test]
fn c33_a_translators_session_that_is_told_first_waits_for_an_access_session_that_is_older() {
    let ports = |packet| nat(packet).v4("10.0.0.1").ports(OUT, 1_000, 1_999, Ports::Replace);
    for (begun, who) in [(110, "1"), (111, "")] {
        let mut desk = Desk::new();
        assert_eq!(outcome(&desk.hear(ports(start("n", "", 110)))), Outcome::NoSubscriber);
        desk.hear(outside(start("a", "1", begun)).v4("10.0.0.1"));
        assert_eq!(desk.at_port(OUT, 1_000), who, "{begun}");
    }
    // Another realm's access session is none of its.
    let mut desk = Desk::new();
    desk.hear(start("a", "1", 100).v4("10.0.0.1").client(|client| client.realm = "other".into()));
    assert_eq!(outcome(&desk.hear(ports(start("n", "", 110)))), Outcome::NoSubscriber);
}

#[test]
fn b21_c31_an_address_of_which_somebody_has_ports_is_nobodys_by_the_static_table() {
    let mut desk = Desk::new();
    let row = billing_export::Session::new(billing_export::SubscriberType::Account, "static", "").unwrap();
    desk.table.replace_static([("198.51.100.0/24".parse::<ipnet::IpNet>().unwrap().into(), row)]);
    let by_table = |desk: &Desk, port| {
        let holding = desk.table.find_at(super::ip(OUT), port);
        holding.map_or_else(String::new, |holding| holding.session.subscriber_id().to_owned())
    };
    assert_eq!((by_table(&desk, Some(1)), by_table(&desk, None)), ("static".into(), "static".into()));
    let one = |status: fn(&str, &str, u32) -> Packet, second| {
        outside(status("a", "1", second)).ports(OUT, 1_000, 1_999, Ports::Replace)
    };
    desk.hear(one(start, 100));
    desk.hear(outside(start("b", "2", 100)).ports(OUT, 2_000, 2_063, Ports::Replace));
    assert_eq!((by_table(&desk, Some(1_500)), by_table(&desk, Some(2_063))), ("1".into(), "2".into()));
    assert_eq!((by_table(&desk, Some(999)), by_table(&desk, None)), (String::new(), String::new()));
    desk.hear(one(stop, 200));
    assert_eq!((by_table(&desk, Some(1_500)), by_table(&desk, Some(2_000))), (String::new(), "2".into()));
    // A restart leaves it so.
    let mut desk = desk.restarted(super::Away::TookOver);
    assert_eq!((by_table(&desk, Some(1_500)), by_table(&desk, Some(2_000))), (String::new(), "2".into()));
    // A session with the whole address has all of its ports, and leaves it to nobody.
    desk.hear(outside(start("c", "3", 300)).at(Kind::Outside, OUT));
    assert_eq!((by_table(&desk, Some(2_000)), by_table(&desk, None)), ("3".into(), "3".into()));
    let decision = desk.hear(outside(start("d", "4", 400)).ports(OUT, 5_000, 5_000, Ports::Replace));
    assert_eq!((by_table(&desk, Some(5_000)), by_table(&desk, Some(5_001))), ("4".into(), String::new()));
    let whole = super::Block::of(super::ip(OUT));
    let of_whole = decision.changes.iter().filter(|change| change.block == whole);
    assert_eq!(of_whole.count(), 1, "from one to the other in one step: {:?}", decision.changes);
    desk.hear(outside(stop("d", "4", 500)));
    assert_eq!((by_table(&desk, Some(5_000)), by_table(&desk, None)), (String::new(), String::new()));
    assert_eq!(desk.table.len(), 0, "nothing is left of it");
}

#[test]
fn b21_c32_ranges_that_share_a_part_pass_on_whole_whichever_begins_first() {
    for (before, after) in [((1_000, 1_999), (512, 1_535)), ((512, 1_535), (1_000, 1_999))] {
        let mut desk = Desk::new();
        let of = |id: &str, second, (first, last)| {
            outside(start(id, id, second)).ports(OUT, first, last, Ports::Replace)
        };
        desk.hear(of("1", 100, before));
        desk.hear(of("2", 200, after));
        for port in (0..=2_100).step_by(7) {
            let is_his = after.0 <= port && port <= after.1;
            assert_eq!(desk.at_port(OUT, port), if is_his { "2" } else { "" }, "{port} of {after:?}");
        }
        // One's own range moves alike.
        desk.hear(outside(interim("2", "2", 300)).ports(OUT, before.0, before.1, Ports::Replace));
        for port in (0..=2_100).step_by(7) {
            let is_his = before.0 <= port && port <= before.1;
            assert_eq!(desk.at_port(OUT, port), if is_his { "2" } else { "" }, "{port} of {before:?}");
        }
    }
}

#[test]
fn b21_c6_of_two_sessions_of_one_subscriber_that_share_ports_the_one_that_is_left_has_its_own() {
    for (first, second) in [((1_000, 1_999), (1_500, 2_499)), ((1_500, 2_499), (1_000, 1_999))] {
        let mut desk = Desk::new();
        let of =
            |id: &str, (first, last)| outside(start(id, "1", 100)).ports(OUT, first, last, Ports::Replace);
        desk.hear(of("a", first));
        desk.hear(of("b", second));
        assert!((1_000..=2_499).step_by(7).all(|port| {
            let holding = desk.table.find_at(super::ip(OUT), Some(port));
            holding.is_some_and(|holding| holding.session.subscriber_id() == "1")
        }));
        desk.hear(outside(stop("b", "1", 200)));
        for port in (900..=2_600).step_by(7) {
            let is_left = first.0 <= port && port <= first.1;
            assert_eq!(desk.at_port(OUT, port), if is_left { "1" } else { "" }, "{port} of {first:?}");
        }
    }
}

/// Whatever ranges come and go, and whole addresses between them, the table says of each port what the registry says.
#[test]
fn b20_b21_in_a_storm_of_ranges_the_table_says_what_the_registry_says() {
    for seed in 0..20 {
        let dice = &mut super::world::Dice(seed);
        let mut desk = Desk::new();
        for second in 100..400 {
            let (id, subscriber) = (dice.below(9), dice.below(4));
            let (id, subscriber) = (format!("{id}"), format!("{subscriber}"));
            let (first, length) = (dice.below(16) * 100, 1 + dice.below(700));
            let (first, last) = (first as u16, (first + length) as u16);
            let second = second - dice.below(4) as u32;
            let status = [start, interim, interim, stop][dice.below(4) as usize];
            let packet = outside(status(&id, &subscriber, second));
            let change = [Ports::Replace, Ports::Replace, Ports::Add, Ports::Remove][dice.below(4) as usize];
            desk.hear(match dice.below(20) {
                0 => packet.at(Kind::Outside, OUT),
                _ => packet.ports(OUT, first, last, change),
            });
            for port in (0..2_400).step_by(50).flat_map(|port| [port, port + 1]) {
                let registry = desk.registry.find(super::ip(OUT), Some(port)).map(|holder| holder.session);
                let table = desk.table.find_at(super::ip(OUT), Some(port)).map(|holding| holding.session);
                let who = |session: Option<billing_export::Session>| {
                    session.map(|session| session.subscriber_id().to_owned())
                };
                assert_eq!(who(table), who(registry), "port {port} at {second}, seed {seed}");
            }
        }
        desk.tick(super::HISTORY_S * 3);
        for _ in 0..4 {
            desk.tick(desk.now + super::HISTORY_S);
        }
        assert_eq!(desk.table.len(), 0, "nothing is left, seed {seed}");
    }
}

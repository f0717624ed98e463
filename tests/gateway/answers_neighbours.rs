//! What one subscriber's questions do to another's bill: nothing. Unlisted names at a listed address, made-up names below a
//! listed one (traps F1, F2).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use support::ask::*;
use support::client::*;
use support::dns::Resolver;
use support::hellos::Hello;
use support::origin::Origin;
use support::plane::{self, exchange, start, visit, with_plane};
use support::scripted::{Scripted, answered, name_of};
use support::unbound::LISTED;
use support::{Gateway, LIST, PATIENCE, Setup, zone};

/// A site whose rule takes DNS evidence alone.
const MEDIA: &str = "media.example";
/// An exact entry of another service.
const ELSEWHERE: &str = "other-listed.example";
/// Bytes at shared addresses that each subscriber has exempt a day.
const CAP: u64 = 64 << 10;
/// Exchanges that take twice as much each way, and bytes of one.
const STEPS: u64 = 2 * CAP / STEP as u64;
const STEP: usize = 16_384;
/// Unlisted names, each of a registered domain of its own.
const STRANGERS: usize = 12;

/// An unlisted name.
fn stranger(number: usize) -> String {
    format!("www.stranger-{number}.example")
}

/// A gateway with an allowance for shared addresses and a plane before a resolver at which listed and unlisted names have
/// `origin`'s address.
fn world(origin: &Origin, change: impl FnOnce(Setup) -> Setup) -> (Gateway, SocketAddr, Resolver) {
    let resolver = Resolver::new(&[(MEDIA, origin.octets()), (LISTED, origin.octets())]);
    (0..STRANGERS).for_each(|number| resolver.add(&stranger(number), origin.octets()));
    let setup = zone::far_from_midnight(Setup::new().proxied().port_map(&[(443, origin.port())]));
    let setup = setup.set("allowance", &format!("shared_address_daily = \"{CAP} B\""));
    let setup = change(with_plane(setup, &[resolver.address]));
    let rule = format!(
        "[[service.rule]]\nhost = \"{MEDIA}\"\nreason = \"test\"\nevidence = \"seen\"\ndns_only = true\n\n[[deny]]"
    );
    setup.write("list.toml", LIST.replace("[[deny]]", &rule));
    let (gateway, address) = start(setup);
    (gateway, address, resolver)
}

/// Has more echoed than the cap permits; how much was carried both ways.
fn spend(mut client: TcpStream, name: &str) -> u64 {
    let mut carried = 0;
    let hello = [Hello::named(name).wire(), vec![23, 3, 3, 0, 1, 0]].concat();
    for part in std::iter::once(hello).chain((0..STEPS).map(|_| vec![7; STEP])) {
        client.write_all(&part).unwrap();
        assert_eq!(read_exactly(&mut client, part.len()), part);
        carried += part.len() as u64;
    }
    assert_eq!(finish(client), b"");
    2 * carried
}

/// Both directions together.
fn sum((up, down): (u64, u64)) -> u64 {
    up + down
}

/// The subscriber asks for all unlisted names.
fn ask_for_strangers(number: u8, address: SocketAddr) {
    for name in 0..STRANGERS {
        assert!(ask(subscriber(number), address, &query(1, &stranger(name), A), PATIENCE).is_some());
    }
}

#[test]
fn f1_n7_t24_what_others_ask_for_makes_no_address_shared_and_what_he_asks_for_counts_for_him_alone() {
    let origin = Origin::echo();
    let (gateway, address, _resolver) = world(&origin, |setup| setup);
    let destination = SocketAddr::new(origin.address.ip(), 443);
    let to = gateway.listener(0);
    for (number, name) in [(1, MEDIA), (2, LISTED), (9, MEDIA)] {
        assert!(ask(subscriber(number), address, &query(1, name, A), PATIENCE).is_some());
    }
    (3..=9).for_each(|number| ask_for_strangers(number, address));
    let nameless = exchange(connect_proxied(1, to, destination), &Hello::bare().modern());
    exchange(connect_proxied(9, to, destination), &Hello::bare().modern());
    let carried = spend(connect_proxied(2, to, destination), LISTED);
    spend(connect_proxied(9, to, destination), MEDIA);
    let usage = gateway.stop_and_count();
    assert!(usage.conserved);
    assert_eq!(usage.exempt("s1"), (nameless, nameless), "{:?}", usage.reasons("s1"));
    assert_eq!(sum(usage.exempt("s2")), carried, "{:?}", usage.reasons("s2"));
    // Who asked for both is told apart by nobody: no right without a name, and the cap with one.
    assert_eq!(usage.reasons("s9"), ["cap_reached", "dns_shared"]);
    assert!(sum(usage.exempt("s9")) <= CAP);
}

/// A server at which every name has 16 addresses of its own, but for one that has `site`.
fn wildcard(site: [u8; 4]) -> Scripted {
    let answer = move |query: &[u8]| {
        let name = name_of(query);
        if name == ELSEWHERE || name == LISTED {
            return answered(query, site);
        }
        let seed = name
            .bytes()
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        let mut bytes = answered(query, [127, 3, 0, 0]);
        bytes[7] = 16;
        for number in 1..16_u32 {
            let [_, b, c, d] = seed.wrapping_add(number).to_be_bytes();
            bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 0x2c, 0, 4, 127, b | 0x80, c, d]);
        }
        bytes
    };
    Scripted::new(move |query| vec![(true, answer(query))], answer)
}

#[test]
fn f2_made_up_names_below_a_listed_one_leave_room_for_everybody_s_first_visits() {
    const NAMES: usize = 400;
    let origin = Origin::echo();
    let upstream = wildcard(origin.octets());
    let (gateway, address) = plane::gateway(&[upstream.address], |setup| {
        setup.port_map(&[(443, origin.port())]).set("trusted_answers", "pairs_max = 4000")
    });
    std::thread::scope(|scope| {
        for number in 3..=6_u8 {
            scope.spawn(move || {
                let from: Ipv4Addr = subscriber(number);
                for name in 0..NAMES {
                    let name = format!("n{number}-{name}.listed.example");
                    assert!(ask(from, address, &query(1, &name, A), PATIENCE).is_some());
                }
            });
        }
    });
    let (code, words) = gateway.ask("/readyz").unwrap();
    assert!(code == 200 && words.contains("trusted_answers_full"), "{words}");
    let destination = SocketAddr::new(origin.address.ip(), 443);
    let mut lengths = Vec::new();
    for (number, name) in [(1, ELSEWHERE), (2, LISTED)] {
        assert!(ask(subscriber(number), address, &query(1, name, A), PATIENCE).is_some());
        lengths.push(visit(&gateway, number, name, destination));
    }
    let usage = gateway.stop_and_count();
    assert!(usage.conserved);
    for (who, length) in ["s1", "s2"].into_iter().zip(lengths) {
        assert_eq!(usage.exempt(who), (length, length), "{:?}", usage.reasons(who));
    }
}

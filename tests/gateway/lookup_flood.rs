//! Look-ups of steered flows while forged datagrams name what nobody ever asked for: pupils' first visits come through.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use support::client::*;
use support::datagrams;
use support::dns::Resolver;
use support::hellos::{Hello, record};
use support::origin::Origin;
use support::quic::Initial;
use support::{Gateway, LIST, Setup, eventually};

/// Sources that forge, and what each sends in a second.
const FORGERS: u8 = 4;
const FORGED_PER_SECOND: u32 = 300;
/// The most that all of them send.
const FORGED_MAX: u64 = 60_000;
/// First visits of each kind.
const VISITS: usize = 20;

/// A list with names of its own beside the subtree of `listed.example`.
fn list() -> String {
    let rule = |number| {
        let host = format!("host = \"exact-{number}.example\"");
        format!("[[service.rule]]\n{host}\nreason = \"test\"\nevidence = \"seen\"\n\n")
    };
    let rules: String = (0..2 * VISITS).map(rule).collect();
    LIST.replace("[[deny]]", &format!("{rules}[[deny]]"))
}

/// Sends Initials of made-up names from a subscriber's address until told to stop.
fn forge(number: u8, gateway: SocketAddr, stop: &AtomicBool, sent: &AtomicU64) {
    while !stop.load(Ordering::Relaxed) && sent.load(Ordering::Relaxed) < FORGED_MAX {
        let made_up = format!("x{}.listed.example", sent.fetch_add(1, Ordering::Relaxed));
        let initial = Initial::of(&Hello::named(&made_up).message()).seal();
        // From another port each: a flow of its own.
        let one = UdpSocket::bind((subscriber(number), 0)).unwrap();
        let _ = one.send_to(&initial, gateway);
        std::thread::sleep(Duration::from_secs(1) / FORGED_PER_SECOND);
    }
}

/// Whether a first visit over TCP is echoed.
fn visits(gateway: &Gateway, number: u8, name: &str) -> bool {
    let sent = [Hello::named(name).wire(), record(23, &[0])].concat();
    let mut client = connect_from(subscriber(number), gateway.listener(0));
    client.write_all(&sent).unwrap();
    let mut back = vec![0; sent.len()];
    client.read_exact(&mut back).is_ok() && back == sent
}

/// Sends an Initial again and again, as a client does, until the server has it.
fn reaches(gateway: &Gateway, number: u8, name: &str, server: &UdpSocket) -> bool {
    let initial = Initial::of(&Hello::named(name).message()).seal();
    let socket = datagrams::socket(subscriber(number));
    let mut buffer = [0; 2_048];
    eventually(|| {
        socket.send_to(&initial, gateway.listener(0)).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        while let Ok((length, _)) = server.recv_from(&mut buffer) {
            if buffer[..length] == initial[..] {
                return true;
            }
        }
        false
    })
}

#[test]
fn f4_forged_initials_of_made_up_names_take_nobody_s_first_visit() {
    let origin = Origin::echo();
    let server = UdpSocket::bind((origin.address.ip(), origin.port())).unwrap();
    server.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    let resolver = Resolver::new(&[]);
    (0..2 * VISITS).for_each(|number| resolver.add(&format!("exact-{number}.example"), origin.octets()));
    (0..VISITS).for_each(|number| resolver.add(&format!("fresh-{number}.listed.example"), origin.octets()));
    let setup = Setup::new().steered().resolver(resolver.address).port_map(&[(443, origin.port())]);
    setup.write("list.toml", list());
    let gateway = setup
        .set("lookup", "scheduled_per_second_max = 0")
        .set("limits", "flows_per_subscriber_max = 100000")
        .set("limits", "drain = \"0 s\"")
        .set("limits", "drain_hard = \"0 s\"")
        .start();
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let missed: Vec<String> = std::thread::scope(|scope| {
        for number in 1..=FORGERS {
            let (listener, stop, sent) = (gateway.listener(0), &stop, &sent);
            scope.spawn(move || forge(number, listener, stop, sent));
        }
        // What they are left is used up.
        let flooded = || gateway.metric("zrgw_lookups_total{outcome=\"refused\"}") > 100;
        assert!(eventually(flooded), "{}", gateway.log());
        let visit = |number: usize, name: String| {
            let came = visits(&gateway, 5 + (number % 4) as u8, &name);
            (!came).then_some(name)
        };
        let exact = (0..VISITS).filter_map(|number| visit(number, format!("exact-{number}.example")));
        let fresh = (0..VISITS).filter_map(|number| visit(number, format!("fresh-{number}.listed.example")));
        let quic = (VISITS..2 * VISITS).map(|number| format!("exact-{number}.example"));
        let quic = quic.filter(|name| !reaches(&gateway, 9, name, &server));
        let missed = exact.chain(fresh).chain(quic).collect();
        stop.store(true, Ordering::Relaxed);
        missed
    });
    assert!(
        missed.is_empty(),
        "{missed:?} of {VISITS} each, {sent:?} forged\n{}",
        gateway.ask("/metrics").unwrap().1
    );
    assert!(sent.into_inner() < FORGED_MAX, "forged all the while");
    let setup = gateway.stop();
    assert!(setup.usage().conserved);
}

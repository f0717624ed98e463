//! The DNS plane with one subscriber who asks for more than is his, or in whose name others do: he alone is limited, and
//! whoever proves his address is served.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

#[path = "dns_shares/customers.rs"]
mod customers;
#[path = "dns_shares/unanswered.rs"]
mod unanswered;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::ask::*;
use support::client::*;
use support::dns::Resolver;
use support::plane::*;
use support::scripted::framed;
use support::unbound::{LISTED, Unbound};
use support::{Gateway, Setup, eventually, has};

/// How long nothing has to come.
const SILENCE: Duration = Duration::from_millis(500);
/// What the first and the second server say.
const FIRST: [u8; 4] = [127, 0, 2, 1];
const SECOND: [u8; 4] = [127, 0, 2, 2];
/// Below this nobody answers.
const NOBODY: &str = "nobody.example";

/// Answers a source had: whole ones, and those that say no more than to come over TCP.
#[derive(Debug, Default)]
struct Answers {
    whole: usize,
    cut: Vec<Vec<u8>>,
    /// Seconds in which its allowance may have grown again.
    seconds: usize,
}

/// Sends as many queries as `sockets`, one from each, all at once; what comes to that.
fn ask_at_once(sockets: &[UdpSocket], to: SocketAddr) -> Answers {
    let begun = Instant::now();
    for (id, socket) in sockets.iter().enumerate() {
        socket.send_to(&query(id as u16, LISTED, A), to).unwrap();
    }
    let mut answers = Answers::default();
    let mut buffer = [0; 4_096];
    let mut patience = SILENCE;
    for socket in sockets {
        socket.set_read_timeout(Some(patience)).unwrap();
        match socket.recv(&mut buffer) {
            Ok(length) if is_cut(&buffer[..length]) => answers.cut.push(buffer[..length].to_vec()),
            Ok(_) => answers.whole += 1,
            // What has not come until then will not come.
            Err(_) => patience = Duration::from_millis(1),
        }
    }
    answers.seconds = begun.elapsed().as_secs() as usize + 1;
    answers
}

/// Whether an answer says that more did not fit (TC).
fn is_cut(answer: &[u8]) -> bool {
    answer[2] & 2 != 0
}

/// A subscriber's socket.
fn socket(from: impl Into<IpAddr>) -> UdpSocket {
    UdpSocket::bind((from.into(), 0)).unwrap()
}

/// A metric of the plane.
fn refused(gateway: &Gateway, cause: &str) -> u64 {
    gateway.metric(&format!("zrgw_dns_refused_total{{cause=\"{cause}\"}}"))
}

/// One query a second, five at once, two connections.
fn narrow(setup: Setup) -> Setup {
    setup
        .set("dns", "queries_per_second_max = 1")
        .set("dns", "burst_max = 5")
        .set("dns", "connections_per_client_max = 2")
        .set("dns", "idle_timeout = \"60 s\"")
}

#[test]
fn f17_f42_over_its_limit_a_source_is_told_to_come_over_tcp_and_is_served_there() {
    if !has("unbound") {
        return;
    }
    let unbound = Unbound::start("");
    let (gateway, address) = gateway(&[unbound.address], narrow);
    let sockets: Vec<_> = (0..60).map(|_| socket(subscriber(1))).collect();
    let answers = ask_at_once(&sockets, address);
    assert!((5..=5 + answers.seconds).contains(&answers.whole), "{answers:?}");
    assert_eq!(answers.whole + answers.cut.len(), 60, "nobody is left in silence");
    for cut in &answers.cut {
        let asked = query(u16::from_be_bytes([cut[0], cut[1]]), LISTED, A);
        assert!(cut.len() <= asked.len(), "{} bytes for {}", cut.len(), asked.len());
        let section = 12..12 + LISTED.len() + 6;
        assert_eq!((rcode(cut), &cut[section.clone()]), (0, &asked[section]));
        assert_eq!(cut[4..12], [0, 1, 0, 0, 0, 0, 0, 1], "the question, no record, OPT");
    }
    assert_eq!(gateway.metric("zrgw_dns_truncated_total"), answers.cut.len() as u64);
    assert_eq!(refused(&gateway, "rate"), answers.cut.len() as u64);
    // dig comes over TCP by itself, where the allowance is another.
    for _ in 0..4 {
        let said = dig(subscriber(1), address, &[LISTED, "A"]);
        assert!(said.contains("status: NOERROR") && said.contains("127.0.2.1"), "{said}");
    }
    assert_eq!(gateway.log().matches("ask more than").count(), 1, "{}", gateway.log());
    assert!(!gateway.log().contains(&subscriber(1).to_string()), "{}", gateway.log());
    gateway.stop();
}

/// On loopback everybody may write in everybody's name. The victim has an answer to each question, by TCP at the latest.
#[test]
fn f17_forged_queries_in_a_victims_name_leave_him_all_his_answers() {
    if !has("unbound") {
        return;
    }
    let unbound = Unbound::start("");
    let (gateway, address) = gateway(&[unbound.address], |setup| {
        setup.set("dns", "queries_per_second_max = 20").set("dns", "burst_max = 30")
    });
    let done = AtomicBool::new(false);
    let answers: Vec<_> = std::thread::scope(|scope| {
        scope.spawn(|| {
            let forger = socket(subscriber(1));
            for id in 0..u16::MAX {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                // What nobody answers takes places besides.
                let _ = forger.send_to(&query(id, &format!("n{id}.{NOBODY}"), A), address);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        assert!(eventually(|| refused(&gateway, "rate") > 50));
        let answers = (0..8).map(|_| dig(subscriber(1), address, &["www.zone.example", "A"])).collect();
        done.store(true, Ordering::Relaxed);
        answers
    });
    for answer in answers {
        assert!(answer.contains("status: NOERROR") && answer.contains("127.0.2.1"), "{answer}");
    }
    gateway.stop();
}

/// We are nobody's reflector: what is said to a source over its limit is bounded too, and 0 means silence.
#[test]
fn f17_what_is_said_to_a_source_over_its_limit_is_limited_too() {
    let resolver = Resolver::new(&[(LISTED, FIRST)]);
    for most in [0, 7] {
        let (gateway, address) = gateway(&[resolver.address], |setup| {
            narrow(setup).set("dns", &format!("truncated_per_second_max = {most}"))
        });
        let sockets: Vec<_> = (0..100).map(|_| socket(subscriber(1))).collect();
        let answers = ask_at_once(&sockets, address);
        let cut = answers.cut.len();
        assert!((most..=most + most * answers.seconds).contains(&cut), "{cut} of {most}");
        gateway.stop();
    }
}

/// A client over TCP whose queries come faster than his allowance waits for his turn: none is lost.
#[test]
fn f42_over_tcp_queries_beyond_the_allowance_wait_and_none_is_lost() {
    const QUERIES: u16 = 30;
    let resolver = knows_every_name();
    let (gateway, address) = gateway(&[resolver.address], |setup| {
        setup.set("dns", "queries_per_second_max = 20").set("dns", "burst_max = 5")
    });
    let mut client = connect_from(subscriber(1), address);
    let all: Vec<u8> = (0..QUERIES).flat_map(|id| framed(&query(id, LISTED, A))).collect();
    let begun = Instant::now();
    client.write_all(&all).unwrap();
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..QUERIES {
        let mut length = [0; 2];
        client.read_exact(&mut length).expect("an answer to each");
        let answer = read_exactly(&mut client, usize::from(u16::from_be_bytes(length)));
        assert_eq!((rcode(&answer), is_cut(&answer)), (0, false));
        ids.insert(u16::from_be_bytes([answer[0], answer[1]]));
    }
    assert_eq!(ids.len(), usize::from(QUERIES));
    // 25 beyond the first five, 20 a second.
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    gateway.stop();
}

/// Only the access network can tell who sends in whose name: `check` says so where nothing else does.
#[test]
fn f17_check_says_when_nobody_validates_sources() {
    const NOTE: &str = "validate sources";
    let said = |setup: Setup| {
        setup.write_configuration();
        let output = setup.command(&["check", "--config", "gateway.toml"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{said}");
        said
    };
    let transparent = || {
        Setup::new()
            .listener("mode = \"transparent\"\naddress = \"0.0.0.0:9443\"\nprotocols = [\"tcp\", \"udp\"]\n")
    };
    assert!(said(transparent()).contains(NOTE), "nobody knows the subscribers' side");
    let named = || transparent().set("edge", "interfaces = [\"eth1\"]");
    assert!(!said(named()).contains(NOTE));
    assert!(said(named().set("edge", "source_validation = false")).contains(NOTE));
    let with_plane =
        |listen: &str| Setup::new().proxied().set("dns", listen).set("dns", "upstream = [\"127.0.0.1:53\"]");
    assert!(said(with_plane("listen = [\"192.0.2.53:53\"]")).contains(NOTE));
    assert!(!said(with_plane("listen = [\"127.0.0.1:0\"]")).contains(NOTE));
}

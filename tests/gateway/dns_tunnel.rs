//! Tunnels in DNS: the alarm, and that it changes nothing else (trap T22; part S, "DNS tunnel").

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

use support::ask::*;
use support::client::*;
use support::dnstap::{given, tell};
use support::edge::telling_datagrams;
use support::hellos::Random;
use support::link::{GATEWAY, Link, SUBSCRIBER};
use support::plane::*;
use support::unbound::Unbound;
use support::{Ended, PATIENCE, Setup, eventually, has};

const SUSPECTED: &str = "zrgw_dns_tunnel_suspected_total";
/// Type TXT.
const TXT: u16 = 16;
/// Where the tunnel's server listens, in the gateway's namespace.
const SERVER_PORT: u16 = 5_353;
/// The tunnel's server as its client sees it, and a port where it says back what it hears.
const INSIDE: &str = "10.99.0.1";
/// See [`INSIDE`].
const INSIDE_PORT: u16 = 9_000;

/// A label of hexadecimal digits, as dnscat2 makes them.
fn hexadecimal(random: &mut Random) -> String {
    (0..40).map(|_| char::from(b"0123456789abcdef"[random.below(16)])).collect()
}

/// Has a tunnel's questions asked by subscriber 2; returns what the gateway logged, which has its plane at `level`.
fn noticed(level: &str) -> String {
    let server = knows_every_name();
    let level = format!("level = \"{level}\"");
    let (gateway, address) =
        gateway(&[server.address], |setup| setup.set("log", &level).set("dns", "burst_max = 10000"));
    let mut random = Random::seeded(22);
    let asked = |who, name: &str, kind| {
        assert!(ask(subscriber(who), address, &query(7, name, kind), PATIENCE).is_some(), "{name}");
    };
    // Below the limit, whoever asks; and as much as one likes of names that cannot carry anything.
    for number in 0..130 {
        asked(1, &format!("host-{number}.site.example"), A);
        asked(2 + number % 2, &format!("{}.t.tunnel.example", hexadecimal(&mut random)), A);
    }
    assert_eq!(gateway.metric(SUSPECTED), 0);
    // Names that carry nothing hide nothing.
    for number in 0..130 {
        asked(2, &format!("www{}.tunnel.example", number % 3), A);
        asked(2, &format!("{}.t.tunnel.example", hexadecimal(&mut random)), A);
    }
    gateway.await_metric(SUSPECTED, 1);
    for number in 0..130 {
        asked(4, &format!("q{number}.tunnel.example"), TXT);
    }
    gateway.await_metric(SUSPECTED, 2);
    gateway.stop().log()
}

#[test]
fn t22_s_a_tunnel_raises_an_alarm_once_and_every_question_is_answered() {
    let who = subscriber(2).to_string();
    let log = noticed("info");
    assert!(!log.contains("tunnel") && !log.contains(&who), "{log}");
    let log = noticed("debug");
    let told = |line: &str| line.contains("look like a tunnel") && line.contains(".t.tunnel.example");
    assert!(log.lines().any(|line| told(line) && line.contains(&who)), "{log}");
}

/// An operator's own DNS path is told of by dnstap.
#[test]
fn t22_s_a_tunnel_through_the_operator_s_own_resolver_is_noticed_by_dnstap() {
    if !has("unbound") {
        return;
    }
    let setup = Setup::new().proxied().set("dns", "dnstap_socket = \"dnstap.sock\"");
    let socket = setup.path("dnstap.sock");
    let gateway = with_plane(setup, &[([127, 0, 0, 1], 9).into()]).start();
    let unbound = Unbound::telling(&socket);
    let mut random = Random::seeded(22);
    let mut asked = 0;
    let noticed = || {
        asked += 1;
        let name = format!("{}.zone.example", hexadecimal(&mut random));
        assert!(ask(subscriber(1), unbound.address, &query(7, &name, A), PATIENCE).is_some());
        gateway.metric(SUSPECTED) == 1
    };
    assert!(eventually(noticed), "{}", gateway.log());
    assert!(asked > 80, "told after {asked} names");
    gateway.stop();
}

/// What a resolver tells is the other end's word, which may be no answer that can be read; and who is no subscriber may be
/// a resolver itself, that asks for many.
#[test]
fn t22_s_dnstap_notices_whatever_the_answer_is_and_subscribers_alone() {
    let setup = Setup::new().proxied().set("dns", "dnstap_socket = \"dnstap.sock\"");
    let socket = setup.path("dnstap.sock");
    let gateway = with_plane(setup, &[([127, 0, 0, 1], 9).into()]).start();
    let mut resolver = tell(&socket).unwrap();
    let mut random = Random::seeded(22);
    let mut told = |client| {
        for _ in 0..130 {
            let mut answer = query(7, &format!("{}.tunnel.example", hexadecimal(&mut random)), A);
            // A response with an answer record, which is not there.
            answer[2] |= 0x80;
            answer[7] = 1;
            resolver.write_all(&given(client, &answer)).unwrap();
        }
    };
    told(Ipv4Addr::new(192, 0, 2, 53));
    told(subscriber(1));
    gateway.await_metric("zrgw_dns_dnstap_total{outcome=\"ignored\"}", 260);
    assert_eq!(gateway.metric(SUSPECTED), 1);
    gateway.stop();
}

/// Starts one of iodine's programs in the namespace of the thread that calls; what it says goes to `log`.
fn spawn(program: &str, words: &[&str], log: &File) -> Ended {
    let mut command = Command::new(program);
    command.args(["-f", "-P", "secret"]).args(words).stdin(Stdio::null());
    command.stdout(log.try_clone().unwrap()).stderr(log.try_clone().unwrap());
    Ended(command.spawn().unwrap())
}

/// A real tunnel through the plane, which carries datagrams as before.
#[test]
fn t22_s_iodine_is_carried_and_noticed() {
    if !has("iodine") || !has("iodined") {
        return;
    }
    if File::open("/dev/net/tun").is_err() {
        println!("SKIPPED: no /dev/net/tun");
        return;
    }
    let Some(link) = Link::plain() else { return };
    let setup = Setup::new().proxied();
    let table = format!("prefix,subscriber_type,subscriber_id\n{}/32,account,s1\n", SUBSCRIBER[0]);
    setup.write("subscribers.csv", table);
    let log = File::create(setup.path("iodine.txt")).unwrap();
    let setup = setup
        .set("dns", &format!("listen = [\"{}:53\"]", GATEWAY[0]))
        .set("dns", &format!("upstream = [\"127.0.0.1:{SERVER_PORT}\"]"));
    let gateway = link.at_gateway(|| setup.start());
    let told = || std::fs::read_to_string(gateway.setup().path("iodine.txt")).unwrap_or_default();
    let port = SERVER_PORT.to_string();
    let _server = link.at_gateway(|| spawn("iodined", &["-p", &port, INSIDE, "t.tunnel.example"], &log));
    let listens = || {
        link.at_gateway(|| {
            let bound = UdpSocket::bind(("0.0.0.0", SERVER_PORT));
            bound.is_err_and(|error| error.kind() == ErrorKind::AddrInUse)
        })
    };
    assert!(eventually(listens), "{}", told());
    link.at_gateway(|| telling_datagrams(SocketAddr::from(([0, 0, 0, 0], INSIDE_PORT))));
    // Type and size are given, for to find them takes many questions and as many seconds.
    let words = ["-r", "-T", "NULL", "-m", "500", GATEWAY[0], "t.tunnel.example"];
    let connect = || link.at_subscriber(|| spawn("iodine", &words, &log));
    let mut client = connect();
    let carries = || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let sent = socket.send_to(&[7; 200], (INSIDE, INSIDE_PORT)).is_ok();
        sent && socket.recv_from(&mut [0; 300]).is_ok_and(|(count, _)| count > 200)
    };
    let suspected = || link.at_gateway(|| gateway.metric(SUSPECTED));
    let mut carried = 0;
    let noticed = || {
        if client.0.try_wait().unwrap().is_some() {
            // It gives up when its first questions are lost.
            client = connect();
        }
        carried += usize::from(link.at_subscriber(carries));
        carried >= 40 && suspected() > 0
    };
    assert!(eventually(noticed), "{carried} carried\n{}\n{}", told(), gateway.log());
    assert_eq!(suspected(), 1, "once in five minutes");
    let usage = link.at_gateway(|| gateway.stop_and_count());
    assert_eq!(usage.total(), (0, 0), "DNS is not counted, and never exempt");
}

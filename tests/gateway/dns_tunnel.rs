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

mod support;

use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::ask::*;
use support::client::*;
use support::edge::telling_datagrams;
use support::hellos::Random;
use support::link::{GATEWAY, Link, SUBSCRIBER};
use support::plane::*;
use support::unbound::Unbound;
use support::{PATIENCE, Setup, eventually, has};

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

#[test]
fn t22_s_a_tunnel_raises_an_alarm_once_and_every_question_is_answered() {
    let server = knows_every_name();
    let (gateway, address) = gateway(&[server.address], |setup| setup);
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
    for _ in 0..130 {
        asked(2, &format!("{}.t.tunnel.example", hexadecimal(&mut random)), A);
    }
    gateway.await_metric(SUSPECTED, 1);
    for number in 0..130 {
        asked(4, &format!("q{number}.tunnel.example"), TXT);
    }
    gateway.await_metric(SUSPECTED, 2);
    let setup = gateway.stop();
    let log = setup.log();
    assert!(!log.contains("tunnel.example") && !log.contains(&subscriber(2).to_string()), "{log}");
    assert_eq!(setup.usage().total(), (0, 0));
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
    let noticed = || {
        let name = format!("{}.zone.example", hexadecimal(&mut random));
        assert!(ask(subscriber(1), unbound.address, &query(7, &name, A), PATIENCE).is_some());
        gateway.metric(SUSPECTED) == 1
    };
    assert!(eventually(noticed), "{}", gateway.log());
    gateway.stop();
}

/// A process of the tunnel, ended with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts one of iodine's programs in the namespace of the thread that calls.
fn spawn(program: &str, words: &[&str]) -> Ended {
    let mut command = Command::new(program);
    command.args(["-f", "-P", "secret"]).args(words);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ended(command.spawn().unwrap())
}

/// A real tunnel through the plane, which carries datagrams as before.
#[test]
fn t22_s_iodine_is_carried_and_noticed() {
    if !has("iodine") || !has("iodined") {
        return;
    }
    if std::fs::File::open("/dev/net/tun").is_err() {
        println!("SKIPPED: no /dev/net/tun");
        return;
    }
    let Some(link) = Link::plain() else { return };
    let setup = Setup::new().proxied();
    let table = format!("prefix,subscriber_type,subscriber_id\n{}/32,account,s1\n", SUBSCRIBER[0]);
    setup.write("subscribers.csv", table);
    let setup = setup
        .set("dns", &format!("listen = [\"{}:53\"]", GATEWAY[0]))
        .set("dns", &format!("upstream = [\"127.0.0.1:{SERVER_PORT}\"]"));
    let gateway = link.at_gateway(|| setup.start());
    let port = SERVER_PORT.to_string();
    let _server = link.at_gateway(|| spawn("iodined", &["-p", &port, INSIDE, "t.tunnel.example"]));
    let _client = link.at_subscriber(|| spawn("iodine", &["-r", GATEWAY[0], "t.tunnel.example"]));
    link.at_gateway(|| telling_datagrams(SocketAddr::from(([0, 0, 0, 0], INSIDE_PORT))));
    let carries = || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let sent = socket.send_to(&[7; 200], (INSIDE, INSIDE_PORT)).is_ok();
        sent && socket.recv_from(&mut [0; 300]).is_ok_and(|(count, _)| count > 200)
    };
    let suspected = || link.at_gateway(|| gateway.metric(SUSPECTED));
    let mut carried = 0;
    let noticed = || {
        carried += usize::from(link.at_subscriber(carries));
        carried >= 40 && suspected() > 0
    };
    assert!(eventually(noticed), "{carried}\n{}", gateway.log());
    assert_eq!(suspected(), 1, "once in five minutes");
    let usage = link.at_gateway(|| gateway.stop_and_count());
    assert_eq!(usage.total(), (0, 0), "DNS is not counted, and never exempt");
}

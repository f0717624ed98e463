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

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use support::ask::*;
use support::client::*;
use support::dns::Resolver;
use support::link::{Link, run};
use support::plane::*;
use support::scripted::{answered, framed, name_of, server};
use support::unbound::{LISTED, Unbound};
use support::{Gateway, PATIENCE, Setup, eventually, has};

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

/// Asks from each of these addresses once, and connects from three: what all together get is one customer's.
fn assert_is_one_customer(gateway: &Gateway, address: SocketAddr, addresses: &[IpAddr]) {
    let sockets: Vec<_> = addresses.iter().map(|address| socket(*address)).collect();
    let answers = ask_at_once(&sockets, address);
    let most = 5 + answers.seconds;
    assert!((5..=most).contains(&answers.whole), "{} of {most} whole answers", answers.whole);
    let before = refused(gateway, "connection");
    let held: Vec<_> = addresses[..2].iter().map(|from| connected(*from, address)).collect();
    let is_shut = |mut stream: TcpStream| stream.read(&mut [0]).unwrap_or(0) == 0;
    assert!(is_shut(connected(addresses[2], address)), "a customer's third connection");
    assert_eq!(refused(gateway, "connection"), before + 1);
    drop(held);
}

/// A connection from an address of either version.
fn connected(from: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
    socket.connect_timeout(&to.into(), PATIENCE).unwrap();
    let stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn f9_a_subscriber_with_many_addresses_has_one_allowance() {
    let resolver = Resolver::new(&[(LISTED, FIRST)]);
    let (gateway, address) = gateway(&[resolver.address], |setup| {
        setup.write(
            "subscribers.csv",
            "prefix,subscriber_type,subscriber_id\n127.0.4.0/24,account,many\n127.0.1.1/32,account,s1\n",
        );
        narrow(setup)
    });
    let many: Vec<IpAddr> = (1..=40).map(|number| Ipv4Addr::new(127, 0, 4, number).into()).collect();
    assert_is_one_customer(&gateway, address, &many);
    // Nobody else is limited by that.
    assert!(
        ask(subscriber(1), address, &query(1, LISTED, A), PATIENCE).is_some_and(|answer| !is_cut(&answer))
    );
    gateway.stop();
}

#[test]
fn f9_a_customer_with_a_56_has_one_allowance_whether_a_subscriber_or_not() {
    let Some(link) = Link::plain() else { return };
    link.enter_gateway();
    // All of it is this machine's, without an address of its own each.
    run("ip -6 route add local fd79::/32 dev lo");
    run("sysctl -qw net.ipv6.ip_nonlocal_bind=1");
    let resolver = Resolver::new(&[(LISTED, FIRST)]);
    let (gateway, address) = gateway(&[resolver.address], |setup| {
        setup.write(
            "subscribers.csv",
            "prefix,subscriber_type,subscriber_id\nfd79:0:0:100::/56,account,wide\n",
        );
        narrow(setup)
            .set("dns", "listen = [\"[::1]:0\"]")
            .set("dns", "clients = [\"subscribers\", \"fd79:0:1::/48\"]")
    });
    let of = |third: u16, fourth: u16| {
        (0..40_u16)
            .map(move |number| IpAddr::from(Ipv6Addr::new(0xfd79, 0, third, fourth + number, 0, 0, 0, 1)))
    };
    assert_is_one_customer(&gateway, address, &of(0, 0x100).collect::<Vec<_>>());
    assert_is_one_customer(&gateway, address, &of(1, 0x200).collect::<Vec<_>>());
    // The next /56 is another customer's.
    assert_is_one_customer(&gateway, address, &of(1, 0x300).collect::<Vec<_>>());
    gateway.stop();
}

/// A server that answers every name but those nobody answers.
fn picky(mark: [u8; 4]) -> SocketAddr {
    server(
        move |query| {
            if name_of(query).ends_with(NOBODY) { Vec::new() } else { vec![(true, answered(query, mark))] }
        },
    )
}

/// Asks so many names that nobody answers.
fn ask_nobody(socket: &UdpSocket, to: SocketAddr, count: u16) {
    for id in 0..count {
        socket.send_to(&query(id, &format!("n{id}.{NOBODY}"), A), to).unwrap();
    }
}

#[test]
fn f10_names_nobody_answers_leave_the_others_their_room() {
    let (gateway, address) = gateway(&[picky(FIRST)], |setup| {
        without_retries(setup).set("dns", "in_flight_max = 60").set("dns", "stale_after = \"60 s\"")
    });
    let hostile: Vec<_> = (1..=6).map(|number| socket(subscriber(number))).collect();
    for socket in &hostile {
        ask_nobody(socket, address, 40);
    }
    gateway.await_metric("zrgw_dns_queries_total{transport=\"udp\"}", 240);
    assert!(refused(&gateway, "in_flight") > 0, "they have more under way than there is room for");
    for number in 7..=9 {
        for id in 0..20 {
            let name = format!("n{id}.listed.example");
            let answer = ask(subscriber(number), address, &query(id, &name, A), PATIENCE).unwrap();
            assert_eq!((rcode(&answer), is_cut(&answer)), (0, false), "s{number}, {name}");
        }
    }
    gateway.stop();
}

/// Neither the node's readiness nor anybody's way to a server is in the hands of who asks for names that nobody answers.
#[test]
fn f10_names_nobody_answers_mark_no_server_down() {
    let (gateway, address) = gateway(&[picky(FIRST), picky(SECOND)], |setup| setup);
    let hostile = socket(subscriber(1));
    for round in 1..=4 {
        ask_nobody(&hostile, address, 20);
        let timeouts = || gateway.metric("zrgw_dns_upstream_total{event=\"timeout\"}");
        assert!(eventually(|| timeouts() >= round * 20));
        assert_eq!(gateway.metric("zrgw_dns_servers_down"), 0, "round {round}");
        gateway.await_readiness(|code, _| code == 200);
        let answer = ask(subscriber(2), address, &query(1, LISTED, A), PATIENCE).unwrap();
        assert!(answer.ends_with(&FIRST), "the first server is in use: {answer:?}");
    }
    assert_eq!(gateway.metric("zrgw_dns_stale_total"), 0);
    gateway.stop();
}

/// A server that is down is found down by nobody but us, and found again though nobody asks.
#[test]
fn f10_a_silent_server_is_found_down_and_up_again_by_our_own_questions() {
    let resolver = Resolver::new(&[(LISTED, FIRST)]);
    let (gateway, address) = gateway(&[resolver.address], |setup| {
        setup.set("dns", "failover_after = \"100 ms\"").set("dns", "try_timeout = \"200 ms\"")
    });
    assert!(ask(subscriber(1), address, &query(1, LISTED, A), PATIENCE).is_some());
    resolver.set_silent(true);
    let failed = ask(subscriber(1), address, &query(2, "other.listed.example", A), PATIENCE).unwrap();
    assert_eq!(rcode(&failed), 2);
    assert!(eventually(|| gateway.metric("zrgw_dns_servers_down") == 1), "{}", gateway.log());
    gateway.await_readiness(|code, _| code == 503);
    resolver.set_silent(false);
    assert!(eventually(|| gateway.metric("zrgw_dns_servers_down") == 0), "{}", gateway.log());
    gateway.await_readiness(|code, _| code == 200);
    gateway.stop();
}

/// A server whose firewall drops questions for the root answers for a listed name, and is up.
#[test]
fn f10_a_server_that_drops_questions_for_the_root_is_not_taken_for_down() {
    let upstream = server(|query| {
        let name = name_of(query);
        if name.is_empty() || name.ends_with(NOBODY) {
            Vec::new()
        } else {
            vec![(true, answered(query, FIRST))]
        }
    });
    let (gateway, address) = gateway(&[upstream], |setup| setup);
    let hostile = socket(subscriber(1));
    for round in 1..=3 {
        ask_nobody(&hostile, address, 10);
        let timeouts = || gateway.metric("zrgw_dns_upstream_total{event=\"timeout\"}");
        assert!(eventually(|| timeouts() >= round * 20));
        assert_eq!(gateway.metric("zrgw_dns_servers_down"), 0, "round {round}");
    }
    gateway.stop();
}

/// A server that answers us and nobody else is passed over: what it does not answer others do, for several subscribers.
#[test]
fn f10_a_server_whose_questions_are_answered_elsewhere_is_passed_over() {
    let deaf = server(|query| {
        // The root and what the list names itself, which we ask for; subscribers ask for names below.
        let is_ours = ["", "listed.example", "other-listed.example"].contains(&name_of(query).as_str());
        if is_ours { vec![(true, answered(query, FIRST))] } else { Vec::new() }
    });
    let (gateway, address) = gateway(&[deaf, picky(SECOND)], |setup| {
        setup
            .set("dns", "failover_after = \"500 ms\"")
            .set("dns", "try_timeout = \"60 s\"")
            .set("dns", "total_timeout = \"60 s\"")
    });
    let asked = |number, id: u16| {
        let name = format!("n{id}.listed.example");
        let answer = ask(subscriber(number), address, &query(id, &name, A), PATIENCE).unwrap();
        assert!(answer.ends_with(&SECOND), "{answer:?}");
    };
    // One subscriber alone may ask as much as he likes.
    for id in 0..6 {
        asked(1, id);
        assert_eq!(gateway.metric("zrgw_dns_servers_down"), 0);
    }
    let mut ids = 10..;
    assert!(
        eventually(|| {
            (1..=9).for_each(|number| asked(number, ids.next().unwrap()));
            gateway.metric("zrgw_dns_servers_down") == 1
        }),
        "{}",
        gateway.log()
    );
    gateway.await_readiness(|code, _| code == 200);
    gateway.stop();
}

#[test]
fn f10_f17_a_subscriber_has_his_own_share_of_the_queries_under_way() {
    let (gateway, address) =
        gateway(&[picky(FIRST)], |setup| without_retries(setup).set("dns", "in_flight_per_client_max = 7"));
    let hostile = socket(subscriber(1));
    ask_nobody(&hostile, address, 7);
    gateway.await_metric("zrgw_dns_upstream_total{event=\"sent\"}", 7);
    assert_eq!(refused(&gateway, "in_flight"), 0, "at the limit");
    let over = ask(subscriber(1), address, &query(8, &format!("n8.{NOBODY}"), A), PATIENCE).unwrap();
    assert!(is_cut(&over), "one over is told to come over TCP: {over:?}");
    assert_eq!(refused(&gateway, "in_flight"), 1);
    let answer = dig(subscriber(1), address, &[LISTED, "A", "+tcp"]);
    assert!(answer.contains("status: NOERROR"), "over TCP he has a share of his own: {answer}");
    gateway.stop();
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

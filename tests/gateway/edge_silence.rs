//! Origins that do not answer, or late, behind a gateway in the path: it has answered their clients before it knows.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use support::client::{finish, read_exactly, reset};
use support::edge::{Edge, LISTED, foreign, origin, subscriber};
use support::hellos::Hello;
use support::link::SUBSCRIBER;
use support::origin::{self as origins, Origin};
use support::{PATIENCE, eventually, has};

/// How long a subscriber here waits for a connection that nobody will take.
const SHORT: Duration = Duration::from_secs(2);

/// A page over HTTP.
fn page(address: SocketAddr) -> Origin {
    Origin::at(address, |mut visit| {
        visit.read();
        let _ =
            visit.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello");
    })
}

/// The internet loses all that goes to this address.
fn lose(edge: &Edge, address: SocketAddr) {
    let family = if address.is_ipv4() { "ip" } else { "ip6" };
    edge.link.internet_runs("nft add table inet loss");
    edge.link.internet_runs(
        "nft add chain inet loss in { type filter hook prerouting priority -200; policy accept; }",
    );
    edge.link.internet_runs(&format!("nft add rule inet loss in {family} daddr {} drop", address.ip()));
}

/// It loses nothing more.
fn find(edge: &Edge) {
    edge.link.internet_runs("nft delete table inet loss");
}

/// Connects from another of the subscribers' addresses.
fn connect_from(edge: &Edge, from: IpAddr, to: SocketAddr, time: Duration) -> std::io::Result<TcpStream> {
    edge.link.at_subscriber(|| {
        let socket = socket2::Socket::new(socket2::Domain::for_address(to), socket2::Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(from, 0).into())?;
        socket.connect_timeout(&to.into(), time)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket.into())
    })
}

/// Whether a connection was taken in the destination's name, and reset when that said no.
fn is_taken_and_reset(tried: std::io::Result<TcpStream>) -> bool {
    match tried {
        Ok(mut stream) => stream.read(&mut [0]).is_err(),
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

/// Subscriber `number`'s address; he has it at the link.
fn neighbour(edge: &Edge, number: u8) -> IpAddr {
    let address = format!("10.77.0.{}", 100 + number);
    edge.link.subscriber_runs(&format!("ip address replace {address}/24 dev wire"));
    address.parse().unwrap()
}

/// Subscribers of their own at the addresses of [`neighbour`].
fn neighbours(edge: support::Setup) -> support::Setup {
    let mut table = format!("prefix,subscriber_type,subscriber_id\n{}/32,account,s1\n", SUBSCRIBER[0]);
    for number in 0..9 {
        table += &format!("10.77.0.{}/32,account,n{number}\n", 100 + number);
    }
    edge.write("subscribers.csv", table);
    edge
}

/// Visits the listed site from `from` and says whether it went through the gateway: then the gateway has a socket for it.
fn visit(edge: &Edge, from: IpAddr, to: SocketAddr) -> bool {
    let mut stream = connect_from(edge, from, to, PATIENCE).unwrap();
    let own = stream.local_addr().unwrap();
    let hello = [Hello::named(LISTED).wire(), vec![23, 3, 3, 0, 1, 0]].concat();
    stream.write_all(&hello).unwrap();
    assert_eq!(read_exactly(&mut stream, hello.len()), hello);
    let sockets = edge.link.gateway_runs("ss -Htn state established");
    assert_eq!(finish(stream), b"");
    sockets.contains(&own.to_string())
}

#[test]
fn f31_a_name_with_a_dead_aaaa_and_a_live_a_loads_at_the_next_try() {
    if !has("curl") {
        return;
    }
    let Some(edge) = Edge::new() else { return };
    let _origin = edge.link.in_internet(|| page(origin(0, 80)));
    lose(&edge, foreign(1, 80));
    let resolved = format!("{LISTED}:80:[{}],{}", foreign(1, 80).ip(), origin(0, 80).ip());
    let url = format!("http://{LISTED}/");
    let load = || {
        edge.link.at_subscriber(|| {
            let arguments = ["-sS", "--max-time", "20", "--resolve", &resolved, &url];
            let begun = std::time::Instant::now();
            let output = std::process::Command::new("curl").args(arguments).output().unwrap();
            println!("curl: {:?}, {}", begun.elapsed(), output.status);
            String::from_utf8_lossy(&output.stdout).into_owned()
        })
    };
    // Directly it takes the 200 ms that a client gives the first address; here the first try is lost.
    assert_eq!(load(), "");
    assert_eq!(load(), "hello", "and the next one comes as it would directly");
    assert!(edge.metric("zrgw_edge_silent_total") >= 1);
    edge.await_flows_closed();
    let usage = edge.stop_and_count();
    assert!(usage.exempt("s1").1 > 0, "what lives is counted");
}

#[test]
fn f31_a_client_that_begins_anew_by_itself_comes_to_the_address_that_lives() {
    if !has("curl") {
        return;
    }
    let Some(edge) = Edge::with("tproxy", |setup| setup.unset("upstream", "connect_timeout")) else { return };
    let _origin = edge.link.in_internet(|| page(origin(0, 80)));
    lose(&edge, foreign(1, 80));
    let resolved = format!("{LISTED}:80:[{}],{}", foreign(1, 80).ip(), origin(0, 80).ip());
    let url = format!("http://{LISTED}/");
    let output = edge.link.at_subscriber(|| {
        let retries = ["--retry", "1", "--retry-all-errors", "--retry-delay", "1", "--retry-max-time", "30"];
        let mut curl = std::process::Command::new("curl");
        curl.args(["-sS", "--resolve", &resolved, &url]).args(retries).output().unwrap()
    });
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hello");
    edge.stop_and_count();
}

#[test]
fn f31_what_one_subscriber_found_dead_passes_by_for_him_alone() {
    let Some(edge) = Edge::with("tproxy", neighbours) else { return };
    let (one, other) = (neighbour(&edge, 1), neighbour(&edge, 2));
    // Nobody listens yet.
    assert!(is_taken_and_reset(connect_from(&edge, one, origin(0, 443), PATIENCE)));
    let set = || edge.link.gateway_runs("nft list set inet zrgw silent4");
    assert!(eventually(|| set().contains(&format!("{one} . {} . 443", origin(0, 443).ip()))), "{}", set());
    // His next one meets the destination itself, and so does not even begin.
    let direct = connect_from(&edge, one, origin(0, 443), PATIENCE).unwrap_err();
    assert_eq!(direct.kind(), ErrorKind::ConnectionRefused);
    let _origin = edge.link.in_internet(|| Origin::at(origin(0, 443), origins::echo));
    assert!(!visit(&edge, one, origin(0, 443)), "it passes by");
    assert!(visit(&edge, other, origin(0, 443)), "another's does not");
    assert!(visit(&edge, subscriber(0), origin(0, 443)));
    // What said no is asked again in a tenth of the time.
    assert!(eventually(|| visit(&edge, one, origin(0, 443))));
    let usage = edge.stop_and_count();
    assert!(usage.exempt("n1").0 > 0 && usage.exempt("n2").0 > 0);
}

#[test]
fn f21_f31_what_finds_no_room_in_the_memory_is_counted() {
    let changed = |setup| neighbours(setup).set("edge", "silent_per_subscriber_max = 1");
    let Some(edge) = Edge::with("tproxy", changed) else { return };
    let one = neighbour(&edge, 1);
    for port in [443, 80] {
        assert!(is_taken_and_reset(connect_from(&edge, one, origin(0, port), PATIENCE)));
        edge.await_metric("zrgw_edge_silent", 1);
    }
    edge.await_metric("zrgw_edge_silent_full_total", 1);
    edge.stop_and_count();
}

#[test]
fn f31_what_three_subscribers_found_dead_passes_by_for_everybody_until_somebody_is_answered() {
    let changed = |setup| neighbours(setup).set("upstream", "original_connect_timeout = \"1 s\"");
    let Some(edge) = Edge::with("tproxy", changed) else { return };
    let dead = foreign(0, 443);
    lose(&edge, dead);
    let all = || edge.link.gateway_runs("nft list set inet zrgw silent_to_all4");
    for number in 1..=3 {
        assert!(!all().contains("443"), "{number} are too few");
        let from = neighbour(&edge, number);
        assert!(is_taken_and_reset(connect_from(&edge, from, dead, PATIENCE)));
    }
    assert!(eventually(|| all().contains(&format!("{} . 443", dead.ip()))), "{}", all());
    let fourth = connect_from(&edge, neighbour(&edge, 4), dead, SHORT).unwrap_err();
    assert_eq!(fourth.kind(), ErrorKind::TimedOut, "nobody answers in its name");
    // Another port of it is another destination.
    let another = SocketAddr::new(dead.ip(), 80);
    assert!(is_taken_and_reset(connect_from(&edge, neighbour(&edge, 4), another, PATIENCE)));
    edge.stop_and_count();
}

#[test]
fn f34_an_origin_whose_syns_are_lost_for_seconds_is_reached_and_taken_again() {
    let Some(edge) = Edge::with("tproxy", |setup| setup.unset("upstream", "connect_timeout")) else {
        return;
    };
    let slow = origin(0, 443);
    let _origin = edge.link.in_internet(|| Origin::at(slow, origins::echo));
    lose(&edge, slow);
    let mut stream = edge.connect(slow);
    let hello = [Hello::named(LISTED).wire(), vec![23, 3, 3, 0, 1, 0]].concat();
    stream.write_all(&hello).unwrap();
    // Three SYNs are lost by then: the next one goes after seven seconds.
    edge.await_metric("zrgw_edge_silent", 1);
    find(&edge);
    assert_eq!(read_exactly(&mut stream, hello.len()), hello, "it waited as its client did");
    assert_eq!(finish(stream), b"");
    // It lives: nothing passes by.
    edge.await_metric("zrgw_edge_silent", 0);
    let set = || edge.link.gateway_runs("nft list set inet zrgw silent4");
    assert!(eventually(|| !set().contains("443")), "{}", set());
    assert!(visit(&edge, subscriber(0), slow));
    let usage = edge.stop_and_count();
    assert!(usage.exempt("s1").0 > 2 * hello.len() as u64);
}

#[test]
fn f34_whoever_does_not_wait_any_more_is_not_waited_for() {
    let Some(edge) = Edge::with("tproxy", |setup| setup.unset("upstream", "connect_timeout")) else {
        return;
    };
    lose(&edge, origin(0, 443));
    let (gone, closed) = (edge.connect(origin(0, 443)), edge.connect(origin(0, 443)));
    edge.await_metric("zrgw_flows_open", 2);
    reset(gone);
    drop(closed);
    // One was reset; the other has said all it had to say, and may still be there.
    edge.await_flows_closed();
    edge.stop_and_count();
}

#[test]
fn f31_f34_the_rules_of_another_version_are_no_fault_of_the_flows() {
    let Some(edge) = Edge::new() else { return };
    // A table without these sets, as an earlier version made it.
    let rules = edge.link.gateway_runs("nft list table inet zrgw");
    let older: String = {
        let mut skip = false;
        let kept = rules.lines().filter(|line| {
            if line.trim_start().starts_with("set silent") {
                skip = true;
            }
            let keep = !skip && !line.contains("@silent");
            if skip && line.trim() == "}" {
                skip = false;
            }
            keep
        });
        kept.map(|line| format!("{line}\n")).collect()
    };
    let file = std::env::temp_dir().join(format!("older-{}.nft", std::process::id()));
    std::fs::write(&file, format!("delete table inet zrgw\n{older}")).unwrap();
    edge.link.gateway_runs(&format!("nft -f {}", file.display()));
    std::fs::remove_file(file).unwrap();
    assert!(eventually(|| edge.is_alive()));
    assert!(is_taken_and_reset(edge.try_connect(origin(0, 443))));
    let log = || edge.gateway.log();
    assert!(eventually(|| log().contains("gateway nft apply")), "{}", log());
    assert!(!log().contains(SUBSCRIBER[0]), "{}", log());
    let _origin = edge.link.in_internet(|| Origin::at(origin(0, 443), origins::echo));
    assert!(visit(&edge, subscriber(0), origin(0, 443)), "taken as ever");
    edge.stop_and_count();
}

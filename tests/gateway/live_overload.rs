//! The running gateway when memory or room for flows runs short, and under clients who drip.

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
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use support::client::*;
use support::dns::Resolver;
use support::hellos::{self, Hello};
use support::origin::Origin;
use support::successor::Successor;
use support::world::World;
use support::{PATIENCE, Setup, eventually, free_port};

const LISTED: &str = "www.listed.example";

/// A hello for the listed name, with application data behind it that settles the verdict.
fn visit() -> Vec<u8> {
    [Hello::named(LISTED).wire(), hellos::record(23, &[1; 50])].concat()
}

/// Sends `bytes` and reads them back.
fn exchange(client: &mut TcpStream, bytes: &[u8]) {
    client.write_all(bytes).unwrap();
    assert_eq!(read_exactly(client, bytes.len()), bytes);
}

/// Whether something comes back within half a second.
fn is_silent(client: &mut TcpStream) -> bool {
    client.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let error = client.read(&mut [0]).map(|_| std::io::ErrorKind::Other).unwrap_or_else(|error| error.kind());
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    matches!(error, std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

#[test]
fn s_without_memory_flows_are_carried_unread_and_steered_ones_wait() {
    let origin = Origin::echo();
    let resolver = Resolver::new(&[(LISTED, origin.octets())]);
    let here = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let (steered, proxied, admin) = (here(free_port()), here(free_port()), here(free_port()));
    let setup = Setup::new()
        .listener(&format!("mode = \"steered\"\naddress = \"{steered}\"\n"))
        .listener(&format!("mode = \"proxy_protocol\"\naddress = \"{proxied}\"\n"))
        .set("admin", &format!("address = \"{admin}\""))
        .resolver(resolver.address)
        .port_map(&[(443, origin.port()), (80, origin.port())])
        .set("limits", "drain = \"20 s\"")
        .set("limits", "drain_hard = \"20 s\"");
    let enough = setup.configuration();
    // No process of ours is so small.
    let gateway = setup.set("limits", "memory_max = \"1 MiB\"").start();
    gateway.await_metric("zrgw_overload_level", 3);
    gateway.await_readiness(|code, body| code == 503 && body.contains("limits.memory_max"));
    let visit = visit();
    let destination = SocketAddr::new(origin.address.ip(), 443);
    let mut carried = connect_proxied(1, proxied, destination);
    exchange(&mut carried, &visit);
    assert_eq!(finish(carried), b"");
    gateway.await_metric("zrgw_flows_total{protocol=\"tcp\",class=\"charged\",reason=\"overload\"}", 1);
    let mut waiting = connect_from(subscriber(2), steered);
    waiting.write_all(&visit).unwrap();
    assert!(is_silent(&mut waiting), "it is neither served nor refused\n{}", gateway.log());
    // A process with enough of it takes over, and with it whoever waits.
    gateway.setup().write("gateway.toml", enough);
    let successor = Successor::spawn(gateway.setup());
    assert_eq!(read_exactly(&mut waiting, visit.len()), visit, "{}", gateway.log());
    assert_eq!(finish(waiting), b"");
    let (status, setup) = gateway.wait();
    assert!(status.success(), "{}", setup.log());
    successor.stop();
    let usage = setup.usage();
    let length = visit.len() as u64;
    assert!(usage.conserved);
    assert_eq!(usage.charged("s1", "overload"), (length, length));
    assert_eq!(usage.exempt("s2"), (length, length));
    assert_eq!(usage.total(), (2 * length, 2 * length));
}

#[test]
fn s_the_longest_idle_make_room_and_busy_flows_are_left_alone() {
    let world = World::with(Origin::echo(), |setup| {
        // All connect before anybody says his name.
        let setup = setup.set("limits", "identify_deadline = \"60 s\"");
        setup.set("limits", "flows_max = 20").set("node", "workers = 1").set("limits", "drain = \"0 s\"")
    });
    let visit = visit();
    let mut idle: Vec<_> = (0..15).map(|_| world.proxied(1)).collect();
    let mut busy: Vec<_> = (0..5).map(|_| world.proxied(2)).collect();
    for client in &mut busy {
        exchange(client, &visit);
    }
    for client in &mut idle {
        // Room may be made while there are still some to come, and before any tick has seen so many.
        let _ = client.write_all(&visit).and_then(|()| client.read_exact(&mut vec![0; visit.len()]));
    }
    let mut waiting = world.proxied(3);
    waiting.write_all(&visit).unwrap();
    waiting.set_nonblocking(true).unwrap();
    let mut sent = visit.len() as u64;
    let served = eventually(|| {
        for client in &mut busy {
            exchange(client, &[4; 10]);
        }
        sent += 10;
        std::thread::sleep(Duration::from_millis(100));
        waiting.peek(&mut [0]).is_ok()
    });
    assert!(served, "no room is made\n{}", world.gateway.log());
    assert!(world.gateway.metric("zrgw_flows_shed_total") >= 1);
    waiting.set_nonblocking(false).unwrap();
    assert_eq!(read_exactly(&mut waiting, visit.len()), visit);
    for mut client in busy {
        exchange(&mut client, &[5; 10]);
        assert_eq!(finish(client), b"", "a busy flow was ended");
    }
    assert_eq!(finish(waiting), b"");
    drop(idle);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt("s2"), (5 * (sent + 10), 5 * (sent + 10)));
}

/// A byte now and then on as many connections as there may be: each runs into the absolute deadline, and whoever waited
/// gets its place.
#[test]
fn s_slowloris_on_every_place_gives_way_to_normal_users() {
    const PLACES: usize = 60;
    let world = World::with(Origin::echo(), |setup| {
        setup
            .set("limits", &format!("flows_max = {PLACES}"))
            .set("limits", "identify_deadline = \"1 s\"")
            .set("node", "workers = 1")
    });
    let visit = visit();
    let drip = |sent: usize, clients: &mut Vec<TcpStream>| {
        for client in clients.iter_mut() {
            // A place that was taken back says so.
            let _ = client.write_all(&visit[sent..=sent]);
        }
    };
    let mut clients: Vec<_> = (0..PLACES).map(|_| world.steered(1)).collect();
    drip(0, &mut clients);
    world.gateway.await_metric("zrgw_flows_open", PLACES as u64);
    let begun = Instant::now();
    let mut users: Vec<_> = (2..=5).map(|number| world.steered(number)).collect();
    for user in &mut users {
        user.write_all(&visit).unwrap();
    }
    let mut sent = 1;
    while users.iter().any(|user| {
        user.set_nonblocking(true).unwrap();
        user.peek(&mut [0]).is_err()
    }) {
        assert!(begun.elapsed() < PATIENCE, "{}", world.gateway.log());
        drip(sent, &mut clients);
        sent += 1;
        std::thread::sleep(Duration::from_millis(100));
    }
    for mut user in users {
        user.set_nonblocking(false).unwrap();
        assert_eq!(read_exactly(&mut user, visit.len()), visit);
        assert_eq!(finish(user), b"");
    }
    drop(clients);
    let usage = world.gateway.stop_and_count();
    let length = visit.len() as u64;
    for number in 2..=5 {
        assert_eq!(usage.exempt(&format!("s{number}")), (length, length));
    }
    assert_eq!(usage.exempt("s1"), (0, 0));
}

/// Hoarders let a byte drip on each of their connections, and open new ones as they lose some; a sixth subscriber's idle
/// flow was ended for room, theirs never were.
#[test]
fn f5_hoarders_who_drip_cost_a_sixth_subscriber_neither_his_idle_flow_nor_a_new_one() {
    const PLACES: usize = 60;
    /// Longer than a flow must be idle for its place to be taken.
    const IDLE: Duration = Duration::from_secs(7);
    let world = World::with(Origin::echo(), |setup| {
        setup.set("limits", &format!("flows_max = {PLACES}")).set("limits", "drain = \"0 s\"")
    });
    let visit = visit();
    let mut honest = world.proxied(6);
    exchange(&mut honest, &visit);
    let begun = Instant::now();
    let mut hoards: Vec<Vec<TcpStream>> = (1..=5).map(|_| Vec::new()).collect();
    let (mut news, mut visits) = (Vec::new(), 0);
    let mut dripped = 0_usize;
    while begun.elapsed() < IDLE {
        for (number, hoard) in (1..=5).zip(&mut hoards) {
            // Whoever was ended comes again.
            hoard.retain_mut(|client| client.write_all(&[7]).is_ok());
            dripped += hoard.len();
            while hoard.len() < PLACES / 5 {
                let mut client = world.proxied(number);
                client.write_all(&visit).unwrap();
                hoard.push(client);
            }
        }
        // And the sixth opens one now and then, of which he keeps two.
        let mut client = world.proxied(6);
        exchange(&mut client, &visit);
        visits += 1;
        if news.len() < 2 {
            news.push(client);
        } else {
            assert_eq!(finish(client), b"");
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!(dripped > 0);
    assert!(world.gateway.metric("zrgw_flows_shed_total") >= 10, "{}", world.gateway.log());
    for client in news.iter_mut().chain([&mut honest]) {
        exchange(client, &[5; 10]);
    }
    let sixth = visit.len() as u64 * (visits + 1) + 10 * (news.len() as u64 + 1);
    for client in news {
        assert_eq!(finish(client), b"");
    }
    assert_eq!(finish(honest), b"");
    drop(hoards);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt("s6"), (sixth, sixth));
}

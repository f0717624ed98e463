//! Clients that drip, keep silent or ask too much of the admin endpoint, and flows that are idle.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use support::client::*;
use support::dns::Resolver;
use support::origin::Origin;
use support::world::World;
use support::{Setup, eventually};

use super::{LISTED, exchange, visit_of, whole};

#[test]
fn s_slowloris_runs_into_an_absolute_deadline_and_passes_unclassified() {
    let world = World::with(Origin::echo(), |setup| setup.set("limits", "identify_deadline = \"500 ms\""));
    let visit = visit_of(LISTED);
    let mut drips: Vec<_> = (1..=3).map(|number| (number, world.proxied(number))).collect();
    // A byte every 100 ms: an inactivity timer would wait for ever.
    let charged = "zrgw_flows_total{protocol=\"tls\",class=\"charged\",reason=\"timeout\"}";
    let mut sent = 0;
    let cut = eventually(|| {
        for (_, client) in &mut drips {
            exchange(client, &visit[sent..sent + 1]);
        }
        sent += 1;
        std::thread::sleep(Duration::from_millis(100));
        world.gateway.metric(charged) == 3
    });
    assert!(cut && sent < 100, "after {sent} bytes");
    // Normal users meanwhile, and the drips go on unhindered.
    whole(world.proxied(4), &visit);
    for (_, mut client) in drips {
        exchange(&mut client, &visit[sent..]);
        assert_eq!(finish(client), b"");
    }
    let usage = world.gateway.stop_and_count();
    let length = visit.len() as u64;
    for number in 1..=3 {
        assert_eq!(usage.charged(&format!("s{number}"), "timeout"), (length, length));
    }
    assert_eq!(usage.exempt("s4"), (length, length));
}

#[test]
fn admin_endpoint_survives_slow_and_oversized_requests() {
    let resolver = Resolver::new(&[]);
    let gateway =
        Setup::new().proxied().resolver(resolver.address).set("admin", "connections_max = 4").start();
    // Three slow ones hold three of the four places.
    let slow: Vec<_> = (0..3)
        .map(|_| {
            let mut stream = TcpStream::connect(gateway.admin()).unwrap();
            stream.write_all(b"GET /healthz HT").unwrap();
            stream
        })
        .collect();
    assert_eq!(gateway.ask("/healthz").unwrap().0, 200);
    let mut stream = TcpStream::connect(gateway.admin()).unwrap();
    let _ = stream.write_all(&[b"GET /".to_vec(), vec![b'a'; 2_000_000]].concat());
    let _ = stream.read(&mut [0; 100]);
    drop(stream);
    drop(slow);
    assert_eq!(gateway.ask("/healthz").unwrap().0, 200);
    assert_eq!(gateway.ask("/nowhere").unwrap().0, 404);
    gateway.stop();
}

#[test]
fn an_idle_flow_is_ended_and_a_busy_one_is_not() {
    let world = World::with(Origin::echo(), |setup| setup.set("limits", "idle_timeout = \"1 s\""));
    let visit = visit_of(LISTED);
    let (mut idle, mut busy) = (world.proxied(1), world.proxied(2));
    exchange(&mut idle, &visit);
    exchange(&mut busy, &visit);
    let mut sent = visit.len() as u64;
    let ended = eventually(|| {
        exchange(&mut busy, &[4; 10]);
        sent += 10;
        std::thread::sleep(Duration::from_millis(100));
        world.gateway.metric("zrgw_flows_open") == 1
    });
    assert!(ended);
    assert!(idle.read(&mut [0]).is_err(), "a reset");
    assert_eq!(finish(busy), b"");
    let usage = world.gateway.stop_and_count();
    let length = visit.len() as u64;
    assert_eq!(usage.exempt("s1"), (length, length));
    assert_eq!(usage.exempt("s2"), (sent, sent));
}

#[test]
fn f34_a_flow_whose_client_keeps_it_alive_is_not_idle() {
    let world = World::with(Origin::echo(), |setup| setup.set("limits", "idle_timeout = \"4 s\""));
    let visit = visit_of(LISTED);
    let mut kept = world.steered(1);
    let second = Duration::from_secs(1);
    let keep_alive = socket2::TcpKeepalive::new().with_time(second).with_interval(second);
    socket2::SockRef::from(&kept).set_tcp_keepalive(&keep_alive).unwrap();
    exchange(&mut kept, &visit);
    // Two that say nothing end one after the other.
    for number in [2, 3] {
        let mut idle = world.steered(number);
        exchange(&mut idle, &visit);
        assert!(idle.read(&mut [0]).is_err(), "a reset");
    }
    exchange(&mut kept, &visit);
    assert_eq!(finish(kept), b"");
    let usage = world.gateway.stop_and_count();
    let length = 2 * visit.len() as u64;
    assert_eq!(usage.exempt("s1"), (length, length));
}

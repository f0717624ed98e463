//! Thousands of clients who drip their first bytes, and the users beside them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use support::client::*;
use support::eventually;
use support::hellos::{self, Hello};
use support::origin::Origin;
use support::world::World;

const LISTED: &str = "www.listed.example";
/// Who drips towards the gateway's own address; they hold nothing but their place. All of them together, with the users, stay
/// below nine tenths of the places that 20,000 descriptors make: above, flows are ended for room, which other tests are about.
const STEERED: u16 = 7_600;
/// Who drips on the way elsewhere.
const PASSING: u16 = 400;
/// Each sends a byte in so long a time.
const DRIP: Duration = Duration::from_secs(1);
/// Bytes that may be sent before the absolute deadline of 5 s has ended the patience, with room for a slow machine.
const DRIPS_MAX: usize = 100;
/// Connections made before it is waited until the gateway has them: what its backlog has no room for begins anew seconds later.
const AT_ONCE: u16 = 1_000;
/// Memory that a client who says nearly nothing may cost, in bytes.
const BYTES_EACH_MAX: u64 = 8 * 1024;

/// Sends `bytes` and reads them back.
fn exchange(client: &mut TcpStream, bytes: &[u8]) {
    client.write_all(bytes).unwrap();
    assert_eq!(read_exactly(client, bytes.len()), bytes);
}

#[test]
fn s_slowloris_eight_thousand_drips_end_at_the_deadline_and_cost_nobody_else_anything() {
    let world = World::with(Origin::echo(), |setup| {
        setup.set("limits", "identify_deadline = \"5 s\"").set("limits", "flows_per_subscriber_max = 10000")
    });
    let gateway = &world.gateway;
    let visit = [Hello::named(LISTED).wire(), hellos::record(23, &[1; 50])].concat();
    let before = gateway.resident_bytes();
    let number = |count: u16| u8::try_from(count % 3 + 1).unwrap();
    let refused = "zrgw_refused_total{reason=\"not_routed\"}";
    let mut steered = Vec::new();
    for count in 0..STEERED {
        steered.push(world.steered(number(count)));
        if (count + 1).is_multiple_of(AT_ONCE) {
            let made = u64::from(count + 1);
            let has = || gateway.metric("zrgw_flows_open") + gateway.metric(refused) >= made;
            assert!(eventually(has), "{made} connections are not all there");
        }
    }
    let mut passing: Vec<_> = (0..PASSING).map(|count| world.proxied(number(count))).collect();
    // Those that are refused ran out of time too and count among them; on a busy machine some before their first byte.
    let timed_out = || {
        let of = |protocol| {
            format!("zrgw_flows_total{{protocol=\"{protocol}\",class=\"charged\",reason=\"timeout\"}}")
        };
        gateway.metric(&of("tls")) + gateway.metric(&of("tcp"))
    };
    let everybody = u64::from(STEERED + PASSING);
    let (mut drips, mut visits) = (0, 0);
    while gateway.metric(refused) < u64::from(STEERED) || timed_out() < everybody {
        let (ended, shed) = (gateway.metric(refused), gateway.metric("zrgw_flows_shed_total"));
        assert!(drips < DRIPS_MAX, "{ended} refused, {} out of time, {shed} ended for room", timed_out());
        let begun = Instant::now();
        for client in &mut steered {
            // Those that were refused are closed.
            let _ = client.write_all(&visit[drips..=drips]);
        }
        for client in &mut passing {
            exchange(client, &visit[drips..=drips]);
        }
        drips += 1;
        if drips == 1 {
            let each = gateway.resident_bytes().saturating_sub(before) / everybody;
            println!("{each} bytes each");
            assert!(each <= BYTES_EACH_MAX, "{each} bytes each");
        }
        // Users meanwhile, both ways.
        for mut client in [world.proxied(4), world.steered(4)] {
            exchange(&mut client, &visit);
            assert_eq!(finish(client), b"");
            visits += 1;
        }
        std::thread::sleep(DRIP.saturating_sub(begun.elapsed()));
    }
    println!("ended within {drips} drips");
    assert_eq!(gateway.metric("zrgw_flows_shed_total"), 0, "there was room for all");
    // Who was on the way elsewhere goes on, charged; the others' places are free.
    for mut client in passing {
        exchange(&mut client, &visit[drips..]);
        assert_eq!(finish(client), b"");
    }
    drop(steered);
    gateway.await_flows_closed();
    let usage = world.gateway.stop_and_count();
    let length = visit.len() as u64;
    assert_eq!(usage.exempt("s4"), (visits * length, visits * length));
    let charged: u64 = (1..=3).map(|number| usage.charged(&format!("s{number}"), "timeout").1).sum();
    assert!(charged >= u64::from(PASSING) * length);
    assert_eq!((1..=3).map(|number| usage.exempt(&format!("s{number}")).1).sum::<u64>(), 0);
}

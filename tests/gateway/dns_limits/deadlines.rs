//! When a connection of a client ends: one that is silent, drips or is idle, and not while an answer is awaited.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use support::PATIENCE;
use support::ask::*;
use support::client::*;
use support::plane::*;
use support::scripted::{Scripted, answered, framed};
use support::unbound::LISTED;

use super::{ask_over, ends};

/// Pause between two bytes of a client that drips.
const DRIP: Duration = Duration::from_millis(100);

#[test]
fn t42_silent_and_dripping_connections_end_at_their_deadlines() {
    let resolver = knows_every_name();
    let certified = rcgen::generate_simple_self_signed(vec!["dns.example".to_owned()]).unwrap();
    let first_byte = Duration::from_secs(1);
    let (gateway, address) = gateway(&[resolver.address], |setup| {
        setup.write("dns.crt", certified.cert.pem());
        setup.write("dns.key", certified.signing_key.serialize_pem());
        setup
            .set("dns", "tls_listen = [\"127.0.0.1:0\"]")
            .set("dns", "tls_certificate = \"dns.crt\"")
            .set("dns", "tls_key = \"dns.key\"")
            .set("dns", "first_byte_timeout = \"1 s\"")
            .set("dns", "idle_timeout = \"60 s\"")
    });
    let over_tls = plane(&gateway)[1];
    for (to, what) in [(address, "no first byte"), (over_tls, "no handshake")] {
        let begun = Instant::now();
        assert!(ends(&mut connect_from(subscriber(1), to)), "{what}");
        assert!(begun.elapsed() >= first_byte, "{what}: {:?}", begun.elapsed());
    }
    // A deadline that slid with each byte would not end before the query is through.
    for (to, bytes) in [(address, framed(&query(1, LISTED, A))), (over_tls, vec![22, 3, 1, 2, 0])] {
        let mut client = connect_from(subscriber(1), to);
        let begun = Instant::now();
        let mut dripped = bytes.iter().chain(std::iter::repeat(&1)).take(PATIENCE.as_secs() as usize * 10);
        let ended = dripped.any(|byte| {
            std::thread::sleep(DRIP);
            client.write_all(&[*byte]).is_err()
        });
        assert!(ended && begun.elapsed() >= first_byte, "{to}: {:?}", begun.elapsed());
    }
    assert_eq!(resolver.asked_over_tcp(), 0);
    gateway.stop();
}

#[test]
fn t42_a_connection_ends_when_it_is_idle_and_not_while_an_answer_is_awaited() {
    let idle = Duration::from_secs(1);
    let asked = AtomicUsize::new(0);
    // The first answer comes at once, the second when the connection would have been idle for long.
    let resolver = Scripted::new(
        |_| Vec::new(),
        move |query| {
            if asked.fetch_add(1, Ordering::Relaxed) > 0 {
                std::thread::sleep(3 * idle);
            }
            answered(query, [127, 0, 2, 1])
        },
    );
    let (gateway, address) = gateway(&[resolver.address], |setup| {
        setup
            .set("dns", "idle_timeout = \"1 s\"")
            .set("dns", "failover_after = \"20 s\"")
            .set("dns", "try_timeout = \"20 s\"")
            .set("dns", "total_timeout = \"20 s\"")
    });
    let mut client = connect_from(subscriber(1), address);
    ask_over(&mut client, 1);
    let begun = Instant::now();
    assert!(ends(&mut client));
    assert!(begun.elapsed() >= idle - DRIP, "{:?}", begun.elapsed());
    let mut client = connect_from(subscriber(1), address);
    ask_over(&mut client, 2);
    gateway.stop();
}

//! Steering while the servers are silent, fail or refuse.

use support::ask::*;
use support::client::*;
use support::dns::Resolver;
use support::unbound::LISTED;
use support::{PATIENCE, Setup};

use super::{authority, gateway, is_led};

/// While the servers are silent or fail, a name that the gateway can dial is steered; it knows nothing of others.
#[test]
fn f46_while_the_servers_say_nothing_a_known_name_is_steered_and_at_once_when_they_are_down() {
    let resolver = Resolver::new(&[(LISTED, [127, 0, 2, 1])]);
    let (gateway, address) = gateway(resolver.address, |setup| {
        setup
            .steered()
            .set("dns", "failover_after = \"100 ms\"")
            .set("dns", "try_timeout = \"200 ms\"")
            .set("dns", "total_timeout = \"1 s\"")
            .set("dns", "stale_after = \"500 ms\"")
    });
    let code = |name: &str| rcode(&ask(subscriber(1), address, &query(4, name, A), PATIENCE).unwrap());
    assert!(is_led(subscriber(1), address, LISTED));
    resolver.set_silent(true);
    assert!(is_led(subscriber(1), address, LISTED));
    assert_eq!(code("unknown.listed.example"), 2);
    gateway.await_metric("zrgw_dns_servers_down", 1);
    let asked = resolver.asked(LISTED);
    assert!(is_led(subscriber(1), address, LISTED));
    assert!(resolver.asked(LISTED) <= asked + 1, "our own question at most");
    let service = ask(subscriber(1), address, &query(5, LISTED, HTTPS), PATIENCE).unwrap();
    assert_eq!((rcode(&service), authority(&service, LISTED)), (0, Some((6, 7))));
    gateway.stop();
}

#[test]
fn f46_a_failure_leaves_a_known_name_steered_and_a_refusal_is_passed_on() {
    let failing = std::sync::Arc::new(std::sync::atomic::AtomicU8::new(0));
    let told = std::sync::Arc::clone(&failing);
    let upstream = support::scripted::server(move |query| {
        let mut reply = support::scripted::answered(query, [127, 0, 2, 1]);
        let code = told.load(std::sync::atomic::Ordering::Relaxed);
        if code != 0 {
            reply.truncate(reply.len() - 16);
            (reply[3], reply[7]) = (0x80 | code, 0);
        }
        vec![(true, reply)]
    });
    let (gateway, address) = gateway(upstream, Setup::steered);
    assert!(is_led(subscriber(1), address, LISTED));
    let code = |name: &str| rcode(&ask(subscriber(1), address, &query(4, name, A), PATIENCE).unwrap());
    failing.store(2, std::sync::atomic::Ordering::Relaxed);
    assert!(is_led(subscriber(1), address, LISTED));
    assert_eq!(code("unknown.listed.example"), 2);
    failing.store(5, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(code(LISTED), 5);
    gateway.stop();
}

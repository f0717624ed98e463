//! Bulk bytes move inside the kernel, and nobody can tell but the metric: every byte arrives, each is counted once, and what
//! the reader of names still wants to see is not moved past it.

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
use std::net::Shutdown;

use support::client::*;
use support::eventually;
use support::hellos::Hello;
use support::origin::Origin;
use support::world::World;

const LISTED: &str = "www.listed.example";
/// Bytes of one direction: many buffers and pipes full.
const BULK: usize = 24_000_000;

/// Bytes that show a piece lost, doubled or out of place.
fn pattern(length: usize) -> Vec<u8> {
    (0..length as u64).map(|place| (place.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// A hello and the first application data, after which nothing can name the flow any more.
fn opening() -> Vec<u8> {
    [Hello::named(LISTED).wire(), vec![23, 3, 3, 0, 5, 1, 2, 3, 4, 5]].concat()
}

/// A gateway whose origin sends back a pattern once it has read one up to FIN; both directions are checked.
fn exchange_bulk(pipes: usize) -> (World, u64, u64) {
    let sent = [opening(), pattern(BULK)].concat();
    let origin = Origin::new(|mut visit| {
        visit.read_to_end();
        visit.stream.write_all(&pattern(BULK)).unwrap();
        visit.stream.shutdown(Shutdown::Write).unwrap();
    });
    let world = World::with(origin, |setup| setup.set("limits", &format!("splice_pipes_max = {pipes}")));
    let mut client = world.proxied(1);
    client.write_all(&opening()).unwrap();
    client.write_all(&sent[opening().len()..]).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert!(read_to_end(&mut client).unwrap() == pattern(BULK));
    assert!(world.origin.received(0) == sent);
    drop(client);
    (world, sent.len() as u64, BULK as u64)
}

#[test]
fn t26_t30_bulk_moves_inside_the_kernel_and_each_byte_is_counted_once() {
    let (world, up, down) = exchange_bulk(1);
    // Both directions: more than either has alone.
    let moves = || world.gateway.metric("zrgw_spliced_bytes_total") > up.max(down);
    assert!(eventually(moves), "{}", world.gateway.metric("zrgw_spliced_bytes_total"));
    assert!(world.gateway.metric("zrgw_spliced_bytes_total") <= up + down);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), (up, down));
    assert_eq!(usage.total(), (up, down));
    assert!(usage.conserved);
}

#[test]
fn t26_t30_without_pipes_bulk_is_copied_and_counted_alike() {
    let (world, up, down) = exchange_bulk(0);
    let counted = "zrgw_bytes_total{direction=\"up\",class=\"exempt\",service=\"school\"}";
    world.gateway.await_metric(counted, up);
    assert_eq!(world.gateway.metric("zrgw_spliced_bytes_total"), 0);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), (up, down));
    assert_eq!(usage.total(), (up, down));
}

/// After a HelloRetryRequest the second hello is read however full the buffers before it were.
#[test]
fn t5_bulk_that_may_still_hold_a_second_hello_is_not_moved_past_the_reader() {
    // Small buffers are full long before the watch for a second hello ends by its own limit.
    let world =
        World::with(Origin::answers(b"done"), |setup| setup.set("limits", "relay_buffer = \"4 KiB\""));
    // Records of alerts are neither hello nor application data: the watch goes on.
    let alerts = [21, 3, 3, 0, 2, 1, 0].repeat(3_000);
    let other = Hello::named("other.example").wire();
    let end = opening().split_off(Hello::named(LISTED).wire().len());
    let sent = [Hello::named(LISTED).wire(), alerts, other, end, pattern(BULK)].concat();
    let mut client = world.proxied(1);
    client.write_all(&sent).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut client).unwrap(), b"done");
    assert!(world.origin.received(0) == sent);
    drop(client);
    let moves = || world.gateway.metric("zrgw_spliced_bytes_total") > 0;
    assert!(eventually(moves), "behind the second hello it moves");
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), (0, 0));
    assert_eq!(usage.reasons("s1"), ["second_name"]);
    assert_eq!(usage.total(), (sent.len() as u64, 4));
}

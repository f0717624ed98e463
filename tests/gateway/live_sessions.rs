//! Sessions of a running gateway: what a reload of the static table does to open flows, how many may have one, and how their
//! records close.

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

use support::client::*;
use support::eventually;
use support::hellos::{self, Hello};
use support::origin::Origin;
use support::world::World;

const LISTED: &str = "www.listed.example";
const AGAIN: &str = "zrgw_flows_judged_again_total";
const HEADER: &str = "prefix,subscriber_type,subscriber_id\n";

/// A hello for the listed name, with application data behind it that settles the verdict.
fn visit() -> Vec<u8> {
    [Hello::named(LISTED).wire(), hellos::record(23, &[1; 50])].concat()
}

/// Sends `bytes` and reads them back.
fn exchange(client: &mut TcpStream, bytes: &[u8]) {
    client.write_all(bytes).unwrap();
    assert_eq!(read_exactly(client, bytes.len()), bytes);
}

/// Waits until so many bytes are exempt in each direction.
fn await_exempt(world: &World, bytes: usize) {
    let metric = "zrgw_bytes_total{direction=\"down\",class=\"exempt\",service=\"school\"}";
    world.gateway.await_metric(metric, bytes as u64);
}

/// The rows of subscribers s1 to s9, with `first` at the address of s1.
fn table(first: &str) -> String {
    let row = |number| format!("10.7.0.{number}/32,account,s{number}\n");
    format!("{HEADER}10.7.0.1/32,account,{first}\n{}", (2..=9).map(row).collect::<String>())
}

#[test]
fn b19_only_flows_of_a_changed_address_are_judged_again() {
    let world = World::with(Origin::echo(), |setup| {
        setup.write("subscribers.csv", table("s1"));
        setup
    });
    let visit = visit();
    let mut open: Vec<_> = (1..=3).map(|number| world.proxied(number)).collect();
    open.iter_mut().for_each(|client| exchange(client, &visit));
    await_exempt(&world, 3 * visit.len());
    // Nothing changed: nobody's flow is looked at.
    world.gateway.reload();
    world.gateway.setup().write("subscribers.csv", table("newcomer"));
    world.gateway.reload();
    world.gateway.await_metric(AGAIN, 1);
    open.iter_mut().for_each(|client| exchange(client, &[7; 1_000]));
    await_exempt(&world, 3 * visit.len() + 2_000);
    assert_eq!(world.gateway.metric(AGAIN), 1);
    // Another list is everybody's.
    let list = support::LIST.replace("serial = 3", "serial = 4");
    world.gateway.setup().write("list.toml", list);
    world.gateway.reload();
    world.gateway.await_metric(AGAIN, 4);
    open.into_iter().for_each(|client| assert_eq!(finish(client), b""));
    let usage = world.gateway.stop_and_count();
    let length = visit.len() as u64;
    assert_eq!(usage.exempt("s1"), (length, length));
    assert_eq!(usage.exempt("s2"), (length + 1_000, length + 1_000));
    assert_eq!(usage.unattributed("session_ended"), (1_000, 1_000));
}

#[test]
fn t36_prefixes_over_the_limit_have_no_session_and_that_is_told_until_there_is_room() {
    let limited = |sessions_max: usize| {
        World::with(Origin::echo(), |setup| {
            setup.write("subscribers.csv", table("s1"));
            setup.set("limits", &format!("sessions_max = {sessions_max}"))
        })
    };
    let tells = |world: &World, whether: bool| {
        world.gateway.await_readiness(|code, body| code == 200 && body.contains("sessions_full") == whether);
        assert_eq!(world.gateway.metric("zrgw_attention{reason=\"sessions_full\"}"), u64::from(whether));
    };
    let visit = visit();
    let all = limited(9);
    tells(&all, false);
    assert_eq!(all.gateway.metric("zrgw_sessions"), 9);
    drop(all);
    // One over: somebody has none, and is carried like everybody else.
    let world = limited(8);
    tells(&world, true);
    assert_eq!(world.gateway.metric("zrgw_sessions"), 8);
    for number in 1..=9 {
        let mut client = world.proxied(number);
        exchange(&mut client, &visit);
        assert_eq!(finish(client), b"");
    }
    // The limit follows a reload, as the table does.
    let text = std::fs::read_to_string(world.gateway.setup().path("gateway.toml")).unwrap();
    world.gateway.setup().write("gateway.toml", text.replace("sessions_max = 8", "sessions_max = 9"));
    world.gateway.reload();
    tells(&world, false);
    assert_eq!(world.gateway.metric("zrgw_sessions"), 9);
    let usage = world.gateway.stop_and_count();
    let length = visit.len() as u64;
    assert_eq!(usage.unattributed("no_subscriber"), (length, length));
    let exempt = (1..=9).filter(|number| usage.exempt(&format!("s{number}")) == (length, length));
    assert_eq!(exempt.count(), 8);
}

/// A period may end between a session's last byte and its end, and then its last record is closed already: so more than one
/// session ends.
#[test]
fn b19_the_record_of_a_session_that_ended_closes_with_that_and_nobody_elses_does() {
    let world = World::with(Origin::echo(), |setup| {
        setup.write("subscribers.csv", table("n0"));
        setup.set("export", "period = \"5 s\"")
    });
    let visit = visit();
    let mut other = world.proxied(2);
    exchange(&mut other, &visit);
    let setup = world.gateway.setup();
    let closed = || setup.usage().rows.iter().any(|row| row["cause"] == "session_end");
    for number in 1..=20 {
        let mut client = world.proxied(1);
        exchange(&mut client, &visit);
        exchange(&mut other, &[7; 100]);
        await_exempt(&world, (number + 1) * visit.len() + number * 100);
        setup.write("subscribers.csv", table(&format!("n{number}")));
        world.gateway.reload();
        world.gateway.await_metric(AGAIN, number as u64);
        assert_eq!(finish(client), b"");
        // The period that was open has been sealed when another one has.
        let files = setup.usage().files.len();
        assert!(eventually(|| setup.usage().files.len() > files + 1));
        if closed() {
            break;
        }
    }
    assert_eq!(finish(other), b"");
    let usage = world.gateway.stop_and_count();
    let ended: Vec<_> = usage.rows.iter().filter(|row| row["cause"] == "session_end").collect();
    assert!(!ended.is_empty(), "{:?}", usage.rows);
    for row in ended {
        assert!(row["subscriber_id"].starts_with('n') && row["class"] == "exempt", "{row:?}");
    }
}

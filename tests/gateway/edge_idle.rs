//! Idle connections behind a gateway in the path: what keeps them, and what they cost their subscriber.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use support::client::{finish, read_exactly};
use support::edge::{Edge, LISTED, origin};
use support::hellos::Hello;
use support::origin::{self as origins, Origin};

/// A visit to the listed site that stays open.
fn visit(edge: &Edge, family: usize) -> TcpStream {
    let mut stream = edge.connect(origin(family, 443));
    let hello = [Hello::named(LISTED).wire(), vec![23, 3, 3, 0, 1, 0]].concat();
    stream.write_all(&hello).unwrap();
    assert_eq!(read_exactly(&mut stream, hello.len()), hello);
    stream
}

#[test]
fn f34_keep_alives_of_a_subscriber_are_life_and_bytes_and_the_gateway_sends_him_none() {
    let changed = |setup: support::Setup| setup.set("limits", "idle_timeout = \"4 s\"");
    let Some(edge) = Edge::with("tproxy", changed) else { return };
    let _origins =
        edge.link.in_internet(|| [0, 1].map(|family| Origin::at(origin(family, 443), origins::echo)));
    let second = Duration::from_secs(1);
    let keep_alive = socket2::TcpKeepalive::new().with_time(second).with_interval(second);
    let mut kept: Vec<_> = [0, 1].map(|family| visit(&edge, family)).into();
    for stream in &kept {
        socket2::SockRef::from(stream).set_tcp_keepalive(&keep_alive).unwrap();
    }
    let timers = edge.link.gateway_runs("ss -Htno state established");
    assert!(timers.lines().count() >= 4 && !timers.contains("timer:(keepalive"), "{timers}");
    // Two that say nothing end one after the other.
    for family in [0, 1] {
        let mut idle = visit(&edge, family);
        assert!(idle.read(&mut [0]).is_err(), "a reset");
    }
    for stream in &mut kept {
        stream.write_all(b"still here").unwrap();
        assert_eq!(read_exactly(stream, 10), b"still here");
    }
    for stream in kept {
        assert_eq!(finish(stream), b"");
    }
    edge.await_flows_closed();
    let (up, down) = edge.link.counted();
    let usage = edge.stop_and_count();
    let counted = usage.total();
    // Two ended by a reset of ours and the acknowledgements that crossed it: a count is a lower bound.
    assert!(counted.0 <= up && counted.1 <= down, "{counted:?} of {up}, {down}");
    assert!(up - counted.0 <= 160 && down - counted.1 <= 160, "{counted:?} of {up}, {down}");
}

//! The mark before the verdict: the server's first flight carries it where the verdict is foreseen.

use std::net::{SocketAddr, TcpStream};

use support::client::finish;
use support::edge::{Edge, LISTED, foreign, origin};
use support::hellos::Hello;
use support::{Setup, eventually, zone};

use super::{At, Seen, echo, echoes, edge, group, publish, round_trips};

/// A flight of the server, and nothing of the client's behind his hello yet.
fn hello_alone(edge: &Edge, to: SocketAddr, name: &str) -> (TcpStream, Seen) {
    let mut stream = None;
    let seen = At::Subscriber.during(&edge.link, || {
        let mut opened = edge.connect(to);
        for _ in 0..4 {
            // A hello and the same once more (HelloRetryRequest): no verdict is taken while another may follow.
            echo(&mut opened, &Hello::named(name).wire());
        }
        stream = Some(opened);
    });
    (stream.unwrap(), seen)
}

#[test]
fn f68_the_servers_first_flight_carries_the_mark_and_loses_it_with_the_verdict() {
    let Some(edge) = edge("") else { return };
    let _origins = echoes(&edge);
    for family in 0..2 {
        let (mut exempt, seen) = hello_alone(&edge, origin(family, 443), LISTED);
        println!("{seen:?}");
        // But for the segment that accepted the connection, and the one that acknowledged the hello before it was read.
        assert!(seen.tagged >= 4 && seen.every - seen.tagged <= 2, "{seen:?}");
        echo(&mut exempt, &[23, 3, 3, 0, 1, 0]);
        let seen = At::Subscriber.during(&edge.link, || round_trips(&mut exempt));
        assert!(seen.every > 4 && seen.tagged == seen.every, "{seen:?}");
        finish(exempt);
        // A second hello with another name.
        let (mut fallen, seen) = hello_alone(&edge, origin(family, 443), LISTED);
        assert!(seen.tagged >= 4, "{seen:?}");
        echo(&mut fallen, &Hello::named("not-listed.example").wire());
        let seen = At::Subscriber.during(&edge.link, || round_trips(&mut fallen));
        assert!(seen.every > 4 && seen.tagged == 0, "{seen:?}");
        finish(fallen);
        // What will not be exempt is never marked.
        for (to, name) in [(foreign(family, 443), LISTED), (origin(family, 443), "not-listed.example")] {
            let (charged, seen) = hello_alone(&edge, to, name);
            assert!(seen.every > 4 && seen.tagged == 0, "{seen:?}");
            finish(charged);
        }
    }
    // The list changes while a flow waits for its verdict.
    let (mut open, _) = hello_alone(&edge, origin(0, 443), LISTED);
    for (serial, listed) in [(4, false), (5, true)] {
        publish(&edge, serial, listed);
        let again = |open: &mut TcpStream| echo(open, &Hello::named(LISTED).wire());
        let is_right = |seen: Seen| if listed { seen.tagged == seen.every } else { seen.tagged == 0 };
        assert!(eventually(|| is_right(At::Subscriber.during(&edge.link, || again(&mut open)))));
    }
    finish(open);
    assert_eq!(edge.metric("zrgw_mark_errors_total"), 0);
}

#[test]
fn f68_without_room_in_an_allowance_nobody_goes_ahead_of_his_verdict() {
    let limited =
        |setup: Setup| zone::far_from_midnight(setup).set("allowance", "daily = \"8 KiB\"").raw(&group(""));
    let Some(edge) = Edge::with("tproxy", limited) else { return };
    At::ALL.iter().for_each(|at| at.count(&edge.link));
    let _origins = echoes(&edge);
    let (flow, seen) = hello_alone(&edge, origin(0, 443), LISTED);
    assert!(seen.every > 4 && seen.tagged == 0, "{seen:?}");
    finish(flow);
}

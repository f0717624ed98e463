//! Sessions by RADIUS accounting where the kernel counts: whose a flow is that began before anybody heard of its session, and whose by
//! its port.

use std::net::{SocketAddr, TcpStream};
use std::time::{SystemTime, UNIX_EPOCH};

use support::client::{connect_from_port, finish};
use support::edge::{Edge, LISTED, origin};
use support::link::SUBSCRIBER;
use support::radius::{SECRET, has_radclient, hears, told};
use support::{PATIENCE, Setup, eventually};

use super::{echo, echoes, hello, with};

const UNATTRIBUTED: &str = "zrgw_bytes_total{direction=\"down\",class=\"unattributed\",service=\"\"}";
const EXEMPT: &str = "zrgw_bytes_total{direction=\"down\",class=\"exempt\",service=\"school\"}";

/// A gateway that hears accounting of what it sees, inside or outside of a translator.
fn heard(side: &str) -> Option<Edge> {
    let side = format!("side = \"{side}\"");
    let hears = |setup: Setup| {
        // However slow the machine is.
        hears(setup, "127.0.0.1:1813", &side).set("radius", "adopt = \"10 min\"")
    };
    has_radclient().then(|| with(hears))?
}

/// Tells of a session that began so many seconds ago.
fn tell(edge: &Edge, session: &str, user: &str, ago: u64, more: &str) {
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() - ago;
    let said = format!(
        "Acct-Status-Type = Start\nAcct-Session-Id = \"{session}\"\nUser-Name = \"{user}\"\nNAS-Identifier = \"bng\"\nEvent-Timestamp = {at}\n{more}\n"
    );
    let to = SocketAddr::from(([127, 0, 0, 1], 1_813));
    let answered = edge.link.at_gateway(|| told(to, SECRET, &said));
    assert!(answered, "{}", edge.gateway.log());
}

/// A connection from a port of the subscriber's.
fn connect_from(edge: &Edge, port: u16, to: SocketAddr) -> TcpStream {
    let address = SUBSCRIBER[0].parse().unwrap();
    let stream = edge.link.at_subscriber(|| connect_from_port(address, port, to));
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn b21_c31_behind_a_translator_each_has_the_bytes_of_his_ports() {
    let Some(edge) = heard("outside") else { return };
    let _origins = echoes(&edge);
    for (session, user, range) in [("a", "one", "20000-29999"), ("b", "two", "30000-32767")] {
        let ports = format!("Alc-Nat-Port-Range = \"{} {range} router base\"", SUBSCRIBER[0]);
        tell(&edge, session, user, 10, &ports);
    }
    let flow = |port| {
        let mut stream = connect_from(&edge, port, origin(0, 443));
        echo(&mut stream, &hello(LISTED));
        assert_eq!(finish(stream), b"");
    };
    // What begins in the moment in which his session is seen to come is nobody's.
    for first in [29_000, 31_000] {
        let (before, mut port) = (edge.metric(EXEMPT), first);
        let is_his = eventually(|| {
            flow(port);
            port += 1;
            edge.metric(EXEMPT) > before
        });
        assert!(is_his, "{}", edge.gateway.log());
    }
    for port in [20_000, 32_767, 32_768, 29_999] {
        flow(port);
    }
    edge.await_flows_closed();
    let counted = edge.link.counted();
    let usage = edge.stop_and_count();
    assert_eq!(usage.total(), counted);
    // One flow of nobody's port, two of the second's and three of the first's at least.
    let nobodys = usage.unattributed("no_subscriber").0;
    let (one, two) = (usage.exempt("one").0, usage.exempt("two").0);
    assert!(nobodys > 0 && two > nobodys && one > 2 * nobodys, "{one}, {two}, {nobodys}");
}

/// An open flow that has carried bytes, which are nobody's so far.
fn nobodys(edge: &Edge) -> TcpStream {
    let mut stream = edge.connect(origin(0, 443));
    echo(&mut stream, &hello(LISTED));
    assert!(eventually(|| edge.metric(UNATTRIBUTED) > 0), "{}", edge.gateway.log());
    stream
}

#[test]
fn c30_a_flow_that_began_in_a_session_that_is_heard_of_later_is_the_session_s_from_then_on() {
    let Some(edge) = heard("inside") else { return };
    let _origins = echoes(&edge);
    let mut stream = nobodys(&edge);
    let address = format!("Framed-IP-Address = {}", SUBSCRIBER[0]);
    tell(&edge, "a", "pupil", 300, &address);
    edge.await_metric("zrgw_flows_adopted_total", 1);
    let adopted = eventually(|| {
        echo(&mut stream, &[7; 1_000]);
        edge.metric(EXEMPT) > 0
    });
    assert!(adopted, "{}", edge.gateway.log());
    assert_eq!(finish(stream), b"");
    edge.await_flows_closed();
    let counted = edge.link.counted();
    let usage = edge.stop_and_count();
    assert_eq!(usage.total(), counted);
    assert!(usage.exempt("pupil").1 >= 1_000 && usage.unattributed("no_subscriber").1 > 0, "{usage:?}");
}

#[test]
fn c30_b19_a_flow_that_began_before_the_session_stays_nobody_s() {
    let Some(edge) = heard("inside") else { return };
    let _origins = echoes(&edge);
    let mut stream = nobodys(&edge);
    // It begins now, so that the flow was there before it.
    let address = format!("Framed-IP-Address = {}", SUBSCRIBER[0]);
    tell(&edge, "a", "pupil", 0, &address);
    // What begins in the moment in which his session is seen to come is nobody's too.
    let is_his = eventually(|| {
        let mut next = edge.connect(origin(0, 443));
        echo(&mut next, &hello(LISTED));
        finish(next);
        edge.metric(EXEMPT) > 0
    });
    assert!(is_his, "the next one is his\n{}", edge.gateway.log());
    echo(&mut stream, &[7; 1_000]);
    assert_eq!(finish(stream), b"");
    edge.await_flows_closed();
    assert_eq!(edge.metric("zrgw_flows_adopted_total"), 0);
    let counted = edge.link.counted();
    let usage = edge.stop_and_count();
    assert_eq!(usage.total(), counted);
    assert!(usage.unattributed("no_subscriber").1 >= 1_000, "{usage:?}");
}

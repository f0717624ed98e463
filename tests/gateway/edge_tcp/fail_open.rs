//! Without the gateway flows pass by: when it is killed, hangs or drains, and when it was away as they began.

use std::io::Write;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::client::{finish, read_exactly};
use support::edge::{Edge, LISTED, line, origin};
use support::eventually;
use support::held::Held;

use super::{telling, visit};

/// Visits one after the other for `time`; the longest that one took to be answered.
fn longest(edge: &Edge, time: Duration) -> Duration {
    let begun = Instant::now();
    let mut longest = Duration::ZERO;
    while begun.elapsed() < time {
        let asked = Instant::now();
        let mut stream = edge.connect(origin(0, 443));
        line(&mut stream);
        longest = longest.max(asked.elapsed());
    }
    longest
}

#[test]
fn t41_fail_open_new_connections_pass_by_at_once_when_the_gateway_is_killed() {
    let Some(mut edge) = Edge::new() else { return };
    let _origin = edge.link.in_internet(|| telling(origin(0, 443)));
    longest(&edge, Duration::from_millis(500));
    edge.gateway.signal(Signal::KILL);
    // Connections that are open then are reset; those that begin after it know of nothing.
    assert!(eventually(|| edge.gateway.has_ended()));
    assert!(edge.is_alive(), "nobody told the kernel");
    let waited = longest(&edge, Duration::from_secs(1));
    // A SYN that came while the listener vanished is repeated after a second.
    assert!(waited < Duration::from_secs(6), "{waited:?}");
    // After a crash the rules are as before: nothing is left to take flows, and they pass.
    let mut stream = edge.connect(origin(0, 443));
    assert!(line(&mut stream).starts_with("10.77.0.2:"));
}

#[test]
fn t41_fail_open_new_connections_pass_by_within_seconds_when_the_gateway_hangs() {
    let Some(edge) = Edge::new() else { return };
    let _origin = edge.link.in_internet(|| telling(origin(0, 443)));
    longest(&edge, Duration::from_millis(300));
    edge.gateway.signal(Signal::STOP);
    assert!(eventually(|| !edge.is_alive()), "the dead man's set runs out");
    let waited = longest(&edge, Duration::from_millis(500));
    assert!(waited < Duration::from_secs(9), "{waited:?}");
    // And come back when it does.
    edge.gateway.signal(Signal::CONT);
    assert!(eventually(|| edge.is_alive()));
}

#[test]
fn t41_fail_open_one_worker_of_two_that_hangs_is_enough() {
    let Some(edge) = Edge::with("tproxy", |setup| setup.set("node", "workers = 2")) else { return };
    let _origin = edge.link.in_internet(|| telling(origin(0, 443)));
    visit(&edge, origin(0, 443), LISTED);
    let Some(held) = Held::thread(edge.gateway.pid(), "worker-1") else { return };
    edge.await_metric("zrgw_edge{state=\"hung\"}", 1);
    assert!(eventually(|| !edge.is_alive()), "the dead man's set runs out");
    let waited = longest(&edge, Duration::from_millis(500));
    assert!(waited < Duration::from_secs(9), "{waited:?}");
    drop(held);
    edge.await_metric("zrgw_edge{state=\"taken\"}", 1);
    assert!(eventually(|| edge.is_alive()));
    visit(&edge, origin(0, 443), LISTED);
    let usage = edge.stop_and_count();
    assert!(usage.conserved && usage.exempt("s1").0 > 0, "{usage:?}");
}

#[test]
fn a_gateway_that_drains_leads_new_connections_past_itself() {
    let Some(edge) = Edge::new() else { return };
    let _origin = edge.link.in_internet(|| telling(origin(0, 443)));
    let mut open = edge.connect(origin(0, 443));
    line(&mut open);
    edge.gateway.signal(Signal::TERM);
    assert!(eventually(|| !edge.is_alive()));
    let mut stream = edge.connect(origin(0, 443));
    assert!(line(&mut stream).starts_with("10.77.0.2:"));
    // The one that is open goes on.
    open.write_all(b"still here").unwrap();
    assert_eq!(read_exactly(&mut open, 10), b"still here");
    open.shutdown(Shutdown::Write).unwrap();
}

#[test]
fn s_a_flow_that_began_while_the_gateway_was_away_goes_on_past_it_when_it_is_back() {
    let Some(edge) = Edge::new() else { return };
    let _origins = edge.link.in_internet(|| [telling(origin(0, 443)), telling(origin(1, 443))]);
    edge.gateway.signal(Signal::STOP);
    assert!(eventually(|| !edge.is_alive()));
    let mut flows = [0, 1].map(|family| edge.connect(origin(family, 443)));
    flows.iter_mut().for_each(|flow| assert!(!line(flow).is_empty()));
    edge.gateway.signal(Signal::CONT);
    assert!(eventually(|| edge.is_alive()));
    for flow in &mut flows {
        flow.write_all(b"still here").unwrap();
        assert_eq!(read_exactly(flow, 10), b"still here");
    }
    // Those that begin from here on are taken.
    for family in 0..2 {
        visit(&edge, origin(family, 443), LISTED);
    }
    for flow in flows {
        assert_eq!(finish(flow), b"");
    }
    let usage = edge.stop_and_count();
    assert!(usage.exempt("s1").0 > 0 && usage.reasons("s1").is_empty(), "{usage:?}");
}

//! Datagrams pass by when the gateway is killed or hangs.

use rustix::process::Signal;
use support::edge::{origin, telling_datagrams};
use support::eventually;

use super::{ask, edge, socket};

#[test]
fn t41_fail_open_datagrams_pass_by_when_the_gateway_is_killed() {
    let Some(mut edge) = edge() else { return };
    edge.link.in_internet(|| telling_datagrams(origin(0, 443)));
    let before = socket(&edge, 0, 0);
    ask(&before, origin(0, 443), b"through the gateway");
    assert!(eventually(|| edge.metric("zrgw_flows_open") == 1));
    edge.gateway.signal(Signal::KILL);
    assert!(eventually(|| edge.gateway.has_ended()));
    let after = socket(&edge, 0, 0);
    let (seen, from) = ask(&after, origin(0, 443), b"past it");
    assert_eq!((seen, from), (after.local_addr().unwrap().to_string(), origin(0, 443)));
    // A flow that was open goes on too: nothing on either side knew of the gateway.
    ask(&before, origin(0, 443), b"past it as well");
}

#[test]
fn t41_fail_open_datagrams_pass_by_when_the_gateway_hangs() {
    let Some(edge) = edge() else { return };
    edge.link.in_internet(|| [0, 1].map(|family| telling_datagrams(origin(family, 443))));
    let before = [0, 1].map(|family| socket(&edge, family, 0));
    for (family, before) in before.iter().enumerate() {
        ask(before, origin(family, 443), b"through the gateway");
    }
    edge.gateway.signal(Signal::STOP);
    assert!(eventually(|| !edge.is_alive()), "the dead man's set runs out");
    for family in 0..2 {
        ask(&socket(&edge, family, 0), origin(family, 443), b"past it");
    }
    edge.gateway.signal(Signal::CONT);
    assert!(eventually(|| edge.is_alive()));
    for (family, before) in before.iter().enumerate() {
        ask(before, origin(family, 443), b"through it again");
    }
}

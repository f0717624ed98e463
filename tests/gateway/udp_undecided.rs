//! The cap of undecided UDP flows where two workers share it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

use support::datagrams::{Access, Header, socket};
use support::eventually;
use support::hellos::Hello;
use support::quic::two_datagrams;
use support::udp_world::{LISTED, UdpWorld};

/// Flows that never complete, from as many ports: by the kernel's keyed choice, some fall to each worker.
const FLOOD: u8 = 60;
/// Flows that complete while the flood holds every place.
const VISITS: u8 = 8;
/// Nodes tried: which flows share a worker is chosen anew for each.
const NODES: usize = 4;

/// A flow's first datagrams leave the subscriber `sN`, N from 1 to 9.
fn accesses(world: &UdpWorld, count: u8) -> Vec<Access> {
    (0..count).map(|number| world.steered(1 + number % 9)).collect()
}

#[test]
fn t42_two_workers_keep_to_the_cap_together_and_a_flood_on_one_starves_no_flow_of_the_other() {
    const CAP: u8 = 2;
    let server = socket([127, 0, 2, 1]);
    let [front, back] = two_datagrams(&Hello::post_quantum(LISTED).message(), 1_000);
    for node in 0..NODES {
        let world = UdpWorld::with(server.local_addr().unwrap().port(), |setup| {
            let setup = setup.set("limits", &format!("undecided_flows_max = {CAP}"));
            setup.set("limits", "identify_deadline = \"10 min\"").set("node", "workers = 2")
        });
        let flood = accesses(&world, FLOOD);
        flood.iter().for_each(|access| access.inject(&front));
        // Each worker has its share and no more: what was given up and what is open say so together.
        world.gateway.await_metric("zrgw_undecided_evicted_total", u64::from(FLOOD - CAP));
        world.gateway.await_metric("zrgw_flows_open", u64::from(CAP));
        // Whoever comes has a place while he completes, whichever worker he falls to.
        for (number, access) in accesses(&world, VISITS).iter().enumerate() {
            access.inject(&front);
            access.inject(&back);
            let mut from = None;
            let carried = (0..2).all(|_| {
                eventually(|| {
                    from = server.recv_from(&mut [0; 4_096]).ok().map(|(_, from)| from);
                    from.is_some()
                })
            });
            assert!(carried, "node {node}, visit {number}");
            // Bytes without an answer are not exempt.
            server.send_to(b"answer", from.unwrap()).unwrap();
            assert!(eventually(|| access.carried().1 > 0));
        }
        let usage = world.gateway.stop_and_count();
        for number in 1..=VISITS {
            let exempt = usage.exempt(&format!("s{number}")).0;
            assert_eq!(exempt, (front.len() + back.len()) as u64, "node {node}, s{number}");
        }
    }
}

/// The oldest of a worker goes, whichever of its listeners it came to.
#[test]
fn t42_the_listeners_of_one_worker_share_its_places() {
    let server = socket([127, 0, 2, 1]);
    let world = UdpWorld::with(server.local_addr().unwrap().port(), |setup| {
        let setup = setup.set("limits", "undecided_flows_max = 2").set("node", "workers = 1");
        setup.set("limits", "identify_deadline = \"10 min\"")
    });
    let [front, _] = two_datagrams(&Hello::post_quantum(LISTED).message(), 1_000);
    let steered = accesses(&world, 2);
    steered.iter().for_each(|access| access.inject(&front));
    world.gateway.await_metric("zrgw_flows_open", 2);
    assert_eq!(world.gateway.metric("zrgw_undecided_evicted_total"), 0);
    let proxied = world.proxied(3, Header::Each);
    proxied.inject(&front);
    world.gateway.await_metric("zrgw_undecided_evicted_total", 1);
    world.gateway.await_metric("zrgw_flows_open", 2);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.unattributed("undecided"), (3 * front.len() as u64, 0), "nobody answered");
}

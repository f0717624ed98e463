//! Limits of the kernel's tables, at them and beyond: what finds no room is forwarded, and nobody's.

use std::net::TcpStream;

use rustix::process::Signal;
use support::client::finish;
use support::edge::{Edge, LISTED, origin};
use support::eventually;

use super::{echo, echoes, hello, with};

/// Opens so many flows, each with a hello.
fn open(edge: &Edge, count: usize) -> Vec<TcpStream> {
    (0..count)
        .map(|_| {
            let mut stream = edge.connect(origin(0, 443));
            echo(&mut stream, &hello(LISTED));
            stream
        })
        .collect()
}

#[test]
fn k1_without_a_slot_a_flow_is_forwarded_and_nobodys() {
    let Some(edge) = with(|setup| setup.set("edge", "slots_max = 16")) else { return };
    let _origins = echoes(&edge);
    let all = open(&edge, 20);
    for stream in all {
        assert_eq!(finish(stream), b"");
    }
    assert!(eventually(|| edge.metric("zrgw_kernel_slotless_packets_total") > 0));
    edge.await_flows_closed();
    // Slots come free again.
    let again = open(&edge, 8);
    again.into_iter().for_each(|stream| {
        finish(stream);
    });
    edge.await_flows_closed();
    let counted = edge.link.counted();
    let usage = edge.stop_and_count();
    assert_eq!(usage.total(), counted, "to the byte");
    assert!(usage.exempt("s1").0 > 0);
    assert!(usage.sum(|row| row["class"] == "unattributed" && row["reason"] == "overload").0 > 0);
}

#[test]
fn k1_one_subscriber_has_his_share_of_the_slots_and_has_it_again() {
    let Some(edge) = with(|setup| setup.set("edge", "slots_per_subscriber_max = 4")) else { return };
    let _origins = echoes(&edge);
    let all = open(&edge, 6);
    assert!(eventually(|| edge.metric("zrgw_kernel_slotless_packets_total") > 0));
    all.into_iter().for_each(|stream| {
        finish(stream);
    });
    edge.await_flows_closed();
    let before = edge.metric("zrgw_kernel_slotless_packets_total");
    open(&edge, 4).into_iter().for_each(|stream| {
        finish(stream);
    });
    edge.await_flows_closed();
    assert_eq!(edge.metric("zrgw_kernel_slotless_packets_total"), before, "at the limit, not beyond it");
    let held = open(&edge, 2);
    assert!(eventually(|| edge.metric("zrgw_kernel_slots_taken") > 1));
    held.into_iter().for_each(|stream| {
        finish(stream);
    });
    super::counts::assert_total(edge);
}

/// While the process hangs nobody empties the ring: what finds no room there is forwarded, and charged.
#[test]
fn k2_a_flow_whose_beginning_found_no_room_is_charged() {
    let Some(edge) = with(|setup| setup.set("edge", "ring_max = \"64 KiB\"")) else { return };
    let _origins = echoes(&edge);
    edge.gateway.signal(Signal::STOP);
    // Pieces of 2 KiB: 31 of them find room.
    let all = open(&edge, 40);
    edge.gateway.signal(Signal::CONT);
    assert!(eventually(|| edge.metric("zrgw_kernel_pieces_lost_total") > 0));
    let mut all = all;
    all.iter_mut().for_each(|stream| echo(stream, b"on it goes"));
    all.into_iter().for_each(|stream| {
        finish(stream);
    });
    edge.await_flows_closed();
    let counted = edge.link.counted();
    let usage = edge.stop_and_count();
    assert_eq!(usage.total(), counted);
    assert!(usage.exempt("s1").0 > 0 && usage.charged("s1", "overload").0 > 0, "{:?}", usage.reasons("s1"));
}

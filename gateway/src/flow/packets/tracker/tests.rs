//! Tests of `tracker`.

use billing_export::Reason;

use super::*;
use crate::wire::pcap::file::LinkType;

/// A TCP segment with data from port `client` to port 443, as raw IP; without SYN, so that it is held.
fn segment(client: u16, data: &[u8]) -> Vec<u8> {
    let total = 40 + u16::try_from(data.len()).unwrap();
    let [[high, low], port] = [total.to_be_bytes(), client.to_be_bytes()];
    let ip = [0x45, 0, high, low, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    let tcp = [port[0], port[1], 1, 187, 0, 0, 0, 9, 0, 0, 0, 0, 0x50, 16, 0, 0, 0, 0, 0, 0];
    [&ip[..], &tcp, data].concat()
}

/// Gives a packet to the tracker.
fn offer(tracker: &mut Tracker<()>, bytes: &[u8]) -> Option<Finished<()>> {
    let link = Some(LinkType(101));
    tracker.packet(&Captured { link, bytes, wire_bytes: bytes.len(), unix_nanos: None }).unwrap()
}

#[test]
fn above_the_limit_of_flows_the_oldest_is_given_out_and_comes_back_as_a_new_one() {
    let mut tracker = Tracker::new(2, HELD_BYTES_MAX, ());
    assert!(offer(&mut tracker, &segment(1, b"GET")).is_none());
    assert!(offer(&mut tracker, &segment(2, b"x")).is_none(), "at the limit");
    let oldest = offer(&mut tracker, &segment(3, b"y")).unwrap();
    assert_eq!((oldest.client.port(), oldest.up_bytes), (1, 43));
    assert!(offer(&mut tracker, &segment(3, b"y")).is_none());
    let next = offer(&mut tracker, &segment(1, b" / HTTP")).unwrap();
    assert_eq!(next.client.port(), 2);
    let rest: Vec<_> =
        core::iter::from_fn(|| tracker.pop()).map(|flow| (flow.client.port(), flow.up_bytes)).collect();
    assert_eq!(rest, [(3, 82), (1, 47)]);
    assert_eq!(tracker.held_bytes, 0);
    assert!(tracker.current.is_empty());
}

#[test]
fn above_the_limit_of_held_bytes_the_flow_watched_longest_is_decided_as_it_stands() {
    let one = {
        let mut tracker = Tracker::new(FLOWS_MAX, HELD_BYTES_MAX, ());
        offer(&mut tracker, &segment(1, b"GET / HTTP/1.1\r\n"));
        tracker.held_bytes
    };
    let mut tracker = Tracker::new(FLOWS_MAX, one * 10, ());
    for client in 1..=1_000 {
        offer(&mut tracker, &segment(client, b"GET / HTTP/1.1\r\n"));
        assert!(tracker.held_bytes <= one * 10, "flow {client}");
    }
    let reasons: Vec<_> = core::iter::from_fn(|| tracker.pop()).map(|flow| flow.identity.gave_up).collect();
    assert_eq!(reasons.len(), 1_000);
    assert!(reasons.iter().all(|reason| *reason == Some(Reason::Undecided)));
    assert_eq!(tracker.held_bytes, 0);
}

#[test]
fn t42_a_hundred_thousand_flows_that_never_say_anything_hold_no_stream() {
    let mut tracker = Tracker::new(FLOWS_MAX, HELD_BYTES_MAX, ());
    for high in 0..2_u8 {
        for client in 1..50_000 {
            let mut packet = segment(client, b"");
            packet[15] = high;
            offer(&mut tracker, &packet);
        }
    }
    assert_eq!((tracker.held, tracker.held_bytes, tracker.watched.len()), (99_998, 0, 0));
}

/// A UDP datagram from port `client` to port 443, as raw IP, that begins like an Initial and cannot be opened.
fn initial(client: u16) -> Vec<u8> {
    let quic = [&[0xc0, 0, 0, 0, 1, 8][..], &[client.to_be_bytes()[1]; 8], &[0, 0, 40], &[7; 40]].concat();
    let [[high, low], [ip_high, ip_low], port] = [8 + quic.len(), 28 + quic.len(), usize::from(client)]
        .map(|n| u16::try_from(n).unwrap().to_be_bytes());
    let ip = [0x45, 0, ip_high, ip_low, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    [&ip[..], &port, &[1, 187, high, low, 0, 0], &quic].concat()
}

#[test]
fn t42_half_open_quic_flows_count_as_held_and_the_oldest_are_decided() {
    let one = {
        let mut tracker = Tracker::new(FLOWS_MAX, HELD_BYTES_MAX, ());
        offer(&mut tracker, &initial(1));
        tracker.held_bytes
    };
    assert!(one > 500, "keys are held: {one}");
    let mut tracker = Tracker::new(FLOWS_MAX, one * 10, ());
    for client in 1..=1_000 {
        offer(&mut tracker, &initial(client));
        assert!(tracker.held_bytes <= one * 10, "flow {client}");
    }
    let reasons: Vec<_> = core::iter::from_fn(|| tracker.pop()).map(|flow| flow.identity.gave_up).collect();
    assert_eq!(reasons, [Some(Reason::Undecided); 1_000]);
    assert_eq!(tracker.held_bytes, 0);
}

//! Tests of `connection_ids`.

use std::net::IpAddr;

use super::*;

fn subscriber(number: u8) -> SubscriberKey {
    SubscriberKey::Address(IpAddr::from([10, 0, 0, number]))
}

fn destination(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

fn flow() -> Continued {
    let name = allowlist::DomainName::from_wire(b"www.listed.example").unwrap();
    Continued {
        identity: Identity { name: Some(name), seen_in: None, gave_up: None, ech: None },
        target: destination(443),
        vouched: Vouched::Steered,
        pulse: Pulse::default(),
    }
}

fn id(bytes: &[u8]) -> ConnectionId {
    ConnectionId::new(bytes).unwrap()
}

fn short(id: &[u8]) -> Vec<u8> {
    [&[0x40], id, &[7; 30]].concat()
}

fn at(seconds: u64) -> Monotonic {
    Monotonic::new(Duration::from_secs(seconds))
}

#[test]
fn q12_an_id_counts_for_its_subscriber_at_its_destination_alone() {
    let ids = ConnectionIds::default();
    ids.learn(&subscriber(1), destination(443), id(b"serverid"), flow());
    let found = |number, port, bytes: &[u8]| {
        ids.find(&subscriber(number), destination(port), &short(bytes), at(1)).is_some()
    };
    assert!(found(1, 443, b"serverid"));
    assert!(!found(2, 443, b"serverid"), "another subscriber");
    assert!(!found(1, 444, b"serverid"), "another destination");
    assert!(!found(1, 443, b"serverix"), "another id");
    let cut = ids.find(&subscriber(1), destination(443), b"\x40server", at(1));
    assert!(cut.is_none(), "a part of the id");
}

#[test]
fn q12_a_flow_is_continued_for_sixty_seconds_after_it_moved() {
    let ids = ConnectionIds::default();
    let flow = flow();
    let pulse = Arc::clone(&flow.pulse);
    ids.learn(&subscriber(1), destination(443), id(b"serverid"), flow);
    let found = |now| ids.find(&subscriber(1), destination(443), &short(b"serverid"), now).is_some();
    pulse.note_moved(at(100));
    assert!(found(at(160)));
    assert!(!found(Monotonic::new(Duration::from_millis(160_001))), "one over");
    ids.sweep(at(161));
    assert!(ids.is_empty());
}

#[test]
fn f45_a_known_id_in_a_long_header_continues_too() {
    let ids = ConnectionIds::default();
    ids.learn(&subscriber(1), destination(443), id(b"serverid"), flow());
    let long = |bytes: &[u8]| {
        let length = u8::try_from(bytes.len()).unwrap();
        [&[0xe3, 0, 0, 0, 1, length], bytes, &[0; 30]].concat()
    };
    let found = |bytes: &[u8]| ids.find(&subscriber(1), destination(443), &long(bytes), at(1)).is_some();
    assert!(found(b"serverid"));
    assert!(!found(b"serveridx") && !found(b"server") && !found(b""));
}

#[test]
fn f45_the_connection_that_moved_last_is_named_if_its_subscriber_answered() {
    let ids = ConnectionIds::default();
    let latest =
        |number, now| ids.latest(&subscriber(number), destination(443), at(now)).map(|(target, _)| target);
    let mut pulses = Vec::new();
    for port in 1..=3_u8 {
        let flow = Continued { target: destination(port.into()), ..flow() };
        flow.pulse.note_moved(at(port.into()));
        pulses.push(Arc::clone(&flow.pulse));
        ids.learn(&subscriber(1), destination(443), id(&[b'a' + port; 8]), flow);
    }
    assert_eq!(latest(1, 4), None, "nobody has answered");
    pulses[0].prove();
    assert_eq!(latest(1, 4), Some(destination(1)));
    pulses[1].prove();
    assert_eq!(latest(1, 4), Some(destination(2)), "the third may be forged");
    pulses[0].note_moved(at(50));
    assert_eq!((latest(1, 50), latest(2, 50)), (Some(destination(1)), None));
    assert_eq!(latest(1, 111), None, "too long ago");
}

#[test]
fn q12_short_ids_are_not_learnt_and_forgotten_ones_not_found() {
    let ids = ConnectionIds::default();
    for bytes in [&b""[..], b"1", b"123"] {
        ids.learn(&subscriber(1), destination(443), id(bytes), flow());
    }
    assert!(ids.is_empty());
    let (one, other) = (flow(), flow());
    let pulse = Arc::clone(&one.pulse);
    ids.learn(&subscriber(1), destination(443), id(b"1234"), one);
    ids.learn(&subscriber(1), destination(443), id(b"5678"), other);
    ids.forget(&subscriber(1), destination(443), &pulse);
    let found = |bytes| ids.find(&subscriber(1), destination(443), &short(bytes), at(1)).is_some();
    assert!(!found(b"1234") && found(b"5678"));
    assert_eq!(ids.len(), 1);
}

#[test]
fn f5_ids_at_the_limits_and_one_over_of_whoever_has_most() {
    let ids = ConnectionIds::default();
    for number in 0..=IDS_PER_PAIR_MAX {
        ids.learn(&subscriber(1), destination(1), id(&number.to_be_bytes()), flow());
    }
    assert_eq!(ids.len(), IDS_PER_PAIR_MAX);
    let find = |number: usize| {
        ids.find(&subscriber(1), destination(1), &short(&number.to_be_bytes()), at(1)).is_some()
    };
    assert!(!find(0) && find(1) && find(IDS_PER_PAIR_MAX), "the oldest goes");
    for number in IDS_PER_PAIR_MAX..IDS_MAX {
        let port = u16::try_from(2 + number / 64).unwrap();
        ids.learn(&subscriber(2), destination(port), id(&number.to_be_bytes()), flow());
    }
    assert_eq!(ids.len(), IDS_MAX);
    let of_the_holder = |number: usize| {
        let port = u16::try_from(2 + number / 64).unwrap();
        ids.find(&subscriber(2), destination(port), &short(&number.to_be_bytes()), at(1)).is_some()
    };
    assert!(of_the_holder(IDS_PER_PAIR_MAX), "at the limit");
    // One over: whoever has most gives way, and nobody else.
    ids.learn(&subscriber(3), destination(1), id(b"over"), flow());
    assert_eq!(ids.len(), IDS_MAX);
    assert!(ids.find(&subscriber(3), destination(1), &short(b"over"), at(1)).is_some());
    assert!(!of_the_holder(IDS_PER_PAIR_MAX) && of_the_holder(IDS_PER_PAIR_MAX + 1));
    assert!(find(1) && find(IDS_PER_PAIR_MAX));
    // Also for one more of his own.
    ids.learn(&subscriber(2), destination(1), id(b"more"), flow());
    assert!(!of_the_holder(IDS_PER_PAIR_MAX + 1) && of_the_holder(IDS_MAX - 1) && find(1));
    // A minute later all of them are silent.
    let late = flow();
    late.pulse.note_moved(at(61));
    ids.learn(&subscriber(3), destination(1), id(b"late"), late);
    ids.sweep(at(61));
    assert_eq!(ids.len(), 1);
}

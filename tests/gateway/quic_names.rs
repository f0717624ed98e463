//! Limits, names and reasons of QUIC flows, and the watch for another name on the same flow.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

use support::hellos;
use support::quic;
use support::quic_told;

use billing_export::Reason;
use gateway::flow::identify::{Ech, Progress, QuicIdentifier};
use gateway::wire::quic::{ConnectionId, QuicLimits, server_connection_id, short_header_starts_with};
use hellos::{Hello, SERVER_NAME, server_name, server_names};
use quic::{
    HANDSHAKE, INITIAL, Initial, RETRY, V1, V2, ZERO_RTT, crypto, long_header, opaque, pieces, two_datagrams,
};
use quic_told::{SERVER_ID, Told, hello, identify, named, none, observe, post_quantum, told};

#[test]
fn q13_the_fourth_derivation_of_keys_is_refused() {
    let sealed = |id: u8| Initial::of(&hello("listed.edu")).to(&[id; 8]).addressed(&[id ^ 0xff; 8]).seal();
    let good = Initial::of(&hello("listed.edu")).seal();
    assert_eq!(identify(&[sealed(1), sealed(2), good.clone()]), named("listed.edu"));
    assert_eq!(identify(&[sealed(1), sealed(2), sealed(3), good.clone()]), none(Reason::Oversize));
    // One connection id, good or not, is one derivation.
    let mut broken = good.clone();
    *broken.last_mut().unwrap() ^= 1;
    assert_eq!(identify(&[&broken, &broken, &broken, &broken, &good]), named("listed.edu"));
    // Once there is a name, what cannot be opened is passed over as long as keys may be derived.
    let (name, gave_up) = identify(&[good.clone(), sealed(1), sealed(2)]);
    assert_eq!((name.as_deref(), gave_up), (Some("listed.edu"), None));
    let (name, gave_up) = identify(&[good, sealed(1), sealed(2), sealed(3)]);
    assert_eq!((name.as_deref(), gave_up), (Some("listed.edu"), Some(Reason::Ambiguous)));
}

/// As aioquic 1.7 goes on after a Retry when the server chose version 2: its acknowledgements say so, under the keys of
/// version 1.
#[test]
fn q4_q13_acknowledgements_under_the_keys_of_the_first_version_are_no_other_hello() {
    let first = Initial::of(&hello("listed.edu")).seal();
    let again = Initial::of(&hello("listed.edu")).to(&SERVER_ID).token(&[7; 44]).number(1, 1).seal();
    let other_version =
        |frames: &[u8]| Initial::new(frames).to(&SERVER_ID).version(V2).sealed_as(V1).number(2, 1);
    let acknowledged = other_version(&[2, 0, 0, 0, 0]).addressed(&[9; 8]).seal();
    let many = [vec![first.clone(), again.clone()], vec![acknowledged.clone(); 20]].concat();
    assert_eq!(identify(&many), named("listed.edu"));
    // What is said under them is heard: nothing can be hidden there.
    let hidden = other_version(&crypto(0, &hello("other.edu"))).seal();
    let (name, gave_up) = identify(&[first.clone(), again.clone(), hidden]);
    assert_eq!((name.as_deref(), gave_up), (Some("listed.edu"), Some(Reason::SecondName)));
    // A hello that a server would not read names nothing.
    let nothing = other_version(&crypto(0, &hello("listed.edu"))).seal();
    assert_eq!(identify(std::slice::from_ref(&nothing)), none(Reason::Undecided));
    let front = Initial::new(&crypto(0, &hello("listed.edu")[..40])).to(&SERVER_ID).seal();
    let back = other_version(&crypto(40, &hello("listed.edu")[40..])).seal();
    assert_eq!(identify(&[front, back]), none(Reason::Undecided));
}

#[test]
fn ten_datagrams_are_read_and_not_eleven() {
    let message = hello("listed.edu");
    let limit = QuicLimits::default().datagrams_max;
    let last = Initial::new(&crypto(50, &message[50..])).seal();
    let mut datagrams = vec![Initial::new(&crypto(0, &message[..50])).seal(); limit - 1];
    datagrams.push(last.clone());
    assert_eq!(identify(&datagrams), named("listed.edu"), "at the limit");
    datagrams.insert(0, datagrams[0].clone());
    assert_eq!(identify(&datagrams), none(Reason::Oversize), "one over it");
    let strange = opaque(0x0a0a_0a0a, INITIAL, &[3; 8], &[4; 8], &[0x11; 1200]);
    let mut identifier = QuicIdentifier::new(&QuicLimits::default());
    for _ in 0..limit {
        assert_eq!(observe(&mut identifier, &strange), Progress::Undecided);
    }
    assert_eq!(observe(&mut identifier, &strange), Progress::Settled);
    assert_eq!(told(identifier.identity().unwrap()), none(Reason::NotRecognised));
}

#[test]
fn i_t3_hellos_of_16_kib_and_one_byte_more() {
    for (bytes, wanted) in [(16_384, named("listed.edu")), (16_385, none(Reason::Oversize))] {
        let message = Hello::post_quantum("listed.edu").padded_to(bytes).message();
        assert_eq!(message.len(), bytes);
        for reversed in [false, true] {
            let mut datagrams: Vec<Vec<u8>> =
                pieces(&message, 1650).iter().map(|frame| Initial::new(frame).sized(0).seal()).collect();
            assert_eq!(datagrams.len(), 10);
            if reversed {
                datagrams.reverse();
            }
            assert_eq!(identify(&datagrams), wanted, "{bytes}, reversed {reversed}");
        }
    }
}

#[test]
fn t16_another_name_on_the_same_flow_is_a_second_name() {
    let second = (Some("listed.edu".to_owned()), Some(Reason::SecondName));
    let first = Initial::of(&hello("listed.edu"));
    let other = Initial::of(&Hello::named("other.example").message());
    let new = other.clone().to(&[7; 8]);
    // With new keys, with those of the flow, to the server's connection id, in the same datagram, in two pieces.
    assert_eq!(identify(&[first.seal(), new.seal()]), second);
    assert_eq!(identify(&[first.seal(), other.seal()]), second);
    assert_eq!(identify(&[first.seal(), other.clone().addressed(&SERVER_ID).seal()]), second);
    assert_eq!(identify(&[[first.clone().sized(0).seal(), new.clone().sized(0).seal()].concat()]), second);
    assert_eq!(identify(&[first.seal(), new.clone().version(V2).seal()]), second);
    let message = hello("other.example");
    let cut = [crypto(0, &message[..90]), crypto(90, &message[90..])];
    for order in [[0, 1], [1, 0]] {
        let pieces = order.map(|index| Initial::new(&cut[index]).to(&[7; 8]).seal());
        assert_eq!(identify(&[&first.seal(), &pieces[0], &pieces[1]]), second);
        let pieces = order.map(|index| Initial::new(&cut[index]).seal());
        assert_eq!(
            identify(&[&first.seal(), &[0x41; 40].to_vec(), &pieces[0], &[0x41; 40].to_vec(), &pieces[1]]),
            second
        );
    }
    // Without a name it does not repeat the first one either.
    assert_eq!(
        identify(&[first.seal(), Initial::of(&Hello::bare().modern().message()).to(&[7; 8]).seal()]),
        second
    );
    // The same name in another connection, and the same hello again, change nothing.
    let same = Initial::of(&hello("LISTED.edu.")).to(&[7; 8]).seal();
    assert_eq!(identify(&[first.seal(), same, first.seal(), first.seal()]), named("listed.edu"));
}

#[test]
fn t5_after_a_hello_retry_request_the_second_hello_repeats_the_name() {
    let (first, other) = (hello("listed.edu"), hello("other.example"));
    let behind = |message: &[u8]| {
        Initial::new(&crypto(first.len() as u64, message)).addressed(&SERVER_ID).number(1, 1).seal()
    };
    let start = Initial::of(&first).seal();
    assert_eq!(identify(&[&start, &behind(&first)]), named("listed.edu"));
    let (name, gave_up) = identify(&[&start, &behind(&other)]);
    assert_eq!((name.as_deref(), gave_up), (Some("listed.edu"), Some(Reason::SecondName)));
    // Both in one frame, and the second one cut by the end of the first datagram.
    let both = [&first[..], &other].concat();
    assert_eq!(identify(&[Initial::of(&both).seal()]).1, Some(Reason::SecondName));
    for cut in [1, first.len() - 1, first.len(), first.len() + 1, first.len() + 3, first.len() + 90] {
        let datagrams = [
            Initial::new(&crypto(0, &both[..cut])).seal(),
            Initial::new(&crypto(cut as u64, &both[cut..])).seal(),
        ];
        assert_eq!(identify(&datagrams).1, Some(Reason::SecondName), "cut at {cut}");
    }
    // A third one.
    let three = [&first[..], &first, &other].concat();
    assert_eq!(identify(&[Initial::of(&three).seal()]).1, Some(Reason::SecondName));
}

#[test]
fn names_of_hellos_are_those_of_tls() {
    let raw = |name: &[u8]| Hello::named("x.kz").replaced(SERVER_NAME, server_name(name)).message();
    let rows: Vec<(Vec<u8>, Told)> = vec![
        (raw(b"WWW.Listed.EDU."), named("www.listed.edu")),
        (raw(b"192.0.2.1"), none(Reason::NoName)),
        (raw(b"a\0b.kz"), none(Reason::Ambiguous)),
        (Hello::bare().modern().message(), none(Reason::NoName)),
        (Hello::named("a.kz").with(SERVER_NAME, server_name(b"b.kz")).message(), none(Reason::Ambiguous)),
        (
            Hello::named("x.kz").replaced(SERVER_NAME, server_names(&[(0, b"a.kz"), (0, b"b.kz")])).message(),
            none(Reason::Ambiguous),
        ),
        (hellos::message(2, &[0; 90]), none(Reason::Malformed)),
        (hellos::message(1, &[0; 20]), none(Reason::Malformed)),
    ];
    for (message, wanted) in rows {
        assert_eq!(identify(&[Initial::of(&message).seal()]), wanted);
    }
}

#[test]
fn i_t7_the_config_id_of_an_ech_extension_is_told() {
    let mut identifier = QuicIdentifier::new(&QuicLimits::default());
    for datagram in two_datagrams(&Hello::post_quantum("listed.edu").message(), 700) {
        observe(&mut identifier, &datagram);
    }
    assert_eq!(identifier.identity().unwrap().ech, Some(Ech { config_id: Some(0x5a) }));
    let mut identifier = QuicIdentifier::new(&QuicLimits::default());
    observe(&mut identifier, &Initial::of(&hello("listed.edu")).seal());
    assert_eq!(identifier.identity().unwrap().ech, None);
}

#[test]
fn what_is_no_quic_is_not_recognised_at_once() {
    let stun = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[9; 12]].concat();
    let dns = [&[0x9a, 0xbc, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 2][..], b"kz\0\0\x01\0\x01"].concat();
    let rtp = [&[0x80, 0x60, 1, 2, 3, 4, 5, 6][..], &[7; 160]].concat();
    let wireguard = [&[1, 0, 0, 0][..], &[3; 144]].concat();
    let short = [&[0x41][..], &[3; 60]].concat();
    for datagram in [stun, dns, rtp, wireguard, short, Vec::new(), vec![0x80], vec![0xc0, 0, 0, 0]] {
        let mut identifier = QuicIdentifier::new(&QuicLimits::default());
        assert_eq!(identifier.observe(&datagram), Progress::Settled, "{datagram:02x?}");
        assert_eq!(told(identifier.identity().unwrap()), none(Reason::NotRecognised));
        assert_eq!(identifier.protocol(), None);
    }
}

#[test]
fn i_t3_the_deadline_ends_the_wait_and_not_the_watch() {
    let mut identifier = QuicIdentifier::new(&QuicLimits::default());
    observe(&mut identifier, &two_datagrams(&post_quantum(), 700)[0]);
    assert_eq!(identifier.deadline(), Progress::Settled);
    assert_eq!(told(identifier.identity().unwrap()), none(Reason::Timeout));
    let mut identifier = QuicIdentifier::new(&QuicLimits::default());
    assert_eq!(observe(&mut identifier, &Initial::of(&hello("listed.edu")).seal()), Progress::Identified);
    assert_eq!(identifier.deadline(), Progress::Identified);
    let other = Initial::of(&hello("other.example")).to(&[7; 8]).seal();
    assert_eq!(observe(&mut identifier, &other), Progress::Settled);
    assert_eq!(identifier.identity().unwrap().gave_up, Some(Reason::SecondName));
    let mut identifier = QuicIdentifier::new(&QuicLimits::default());
    assert_eq!(identifier.deadline(), Progress::Settled);
    assert_eq!(told(identifier.identity().unwrap()), none(Reason::NotRecognised), "nothing came");
}

#[test]
fn q12_only_a_packet_of_the_handshake_tells_the_connection_id_of_its_sender() {
    let id = ConnectionId::new(&SERVER_ID);
    for version in [V1, V2] {
        for kind in [INITIAL, HANDSHAKE] {
            assert_eq!(server_connection_id(&opaque(version, kind, &[7; 20], &SERVER_ID, &[0; 40])), id);
            assert_eq!(server_connection_id(&opaque(version, kind, &[], &[], &[0; 40])), None, "empty");
            assert_eq!(server_connection_id(&opaque(version, kind, &[], &[7; 21], &[0; 40])), None);
        }
        assert_eq!(server_connection_id(&opaque(version, ZERO_RTT, &[], &SERVER_ID, &[0; 40])), None);
        assert_eq!(server_connection_id(&long_header(version, RETRY, &[], &SERVER_ID)), None);
    }
    assert_eq!(server_connection_id(&long_header(0, INITIAL, &[7; 8], &SERVER_ID)), None, "negotiation");
    assert_eq!(server_connection_id(&[0x41; 40]), None);
    assert_eq!(server_connection_id(&[]), None);
    assert_eq!(ConnectionId::new(&[1; 20]).map(|id| id.as_bytes().len()), Some(20));
    assert_eq!(ConnectionId::new(&[1; 21]), None);
    assert_eq!(ConnectionId::new(&[1; 256]), None, "no length is cut");
}

#[test]
fn q12_a_short_header_is_addressed_to_a_connection_id_that_is_not_empty() {
    let id = ConnectionId::new(&SERVER_ID).unwrap();
    let short = |first: u8, rest: &[u8]| [&[first][..], rest, &[0x33; 9]].concat();
    assert!(short_header_starts_with(&short(0x41, &SERVER_ID), &id));
    assert!(short_header_starts_with(&short(0x01, &SERVER_ID), &id), "the fixed bit may be cleared");
    assert!(!short_header_starts_with(&short(0xc1, &SERVER_ID), &id));
    assert!(!short_header_starts_with(&short(0x41, &[0x5f; 8]), &id));
    assert!(!short_header_starts_with(&short(0x41, &[])[..8], &id));
    assert!(!short_header_starts_with(&[], &id));
    assert!(!short_header_starts_with(&short(0x41, &SERVER_ID), &ConnectionId::new(&[]).unwrap()));
}

#[test]
fn t13_what_all_connections_of_a_flow_hold_has_one_limit() {
    let first = Initial::of(&hello("listed.edu")).seal();
    let part = |id: u8, bytes: usize| {
        let mut message = hello("listed.edu");
        message[1..4].copy_from_slice(&[0, 0x3f, 0xfc]);
        message.resize(bytes, 0);
        Initial::of(&message).to(&[id; 8]).sized(0).seal()
    };
    let half = QuicLimits::default().crypto_bytes_max / 2;
    assert_eq!(identify(&[&first, &part(1, half), &part(2, half)]), named("listed.edu"), "at the limit");
    let (name, gave_up) = identify(&[&first, &part(1, half), &part(2, half + 1)]);
    assert_eq!((name.as_deref(), gave_up), (Some("listed.edu"), Some(Reason::Oversize)), "one over it");
}

//! Versions of QUIC: the examples of their RFCs, drafts, unknown ones, and going over from one to another.

use billing_export::Reason;
use gateway::flow::identify::{Progress, QuicIdentifier, SeenIn};
use gateway::wire::quic::QuicLimits;
use support::quic::{INITIAL, Initial, V2, crypto, opaque};
use support::quic_told::{SERVER_ID, hello, identify, named, none, post_quantum, told};

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// The ClientHello of RFC 9001 A.2, in its CRYPTO frame.
const RFC_FRAME: &str = "060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e86804fe3a47f06a2b69484c00000413\
    011302010000c000000010000e00000b6578616d706c652e636f6dff01000100000a00080006001d0017001800100007000504616c706e000500\
    050100000000003300260024001d00209370b2c9caa47fbabaf4559fedba753de171fa71f50f1ce15d43e994ec74d748002b0003020304000d00\
    10000e0403050306030203080408050806002d00020101001c00024001003900320408ffffffffffffffff05048000ffff07048000ffff080110\
    0104800075300901100f088394c8f03e51570806048000ffff";

/// A sealed packet of an RFC: its front and, with the authentication tag that covers all of it, its end.
fn assert_is(packet: &[u8], front: &str, end: &str) {
    assert_eq!(packet.len(), 1200);
    assert!(packet.starts_with(&hex(front)) && packet.ends_with(&hex(end)), "{packet:02x?}");
}

#[test]
fn q1_the_example_of_rfc_9001_a2_asks_for_example_com() {
    let packet = Initial::new(&hex(RFC_FRAME)).number(2, 4).seal();
    assert_is(
        &packet,
        "c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11",
        "7e78bfe706ca4cf5e9c5453e9f7cfd2b8b4c8d169a44e55c88d4a9a7f9474241e221af44860018ab0856972e194cd934",
    );
    assert_eq!(identify(&[&packet]), named("example.com"));
}

#[test]
fn q2_the_example_of_rfc_9369_a2_asks_for_example_com() {
    let packet = Initial::new(&hex(RFC_FRAME)).version(V2).number(2, 4).seal();
    assert_is(
        &packet,
        "d76b3343cf088394c8f03e5157080000449ea0c95e82ffe67b6abcdb4298b485",
        "6f4c4938ae79324dc402894b44faf8afbab35282ab659d13c93f70412e85cb199a37ddec600545473cfb5a05e08d0b209973b2172b4d21fb\
        69745a262ccde96ba18b2faa745b6fe189cf772a9f84cbfc",
    );
    assert_eq!(identify(&[&packet]), named("example.com"));
}

#[test]
fn t15_drafts_29_to_34_are_read_with_their_salts_and_older_ones_are_not() {
    for draft in 29..=34 {
        let packet = Initial::of(&hello("listed.edu")).version(0xff00_0000 + draft).seal();
        assert_eq!(identify(&[packet]), named("listed.edu"), "draft {draft}");
    }
    for draft in [27, 28, 35] {
        let packet = Initial::of(&hello("listed.edu")).version(0xff00_0000 + draft).seal();
        assert_eq!(identify(&[packet]), none(Reason::NotRecognised), "draft {draft}");
    }
}

#[test]
fn q11_t15_an_unknown_version_waits_for_one_that_is_read() {
    let initial = Initial::of(&hello("listed.edu")).seal();
    let strange = |version: u32| {
        let mut datagram = opaque(version, INITIAL, &[3; 8], &[4; 8], &[0x11; 1180]);
        datagram.truncate(1200);
        datagram
    };
    for version in [0x0a0a_0a0a, 0xface_b002, 0xff00_001b, 0x5130_3530, 2] {
        assert_eq!(identify(&[strange(version), initial.clone()]), named("listed.edu"));
        assert_eq!(identify(&[strange(version)]), none(Reason::NotRecognised));
        let mut identifier = QuicIdentifier::new(&QuicLimits::default());
        assert_eq!(identifier.observe(&strange(version)), Progress::Undecided);
        assert_eq!(identifier.protocol(), Some(SeenIn::QuicSni));
        assert_eq!(identifier.deadline(), Progress::Settled);
        assert_eq!(told(identifier.identity().unwrap()), none(Reason::NotRecognised));
    }
    // gQUIC before Q046 has another header; a client may go over to version 1.
    let gquic = [&[0x0d][..], &[8; 8], b"Q043", &[1; 1300]].concat();
    assert_eq!(identify(&[&gquic]), none(Reason::NotRecognised));
    assert_eq!(identify(&[gquic, initial]), named("listed.edu"));
}

#[test]
fn t15_a_compatible_negotiation_goes_on_with_the_keys_of_the_new_version() {
    let message = post_quantum();
    let first = Initial::new(&crypto(0, &message[..700])).seal();
    let negotiated = Initial::new(&crypto(700, &message[700..])).version(V2).addressed(&SERVER_ID);
    assert_eq!(identify(&[&first, &negotiated.seal()]), named("listed.edu"));
    // The watch for another name goes over with it.
    let whole = hello("listed.edu");
    let behind = |frames: &[u8]| Initial::new(frames).version(V2).addressed(&SERVER_ID).number(1, 1).seal();
    let start = Initial::of(&whole).seal();
    assert_eq!(identify(&[&start, &behind(&[2, 0, 0, 0, 0])]), named("listed.edu"));
    let again = |name: &str| behind(&crypto(whole.len() as u64, &hello(name)));
    assert_eq!(identify(&[&start, &again("listed.edu")]), named("listed.edu"));
    assert_eq!(identify(&[&start, &again("other.example")]).1, Some(Reason::SecondName));
    // An incompatible one begins anew.
    let other = hello("listed.edu");
    let anew = Initial::of(&other).version(V2).to(&[5; 8]).seal();
    assert_eq!(identify(&[first, anew]), named("listed.edu"));
}

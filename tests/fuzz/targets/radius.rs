//! RADIUS packets: framed or refused, padding makes no difference, what is read keeps its limits, what is signed is
//! authentic and nothing else, and the answer is one that the client takes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::cast_possible_truncation,
    missing_docs,
    unreachable_pub,
    dead_code,
    reason = "a fuzz target may panic, and is a module of a test, which uses more of it, as well as of a program"
)]

#[path = "radius/encode.rs"]
pub mod encode;

use encode::{Encoder, assert_answers, status_server};
use gateway::wire::radius::{
    ADDRESSES_MAX, AddressKind, BLOCKS_MAX, Facts, Packet, RequestKind, SubscriberKind, SubscriberWord,
    Unauthentic, answer, authentic,
};

/// What clients and we know.
const SECRET: &[u8] = b"sixteen octets..";

/// The datagram is the peer's; its attributes are then signed and read.
pub fn run(data: &[u8]) {
    let Ok(packet) = Packet::parse(data) else { return };
    let (whole, length) = (&data[..packet.length()], packet.length());
    assert!((20..=4096).contains(&length));
    assert!(Packet::parse(whole) == Ok(packet), "padding makes no difference");
    for cut in [0, 3, 19, length / 2, length - 1] {
        assert!(cut >= length || Packet::parse(&whole[..cut]).is_err(), "cut at {cut}");
    }
    let octets: usize = packet.attributes().map(|attribute| attribute.value.len() + 2).sum();
    assert_eq!(20 + octets, length, "all octets are of some attribute");
    let message_authenticators = packet.attributes().filter(|attribute| attribute.kind == 80).count();
    let is_broken = packet.attributes().any(|attribute| attribute.kind == 80 && attribute.value.len() != 16);
    for (encoder, kind) in
        [(request(data), RequestKind::Accounting), (status_server(), RequestKind::StatusServer)]
    {
        let signed = encoder.identifier(data[1]).raw(&data[20..length]).signed(SECRET);
        let packet = Packet::parse(&signed).unwrap();
        let request = match authentic(packet, SECRET) {
            Ok(request) => request,
            Err(Unauthentic::NoMessageAuthenticator) => {
                assert!(kind == RequestKind::StatusServer && message_authenticators == 0);
                continue;
            }
            Err(reason) => {
                assert!(message_authenticators > 1 || is_broken, "{reason}");
                continue;
            }
        };
        assert_eq!(request.kind(), kind);
        let mut out = vec![0xff; 9000];
        answer(&request, SECRET, &mut out);
        assert_answers(&out, &signed, SECRET);
        assert!(Packet::parse(&out).is_ok());
        read(&Facts::of(&request));
        let mut forged = signed.clone();
        let at = usize::from(data[1]) * 8 % length;
        forged[at] ^= 1 << (data[0] % 8);
        let forged = Packet::parse(&forged).map(|packet| authentic(packet, SECRET));
        assert!(!matches!(forged, Ok(Ok(_))), "a bit of octet {at} is another");
    }
}

/// An Accounting-Request.
fn request(data: &[u8]) -> Encoder {
    encode::request().identifier(data[1])
}

/// What holds of all that is read.
fn read(facts: &Facts<'_>) {
    for kind in AddressKind::ALL {
        let prefixes = facts.addresses.of(kind);
        assert!(prefixes.len() <= ADDRESSES_MAX);
        for (at, prefix) in prefixes.iter().enumerate() {
            assert_eq!(*prefix, prefix.trunc());
            assert!(prefix.prefix_len() > 0, "nobody has all addresses");
            assert!(!prefixes[..at].contains(prefix));
        }
    }
    assert!(facts.blocks().len() <= BLOCKS_MAX);
    for block in facts.blocks() {
        assert!(block.first <= block.last && !block.address.is_unspecified() && facts.is_translated);
    }
    for word in WORDS {
        let word: SubscriberWord = word.parse().unwrap();
        let Some((kind, identifier)) = facts.subscriber(&[word]) else { continue };
        assert_eq!(kind, word.kind);
        let is_digits = identifier.bytes().all(|octet| octet.is_ascii_digit());
        assert!(match kind {
            SubscriberKind::Imsi => is_digits && (6..=15).contains(&identifier.len()),
            SubscriberKind::Msisdn => is_digits && (5..=15).contains(&identifier.len()),
            SubscriberKind::Account =>
                (1..=253).contains(&identifier.len()) && !identifier.chars().any(char::is_control),
        });
    }
}

/// Words over every attribute there is one for.
const WORDS: [&str; 8] = [
    "3gpp-imsi:imsi",
    "calling-station-id:msisdn",
    "user-name:account",
    "class:account",
    "class:imsi",
    "chargeable-user-identity:account",
    "alc-subsc-id-str:account",
    "vsa-2011-255:msisdn",
];

//! RADIUS accounting: what packets are taken, what they say, and what is answered. The packets are written by an encoder of
//! the tests' own, and by the clients of FreeRADIUS.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

#[path = "radius_codec/addresses.rs"]
mod addresses;
#[path = "radius_codec/blocks.rs"]
mod blocks;
#[path = "radius_codec/facts.rs"]
mod facts;
#[path = "radius_codec/packets.rs"]
mod packets;
#[path = "radius_codec/peers.rs"]
mod peers;
#[path = "radius_codec/subscribers.rs"]
mod subscribers;
#[path = "../fuzz/targets/radius.rs"]
mod target;

use gateway::wire::radius::{Facts, Packet, Request, Unauthentic, authentic};
use proptest::prelude::*;
use target::encode;

/// What clients and we know.
const SECRET: &[u8] = b"a secret of clients";

/// A packet that is framed, held against the secret.
fn judge(signed: &[u8]) -> Result<Request<'_>, Unauthentic> {
    authentic(Packet::parse(signed).unwrap(), SECRET)
}

/// What a packet says.
fn read(encoder: &encode::Encoder, check: impl FnOnce(Facts<'_>)) {
    check(Facts::of(&judge(&encoder.signed(SECRET)).unwrap()));
}

#[test]
fn fuzz_corpus_replays() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/corpus/radius");
    let mut files = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        target::run(&std::fs::read(file.unwrap().path()).unwrap());
        files += 1;
    }
    assert!(files > 0, "{folder} has inputs");
}

/// Attributes that are read, and one that is not.
const READ: [u8; 27] = [
    1, 4, 8, 22, 25, 31, 32, 33, 40, 41, 42, 43, 44, 46, 52, 53, 55, 80, 89, 95, 97, 99, 123, 168, 241, 244,
    200,
];
/// Sub-attributes that are read: vendor, and the first and last of its types.
const VENDORS: [(u32, u8, u8); 5] =
    [(10_415, 1, 13), (6_527, 9, 142), (2_011, 160, 166), (25_506, 31, 35), (43_823, 20, 22)];

prop_compose! {
    /// A value: of a length that some type has, or of any.
    fn value()(
        value in prop_oneof![
            prop::collection::vec(any::<u8>(), 4),
            prop::collection::vec(any::<u8>(), 16..=18),
            prop::collection::vec(any::<u8>(), 0..60),
            "[0-9a-f.:/, -]{0,40}".prop_map(String::into_bytes),
        ]
    ) -> Vec<u8> { value }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn what_the_fuzz_target_asserts_holds_of_any_values(
        plain in prop::collection::vec((prop::sample::select(&READ[..]), value()), 0..12),
        vendors in prop::collection::vec((prop::sample::select(&VENDORS[..]), any::<u8>(), value()), 0..8),
        ranges in prop::collection::vec((0..12_u8, value()), 0..6),
    ) {
        let mut encoder = plain.iter().fold(encode::request(), |all, (kind, value)| all.attribute(*kind, value));
        for ((vendor, first, last), at, value) in &vendors {
            encoder = encoder.vendor(*vendor, &[(first + at % (last - first + 1), value)]);
        }
        let tlvs: Vec<(u8, &[u8])> = ranges.iter().map(|(kind, value)| (*kind, &value[..value.len().min(30)])).collect();
        target::run(&encoder.tlvs(241, 6, &tlvs).signed(SECRET));
    }
}

//! How much of a flow is read for its name, and for how long: keys of section [limits].

use crate::quantity::show_size;
use crate::reader::Reader;
use crate::relation::at_least;
use crate::section::Section;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Handshake bytes of a ClientHello (a key of `config/examples/full.toml`).
pub const HELLO_HANDSHAKE_MAX_DEFAULT: usize = 16 << 10;
/// Bytes on the wire of a ClientHello, record headers included (a key of `config/examples/full.toml`).
pub const HELLO_WIRE_MAX_DEFAULT: usize = 32 << 10;
/// Range of the hello and HTTP head sizes: each undecided flow may hold that much.
pub const HEAD_RANGE: RangeInclusive<usize> = 512..=1 << 20;
/// Absolute time until a name must be known (a key of `config/examples/full.toml`).
pub const IDENTIFY_DEADLINE_DEFAULT: Duration = Duration::from_secs(5);
/// Range of `identify_deadline`.
const IDENTIFY_DEADLINE_RANGE: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(600);
/// Headers of an HTTP request (a key of `config/examples/full.toml`).
pub const HTTP_HEADERS_MAX_DEFAULT: usize = 100;
/// Range of `http_headers_max`.
pub const HTTP_HEADERS_MAX_RANGE: RangeInclusive<usize> = 1..=1_000;
/// Bytes of an HTTP request head (a key of `config/examples/full.toml`).
pub const HTTP_HEAD_MAX_DEFAULT: usize = 16 << 10;
/// CRYPTO bytes of a QUIC client (a key of `config/examples/full.toml`).
pub const QUIC_CRYPTO_MAX_DEFAULT: usize = 16 << 10;
/// Range of `quic_crypto_max`.
pub const QUIC_CRYPTO_MAX_RANGE: RangeInclusive<usize> = 1 << 10..=64 << 10;
/// Pieces of CRYPTO data (a key of `config/examples/full.toml`).
pub const QUIC_FRAGMENTS_MAX_DEFAULT: usize = 128;
/// Range of `quic_fragments_max`.
pub const QUIC_FRAGMENTS_MAX_RANGE: RangeInclusive<usize> = 1..=4_096;
/// Datagrams of a client that are read for its name (a key of `config/examples/full.toml`).
pub const QUIC_DATAGRAMS_MAX_DEFAULT: usize = 10;
/// Range of `quic_datagrams_max`.
pub const QUIC_DATAGRAMS_MAX_RANGE: RangeInclusive<usize> = 1..=100;
/// Initial keys derived for one flow (a key of `config/examples/full.toml`).
pub const QUIC_KEY_DERIVATIONS_MAX_DEFAULT: usize = 3;
/// Range of `quic_key_derivations_max`.
pub const QUIC_KEY_DERIVATIONS_MAX_RANGE: RangeInclusive<usize> = 1..=100;
/// UDP flows that wait for a name (a key of `config/examples/full.toml`).
pub const UNDECIDED_FLOWS_MAX_DEFAULT: usize = 100_000;
/// Range of `undecided_flows_max`: each may take 20 KiB.
pub const UNDECIDED_FLOWS_MAX_RANGE: RangeInclusive<usize> = 1..=10_000_000;

// The defaults keep the relation that is checked between stated values.
const _: () = assert!(HELLO_WIRE_MAX_DEFAULT >= HELLO_HANDSHAKE_MAX_DEFAULT);

/// The keys `quic_*`: how much of a QUIC client is read for its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quic {
    /// Bytes of CRYPTO data; more is charged `oversize`.
    pub crypto_max: usize,
    /// Pieces that data may come in; more is charged `oversize`.
    pub fragments_max: usize,
    /// Datagrams read for the name, and held until it is known when steered.
    pub datagrams_max: usize,
    /// Initial keys derived for one flow.
    pub key_derivations_max: usize,
}

/// What of `[limits]` the reading of names keeps to.
pub(super) struct Naming {
    /// Handshake bytes of a ClientHello.
    pub(super) hello_handshake_max: usize,
    /// Bytes on the wire of a ClientHello.
    pub(super) hello_wire_max: usize,
    /// Absolute time until a name must be known.
    pub(super) identify_deadline: Duration,
    /// Headers of an HTTP request.
    pub(super) http_headers_max: usize,
    /// Bytes of an HTTP request head.
    pub(super) http_head_max: usize,
    /// How much of a QUIC client is read.
    pub(super) quic: Quic,
    /// UDP flows that wait for a name.
    pub(super) undecided_flows_max: usize,
}

impl Quic {
    /// Reads the keys `quic_*` of `[limits]`.
    fn read<'t>(r: &mut Reader<'t>, s: &Section<'t>) -> Quic {
        let (derivations, range) = (QUIC_KEY_DERIVATIONS_MAX_DEFAULT, QUIC_KEY_DERIVATIONS_MAX_RANGE);
        Quic {
            crypto_max: s.size(r, "quic_crypto_max", QUIC_CRYPTO_MAX_DEFAULT, QUIC_CRYPTO_MAX_RANGE).value,
            fragments_max: s
                .count(r, "quic_fragments_max", QUIC_FRAGMENTS_MAX_DEFAULT, QUIC_FRAGMENTS_MAX_RANGE)
                .value,
            datagrams_max: s
                .count(r, "quic_datagrams_max", QUIC_DATAGRAMS_MAX_DEFAULT, QUIC_DATAGRAMS_MAX_RANGE)
                .value,
            key_derivations_max: s.count(r, "quic_key_derivations_max", derivations, range).value,
        }
    }
}

impl Naming {
    /// Reads its keys; the bytes on the wire are at least those of the handshake.
    pub(super) fn read<'t>(r: &mut Reader<'t>, s: &Section<'t>) -> Naming {
        let handshake = s.size(r, "hello_handshake_max", HELLO_HANDSHAKE_MAX_DEFAULT, HEAD_RANGE);
        let wire = s.size(r, "hello_wire_max", HELLO_WIRE_MAX_DEFAULT, HEAD_RANGE);
        let bytes = |size: usize| show_size(u64::try_from(size).unwrap_or(u64::MAX));
        at_least(r, ("limits.hello_wire_max", &wire), ("limits.hello_handshake_max", &handshake), bytes);
        Naming {
            hello_handshake_max: handshake.value,
            hello_wire_max: wire.value,
            identify_deadline: s
                .duration(r, "identify_deadline", IDENTIFY_DEADLINE_DEFAULT, IDENTIFY_DEADLINE_RANGE)
                .value,
            http_headers_max: s
                .count(r, "http_headers_max", HTTP_HEADERS_MAX_DEFAULT, HTTP_HEADERS_MAX_RANGE)
                .value,
            http_head_max: s.size(r, "http_head_max", HTTP_HEAD_MAX_DEFAULT, HEAD_RANGE).value,
            quic: Quic::read(r, s),
            undecided_flows_max: s
                .count(r, "undecided_flows_max", UNDECIDED_FLOWS_MAX_DEFAULT, UNDECIDED_FLOWS_MAX_RANGE)
                .value,
        }
    }
}

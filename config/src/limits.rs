//! `[limits]`: how long, how much and how many of everything a flow may take (a key of `config/examples/full.toml`).

use crate::dns::{
    SOURCE_PREFIX_V4_DEFAULT, SOURCE_PREFIX_V4_RANGE, SOURCE_PREFIX_V6_DEFAULT, SOURCE_PREFIX_V6_RANGE,
};
use crate::key::Key;
use crate::quantity::{show_duration, show_size};
use crate::reader::Reader;
use crate::relation::at_least;
use crate::section::Section;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The keys of `[limits]`.
pub(crate) const KEYS: &[Key] = &[
    Key::defaulted("limits", "hello_handshake_max"),
    Key::defaulted("limits", "hello_wire_max"),
    Key::defaulted("limits", "identify_deadline"),
    Key::defaulted("limits", "http_headers_max"),
    Key::defaulted("limits", "http_head_max"),
    Key::defaulted("limits", "quic_crypto_max"),
    Key::defaulted("limits", "quic_fragments_max"),
    Key::defaulted("limits", "quic_datagrams_max"),
    Key::defaulted("limits", "quic_key_derivations_max"),
    Key::defaulted("limits", "undecided_flows_max"),
    Key::defaulted("limits", "idle_timeout"),
    Key::defaulted("limits", "https_idle_timeout"),
    Key::defaulted("limits", "quic_idle_timeout"),
    Key::defaulted("limits", "udp_idle_timeout"),
    Key::defaulted("limits", "unanswered_timeout"),
    Key::defaulted("limits", "proxy_header_deadline"),
    Key::defaulted("limits", "finish_deadline"),
    Key::defaulted("limits", "drain"),
    Key::defaulted("limits", "drain_hard"),
    Key::defaulted("limits", "flows_max"),
    Key::defaulted("limits", "flows_per_subscriber_max"),
    Key::defaulted("limits", "flows_per_msisdn_max"),
    Key::defaulted("limits", "flows_per_imsi_max"),
    Key::defaulted("limits", "flows_per_account_max"),
    Key::defaulted("limits", "sessions_max"),
    Key::defaulted("limits", "unknown_prefix_v4"),
    Key::defaulted("limits", "unknown_prefix_v6"),
    Key::defaulted("limits", "unanswered_per_subscriber_max"),
    Key::defaulted("limits", "accepts_per_wake_max"),
    Key::defaulted("limits", "relay_buffer"),
    Key::defaulted("limits", "splice_pipes_max"),
    Key::defaulted("limits", "memory_max"),
    Key::defaulted("limits", "socket_memory_per_subscriber_max"),
];

/// Handshake bytes of a ClientHello (a key of `config/examples/full.toml`).
pub const HELLO_HANDSHAKE_MAX_DEFAULT: usize = 16 << 10;
/// Bytes on the wire of a ClientHello, record headers included (a key of `config/examples/full.toml`).
pub const HELLO_WIRE_MAX_DEFAULT: usize = 32 << 10;
/// Range of the hello and HTTP head sizes: each undecided flow may hold that much.
pub const HEAD_RANGE: RangeInclusive<usize> = 512..=1 << 20;
/// Absolute time until a name must be known (a key of `config/examples/full.toml`).
pub const IDENTIFY_DEADLINE_DEFAULT: Duration = Duration::from_secs(5);
/// Range of the deadlines a peer can run into.
pub const DEADLINE_RANGE: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);
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
/// Time without a datagram after which a QUIC flow ends (a key of `config/examples/full.toml`).
pub const QUIC_IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(120);
/// Time without a datagram after which any other UDP flow ends (a key of `config/examples/full.toml`).
pub const UDP_IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);
/// Time without a datagram after which a UDP flow ends whose server never said anything: a client of QUIC repeats itself
/// after 1, 2 and 4 seconds (RFC 9002 §6.2), so that one whose first datagrams were lost keeps its flow.
pub const UNANSWERED_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// Time without a byte after which a TCP flow ends (a key of `config/examples/full.toml`).
pub const IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(15 * 60);
/// The same of flows to port 443, over which push services wait (RFC 5382 REQ-5: 2 h 4 min, longer than keep-alives are
/// apart).
pub const HTTPS_IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs((2 * 60 + 4) * 60);
/// Range of the idle timeouts.
pub const IDLE_TIMEOUT_RANGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);
/// Time for the whole PROXY header (a key of `config/examples/full.toml`).
pub const PROXY_HEADER_DEADLINE_DEFAULT: Duration = Duration::from_secs(3);
/// Time for both FINs to be acknowledged (decision 13).
pub const FINISH_DEADLINE_DEFAULT: Duration = Duration::from_secs(5);
/// Time flows get to end by themselves at shutdown (a key of `config/examples/full.toml`).
pub const DRAIN_DEFAULT: Duration = Duration::from_secs(600);
/// Time after which shutdown waits for nothing more (a key of `config/examples/full.toml`).
pub const DRAIN_HARD_DEFAULT: Duration = Duration::from_secs(900);
/// Range of `drain` and `drain_hard`.
pub const DRAIN_RANGE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(86_400);
/// Range of `flows_max` when it is a number.
pub const FLOWS_MAX_RANGE: RangeInclusive<usize> = 1..=10_000_000;
/// Flows of one subscriber (a key of `config/examples/full.toml`).
pub const FLOWS_PER_SUBSCRIBER_MAX_DEFAULT: usize = 2_048;
/// Range of `flows_per_subscriber_max` and `unanswered_per_subscriber_max`.
pub const FLOWS_PER_SUBSCRIBER_MAX_RANGE: RangeInclusive<usize> = 1..=1_000_000;
/// Addresses and prefixes that have a session: as many as the subscriber table may have rows, each some 300 bytes.
pub const SESSIONS_MAX_DEFAULT: usize = crate::subscribers::ENTRIES_MAX_DEFAULT;
/// Range of `sessions_max`.
pub const SESSIONS_MAX_RANGE: RangeInclusive<usize> = crate::subscribers::ENTRIES_MAX_RANGE;
/// UDP flows of one subscriber that nobody has answered: browsers open some dozens at once, and whoever forges his address
/// takes these places and none of his others.
pub const UNANSWERED_PER_SUBSCRIBER_MAX_DEFAULT: usize = 256;
/// Connections taken per wake-up of a listener, so that carried flows get their turn.
pub const ACCEPTS_PER_WAKE_MAX_DEFAULT: usize = 16;
/// Range of `accepts_per_wake_max`.
pub const ACCEPTS_PER_WAKE_MAX_RANGE: RangeInclusive<usize> = 1..=1_024;
/// Buffer of a relayed direction while bytes are in flight.
pub const RELAY_BUFFER_DEFAULT: usize = 64 << 10;
/// Range of `relay_buffer`.
pub const RELAY_BUFFER_RANGE: RangeInclusive<usize> = 4 << 10..=1 << 20;
/// Pipes of one worker for bytes that move inside the kernel: the kernel grants an unprivileged user 64 of 1 MiB (pipe(7)).
pub const SPLICE_PIPES_MAX_DEFAULT: usize = 32;
/// Range of `splice_pipes_max`.
pub const SPLICE_PIPES_MAX_RANGE: RangeInclusive<usize> = 0..=1_024;

/// Memory that the sockets of one subscriber's flows hold: some ten downloads at the kernel's largest buffers.
pub const SOCKET_MEMORY_PER_SUBSCRIBER_MAX_DEFAULT: usize = 64 << 20;
/// Range of `socket_memory_per_subscriber_max`: a single flow may hold more than the least.
pub const SOCKET_MEMORY_PER_SUBSCRIBER_MAX_RANGE: RangeInclusive<usize> = 1 << 20..=1 << 40;

/// Range of `memory_max` when it is a size: a node at rest takes more than the least.
pub const MEMORY_MAX_RANGE: RangeInclusive<usize> = 1 << 20..=1 << 44;

// The defaults keep the relations that are checked between stated values.
const _: () = assert!(HELLO_WIRE_MAX_DEFAULT >= HELLO_HANDSHAKE_MAX_DEFAULT);
const _: () = assert!(DRAIN_HARD_DEFAULT.as_secs() >= DRAIN_DEFAULT.as_secs());

/// `[limits]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Handshake bytes of a ClientHello; longer is charged `oversize`.
    pub hello_handshake_max: usize,
    /// Bytes on the wire of a ClientHello; longer is charged `oversize`. At least `hello_handshake_max`.
    pub hello_wire_max: usize,
    /// Absolute time from accept until a name must be known; later is charged `timeout`.
    pub identify_deadline: Duration,
    /// Headers of an HTTP request.
    pub http_headers_max: usize,
    /// Bytes of an HTTP request head.
    pub http_head_max: usize,
    /// How much of a QUIC client is read for its name.
    pub quic: Quic,
    /// UDP flows that wait for a name; above it the oldest is charged `undecided`.
    pub undecided_flows_max: usize,
    /// Time without a byte or a keep-alive of the subscriber after which a TCP flow ends.
    pub idle_timeout: Duration,
    /// The same of flows to port 443; `idle_timeout` where that is stated and this is not.
    pub https_idle_timeout: Duration,
    /// Time without a datagram after which a QUIC flow ends.
    pub quic_idle_timeout: Duration,
    /// Time without a datagram after which any other UDP flow ends.
    pub udp_idle_timeout: Duration,
    /// Time without a datagram after which a UDP flow ends whose server never said anything; a longer one's bytes are told
    /// as nobody's from then on.
    pub unanswered_timeout: Duration,
    /// Absolute time for the whole PROXY header.
    pub proxy_header_deadline: Duration,
    /// Time for both FINs to be acknowledged before the last reading.
    pub finish_deadline: Duration,
    /// Time flows get to end by themselves at shutdown.
    pub drain: Duration,
    /// Time after which shutdown waits for nothing more. At least `drain`.
    pub drain_hard: Duration,
    /// Flows of the whole process.
    pub flows_max: FlowsMax,
    /// Flows of one subscriber that are read: of TCP, and of UDP once they are answered. Further ones are carried unread and
    /// charged as `overload`.
    pub flows_per_subscriber_max: usize,
    /// The same of one whose id is a telephone number.
    pub flows_per_msisdn_max: usize,
    /// The same of one whose id is a SIM's.
    pub flows_per_imsi_max: usize,
    /// The same of one whose id is an account, behind which may stand a whole school.
    pub flows_per_account_max: usize,
    /// Addresses and prefixes that have a session, of all sources; further ones have none.
    pub sessions_max: usize,
    /// Bits of an IPv4 network that counts as one subscriber where no session has the address.
    pub unknown_prefix_v4: u8,
    /// The same of IPv6: what an operator gives one customer.
    pub unknown_prefix_v6: u8,
    /// UDP flows of one subscriber that nobody has answered; above it his oldest gives way.
    pub unanswered_per_subscriber_max: usize,
    /// Connections taken per wake-up of a listener.
    pub accepts_per_wake_max: usize,
    /// Buffer of a relayed direction while bytes are in flight, in bytes.
    pub relay_buffer: usize,
    /// Pipes of one worker for bytes that move inside the kernel; without a free one they are copied.
    pub splice_pipes_max: usize,
    /// Memory of the process, its sockets' included, above which timers are shortened and names are not read; none: the
    /// control group's limit.
    pub memory_max: Option<usize>,
    /// Memory that the sockets of one subscriber's flows hold; above it those end whose receivers take nothing.
    pub socket_memory_per_subscriber_max: usize,
}

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

/// Flows of the whole process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowsMax {
    /// From the limit of open files: (RLIMIT_NOFILE − 256 − pipes) / 2 (a key of `config/examples/full.toml`).
    Auto,
    /// This many.
    Count(usize),
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

impl Limits {
    /// Reads `[limits]`; `rows_max` is how many rows the subscriber table may have: all of them find room unless stated
    /// otherwise.
    pub(crate) fn read(reader: &mut Reader<'_>, rows_max: Option<usize>) -> Limits {
        let section = reader.section("limits");
        let s = &section;
        let r = reader;
        let handshake = s.size(r, "hello_handshake_max", HELLO_HANDSHAKE_MAX_DEFAULT, HEAD_RANGE);
        let wire = s.size(r, "hello_wire_max", HELLO_WIRE_MAX_DEFAULT, HEAD_RANGE);
        let bytes = |size: usize| show_size(u64::try_from(size).unwrap_or(u64::MAX));
        at_least(r, ("limits.hello_wire_max", &wire), ("limits.hello_handshake_max", &handshake), bytes);
        let drain = s.duration(r, "drain", DRAIN_DEFAULT, DRAIN_RANGE);
        let drain_hard = s.duration(r, "drain_hard", DRAIN_HARD_DEFAULT, DRAIN_RANGE);
        at_least(r, ("limits.drain_hard", &drain_hard), ("limits.drain", &drain), show_duration);
        let per_subscriber = s
            .count(
                r,
                "flows_per_subscriber_max",
                FLOWS_PER_SUBSCRIBER_MAX_DEFAULT,
                FLOWS_PER_SUBSCRIBER_MAX_RANGE,
            )
            .value;
        let mut of_type = |name: &str| s.count(r, name, per_subscriber, FLOWS_PER_SUBSCRIBER_MAX_RANGE).value;
        let [msisdn, imsi, account] =
            ["flows_per_msisdn_max", "flows_per_imsi_max", "flows_per_account_max"].map(&mut of_type);
        let idle = s.duration(r, "idle_timeout", IDLE_TIMEOUT_DEFAULT, IDLE_TIMEOUT_RANGE);
        let https = if idle.written { idle.value } else { HTTPS_IDLE_TIMEOUT_DEFAULT };
        let queued = SOCKET_MEMORY_PER_SUBSCRIBER_MAX_DEFAULT;
        let unanswered = UNANSWERED_PER_SUBSCRIBER_MAX_DEFAULT;
        Limits {
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
            idle_timeout: idle.value,
            https_idle_timeout: s.duration(r, "https_idle_timeout", https, IDLE_TIMEOUT_RANGE).value,
            quic_idle_timeout: s
                .duration(r, "quic_idle_timeout", QUIC_IDLE_TIMEOUT_DEFAULT, IDLE_TIMEOUT_RANGE)
                .value,
            udp_idle_timeout: s
                .duration(r, "udp_idle_timeout", UDP_IDLE_TIMEOUT_DEFAULT, IDLE_TIMEOUT_RANGE)
                .value,
            unanswered_timeout: s
                .duration(r, "unanswered_timeout", UNANSWERED_TIMEOUT_DEFAULT, IDLE_TIMEOUT_RANGE)
                .value,
            proxy_header_deadline: s
                .duration(r, "proxy_header_deadline", PROXY_HEADER_DEADLINE_DEFAULT, DEADLINE_RANGE)
                .value,
            finish_deadline: s.duration(r, "finish_deadline", FINISH_DEADLINE_DEFAULT, DEADLINE_RANGE).value,
            drain: drain.value,
            drain_hard: drain_hard.value,
            flows_max: s
                .count_or_auto(r, "flows_max", FLOWS_MAX_RANGE)
                .value
                .map_or(FlowsMax::Auto, FlowsMax::Count),
            flows_per_subscriber_max: per_subscriber,
            flows_per_msisdn_max: msisdn,
            flows_per_imsi_max: imsi,
            flows_per_account_max: account,
            sessions_max: s
                .count(r, "sessions_max", rows_max.unwrap_or(SESSIONS_MAX_DEFAULT), SESSIONS_MAX_RANGE)
                .value,
            unknown_prefix_v4: s
                .count(r, "unknown_prefix_v4", SOURCE_PREFIX_V4_DEFAULT, SOURCE_PREFIX_V4_RANGE)
                .value,
            unknown_prefix_v6: s
                .count(r, "unknown_prefix_v6", SOURCE_PREFIX_V6_DEFAULT, SOURCE_PREFIX_V6_RANGE)
                .value,
            unanswered_per_subscriber_max: s
                .count(r, "unanswered_per_subscriber_max", unanswered, FLOWS_PER_SUBSCRIBER_MAX_RANGE)
                .value,
            accepts_per_wake_max: s
                .count(r, "accepts_per_wake_max", ACCEPTS_PER_WAKE_MAX_DEFAULT, ACCEPTS_PER_WAKE_MAX_RANGE)
                .value,
            relay_buffer: s.size(r, "relay_buffer", RELAY_BUFFER_DEFAULT, RELAY_BUFFER_RANGE).value,
            splice_pipes_max: s
                .count(r, "splice_pipes_max", SPLICE_PIPES_MAX_DEFAULT, SPLICE_PIPES_MAX_RANGE)
                .value,
            memory_max: s.size_or_auto(r, "memory_max", MEMORY_MAX_RANGE).value,
            socket_memory_per_subscriber_max: s
                .size(r, "socket_memory_per_subscriber_max", queued, SOCKET_MEMORY_PER_SUBSCRIBER_MAX_RANGE)
                .value,
        }
    }
}

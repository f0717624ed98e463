//! `[limits]`: how long, how much and how many of everything a flow may take (a key of `config/examples/full.toml`).

mod flows;
mod naming;
mod times;

use self::flows::Flows;
use self::naming::Naming;
use self::times::Times;
use crate::key::Key;
use crate::reader::Reader;
use std::ops::RangeInclusive;
use std::time::Duration;

pub use flows::{
    FLOWS_MAX_RANGE, FLOWS_PER_SUBSCRIBER_MAX_DEFAULT, FLOWS_PER_SUBSCRIBER_MAX_RANGE, FlowsMax,
    SESSIONS_MAX_DEFAULT, SESSIONS_MAX_RANGE, UNANSWERED_PER_SUBSCRIBER_MAX_DEFAULT,
};
pub use naming::{
    HEAD_RANGE, HELLO_HANDSHAKE_MAX_DEFAULT, HELLO_WIRE_MAX_DEFAULT, HTTP_HEAD_MAX_DEFAULT,
    HTTP_HEADERS_MAX_DEFAULT, HTTP_HEADERS_MAX_RANGE, IDENTIFY_DEADLINE_DEFAULT, QUIC_CRYPTO_MAX_DEFAULT,
    QUIC_CRYPTO_MAX_RANGE, QUIC_DATAGRAMS_MAX_DEFAULT, QUIC_DATAGRAMS_MAX_RANGE, QUIC_FRAGMENTS_MAX_DEFAULT,
    QUIC_FRAGMENTS_MAX_RANGE, QUIC_KEY_DERIVATIONS_MAX_DEFAULT, QUIC_KEY_DERIVATIONS_MAX_RANGE, Quic,
    UNDECIDED_FLOWS_MAX_DEFAULT, UNDECIDED_FLOWS_MAX_RANGE,
};
pub use times::{
    DEADLINE_RANGE, DRAIN_DEFAULT, DRAIN_HARD_DEFAULT, DRAIN_RANGE, FINISH_DEADLINE_DEFAULT,
    HTTPS_IDLE_TIMEOUT_DEFAULT, IDLE_TIMEOUT_DEFAULT, IDLE_TIMEOUT_RANGE, PROXY_HEADER_DEADLINE_DEFAULT,
    QUIC_IDLE_TIMEOUT_DEFAULT, UDP_IDLE_TIMEOUT_DEFAULT, UNANSWERED_TIMEOUT_DEFAULT,
};

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

impl Limits {
    /// Reads `[limits]`; `rows_max` is how many rows the subscriber table may have: all of them find room unless stated
    /// otherwise.
    pub(crate) fn read(reader: &mut Reader<'_>, rows_max: Option<usize>) -> Limits {
        let section = reader.section("limits");
        let s = &section;
        let r = reader;
        let naming = Naming::read(r, s);
        let times = Times::read(r, s);
        let flows = Flows::read(r, s, rows_max);
        let queued = SOCKET_MEMORY_PER_SUBSCRIBER_MAX_DEFAULT;
        Limits {
            hello_handshake_max: naming.hello_handshake_max,
            hello_wire_max: naming.hello_wire_max,
            identify_deadline: naming.identify_deadline,
            http_headers_max: naming.http_headers_max,
            http_head_max: naming.http_head_max,
            quic: naming.quic,
            undecided_flows_max: naming.undecided_flows_max,
            idle_timeout: times.idle_timeout,
            https_idle_timeout: times.https_idle_timeout,
            quic_idle_timeout: times.quic_idle_timeout,
            udp_idle_timeout: times.udp_idle_timeout,
            unanswered_timeout: times.unanswered_timeout,
            proxy_header_deadline: times.proxy_header_deadline,
            finish_deadline: times.finish_deadline,
            drain: times.drain,
            drain_hard: times.drain_hard,
            flows_max: flows.flows_max,
            flows_per_subscriber_max: flows.per_subscriber_max,
            flows_per_msisdn_max: flows.per_msisdn_max,
            flows_per_imsi_max: flows.per_imsi_max,
            flows_per_account_max: flows.per_account_max,
            sessions_max: flows.sessions_max,
            unknown_prefix_v4: flows.unknown_prefix_v4,
            unknown_prefix_v6: flows.unknown_prefix_v6,
            unanswered_per_subscriber_max: flows.unanswered_per_subscriber_max,
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

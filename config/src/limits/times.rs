//! How long a flow may be silent, begin or end: keys of section [limits].

use crate::quantity::show_duration;
use crate::reader::Reader;
use crate::relation::at_least;
use crate::section::Section;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Range of the deadlines a peer can run into.
pub const DEADLINE_RANGE: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);
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

// The defaults keep the relation that is checked between stated values.
const _: () = assert!(DRAIN_HARD_DEFAULT.as_secs() >= DRAIN_DEFAULT.as_secs());

/// The times of `[limits]`, but for the one until a name must be known.
pub(super) struct Times {
    /// Time without a byte after which a TCP flow ends.
    pub(super) idle_timeout: Duration,
    /// The same of flows to port 443.
    pub(super) https_idle_timeout: Duration,
    /// Time without a datagram after which a QUIC flow ends.
    pub(super) quic_idle_timeout: Duration,
    /// Time without a datagram after which any other UDP flow ends.
    pub(super) udp_idle_timeout: Duration,
    /// The same where the server never said anything.
    pub(super) unanswered_timeout: Duration,
    /// Absolute time for the whole PROXY header.
    pub(super) proxy_header_deadline: Duration,
    /// Time for both FINs to be acknowledged.
    pub(super) finish_deadline: Duration,
    /// Time flows get to end by themselves at shutdown.
    pub(super) drain: Duration,
    /// Time after which shutdown waits for nothing more.
    pub(super) drain_hard: Duration,
}

impl Times {
    /// Reads its keys. `https_idle_timeout` follows `idle_timeout` where that alone is stated.
    pub(super) fn read<'t>(r: &mut Reader<'t>, s: &Section<'t>) -> Times {
        let drain = s.duration(r, "drain", DRAIN_DEFAULT, DRAIN_RANGE);
        let drain_hard = s.duration(r, "drain_hard", DRAIN_HARD_DEFAULT, DRAIN_RANGE);
        at_least(r, ("limits.drain_hard", &drain_hard), ("limits.drain", &drain), show_duration);
        let idle = s.duration(r, "idle_timeout", IDLE_TIMEOUT_DEFAULT, IDLE_TIMEOUT_RANGE);
        let https = if idle.written { idle.value } else { HTTPS_IDLE_TIMEOUT_DEFAULT };
        Times {
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
        }
    }
}

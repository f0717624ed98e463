//! IP bytes of a flow on the subscriber's side (decision 13): what the operator's meter sees pass.
//!
//! A TCP connection's are computed from the kernel's own counters (`TCP_INFO`), which hold payload and segments apart. They
//! are exact once both FINs are acknowledged, and too low before. What is not proven is left out (decision 27): options of a
//! subscriber's segments that nobody saw, for what was agreed on need not be sent; selective acknowledgements of ours
//! (RFC 2018), an under-count on links that lose packets only. What the subscriber sends twice counts its headers only.

use std::net::IpAddr;

use billing_export::Volume;

/// IPv4 header without options (RFC 791 §3.1).
const IPV4_HEADER: u64 = 20;
/// IPv6 header without extensions (RFC 8200 §3).
const IPV6_HEADER: u64 = 40;
/// UDP header (RFC 768).
const UDP_HEADER: u64 = 8;
/// TCP header without options (RFC 9293 §3.1).
const TCP_HEADER: u64 = 20;
/// Timestamps, with the padding of segments that carry nothing else (RFC 7323 §3.2, appendix A).
const TIMESTAMPS: u64 = 12;
/// The same without (RFC 7323 §3.2).
const TIMESTAMPS_BARE: u64 = 10;
/// Maximum segment size (RFC 9293 §3.7.1).
const SEGMENT_SIZE: u64 = 4;
/// Window scale (RFC 7323 §2.2).
const WINDOW_SCALE: u64 = 3;
/// Selective acknowledgement permitted (RFC 2018 §2).
const SELECTIVE: u64 = 2;
/// The most that a segment's options have room for (RFC 9293 §3.1).
const OPTIONS_MAX: u64 = 40;
/// A count is said to be a lower bound when what may be missing is more than one part in so many of it: half a percent.
const TOLERANCE: u64 = 200;
/// Options fill whole words (RFC 9293 §3.1).
const WORD: u64 = 4;

/// The kernel's counters of one connection that a subscriber opened to us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamCounters {
    /// Payload sent, repeats included.
    pub bytes_sent: u64,
    /// Sequence numbers received in order: payload, and one for FIN.
    pub bytes_received: u64,
    /// Segments sent; the one that accepted the connection is not among them.
    pub segments_out: u64,
    /// Segments received; the one that opened the connection is among them.
    pub segments_in: u64,
    /// What was agreed on.
    pub options: StreamOptions,
    /// Options of the segments received, but for the one that opened the connection.
    pub inbound: InboundOptions,
    /// Whether that one told the subscriber's segment size.
    pub told_segment_size: bool,
    /// Whether FIN may be among `bytes_received`.
    pub finished: bool,
    /// Sequence numbers acknowledged: payload, and one for FIN.
    pub bytes_acknowledged: u64,
    /// Segments with sequence numbers that the subscriber said it has, each once; the one that accepted the connection is
    /// among them.
    pub segments_delivered: u64,
    /// Segments received before one that was missing: each was answered with what is missing, as a rule.
    pub segments_out_of_order: u64,
}

/// What is known of the options in the segments that a subscriber sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InboundOptions {
    /// Nothing: none of them counts.
    #[default]
    Unknown,
    /// How long they were.
    Told {
        /// Segments with others than timestamps alone.
        segments: u64,
        /// Bytes of those.
        bytes: u64,
        /// The segment that completed the handshake may have been another such one; nobody knows its options.
        opening: bool,
    },
}

impl InboundOptions {
    /// Every segment had timestamps and nothing else.
    pub const USUAL: Self = Self::Told { segments: 0, bytes: 0, opening: false };

    /// Bytes of so many segments' options, at least.
    fn bytes(self, count: u64) -> u64 {
        match self {
            Self::Unknown => 0,
            Self::Told { segments, bytes, opening } => count
                .saturating_sub(segments.saturating_add(u64::from(opening)))
                .saturating_mul(TIMESTAMPS)
                .saturating_add(bytes),
        }
    }
}

/// TCP options that both sides use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamOptions {
    /// Time stamps, in every segment.
    pub timestamps: bool,
    /// Selective acknowledgements.
    pub selective: bool,
    /// Window scale.
    pub window_scale: bool,
}

impl StreamCounters {
    /// IP bytes received and sent so far, with a subscriber at `address`.
    pub fn volume(&self, address: IpAddr) -> Volume {
        let options = self.options;
        let plain = ip_header(address).saturating_add(TCP_HEADER);
        let received = self.segments_in.saturating_sub(1);
        let up = self
            .bytes_received
            .saturating_sub(u64::from(self.finished))
            .saturating_add(received.saturating_mul(plain))
            .saturating_add(self.inbound.bytes(received))
            .saturating_add(plain)
            .saturating_add(options.opening_bytes(self.told_segment_size));
        Volume { up, down: self.down(address, self.bytes_sent, self.segments_out) }
    }

    /// IP bytes that the subscriber said it has: no packet counts that it need not have seen.
    pub fn acknowledged(&self, address: IpAddr) -> u64 {
        // FIN may be one of them.
        self.down(
            address,
            self.bytes_acknowledged.saturating_sub(1),
            self.segments_delivered.saturating_sub(1),
        )
    }

    /// Bytes of options that may be missing in [`volume`](Self::volume): selective acknowledgements of ours, which tell the
    /// subscriber what is missing (RFC 2018 §3), and all options of the subscriber's segments where nobody saw them. Of a
    /// direction in which that is less than half a percent, none.
    pub fn uncounted_options(&self, address: IpAddr) -> u64 {
        let Volume { up, down } = self.volume(address);
        let timestamps = if self.options.timestamps { TIMESTAMPS } else { 0 };
        let selective = if self.options.selective { OPTIONS_MAX.saturating_sub(timestamps) } else { 0 };
        let sent = self.segments_out_of_order.saturating_mul(selective);
        let received = match self.inbound {
            InboundOptions::Unknown => self.segments_in.saturating_mul(timestamps),
            InboundOptions::Told { .. } => 0,
        };
        let notable = |bytes: u64, of: u64| if bytes > of / TOLERANCE { bytes } else { 0 };
        notable(sent, down).saturating_add(notable(received, up))
    }

    /// IP bytes of so much payload to `address` in so many segments, and of the one that accepted the connection.
    fn down(&self, address: IpAddr, payload: u64, segments: u64) -> u64 {
        let plain = ip_header(address).saturating_add(TCP_HEADER);
        let each = plain.saturating_add(if self.options.timestamps { TIMESTAMPS } else { 0 });
        let opening = plain.saturating_add(self.options.opening_bytes(true));
        payload.saturating_add(segments.saturating_mul(each)).saturating_add(opening)
    }
}

impl StreamOptions {
    /// Bytes of the options in a segment that opens a connection, at least: they end with a whole word.
    const fn opening_bytes(self, tells_segment_size: bool) -> u64 {
        let size = if tells_segment_size { SEGMENT_SIZE } else { 0 };
        let times = if self.timestamps { TIMESTAMPS_BARE } else { 0 };
        let selective = if self.selective { SELECTIVE } else { 0 };
        let scale = if self.window_scale { WINDOW_SCALE } else { 0 };
        (size + times + selective + scale).next_multiple_of(WORD)
    }
}

/// Headers of one segment to or from `address`, with the option that most have.
pub fn segment_header(address: IpAddr) -> u64 {
    ip_header(address).saturating_add(TCP_HEADER).saturating_add(TIMESTAMPS)
}

/// Bytes of the headers in front of a datagram's payload, with a subscriber at `address`.
pub fn datagram_header(address: IpAddr) -> u64 {
    ip_header(address).saturating_add(UDP_HEADER)
}

/// Bytes of the header of IP.
fn ip_header(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(_) => IPV4_HEADER,
        IpAddr::V6(_) => IPV6_HEADER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection of Linux: SYN, SYN-ACK and ACK, 100 bytes up in one segment, 3,000 down in three, FINs and their
    /// acknowledgements.
    const VISIT: StreamCounters = StreamCounters {
        bytes_sent: 3_000,
        bytes_received: 101,
        // Acknowledgement of the request, three of data, FIN, acknowledgement of FIN.
        segments_out: 6,
        // SYN, ACK, request, two acknowledgements, FIN, acknowledgement of FIN.
        segments_in: 7,
        options: StreamOptions { timestamps: true, selective: true, window_scale: true },
        inbound: InboundOptions::USUAL,
        told_segment_size: true,
        finished: true,
        bytes_acknowledged: 3_001,
        // The one that accepted, three of data, FIN.
        segments_delivered: 5,
        segments_out_of_order: 0,
    };

    #[test]
    fn f62_options_that_may_be_missing_are_told_from_half_a_percent_on() {
        let address = "192.0.2.1".parse().unwrap();
        let out_of_order = |segments_out_of_order, selective| {
            let options = StreamOptions { selective, ..VISIT.options };
            let counters = StreamCounters { segments_out_of_order, options, bytes_sent: 5_228, ..VISIT };
            counters.uncounted_options(address)
        };
        // 5,228 + 60 + 6 × 52 = 5,600 bytes: half a percent are 28.
        assert_eq!((out_of_order(0, true), out_of_order(1, true), out_of_order(2, true)), (0, 0, 56));
        assert_eq!(out_of_order(1_000, false), 0, "was not agreed on");
        let bare = StreamOptions { timestamps: false, ..VISIT.options };
        let bare = StreamCounters { segments_out_of_order: 2, options: bare, ..VISIT };
        assert_eq!(bare.uncounted_options(address), 2 * 40, "no time stamps beside them");
        let unseen = StreamCounters { inbound: InboundOptions::Unknown, ..bare };
        assert_eq!(unseen.uncounted_options(address), 2 * 40, "and none that nobody saw");
        let nothing = StreamCounters { inbound: InboundOptions::USUAL, ..StreamCounters::default() };
        assert_eq!(nothing.uncounted_options(address), 0);
        let unseen = StreamCounters { inbound: InboundOptions::Unknown, ..VISIT };
        assert_eq!(unseen.uncounted_options(address), 7 * 12, "seven segments may each have told their time");
        let upload = StreamCounters { bytes_received: 100_000, ..unseen };
        assert_eq!(upload.uncounted_options(address), 0, "less than half a percent of it");
    }

    #[test]
    fn t26_headers_are_those_of_the_segments_and_the_opening_ones_are_longer() {
        let volume = VISIT.volume("192.0.2.1".parse().unwrap());
        assert_eq!(volume, Volume { up: 100 + 60 + 6 * 52, down: 3_000 + 60 + 6 * 52 });
        let volume = VISIT.volume("2001:db8::1".parse().unwrap());
        assert_eq!(volume, Volume { up: 100 + 80 + 6 * 72, down: 3_000 + 80 + 6 * 72 });
        let mapped = VISIT.volume("::ffff:192.0.2.1".parse().unwrap());
        assert_eq!(mapped, VISIT.volume("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn f61_what_was_acknowledged_has_no_pure_acknowledgements_and_no_repeats_in_it() {
        assert_eq!(VISIT.acknowledged("192.0.2.1".parse().unwrap()), 3_000 + 60 + 4 * 52);
        let repeated = StreamCounters { bytes_sent: 9_000, segments_out: 20, ..VISIT };
        assert_eq!(repeated.acknowledged("2001:db8::1".parse().unwrap()), 3_000 + 80 + 4 * 72);
    }

    #[test]
    fn t26_options_that_were_not_agreed_on_take_no_room() {
        let with = |timestamps, selective, window_scale| {
            let options = StreamOptions { timestamps, selective, window_scale };
            let counters = StreamCounters {
                segments_out: 0,
                segments_in: 1,
                options,
                told_segment_size: true,
                ..StreamCounters::default()
            };
            counters.volume("192.0.2.1".parse().unwrap())
        };
        // As systems in use open connections: Linux, Linux without time stamps (and Windows), the barest.
        assert_eq!(with(true, true, true), Volume { up: 60, down: 60 });
        assert_eq!(with(false, true, true), Volume { up: 52, down: 52 });
        assert_eq!(with(false, false, false), Volume { up: 44, down: 44 });
    }

    #[test]
    fn t26_segments_without_time_stamps_have_bare_headers() {
        let counters = StreamCounters { bytes_sent: 100, segments_out: 3, ..StreamCounters::default() };
        assert_eq!(counters.volume("192.0.2.1".parse().unwrap()).down, 100 + 3 * 40 + 44);
    }

    #[test]
    fn t26_headers_in_front_of_a_payload_are_those_of_its_protocol_and_version() {
        let of = |address: &str| {
            let address = address.parse().unwrap();
            (segment_header(address), datagram_header(address))
        };
        assert_eq!(of("192.0.2.1"), (20 + 20 + 12, 20 + 8));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_eq!(of("2001:db8::1"), (40 + 20 + 12, 40 + 8));
    }

    #[test]
    fn t29_no_counter_overflows() {
        let counters = StreamCounters {
            bytes_sent: u64::MAX,
            bytes_received: u64::MAX,
            segments_out: u64::MAX,
            segments_in: u64::MAX,
            ..VISIT
        };
        assert_eq!(counters.volume("::1".parse().unwrap()), Volume { up: u64::MAX, down: u64::MAX });
        let nothing = StreamCounters { finished: true, ..StreamCounters::default() };
        assert_eq!(nothing.volume("127.0.0.1".parse().unwrap()), Volume { up: 40, down: 44 });
    }

    #[test]
    fn f3_options_that_nobody_saw_do_not_count() {
        let up = |inbound, told_segment_size| {
            let counters = StreamCounters { inbound, told_segment_size, ..VISIT };
            counters.volume("192.0.2.1".parse().unwrap()).up
        };
        let told = |segments, bytes, opening| InboundOptions::Told { segments, bytes, opening };
        assert_eq!(up(InboundOptions::Unknown, true), 100 + 60 + 6 * 40);
        assert_eq!(up(told(0, 0, false), true), 100 + 60 + 6 * 52);
        // One acknowledges what came out of order (24 bytes of options), one is a reset.
        assert_eq!(up(told(2, 24, false), true), 100 + 60 + 4 * 52 + 64 + 40);
        assert_eq!(up(told(2, 24, true), true), 100 + 60 + 3 * 52 + 64 + 2 * 40);
        assert_eq!(up(told(7, 0, true), true), 100 + 60 + 6 * 40, "none is left");
        // Timestamps, selective acknowledgements and window scale, in four words.
        assert_eq!(up(InboundOptions::USUAL, false), 100 + 56 + 6 * 52);
    }
}

//! IP bytes of a flow on the subscriber's side (DESIGN decision 13): what the operator's meter sees pass.
//!
//! A TCP connection's are computed from the kernel's own counters (`TCP_INFO`), which hold payload and segments apart. They
//! are exact once both FINs are acknowledged, and too low before. Two things are not in them: the options of the segments
//! that open the connection, which are computed from what was agreed on, and selective acknowledgements (RFC 2018), which
//! are left out: an under-count, on links that lose packets only. What the subscriber sends twice counts its headers only.

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
/// Time stamps with their padding (RFC 7323 §3.2, appendix A).
const TIMESTAMPS: u64 = 12;
/// Maximum segment size (RFC 9293 §3.7.1).
const SEGMENT_SIZE: u64 = 4;
/// Window scale with its padding (RFC 7323 §2.2).
const WINDOW_SCALE: u64 = 4;
/// Selective acknowledgement permitted, with its padding (RFC 2018 §2). Beside time stamps it takes the place of their padding.
const SELECTIVE: u64 = 4;

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
    /// Whether FIN may be among `bytes_received`.
    pub finished: bool,
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
    /// IP bytes so far, with a subscriber at `address`.
    pub fn volume(&self, address: IpAddr) -> Volume {
        let options = self.options;
        let plain = ip_header(address).saturating_add(TCP_HEADER);
        let each = plain.saturating_add(if options.timestamps { TIMESTAMPS } else { 0 });
        let opening = plain.saturating_add(options.opening_bytes());
        let up = self
            .bytes_received
            .saturating_sub(u64::from(self.finished))
            .saturating_add(self.segments_in.saturating_sub(1).saturating_mul(each))
            .saturating_add(opening);
        let down =
            self.bytes_sent.saturating_add(self.segments_out.saturating_mul(each)).saturating_add(opening);
        Volume { up, down }
    }
}

impl StreamOptions {
    /// Bytes of the options in each of the two segments that open a connection.
    const fn opening_bytes(self) -> u64 {
        let times = match (self.timestamps, self.selective) {
            (true, _) => TIMESTAMPS,
            (false, true) => SELECTIVE,
            (false, false) => 0,
        };
        let scale = if self.window_scale { WINDOW_SCALE } else { 0 };
        SEGMENT_SIZE + times + scale
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
        finished: true,
    };

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
    fn t26_options_that_were_not_agreed_on_take_no_room() {
        let with = |timestamps, selective, window_scale| {
            let options = StreamOptions { timestamps, selective, window_scale };
            let counters =
                StreamCounters { segments_out: 0, segments_in: 1, options, ..StreamCounters::default() };
            counters.volume("192.0.2.1".parse().unwrap())
        };
        // As systems in use open connections: Linux, Linux without time stamps (and Windows), the barest.
        assert_eq!(with(true, true, true), Volume { up: 60, down: 60 });
        assert_eq!(with(false, true, true), Volume { up: 52, down: 52 });
        assert_eq!(with(false, false, false), Volume { up: 44, down: 44 });
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
        assert_eq!(nothing.volume("127.0.0.1".parse().unwrap()), Volume { up: 44, down: 44 });
    }
}

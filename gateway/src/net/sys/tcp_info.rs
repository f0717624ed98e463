//! What the kernel knows of a TCP connection: the fields of `struct tcp_info` (`linux/tcp.h`) that counts are made of. The
//! kernel only ever adds to it at the end.

use crate::flow::ip_bytes::StreamOptions;

/// One reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamState {
    /// Payload sent, repeats included.
    pub bytes_sent: u64,
    /// Sequence numbers received in order: payload, and one for FIN.
    pub bytes_received: u64,
    /// Segments sent, modulo 2³²; the one that accepted the connection is not among them.
    pub segments_out: u32,
    /// Segments received, modulo 2³².
    pub segments_in: u32,
    /// Segments sent and not acknowledged.
    pub unacknowledged: u32,
    /// Bytes that wait to be sent.
    pub unsent: u32,
    /// Options that both sides use.
    pub options: StreamOptions,
    /// Payload of a segment at most; with timestamps they are taken off.
    pub segment_size: u32,
    /// Payload sent again.
    pub bytes_repeated: u64,
    /// Sequence numbers acknowledged: payload, and one for FIN.
    pub bytes_acknowledged: u64,
    /// Segments that the peer has said it has, modulo 2³², those it said twice counted twice; the one that accepted the connection is
    /// among them.
    pub segments_delivered: u32,
    /// Segments it said it had twice, modulo 2³².
    pub segments_delivered_twice: u32,
    /// Segments received before one that was missing, modulo 2³²; 0 where the kernel does not say (before Linux 5.4).
    pub segments_out_of_order: u32,
    /// Whether FIN may have been received: it has, or the connection is over.
    pub may_have_received_fin: bool,
}

impl StreamState {
    /// Whether the segment that opened the connection told a segment size: without it, segments are of the least one.
    pub const fn told_segment_size(&self) -> bool {
        self.segment_size > SEGMENT_SIZE_UNTOLD
    }
}

/// Room for it; what a later kernel adds is not read.
pub(in crate::net) const ROOM: usize = 256;
/// The same, as the system call takes it.
pub(in crate::net) const ROOM_LENGTH: libc::socklen_t = 256;
/// Offset of `tcpi_state`.
const STATE: usize = 0;
/// Offset of `tcpi_options`.
const OPTIONS: usize = 5;
/// Offset of `tcpi_snd_mss`.
const SND_MSS: usize = 16;
/// Offset of `tcpi_unacked`.
const UNACKED: usize = 24;
/// Offset of `tcpi_bytes_acked`.
const BYTES_ACKED: usize = 120;
/// Offset of `tcpi_bytes_received`.
const BYTES_RECEIVED: usize = 128;
/// Offset of `tcpi_segs_out`.
const SEGS_OUT: usize = 136;
/// Offset of `tcpi_segs_in`.
const SEGS_IN: usize = 140;
/// Offset of `tcpi_notsent_bytes`.
const NOTSENT_BYTES: usize = 144;
/// Offset of `tcpi_delivered`.
const DELIVERED: usize = 192;
/// Offset of `tcpi_bytes_sent`.
const BYTES_SENT: usize = 200;
/// Offset of `tcpi_bytes_retrans`.
const BYTES_RETRANS: usize = 208;
/// Offset of `tcpi_dsack_dups`.
const DSACK_DUPS: usize = 216;
/// Offset of `tcpi_rcv_ooopack`.
const RCV_OOOPACK: usize = 224;
/// What a peer takes that did not tell (RFC 9293 §3.7.1).
const SEGMENT_SIZE_UNTOLD: u32 = 536;
/// `TCPI_OPT_TIMESTAMPS`.
const TIMESTAMPS: u8 = 1;
/// `TCPI_OPT_SACK`.
const SACK: u8 = 2;
/// `TCPI_OPT_WSCALE`.
const WSCALE: u8 = 4;
/// The states in which no FIN has come: established, FIN sent, FIN sent and acknowledged, and before them.
const BEFORE_FIN: [u8; 5] = [1, 2, 3, 4, 5];

/// Reads what is there; none when it is too short.
pub(in crate::net) fn read(bytes: &[u8]) -> Option<StreamState> {
    let options = *bytes.get(OPTIONS)?;
    Some(StreamState {
        bytes_sent: long(bytes, BYTES_SENT)?,
        bytes_received: long(bytes, BYTES_RECEIVED)?,
        segments_out: word(bytes, SEGS_OUT)?,
        segments_in: word(bytes, SEGS_IN)?,
        unacknowledged: word(bytes, UNACKED)?,
        unsent: word(bytes, NOTSENT_BYTES)?,
        segment_size: word(bytes, SND_MSS)?,
        bytes_repeated: long(bytes, BYTES_RETRANS)?,
        bytes_acknowledged: long(bytes, BYTES_ACKED)?,
        segments_delivered: word(bytes, DELIVERED)?,
        segments_delivered_twice: word(bytes, DSACK_DUPS)?,
        segments_out_of_order: word(bytes, RCV_OOOPACK).unwrap_or(0),
        options: StreamOptions {
            timestamps: options & TIMESTAMPS != 0,
            selective: options & SACK != 0,
            window_scale: options & WSCALE != 0,
        },
        may_have_received_fin: !BEFORE_FIN.contains(bytes.get(STATE)?),
    })
}

/// `u32` at an offset.
fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_ne_bytes(*chunk))
}

/// `u64` at an offset.
fn long(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|chunk| u64::from_ne_bytes(*chunk))
}

//! One direction of a TCP connection: segments in any order, bytes in order (RFC 9293 §3.4, §3.10).
//!
//! - With a SYN the stream starts behind it. Without one it starts at the lowest captured sequence number of a segment
//!   with data; to know which is lowest, segments are held until a bound is reached or the caller says that it is time
//!   ([`Stream::settle_start`]).
//! - Sequence numbers wrap; offsets here have 64 bits.
//! - Identical retransmission is harmless. Other bytes at the same place are a conflict, which is remembered: two
//!   receivers could have read two streams. A single old byte just before the expected one is a keep-alive probe
//!   (RFC 9293 §3.8.4) and may have any value.
//! - Bytes behind a FIN, and before the start, are not part of the stream. The urgent pointer is not looked at.
//! - A piece that never comes is a hole; nothing behind it is given out.

use std::collections::BTreeMap;

/// Bytes held out of order. Above it, segments that are not the next one count as not captured.
pub const AHEAD_BYTES_MAX: usize = 32 * 1024;
/// Pieces held out of order, for streams of tiny segments.
pub const AHEAD_PIECES_MAX: usize = 4_096;
/// Bytes from the start of the stream that are kept to compare retransmissions with: the longest hello.
pub const KEPT_BYTES_MAX: usize = 32 * 1024;
/// Book-keeping of one piece, for the caller's limit on memory.
const PIECE_BYTES: usize = 64;

/// Reassembles one direction.
#[derive(Debug, Default)]
pub struct Stream {
    /// Sequence number at offset 0: the first seen, or the one behind SYN.
    base: Option<u32>,
    /// Offset of the stream's first byte, once known.
    start: Option<i64>,
    /// The lowest offset of a segment with data, also when none of it was captured; until the start is known.
    lowest: Option<i64>,
    /// Offset of the next byte to give out; before the start is known, where the last segment began.
    next: i64,
    /// Offset where FIN stands.
    end: Option<i64>,
    /// The stream's first bytes, given out and kept for comparison.
    kept: Vec<u8>,
    /// Pieces by offset, none overlapping, all behind `next`.
    ahead: BTreeMap<i64, Vec<u8>>,
    /// Bytes of all pieces.
    ahead_bytes: usize,
    /// Different bytes came for one place.
    conflict: bool,
    /// Nothing is given out any more, only compared.
    quiet: bool,
}

impl Stream {
    /// A stream that starts at an unknown place.
    pub fn new() -> Self {
        Self::default()
    }

    /// A stream whose first byte has this sequence number (the one after SYN's).
    pub fn starting_at(sequence: u32) -> Self {
        Self { base: Some(sequence), start: Some(0), ..Self::default() }
    }

    /// Takes a segment's data as far as captured; gives the bytes that are in order to `sink`, in one or more pieces.
    ///
    /// `fin` says that nothing follows the segment's `data_bytes` bytes on the wire.
    pub fn push(
        &mut self,
        sequence: u32,
        data: &[u8],
        data_bytes: usize,
        fin: bool,
        sink: &mut impl FnMut(&[u8]),
    ) {
        let offset = self.offset(sequence);
        if fin {
            self.end.get_or_insert(offset.saturating_add_unsigned(data_bytes as u64));
        }
        if data_bytes == 0 {
            return;
        }
        let data = self.before_end(offset, data);
        match self.start {
            Some(start) => {
                self.compare(start, offset, data);
                if !self.quiet {
                    self.accept(offset, data, sink);
                }
            }
            None => {
                if data.len() == 1 && self.is_last_byte(offset) {
                    return;
                }
                self.next = offset;
                self.lowest = Some(self.lowest.map_or(offset, |lowest| lowest.min(offset)));
                if !self.hold(offset, data) {
                    self.settle_start(sink);
                    self.push(sequence, data, data_bytes, fin, sink);
                }
            }
        }
    }

    /// Takes the lowest place of a segment for the stream's start, if the start is not known yet.
    pub fn settle_start(&mut self, sink: &mut impl FnMut(&[u8])) {
        if self.start.is_some() {
            return;
        }
        self.drop_probe();
        let start = self.lowest.unwrap_or(self.next);
        self.start = Some(start);
        self.next = start;
        self.drain(sink);
    }

    /// Gives nothing out any more and holds no piece; retransmissions are still compared with the kept first bytes.
    pub fn silence(&mut self) {
        self.quiet = true;
        self.ahead = BTreeMap::new();
        self.ahead_bytes = 0;
        self.kept.shrink_to_fit();
    }

    /// Like [`Stream::silence`], and compares nothing either.
    pub fn release(&mut self) {
        self.silence();
        self.kept = Vec::new();
    }

    /// Whether different bytes came for one place.
    pub fn is_conflicting(&self) -> bool {
        self.conflict
    }

    /// Memory this stream holds on the heap, in bytes.
    pub fn held_bytes(&self) -> usize {
        let pieces = self.ahead.len().saturating_mul(PIECE_BYTES);
        self.kept.capacity().saturating_add(self.ahead_bytes).saturating_add(pieces)
    }

    /// The 64-bit offset of a sequence number: the one nearest to the stream's current place.
    fn offset(&mut self, sequence: u32) -> i64 {
        let base = *self.base.get_or_insert(sequence);
        // Arithmetic modulo 2^32 (RFC 9293 §3.4): truncation is meant, and the sign is that of the shorter way.
        let [low @ .., _, _, _, _] = self.next.to_le_bytes();
        let here = base.wrapping_add(u32::from_le_bytes(low));
        let distance = sequence.wrapping_sub(here).cast_signed();
        self.next.saturating_add(i64::from(distance))
    }

    /// Cuts what stands behind FIN.
    fn before_end<'a>(&self, offset: i64, data: &'a [u8]) -> &'a [u8] {
        let room = self.end.map_or(usize::MAX, |end| length_between(offset, end));
        data.get(..room).unwrap_or(data)
    }

    /// Compares a segment with the first bytes of the stream.
    fn compare(&mut self, start: i64, offset: i64, data: &[u8]) {
        let skip = length_between(offset, start);
        let from = length_between(start, offset);
        let mine = data.get(skip..).unwrap_or_default();
        let theirs = self.kept.get(from..).unwrap_or_default();
        let both = mine.len().min(theirs.len());
        let probe = data.len() == 1 && offset.checked_add(1) == Some(self.next);
        self.conflict |= !probe && mine.get(..both) != theirs.get(..both);
    }

    /// Takes data at a known place: gives it out, holds it, or drops what is old.
    fn accept(&mut self, offset: i64, data: &[u8], sink: &mut impl FnMut(&[u8])) {
        let fresh = data.get(length_between(offset, self.next)..).unwrap_or_default();
        if fresh.is_empty() {
            return;
        }
        if offset > self.next {
            // What finds no room counts as not captured.
            self.hold(offset, fresh);
            return;
        }
        if self.ahead.is_empty() {
            self.give(fresh, sink);
            return;
        }
        // Pieces held already may overlap it: let them be compared, then give all that is in order.
        self.hold_within(self.next, fresh, usize::MAX, usize::MAX);
        self.drain(sink);
    }

    /// Holds data within the limits; whether all of it found room.
    fn hold(&mut self, offset: i64, data: &[u8]) -> bool {
        self.hold_within(offset, data, AHEAD_BYTES_MAX, AHEAD_PIECES_MAX)
    }

    /// Holds the parts of `data` that no piece covers, and compares the others.
    fn hold_within(&mut self, offset: i64, data: &[u8], bytes_max: usize, pieces_max: usize) -> bool {
        let end = offset.saturating_add_unsigned(data.len() as u64);
        let mut at = offset;
        while at < end {
            let mine = data.get(length_between(offset, at)..).unwrap_or_default();
            let standing = self.ahead.range(..=at).next_back().and_then(|(start, held)| {
                let theirs = held.get(length_between(*start, at)..)?;
                (!theirs.is_empty()).then_some(theirs)
            });
            let length = if let Some(theirs) = standing {
                let both = mine.len().min(theirs.len());
                self.conflict |= mine.get(..both) != theirs.get(..both);
                both
            } else {
                let next = self.ahead.range(at..).next().map_or(end, |(start, _)| *start);
                let length = length_between(at, next.min(end));
                let total = self.ahead_bytes.saturating_add(length);
                if total > bytes_max || self.ahead.len() >= pieces_max {
                    return false;
                }
                self.ahead_bytes = total;
                self.ahead.insert(at, mine.get(..length).unwrap_or(mine).to_vec());
                length
            };
            at = at.saturating_add_unsigned(length.max(1) as u64);
        }
        true
    }

    /// Gives out the pieces that are in order.
    fn drain(&mut self, sink: &mut impl FnMut(&[u8])) {
        while let Some(piece) = self.ahead.remove(&self.next) {
            self.ahead_bytes = self.ahead_bytes.saturating_sub(piece.len());
            self.give(&piece, sink);
        }
    }

    /// Gives out the next bytes and keeps those that belong to the compared start.
    fn give(&mut self, bytes: &[u8], sink: &mut impl FnMut(&[u8])) {
        let start = self.start.unwrap_or(self.next);
        let room = KEPT_BYTES_MAX.saturating_sub(length_between(start, self.next));
        self.kept.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        self.next = self.next.saturating_add_unsigned(bytes.len() as u64);
        sink(bytes);
    }

    /// Whether the byte at `offset` is the last of those held: a single byte that comes again there is a probe.
    fn is_last_byte(&self, offset: i64) -> bool {
        let last = self.ahead.last_key_value();
        last.is_some_and(|(start, held)| {
            start.saturating_add_unsigned(held.len() as u64) == offset.saturating_add(1)
        })
    }

    /// Forgets a keep-alive probe at the very start: one zero byte, with the stream behind it.
    ///
    /// No protocol that is read begins with a zero byte; a probe that begins the capture would hide the first request.
    fn drop_probe(&mut self) {
        let mut pieces = self.ahead.iter();
        let Some((first, bytes)) = pieces.next() else { return };
        let second = pieces.next().map(|(second, _)| *second);
        let follows = second.is_some() && second == first.checked_add(1) && self.lowest == Some(*first);
        if follows && bytes.as_slice() == [0] {
            self.lowest = second;
            self.ahead.pop_first();
            self.ahead_bytes = self.ahead_bytes.saturating_sub(1);
        }
    }
}

/// How many bytes stand from one offset up to another; none when it is not behind.
fn length_between(from: i64, to: i64) -> usize {
    usize::try_from(to.saturating_sub(from)).unwrap_or_default()
}

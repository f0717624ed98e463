//! The handshake bytes of a connection, joined by coverage.
//!
//! Pieces come in any order, repeatedly and overlapping; a byte is there when a piece covered it, and a piece that
//! disagrees with what is there is a conflict. Memory grows by what has arrived, never by what an offset or a length
//! promises: bytes are kept in order of arrival, with a table of where they belong. They are kept in blocks that never
//! grow or move: what growing buffers of many flows leave behind between one another is memory that nobody holds and
//! nobody can use. Section: RFC 9000 §7.5, §19.6.

use std::borrow::Cow;

/// Bytes of a block: the most that a byte alone takes.
const BLOCK_BYTES: usize = 1_024;

/// A run of bytes that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    /// Its place in the stream.
    from: u16,
    /// Where it is kept.
    at: u16,
    /// How long it is.
    length: u16,
}

impl Piece {
    /// The place behind its last byte.
    fn end(self) -> u16 {
        self.from.saturating_add(self.length)
    }
}

/// Two readers could read these bytes differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Conflict;

/// Bytes of a stream, as far as they have come. No `Debug`: it may hold a name.
pub(super) struct CryptoStream {
    /// The most bytes it may come to hold.
    bytes_max: u16,
    /// The most runs that are kept apart for having come out of order.
    pieces_max: usize,
    /// The bytes, in order of arrival; every block but the last is full of them.
    #[expect(clippy::vec_box, reason = "a table of blocks in place would be the growing buffer again")]
    blocks: Vec<Box<[u8; BLOCK_BYTES]>>,
    /// How many they are.
    length: u16,
    /// Which bytes are there: disjoint, by place.
    pieces: Vec<Piece>,
}

impl CryptoStream {
    /// Starts with nothing; holds at most `bytes_max` bytes, in about `pieces_max` runs.
    pub(super) fn new(bytes_max: u16, pieces_max: usize) -> Self {
        Self { bytes_max, pieces_max, blocks: Vec::new(), length: 0, pieces: Vec::new() }
    }

    /// Takes a piece that begins at `from`; says whether it brought anything new. The caller sees to it that it ends
    /// within the caps.
    pub(super) fn insert(&mut self, from: u16, data: &[u8]) -> Result<bool, Conflict> {
        let before = self.length;
        let end = from.saturating_add(u16::try_from(data.len()).unwrap_or(u16::MAX));
        let mut place = from;
        let mut index = self.pieces.partition_point(|piece| piece.end() <= from);
        while place < end {
            let next = self.pieces.get(index).copied();
            let gap_end = next.map_or(end, |piece| piece.from.clamp(place, end));
            if gap_end > place {
                let fresh = slice(data, place.saturating_sub(from), gap_end.saturating_sub(from));
                index = self.place(index, place, fresh);
                place = gap_end;
                continue;
            }
            let Some(piece) = next else { break };
            let upto = piece.end().min(end);
            let kept_from = piece.at.saturating_add(place.saturating_sub(piece.from));
            let kept_to = kept_from.saturating_add(upto.saturating_sub(place));
            let given = slice(data, place.saturating_sub(from), upto.saturating_sub(from));
            if !self.holds(kept_from, kept_to, given) {
                return Err(Conflict);
            }
            place = upto;
            index = index.saturating_add(1);
        }
        // A piece over many holes leaves as many runs behind, which then join.
        if self.pieces.len() > self.pieces_max
            && let Some(joined) = self.behind(0)
        {
            *self = joined;
        }
        Ok(self.length > before)
    }

    /// Keeps bytes that were missing at `from`, in front of the piece of this index; gives that piece's new index.
    fn place(&mut self, index: usize, from: u16, fresh: &[u8]) -> usize {
        let at = self.length;
        let length = u16::try_from(fresh.len()).unwrap_or(u16::MAX);
        self.append(fresh);
        if let Some(before) = index.checked_sub(1).and_then(|before| self.pieces.get_mut(before))
            && before.end() == from
            && before.at.saturating_add(before.length) == at
        {
            before.length = before.length.saturating_add(length);
            return index;
        }
        self.pieces.insert(index, Piece { from, at, length });
        index.saturating_add(1)
    }

    /// Puts bytes behind all others, into what is free of the last block and into new ones.
    fn append(&mut self, mut fresh: &[u8]) {
        while !fresh.is_empty() {
            let used = usize::from(self.length) % BLOCK_BYTES;
            if used == 0 {
                self.blocks.reserve_exact(1);
                self.blocks.push(Box::new([0; BLOCK_BYTES]));
            }
            let Some(room) = self.blocks.last_mut().and_then(|last| last.get_mut(used..)) else { return };
            let (now, later) = fresh.split_at_checked(room.len()).unwrap_or((fresh, &[]));
            for (place, byte) in room.iter_mut().zip(now) {
                *place = *byte;
            }
            self.length = self.length.saturating_add(u16::try_from(now.len()).unwrap_or(u16::MAX));
            fresh = later;
        }
    }

    /// The bytes that are kept from `at` to `end`, a run for each block.
    fn kept(&self, at: u16, end: u16) -> impl Iterator<Item = &[u8]> {
        let (at, end) = (usize::from(at), usize::from(end));
        let first = at.checked_div(BLOCK_BYTES).unwrap_or_default();
        self.blocks.iter().enumerate().skip(first).map_while(move |(number, block)| {
            let begin = number.saturating_mul(BLOCK_BYTES);
            let run = at.saturating_sub(begin)..end.saturating_sub(begin).min(BLOCK_BYTES);
            block.get(run).filter(|run| !run.is_empty())
        })
    }

    /// Whether what is kept from `at` to `end` is `given`.
    fn holds(&self, at: u16, end: u16, given: &[u8]) -> bool {
        let mut rest = given;
        for run in self.kept(at, end) {
            let Some(behind) = rest.strip_prefix(run) else { return false };
            rest = behind;
        }
        rest.is_empty()
    }

    /// How many bytes are there from `start` on without a hole.
    pub(super) fn run_bytes(&self, start: u16) -> usize {
        let mut end = start;
        for piece in self.pieces.iter().filter(|piece| piece.end() > start) {
            if piece.from > end {
                break;
            }
            end = piece.end();
        }
        usize::from(end.saturating_sub(start))
    }

    /// The first `count` bytes from `start` on, or as many as there are without a hole; copied when they lie in more than
    /// one block or did not come in order.
    pub(super) fn run(&self, start: u16, count: usize) -> Cow<'_, [u8]> {
        let wanted = count.min(self.run_bytes(start));
        let mut joined = Vec::new();
        for piece in self.pieces.iter().filter(|piece| piece.end() > start) {
            let at = piece.at.saturating_add(start.saturating_sub(piece.from));
            for kept in self.kept(at, piece.at.saturating_add(piece.length)) {
                let missing = wanted.saturating_sub(joined.len());
                match kept.get(..missing) {
                    Some(all) if joined.is_empty() => return Cow::Borrowed(all),
                    Some(last) => {
                        joined.extend_from_slice(last);
                        return Cow::Owned(joined);
                    }
                    None => {
                        joined.reserve_exact(missing);
                        joined.extend_from_slice(kept);
                    }
                }
            }
        }
        Cow::Owned(joined)
    }

    /// Whether any byte in front of `place` is there.
    pub(super) fn has_below(&self, place: u16) -> bool {
        self.pieces.first().is_some_and(|piece| piece.from < place)
    }

    /// What is left without the bytes in front of `place`; `None` when nothing is.
    pub(super) fn behind(&self, place: u16) -> Option<Self> {
        let mut rest = Self::new(self.bytes_max, self.pieces_max);
        for piece in self.pieces.iter().filter(|piece| piece.end() > place) {
            let cut = place.saturating_sub(piece.from);
            let mut from = piece.from.saturating_add(cut);
            let end = piece.at.saturating_add(piece.length);
            for kept in self.kept(piece.at.saturating_add(cut), end) {
                rest.place(rest.pieces.len(), from, kept);
                from = from.saturating_add(u16::try_from(kept.len()).unwrap_or(u16::MAX));
            }
        }
        (!rest.pieces.is_empty()).then_some(rest)
    }

    /// How many bytes are there.
    pub(super) fn held_bytes(&self) -> usize {
        usize::from(self.length)
    }

    /// Memory held, in bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        let pieces = self.pieces.capacity().saturating_mul(size_of::<Piece>());
        let table = self.blocks.capacity().saturating_mul(size_of::<Box<[u8; BLOCK_BYTES]>>());
        self.blocks.len().saturating_mul(BLOCK_BYTES).saturating_add(table).saturating_add(pieces)
    }
}

/// The bytes from one place to another.
fn slice(bytes: &[u8], from: u16, to: u16) -> &[u8] {
    bytes.get(usize::from(from)..usize::from(to)).unwrap_or_default()
}

//! Pieces of what was sent, as they stand in the ring.

use super::layout::{PIECE_BYTES, PIECE_DOWN, PIECE_HEAD_BYTES};

/// One piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'r> {
    /// The flow's slot.
    pub slot: u32,
    /// The generation of the slot: another one says that the flow has ended.
    pub generation: u32,
    /// TCP: the sequence number of its first byte.
    pub sequence: u32,
    /// Where it stands in its packet.
    pub offset: u16,
    /// Whether the server sent it.
    pub is_down: bool,
    /// The bytes.
    pub data: &'r [u8],
}

impl<'r> Piece<'r> {
    /// A record of the ring; none when it is not one of ours.
    pub fn read(record: &'r [u8]) -> Option<Self> {
        let (head, rest) = record.split_first_chunk::<PIECE_HEAD_BYTES>()?;
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *head;
        let length = u16::from_ne_bytes([o, p]);
        let (is_down, length) = (length & PIECE_DOWN != 0, usize::from(length & !PIECE_DOWN));
        if length > PIECE_BYTES {
            return None;
        }
        Some(Self {
            slot: u32::from_ne_bytes([a, b, c, d]),
            generation: u32::from_ne_bytes([e, f, g, h]),
            sequence: u32::from_ne_bytes([i, j, k, l]),
            offset: u16::from_ne_bytes([m, n]),
            is_down,
            data: rest.get(..length)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_read_and_one_that_is_cut_or_too_long_is_none() {
        let mut record = Vec::new();
        for word in [7_u32, 2, 1_000] {
            record.extend(word.to_ne_bytes());
        }
        record.extend(3_u16.to_ne_bytes());
        record.extend((4 | PIECE_DOWN).to_ne_bytes());
        record.extend(*b"abcd----");
        let piece =
            Piece { slot: 7, generation: 2, sequence: 1_000, offset: 3, is_down: true, data: b"abcd" };
        assert_eq!(Piece::read(&record), Some(piece));
        for cut in 0..PIECE_HEAD_BYTES + 4 {
            assert_eq!(Piece::read(&record[..cut]), None, "{cut}");
        }
        record[14..16].copy_from_slice(&2_049_u16.to_ne_bytes());
        record.resize(4_096, 0);
        assert_eq!(Piece::read(&record), None);
    }
}

//! Datagrams that wait for the flow's name or origin, in their order.
//!
//! Bounded by number and, together with what the reader of names holds, by bytes: a flow without a name takes at most
//! 20 KiB (DESIGN §7). What finds no room is lost, and its sender repeats it.

use std::collections::VecDeque;

/// Bytes that the held datagrams and the reader of names may take together; the rest of 20 KiB is the flow itself.
pub const WAITING_BYTES_MAX: usize = 18 << 10;

/// Bytes the allocator adds to a held datagram, with its place in the queue.
const OVERHEAD: usize = 32;

/// The datagrams of one flow.
#[derive(Default)]
pub struct Held {
    datagrams: VecDeque<Box<[u8]>>,
    bytes: usize,
}

impl Held {
    /// Keeps a copy, unless there are `datagrams_max` already or `WAITING_BYTES_MAX` would be exceeded beside the
    /// `reader_bytes`; false then.
    pub fn push(&mut self, datagram: &[u8], datagrams_max: usize, reader_bytes: usize) -> bool {
        let bytes = self.bytes.saturating_add(datagram.len()).saturating_add(OVERHEAD);
        if self.datagrams.len() >= datagrams_max || bytes.saturating_add(reader_bytes) > WAITING_BYTES_MAX {
            return false;
        }
        self.bytes = bytes;
        self.datagrams.push_back(datagram.into());
        true
    }

    /// Takes all, in their order, and frees the queue.
    pub fn take(&mut self) -> VecDeque<Box<[u8]>> {
        std::mem::take(self).datagrams
    }

    /// Bytes held.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_and_bytes_at_the_limit_and_one_over() {
        let mut held = Held::default();
        assert!((0..10).all(|_| held.push(b"hello", 10, 0)));
        assert!(!held.push(b"hello", 10, 0), "one too many");
        assert_eq!(held.take().len(), 10);
        let longest = WAITING_BYTES_MAX - OVERHEAD;
        assert!(!held.push(&vec![0; longest + 1], 10, 0), "one byte too many");
        assert!(held.push(&vec![0; longest], 10, 0));
        assert!(!held.push(b"", 10, 0), "not even an empty one");
        assert_eq!(held.take().len(), 1);
        assert_eq!(held.bytes(), 0);
        assert!(!held.push(&vec![0; longest], 10, 1), "the reader's bytes count");
        assert!(held.push(&vec![0; longest - 1], 10, 1));
    }

    #[test]
    fn the_order_is_kept() {
        let mut held = Held::default();
        for number in 0..9_u8 {
            assert!(held.push(&[number], 10, 0));
        }
        assert!(held.take().iter().enumerate().all(|(place, datagram)| usize::from(datagram[0]) == place));
    }
}

//! Datagrams that wait for the flow's name or origin, in their order.
//!
//! Bounded by number and, together with what the reader of names holds, by bytes: a flow without a name takes at most
//! 20 KiB (a key of `config/examples/full.toml`). What finds no room is lost, and its sender repeats it.

use std::collections::VecDeque;

/// Bytes that the held datagrams and the reader of names may take together; the rest of 20 KiB is the flow itself, and what
/// the allocator loses between flows that grow by turns.
pub const WAITING_BYTES_MAX: usize = (16 << 10) + 512;

/// Bytes the allocator adds to a held datagram, with its place in the queue.
const OVERHEAD: usize = 40;

/// A datagram that waits.
pub struct Waiting {
    /// Its payload.
    pub bytes: Box<[u8]>,
    /// Its type of service or traffic class.
    pub octet: u8,
    /// It came in fragments.
    pub in_fragments: bool,
}

/// The datagrams of one flow.
#[derive(Default)]
pub struct Held {
    datagrams: VecDeque<Waiting>,
    bytes: usize,
}

impl Held {
    /// Keeps it, unless there are `datagrams_max` already or `WAITING_BYTES_MAX` would be exceeded beside the `reader_bytes`;
    /// false then.
    pub fn push(&mut self, datagram: Waiting, datagrams_max: usize, reader_bytes: usize) -> bool {
        let bytes = self.bytes.saturating_add(datagram.bytes.len()).saturating_add(OVERHEAD);
        if self.datagrams.len() >= datagrams_max || bytes.saturating_add(reader_bytes) > WAITING_BYTES_MAX {
            return false;
        }
        self.bytes = bytes;
        self.datagrams.push_back(datagram);
        true
    }

    /// Lets go of the last ones until what is left fits beside the `reader_bytes`; how many that were.
    pub fn trim(&mut self, reader_bytes: usize) -> u64 {
        let mut lost = 0_u64;
        while self.bytes.saturating_add(reader_bytes) > WAITING_BYTES_MAX {
            let Some(last) = self.datagrams.pop_back() else { break };
            self.bytes = self.bytes.saturating_sub(last.bytes.len().saturating_add(OVERHEAD));
            lost = lost.saturating_add(1);
        }
        lost
    }

    /// Takes all, in their order, and frees the queue.
    pub fn take(&mut self) -> VecDeque<Waiting> {
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

    /// A datagram that waits.
    fn datagram(bytes: &[u8], octet: u8) -> Waiting {
        Waiting { bytes: bytes.into(), octet, in_fragments: false }
    }

    #[test]
    fn number_and_bytes_at_the_limit_and_one_over() {
        let mut held = Held::default();
        assert!((0..10).all(|_| held.push(datagram(b"hello", 0), 10, 0)));
        assert!(!held.push(datagram(b"hello", 0), 10, 0), "one too many");
        assert_eq!(held.take().len(), 10);
        let longest = WAITING_BYTES_MAX - OVERHEAD;
        assert!(!held.push(datagram(&vec![0; longest + 1], 0), 10, 0), "one byte too many");
        assert!(held.push(datagram(&vec![0; longest], 0), 10, 0));
        assert!(!held.push(datagram(b"", 0), 10, 0), "not even an empty one");
        assert_eq!(held.take().len(), 1);
        assert_eq!(held.bytes(), 0);
        assert!(!held.push(datagram(&vec![0; longest], 0), 10, 1), "the reader's bytes count");
        assert!(held.push(datagram(&vec![0; longest - 1], 0), 10, 1));
    }

    #[test]
    fn what_the_reader_takes_the_last_ones_give_back() {
        let mut held = Held::default();
        let size = 1_200 + OVERHEAD;
        assert!((0..10).all(|_| held.push(datagram(&[0; 1_200], 0), 10, 0)));
        assert_eq!(held.trim(WAITING_BYTES_MAX - 10 * size), 0, "at the limit");
        assert_eq!(held.trim(WAITING_BYTES_MAX - 10 * size + 1), 1, "one over");
        assert_eq!(held.trim(WAITING_BYTES_MAX), 9);
        assert_eq!((held.bytes(), held.trim(usize::MAX)), (0, 0));
    }

    #[test]
    fn f39_order_and_octets_are_kept() {
        let mut held = Held::default();
        for number in 0..9_u8 {
            assert!(held.push(datagram(&[number], number << 2), 10, 0));
        }
        let kept = |(place, waiting): (usize, &Waiting)| {
            usize::from(waiting.bytes[0]) == place && usize::from(waiting.octet) == place << 2
        };
        assert!(held.take().iter().enumerate().all(kept));
    }
}

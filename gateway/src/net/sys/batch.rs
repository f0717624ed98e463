//! Datagrams that were received together: buffers for them, and what lies in one buffer.
//!
//! The system puts datagrams of one sender behind one another into a buffer (generic receive offload) and takes them so
//! again for sending; the relay keeps them together where they go the same way, and joins what the system did not: a copy is
//! cheaper than a call. One batch per worker, borrowed between two
//! awaits only: a flow holds no buffer while it is idle (decision 23).

use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr};

use crate::net::sys::control::{Head, Received};

/// Buffers of a batch; each may hold as many datagrams as the system puts together.
pub const BUFFERS: usize = 16;
/// Bytes of a buffer: more than the longest UDP payload, and than the system puts together (RFC 768; 64 datagrams).
const BUFFER_BYTES: usize = 1 << 16;

/// Datagrams that the system takes in one call (`UDP_MAX_SEGMENTS` of Linux before 6.9).
const JOINED_MAX: usize = 64;
/// The longest train that is copied behind another: more costs as much as the call it saves.
const COPIED_MAX: usize = 4_096;
/// Bytes that it takes in one call, with room for headers.
const JOINED_BYTES_MAX: usize = 65_000;

/// Buffers, and what was received into them.
pub struct Batch {
    bytes: Vec<u8>,
    /// Room for what the system says of each buffer.
    heads: Box<[Head; BUFFERS]>,
    metas: [Received; BUFFERS],
    /// The buffer that each train lies in.
    places: [usize; BUFFERS],
    filled: usize,
    /// Whether every buffer was filled.
    full: bool,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            bytes: vec![0; BUFFERS.saturating_mul(BUFFER_BYTES)],
            heads: Box::new([Head::EMPTY; BUFFERS]),
            metas: [Received::NOTHING; BUFFERS],
            places: [0; BUFFERS],
            filled: 0,
            full: false,
        }
    }
}

impl Batch {
    /// Has `receive` fill the buffers.
    ///
    /// # Errors
    /// Those of `receive`; the batch is empty then.
    pub fn fill(
        &mut self,
        receive: impl FnOnce(&mut [IoSliceMut<'_>], &mut [Head]) -> std::io::Result<usize>,
    ) -> std::io::Result<()> {
        self.filled = 0;
        self.full = false;
        let mut buffers = self.bytes.chunks_exact_mut(BUFFER_BYTES);
        let mut slices: [IoSliceMut<'_>; BUFFERS] =
            std::array::from_fn(|_| IoSliceMut::new(buffers.next().unwrap_or_default()));
        self.filled = receive(&mut slices, &mut *self.heads)?;
        for (meta, head) in self.metas.iter_mut().zip(self.heads.iter()).take(self.filled) {
            *meta = head.read();
        }
        self.full = self.filled == BUFFERS;
        self.join();
        Ok(())
    }

    /// Joins short trains to the one before them between the same ends, where both may go in one call.
    fn join(&mut self) {
        let mut kept = 0_usize;
        for index in 0..self.filled {
            let Some(next) = self.metas.get(index).copied() else { return };
            let last = kept.checked_sub(1);
            if let Some((last, place)) =
                last.and_then(|last| Some((self.metas.get_mut(last)?, *self.places.get(last)?)))
                && may_follow(last, &next)
            {
                let from = index.saturating_mul(BUFFER_BYTES);
                let to = place.saturating_mul(BUFFER_BYTES).saturating_add(last.length);
                self.bytes.copy_within(from..from.saturating_add(next.length), to);
                last.length = last.length.saturating_add(next.length);
                continue;
            }
            if let (Some(meta), Some(place)) = (self.metas.get_mut(kept), self.places.get_mut(kept)) {
                (*meta, *place) = (next, index);
            }
            kept = kept.saturating_add(1);
        }
        self.filled = kept;
    }

    /// What was received.
    pub fn trains(&self) -> impl Iterator<Item = Train<'_>> {
        self.metas.iter().zip(&self.places).take(self.filled).map(|(meta, place)| {
            let from = place.saturating_mul(BUFFER_BYTES);
            Train {
                peer: meta.peer,
                local: meta.local,
                octet: meta.octet,
                in_fragments: meta.in_fragments,
                bytes: self.bytes.get(from..from.saturating_add(meta.length)).unwrap_or_default(),
                stride: meta.stride,
            }
        })
    }

    /// Whether every buffer was filled: more may be waiting.
    pub fn is_full(&self) -> bool {
        self.full
    }
}

/// Whether `next` may stand behind `last`: all datagrams but the very last are of one size.
fn may_follow(last: &Received, next: &Received) -> bool {
    let bytes = last.length.saturating_add(next.length);
    let same_ends = last.peer == next.peer && last.local == next.local;
    let alike = last.octet == next.octet && last.in_fragments == next.in_fragments;
    let whole = last.stride > 0 && last.length.is_multiple_of(last.stride);
    let same_size = next.stride == last.stride || (next.length <= next.stride && next.length < last.stride);
    same_ends
        && alike
        && whole
        && same_size
        && next.length > 0
        && next.length <= COPIED_MAX
        && bytes <= JOINED_BYTES_MAX
        && bytes.div_ceil(last.stride) <= JOINED_MAX
}

/// Datagrams of one sender behind one another, all but the last of one size.
#[derive(Clone, Copy, Debug)]
pub struct Train<'b> {
    /// Who sent them.
    pub peer: SocketAddr,
    /// The local address they came to, when the system says.
    pub local: Option<IpAddr>,
    /// Type of service or traffic class: code point and congestion bits, which are passed on.
    pub octet: u8,
    /// They came in fragments, and may go on so.
    pub in_fragments: bool,
    /// Their payloads.
    pub bytes: &'b [u8],
    /// The size of each but the last.
    pub stride: usize,
}

impl<'b> Train<'b> {
    /// The datagrams; an empty payload is one too.
    pub fn datagrams(self) -> impl Iterator<Item = &'b [u8]> {
        let empty: Option<&'b [u8]> = self.bytes.is_empty().then_some(&[]);
        empty.into_iter().chain(self.bytes.chunks(self.stride.max(1)))
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        u64::try_from(self.bytes.len().div_ceil(self.stride.max(1)).max(1)).unwrap_or(u64::MAX)
    }

    /// The length of the longest.
    pub fn longest(&self) -> usize {
        self.bytes.len().min(self.stride.max(1))
    }

    /// The train of one of them, or of a part of it.
    #[must_use]
    pub fn only(&self, datagram: &'b [u8]) -> Self {
        Self { bytes: datagram, stride: datagram.len(), ..*self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn train(bytes: &[u8], stride: usize) -> Train<'_> {
        let peer = "127.0.0.1:9".parse().unwrap();
        Train { peer, local: None, octet: 0, in_fragments: false, bytes, stride }
    }

    #[test]
    fn a_train_falls_into_its_datagrams() {
        let lengths = |bytes: &[u8], stride| {
            let train = train(bytes, stride);
            let lengths: Vec<usize> = train.datagrams().map(<[u8]>::len).collect();
            assert_eq!(lengths.len() as u64, train.count());
            lengths
        };
        assert_eq!(lengths(&[1; 10], 10), [10]);
        assert_eq!(lengths(&[1; 10], 4), [4, 4, 2]);
        assert_eq!(lengths(&[1; 8], 4), [4, 4]);
        assert_eq!(lengths(&[], 0), [0], "an empty datagram is one");
        assert_eq!(lengths(&[1; 3], 0), [1, 1, 1], "a size of none does not loop");
    }

    /// What the trains of a batch are after it received these: lengths, sender, and the first byte counts up.
    fn joined(received: &[(u16, usize, usize)]) -> Vec<(u16, Vec<usize>)> {
        let mut batch = Batch::default();
        let filled = batch.fill(|buffers, heads| {
            let places = buffers.iter_mut().zip(heads.iter_mut()).zip(received).enumerate();
            for (number, ((buffer, head), (port, len, stride))) in places {
                buffer[..*len].fill(u8::try_from(number).unwrap());
                let peer = SocketAddr::from(([127, 0, 0, 1], *port));
                *head = Head::of(&Received { peer, length: *len, stride: *stride, ..Received::NOTHING });
            }
            Ok(received.len())
        });
        assert!(filled.is_ok());
        let sent: Vec<u8> = received
            .iter()
            .enumerate()
            .flat_map(|(number, (_, len, _))| vec![u8::try_from(number).unwrap(); *len])
            .collect();
        assert_eq!(batch.trains().flat_map(|train| train.bytes.to_vec()).collect::<Vec<_>>(), sent);
        let lengths = |train: Train<'_>| train.datagrams().map(<[u8]>::len).collect();
        batch.trains().map(|train| (train.peer.port(), lengths(train))).collect()
    }

    #[test]
    fn trains_between_the_same_ends_are_joined_and_no_datagram_changes() {
        assert_eq!(joined(&[(1, 9, 9), (1, 9, 9), (1, 4, 4), (1, 9, 9)]), [(1, vec![9, 9, 4]), (1, vec![9])]);
        assert_eq!(joined(&[(1, 9, 9), (2, 9, 9), (2, 9, 9)]), [(1, vec![9]), (2, vec![9, 9])]);
        assert_eq!(
            joined(&[(1, 4, 4), (1, 9, 9)]),
            [(1, vec![4]), (1, vec![9])],
            "a longer one does not follow"
        );
        assert_eq!(joined(&[(1, 6, 3), (1, 5, 3), (1, 3, 3)]), [(1, vec![3, 3, 3, 2]), (1, vec![3])]);
        assert_eq!(joined(&[(1, 9, 9), (1, 6, 3)]), [(1, vec![9]), (1, vec![3, 3])], "two of another size");
        assert_eq!(joined(&[(1, 0, 0), (1, 0, 0), (1, 3, 3)]), [(1, vec![0]), (1, vec![0]), (1, vec![3])]);
        assert_eq!(joined(&[(1, 3, 3), (1, 0, 0)]), [(1, vec![3]), (1, vec![0])], "an empty one stays one");
    }

    #[test]
    fn what_is_joined_at_the_limits_and_one_over() {
        let lengths = |received: &[(u16, usize, usize)]| -> Vec<usize> {
            joined(received).into_iter().map(|(_, lengths)| lengths.len()).collect()
        };
        assert_eq!(lengths(&[(1, 630, 10), (1, 10, 10)]), [64]);
        assert_eq!(lengths(&[(1, 640, 10), (1, 1, 1)]), [64, 1], "one datagram over");
        assert_eq!(lengths(&[(1, 61_000, 4_000), (1, 4_000, 4_000)]), [16, 1], "not whole");
        assert_eq!(lengths(&[(1, 60_904, 4_096), (1, 4_096, 4_096)]), [15, 1]);
        assert_eq!(lengths(&[(1, 61_000, 6_100), (1, 4_000, 4_000)]), [11], "65,000 bytes");
        assert_eq!(lengths(&[(1, 61_000, 6_100), (1, 4_001, 4_001)]), [10, 1], "one byte over");
        assert_eq!(lengths(&[(1, 4_096, 4_096), (1, 4_096, 4_096)]), [2]);
        assert_eq!(lengths(&[(1, 4_097, 4_097), (1, 4_097, 4_097)]), [1, 1], "too long to copy");
    }

    #[test]
    fn what_is_not_received_is_not_read_again() {
        let mut batch = Batch::default();
        let filled = batch.fill(|buffers, heads| {
            buffers[0][..3].copy_from_slice(b"abc");
            heads[0] = Head::of(&Received { length: 3, stride: 2, ..Received::NOTHING });
            Ok(1)
        });
        assert!(filled.is_ok() && !batch.is_full());
        assert_eq!(batch.trains().map(|train| train.bytes.to_vec()).collect::<Vec<_>>(), [b"abc"]);
        assert!(batch.fill(|_, _| Err(std::io::ErrorKind::WouldBlock.into())).is_err());
        assert_eq!(batch.trains().count(), 0);
    }
}

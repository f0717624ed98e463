//! Datagrams that were received together: buffers for them, and what lies in one buffer.
//!
//! The system puts datagrams of one sender behind one another into a buffer (generic receive offload) and takes them so
//! again for sending; the relay keeps them together where they go the same way. One batch per worker, borrowed between two
//! awaits only: a flow holds no buffer while it is idle (DESIGN decision 23).

use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use quinn_udp::{EcnCodepoint, RecvMeta};

/// Buffers of a batch; each may hold as many datagrams as the system puts together.
pub const BUFFERS: usize = 16;
/// Bytes of a buffer: more than the longest UDP payload, and than the system puts together (RFC 768; 64 datagrams).
const BUFFER_BYTES: usize = 1 << 16;

/// Buffers, and what was received into them.
pub struct Batch {
    bytes: Vec<u8>,
    metas: [RecvMeta; BUFFERS],
    filled: usize,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            bytes: vec![0; BUFFERS.saturating_mul(BUFFER_BYTES)],
            metas: [RecvMeta::default(); BUFFERS],
            filled: 0,
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
        receive: impl FnOnce(&mut [IoSliceMut<'_>], &mut [RecvMeta]) -> std::io::Result<usize>,
    ) -> std::io::Result<()> {
        self.filled = 0;
        let mut buffers = self.bytes.chunks_exact_mut(BUFFER_BYTES);
        let mut slices: [IoSliceMut<'_>; BUFFERS] =
            std::array::from_fn(|_| IoSliceMut::new(buffers.next().unwrap_or_default()));
        self.filled = receive(&mut slices, &mut self.metas)?;
        Ok(())
    }

    /// What was received, one train for each buffer.
    pub fn trains(&self) -> impl Iterator<Item = Train<'_>> {
        self.bytes.chunks_exact(BUFFER_BYTES).zip(&self.metas).take(self.filled).map(|(bytes, meta)| Train {
            peer: without_flow_label(meta.addr),
            local: meta.dst_ip,
            ecn: meta.ecn,
            bytes: bytes.get(..meta.len).unwrap_or_default(),
            stride: meta.stride,
        })
    }

    /// Whether every buffer was filled: more may be waiting.
    pub fn is_full(&self) -> bool {
        self.filled == BUFFERS
    }
}

/// The address without the flow label that IPv6 gives it: labels change within a flow.
fn without_flow_label(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => address,
        SocketAddr::V6(address) => {
            SocketAddr::V6(SocketAddrV6::new(*address.ip(), address.port(), 0, address.scope_id()))
        }
    }
}

/// Datagrams of one sender behind one another, all but the last of one size.
#[derive(Clone, Copy, Debug)]
pub struct Train<'b> {
    /// Who sent them.
    pub peer: SocketAddr,
    /// The local address they came to, when the system says.
    pub local: Option<IpAddr>,
    /// Their congestion mark, which is passed on.
    pub ecn: Option<EcnCodepoint>,
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
        Train { peer, local: None, ecn: None, bytes, stride }
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

    #[test]
    fn what_is_not_received_is_not_read_again() {
        let mut batch = Batch::default();
        let filled = batch.fill(|buffers, metas| {
            buffers[0][..3].copy_from_slice(b"abc");
            metas[0] = RecvMeta { len: 3, stride: 2, ..RecvMeta::default() };
            Ok(1)
        });
        assert!(filled.is_ok() && !batch.is_full());
        assert_eq!(batch.trains().map(|train| train.bytes.to_vec()).collect::<Vec<_>>(), [b"abc"]);
        assert!(batch.fill(|_, _| Err(std::io::ErrorKind::WouldBlock.into())).is_err());
        assert_eq!(batch.trains().count(), 0);
    }
}

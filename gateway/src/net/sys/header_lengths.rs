//! How long the headers are that subscribers send (decision 27): what they agreed on at the handshake they need not
//! send, and what the kernel counts are segments, not their options.
//!
//! A socket filter that lets everything pass stands at the listeners that subscribers connect to; the sockets of their
//! connections inherit it. It keeps account of the segments whose options are not timestamps alone: those without any, resets,
//! selective acknowledgements. A connection whose sender's cell bears no stamp of its time sent none of them, which is a look
//! at memory and no system call; for another its entry is read.
//!
//! The right it takes is CAP_BPF. Without it no option of a subscriber's segment is counted: an under-count of 12 bytes a
//! segment.

mod program;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::socket::{self, Cells, StreamState};
use crate::flow::ip_bytes::InboundOptions;

/// Entries for sockets and senders; the one that was used longest ago makes room. 16 MB of the kernel's memory when full.
const ENTRIES: u32 = 1 << 17;
/// With more entries made than this since, one that is not there may have made room.
const ENTRIES_MADE_SURE: u64 = 1 << 16;
/// How many of [`HeaderLengths::pass_time`]'s steps a connection may have waited to be accepted: at ten in a second a minute,
/// after which a worker that stands still has long lost its listeners.
const STEPS_WAITED_MAX: u64 = 600;

/// The filter and what it keeps.
pub struct HeaderLengths {
    /// Keeps the filter.
    filter: OwnedFd,
    /// Segments and bytes of their options, by socket or sender.
    entries: OwnedFd,
    cells: Cells,
}

/// Where the account stood when a connection was accepted.
#[derive(Clone, Copy, Debug)]
pub struct Birth {
    epoch: u64,
    entries_made: u64,
    uncounted: u64,
}

/// A subscriber's end as the filter knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sender {
    key: u64,
    cell: u32,
}

impl Sender {
    /// Of a peer.
    fn of(peer: SocketAddr) -> Self {
        let end = match peer.ip().to_canonical() {
            IpAddr::V4(address) => address.octets(),
            IpAddr::V6(address) => address.octets().last_chunk().copied().unwrap_or_default(),
        };
        let (end, port) = (u32::from_ne_bytes(end), peer.port());
        Self {
            key: program::SENDER_BIT | u64::from(end) << 16 | u64::from(port),
            cell: (end ^ end >> 15 ^ u32::from(port)) & (program::CELLS - 1),
        }
    }
}

impl HeaderLengths {
    /// Loads the filter.
    ///
    /// # Errors
    /// What the system says: CAP_BPF is missing, or bpf(2) is not there.
    pub fn load() -> io::Result<Arc<Self>> {
        let cells = socket::bpf_cells(program::CELLS_ALL)?;
        let entries = socket::bpf_entries(ENTRIES)?;
        let code = program::program(cells.as_fd().as_raw_fd(), entries.as_raw_fd());
        let filter = socket::bpf_filter(&code)?;
        let lengths = Self { filter, entries, cells };
        // A cell that was never stamped is older than any connection.
        if let Some(epoch) = lengths.cell(program::EPOCH) {
            epoch.store(STEPS_WAITED_MAX.saturating_add(1), Ordering::Relaxed);
        }
        Ok(Arc::new(lengths))
    }

    /// Puts it at a listener.
    ///
    /// # Errors
    /// What the system says.
    pub fn attach(&self, listener: &impl AsFd) -> io::Result<()> {
        socket::attach_filter(listener, &self.filter)
    }

    /// Stamps are younger from here on. Called ten times in a second.
    pub fn pass_time(&self) {
        if let Some(epoch) = self.cell(program::EPOCH) {
            epoch.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The account of a connection that is accepted at this moment.
    pub fn birth(&self) -> Birth {
        Birth {
            epoch: self.read(program::EPOCH),
            entries_made: self.read(program::ENTRIES_MADE),
            uncounted: self.read(program::UNCOUNTED),
        }
    }

    /// What the filter saw of a connection since its `birth`. `state` was read before, for segments come by the filter first.
    ///
    /// Without timestamps there is something to look up only where the subscriber may have told what is missing.
    pub fn of(
        &self,
        stream: &impl AsFd,
        peer: SocketAddr,
        state: &StreamState,
        birth: Birth,
    ) -> InboundOptions {
        if !state.options.timestamps && state.bytes_repeated == 0 {
            return InboundOptions::Unknown;
        }
        let sender = Sender::of(peer);
        let since = birth.epoch.saturating_sub(STEPS_WAITED_MAX);
        let stamped = self.read(sender.cell) >= since;
        if !stamped && self.read(program::UNCOUNTED) == birth.uncounted {
            return InboundOptions::USUAL;
        }
        self.look_up(stream, sender, birth).unwrap_or(InboundOptions::Unknown)
    }

    /// Reads the entries; none when they do not tell everything.
    fn look_up(&self, stream: &impl AsFd, sender: Sender, birth: Birth) -> Option<InboundOptions> {
        let cookie = socket::cookie(stream).ok()?;
        let [segments, bytes] = socket::bpf_entry(&self.entries, cookie).ok()?.unwrap_or_default();
        let opening = socket::bpf_entry(&self.entries, sender.key).ok()?.is_some();
        let made = self.read(program::ENTRIES_MADE).saturating_sub(birth.entries_made);
        let sure = made < ENTRIES_MADE_SURE && self.read(program::UNCOUNTED) == birth.uncounted;
        sure.then_some(InboundOptions::Told { segments, bytes, opening })
    }

    /// A cell.
    fn cell(&self, number: u32) -> Option<&AtomicU64> {
        self.cells.get(usize::try_from(number).ok()?)
    }

    /// What a cell holds.
    fn read(&self, number: u32) -> u64 {
        self.cell(number).map_or(u64::MAX, |cell| cell.load(Ordering::Relaxed))
    }
}

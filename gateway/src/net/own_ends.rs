//! Our own flows that come back: the local ends of what we send upstream, by which they are known again.
//!
//! A listed name may lead back to the gateway through a destination that is rewritten on the way (a virtual address, DNAT,
//! a balancer). Dialled again and again, one datagram would take every place there is. The flow that comes back has the
//! address and port that ours left from; it is refused, and with it the one that led to it ends.
//!
//! A UDP socket's end is its own as long as it is open. A TCP port is used towards many destinations at a time, by others of
//! this machine too, so there both ends must fit; and what comes back comes at once, so that they are kept for seconds only
//! and an open flow holds nothing here. Flows of `tproxy` leave from the subscriber's own address and are not here:
//! `edge.upstream_mark` and the kernel's table of sockets keep them from coming back on the same machine.
//!
//! Sharded by port: a lock is held for a few entries, once a flow.

use std::hash::{BuildHasher as _, RandomState};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::flow::time::Monotonic;

/// Parts of the table.
const SHARDS: usize = 1_024;
/// TCP ends in one part; over it the oldest goes. 32 bytes each.
const STREAMS_PER_SHARD_MAX: usize = 256;

/// The table.
pub struct OwnEnds {
    shards: Box<[Mutex<Shard>]>,
    key: RandomState,
    /// It was told that one came back.
    is_told: AtomicBool,
}

/// The ends whose ports fall together.
#[derive(Default)]
struct Shard {
    streams: Vec<Stream>,
    /// Of UDP sockets.
    datagrams: Vec<u64>,
}

/// A connection upstream: keyed hashes of its ends, and how long it is kept.
#[derive(Clone, Copy)]
struct Stream {
    local: u64,
    target: u64,
    until: Monotonic,
}

/// The end of a UDP socket, in the table until it is dropped.
pub struct DatagramEnd {
    ends: Arc<OwnEnds>,
    local: SocketAddr,
}

impl Default for OwnEnds {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, key: RandomState::new(), is_told: AtomicBool::new(false) }
    }
}

impl OwnEnds {
    /// A connection to `target` leaves from `local`.
    pub fn note_stream(&self, local: SocketAddr, target: SocketAddr, now: Monotonic, until: Monotonic) {
        let stream = Stream { local: self.key.hash_one(local), target: self.key.hash_one(target), until };
        let mut shard = self.shard(local);
        shard.streams.retain(|known| now < known.until);
        if shard.streams.len() >= STREAMS_PER_SHARD_MAX {
            shard.streams.remove(0);
        }
        shard.streams.push(stream);
    }

    /// A UDP socket sends from `local`.
    pub fn note_datagrams(self: &Arc<Self>, local: SocketAddr) -> DatagramEnd {
        self.shard(local).datagrams.push(self.key.hash_one(local));
        DatagramEnd { ends: Arc::clone(self), local }
    }

    /// Whether a connection from `peer` that was going to one of `destinations` is one of ours. These are asked for only
    /// when one of ours left from there.
    pub fn has_stream(
        &self,
        peer: SocketAddr,
        destinations: impl FnOnce() -> Vec<SocketAddr>,
        now: Monotonic,
    ) -> bool {
        let local = self.key.hash_one(peer);
        let left_from = |known: &&Stream| known.local == local && now < known.until;
        let targets: Vec<u64> = {
            let shard = self.shard(peer);
            shard.streams.iter().filter(left_from).map(|known| known.target).collect()
        };
        let found =
            !targets.is_empty() && destinations().iter().any(|end| targets.contains(&self.key.hash_one(end)));
        self.tell(found)
    }

    /// Whether datagrams from `peer` come from one of our sockets.
    pub fn has_datagrams(&self, peer: SocketAddr) -> bool {
        let local = self.key.hash_one(peer);
        let found = self.shard(peer).datagrams.contains(&local);
        self.tell(found)
    }

    /// Says once that one came back.
    fn tell(&self, found: bool) -> bool {
        if found && !self.is_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "a flow of our own came back and is refused: a listed name leads to this gateway, through a virtual address \
                 or a rewritten destination; exclude the gateway's own traffic there (zrgw_refused_total{{reason=\"loop\"}})"
            );
        }
        found
    }

    /// The part of the table for an end; a panic elsewhere does not make it unusable.
    fn shard(&self, end: SocketAddr) -> MutexGuard<'_, Shard> {
        let place = usize::from(end.port()) % SHARDS;
        #[expect(clippy::indexing_slicing, reason = "a remainder of the number of shards")]
        let shard = &self.shards[place];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for DatagramEnd {
    fn drop(&mut self) {
        let local = self.ends.key.hash_one(self.local);
        let mut shard = self.ends.shard(self.local);
        if let Some(place) = shard.datagrams.iter().position(|known| *known == local) {
            shard.datagrams.swap_remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn end(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn at(seconds: u64) -> Monotonic {
        Monotonic::new(Duration::from_secs(seconds))
    }

    #[test]
    fn f8_a_connection_is_known_by_both_ends_and_for_its_time() {
        let ends = OwnEnds::default();
        let (own, vip, listener) = (end("10.0.0.1:40000"), end("11.0.0.1:443"), end("10.0.0.1:443"));
        ends.note_stream(own, vip, at(0), at(10));
        assert!(ends.has_stream(own, || vec![listener, vip], at(9)));
        assert!(!ends.has_stream(own, || vec![listener, vip], at(10)), "over");
        assert!(
            !ends.has_stream(own, || vec![listener], at(9)),
            "a client of this machine with the same port"
        );
        assert!(!ends.has_stream(end("10.0.0.2:40000"), || unreachable!("nothing left from there"), at(9)));
        assert!(!ends.has_datagrams(own));
    }

    #[test]
    fn f8_a_datagram_end_is_known_while_it_is_open() {
        let ends = Arc::new(OwnEnds::default());
        let own = end("[2001:db8::1]:40000");
        let (first, second) = (ends.note_datagrams(own), ends.note_datagrams(own));
        drop(first);
        assert!(ends.has_datagrams(own) && !ends.has_datagrams(end("[2001:db8::1]:40001")));
        drop(second);
        assert!(!ends.has_datagrams(own));
    }

    #[test]
    fn f8_connections_find_room_and_the_oldest_goes() {
        let ends = OwnEnds::default();
        let vip = end("11.0.0.1:443");
        let own = |number: usize| end(&format!("10.0.{}.{}:40000", number / 200, number % 200));
        (0..=STREAMS_PER_SHARD_MAX).for_each(|number| ends.note_stream(own(number), vip, at(0), at(10)));
        assert!(!ends.has_stream(own(0), || vec![vip], at(1)), "one over");
        assert!((1..=STREAMS_PER_SHARD_MAX).all(|number| ends.has_stream(own(number), || vec![vip], at(1))));
        ends.note_stream(own(0), vip, at(10), at(20));
        assert_eq!(ends.shard(own(0)).streams.len(), 1, "what is over is dropped");
    }
}

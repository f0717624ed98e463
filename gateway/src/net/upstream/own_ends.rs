//! Our own flows that come back: the local ends of what we send upstream, by which they are known again.
//!
//! A listed name may lead back to the gateway through a destination that is rewritten on the way (a virtual address, DNAT,
//! a balancer). Dialled again and again, one datagram would take every place there is. The flow that comes back has the
//! address and port that ours left from; it is refused, and with it the one that led to it ends.
//!
//! A UDP socket's end is its own as long as it is open. A TCP port is used towards many destinations at a time, by others of
//! this machine too, so there both ends must fit. Behind a hello of TLS or HTTP what comes back is seen, and refused, before
//! the one that led to it is answered: its end is kept until the other side has said something. Other ends are kept for
//! seconds. Flows of `tproxy` leave from the subscriber's own address and are not here: `edge.upstream_mark` and the kernel's
//! table of sockets keep them from coming back on the same machine.
//!
//! Sharded by the local end: a lock is held for a few entries, twice a flow.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::net::SocketAddr;
use std::num::NonZeroU64;
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

/// The local ends that fall together.
#[derive(Default)]
struct Shard {
    /// The oldest first.
    streams: VecDeque<Stream>,
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

/// A connection upstream that is in the table, to be forgotten: half of the hash of either end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamEnd(NonZeroU64);

/// The end of a UDP socket, in the table until it is dropped.
pub struct DatagramEnd {
    ends: Arc<OwnEnds>,
    /// Its hash.
    local: u64,
}

impl Default for OwnEnds {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, key: RandomState::new(), is_told: AtomicBool::new(false) }
    }
}

impl OwnEnds {
    /// A connection to `target` leaves from `local`.
    pub fn note_stream(
        &self,
        local: SocketAddr,
        target: SocketAddr,
        now: Monotonic,
        until: Monotonic,
    ) -> Option<StreamEnd> {
        let stream = Stream { local: self.key.hash_one(local), target: self.key.hash_one(target), until };
        let streams = &mut self.shard(stream.local).streams;
        while streams.front().is_some_and(|oldest| oldest.until <= now) {
            streams.pop_front();
        }
        if streams.len() >= STREAMS_PER_SHARD_MAX {
            // Behind one that is kept for long.
            streams.retain(|known| now < known.until);
        }
        if streams.len() >= STREAMS_PER_SHARD_MAX {
            streams.pop_front();
        }
        streams.push_back(stream);
        stream.end()
    }

    /// The other side of a connection has answered: were it our own, it would have been seen to come back by now.
    pub fn forget_stream(&self, end: StreamEnd) {
        let streams = &mut self.shard(end.0.get() >> u32::BITS).streams;
        if let Some(place) = streams.iter().position(|known| known.end() == Some(end)) {
            streams.remove(place);
        }
    }

    /// A UDP socket sends from `local`.
    pub fn note_datagrams(self: &Arc<Self>, local: SocketAddr) -> DatagramEnd {
        let local = self.key.hash_one(local);
        self.shard(local).datagrams.push(local);
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
            let shard = self.shard(local);
            shard.streams.iter().filter(left_from).map(|known| known.target).collect()
        };
        let found =
            !targets.is_empty() && destinations().iter().any(|end| targets.contains(&self.key.hash_one(end)));
        self.tell(found)
    }

    /// Whether datagrams from `peer` come from one of our sockets.
    pub fn has_datagrams(&self, peer: SocketAddr) -> bool {
        let local = self.key.hash_one(peer);
        let found = self.shard(local).datagrams.contains(&local);
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

    /// The part of the table for the hash of a local end, or its lower half; a panic elsewhere does not make it unusable.
    fn shard(&self, local: u64) -> MutexGuard<'_, Shard> {
        #[expect(clippy::cast_possible_truncation, reason = "a remainder of the number of shards")]
        let place = (local % SHARDS as u64) as usize;
        #[expect(clippy::indexing_slicing, reason = "a remainder of the number of shards")]
        let shard = &self.shards[place];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream {
    /// By what it is forgotten; nothing for one pair of ends in 2⁶⁴, which stays for its time.
    fn end(&self) -> Option<StreamEnd> {
        let (local, target) = (self.local << u32::BITS, self.target & u64::from(u32::MAX));
        NonZeroU64::new(local | target).map(StreamEnd)
    }
}

impl Drop for DatagramEnd {
    fn drop(&mut self) {
        let mut shard = self.ends.shard(self.local);
        if let Some(place) = shard.datagrams.iter().position(|known| *known == self.local) {
            shard.datagrams.swap_remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
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
    fn f8_a_connection_that_was_answered_is_forgotten_and_no_other() {
        let ends = OwnEnds::default();
        let (own, first, second) = (end("10.0.0.1:40000"), end("11.0.0.1:443"), end("11.0.0.2:443"));
        ends.note_stream(own, first, at(0), at(10));
        let answered = ends.note_stream(own, second, at(0), at(10)).unwrap();
        ends.forget_stream(answered);
        assert!(!ends.has_stream(own, || vec![second], at(1)));
        assert!(ends.has_stream(own, || vec![first], at(1)), "another one from the same port");
        ends.forget_stream(answered);
        assert!(ends.has_stream(own, || vec![first], at(1)), "it is forgotten once");
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
        let shard = |end: SocketAddr| ends.key.hash_one(end) % SHARDS as u64;
        let all = (0..u32::MAX).map(|number| SocketAddr::new(Ipv4Addr::from_bits(number).into(), 40_000));
        let fall_together = all.filter(|end| shard(*end) == 0).take(STREAMS_PER_SHARD_MAX + 1);
        let own: Vec<SocketAddr> = fall_together.collect();
        for local in &own {
            ends.note_stream(*local, vip, at(0), at(10));
        }
        assert!(!ends.has_stream(own[0], || vec![vip], at(1)), "one over");
        assert!(own[1..].iter().all(|local| ends.has_stream(*local, || vec![vip], at(1))));
        ends.note_stream(own[0], vip, at(10), at(20));
        assert_eq!(ends.shard(0).streams.len(), 1, "what is over is dropped");
        // Also behind one that is kept for longer: nothing that lasts goes for what is over.
        for local in &own[2..] {
            ends.note_stream(*local, vip, at(10), at(11));
        }
        ends.note_stream(own[1], vip, at(11), at(20));
        assert!([own[0], own[1]].iter().all(|local| ends.has_stream(*local, || vec![vip], at(12))));
    }
}

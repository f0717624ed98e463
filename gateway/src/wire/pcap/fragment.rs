//! Reassembly of fragmented IP datagrams (RFC 791 §3.2, RFC 8200 §4.5, RFC 5722).
//!
//! A piece that says other bytes, or another end, than an earlier one makes the datagram a conflict: receivers differ on
//! which they believe. It is still put together, first bytes first, and says so; its flow must never be exempt.
//! Identical repetition is harmless.
//!
//! Bytes of a fragment belong to the flow whose ports stand in the first fragment. They are owed until that one is seen.

use core::net::IpAddr;
use std::collections::{BTreeMap, HashMap, VecDeque};

use super::ip::Packet;
use super::prefix;

/// Datagrams under reassembly, or done and remembered for repetitions. Above it the oldest is forgotten.
pub const DATAGRAMS_MAX: usize = 1_024;
/// Bytes they hold in all. Above it the oldest is forgotten.
pub const HELD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The longest payload of a datagram: the length field has 16 bits.
pub const PAYLOAD_BYTES_MAX: usize = 65_535;
/// How long fragments wait for the others (RFC 8200 §4.5).
pub const WAIT_NANOS_MAX: u64 = 60 * 1_000_000_000;
/// First bytes of a datagram that are kept to know its ports again: extension headers and ports.
const HEAD_BYTES: usize = 128;
/// Book-keeping of one piece, for the limit on what is held.
const PIECE_BYTES: usize = 64;

/// What the fragments of one datagram have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    source: IpAddr,
    destination: IpAddr,
    identification: u32,
    /// Part of the key in IPv4 only; in IPv6 it may differ between fragments, and the first one's counts.
    protocol: Option<u8>,
}

/// What is known after a fragment, once the first one is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Protocol of the whole.
    pub protocol: u8,
    /// Complete: what was captured of the whole, without a break, from its first byte on. Else: only its first bytes.
    pub payload: Vec<u8>,
    /// How long the whole is, when this fragment completed it.
    pub complete: Option<usize>,
    /// IP bytes, on the wire, of the fragments not yet accounted for.
    pub owed_bytes: u64,
    /// Pieces contradict each other.
    pub conflict: bool,
}

/// A datagram under reassembly.
#[derive(Debug)]
struct Partial {
    /// By offset, not overlapping: length on the wire and what was captured.
    pieces: BTreeMap<usize, (usize, Vec<u8>)>,
    /// Wire bytes that the pieces cover.
    covered_bytes: usize,
    /// What the pieces cost to hold.
    held_bytes: usize,
    /// Length of the whole, from the last fragment.
    end: Option<usize>,
    /// Protocol of the first fragment.
    protocol: Option<u8>,
    /// IP bytes seen and not yet reported.
    owed_bytes: u64,
    /// Pieces contradict each other.
    conflict: bool,
    /// Put together and handed out; only the first piece is kept.
    done: bool,
    /// Capture time of its first fragment.
    since: Option<u64>,
    /// Which entry of the order of arrival is this one.
    turn: u64,
}

/// Datagrams under reassembly, bounded.
#[derive(Debug, Default)]
pub struct Reassembler {
    partials: HashMap<Key, Partial>,
    /// Keys in order of arrival; an entry whose turn is not its partial's is stale.
    order: VecDeque<(u64, Key)>,
    /// The next turn.
    turns: u64,
    /// Bytes held by all pieces.
    held_bytes: usize,
}

impl Reassembler {
    /// Takes a fragment; answers when the ports of its datagram are known.
    ///
    /// A packet that is no fragment, or reaches beyond the longest payload, gives `None`.
    pub fn push(&mut self, packet: &Packet<'_>, unix_nanos: Option<u64>) -> Option<Progress> {
        let fragment = packet.fragment?;
        let end = fragment.offset_bytes.checked_add(packet.payload_bytes)?;
        if end > PAYLOAD_BYTES_MAX {
            return None;
        }
        let key = Key {
            source: packet.source,
            destination: packet.destination,
            identification: fragment.identification,
            protocol: packet.source.is_ipv4().then_some(packet.protocol),
        };
        let first = fragment.offset_bytes == 0;
        if self.partials.get(&key).is_some_and(|partial| partial.is_over(first, unix_nanos)) {
            self.forget(&key);
        }
        let turn = self.turns;
        let partial = self.partials.entry(key).or_insert_with(|| Partial::new(turn, unix_nanos));
        if partial.turn == turn {
            self.turns = self.turns.saturating_add(1);
            self.order.push_back((turn, key));
        }
        let before = partial.held_bytes;
        if first {
            partial.protocol.get_or_insert(packet.protocol);
        }
        partial.owed_bytes = partial.owed_bytes.saturating_add(packet.total_bytes);
        if !partial.done {
            partial.place(fragment.offset_bytes, packet.payload, packet.payload_bytes);
            if !fragment.more {
                partial.conflict |= partial.end.is_some_and(|known| known != end);
                partial.end.get_or_insert(end);
            }
        }
        let progress = partial.progress();
        let after = partial.held_bytes;
        self.held_bytes = self.held_bytes.saturating_sub(before).saturating_add(after);
        self.shrink();
        progress
    }

    /// Forgets the oldest until the limits hold.
    fn shrink(&mut self) {
        while self.partials.len() > DATAGRAMS_MAX || self.held_bytes > HELD_BYTES_MAX {
            let Some((turn, key)) = self.order.pop_front() else { return };
            if self.partials.get(&key).is_some_and(|partial| partial.turn == turn) {
                self.forget(&key);
            }
        }
        // Stale entries are never more than the live ones for long.
        if self.order.len() > DATAGRAMS_MAX.saturating_mul(4) {
            let partials = &self.partials;
            self.order.retain(|(turn, key)| partials.get(key).is_some_and(|partial| partial.turn == *turn));
        }
    }

    /// Forgets one datagram.
    fn forget(&mut self, key: &Key) {
        if let Some(partial) = self.partials.remove(key) {
            self.held_bytes = self.held_bytes.saturating_sub(partial.held_bytes);
        }
    }
}

impl Partial {
    /// An empty one.
    fn new(turn: u64, since: Option<u64>) -> Self {
        Self {
            pieces: BTreeMap::new(),
            covered_bytes: 0,
            held_bytes: 0,
            end: None,
            protocol: None,
            owed_bytes: 0,
            conflict: false,
            done: false,
            since,
            turn,
        }
    }

    /// Whether the next fragment with this key belongs to another datagram: a first fragment after completion, or one
    /// that comes after the wait.
    fn is_over(&self, first: bool, unix_nanos: Option<u64>) -> bool {
        let waited = unix_nanos.zip(self.since).and_then(|(then, since)| then.checked_sub(since));
        (self.done && first) || waited.is_some_and(|waited| waited > WAIT_NANOS_MAX)
    }

    /// Puts a piece in its place, as far as that is free, and compares the rest with what stands there.
    fn place(&mut self, offset: usize, bytes: &[u8], wire_bytes: usize) {
        let end = offset.saturating_add(wire_bytes);
        self.conflict |= self.end.is_some_and(|whole| end > whole);
        let mut at = offset;
        while at < end {
            let standing = self.pieces.range(..=at).next_back().and_then(|(start, (length, held))| {
                let stop = start.saturating_add(*length);
                (stop > at).then_some((*start, stop, held))
            });
            let stop = match standing {
                Some((start, stop, held)) => {
                    let stop = stop.min(end);
                    let mine = bytes.get(at.saturating_sub(offset)..).unwrap_or_default();
                    let theirs = held.get(at.saturating_sub(start)..).unwrap_or_default();
                    let both = stop.saturating_sub(at).min(mine.len()).min(theirs.len());
                    self.conflict |= mine.get(..both) != theirs.get(..both);
                    stop
                }
                None => {
                    let next = self.pieces.range(at..).next().map_or(end, |(start, _)| *start);
                    let stop = next.min(end);
                    let length = stop.saturating_sub(at);
                    let mine = bytes.get(at.saturating_sub(offset)..).unwrap_or_default();
                    let mine = mine.get(..length).unwrap_or(mine).to_vec();
                    self.covered_bytes = self.covered_bytes.saturating_add(length);
                    self.held_bytes = self.held_bytes.saturating_add(mine.len()).saturating_add(PIECE_BYTES);
                    self.pieces.insert(at, (length, mine));
                    stop
                }
            };
            at = stop;
        }
    }

    /// Whether the wire length of the whole is covered, from the first byte on.
    fn is_covered(&self) -> bool {
        let Some(end) = self.end.filter(|end| self.covered_bytes >= *end) else { return false };
        let mut reached = 0_usize;
        for (start, (length, _)) in &self.pieces {
            if *start > reached {
                return false;
            }
            reached = start.saturating_add(*length);
        }
        reached >= end
    }

    /// The captured bytes from the first on, up to the first one missing.
    fn assembled(&self) -> Vec<u8> {
        let mut whole = Vec::new();
        for (start, (length, bytes)) in &self.pieces {
            if *start != whole.len() {
                break;
            }
            whole.extend_from_slice(bytes);
            if bytes.len() < *length {
                break;
            }
        }
        whole
    }

    /// The first bytes, enough for extension headers and ports.
    fn head(&self) -> Vec<u8> {
        let first = self.pieces.get(&0).map(|(_, bytes)| bytes.as_slice()).unwrap_or_default();
        prefix(first, HEAD_BYTES).to_vec()
    }

    /// What can be said; takes what is owed.
    fn progress(&mut self) -> Option<Progress> {
        let protocol = self.protocol?;
        self.pieces.get(&0)?;
        let complete = if self.done || !self.is_covered() { None } else { self.end };
        let payload = if complete.is_some() { self.assembled() } else { self.head() };
        if complete.is_some() {
            self.done = true;
            let head = self.head();
            self.held_bytes = head.len().saturating_add(PIECE_BYTES);
            self.pieces = BTreeMap::from([(0, (head.len(), head))]);
        }
        let owed_bytes = core::mem::take(&mut self.owed_bytes);
        Some(Progress { protocol, payload, complete, owed_bytes, conflict: self.conflict })
    }
}

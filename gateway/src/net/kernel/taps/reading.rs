//! A subscriber's stream, put together from pieces, until its name is known and sure.

use std::time::Duration;

use billing_export::Reason;

use crate::flow::time::Monotonic;
use crate::net::kernel::layout::{COPIED_MAX, Seen};
use crate::wire::pcap::stream::Stream;

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// More is wanted.
    Waiting,
    /// The server has the name. Another hello may follow.
    Sure,
    /// The same, and nothing more is wanted.
    Done,
    /// What was read may not be what the server reads.
    Contradicted(Reason),
}

/// A subscriber's stream while it is read.
pub(super) struct Reading {
    stream: Stream,
    /// The number in front of the stream's first byte.
    isn: u32,
    /// In order, and not shown yet.
    held: Vec<u8>,
    /// Bytes shown.
    shown: u32,
    /// Bytes shown when the name was known: what the server must have acknowledged.
    named: Option<u32>,
    /// When the connection was seen to be established.
    since: Option<Monotonic>,
    /// What the slot said at the last look: of what was copied before, nothing is missing at the next one.
    pub said: Option<Said>,
}

/// What a slot says of its flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    /// What was seen of it.
    pub seen: Seen,
    /// The next number that the server expects.
    pub acknowledged: u32,
    /// Bytes that were copied.
    pub copied: u32,
}

impl Reading {
    /// Of a connection whose SYN has this number.
    pub(super) fn new(isn: u32) -> Self {
        let stream = Stream::starting_at(isn.wrapping_add(1));
        Self { stream, isn, held: Vec::new(), shown: 0, named: None, since: None, said: None }
    }

    /// Takes a piece.
    pub(super) fn push(&mut self, sequence: u32, data: &[u8]) {
        let held = &mut self.held;
        self.stream.push(sequence, data, data.len(), false, &mut |bytes: &[u8]| {
            held.extend_from_slice(bytes);
        });
    }

    /// How long the connection has been seen to be established.
    pub(super) fn age(&mut self, now: Monotonic) -> Duration {
        now.since(*self.since.get_or_insert(now))
    }

    /// What is in order and was not shown.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let bytes = std::mem::take(&mut self.held);
        let count = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.shown = self.shown.saturating_add(count);
        bytes
    }

    /// The name is known, or that there is none.
    pub(super) fn note_identified(&mut self, is_identified: bool) {
        if is_identified {
            self.named.get_or_insert(self.shown);
        }
    }

    /// How far it is, by what the slot said before all that was copied by then was taken; its reader still observes, or not.
    pub(super) fn progress(&self, said: Said, is_observed: bool) -> Progress {
        if self.stream.is_conflicting() {
            return Progress::Contradicted(Reason::Ambiguous);
        }
        let is_sure = self.named.is_some_and(|named| {
            let wanted = self.isn.wrapping_add(1).wrapping_add(named);
            // The nearer way round (RFC 9293 §3.4).
            said.acknowledged.wrapping_sub(wanted).cast_signed() >= 0
        });
        match (is_sure, is_observed) {
            _ if said.seen.has_lost() => Progress::Contradicted(Reason::Overload),
            (true, false) => Progress::Done,
            // Nothing more is copied, so nothing more is seen. What has shown nothing lacks its beginning: a process before this one
            // has taken that.
            _ if said.copied >= COPIED_MAX && self.shown == 0 => Progress::Contradicted(Reason::Undecided),
            _ if said.copied >= COPIED_MAX => Progress::Contradicted(Reason::Oversize),
            (true, true) => Progress::Sure,
            (false, _) => Progress::Waiting,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t21_a_name_is_sure_when_the_server_has_acknowledged_it_and_nothing_contradicts_it() {
        // The numbers go round in the middle of it.
        let isn = u32::MAX - 3;
        let mut reading = Reading::new(isn);
        reading.push(isn.wrapping_add(5), b"efgh");
        assert_eq!(reading.take(), b"", "out of order");
        reading.push(isn.wrapping_add(1), b"abcd");
        assert_eq!(reading.take(), b"abcdefgh");
        let end = isn.wrapping_add(9);
        let said = Said { seen: Seen::default(), acknowledged: end, copied: 8 };
        assert_eq!(reading.progress(said, false), Progress::Waiting, "no name");
        reading.note_identified(true);
        let before = Said { acknowledged: end.wrapping_sub(1), ..said };
        assert_eq!(reading.progress(before, false), Progress::Waiting);
        assert_eq!(reading.progress(said, true), Progress::Sure);
        assert_eq!(reading.progress(said, false), Progress::Done);
        let full = Said { copied: COPIED_MAX, ..said };
        assert_eq!(reading.progress(full, false), Progress::Done);
        assert_eq!(reading.progress(full, true), Progress::Contradicted(Reason::Oversize));
        reading.push(isn.wrapping_add(3), b"XY");
        assert_eq!(reading.progress(said, false), Progress::Contradicted(Reason::Ambiguous));
    }
}

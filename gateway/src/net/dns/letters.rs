//! Whether a server keeps the letter case of questions (0x20, draft-vixie-dnsext-dns0x20), as all workers see it.
//!
//! Some write a question in other letters, some know a name in lower case alone. What such a server says to mixed letters is
//! asked again in lower case, once; when that was better for several queries in a row, it is remembered: one of them may
//! have been lost, failed for a while, or met somebody who guesses. That a server keeps the letters is believed when it has
//! answered in them; from then on only other letters say that it does not, for names that fail can be made up at will.
//! The time is an argument.

use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use super::lane::Tried;
use super::pending::{Pending, Ticket, bit_of};
use super::relay::Relay;
use crate::flow::time::Monotonic;

/// How long a server is asked in lower case before its letters are tried again.
const LOWER_PAUSE: Duration = Duration::from_secs(3_600);
/// Queries in a row that lower case was better for, after which the letters were the cause.
const BETTER_MAX: u8 = 3;
/// How long the genuine answer is waited for after one in other letters, which somebody may have guessed.
pub(super) const OTHER_LETTERS_PAUSE: Duration = Duration::from_millis(50);
/// Bytes behind the name of a question: type and class.
const TYPE_AND_CLASS_BYTES: usize = 4;

/// How the name of a query was written when it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// As its client wrote it. Letters prove nothing: it went over a connection, or they are not to be mixed.
    Own,
    /// In random case; the answer repeats it letter for letter.
    Mixed,
    /// In lower case, to see whether that is better; the answer repeats it letter for letter.
    Lower,
    /// In lower case, since the server is known not to keep letters.
    Known,
}

impl Written {
    /// Whether the answer has to repeat each letter.
    const fn is_proof(self) -> bool {
        match self {
            Self::Mixed | Self::Lower => true,
            Self::Own | Self::Known => false,
        }
    }
}

/// What a reply's question is to the one that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeats {
    /// The same as far as it has to be; whether also letter for letter.
    Yes {
        /// Letter for letter.
        exactly: bool,
    },
    /// The same in other letters.
    OtherLetters,
    /// Another.
    No,
}

/// Compares a reply's question with the one that was sent.
pub(super) fn repeats(written: Written, sent: &[u8], section: &[u8]) -> Repeats {
    if sent == section {
        return Repeats::Yes { exactly: true };
    }
    let split = |bytes: &'_ [u8]| bytes.len().checked_sub(TYPE_AND_CLASS_BYTES);
    let parts = |at: usize| Some((sent.split_at_checked(at)?, section.split_at_checked(at)?));
    let Some(((name, rest), (name_back, rest_back))) = split(sent).and_then(parts) else {
        return Repeats::No;
    };
    // Lengths of labels are no letters.
    if rest != rest_back || !name.eq_ignore_ascii_case(name_back) {
        return Repeats::No;
    }
    if written.is_proof() { Repeats::OtherLetters } else { Repeats::Yes { exactly: false } }
}

/// What is known of a server's letters.
#[derive(Default)]
pub(super) struct Letters {
    /// It has answered in the letters that it was asked in.
    are_kept: AtomicBool,
    /// Until when it is asked in lower case, in milliseconds.
    lower_until: AtomicU64,
    /// Queries in a row that lower case was better for.
    better: AtomicU8,
}

impl Letters {
    /// Whether it is asked in lower case.
    pub(super) fn is_lower(&self, now: Monotonic) -> bool {
        self.lower_until.load(Ordering::Relaxed) > now.as_millis()
    }

    /// Whether what it says to mixed letters may be due to them.
    pub(super) fn are_doubted(&self) -> bool {
        !self.are_kept.load(Ordering::Relaxed)
    }

    /// It has answered in mixed letters, with records.
    fn keep(&self) {
        if self.are_doubted() || self.better.load(Ordering::Relaxed) > 0 {
            self.are_kept.store(true, Ordering::Relaxed);
            self.lower_until.store(0, Ordering::Relaxed);
            self.better.store(0, Ordering::Relaxed);
        }
    }

    /// It does not keep them; whether that is news.
    fn lose(&self, now: Monotonic) -> bool {
        self.are_kept.store(false, Ordering::Relaxed);
        self.better.store(0, Ordering::Relaxed);
        let until = now.plus(LOWER_PAUSE).as_millis();
        self.lower_until.swap(until, Ordering::Relaxed) <= now.as_millis()
    }

    /// Lower case was better for a query; whether it is news that the server does not keep letters.
    fn note_better(&self, now: Monotonic) -> bool {
        self.better.fetch_add(1, Ordering::Relaxed).saturating_add(1) >= BETTER_MAX && self.lose(now)
    }
}

/// What a reply says of its server's letters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    /// How its query was written.
    pub written: Written,
    /// Whether it repeats that letter for letter.
    pub exactly: bool,
    /// Whether it has records.
    pub has_records: bool,
}

impl Relay {
    /// How a query is written for a server.
    pub(super) fn written(
        &self,
        pending: &Pending,
        server: usize,
        over_stream: bool,
        now: Monotonic,
    ) -> Written {
        let Some(letters) = self.plane.letters.get(server) else { return Written::Own };
        if pending.is_signed {
            return Written::Own;
        }
        if letters.is_lower(now) {
            return Written::Known;
        }
        if over_stream || !self.plane.settings.case_randomisation {
            return Written::Own;
        }
        let bit = bit_of(server);
        // Asked again for silence, or for what it said.
        let is_again = pending.mixed & bit != 0 && letters.are_doubted();
        if is_again || (pending.altered | pending.failed_mixed) & bit != 0 {
            Written::Lower
        } else {
            Written::Mixed
        }
    }

    /// Learns what the reply to a query says of its server's letters; none: the query has had its answer.
    pub(super) fn note_letters(
        &self,
        server: usize,
        heard: Heard,
        pending: Option<&Pending>,
        now: Monotonic,
    ) {
        let Some(letters) = self.plane.letters.get(server) else { return };
        let bit = bit_of(server);
        let is_news = match (heard.written, pending) {
            (Written::Mixed, _) if heard.has_records => {
                letters.keep();
                false
            }
            (Written::Lower, Some(pending)) if heard.has_records || pending.altered & bit != 0 => {
                letters.note_better(now)
            }
            // Only over a connection is that sure: in datagrams somebody may have guessed.
            (Written::Own, Some(pending)) if pending.altered & bit != 0 && !heard.exactly => {
                letters.lose(now)
            }
            (Written::Mixed | Written::Lower | Written::Own | Written::Known, _) => false,
        };
        if is_news {
            tracing::warn!(
                server,
                "this server does not keep the letter case of questions, and is asked in lower case for an hour: \
                 forging its answers is easier so; ask it over TLS, or set dns.case_randomisation = false"
            );
        }
    }

    /// A reply came in other letters than its query: from a server that changes them, or from who guesses. When no answer
    /// follows it the server is asked in lower case; and when that is changed too, over TCP, where nobody guesses.
    pub(super) fn doubt_letters(&self, tried: (Ticket, Written), server: usize, now: Monotonic) {
        let (ticket, written) = tried;
        let mut table = self.table.borrow_mut();
        // Over TCP it is asked already.
        let Some(pending) = table.get(ticket).filter(|pending| !pending.over_stream) else { return };
        let bit = bit_of(server);
        if written == Written::Lower {
            pending.over_stream = true;
        } else if pending.altered & bit != 0 {
            return;
        }
        pending.altered |= bit;
        pending.again = Some(server);
        pending.next_try = now.plus(OTHER_LETTERS_PAUSE);
    }

    /// Asks a server again what it was asked in other letters.
    pub(super) fn ask_in_lower_case(self: &Rc<Self>, ticket: Ticket, server: usize, now: Monotonic) {
        let prepared = {
            let mut table = self.table.borrow_mut();
            let Some(pending) = table.get(ticket) else { return };
            pending.server = server;
            pending.next_try = now.plus(self.pause(pending));
            self.prepare(pending, server, now)
        };
        if !prepared.is_some_and(|next| self.send(ticket, next, now)) {
            self.try_next(ticket, now);
        }
    }
}

/// Whether a query's reply is still wanted, and how it was written.
pub(super) fn wanted(tried: &Tried) -> Option<(Ticket, Written)> {
    tried.is_waiting.then_some((tried.ticket, tried.written))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Monotonic {
        Monotonic::new(Duration::from_millis(ms))
    }

    #[test]
    fn f40_letters_are_held_against_those_that_were_sent_where_they_prove_something() {
        let sent = b"\x03WwW\x02kz\0\0\x41\0\x01";
        let lower = b"\x03www\x02kz\0\0\x41\0\x01";
        let other_type = b"\x03WwW\x02kz\0\0\x61\0\x01";
        for written in [Written::Own, Written::Mixed, Written::Lower, Written::Known] {
            assert_eq!(repeats(written, sent, sent), Repeats::Yes { exactly: true });
            assert_eq!(repeats(written, sent, other_type), Repeats::No, "a type is no letter");
            for other in [&b""[..], b"\0", b"\x03WwX\x02kz\0\0\x41\0\x01", b"\x04WwW\x02kz\0\0\x41\0\x01"] {
                assert_eq!(repeats(written, sent, other), Repeats::No);
            }
        }
        for written in [Written::Mixed, Written::Lower] {
            assert_eq!(repeats(written, sent, lower), Repeats::OtherLetters);
        }
        for written in [Written::Own, Written::Known] {
            assert_eq!(repeats(written, sent, lower), Repeats::Yes { exactly: false });
        }
    }

    #[test]
    fn f40_a_server_is_asked_in_lower_case_for_an_hour_and_told_of_once() {
        let letters = Letters::default();
        assert!(letters.are_doubted() && !letters.is_lower(at(5)));
        assert!(letters.lose(at(5)) && !letters.lose(at(6)), "news once");
        assert!(letters.is_lower(at(3_600_005)) && !letters.is_lower(at(3_600_006)));
        assert!(letters.are_doubted() && letters.lose(at(3_600_006)), "and again after that");
        letters.keep();
        assert!(!letters.are_doubted() && !letters.is_lower(at(3_600_007)), "what it keeps says otherwise");
    }

    #[test]
    fn f40_that_lower_case_is_better_is_believed_when_it_was_so_thrice_in_a_row() {
        let letters = Letters::default();
        for _ in 0..10 {
            assert!(!letters.note_better(at(1)) && !letters.note_better(at(2)));
            letters.keep();
        }
        assert!(!letters.note_better(at(1)) && !letters.note_better(at(2)) && letters.note_better(at(3)));
        assert!(letters.is_lower(at(4)));
    }
}

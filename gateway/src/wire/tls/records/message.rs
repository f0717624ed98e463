//! The handshake message that is being joined from fragments: whether it is a hello, whether it is complete, and its memory.

use super::{Advance, HelloStream, Phase};
use crate::wire::tls::{CLIENT_HELLO, MESSAGE_HEADER_BYTES, Message, Outcome, first_message, message_length};

/// The first allocation for a hello in pieces, unless it is known to be shorter.
const BUFFER_BYTES_FIRST: usize = 512;

impl HelloStream {
    /// Joins `fragment`, the front of `rest`, as far as it belongs to the current message.
    pub(super) fn fragment(&mut self, fragment: &[u8], rest: &mut &[u8]) -> Advance {
        if self.skip > 0 {
            let count = self.skip.min(fragment.len());
            self.skip = self.skip.saturating_sub(count);
            self.take(rest, count);
            return Advance::Continue;
        }
        let wanted = match self.message_length() {
            None => MESSAGE_HEADER_BYTES,
            Some(length) => length.min(self.limits.handshake_bytes_max),
        };
        let missing = wanted.saturating_sub(self.message.len());
        let Some(piece) = fragment.get(..missing.min(fragment.len())) else { return Advance::Starved };
        self.append(piece, wanted);
        self.take(rest, piece.len());
        match self.phase {
            Phase::First => self.judge_first(),
            Phase::Watching { ciphered } => self.judge_watched(ciphered),
            Phase::Over(outcome) => Advance::Over(outcome),
        }
    }

    /// Whether the message joined so far completes, or refuses, the first hello.
    fn judge_first(&self) -> Advance {
        match first_message(&self.message, self.limits.handshake_bytes_max) {
            Message::Partial => Advance::Continue,
            Message::Hello { .. } => Advance::Complete,
            Message::OtherType => Advance::Over(Outcome::Malformed { field: "handshake type" }),
            Message::TooLong => Advance::Over(Outcome::Oversize),
        }
    }

    /// Whether the message joined so far is a second hello, one to pass over, or encrypted.
    fn judge_watched(&mut self, ciphered: bool) -> Advance {
        let hello = self.is_hello();
        if ciphered && !hello {
            return Advance::Over(Outcome::Ended);
        }
        let Some(length) = self.message_length() else { return Advance::Continue };
        if !hello {
            self.skip = length.saturating_sub(MESSAGE_HEADER_BYTES);
            self.drop_message();
            return Advance::Continue;
        }
        if self.message.len() >= length {
            return Advance::Complete;
        }
        // Not judged by the promised length: four encrypted bytes may look like the header of a long hello. Those
        // are followed by another record soon, a true one by its bytes.
        if self.message.len() >= self.limits.handshake_bytes_max {
            return Advance::Over(Outcome::Oversize);
        }
        Advance::Continue
    }

    /// Whether the message being joined says that it is a hello.
    pub(super) fn is_hello(&self) -> bool {
        self.message.first() == Some(&CLIENT_HELLO)
    }

    /// Bytes of the message being joined, its header included, once the header is there.
    fn message_length(&self) -> Option<usize> {
        match self.message.as_slice() {
            [_, high, middle, low, ..] => Some(message_length(*high, *middle, *low)),
            _ => None,
        }
    }

    /// Adds `piece` to the message, of which `wanted` bytes are expected; grows by doubling, never past the need.
    fn append(&mut self, piece: &[u8], wanted: usize) {
        let need = self.message.len().saturating_add(piece.len());
        if need > self.message.capacity() {
            let ceiling = wanted.max(BUFFER_BYTES_FIRST).min(self.limits.handshake_bytes_max);
            let target = need.max(self.message.capacity().saturating_mul(2)).max(BUFFER_BYTES_FIRST);
            let capacity = target.min(ceiling).max(need);
            self.message.reserve_exact(capacity.saturating_sub(self.message.len()));
        }
        self.message.extend_from_slice(piece);
        self.copied = self.copied.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
    }

    /// Forgets the message and frees its memory.
    pub(super) fn drop_message(&mut self) {
        self.message = Vec::new();
        self.message_spent = false;
    }
}

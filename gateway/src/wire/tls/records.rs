//! The client's direction of a TLS connection over TCP, in any cutting.
//!
//! [`HelloStream`] takes off the record headers, joins the handshake fragments and reads the first hello; then it goes
//! on watching, for after a HelloRetryRequest the client says hello again, and the second hello could name another site.
//! The watch ends with the first application-data record or the first encrypted handshake record.
//!
//! It holds bytes only while a hello is incomplete, never more than the cap, and grows by what has arrived, never by what
//! a length field promises. A hello that lies whole in one record of one piece is read where it lies.
//!
//! Sections: RFC 8446 §5.1 (records may cut messages anywhere), §4.1.4 (HelloRetryRequest), appendix D.4 (the
//! change_cipher_spec that may stand before the second hello); RFC 5246 §7.1 (the one that starts encryption).
//!
//! Out of its reach, as documented residuals: a renegotiation hello of TLS 1.2 is encrypted, and a second hello behind
//! rejected 0-RTT data comes after application-data records. Both are bounded by the check of the address.

use super::{CLIENT_HELLO, MESSAGE_HEADER_BYTES, Message, Outcome, first_message, message_length, read_body};

/// Type, version and length in front of a record, RFC 8446 §5.1.
const RECORD_HEADER_BYTES: usize = 5;
/// The longest `TLSPlaintext.fragment`, RFC 8446 §5.1.
const RECORD_BYTES_MAX: usize = 1 << 14;
/// `ContentType change_cipher_spec`.
const CHANGE_CIPHER_SPEC: u8 = 20;
/// `ContentType alert`.
const ALERT: u8 = 21;
/// `ContentType handshake`.
const HANDSHAKE: u8 = 22;
/// `ContentType heartbeat`, RFC 6520.
const HEARTBEAT: u8 = 24;
/// `legacy_record_version` of every TLS and of SSL 3 begins with this.
const VERSION_MAJOR: u8 = 3;
/// The first allocation for a hello in pieces, unless it is known to be shorter.
const BUFFER_BYTES_FIRST: usize = 512;

/// How much of a connection is read for a hello (`[limits]`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HelloLimits {
    /// Bytes of one hello, its four-byte header included; at most these are held in memory.
    pub handshake_bytes_max: usize,
    /// Bytes of the stream, record headers included, up to the end of the first hello, and again after it.
    pub wire_bytes_max: usize,
}

/// What one call came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step<'a> {
    /// The outcome so far. All but `NeedMore` and `Hello` are final: every later call gives them again.
    pub outcome: Outcome<'a>,
    /// How many of the given bytes were used: all of them unless the outcome is `Hello`. Offer the others again.
    pub consumed: usize,
}

/// How far the stream has been understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The first hello is not complete.
    First,
    /// The first hello is read; a second may come.
    Watching {
        /// The client has sent a change_cipher_spec, so that what follows may be encrypted.
        ciphered: bool,
    },
    /// Nothing more will be learnt; the latched outcome.
    Over(Outcome<'static>),
}

/// Reads the hellos of one client, whatever the cutting into segments and records. No `Debug`: it may hold a name.
pub struct HelloStream {
    /// The caps.
    limits: HelloLimits,
    /// How far the stream has been understood.
    phase: Phase,
    /// The header of the current record; its first `header_bytes` are there.
    header: [u8; RECORD_HEADER_BYTES],
    /// How much of the header has come; the whole once the body is being read.
    header_bytes: usize,
    /// Bytes of the current record's body still to come.
    record_left: usize,
    /// Bytes taken in the current phase, record headers included.
    wire_bytes: usize,
    /// The handshake message being joined, header included.
    message: Vec<u8>,
    /// The message was handed out and is to be forgotten.
    message_spent: bool,
    /// Bytes of a message other than a hello still to be passed over.
    skip: usize,
    /// Bytes that were ever copied into `message`.
    copied: u64,
}

impl HelloStream {
    /// Starts before the first byte of a connection.
    pub fn new(limits: HelloLimits) -> Self {
        Self {
            limits,
            phase: Phase::First,
            header: [0; RECORD_HEADER_BYTES],
            header_bytes: 0,
            record_left: 0,
            wire_bytes: 0,
            message: Vec::new(),
            message_spent: false,
            skip: 0,
            copied: 0,
        }
    }

    /// Takes the next bytes of the client, in order. After a `Hello`, call again with the bytes not consumed, also when
    /// there are none: that call frees the buffer.
    pub fn push<'a>(&'a mut self, bytes: &'a [u8]) -> Step<'a> {
        if let Phase::Over(outcome) = self.phase {
            return Step { outcome, consumed: bytes.len() };
        }
        if self.message_spent {
            self.drop_message();
        }
        if self.phase == Phase::First
            && self.wire_bytes == 0
            && let Some((body, consumed)) = self.whole_hello(bytes)
        {
            let outcome = self.hello(body);
            let hello = matches!(outcome, Outcome::Hello(_));
            return Step { outcome, consumed: if hello { consumed } else { bytes.len() } };
        }
        let mut rest = bytes;
        let complete = loop {
            match self.advance(&mut rest) {
                Advance::Continue => {}
                Advance::Complete => break true,
                Advance::Starved => break false,
                Advance::Over(outcome) => {
                    self.phase = Phase::Over(outcome);
                    self.drop_message();
                    return Step { outcome, consumed: bytes.len() };
                }
            }
        };
        let consumed = bytes.len().saturating_sub(rest.len());
        if !complete {
            return Step { outcome: Outcome::NeedMore, consumed };
        }
        if let Some(outcome) = self.judge_joined() {
            self.drop_message();
            return Step { outcome, consumed: bytes.len() };
        }
        self.message_spent = true;
        Step { outcome: read_body(self.joined_body()), consumed }
    }

    /// How many bytes were copied: 0 when every hello was read where it lay, else at most each handshake byte once.
    pub fn copied_bytes(&self) -> u64 {
        self.copied
    }

    /// Memory held for a hello in pieces, in bytes.
    pub fn buffer_bytes(&self) -> usize {
        self.message.capacity()
    }

    /// The fast path: the stream's first bytes hold a whole hello in one record. Gives its body and what to consume.
    fn whole_hello<'a>(&mut self, bytes: &'a [u8]) -> Option<(&'a [u8], usize)> {
        let (header, rest) = bytes.split_first_chunk::<RECORD_HEADER_BYTES>()?;
        let [HANDSHAKE, VERSION_MAJOR, _, high, low] = *header else { return None };
        let record = usize::from(u16::from_be_bytes([high, low]));
        if record > RECORD_BYTES_MAX {
            return None;
        }
        let here = rest.get(..record).unwrap_or(rest);
        let Message::Hello { body, length } = first_message(here, self.limits.handshake_bytes_max) else {
            return None;
        };
        let consumed = RECORD_HEADER_BYTES.saturating_add(length);
        if consumed > self.limits.wire_bytes_max {
            return None;
        }
        self.header = *header;
        self.header_bytes = RECORD_HEADER_BYTES;
        self.record_left = record.saturating_sub(length);
        Some((body, consumed))
    }

    /// Reads a first hello's body and goes over to watching, or latches what is wrong.
    fn hello<'a>(&mut self, body: &'a [u8]) -> Outcome<'a> {
        let outcome = read_body(body);
        self.phase = after(self.phase, outcome);
        self.wire_bytes = 0;
        outcome
    }

    /// The body of the hello that `message` holds.
    fn joined_body(&self) -> &[u8] {
        self.message.get(MESSAGE_HEADER_BYTES..).unwrap_or_default()
    }

    /// Moves the phase past the hello that `message` holds; gives the outcome if it is final.
    fn judge_joined(&mut self) -> Option<Outcome<'static>> {
        if self.phase == Phase::First {
            self.wire_bytes = 0;
        }
        self.phase = match (after(self.phase, read_body(self.joined_body())), self.phase) {
            // Behind a change_cipher_spec these may be encrypted bytes that looked like a hello; and what no reader
            // can parse is a hello for no server.
            (Phase::Over(Outcome::Malformed { .. }), Phase::Watching { ciphered: true }) => {
                Phase::Over(Outcome::Ended)
            }
            (phase, _) => phase,
        };
        match self.phase {
            Phase::Over(outcome) => Some(outcome),
            Phase::First | Phase::Watching { .. } => None,
        }
    }

    /// Takes as much of `rest` as belongs to one record header or one fragment.
    fn advance(&mut self, rest: &mut &[u8]) -> Advance {
        if rest.is_empty() {
            return Advance::Starved;
        }
        let allowed = self.limits.wire_bytes_max.saturating_sub(self.wire_bytes);
        if allowed == 0 {
            return Advance::Over(Outcome::Oversize);
        }
        if self.record_left == 0 && self.header_bytes == RECORD_HEADER_BYTES {
            self.header_bytes = 0;
        }
        if self.header_bytes < RECORD_HEADER_BYTES {
            return self.header_byte(rest);
        }
        let count = self.record_left.min(allowed).min(rest.len());
        let Some((fragment, _)) = rest.split_at_checked(count) else { return Advance::Starved };
        let [kind, ..] = self.header;
        if kind != HANDSHAKE {
            self.take(rest, count);
            return Advance::Continue;
        }
        self.fragment(fragment, rest)
    }

    /// Takes one byte of a record header; the last one opens the record.
    fn header_byte(&mut self, rest: &mut &[u8]) -> Advance {
        let (Some(byte), Some(place)) = (rest.first(), self.header.get_mut(self.header_bytes)) else {
            return Advance::Starved;
        };
        *place = *byte;
        self.header_bytes = self.header_bytes.saturating_add(1);
        *rest = rest.get(1..).unwrap_or_default();
        self.wire_bytes = self.wire_bytes.saturating_add(1);
        let [kind, major, _, high, low] = self.header;
        match (self.header_bytes, self.phase) {
            (1, _) => self.record_type(kind),
            (2, Phase::First) if major != VERSION_MAJOR => Advance::Over(self.not_a_record()),
            (RECORD_HEADER_BYTES, _) => {
                self.record_left = usize::from(u16::from_be_bytes([high, low]));
                if kind == HANDSHAKE && self.record_left > RECORD_BYTES_MAX {
                    return self.overlong_record();
                }
                Advance::Continue
            }
            _ => Advance::Continue,
        }
    }

    /// Judges the type of a record that begins.
    fn record_type(&mut self, kind: u8) -> Advance {
        match (self.phase, kind) {
            (_, HANDSHAKE) => Advance::Continue,
            (Phase::First, _) => Advance::Over(self.not_a_record()),
            // A hello cut off by another record: no server may join it (RFC 8446 §5.1), but some might.
            (Phase::Watching { ciphered: false }, _) if !self.message.is_empty() && self.is_hello() => {
                Advance::Over(Outcome::Malformed { field: "record type" })
            }
            (_, CHANGE_CIPHER_SPEC) => {
                self.phase = Phase::Watching { ciphered: true };
                self.drop_message();
                Advance::Continue
            }
            (_, ALERT | HEARTBEAT) => {
                self.drop_message();
                Advance::Continue
            }
            // Application data, or nothing that TLS knows.
            _ => Advance::Over(Outcome::Ended),
        }
    }

    /// What a strange record type or version means before the first hello is complete.
    fn not_a_record(&self) -> Outcome<'static> {
        let first_record = self.wire_bytes <= 2;
        if first_record { Outcome::NotTls } else { Outcome::Malformed { field: "record type" } }
    }

    /// A handshake record longer than TLS allows: no server takes it in the clear; encrypted ones have some more.
    fn overlong_record(&self) -> Advance {
        let encrypted = self.phase == Phase::Watching { ciphered: true };
        Advance::Over(if encrypted { Outcome::Ended } else { Outcome::Oversize })
    }

    /// Joins `fragment`, the front of `rest`, as far as it belongs to the current message.
    fn fragment(&mut self, fragment: &[u8], rest: &mut &[u8]) -> Advance {
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
    fn is_hello(&self) -> bool {
        self.message.first() == Some(&CLIENT_HELLO)
    }

    /// Bytes of the message being joined, its header included, once the header is there.
    fn message_length(&self) -> Option<usize> {
        match self.message.as_slice() {
            [_, high, middle, low, ..] => Some(message_length(*high, *middle, *low)),
            _ => None,
        }
    }

    /// Counts `count` bytes of the current record as taken.
    fn take(&mut self, rest: &mut &[u8], count: usize) {
        *rest = rest.get(count..).unwrap_or_default();
        self.record_left = self.record_left.saturating_sub(count);
        self.wire_bytes = self.wire_bytes.saturating_add(count);
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
    fn drop_message(&mut self) {
        self.message = Vec::new();
        self.message_spent = false;
    }
}

/// What one move over the bytes came to.
enum Advance {
    /// Go on with what is left.
    Continue,
    /// `message` holds a whole hello.
    Complete,
    /// The bytes are used up.
    Starved,
    /// Nothing more will be learnt.
    Over(Outcome<'static>),
}

/// The phase that follows a complete hello: watching goes on after a well-formed one, anything else is latched.
fn after(phase: Phase, outcome: Outcome<'_>) -> Phase {
    match (outcome, phase) {
        (Outcome::Hello(_), Phase::First) => Phase::Watching { ciphered: false },
        (Outcome::Hello(_) | Outcome::NeedMore, phase) => phase,
        (Outcome::Ended, _) => Phase::Over(Outcome::Ended),
        (Outcome::Malformed { field }, _) => Phase::Over(Outcome::Malformed { field }),
        (Outcome::Ambiguous, _) => Phase::Over(Outcome::Ambiguous),
        (Outcome::Oversize, _) => Phase::Over(Outcome::Oversize),
        (Outcome::NotTls, _) => Phase::Over(Outcome::NotTls),
    }
}

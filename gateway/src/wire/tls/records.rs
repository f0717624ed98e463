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

mod layer;
mod message;

use super::{MESSAGE_HEADER_BYTES, Message, Outcome, first_message, read_body};

/// Type, version and length in front of a record, RFC 8446 §5.1.
const RECORD_HEADER_BYTES: usize = 5;
/// The longest `TLSPlaintext.fragment`, RFC 8446 §5.1.
const RECORD_BYTES_MAX: usize = 1 << 14;
/// `ContentType handshake`.
const HANDSHAKE: u8 = 22;
/// `legacy_record_version` of every TLS and of SSL 3 begins with this.
const VERSION_MAJOR: u8 = 3;

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

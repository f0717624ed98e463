//! The name of a flow, from the client's first bytes.
//!
//! [`Identifier`] takes what the client sent over TCP, in order and in any cutting; [`QuicIdentifier`] takes the client's
//! datagrams. Both say which name it asks for or why it has none. What is unclear has no name and a reason, never a
//! guess. They do not judge the name: whether it is listed, vouched for or the cover name of hidden ones is decided above.
//!
//! A TLS name is known with the first hello and may be contradicted by a second one, up to the client's first
//! application data (trap T5); an HTTP name is that of the first request alone (H2). Sections: see
//! [`crate::wire::tls`] and [`crate::wire::http1`].
//!
//! Memory: nothing is held for a hello or head that comes in one piece, nothing once the name is known; in between at
//! most the cap of the hello or head. The deadline is the caller's to keep: it is absolute, armed once.

mod naming;
mod quic;

use allowlist::DomainName;
use billing_export::Reason;

pub use self::quic::QuicIdentifier;
pub use crate::wire::tls::Ech;

use self::naming::{Naming, host_name};
use crate::wire::{http1, tls};

/// The first byte of a TLS handshake record, RFC 8446 §5.1.
const TLS_HANDSHAKE_RECORD: u8 = 22;

/// Where a name was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SeenIn {
    /// The server_name extension of a TLS hello over TCP.
    TlsSni,
    /// The server_name extension of a TLS hello in QUIC.
    QuicSni,
    /// The host of an HTTP/1 request.
    HttpHost,
}

impl SeenIn {
    /// The word that `classify` prints.
    pub fn label(self) -> &'static str {
        match self {
            Self::TlsSni => "tls_sni",
            Self::QuicSni => "quic_sni",
            Self::HttpHost => "http_host",
        }
    }
}

/// What a flow is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The name the client asked for first; `None` when it is unreadable or there is none.
    pub name: Option<DomainName>,
    /// Where the name was read; `None` whenever there is no name.
    pub seen_in: Option<SeenIn>,
    /// Why the name is missing, or why it does not hold (`second_name`, or what a second hello had wrong).
    pub gave_up: Option<Reason>,
    /// The encrypted_client_hello extension of the first hello; it decides nothing here, for GREASE looks alike.
    pub ech: Option<Ech>,
}

impl Identity {
    /// That of a flow without a name.
    pub fn nameless(reason: Reason) -> Self {
        Self { name: None, seen_in: None, gave_up: Some(reason), ech: None }
    }
}

/// How much of a flow is read for its name; the defaults are those of `[limits]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdentifyLimits {
    /// Bytes of one hello without record headers; the memory a flow may take.
    pub hello_handshake_bytes_max: usize,
    /// Bytes of the stream up to the end of a hello, record headers included.
    pub hello_wire_bytes_max: usize,
    /// Bytes of an HTTP request head; the memory a flow may take.
    pub http_head_bytes_max: usize,
    /// Lines of an HTTP request head, without the request line.
    pub http_headers_max: usize,
}

impl Default for IdentifyLimits {
    fn default() -> Self {
        Self {
            hello_handshake_bytes_max: 16 * 1024,
            hello_wire_bytes_max: 32 * 1024,
            http_head_bytes_max: 16 * 1024,
            http_headers_max: 100,
        }
    }
}

/// How far the name is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Not yet.
    Undecided,
    /// There is a name; a later byte may still contradict it, so go on feeding.
    Identified,
    /// Final; feed nothing more.
    Settled,
}

/// Reads the client's bytes of one TCP flow. No `Debug`: it holds what a subscriber sent.
pub struct Identifier {
    /// The reader at work.
    reading: Reading,
    /// What is known.
    naming: Naming,
    /// What the first bytes look like.
    protocol: Option<SeenIn>,
}

/// Which reader is at work.
enum Reading {
    /// None, for no byte has come.
    Nothing(IdentifyLimits),
    /// The hello reader; on the watch for a second hello once there is a name.
    Tls(tls::HelloStream),
    /// The request head reader.
    Http(http1::HeadReader),
    /// None any more.
    Settled,
}

impl Identifier {
    /// Starts before the first byte of a flow.
    pub fn new(limits: &IdentifyLimits) -> Self {
        Self { reading: Reading::Nothing(*limits), naming: Naming::default(), protocol: None }
    }

    /// Takes the client's next bytes, in order. Bytes after `Settled` are ignored.
    pub fn observe(&mut self, bytes: &[u8]) -> Progress {
        if let (Reading::Nothing(limits), Some(first)) = (&self.reading, bytes.first()) {
            self.reading = reader_for(*first, limits);
        }
        match &mut self.reading {
            Reading::Nothing(_) => Progress::Undecided,
            Reading::Tls(_) => self.observe_tls(bytes),
            Reading::Http(reader) => {
                let outcome = reader.push(bytes);
                let verdict = head_verdict(outcome);
                if reader.looks_like_http() {
                    self.protocol = Some(SeenIn::HttpHost);
                }
                match verdict {
                    Some(name) => self.settle(name, SeenIn::HttpHost),
                    None => Progress::Undecided,
                }
            }
            Reading::Settled => Progress::Settled,
        }
    }

    /// The absolute deadline has passed: without a name the flow is settled as timed out, whether bytes came or not. A
    /// name stays known, and the watch for a second one goes on: it costs nothing while nothing comes.
    pub fn deadline(&mut self) -> Progress {
        match (&self.reading, self.naming.identity()) {
            (Reading::Settled, _) => Progress::Settled,
            (_, Some(_)) => Progress::Identified,
            (_, None) => self.give_up(Reason::Timeout),
        }
    }

    /// The client sends nothing more: what is incomplete stays so.
    pub fn finish(&mut self) -> Progress {
        if self.naming.identity().is_some() {
            self.reading = Reading::Settled;
            return Progress::Settled;
        }
        let name = match &self.reading {
            Reading::Http(reader) => head_verdict(reader.cut_short()),
            Reading::Nothing(_) | Reading::Tls(_) | Reading::Settled => None,
        };
        self.settle(name.unwrap_or(Err(Reason::Undecided)), SeenIn::HttpHost)
    }

    /// What the flow is called; `None` while undecided.
    pub fn identity(&self) -> Option<&Identity> {
        self.naming.identity()
    }

    /// The protocol that the first bytes look like, as soon as they do.
    pub fn protocol(&self) -> Option<SeenIn> {
        self.protocol
    }

    /// Memory held beyond the value itself, in bytes.
    pub fn buffer_bytes(&self) -> usize {
        match &self.reading {
            Reading::Tls(stream) => stream.buffer_bytes(),
            Reading::Http(reader) => reader.buffer_bytes(),
            Reading::Nothing(_) | Reading::Settled => 0,
        }
    }

    /// Feeds the hello reader until it wants more than `bytes` has.
    fn observe_tls(&mut self, bytes: &[u8]) -> Progress {
        self.protocol = Some(SeenIn::TlsSni);
        let mut rest = bytes;
        loop {
            let Reading::Tls(stream) = &mut self.reading else { return Progress::Settled };
            let step = stream.push(rest);
            let consumed = step.consumed;
            let reason = match step.outcome {
                tls::Outcome::NeedMore => {
                    return if self.naming.identity().is_some() {
                        Progress::Identified
                    } else {
                        Progress::Undecided
                    };
                }
                tls::Outcome::Hello(facts) => {
                    if !self.naming.hello(facts, SeenIn::TlsSni) {
                        self.reading = Reading::Settled;
                        return Progress::Settled;
                    }
                    rest = rest.get(consumed..).unwrap_or_default();
                    continue;
                }
                tls::Outcome::Ended => {
                    self.reading = Reading::Settled;
                    return Progress::Settled;
                }
                tls::Outcome::Malformed { .. } => Reason::Malformed,
                tls::Outcome::Ambiguous => Reason::Ambiguous,
                tls::Outcome::Oversize => Reason::Oversize,
                tls::Outcome::NotTls => {
                    self.protocol = None;
                    Reason::NotRecognised
                }
            };
            return self.give_up(reason);
        }
    }

    /// Ends the reading with a name or the reason for none.
    fn settle(&mut self, name: Result<DomainName, Reason>, seen_in: SeenIn) -> Progress {
        self.reading = Reading::Settled;
        self.naming.settle(name, seen_in, None);
        Progress::Settled
    }

    /// Ends the reading for a reason; a name that is known is kept beside it.
    fn give_up(&mut self, reason: Reason) -> Progress {
        self.reading = Reading::Settled;
        self.naming.give_up(reason);
        Progress::Settled
    }
}

/// The reader for a flow that begins with this byte.
fn reader_for(first: u8, limits: &IdentifyLimits) -> Reading {
    if first == TLS_HANDSHAKE_RECORD {
        return Reading::Tls(tls::HelloStream::new(tls::HelloLimits {
            handshake_bytes_max: limits.hello_handshake_bytes_max,
            wire_bytes_max: limits.hello_wire_bytes_max,
        }));
    }
    Reading::Http(http1::HeadReader::new(http1::HeadLimits {
        head_bytes_max: limits.http_head_bytes_max,
        headers_max: limits.http_headers_max,
    }))
}

/// The name or reason that a request head comes to; `None` while it is incomplete.
fn head_verdict(outcome: http1::Outcome<'_>) -> Option<Result<DomainName, Reason>> {
    match outcome {
        http1::Outcome::NeedMore => None,
        http1::Outcome::Request(facts) => Some(host_name(facts.name)),
        http1::Outcome::Malformed { .. } => Some(Err(Reason::Malformed)),
        http1::Outcome::Ambiguous => Some(Err(Reason::Ambiguous)),
        http1::Outcome::Oversize => Some(Err(Reason::Oversize)),
        http1::Outcome::NotHttp => Some(Err(Reason::NotRecognised)),
    }
}

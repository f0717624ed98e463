//! What a flow says it is called: the reader of names at work on its bytes, and what came of it.
//!
//! The readers themselves are [`crate::flow::identify`]'s. Here stands when what they found is enough for a verdict: a stream's
//! name when no second hello can follow, a datagram's at once, for datagrams have no such point.

use billing_export::Reason;

use crate::flow::identify::{Identifier, IdentifyLimits, Identity, Progress, QuicIdentifier, SeenIn};
use crate::wire::quic::QuicLimits;

/// How the first bytes of a flow were carried, for the `protocol` label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProtocolLabel {
    /// TLS over TCP.
    Tls,
    /// HTTP/1 over TCP.
    Http,
    /// TCP that is neither.
    Tcp,
    /// QUIC over UDP.
    Quic,
    /// UDP that is not.
    Udp,
}

impl ProtocolLabel {
    /// The label's value.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Tcp => "tcp",
            Self::Quic => "quic",
            Self::Udp => "udp",
        }
    }

    /// Of a TCP flow that looks like this.
    pub const fn of_stream(seen: Option<SeenIn>) -> Self {
        match seen {
            Some(SeenIn::TlsSni | SeenIn::QuicSni) => Self::Tls,
            Some(SeenIn::HttpHost) => Self::Http,
            None => Self::Tcp,
        }
    }

    /// Of a UDP flow that looks like this.
    pub const fn of_datagrams(seen: Option<SeenIn>) -> Self {
        match seen {
            Some(SeenIn::QuicSni | SeenIn::TlsSni | SeenIn::HttpHost) => Self::Quic,
            None => Self::Udp,
        }
    }
}

/// The reader of names at work.
enum Reader {
    /// Of a TCP stream.
    Stream(Box<Identifier>),
    /// Of UDP datagrams; on the watch for a second name once there is one.
    Datagrams(Box<QuicIdentifier>),
    /// Of UDP datagrams whose name came from the flow they continue; on the watch for another.
    Inherited(Box<QuicIdentifier>),
}

/// What the client's bytes have come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Nothing that was not known.
    None,
    /// A name, which a second hello may yet contradict.
    Name,
    /// Enough for a verdict, or what overturns one.
    Verdict,
}

/// What a flow says it is called, as it becomes known. No `Debug`: it holds what a subscriber sent.
pub struct Claim {
    /// Reads the client's bytes while they may still say something.
    reader: Option<Reader>,
    /// What it said, once known.
    identity: Option<Identity>,
    /// What the first bytes looked like.
    protocol: ProtocolLabel,
}

/// The bit of a QUIC datagram's first byte that says long header (RFC 8999 §5.1).
const LONG_HEADER_BIT: u8 = 0x80;

/// Whether the datagram begins with a QUIC long header, if it is QUIC at all.
pub fn has_long_header(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| first & LONG_HEADER_BIT != 0)
}

impl Claim {
    /// That of a TCP stream of which no byte has come.
    pub fn of_stream(limits: &IdentifyLimits) -> Self {
        let reader = Reader::Stream(Box::new(Identifier::new(limits)));
        Self { reader: Some(reader), identity: None, protocol: ProtocolLabel::Tcp }
    }

    /// That of UDP of which no datagram has come.
    pub fn of_datagrams(limits: &QuicLimits) -> Self {
        let reader = Reader::Datagrams(Box::new(QuicIdentifier::new(limits)));
        Self { reader: Some(reader), identity: None, protocol: ProtocolLabel::Udp }
    }

    /// The same of a flow that is carried unread, for `reason`.
    #[must_use]
    pub fn unread(self, reason: Reason) -> Self {
        Self { reader: None, identity: Some(Identity::nameless(reason)), ..self }
    }

    /// What is known.
    pub const fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// What the first bytes looked like.
    pub const fn protocol(&self) -> ProtocolLabel {
        self.protocol
    }

    /// Whether the subscriber's next bytes may still say something.
    pub const fn is_observed(&self) -> bool {
        self.reader.is_some()
    }

    /// Whether the name is known well enough for a verdict.
    pub const fn is_readable(&self) -> bool {
        match &self.reader {
            Some(Reader::Stream(_)) => false,
            Some(Reader::Datagrams(_) | Reader::Inherited(_)) | None => self.identity.is_some(),
        }
    }

    /// Memory the reader of names holds beyond the value itself, in bytes.
    pub fn reader_bytes(&self) -> usize {
        match &self.reader {
            Some(Reader::Stream(reader)) => reader.buffer_bytes(),
            Some(Reader::Datagrams(reader) | Reader::Inherited(reader)) => reader.buffer_bytes(),
            None => 0,
        }
    }

    /// Takes bytes of the client: of a stream, or one datagram.
    pub fn observe(&mut self, bytes: &[u8]) -> News {
        let Some(reader) = &mut self.reader else { return News::None };
        let (progress, found, is_judged_at_once) = match reader {
            Reader::Stream(reader) => {
                let progress = reader.observe(bytes);
                self.protocol = ProtocolLabel::of_stream(reader.protocol());
                (progress, reader.identity(), false)
            }
            Reader::Datagrams(reader) => {
                let progress = reader.observe(bytes);
                self.protocol = ProtocolLabel::of_datagrams(reader.protocol());
                (progress, reader.identity(), true)
            }
            Reader::Inherited(reader) => {
                // The flow goes on in the middle of a connection: only a new hello says anything.
                if !has_long_header(bytes) {
                    return News::None;
                }
                let progress = reader.observe(bytes);
                return self.compare(progress);
            }
        };
        match progress {
            Progress::Undecided => News::None,
            Progress::Identified if self.identity.is_some() => News::None,
            Progress::Identified => {
                self.identity = found.cloned();
                if is_judged_at_once { News::Verdict } else { News::Name }
            }
            Progress::Settled => {
                self.identity = found.cloned();
                self.reader = None;
                News::Verdict
            }
        }
    }

    /// Compares the name of a hello on a flow that inherited one: where they differ, the name no longer holds.
    fn compare(&mut self, progress: Progress) -> News {
        let Some(Reader::Inherited(reader)) = &self.reader else { return News::None };
        let Some(found) = reader.identity() else { return News::None };
        let Some(own) = &mut self.identity else { return News::None };
        let differs = found.name != own.name || found.gave_up.is_some();
        if differs {
            own.gave_up = Some(found.gave_up.unwrap_or(Reason::SecondName));
        }
        if differs || progress == Progress::Settled {
            self.reader = None;
        }
        if differs { News::Verdict } else { News::None }
    }

    /// The time for a name is over; the watch for a second one goes on.
    pub fn deadline(&mut self) {
        let (progress, found) = match &mut self.reader {
            Some(Reader::Stream(reader)) => (reader.deadline(), reader.identity()),
            Some(Reader::Datagrams(reader)) => (reader.deadline(), reader.identity()),
            Some(Reader::Inherited(_)) | None => return,
        };
        self.identity = found.cloned();
        if progress == Progress::Settled {
            self.reader = None;
        }
    }

    /// The subscriber sends nothing more: a name that is not complete will not be.
    pub fn finish(&mut self) -> News {
        match self.reader.take() {
            None => return News::None,
            Some(Reader::Stream(mut reader)) => {
                reader.finish();
                self.identity = reader.identity().cloned();
            }
            Some(Reader::Datagrams(mut reader)) => {
                reader.finish();
                self.identity = reader.identity().cloned();
            }
            Some(Reader::Inherited(_)) => {}
        }
        News::Verdict
    }

    /// The flow goes on where one of this name stopped: nothing is read but a hello that contradicts it.
    pub fn inherit(&mut self, identity: Identity) {
        (self.reader, self.protocol) = match self.reader.take() {
            Some(Reader::Datagrams(reader) | Reader::Inherited(reader)) => {
                (Some(Reader::Inherited(reader)), ProtocolLabel::of_datagrams(identity.seen_in))
            }
            // A stream says its name once, and that was read before.
            Some(Reader::Stream(_)) => (None, ProtocolLabel::of_stream(identity.seen_in)),
            None => (None, self.protocol),
        };
        self.identity = Some(identity);
    }

    /// Nothing more is read, for `reason`; a name that is known, and an older reason, stay beside it.
    pub fn stop(&mut self, reason: Reason) {
        self.reader = None;
        self.identity.get_or_insert_with(|| Identity::nameless(reason)).gave_up.get_or_insert(reason);
    }
}

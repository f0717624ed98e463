//! QUIC: which name the client asks for, from the datagrams it sends.
//!
//! The first packets of a connection, the Initials, are encrypted with keys that follow from the connection id their
//! client chose first, so that everyone on the path can open them; the handshake in them begins with the same
//! ClientHello as over TCP ([`crate::wire::tls`]). [`InitialReader`] opens the Initials of one client, joins the pieces
//! of the hello over packets and datagrams, and goes on watching for another hello. It decrypts nothing else. [`negotiation`]
//! writes what a server answers to a version that it does not know.
//!
//! Rules, each found by experiment or in another product's issues. The fixed bit may be anything (RFC 9287). Packets
//! that share a datagram are walked by their Length. The keys of the flow are tried first, for later Initials carry the
//! connection id of the server; then those of this packet's connection id (after a Retry, or when the first datagram
//! was never seen), and the hello is joined anew. After a compatible negotiation (RFC 9368) the keys follow from the
//! first connection id and the new version. A datagram is understood as a whole before a hello in it is believed, so
//! that pieces that contradict each other are ambiguous in any order.
//!
//! Residuals, bounded by the check of the address: what repeats the bytes of a hello that was already read is compared
//! by its name, once it is complete; a server may refuse what is read here (a datagram under 1,200 bytes, RFC 9000
//! §14.1).
//!
//! Sections: RFC 8999, RFC 9000 §5.2, §7.5, §12.2, §14, §17.2, §19; RFC 9001 §5; RFC 9369; drafts 29 to 34.

mod connection;
mod crypto;
mod frame;
mod header;
mod open;

pub use header::{ConnectionId, negotiation};

use self::connection::Connection;
use self::frame::{Crypto, CryptoFrames};
use self::header::{Front, Kind, Packet};
use super::tls;

/// How much of a client's datagrams is read for a hello; the defaults are those of `[limits]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuicLimits {
    /// Handshake bytes of one hello, and of all that is held at a time; more than 65,535 count as that.
    pub crypto_bytes_max: usize,
    /// CRYPTO frames that bring anything new, up to the end of a hello.
    pub fragments_max: usize,
    /// Datagrams up to the end of the first hello.
    pub datagrams_max: usize,
    /// Derivations of keys in the life of a flow.
    pub key_derivations_max: usize,
}

impl Default for QuicLimits {
    fn default() -> Self {
        Self { crypto_bytes_max: 16 * 1024, fragments_max: 128, datagrams_max: 10, key_derivations_max: 3 }
    }
}

/// What a client's datagrams so far come to. All but `NeedMore` are final: every later call gives them again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// No complete hello yet, or (after the first) nothing that matters yet.
    NeedMore,
    /// Whoever is told of the hellos wants no more of them.
    Ended,
    /// The handshake begins with something else than a well-formed ClientHello.
    Malformed {
        /// The field that breaks the format.
        field: &'static str,
    },
    /// Two names in one hello, pieces that disagree, or (after a hello) Initials that nobody here can open.
    Ambiguous,
    /// Over one of the limits.
    Oversize,
    /// The first datagram is no QUIC, or none of the first ones is of a version that is read.
    NotQuic,
}

/// How much the datagrams so far look like QUIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looks {
    /// None has come, or it does not.
    Strange,
    /// Like a version that is not read; one that is may follow on its heels.
    Foreign,
    /// Like a version that is read.
    Readable,
}

/// Reads the hellos in the datagrams of one client. No `Debug`: it may hold a name.
pub struct InitialReader {
    /// The caps.
    limits: QuicLimits,
    /// What was learnt about the connections tried; never more than there are derivations.
    connections: Vec<Connection>,
    /// Derivations so far.
    derivations: usize,
    /// Datagrams so far, as far as they count.
    datagrams: usize,
    /// CRYPTO frames that brought anything new since the last hello.
    fragments: usize,
    /// What the datagrams look like.
    looks: Looks,
    /// An Initial was opened.
    opened: bool,
    /// A hello was read.
    watching: bool,
    /// The final outcome.
    over: Option<Outcome>,
}

impl InitialReader {
    /// Starts before the first datagram of a flow.
    pub fn new(limits: QuicLimits) -> Self {
        Self {
            limits,
            connections: Vec::new(),
            derivations: 0,
            datagrams: 0,
            fragments: 0,
            looks: Looks::Strange,
            opened: false,
            watching: false,
            over: None,
        }
    }

    /// Takes the client's next datagram, without UDP header; calls `heard` with each hello that it completes, until that
    /// answers `false`.
    pub fn push(&mut self, datagram: &[u8], mut heard: impl FnMut(tls::Facts<'_>) -> bool) -> Outcome {
        if let Some(outcome) = self.over {
            return outcome;
        }
        if self.watching && header::is_short(datagram) {
            return Outcome::NeedMore;
        }
        match self.datagram(datagram).and_then(|()| self.hellos(&mut heard)) {
            Ok(()) => Outcome::NeedMore,
            Err(outcome) => {
                self.stop();
                self.over = Some(outcome);
                outcome
            }
        }
    }

    /// Reads no further and lets go of what it holds.
    pub fn stop(&mut self) {
        self.over.get_or_insert(Outcome::Ended);
        self.connections = Vec::new();
    }

    /// Whether a datagram looked like QUIC of any version.
    pub fn looks_like_quic(&self) -> bool {
        self.looks != Looks::Strange
    }

    /// Whether a datagram looked like QUIC of a version that is read.
    pub fn is_readable(&self) -> bool {
        self.looks == Looks::Readable
    }

    /// Whether an Initial was opened: only those of a client can be.
    pub fn has_opened(&self) -> bool {
        self.opened
    }

    /// Memory held beyond the value itself, in bytes.
    pub fn buffer_bytes(&self) -> usize {
        let table = self.connections.capacity().saturating_mul(size_of::<Connection>());
        self.connections.iter().map(Connection::heap_bytes).fold(table, usize::saturating_add)
    }

    /// Takes the handshake bytes out of a datagram.
    fn datagram(&mut self, datagram: &[u8]) -> Result<(), Outcome> {
        if !self.watching {
            if self.datagrams >= self.limits.datagrams_max {
                return Err(if self.is_readable() { Outcome::Oversize } else { Outcome::NotQuic });
            }
            self.datagrams = self.datagrams.saturating_add(1);
        }
        let proven_before = self.newest();
        let (mut rest, mut copy) = (datagram, Vec::new());
        loop {
            match header::front(rest) {
                Front::Packet { packet, rest: behind } => {
                    self.looks = Looks::Readable;
                    if packet.kind == Kind::Initial {
                        self.initial(&packet, &mut copy)?;
                    }
                    rest = behind;
                }
                Front::Unwalkable => {
                    self.looks = Looks::Readable;
                    break;
                }
                Front::Foreign => {
                    if self.looks == Looks::Strange {
                        self.looks = Looks::Foreign;
                    }
                    break;
                }
                Front::Other => break,
            }
        }
        if self.looks == Looks::Strange {
            return Err(Outcome::NotQuic);
        }
        if !self.watching && self.newest() != proven_before {
            self.start_anew();
        }
        Ok(())
    }

    /// The newest connection that a packet was opened of.
    fn newest(&self) -> Option<usize> {
        self.connections.iter().rposition(|connection| connection.proven)
    }

    /// The client has begun again: what it said on older connections will not be completed.
    fn start_anew(&mut self) {
        let newest = self.newest();
        for (index, connection) in self.connections.iter_mut().enumerate() {
            if newest != Some(index) {
                connection.forget_partial();
            }
        }
    }

    /// Opens an Initial and takes its handshake bytes; one that cannot be opened is passed over.
    fn initial(&mut self, packet: &Packet<'_>, copy: &mut Vec<u8>) -> Result<(), Outcome> {
        let Some(index) = self.keys_for(packet, copy)? else { return Ok(()) };
        for frame in CryptoFrames::new(copy.as_slice()) {
            self.crypto(index, frame)?;
        }
        Ok(())
    }

    /// Opens an Initial with the keys that are there, else with such as may be derived for it, and leaves its frames
    /// in `copy`; says which connection it belongs to.
    fn keys_for(&mut self, packet: &Packet<'_>, copy: &mut Vec<u8>) -> Result<Option<usize>, Outcome> {
        let known = self.connections.iter().rposition(|connection| connection.open(packet, copy));
        if let Some(index) = known {
            return Ok(self.prove(index));
        }
        // aioquic 1.7 acknowledges the server's first packets in the version that was negotiated with the keys of the first
        // one. Before a hello was read nothing is taken so: a server that is right drops it.
        if self.watching {
            let open = |known: &Connection| known.open_in_another_version(packet, copy);
            if let Some(index) = self.connections.iter().rposition(open) {
                return Ok(self.prove(index));
            }
        }
        // The same connection may go on in another version; its connection id is the server's by then.
        if let Some(index) = self.newest()
            && self.connections.get(index).is_some_and(|connection| !connection.has(packet.version))
            && self.derive(index, packet, copy)?
        {
            return Ok(self.prove(index));
        }
        let tried =
            self.connections.iter().position(|connection| connection.starts_with(&packet.destination));
        let index = match tried {
            Some(index) if self.connections.get(index).is_some_and(|known| known.has(packet.version)) => {
                return Ok(None);
            }
            Some(index) => index,
            None => {
                self.connections.reserve_exact(1);
                self.connections.push(Connection::new(packet.destination));
                self.connections.len().saturating_sub(1)
            }
        };
        Ok(if self.derive(index, packet, copy)? { self.prove(index) } else { None })
    }

    /// Notes that a packet of this connection was opened.
    fn prove(&mut self, index: usize) -> Option<usize> {
        self.connections.get_mut(index)?.proven = true;
        self.opened = true;
        Some(index)
    }

    /// Derives a connection's keys of the packet's version, if one more derivation is allowed, and tries them.
    fn derive(&mut self, index: usize, packet: &Packet<'_>, copy: &mut Vec<u8>) -> Result<bool, Outcome> {
        if self.derivations >= self.limits.key_derivations_max {
            return Err(if self.watching { Outcome::Ambiguous } else { Outcome::Oversize });
        }
        self.derivations = self.derivations.saturating_add(1);
        let Some(connection) = self.connections.get_mut(index) else { return Ok(false) };
        connection.derive(packet.version);
        Ok(connection.open(packet, copy))
    }

    /// Puts the bytes of a frame into the handshake stream of a connection.
    fn crypto(&mut self, index: usize, frame: Crypto<'_>) -> Result<(), Outcome> {
        let crypto_bytes_max = self.crypto_bytes_max();
        let Some(connection) = self.connections.get_mut(index) else { return Ok(()) };
        if connection.put(frame, crypto_bytes_max, self.limits.fragments_max)? {
            self.fragments = self.fragments.saturating_add(1);
            let held = self.connections.iter().map(Connection::held_bytes).fold(0, usize::saturating_add);
            if self.fragments > self.limits.fragments_max || held > usize::from(crypto_bytes_max) {
                return Err(Outcome::Oversize);
            }
        }
        Ok(())
    }

    /// The cap of a hello as a place in a stream.
    fn crypto_bytes_max(&self) -> u16 {
        u16::try_from(self.limits.crypto_bytes_max).unwrap_or(u16::MAX)
    }

    /// Tells of the hellos that are complete, the older connections' first.
    fn hellos(&mut self, heard: &mut impl FnMut(tls::Facts<'_>) -> bool) -> Result<(), Outcome> {
        let crypto_bytes_max = self.crypto_bytes_max();
        for connection in &mut self.connections {
            while connection.hello(crypto_bytes_max, heard)? {
                (self.watching, self.fragments) = (true, 0);
            }
        }
        Ok(())
    }
}

/// The connection id that a server chose for itself, from one of its Initial or Handshake packets; `None` from other
/// datagrams, and when it is empty, for then it tells nothing.
pub fn server_connection_id(datagram: &[u8]) -> Option<ConnectionId> {
    match header::front(datagram) {
        Front::Packet { packet, .. } if !packet.source.as_bytes().is_empty() => match packet.kind {
            Kind::Initial | Kind::Handshake => Some(packet.source),
            Kind::ZeroRtt => None,
        },
        Front::Packet { .. } | Front::Unwalkable | Front::Foreign | Front::Other => None,
    }
}

/// Whether a datagram cannot be the first of a connection: it has a short header, if it is QUIC at all, or belongs to the end of
/// the handshake.
pub fn is_within_connection(datagram: &[u8]) -> bool {
    match header::front(datagram) {
        Front::Packet { packet, .. } => match packet.kind {
            Kind::Handshake => true,
            Kind::Initial | Kind::ZeroRtt => false,
        },
        Front::Other => header::is_short(datagram),
        Front::Unwalkable | Front::Foreign => false,
    }
}

/// Whether a datagram is addressed to this connection id, which the server chose: whoever sends it has received what the
/// server sent (RFC 8999 §5.1 and §5.2, RFC 9000 §8.1).
pub fn is_addressed_to(datagram: &[u8], id: &ConnectionId) -> bool {
    if header::is_short(datagram) {
        return short_header_starts_with(datagram, id);
    }
    let [.., length] = match datagram.first_chunk::<6>() {
        Some(front) => *front,
        None => return false,
    };
    let id = id.as_bytes();
    usize::from(length) == id.len()
        && !id.is_empty()
        && datagram.get(6..).is_some_and(|behind| behind.starts_with(id))
}

/// Whether a datagram has a short header (RFC 9000 §17.3.1) that is addressed to this connection id.
pub fn short_header_starts_with(datagram: &[u8], id: &ConnectionId) -> bool {
    let id = id.as_bytes();
    !id.is_empty()
        && header::is_short(datagram)
        && datagram.get(1..).is_some_and(|behind| behind.starts_with(id))
}

//! Reads the hellos in the datagrams of one client: opens its Initials, joins the pieces of a hello, and watches for another.

use super::connection::Connection;
use super::frame::{Crypto, CryptoFrames};
use super::header::{self, Front, Kind, Packet};
use super::{Outcome, QuicLimits};
use crate::wire::tls;

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

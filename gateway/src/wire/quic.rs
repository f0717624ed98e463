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

mod addressed;
mod connection;
mod crypto;
mod frame;
mod header;
mod open;
mod reader;

pub use addressed::{is_addressed_to, is_within_connection, server_connection_id, short_header_starts_with};
pub use header::{ConnectionId, negotiation};
pub use reader::InitialReader;

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

//! One connection of a client: its keys, and its handshake bytes from the last hello on.
//!
//! After a hello nothing is held but the keys. What comes then is joined again from where it belongs: over the hellos
//! that were read, or behind them, as the second hello after a HelloRetryRequest (RFC 8446 §4.1.4) stands.

use super::Outcome;
use super::crypto::{Conflict, CryptoStream};
use super::frame::Crypto;
use super::header::{ConnectionId, Packet, Version};
use super::open::InitialKeys;
use crate::wire::tls;

/// One connection that the client's packets may belong to.
pub(super) struct Connection {
    /// The connection id its keys follow from.
    origin: ConnectionId,
    /// Its keys, one for each version tried.
    keys: Vec<InitialKeys>,
    /// A packet was opened with them.
    pub(super) proven: bool,
    /// Where the hellos that were read end in its handshake stream.
    read_to: u16,
    /// What came of the stream since: behind them, or over them.
    stream: Option<CryptoStream>,
}

impl Connection {
    /// A connection whose client first wrote to `origin`, without keys.
    pub(super) fn new(origin: ConnectionId) -> Self {
        Self { origin, keys: Vec::new(), proven: false, read_to: 0, stream: None }
    }

    /// Whether its keys follow from this connection id.
    pub(super) fn starts_with(&self, origin: &ConnectionId) -> bool {
        self.origin == *origin
    }

    /// Derives its keys of one more version.
    pub(super) fn derive(&mut self, version: Version) {
        self.keys.reserve_exact(1);
        self.keys.extend(InitialKeys::derive(&self.origin, version));
    }

    /// Whether keys of this version were derived.
    pub(super) fn has(&self, version: Version) -> bool {
        self.keys.iter().any(|keys| keys.version == version)
    }

    /// Opens a packet; leaves its frames in `copy`.
    pub(super) fn open(&self, packet: &Packet<'_>, copy: &mut Vec<u8>) -> bool {
        let mut keys = self.keys.iter().filter(|keys| keys.version == packet.version);
        keys.any(|keys| keys.open(packet, copy))
    }

    /// Opens a packet with the keys of another version than it says it is of.
    pub(super) fn open_in_another_version(&self, packet: &Packet<'_>, copy: &mut Vec<u8>) -> bool {
        let mut keys = self.keys.iter().filter(|keys| keys.version != packet.version);
        keys.any(|keys| keys.open(packet, copy))
    }

    /// Takes the bytes of a frame; says whether they brought anything new.
    pub(super) fn put(
        &mut self,
        frame: Crypto<'_>,
        crypto_bytes_max: u16,
        fragments_max: usize,
    ) -> Result<bool, Outcome> {
        if frame.data.is_empty() {
            return Ok(false);
        }
        let end = u64::try_from(frame.data.len()).ok().and_then(|length| frame.offset.checked_add(length));
        let end_max = u64::from(self.read_to.saturating_add(crypto_bytes_max));
        let (Ok(from), true) = (u16::try_from(frame.offset), end.is_some_and(|end| end <= end_max)) else {
            return Err(Outcome::Oversize);
        };
        let stream = self.stream.get_or_insert_with(|| CryptoStream::new(crypto_bytes_max, fragments_max));
        stream.insert(from, frame.data).map_err(|Conflict| Outcome::Ambiguous)
    }

    /// Lets go of what is not a whole message.
    pub(super) fn forget_partial(&mut self) {
        if self.stream.as_ref().is_some_and(|stream| is_partial(stream, 0)) {
            self.stream = None;
        }
    }

    /// Tells of one complete hello, if there is one: over those that were read, or behind them.
    pub(super) fn hello(
        &mut self,
        crypto_bytes_max: u16,
        heard: &mut impl FnMut(tls::Facts<'_>) -> bool,
    ) -> Result<bool, Outcome> {
        let Some(stream) = &self.stream else { return Ok(false) };
        let repeats = stream.has_below(self.read_to);
        if repeats && let Some(end) = hello_at(stream, 0, crypto_bytes_max, heard)? {
            self.stream = stream.behind(end.max(self.read_to));
            return Ok(true);
        }
        match hello_at(stream, self.read_to, crypto_bytes_max, heard) {
            Ok(Some(end)) => {
                self.stream = stream.behind(end);
                self.read_to = end;
                Ok(true)
            }
            Ok(None) => Ok(false),
            // The end of a longer hello whose front is not all there.
            Err(Outcome::Malformed { .. } | Outcome::Oversize) if repeats => Ok(false),
            Err(outcome) => Err(outcome),
        }
    }

    /// Handshake bytes held.
    pub(super) fn held_bytes(&self) -> usize {
        self.stream.as_ref().map_or(0, CryptoStream::held_bytes)
    }

    /// Memory held beyond the value itself, in bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        let stream = self.stream.iter().map(CryptoStream::heap_bytes);
        let table = self.keys.capacity().saturating_mul(size_of::<InitialKeys>());
        let keys = self.keys.iter().map(InitialKeys::heap_bytes);
        stream.chain(keys).fold(table, usize::saturating_add)
    }
}

/// Whether the message that begins at `start` is not all there.
fn is_partial(stream: &CryptoStream, start: u16) -> bool {
    let header = stream.run(start, tls::MESSAGE_HEADER_BYTES);
    tls::message_bytes(&header).is_none_or(|length| stream.run_bytes(start) < length)
}

/// Tells of the hello that begins at `start` and gives the place behind it, once it is complete.
fn hello_at(
    stream: &CryptoStream,
    start: u16,
    crypto_bytes_max: u16,
    heard: &mut impl FnMut(tls::Facts<'_>) -> bool,
) -> Result<Option<u16>, Outcome> {
    let crypto_bytes_max = usize::from(crypto_bytes_max);
    // The header alone may be wrong; the body is joined when it is all there.
    let wanted = if is_partial(stream, start) { tls::MESSAGE_HEADER_BYTES } else { crypto_bytes_max };
    let front = stream.run(start, wanted);
    match tls::hello_message(&front, crypto_bytes_max) {
        tls::Outcome::Hello(facts) if heard(facts) => {
            let length = tls::message_bytes(&front).and_then(|length| u16::try_from(length).ok());
            Ok(length.map(|length| start.saturating_add(length)))
        }
        tls::Outcome::Hello(_) | tls::Outcome::Ended => Err(Outcome::Ended),
        tls::Outcome::NeedMore => Ok(None),
        tls::Outcome::Malformed { field } => Err(Outcome::Malformed { field }),
        tls::Outcome::NotTls => Err(Outcome::Malformed { field: "handshake type" }),
        tls::Outcome::Ambiguous => Err(Outcome::Ambiguous),
        tls::Outcome::Oversize => Err(Outcome::Oversize),
    }
}

//! Which connection a datagram belongs to, as far as its headers tell without a key.

use super::header::{self, ConnectionId, Front, Kind};

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

//! L2TP: tunnels of version 2, and sessions of version 3.

use super::Wrapped;
use crate::wire::pcap::layers::Layer;
use crate::wire::pcap::link::{Datagram, Kind, has_known_type};
use crate::wire::pcap::{looks_like_ip, u16_at};

/// L2TP over UDP: version 2 (RFC 2661 §3.1) has flags for its fields, version 3 a session (RFC 3931 §4.1.2.1).
pub(super) fn l2tp<'a>(wrapped: &Wrapped<'a>) -> Option<Datagram<'a>> {
    /// A control message.
    const CONTROL: u16 = 0x8000;
    /// A length field.
    const LENGTH: u16 = 0x4000;
    /// Sequence numbers.
    const SEQUENCE: u16 = 0x0800;
    /// An offset field, and so many bytes of padding.
    const OFFSET: u16 = 0x0200;
    let flags = u16_at(wrapped.bytes, 0)?;
    if flags & CONTROL != 0 {
        return None;
    }
    match flags & 0x000f {
        2 => {
            let mut length = 6_usize;
            if flags & LENGTH != 0 {
                length = length.saturating_add(2);
            }
            if flags & SEQUENCE != 0 {
                length = length.saturating_add(4);
            }
            if flags & OFFSET != 0 {
                let padding = usize::from(u16_at(wrapped.bytes, length)?);
                length = length.saturating_add(2).saturating_add(padding);
            }
            wrapped.layer(Layer::L2tp).ok()?.likely(length, Kind::Ppp)
        }
        3 => session(wrapped, 8),
        _ => None,
    }
}

/// A session of L2TPv3 (RFC 3931 §4.1): behind the header a cookie of 0, 4 or 8 bytes and a sublayer of 0 or 4, which only the
/// two ends know: the first length at which a frame, PPP or IP with a datagram that fits begins.
pub(super) fn session<'a>(wrapped: &Wrapped<'a>, header: usize) -> Option<Datagram<'a>> {
    /// Cookie and sublayer together.
    const BEHIND: [usize; 4] = [0, 4, 8, 12];
    let wrapped = wrapped.layer(Layer::L2tp).ok()?;
    let at = |kind: Kind| {
        BEHIND.into_iter().find_map(|length| {
            let skip = header.saturating_add(length);
            let rest = wrapped.bytes.get(skip..)?;
            let begins = match kind {
                Kind::Frame => has_known_type(rest),
                Kind::Ip => looks_like_ip(rest),
                Kind::Ppp => rest.starts_with(&[0xff, 0x03]),
                Kind::Ether(_) => false,
            };
            if begins { wrapped.likely(skip, kind) } else { None }
        })
    };
    at(Kind::Frame).or_else(|| at(Kind::Ppp)).or_else(|| at(Kind::Ip))
}

//! The host of a well-formed request head: Host and request target judged together.
//!
//! Sections: RFC 9112 §3.2 (Host, absolute-form), RFC 3986 §3.2 (authority). Where two readers could disagree on what is
//! host and what is not, the answer is ambiguous; whether the bytes are a host name is not judged here.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use httparse::Header;

use super::{Facts, Outcome};

/// The host of a well-formed request, from its target and its Host header together.
pub(super) fn of_request<'a>(target: &'a str, headers: &[Header<'a>]) -> Outcome<'a> {
    let mut hosts = headers.iter().filter(|header| header.name.eq_ignore_ascii_case("host"));
    let (first, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Outcome::Ambiguous;
    }
    let from_header = match first.map(|header| header.value.trim_ascii()) {
        None => None,
        Some(value) => match authority(value) {
            Some(host) => Some(host),
            None => return Outcome::Ambiguous,
        },
    };
    if target.starts_with('/') || target == "*" {
        return named(from_header.map(|host| host.kind));
    }
    let Some((scheme, rest)) = target.split_once("://") else {
        return Outcome::Malformed { field: "request target" };
    };
    let port = match scheme {
        _ if scheme.eq_ignore_ascii_case("http") => 80,
        _ if scheme.eq_ignore_ascii_case("https") => 443,
        _ => return Outcome::Ambiguous,
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let Some(from_target) = rest.get(..end).and_then(|text| authority(text.as_bytes())) else {
        return Outcome::Ambiguous;
    };
    match from_header {
        Some(header) if !header.says_the_same_as(&from_target, port) => Outcome::Ambiguous,
        Some(_) | None if from_target.kind == HostKind::Empty => {
            Outcome::Malformed { field: "request target" }
        }
        Some(_) | None => named(Some(from_target.kind)),
    }
}

/// The facts of a request to a host of this kind.
fn named(kind: Option<HostKind<'_>>) -> Outcome<'_> {
    let name = match kind {
        Some(HostKind::Name(name)) => Some(name),
        Some(HostKind::Address(_) | HostKind::Empty) | None => None,
    };
    Outcome::Request(Facts { name })
}

/// A host with the port it was written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Host<'a> {
    /// Name, address, or nothing.
    kind: HostKind<'a>,
    /// The port; `None` for the default one.
    port: Option<u16>,
}

/// What a host can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HostKind<'a> {
    /// Nothing: allowed in Host (RFC 9112 §3.2).
    Empty,
    /// An address literal.
    Address(IpAddr),
    /// Anything else, whether a host name or not.
    Name(&'a [u8]),
}

impl Host<'_> {
    /// Whether both mean the same host and port, where `port` is the default one.
    fn says_the_same_as(&self, other: &Host<'_>, port: u16) -> bool {
        let hosts = match (self.kind, other.kind) {
            (HostKind::Name(one), HostKind::Name(two)) => {
                without_dot(one).eq_ignore_ascii_case(without_dot(two))
            }
            (HostKind::Address(one), HostKind::Address(two)) => one == two,
            (HostKind::Empty | HostKind::Address(_) | HostKind::Name(_), _) => false,
        };
        hosts && self.port.unwrap_or(port) == other.port.unwrap_or(port)
    }
}

/// A name without the one dot it may end in.
fn without_dot(name: &[u8]) -> &[u8] {
    name.strip_suffix(b".").unwrap_or(name)
}

/// Reads `host[:port]`, RFC 3986 §3.2; `None` when readers could disagree on what is host and what is not.
fn authority(text: &[u8]) -> Option<Host<'_>> {
    if text.is_empty() {
        return Some(Host { kind: HostKind::Empty, port: None });
    }
    if text.contains(&b'@') {
        return None;
    }
    if let Some(inner) = text.strip_prefix(b"[") {
        let end = inner.iter().position(|byte| *byte == b']')?;
        let (literal, rest) = inner.split_at_checked(end)?;
        let address: Ipv6Addr = core::str::from_utf8(literal).ok()?.parse().ok()?;
        let port = port(rest.strip_prefix(b"]")?)?;
        return Some(Host { kind: HostKind::Address(address.into()), port });
    }
    let end = text.iter().position(|byte| *byte == b':').unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end)?;
    let word = core::str::from_utf8(text).ok();
    if let Some(address) = word.and_then(|word| word.parse::<Ipv6Addr>().ok()) {
        return Some(Host { kind: HostKind::Address(address.into()), port: None });
    }
    if name.is_empty() {
        return None;
    }
    let port = port(rest)?;
    let address = core::str::from_utf8(name).ok().and_then(|name| name.parse::<Ipv4Addr>().ok());
    let kind = address.map_or(HostKind::Name(name), |address| HostKind::Address(address.into()));
    Some(Host { kind, port })
}

/// Reads `[":" *DIGIT]`: `Some(None)` without a number, `None` if it is no port.
fn port(text: &[u8]) -> Option<Option<u16>> {
    let digits = match text {
        [] | [b':'] => return Some(None),
        [b':', digits @ ..] => digits,
        _ => return None,
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    core::str::from_utf8(digits).ok()?.parse().ok().map(Some)
}

//! Which questions the gateway answers itself: steering of listed names (decisions 4 and 9).
//!
//! A subscriber that asks for a name that is exempt is led to the gateway: addresses are ours, a service binding is
//! rewritten so that it leads nowhere else and hides nothing. Everything else is relayed as it is. When the name or the
//! subscriber stops being exempt, so does this. Pure; RFC 9460 for service bindings.

use allowlist::lint::is_ech_cover_name;
use allowlist::{DomainName, HostMatch, Matcher, Transport, Validity};
use jiff::Timestamp;

use crate::wire::dns::{CLASS_IN, TYPE_A, TYPE_AAAA, TYPE_HTTPS, TYPE_SVCB};

/// The port of web servers over TLS and QUIC, which steered listeners serve.
const WEB_PORT: u16 = 443;

/// What becomes of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steering {
    /// Passed on; its answer comes back as it is.
    Relay(RelayReason),
    /// Answered with our IPv4 addresses.
    V4,
    /// Answered with our IPv6 addresses.
    V6,
    /// Passed on; a service binding of the answer is rewritten.
    Service,
}

/// Why a question is not answered by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayReason {
    /// Nothing is steered on this node, or exemption is suspended.
    Off,
    /// A type or class that leads nowhere.
    Kind,
    /// The asker is no subscriber.
    NoSubscriber,
    /// No list, or it is not in force.
    NoList,
    /// The list does not exempt the name on a port that we serve.
    NotExempt,
    /// The subscriber has nothing left of what may be exempt of the service.
    CapReached,
}

/// One question as far as steering is concerned.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The name; `None` when it is no host name.
    pub name: Option<&'a DomainName>,
    /// The type asked for.
    pub kind: u16,
    /// The class asked for.
    pub class: u16,
    /// Whether the asker is in the subscriber table.
    pub is_subscriber: bool,
    /// Whether anything may be exempt, and there are addresses to steer to.
    pub is_on: bool,
    /// The instant that dates are compared with.
    pub at: Timestamp,
}

/// Decides one question. `has_room` says whether the asker has anything left of what may be exempt of a service.
pub fn steer(list: Option<&Matcher>, asked: &Asked<'_>, has_room: impl FnOnce(&str) -> bool) -> Steering {
    let own = match asked.kind {
        TYPE_A => Steering::V4,
        TYPE_AAAA => Steering::V6,
        TYPE_HTTPS | TYPE_SVCB => Steering::Service,
        _ => return Steering::Relay(RelayReason::Kind),
    };
    if asked.class != CLASS_IN {
        return Steering::Relay(RelayReason::Kind);
    }
    if !asked.is_on {
        return Steering::Relay(RelayReason::Off);
    }
    if !asked.is_subscriber {
        return Steering::Relay(RelayReason::NoSubscriber);
    }
    let Some(list) = list.filter(|list| list.validity(asked.at) == Validity::InForce) else {
        return Steering::Relay(RelayReason::NoList);
    };
    let rule = asked.name.filter(|name| !is_ech_cover_name(name)).and_then(|name| {
        [Transport::Tcp, Transport::Udp].into_iter().find_map(|transport| {
            match list.host(name, transport, WEB_PORT, Some(asked.at)) {
                HostMatch::Listed(rule) => Some(rule),
                HostMatch::NotListed
                | HostMatch::Denied(_)
                | HostMatch::NotInForce(_)
                | HostMatch::Port(_) => None,
            }
        })
    });
    match rule {
        None => Steering::Relay(RelayReason::NotExempt),
        Some(rule) if has_room(rule.service()) => own,
        Some(_) => Steering::Relay(RelayReason::CapReached),
    }
}

/// A service binding of the origin in ServiceMode, as far as it says which protocols are spoken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginService {
    /// Its priority; the least is preferred, 0 is AliasMode.
    pub priority: u16,
    /// The protocols named, in order.
    pub alpn: Vec<Vec<u8>>,
    /// Whether HTTP/1.1 is spoken only when it is named (RFC 9460 §7.1.2).
    pub no_default_alpn: bool,
    /// Another port than the scheme's own.
    pub port: Option<u16>,
    /// Whether it hints at IPv4 addresses.
    pub has_v4_hint: bool,
    /// Whether it hints at IPv6 addresses.
    pub has_v6_hint: bool,
}

/// The protocols of a steered service binding: the origin's, less HTTP/3 where no steered listener takes datagrams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SteeredService {
    /// The protocols to name, in the origin's order; none: HTTP/1.1 alone.
    pub alpn: Vec<&'static str>,
    /// Whether HTTP/1.1 is spoken only when it is named.
    pub no_default_alpn: bool,
    /// Whether our IPv4 addresses are hinted at: the origin has such.
    pub has_v4_hint: bool,
    /// Whether our IPv6 addresses are.
    pub has_v6_hint: bool,
}

/// The protocols we carry, as service bindings name them; the first only with a listener for datagrams.
const CARRIED: [&str; 3] = ["h3", "h2", "http/1.1"];

/// What a steered service binding offers; `None`: there is none to give. The most preferred record of the origin counts;
/// one for another port speaks of another service.
pub fn steered_service(origin: &[OriginService], takes_datagrams: bool) -> Option<SteeredService> {
    let best = origin
        .iter()
        .filter(|service| service.priority != 0 && service.port.is_none_or(|port| port == WEB_PORT))
        .min_by_key(|service| service.priority)?;
    let carried = |named: &Vec<u8>| {
        CARRIED.into_iter().find(|known| known.as_bytes() == named && (takes_datagrams || *known != "h3"))
    };
    let alpn: Vec<&'static str> = best.alpn.iter().filter_map(carried).collect();
    (!alpn.is_empty() || !best.no_default_alpn).then_some(SteeredService {
        // `no-default-alpn` without `alpn` is malformed (RFC 9460 §7.1.1).
        no_default_alpn: best.no_default_alpn && !alpn.is_empty(),
        alpn,
        has_v4_hint: best.has_v4_hint,
        has_v6_hint: best.has_v6_hint,
    })
}

#[cfg(test)]
mod tests {
    use allowlist::Document;

    use super::*;

    const LIST: &str = r#"format = 1
list_id = "test"
serial = 4
issued = 2026-01-01T00:00:00Z
effective_from = 2026-01-02T00:00:00Z
expires = 2026-06-01T00:00:00Z

[[service]]
id = "school"
name = "School"
owner = "School"
reference = "test"

[[service.rule]]
host = "listed.kz"
scope = "subtree"
reason = "test"
evidence = "seen"

[[service.rule]]
host = "plain.kz"
protocol = "tcp"
ports = ["80"]
reason = "test"
evidence = "seen"

[[service.rule]]
host = "quic.kz"
protocol = "udp"
ports = ["443"]
from = 2026-02-01T00:00:00Z
reason = "test"
evidence = "seen"

[[deny]]
host = "ads.listed.kz"
reason = "advertising"
"#;

    /// What becomes of a question of a subscriber for a name at an instant.
    fn asked(name: &str, kind: u16, at: &str, change: impl FnOnce(&mut Asked<'_>)) -> Steering {
        let list = Matcher::new(&Document::parse(LIST).unwrap());
        let name = DomainName::from_wire(name.as_bytes()).unwrap();
        let mut asked = Asked {
            name: Some(&name),
            kind,
            class: CLASS_IN,
            is_subscriber: true,
            is_on: true,
            at: at.parse().unwrap(),
        };
        change(&mut asked);
        steer(Some(&list), &asked, |service| service == "school")
    }

    const NOW: &str = "2026-03-01T00:00:00Z";

    #[test]
    fn names_that_are_exempt_are_steered_by_type() {
        for name in ["listed.kz", "www.listed.kz", "quic.kz"] {
            assert_eq!(asked(name, TYPE_A, NOW, |_| {}), Steering::V4);
            assert_eq!(asked(name, TYPE_AAAA, NOW, |_| {}), Steering::V6);
            assert_eq!(asked(name, TYPE_HTTPS, NOW, |_| {}), Steering::Service);
            assert_eq!(asked(name, TYPE_SVCB, NOW, |_| {}), Steering::Service);
            assert_eq!(asked(name, 16, NOW, |_| {}), Steering::Relay(RelayReason::Kind));
        }
    }

    #[test]
    fn whatever_is_not_exempt_is_relayed_with_its_reason() {
        let not_exempt = Steering::Relay(RelayReason::NotExempt);
        for name in ["other.kz", "ads.listed.kz", "x.ads.listed.kz", "plain.kz", "xlisted.kz", "www.quic.kz"]
        {
            assert_eq!(asked(name, TYPE_A, NOW, |_| {}), not_exempt, "{name}");
        }
        assert_eq!(asked("quic.kz", TYPE_A, "2026-01-15T00:00:00Z", |_| {}), not_exempt, "before its date");
        for at in ["2026-01-01T12:00:00Z", "2026-06-01T00:00:00Z"] {
            assert_eq!(asked("listed.kz", TYPE_A, at, |_| {}), Steering::Relay(RelayReason::NoList), "{at}");
        }
        type Change = fn(&mut Asked<'_>);
        let changes: [(Change, RelayReason); 4] = [
            (|asked| asked.is_subscriber = false, RelayReason::NoSubscriber),
            (|asked| asked.is_on = false, RelayReason::Off),
            (|asked| asked.class = 3, RelayReason::Kind),
            (|asked| asked.name = None, RelayReason::NotExempt),
        ];
        for (change, reason) in changes {
            assert_eq!(asked("listed.kz", TYPE_A, NOW, change), Steering::Relay(reason));
        }
        let name = DomainName::from_wire(b"listed.kz").unwrap();
        let at = NOW.parse().unwrap();
        let asked =
            Asked { name: Some(&name), kind: TYPE_A, class: CLASS_IN, is_subscriber: true, is_on: true, at };
        assert_eq!(steer(None, &asked, |_| true), Steering::Relay(RelayReason::NoList));
    }

    #[test]
    fn t31_who_has_nothing_left_of_a_service_is_relayed() {
        let list = Matcher::new(&Document::parse(LIST).unwrap());
        let name = DomainName::from_wire(b"listed.kz").unwrap();
        let asked = Asked {
            name: Some(&name),
            kind: TYPE_A,
            class: CLASS_IN,
            is_subscriber: true,
            is_on: true,
            at: NOW.parse().unwrap(),
        };
        assert_eq!(steer(Some(&list), &asked, |_| false), Steering::Relay(RelayReason::CapReached));
        assert_eq!(steer(Some(&list), &asked, |service| service == "school"), Steering::V4);
    }

    /// A binding of the origin.
    fn origin(priority: u16, alpn: &[&str], no_default_alpn: bool, port: Option<u16>) -> OriginService {
        let alpn = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        OriginService { priority, alpn, no_default_alpn, port, ..OriginService::default() }
    }

    /// What a steered binding offers, as text.
    fn offered(origin: &[OriginService], takes_datagrams: bool) -> Option<(String, bool)> {
        steered_service(origin, takes_datagrams).map(|found| (found.alpn.join(","), found.no_default_alpn))
    }

    #[test]
    fn f46_a_steered_binding_hints_at_a_family_that_the_origin_hints_at() {
        for (has_v4_hint, has_v6_hint) in [(false, false), (true, false), (false, true), (true, true)] {
            let hinting = OriginService { has_v4_hint, has_v6_hint, ..origin(1, &["h2"], false, None) };
            let steered = steered_service(&[hinting], true).unwrap();
            assert_eq!((steered.has_v4_hint, steered.has_v6_hint), (has_v4_hint, has_v6_hint));
        }
    }

    #[test]
    fn a_steered_binding_offers_what_both_speak() {
        let full = [origin(1, &["h3", "h2"], false, None)];
        assert_eq!(offered(&full, true), Some(("h3,h2".to_owned(), false)));
        assert_eq!(offered(&full, false), Some(("h2".to_owned(), false)));
        let only_h3 = [origin(1, &["h3"], true, None)];
        assert_eq!(offered(&only_h3, true), Some(("h3".to_owned(), true)));
        assert_eq!(offered(&only_h3, false), None, "nothing is left that we carry");
        assert_eq!(offered(&[origin(1, &["h3", "dot"], false, None)], false), Some((String::new(), false)));
        assert_eq!(offered(&[origin(1, &[], false, Some(443))], true), Some((String::new(), false)));
        assert_eq!(offered(&[], true), None);
        assert_eq!(offered(&[origin(0, &[], false, None)], true), None, "an alias names no protocols");
        assert_eq!(offered(&[origin(1, &["h3"], false, Some(8_443))], true), None);
        let two = [origin(2, &["h3"], false, None), origin(1, &["h2"], false, None)];
        assert_eq!(offered(&two, true), Some(("h2".to_owned(), false)), "the preferred one counts");
    }
}

//! What the demonstration is about: sites, subscribers, and what each of them does with what outcome.
//!
//! Data only; nothing is opened here. Names end in `.example` (RFC 2606 §2) and addresses begin with 127, so that
//! nothing of it exists elsewhere. The expected outcomes are written down by hand, never asked of the decision code.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use billing_export::Reason;

/// Port of HTTPS as subscribers dial it.
pub(super) const HTTPS: u16 = 443;
/// Port of HTTP as subscribers dial it.
pub(super) const HTTP: u16 = 80;
/// A TLS port that no rule of the list covers.
pub(super) const OTHER_TLS: u16 = 8443;
/// Where the load balancer connects from; never a subscriber's address.
pub(super) const BALANCER: Ipv4Addr = Ipv4Addr::new(127, 20, 1, 1);
/// The forger's own server; no name leads there.
pub(super) const FORGER_SERVER: Ipv4Addr = Ipv4Addr::new(127, 21, 0, 66);
/// Body of the first visit: one long exempt download (trap T27).
pub(super) const DOWNLOAD_BYTES: u64 = 10 << 20;

/// Address of `www.school.example`.
const SCHOOL: Ipv4Addr = Ipv4Addr::new(127, 21, 0, 1);
/// Address of `video.school.example`.
const VIDEO: Ipv4Addr = Ipv4Addr::new(127, 21, 0, 2);
/// Address of `ads.school.example`.
const ADS: Ipv4Addr = Ipv4Addr::new(127, 21, 0, 3);
/// Address of `books.example`.
const BOOKS: Ipv4Addr = Ipv4Addr::new(127, 21, 0, 4);
/// Address of `exams.example`.
const EXAMS: Ipv4Addr = Ipv4Addr::new(127, 21, 0, 5);
/// Address of `news.example`.
const NEWS: Ipv4Addr = Ipv4Addr::new(127, 21, 0, 6);
/// Address of `games.example`.
const GAMES: Ipv4Addr = Ipv4Addr::new(127, 21, 0, 7);

/// Every name that the DNS stub answers for, with its address.
pub(super) const SITES: [(&str, Ipv4Addr); 7] = [
    ("www.school.example", SCHOOL),
    ("video.school.example", VIDEO),
    ("ads.school.example", ADS),
    ("books.example", BOOKS),
    ("exams.example", EXAMS),
    ("news.example", NEWS),
    ("games.example", GAMES),
];

/// Which of the node's listeners a connection goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Via {
    /// Where the operator's DNS leads subscribers for listed names.
    Steered,
    /// Through a load balancer that writes a PROXY header.
    Proxied,
}

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP/1.1 in TLS 1.3.
    Tls,
    /// HTTP/1.1.
    Http,
    /// HTTP/3 over QUIC.
    Quic,
}

/// What must come of a visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// Carried, exempt for this service.
    Exempt(&'static str),
    /// Carried, charged for this reason.
    Charged(Reason),
    /// Not carried: TLS alert `unrecognized_name`, HTTP 421, or no answer to QUIC; the few bytes are charged for this reason.
    Refused(Reason),
}

/// One thing a subscriber does again and again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Visit {
    /// By which way.
    pub via: Via,
    /// In which protocol.
    pub protocol: Protocol,
    /// The name sent in SNI or Host; none: a TLS hello without SNI.
    pub name: Option<&'static str>,
    /// Where the connection was going; of no meaning for [`Via::Steered`].
    pub destination: (Ipv4Addr, u16),
    /// What must come of it.
    pub expected: Expected,
}

/// Somebody with an account.
#[derive(Debug)]
pub(super) struct Subscriber {
    /// `subscriber_type` of the table.
    pub kind: &'static str,
    /// `subscriber_id` of the table.
    pub id: &'static str,
    /// The prefix of the table.
    pub(super) prefix: &'static str,
    /// Addresses used, all within the prefix.
    sources: &'static [Ipv4Addr],
    /// What they do, in turn.
    visits: [Visit; VISITS],
}

/// Different things that each subscriber does.
const VISITS: usize = 7;

/// A visit to a listed name where DNS led: the gateway resolves and dials the name itself.
const fn steered(protocol: Protocol, name: &'static str, expected: Expected) -> Visit {
    Visit { via: Via::Steered, protocol, name: Some(name), destination: (Ipv4Addr::UNSPECIFIED, 0), expected }
}

/// A visit with TLS through the load balancer.
const fn tls(name: &'static str, address: Ipv4Addr, expected: Expected) -> Visit {
    let destination = (address, HTTPS);
    Visit { via: Via::Proxied, protocol: Protocol::Tls, name: Some(name), destination, expected }
}

/// A visit without TLS through the load balancer.
const fn http(name: &'static str, address: Ipv4Addr, expected: Expected) -> Visit {
    let destination = (address, HTTP);
    Visit { via: Via::Proxied, protocol: Protocol::Http, name: Some(name), destination, expected }
}

/// A visit with HTTP/3 through the load balancer.
const fn quic(name: &'static str, address: Ipv4Addr, expected: Expected) -> Visit {
    Visit { protocol: Protocol::Quic, ..tls(name, address, expected) }
}

/// Three who browse, and one who forges.
pub(super) static SUBSCRIBERS: [&Subscriber; 4] = [&PUPIL, &TEACHER, &SCHOOL_LINE, &FORGER];

/// A pupil with a telephone.
static PUPIL: Subscriber = Subscriber {
    kind: "msisdn",
    id: "77010000001",
    prefix: "127.20.0.1/32",
    sources: &[Ipv4Addr::new(127, 20, 0, 1)],
    visits: [
        steered(Protocol::Tls, "www.school.example", Expected::Exempt("open-school")),
        tls("news.example", NEWS, Expected::Charged(Reason::NotListed)),
        steered(Protocol::Http, "exams.example", Expected::Exempt("exams")),
        tls("ads.school.example", ADS, Expected::Charged(Reason::Denied)),
        tls("video.school.example", VIDEO, Expected::Exempt("open-school")),
        steered(Protocol::Quic, "video.school.example", Expected::Exempt("open-school")),
        quic("news.example", NEWS, Expected::Charged(Reason::NotListed)),
    ],
};

/// A teacher with a telephone.
static TEACHER: Subscriber = Subscriber {
    kind: "imsi",
    id: "401010000000002",
    prefix: "127.20.0.2/32",
    sources: &[Ipv4Addr::new(127, 20, 0, 2)],
    visits: [
        steered(Protocol::Tls, "books.example", Expected::Exempt("library")),
        http("news.example", NEWS, Expected::Charged(Reason::NotListed)),
        http("books.example", BOOKS, Expected::Exempt("library")),
        Visit {
            destination: (SCHOOL, OTHER_TLS),
            ..tls("www.school.example", SCHOOL, Expected::Charged(Reason::Port))
        },
        tls("games.example", GAMES, Expected::Charged(Reason::NotListed)),
        quic("books.example", BOOKS, Expected::Exempt("library")),
        Visit {
            destination: (BOOKS, OTHER_TLS),
            ..quic("books.example", BOOKS, Expected::Charged(Reason::Port))
        },
    ],
};

/// A school's line with several addresses.
static SCHOOL_LINE: Subscriber = Subscriber {
    kind: "account",
    id: "school-17",
    prefix: "127.20.0.8/29",
    sources: &[Ipv4Addr::new(127, 20, 0, 9), Ipv4Addr::new(127, 20, 0, 10), Ipv4Addr::new(127, 20, 0, 11)],
    visits: [
        steered(Protocol::Http, "www.school.example", Expected::Exempt("open-school")),
        tls("exams.example", EXAMS, Expected::Exempt("exams")),
        Visit { name: None, ..tls("", NEWS, Expected::Charged(Reason::NoName)) },
        tls("games.example", GAMES, Expected::Charged(Reason::NotListed)),
        steered(Protocol::Tls, "video.school.example", Expected::Exempt("open-school")),
        steered(Protocol::Quic, "exams.example", Expected::Exempt("exams")),
        quic("ads.school.example", ADS, Expected::Charged(Reason::Denied)),
    ],
};

/// Somebody who sends listed names to a server of his own.
pub(super) static FORGER: Subscriber = Subscriber {
    kind: "msisdn",
    id: "77010000666",
    prefix: "127.20.0.66/32",
    sources: &[Ipv4Addr::new(127, 20, 0, 66)],
    visits: [
        // CheckSni of the audit: a listed name, a foreign address.
        tls("www.school.example", FORGER_SERVER, Expected::Charged(Reason::AddressMismatch)),
        http("books.example", FORGER_SERVER, Expected::Charged(Reason::AddressMismatch)),
        steered(Protocol::Tls, "proxy.forger.example", Expected::Refused(Reason::NotListed)),
        steered(Protocol::Http, "proxy.forger.example", Expected::Refused(Reason::NotListed)),
        // CheckIp: a listed site's address, a name that is on no list.
        tls("games.example", SCHOOL, Expected::Charged(Reason::NotListed)),
        quic("www.school.example", FORGER_SERVER, Expected::Charged(Reason::AddressMismatch)),
        // A datagram to a steered listener with a name on no list is answered by nobody, and so nobody's: it is not in the script.
        quic("games.example", SCHOOL, Expected::Charged(Reason::NotListed)),
    ],
};

/// One flow of the script.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    /// Who.
    pub subscriber: &'static Subscriber,
    /// What.
    pub visit: Visit,
    /// From which address.
    pub source: SocketAddrV4,
    /// Body bytes sent.
    pub up_bytes: u64,
    /// Body bytes asked for.
    pub down_bytes: u64,
    /// Whether the PROXY header is the binary one.
    pub binary_header: bool,
}

/// The flow of this number. The same number gives the same flow in every run.
pub(super) fn flow(index: u64) -> Flow {
    let turn = |index: u64, length: usize| usize::try_from(index % length.max(1) as u64).unwrap_or(0);
    let round = index / SUBSCRIBERS.len() as u64;
    let chance = scramble(index);
    let subscriber = SUBSCRIBERS.get(turn(index, SUBSCRIBERS.len())).copied().unwrap_or(&FORGER);
    let visit = subscriber.visits.get(turn(round, VISITS)).copied().unwrap_or(subscriber.visits[0]);
    let source = subscriber.sources.get(turn(chance, subscriber.sources.len())).copied();
    // A port as a subscriber's own stack picks it; it stands in the header only.
    let port = u16::try_from(index % 20_000).unwrap_or(0).saturating_add(40_000);
    let refused = matches!(visit.expected, Expected::Refused(_));
    let uploads = !refused && (chance >> 8).is_multiple_of(4);
    Flow {
        subscriber,
        visit,
        source: SocketAddrV4::new(source.unwrap_or(Ipv4Addr::UNSPECIFIED), port),
        up_bytes: if uploads { (chance >> 16) % 8_192 } else { 0 },
        down_bytes: if index == 0 { DOWNLOAD_BYTES } else { (chance >> 32) % 65_536 },
        binary_header: (chance >> 4).is_multiple_of(2),
    }
}

/// A fixed mixing of bits (SplitMix64), so that lengths differ without a source of chance.
const fn scramble(index: u64) -> u64 {
    let mut mixed = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Addresses that servers listen on.
pub(super) fn servers() -> Vec<Ipv4Addr> {
    SITES.iter().map(|(_, address)| *address).chain([FORGER_SERVER]).collect()
}

/// Names and addresses of the one certificate, which the forger's server has too: his own client trusts it.
pub(super) fn certified() -> Vec<String> {
    let names = SITES.iter().map(|(name, _)| (*name).to_owned());
    names.chain(servers().iter().map(ToString::to_string)).collect()
}

impl Subscriber {
    /// How the subscriber is called in tables.
    pub(super) fn label(&self) -> String {
        label(self.kind, self.id)
    }
}

/// How a subscriber of this type and id is called in tables.
pub(super) fn label(kind: &str, id: &str) -> String {
    if id.is_empty() { kind.to_owned() } else { format!("{kind} {id}") }
}

/// The address that a name leads to in the demonstration's DNS.
pub(super) fn resolve(name: &str) -> Option<IpAddr> {
    SITES.iter().find(|(site, _)| *site == name).map(|(_, address)| IpAddr::V4(*address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_visit_of_every_subscriber_comes_up_in_the_first_rounds() {
        let rounds = (SUBSCRIBERS.len() * VISITS) as u64;
        for known in SUBSCRIBERS {
            let own = (0..rounds).map(flow).filter(|flow| flow.subscriber.id == known.id);
            assert_eq!(own.count(), VISITS, "{}", known.id);
        }
    }

    #[test]
    fn sources_lie_in_the_prefix_of_their_subscriber() {
        for known in SUBSCRIBERS {
            let prefix: ipnet::IpNet = known.prefix.parse().unwrap();
            assert!(known.sources.iter().all(|source| prefix.contains(&IpAddr::V4(*source))), "{}", known.id);
            assert!(!prefix.contains(&IpAddr::V4(BALANCER)));
        }
    }
}

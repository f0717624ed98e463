//! `[[listener]]`: where flows come in and in which way.

mod modes;
mod socket;

use self::modes::{clients, datagram_headers, interception, judge_service_port, subscriber_tlv};
pub use self::socket::BalancerSocket;
use self::socket::read_socket;
use crate::dns::Clients;
use crate::key::Key;
use crate::local::LocalSocket;
use crate::reader::{Mismatch, Reader, one_of};
use crate::section::{Found, Section};
use crate::value::{SOCKET_FORM, count_of, prefix_of, socket_of};
use ipnet::IpNet;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// The keys of `[[listener]]`.
pub(crate) const KEYS: &[Key] = &[
    Key::required("listener", "mode"),
    Key::required("listener", "address"),
    Key::optional("listener", "socket"),
    Key::optional("listener", "group"),
    Key::defaulted("listener", "protocols"),
    Key::optional("listener", "service_port"),
    Key::defaulted("listener", "clients"),
    Key::defaulted("listener", "peers"),
    Key::defaulted("listener", "datagram_headers"),
    Key::optional("listener", "subscriber_tlv"),
    Key::defaulted("listener", "interception"),
];
/// Most listeners: each is one socket per worker.
pub const LISTENERS_MAX: usize = 64;
/// Most peer prefixes of one listener; they are walked once per accepted connection.
pub const PEERS_MAX: usize = 64;
/// Who may send the PROXY header when nothing is said: this machine.
pub const PEERS_DEFAULT: [&str; 2] = ["127.0.0.0/8", "::1/128"];
/// Who may use a steered listener when nothing is said: subscribers, and who cannot be from outside, for a session may be
/// known later than its first flow.
pub const CLIENTS_DEFAULT: [Clients; 2] = [Clients::Subscribers, Clients::Private];
/// The modes, as written.
const MODES: [(&str, Mode); 3] =
    [("steered", Mode::Steered), ("proxy_protocol", Mode::ProxyProtocol), ("transparent", Mode::Transparent)];

/// The transports, as written.
const PROTOCOLS: [(&str, Protocol); 2] = [("tcp", Protocol::Tcp), ("udp", Protocol::Udp)];

/// The address of a listener that has none.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// What a list of transports looks like.
const PROTOCOLS_FORM: &str = "an array of \"tcp\" and \"udp\"";
/// Types of TLVs that are left to those who use them (the PROXY protocol, §2.2.7).
pub const SUBSCRIBER_TLV_RANGE: RangeInclusive<u8> = 0xe0..=0xef;
/// What a list of peers looks like.
const PEERS_FORM: &str = "an array of prefixes, such as [\"127.0.0.0/8\", \"::1/128\"]";

/// `[[listener]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// How the destination is learnt.
    pub mode: Mode,
    /// Where to listen; port 0 takes any free one, the same for both transports. With [`Interception::Kernel`] nobody listens.
    pub address: SocketAddr,
    /// The transports served, each once; at least one.
    pub protocols: Vec<Protocol>,
    /// Steered only: the port the subscriber dialled and rules are judged by. `None`: 443 for TLS, 80 for HTTP.
    pub service_port: Option<u16>,
    /// Steered only: who is served. Empty for other listeners.
    pub clients: Vec<Clients>,
    /// PROXY protocol only: who may send the header. Empty for other listeners.
    pub peers: Vec<IpNet>,
    /// PROXY protocol only: in front of which datagrams a header must stand.
    pub datagram_headers: DatagramHeaders,
    /// PROXY protocol only: the type of the TLV that names a flow's subscriber.
    pub subscriber_tlv: Option<u8>,
    /// Transparent only: how the kernel hands flows over.
    pub interception: Interception,
}

/// How the kernel hands over flows that were going elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interception {
    /// nft `tproxy`: packets unchanged; both ends keep their addresses.
    Tproxy,
    /// nft `redirect`: the destination is rewritten, and origins see the gateway's address. TCP only.
    Redirect,
    /// Not at all: the kernel forwards, counts and marks them, by programs of ours at the subscribers' interfaces.
    Kernel,
}

/// In front of which datagrams of a balancer a PROXY header must stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatagramHeaders {
    /// Of those that begin a flow at least. A subscriber may forge one where the balancer does not write it.
    Any,
    /// Of all.
    Each,
}

/// How a listener learns the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// DNS leads subscribers to the gateway; the name in the flow is resolved and dialled (decision 4).
    Steered,
    /// A PROXY header carries the original destination.
    ProxyProtocol,
    /// The kernel hands flows over that were going elsewhere (decisions 3, 5, 24).
    Transparent,
}

/// A transport that a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP: TLS and HTTP/1.
    Tcp,
    /// UDP: QUIC, and what an address rule names.
    Udp,
}

impl Listener {
    /// Whether it listens: not where the kernel keeps the packets.
    pub fn listens(&self) -> bool {
        self.mode != Mode::Transparent || self.interception != Interception::Kernel
    }

    /// Whether the listener serves `protocol`.
    pub fn serves(&self, protocol: Protocol) -> bool {
        self.protocols.contains(&protocol)
    }
}

impl Mode {
    /// The mode as written in the configuration.
    pub fn label(self) -> &'static str {
        match self {
            Mode::Steered => "steered",
            Mode::ProxyProtocol => "proxy_protocol",
            Mode::Transparent => "transparent",
        }
    }
}

/// What the `[[listener]]` sections come to.
pub(crate) struct Listeners {
    /// Those with an address.
    pub(crate) at_addresses: Vec<Listener>,
    /// Unix sockets of balancers on this machine, which send the PROXY header.
    pub(crate) sockets: Vec<BalancerSocket>,
}

/// Reads all `[[listener]]` sections; at least one is wanted.
pub(crate) fn read(reader: &mut Reader<'_>) -> Listeners {
    let sections = reader.sections("listener");
    if sections.is_empty() && !reader.has("listener") {
        let wanted = "at least one section [[listener]] with mode, address";
        reader.missing("listener", 0, Mismatch::new("no such section", wanted));
    }
    if let Some(over) = sections.get(LISTENERS_MAX) {
        let fault =
            Mismatch::new(format!("{} listeners", sections.len()), format!("at most {LISTENERS_MAX}"));
        reader.wrong("listener", over.at, fault);
    }
    let mut listeners = Listeners { at_addresses: Vec::with_capacity(sections.len()), sockets: Vec::new() };
    let mut taken: HashMap<SocketAddr, String> = HashMap::new();
    let mut paths: HashMap<PathBuf, String> = HashMap::new();
    for section in &sections {
        if section.value("socket").is_some() {
            if let Some(socket) = read_socket(reader, section, &mut paths) {
                listeners.sockets.push(socket);
            }
            continue;
        }
        // There is none: a group alone is a slip.
        let _ = LocalSocket::read(reader, section, "socket", "group");
        let (listener, address) = read_one(reader, section);
        listeners.at_addresses.extend(listener);
        let Some((address, at)) = address else { continue };
        let listens = listeners.at_addresses.last().is_none_or(Listener::listens);
        if address.port() == 0 || !listens {
            continue;
        }
        if let Some(first) = taken.get(&address) {
            let fault =
                Mismatch::new(format!("{address}, which {first} already has"), "another address or port");
            reader.wrong(section.key("address"), at, fault);
        } else {
            taken.insert(address, section.key("address"));
        }
    }
    listeners
}

/// Reads one listener; its address is given apart so that repeats are seen beside other mistakes.
fn read_one(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
) -> (Option<Listener>, Option<(SocketAddr, usize)>) {
    let found = section.read(reader, "mode", |value| crate::value::word_of(value, &MODES));
    let modes = one_of(MODES.iter().map(|(word, _)| *word));
    let mode = section.required(reader, "mode", found, &modes);
    let protocols = protocols(reader, section);
    let interception = interception(reader, section, mode.map(|(mode, _)| mode), &protocols);
    let found = section.read(reader, "address", socket_of);
    let is_kernel = interception == Interception::Kernel;
    let address = match found {
        // Nobody listens: an address says nothing, and is no slip either.
        Found::Absent if is_kernel => Some((NOWHERE, section.at)),
        found => section.required(reader, "address", found, SOCKET_FORM),
    };
    let found = section.read(reader, "service_port", |value| count_of(value, &(1..=u16::MAX)));
    let service_port = section.defaulted(found.map(Some), None);
    let clients = clients(reader, section, mode.map(|(mode, _)| mode));
    let peers = section.read_each(reader, "peers", PEERS_FORM, prefix_of);
    judge_service_port(reader, section, mode.map(|(mode, _)| mode), &service_port);
    if let (Some((mode @ (Mode::Steered | Mode::Transparent), _)), Some((_, at))) =
        (mode, section.value("peers"))
    {
        let found = format!("peers beside mode \"{}\"", mode.label());
        let fault = Mismatch::new(found, "them on proxy_protocol listeners only");
        reader.wrong(section.key("peers"), at, fault.remedy("remove this key: no PROXY header is read here"));
    }
    let datagram_headers = datagram_headers(reader, section, mode.map(|(mode, _)| mode));
    let subscriber_tlv = subscriber_tlv(reader, section, mode.map(|(mode, _)| mode));
    if let Some((over, at)) = peers.as_ref().and_then(|peers| peers.get(PEERS_MAX)) {
        let fault = Mismatch::new(format!("more prefixes from {over} on"), format!("at most {PEERS_MAX}"));
        reader.wrong(section.key("peers"), *at, fault);
    }
    if let (Some(peers), Some((_, at))) = (&peers, section.value("peers"))
        && peers.is_empty()
        && section
            .value("peers")
            .and_then(|(value, _)| value.as_array())
            .is_some_and(|array| array.is_empty())
    {
        let fault = Mismatch::new("no prefix", "at least one");
        reader.wrong(section.key("peers"), at, fault.remedy("without one every connection would be refused"));
    }
    let listener = match (mode, &address) {
        (Some((mode, _)), Some((address, _))) => {
            let peers = match (mode, peers) {
                (Mode::Steered | Mode::Transparent, _) => Vec::new(),
                (Mode::ProxyProtocol, Some(peers)) => peers.into_iter().map(|(prefix, _)| prefix).collect(),
                (Mode::ProxyProtocol, None) => default_peers(),
            };
            Some(Listener {
                mode,
                address: *address,
                protocols,
                service_port: service_port.value,
                clients,
                peers,
                datagram_headers,
                subscriber_tlv,
                interception,
            })
        }
        _ => None,
    };
    (listener, address)
}

/// The transports of a listener: both unless it states one.
fn protocols(reader: &mut Reader<'_>, section: &Section<'_>) -> Vec<Protocol> {
    let read = section
        .read_each(reader, "protocols", PROTOCOLS_FORM, |value| crate::value::word_of(value, &PROTOCOLS));
    let both = || PROTOCOLS.iter().map(|(_, protocol)| *protocol).collect();
    let Some((value, at)) = section.value("protocols") else { return both() };
    if value.as_array().is_some_and(|array| array.is_empty()) {
        let fault = Mismatch::new("no transport", "at least one");
        reader.wrong(section.key("protocols"), at, fault.remedy("remove this key to serve both"));
    }
    let mut protocols = Vec::new();
    for (index, (protocol, at)) in read.into_iter().flatten().enumerate() {
        if protocols.contains(&protocol) {
            let fault = Mismatch::new("a transport that stands there already", "each once");
            reader.wrong(format!("{}[{index}]", section.key("protocols")), at, fault);
        } else {
            protocols.push(protocol);
        }
    }
    protocols
}

/// The default peers as prefixes.
fn default_peers() -> Vec<IpNet> {
    PEERS_DEFAULT.iter().filter_map(|text| text.parse().ok()).collect()
}

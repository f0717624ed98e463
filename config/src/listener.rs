//! `[[listener]]`: where flows come in and in which way.

use crate::dns::{Clients, read_clients};
use crate::key::Key;
use crate::local::LocalSocket;
use crate::reader::{Fault, Reader, one_of};
use crate::section::{Section, Stated};
use crate::value::{SOCKET_FORM, count_of, prefix_of, socket_of};
use ipnet::IpNet;
use std::collections::HashMap;
use std::net::SocketAddr;
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
/// The interceptions, as written.
const INTERCEPTIONS: [(&str, Interception); 2] =
    [("tproxy", Interception::Tproxy), ("redirect", Interception::Redirect)];
/// The transports, as written.
const PROTOCOLS: [(&str, Protocol); 2] = [("tcp", Protocol::Tcp), ("udp", Protocol::Udp)];
/// Where headers stand, as written.
const DATAGRAM_HEADERS: [(&str, DatagramHeaders); 2] =
    [("any", DatagramHeaders::Any), ("each", DatagramHeaders::Each)];
/// What a list of transports looks like.
const PROTOCOLS_FORM: &str = "an array of \"tcp\" and \"udp\"";
/// What a list of peers looks like.
const PEERS_FORM: &str = "an array of prefixes, such as [\"127.0.0.0/8\", \"::1/128\"]";

/// `[[listener]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// How the destination is learnt.
    pub mode: Mode,
    /// Where to listen; port 0 takes any free one, the same for both transports.
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
    pub(crate) sockets: Vec<LocalSocket>,
}

/// Reads all `[[listener]]` sections; at least one is wanted.
pub(crate) fn read(reader: &mut Reader<'_>) -> Listeners {
    let sections = reader.sections("listener");
    if sections.is_empty() && !reader.has("listener") {
        let wanted = "at least one section [[listener]] with mode, address";
        reader.missing("listener", 0, Fault::new("no such section", wanted));
    }
    if let Some(over) = sections.get(LISTENERS_MAX) {
        let fault = Fault::new(format!("{} listeners", sections.len()), format!("at most {LISTENERS_MAX}"));
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
        if address.port() == 0 {
            continue;
        }
        if let Some(first) = taken.get(&address) {
            let fault =
                Fault::new(format!("{address}, which {first} already has"), "another address or port");
            reader.wrong(section.key("address"), at, fault);
        } else {
            taken.insert(address, section.key("address"));
        }
    }
    listeners
}

/// Reads a listener at a Unix socket: a balancer on this machine speaks there, over streams, and who may connect is said by
/// the socket's group.
fn read_socket(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    taken: &mut HashMap<PathBuf, String>,
) -> Option<LocalSocket> {
    let found = section.read(reader, "mode", |value| crate::value::word_of(value, &MODES));
    let modes = one_of(MODES.iter().map(|(word, _)| *word));
    let mode = section.required(reader, "mode", found, &modes);
    if let Some((mode @ (Mode::Steered | Mode::Transparent), at)) = mode {
        let fault = Fault::new(format!("mode \"{}\" beside a socket", mode.label()), "\"proxy_protocol\"");
        reader.wrong(section.key("mode"), at, fault.remedy("subscribers connect to addresses only"));
    }
    for (key, why) in [
        ("address", "a socket is in its place"),
        ("service_port", "the PROXY header carries the port"),
        ("clients", "the balancer says who comes"),
        ("peers", "who may connect is said by the group"),
        ("datagram_headers", "no datagrams come here"),
        ("interception", "the kernel hands nothing over here"),
    ] {
        if let Some((_, at)) = section.value(key) {
            let fault = Fault::new(format!("{key} beside a socket"), "the one without the other");
            reader.wrong(section.key(key), at, fault.remedy(format!("remove this key: {why}")));
        }
    }
    if let Some((_, at)) = section.value("protocols")
        && protocols(reader, section) != [Protocol::Tcp]
    {
        let fault = Fault::new("datagrams at a socket", "[\"tcp\"], or nothing");
        reader.wrong(section.key("protocols"), at, fault);
    }
    let socket = LocalSocket::read(reader, section, "socket", "group")?;
    if let Some(first) = taken.get(&socket.path) {
        let at = section.value("socket").map_or(section.at, |(_, at)| at);
        let fault = Fault::new(format!("{}, which {first} already has", socket.path.display()), "another");
        reader.wrong(section.key("socket"), at, fault);
    } else {
        taken.insert(socket.path.clone(), section.key("socket"));
    }
    Some(socket)
}

/// Reads one listener; its address is given apart so that repeats are seen beside other mistakes.
fn read_one(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
) -> (Option<Listener>, Option<(SocketAddr, usize)>) {
    let found = section.read(reader, "mode", |value| crate::value::word_of(value, &MODES));
    let modes = one_of(MODES.iter().map(|(word, _)| *word));
    let mode = section.required(reader, "mode", found, &modes);
    let found = section.read(reader, "address", socket_of);
    let address = section.required(reader, "address", found, SOCKET_FORM);
    let protocols = protocols(reader, section);
    let found = section.read(reader, "service_port", |value| count_of(value, &(1..=u16::MAX)));
    let service_port = section.defaulted(found.map(Some), None);
    let clients = clients(reader, section, mode.map(|(mode, _)| mode));
    let peers = section.read_each(reader, "peers", PEERS_FORM, prefix_of);
    judge_service_port(reader, section, mode.map(|(mode, _)| mode), &service_port);
    if let (Some((mode @ (Mode::Steered | Mode::Transparent), _)), Some((_, at))) =
        (mode, section.value("peers"))
    {
        let found = format!("peers beside mode \"{}\"", mode.label());
        let fault = Fault::new(found, "them on proxy_protocol listeners only");
        reader.wrong(section.key("peers"), at, fault.remedy("remove this key: no PROXY header is read here"));
    }
    let datagram_headers = datagram_headers(reader, section, mode.map(|(mode, _)| mode));
    let interception = interception(reader, section, mode.map(|(mode, _)| mode), &protocols);
    if let Some((over, at)) = peers.as_ref().and_then(|peers| peers.get(PEERS_MAX)) {
        let fault = Fault::new(format!("more prefixes from {over} on"), format!("at most {PEERS_MAX}"));
        reader.wrong(section.key("peers"), *at, fault);
    }
    if let (Some(peers), Some((_, at))) = (&peers, section.value("peers"))
        && peers.is_empty()
        && section
            .value("peers")
            .and_then(|(value, _)| value.as_array())
            .is_some_and(|array| array.is_empty())
    {
        let fault = Fault::new("no prefix", "at least one");
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
                interception,
            })
        }
        _ => None,
    };
    (listener, address)
}

/// Who is served: a question on steered listeners only. Others are led to by a balancer, or by the kernel.
fn clients(reader: &mut Reader<'_>, section: &Section<'_>, mode: Option<Mode>) -> Vec<Clients> {
    let clients = read_clients(reader, section, &CLIENTS_DEFAULT);
    let Some(mode @ (Mode::ProxyProtocol | Mode::Transparent)) = mode else { return clients };
    if let Some((_, at)) = section.value("clients") {
        let found = format!("clients beside mode \"{}\"", mode.label());
        let fault = Fault::new(found, "them on steered listeners only");
        let remedy =
            "remove this key: who may come in is a matter of the balancer (peers) or of edge.interfaces";
        reader.wrong(section.key("clients"), at, fault.remedy(remedy));
    }
    Vec::new()
}

/// Where PROXY headers of datagrams must stand; a steered listener reads none.
fn datagram_headers(reader: &mut Reader<'_>, section: &Section<'_>, mode: Option<Mode>) -> DatagramHeaders {
    let found =
        section.read(reader, "datagram_headers", |value| crate::value::word_of(value, &DATAGRAM_HEADERS));
    let headers = section.defaulted(found, DatagramHeaders::Any);
    if let (Some(mode @ (Mode::Steered | Mode::Transparent)), true) = (mode, headers.written) {
        let found = format!("datagram headers beside mode \"{}\"", mode.label());
        let fault = Fault::new(found, "them on proxy_protocol listeners only");
        let remedy = "remove this key: no PROXY header is read here";
        reader.wrong(section.key("datagram_headers"), headers.at, fault.remedy(remedy));
    }
    headers.value
}

/// A service port stands on steered listeners only: the others are told the port that was dialled.
fn judge_service_port(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    mode: Option<Mode>,
    service_port: &Stated<Option<u16>>,
) {
    let (mode, remedy) = match mode {
        Some(mode @ Mode::ProxyProtocol) => (mode, "the PROXY header carries the port: remove this key"),
        Some(mode @ Mode::Transparent) => {
            (mode, "the kernel tells the port that was dialled: remove this key")
        }
        Some(Mode::Steered) | None => return,
    };
    if service_port.written {
        let found = format!("a service port beside mode \"{}\"", mode.label());
        let fault = Fault::new(found, "it on steered listeners only");
        reader.wrong(section.key("service_port"), service_port.at, fault.remedy(remedy));
    }
}

/// How flows are handed over; a word for transparent listeners only, and the kernel redirects no datagrams to us in a way
/// that leaves their destination readable.
fn interception(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    mode: Option<Mode>,
    protocols: &[Protocol],
) -> Interception {
    let found = section.read(reader, "interception", |value| crate::value::word_of(value, &INTERCEPTIONS));
    let interception = section.defaulted(found, Interception::Tproxy);
    if let (Some(mode @ (Mode::Steered | Mode::ProxyProtocol)), true) = (mode, interception.written) {
        let found = format!("an interception beside mode \"{}\"", mode.label());
        let fault = Fault::new(found, "it on transparent listeners only");
        let remedy = "remove this key: the kernel hands nothing over here";
        reader.wrong(section.key("interception"), interception.at, fault.remedy(remedy));
    }
    if mode == Some(Mode::Transparent)
        && interception.value == Interception::Redirect
        && protocols.contains(&Protocol::Udp)
    {
        let fault = Fault::new("\"redirect\" on a listener that serves UDP", "\"tproxy\", or TCP alone");
        let remedy = "redirected datagrams do not say where they were going: write protocols = [\"tcp\"]";
        reader.wrong(section.key("interception"), interception.at, fault.remedy(remedy));
    }
    interception.value
}

/// The transports of a listener: both unless it states one.
fn protocols(reader: &mut Reader<'_>, section: &Section<'_>) -> Vec<Protocol> {
    let read = section
        .read_each(reader, "protocols", PROTOCOLS_FORM, |value| crate::value::word_of(value, &PROTOCOLS));
    let both = || PROTOCOLS.iter().map(|(_, protocol)| *protocol).collect();
    let Some((value, at)) = section.value("protocols") else { return both() };
    if value.as_array().is_some_and(|array| array.is_empty()) {
        let fault = Fault::new("no transport", "at least one");
        reader.wrong(section.key("protocols"), at, fault.remedy("remove this key to serve both"));
    }
    let mut protocols = Vec::new();
    for (index, (protocol, at)) in read.into_iter().flatten().enumerate() {
        if protocols.contains(&protocol) {
            let fault = Fault::new("a transport that stands there already", "each once");
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

//! Keys that say something in one mode only. In another mode they are a slip of whoever wrote them.

use super::{CLIENTS_DEFAULT, DatagramHeaders, Interception, Mode, Protocol, SUBSCRIBER_TLV_RANGE};
use crate::dns::{Clients, read_clients};
use crate::reader::{Mismatch, Reader};
use crate::section::{Found, Section, Stated};
use crate::value::count_of;

/// The interceptions, as written.
const INTERCEPTIONS: [(&str, Interception); 3] = [
    ("tproxy", Interception::Tproxy),
    ("redirect", Interception::Redirect),
    ("kernel", Interception::Kernel),
];

/// Where headers stand, as written.
const DATAGRAM_HEADERS: [(&str, DatagramHeaders); 2] =
    [("any", DatagramHeaders::Any), ("each", DatagramHeaders::Each)];

/// Who is served: a question on steered listeners only. Others are led to by a balancer, or by the kernel.
pub(super) fn clients(reader: &mut Reader<'_>, section: &Section<'_>, mode: Option<Mode>) -> Vec<Clients> {
    let clients = read_clients(reader, section, &CLIENTS_DEFAULT);
    let Some(mode @ (Mode::ProxyProtocol | Mode::Transparent)) = mode else { return clients };
    if let Some((_, at)) = section.value("clients") {
        let found = format!("clients beside mode \"{}\"", mode.label());
        let fault = Mismatch::new(found, "them on steered listeners only");
        let remedy =
            "remove this key: who may come in is a matter of the balancer (peers) or of edge.interfaces";
        reader.wrong(section.key("clients"), at, fault.remedy(remedy));
    }
    Vec::new()
}

/// Where PROXY headers of datagrams must stand; a steered listener reads none.
pub(super) fn datagram_headers(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    mode: Option<Mode>,
) -> DatagramHeaders {
    let found =
        section.read(reader, "datagram_headers", |value| crate::value::word_of(value, &DATAGRAM_HEADERS));
    let headers = section.defaulted(found, DatagramHeaders::Any);
    if let (Some(mode @ (Mode::Steered | Mode::Transparent)), true) = (mode, headers.written) {
        let found = format!("datagram headers beside mode \"{}\"", mode.label());
        let fault = Mismatch::new(found, "them on proxy_protocol listeners only");
        let remedy = "remove this key: no PROXY header is read here";
        reader.wrong(section.key("datagram_headers"), headers.at, fault.remedy(remedy));
    }
    headers.value
}

/// The TLV that names a flow's subscriber; a word for listeners that read a PROXY header.
pub(super) fn subscriber_tlv(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    mode: Option<Mode>,
) -> Option<u8> {
    let found = section.read(reader, "subscriber_tlv", |value| count_of(value, &SUBSCRIBER_TLV_RANGE));
    let Found::Is(kind, at) = found else { return None };
    if let Some(mode @ (Mode::Steered | Mode::Transparent)) = mode {
        let found = format!("a TLV beside mode \"{}\"", mode.label());
        let fault = Mismatch::new(found, "it on proxy_protocol listeners only");
        let remedy = "remove this key: no PROXY header is read here";
        reader.wrong(section.key("subscriber_tlv"), at, fault.remedy(remedy));
    }
    Some(kind)
}

/// A service port stands on steered listeners only: the others are told the port that was dialled.
pub(super) fn judge_service_port(
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
        let fault = Mismatch::new(found, "it on steered listeners only");
        reader.wrong(section.key("service_port"), service_port.at, fault.remedy(remedy));
    }
}

/// How flows are handed over; a word for transparent listeners only, and the kernel redirects no datagrams to us in a way
/// that leaves their destination readable.
pub(super) fn interception(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    mode: Option<Mode>,
    protocols: &[Protocol],
) -> Interception {
    let found = section.read(reader, "interception", |value| crate::value::word_of(value, &INTERCEPTIONS));
    let interception = section.defaulted(found, Interception::Tproxy);
    if let (Some(mode @ (Mode::Steered | Mode::ProxyProtocol)), true) = (mode, interception.written) {
        let found = format!("an interception beside mode \"{}\"", mode.label());
        let fault = Mismatch::new(found, "it on transparent listeners only");
        let remedy = "remove this key: the kernel hands nothing over here";
        reader.wrong(section.key("interception"), interception.at, fault.remedy(remedy));
    }
    if mode == Some(Mode::Transparent)
        && interception.value == Interception::Redirect
        && protocols.contains(&Protocol::Udp)
    {
        let fault = Mismatch::new("\"redirect\" on a listener that serves UDP", "\"tproxy\", or TCP alone");
        let remedy = "redirected datagrams do not say where they were going: write protocols = [\"tcp\"]";
        reader.wrong(section.key("interception"), interception.at, fault.remedy(remedy));
    }
    interception.value
}

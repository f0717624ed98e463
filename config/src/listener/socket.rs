//! Listeners at Unix sockets: a balancer on this machine speaks there.

use std::collections::HashMap;
use std::path::PathBuf;

use super::modes::subscriber_tlv;
use super::{MODES, Mode, Protocol, protocols};
use crate::local::LocalSocket;
use crate::reader::{Mismatch, Reader, one_of};
use crate::section::Section;

/// A listener at a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BalancerSocket {
    /// Where it stands, and who may connect.
    pub place: LocalSocket,
    /// The type of the TLV that names a flow's subscriber.
    pub subscriber_tlv: Option<u8>,
}

/// Reads a listener at a Unix socket: a balancer on this machine speaks there, over streams, and who may connect is said by
/// the socket's group.
pub(super) fn read_socket(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    taken: &mut HashMap<PathBuf, String>,
) -> Option<BalancerSocket> {
    let found = section.read(reader, "mode", |value| crate::value::word_of(value, &MODES));
    let modes = one_of(MODES.iter().map(|(word, _)| *word));
    let mode = section.required(reader, "mode", found, &modes);
    if let Some((mode @ (Mode::Steered | Mode::Transparent), at)) = mode {
        let fault = Mismatch::new(format!("mode \"{}\" beside a socket", mode.label()), "\"proxy_protocol\"");
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
            let fault = Mismatch::new(format!("{key} beside a socket"), "the one without the other");
            reader.wrong(section.key(key), at, fault.remedy(format!("remove this key: {why}")));
        }
    }
    if let Some((_, at)) = section.value("protocols")
        && protocols(reader, section) != [Protocol::Tcp]
    {
        let fault = Mismatch::new("datagrams at a socket", "[\"tcp\"], or nothing");
        reader.wrong(section.key("protocols"), at, fault);
    }
    let subscriber_tlv = subscriber_tlv(reader, section, mode.map(|(mode, _)| mode));
    let place = LocalSocket::read(reader, section, "socket", "group")?;
    if let Some(first) = taken.get(&place.path) {
        let at = section.value("socket").map_or(section.at, |(_, at)| at);
        let fault = Mismatch::new(format!("{}, which {first} already has", place.path.display()), "another");
        reader.wrong(section.key("socket"), at, fault);
    } else {
        taken.insert(place.path.clone(), section.key("socket"));
    }
    Some(BalancerSocket { place, subscriber_tlv })
}

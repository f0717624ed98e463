//! Notes: what the configuration may say and yet is worth a word to the operator.

use crate::admin::Admin;
use crate::dns::Dns;
use crate::listener::{DatagramHeaders, Listener, Mode, Protocol};
use crate::radius::Radius;
use crate::subscribers::Subscribers;
use crate::upstream::Upstream;
use std::net::SocketAddr;

/// Steering that cuts subscribers off from listed names: without a listener that serves it, or without an address of the
/// IP version that they have. A question for the other version has no answer then, lest it lead past the gateway.
pub(crate) fn of_steering(dns: &Dns, listeners: &[Listener]) -> Vec<String> {
    if dns.steer_addresses.is_empty() {
        return Vec::new();
    }
    let steered = listeners.iter().any(|listener| listener.mode == Mode::Steered);
    let has = |is_ipv4| dns.steer_addresses.iter().any(|address| address.is_ipv4() == is_ipv4);
    let asked_over_ipv6 = dns.listen.iter().any(SocketAddr::is_ipv6);
    let found = [
        (
            !steered,
            "dns.steer_addresses without a steered [[listener]]: listed names lead where no listener of this file is",
        ),
        (
            !has(true),
            "dns.steer_addresses without an IPv4 address: who has IPv4 alone gets no address of a listed name",
        ),
        (
            !has(false) && asked_over_ipv6,
            "dns.steer_addresses without an IPv6 address: who has IPv6 alone gets no address of a listed name",
        ),
    ];
    found.into_iter().filter(|(holds, _)| *holds).map(|(_, note)| note.to_owned()).collect()
}

/// Subscribers that a balancer names where a subscriber may write a header himself: he could name another.
pub(crate) fn of_named_subscribers(listeners: &[Listener]) -> Vec<String> {
    let is_forgeable = |listener: &&Listener| {
        let may_lack = listener.datagram_headers == DatagramHeaders::Any;
        listener.subscriber_tlv.is_some() && listener.serves(Protocol::Udp) && may_lack
    };
    let note = |listener: &Listener| {
        format!(
            "listener at {}: subscriber_tlv beside datagram_headers = \"any\": a subscriber may write a header of his own in front of a later datagram, and name another. Let the balancer write it in front of each, and say datagram_headers = \"each\", or protocols = [\"tcp\"]",
            listener.address
        )
    };
    listeners.iter().filter(is_forgeable).map(note).collect()
}

/// What is allowed and yet worth a word.
pub(crate) fn of_sections(
    (subscribers, radius): (Option<&Subscribers>, Option<&Radius>),
    upstream: &Upstream,
    admin: &Admin,
) -> Vec<String> {
    let mut notes = Vec::new();
    if subscribers.is_none() && radius.is_none() {
        notes.push(
            "no [subscribers] and no [radius]: every flow is unattributed and nothing is exempt".to_owned(),
        );
    }
    if upstream.allow_private {
        notes.push(
            "upstream.allow_private: loopback and private destinations may be dialled; for tests and labs only"
                .to_owned(),
        );
    }
    if !upstream.port_map.is_empty() {
        notes.push(
            "upstream.port_map: other ports than the subscriber's are dialled; for tests and labs only"
                .to_owned(),
        );
    }
    if !admin.address.ip().is_loopback() {
        notes.push(format!(
            "admin.address {}: reachable from outside this machine, without a password",
            admin.address
        ));
    }
    notes.push("list.signatures = \"none\": whoever can write the list file decides what is free".to_owned());
    notes
}

//! What an access server said, as what is decided by.

use std::net::IpAddr;

use billing_export::SubscriberType;

use super::clients::Client;
use crate::flow::session::Block;
use crate::flow::session::accounting::{
    ClientKind, Kind, Nas, PortChange, Ports, Report, Side, Status, Subscriber,
};
use crate::wire::radius::{AddressKind, BlockForm, Change, Facts, PortBlock, Status as Said, SubscriberKind};

/// The type of a subscriber whose identifier is of this kind.
pub(in crate::net) const fn type_of(kind: SubscriberKind) -> SubscriberType {
    match kind {
        SubscriberKind::Imsi => SubscriberType::Imsi,
        SubscriberKind::Msisdn => SubscriberType::Msisdn,
        SubscriberKind::Account => SubscriberType::Account,
    }
}

/// The report of a request that came from `source`.
pub(super) fn report(client: &Client, facts: &Facts<'_>, source: IpAddr) -> Report {
    let nas = Nas::new(facts.nas.ip, facts.nas.ipv6, facts.nas.identifier, source.to_canonical());
    let subscriber =
        facts.subscriber(&client.words).and_then(|(kind, id)| Subscriber::new(type_of(kind), &id));
    Report {
        client: client.terms.clone(),
        nas,
        session: facts.acct_session_id.unwrap_or_default().into(),
        status: status(facts.status),
        event_timestamp: facts.event_timestamp_s,
        delay: facts.delay_s,
        session_time: facts.session_s,
        subscriber,
        addresses: addresses(client, facts),
        ports: facts.blocks().iter().filter(|block| !is_whole(block)).map(ports).collect(),
    }
}

/// What happened.
const fn status(said: Said) -> Status {
    match said {
        Said::Start => Status::Start,
        Said::Interim => Status::Interim,
        Said::Stop => Status::Stop,
        Said::On => Status::On,
        Said::Off => Status::Off,
        Said::Other(_) => Status::Other,
    }
}

/// Addresses by kind, of the kinds that the packet speaks of. Routes of both IP versions are one kind. Where this gateway sees the
/// outside of a translator, and a packet tells of it in words that nobody here understands, its Framed-IP-Address is left out: others
/// may have that inside address too.
fn addresses(client: &Client, facts: &Facts<'_>) -> Vec<(Kind, Vec<Block>)> {
    let terms = &client.terms;
    let is_inside = terms.kind == ClientKind::Access && terms.side == Side::Outside && facts.is_translated;
    const KINDS: [(Kind, &[AddressKind]); 5] = [
        (Kind::V4, &[AddressKind::FramedIp]),
        (Kind::V6, &[AddressKind::FramedIpv6]),
        (Kind::Prefix, &[AddressKind::FramedIpv6Prefix]),
        (Kind::Delegated, &[AddressKind::DelegatedIpv6Prefix]),
        (Kind::Route, &[AddressKind::FramedRoute, AddressKind::FramedIpv6Route]),
    ];
    let blocks = |kinds: &[AddressKind]| -> Vec<Block> {
        let prefixes = kinds.iter().flat_map(|kind| facts.addresses.of(*kind));
        prefixes.copied().map(Block::from).collect()
    };
    let outside = facts.blocks().iter().filter(|block| is_whole(block));
    let outside = outside.map(|block| Block::of(block.address.into())).collect();
    let found =
        KINDS.into_iter().map(|(kind, kinds)| (kind, blocks(kinds))).chain([(Kind::Outside, outside)]);
    let is_left_out = |kind: &Kind| is_inside && *kind == Kind::V4;
    found.filter(|(kind, blocks)| !is_left_out(kind) && !blocks.is_empty()).collect()
}

/// Whether the outside address is the session's with all its ports.
fn is_whole(block: &PortBlock) -> bool {
    block.form == BlockForm::WholeAddress
}

/// A block of ports.
fn ports(block: &PortBlock) -> PortChange {
    let change = match block.change {
        Change::Add => Ports::Add,
        Change::Remove => Ports::Remove,
        Change::Replace => Ports::Replace,
    };
    PortChange { address: block.address.into(), first: block.first, last: block.last, change }
}

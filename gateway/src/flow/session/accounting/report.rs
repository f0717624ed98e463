//! What an accounting packet reports, as values: whoever reads packets makes these of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use billing_export::{Session, SubscriberType};

use crate::flow::session::Block;

/// What one accepted packet says.
#[derive(Clone, Debug)]
pub struct Report {
    /// What is configured for the client that sent it.
    pub client: Client,
    /// The access server it is about.
    pub nas: Nas,
    /// Acct-Session-Id.
    pub session: Arc<[u8]>,
    /// Acct-Status-Type.
    pub status: Status,
    /// Event-Timestamp, in Unix seconds.
    pub event_timestamp: Option<u32>,
    /// Acct-Delay-Time, in seconds.
    pub delay: Option<u32>,
    /// Acct-Session-Time, in seconds.
    pub session_time: Option<u32>,
    /// The subscriber, where a configured attribute has a valid one.
    pub subscriber: Option<Subscriber>,
    /// Addresses by kind. A kind that is not here is not spoken of.
    pub addresses: Vec<(Kind, Vec<Block>)>,
    /// Ranges of ports, in the packet's order.
    pub ports: Vec<PortChange>,
}

/// Acct-Status-Type (RFC 2866 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// A session begins.
    Start,
    /// A session goes on.
    Interim,
    /// A session has ended.
    Stop,
    /// The access server begins to account.
    On,
    /// The access server stops accounting.
    Off,
    /// Any other; it is answered and changes nothing.
    Other,
}

/// An access server, by the attributes that name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nas {
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
    identifier: Option<Box<[u8]>>,
    source: Option<IpAddr>,
}

impl Nas {
    /// The server by NAS-IP-Address, NAS-IPv6-Address and NAS-Identifier as far as present; by the packet's source where none is.
    pub fn new(
        v4: Option<Ipv4Addr>,
        v6: Option<Ipv6Addr>,
        identifier: Option<&[u8]>,
        source: IpAddr,
    ) -> Self {
        let named = v4.is_some() || v6.is_some() || identifier.is_some();
        let source = (!named).then_some(source);
        Self { v4, v6, identifier: identifier.map(Into::into), source }
    }

    /// NAS-IP-Address.
    pub const fn v4(&self) -> Option<Ipv4Addr> {
        self.v4
    }

    /// NAS-IPv6-Address.
    pub const fn v6(&self) -> Option<Ipv6Addr> {
        self.v6
    }

    /// NAS-Identifier.
    pub fn identifier(&self) -> Option<&[u8]> {
        self.identifier.as_deref()
    }

    /// The source, of packets without any of them.
    pub const fn source(&self) -> Option<IpAddr> {
        self.source
    }

    /// Whether it has every attribute that `packet` has, with the same value.
    pub(super) fn agrees_with(&self, packet: &Self) -> bool {
        packet.v4.is_none_or(|v4| self.v4 == Some(v4))
            && packet.v6.is_none_or(|v6| self.v6 == Some(v6))
            && packet.source.is_none_or(|source| self.source == Some(source))
            && (packet.identifier.is_none() || self.identifier == packet.identifier)
    }
}

/// Who a session is counted for. Personal data: `Debug` does not print it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscriber(Session);

impl Subscriber {
    /// The subscriber with this id; none where no record could carry it.
    pub fn new(kind: SubscriberType, id: &str) -> Option<Self> {
        let known = kind != SubscriberType::None;
        known.then(|| Session::new(kind, id, "").ok().map(Self)).flatten()
    }

    /// The subscriber of a session.
    pub(super) fn of(session: &Session) -> Option<Self> {
        Self::new(session.subscriber_type(), session.subscriber_id())
    }

    /// Kind of the id.
    pub fn kind(&self) -> SubscriberType {
        self.0.subscriber_type()
    }

    /// The id.
    pub fn id(&self) -> &str {
        self.0.subscriber_id()
    }

    /// Whether the session is this subscriber's.
    pub(super) fn has(&self, session: &Session) -> bool {
        self.kind() == session.subscriber_type() && self.id() == session.subscriber_id()
    }
}

/// What an address is to a session. A later packet replaces the kinds it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Framed-IP-Address.
    V4,
    /// Framed-IPv6-Address and Alc-IPv6-Address.
    V6,
    /// Framed-IPv6-Prefix.
    Prefix,
    /// Delegated-IPv6-Prefix.
    Delegated,
    /// Framed-Route and Framed-IPv6-Route.
    Route,
    /// Whole addresses outside of the operator's translator.
    Outside,
    /// Ports of such an address.
    Ports,
    /// It was the session's, and another took its place. Kept because of who may have it next.
    Former,
}

/// A change of the ports that a session has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortChange {
    /// The outside address.
    pub address: IpAddr,
    /// The first port.
    pub first: u16,
    /// The last port, itself included.
    pub last: u16,
    /// What becomes of them.
    pub change: Ports,
}

/// What becomes of a range of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// The session has them too.
    Add,
    /// It has them no more, nor any range that shares a port with them.
    Remove,
    /// It has those of this packet and no others.
    Replace,
}

/// What is configured for a client.
#[derive(Clone, Debug)]
pub struct Client {
    /// The space of its access servers and session ids.
    pub realm: Arc<str>,
    /// Who it accounts for.
    pub kind: ClientKind,
    /// Which addresses the gateway sees.
    pub side: Side,
    /// How often it sends an Interim; none where it sends none.
    pub interim: Option<Duration>,
    /// After how long without news a session is stale where it sends none.
    pub session_max: Duration,
    /// Whether routes are bound.
    pub routes: bool,
}

impl Client {
    /// After how many seconds without news a session is stale.
    pub(super) fn silence(&self) -> u32 {
        let silence =
            self.interim.map_or(self.session_max, |interim| interim.saturating_mul(INTERIMS_MISSED_MAX));
        u32::try_from(silence.as_secs()).unwrap_or(u32::MAX)
    }
}

/// Interims that may fail to come before a session is stale.
const INTERIMS_MISSED_MAX: u32 = 3;

/// What a client accounts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKind {
    /// Subscribers' sessions.
    Access,
    /// A separate translator, which knows inside addresses and no subscribers.
    Nat,
}

/// Which side of the operator's translator the gateway is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Where the subscribers are.
    Inside,
    /// Where the internet is.
    Outside,
}

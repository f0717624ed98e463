//! What is fixed of a flow from its first byte on.

use std::net::{IpAddr, SocketAddr};

use allowlist::Transport;
use billing_export::{Account, Class, Flag, Flags};

use super::claim::ProtocolLabel;
use crate::flow::binding::DnsOnly;

/// IANA service name `https`.
pub const HTTPS_PORT: u16 = 443;
/// IANA service name `http`.
const HTTP_PORT: u16 = 80;

/// Where a flow was going when it came in.
#[derive(Clone, Copy, Debug)]
pub enum Destination {
    /// To the gateway itself, sent by our DNS; the name decides.
    Steered {
        /// The port rules are judged by, when the listener states one.
        service_port: Option<u16>,
    },
    /// To this destination.
    Original(SocketAddr),
}

/// A flow as it began.
#[derive(Clone, Debug)]
pub struct Start {
    /// The network of the subscriber's address that is one customer's.
    pub network: IpAddr,
    /// Where it was going.
    pub place: Destination,
    /// TCP or UDP.
    pub transport: Transport,
    /// Whether it must be shown first that somebody receives what the server sends: not where we have shaken hands ourselves.
    pub waits_for_answer: bool,
    /// It began beyond what its subscriber may have: it is charged.
    pub is_over_limit: bool,
    /// What the subscriber's own look-ups said of the destination.
    pub dns_only: Option<DnsOnly>,
}

impl Start {
    /// The destination address, when the flow came with one.
    pub const fn destination(&self) -> Option<SocketAddr> {
        match self.place {
            Destination::Original(destination) => Some(destination),
            Destination::Steered { .. } => None,
        }
    }

    /// Remarks on bytes of the flow under this account: steered ones pass free in the core, whatever they are to us.
    pub fn flags(&self, account: &Account) -> Flags {
        match (self.place, account.entry.class()) {
            (Destination::Steered { .. }, Class::Charged | Class::Unattributed) => {
                Flags::NONE.with(Flag::FreeInCore)
            }
            (Destination::Steered { .. }, Class::Exempt) | (Destination::Original(_), _) => Flags::default(),
        }
    }

    /// The port that rules are judged by, of a flow whose first bytes look like `protocol`.
    pub const fn service_port(&self, protocol: ProtocolLabel) -> u16 {
        match self.place {
            Destination::Original(destination) => destination.port(),
            Destination::Steered { service_port: Some(port) } => port,
            Destination::Steered { service_port: None } => match protocol {
                ProtocolLabel::Http => HTTP_PORT,
                ProtocolLabel::Tls | ProtocolLabel::Tcp | ProtocolLabel::Quic | ProtocolLabel::Udp => {
                    HTTPS_PORT
                }
            },
        }
    }
}

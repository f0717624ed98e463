//! What `app` tells the workers: plain values, no configuration file.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use billing_export::SubscriberType;
use ipnet::IpNet;

use crate::flow::address::{is_public, meanings};
use crate::flow::binding::Nat64;
use crate::flow::identify::IdentifyLimits;
use crate::flow::session::SubscriberKey;
use crate::flow::silence::SilenceLimits;
use crate::net::ingress::access::Access;
use crate::net::upstream::own_addresses::OwnAddresses;
use crate::wire::quic::QuicLimits;

/// How a listener learns the destination: the one list of the ways in, for connections and datagrams alike.
#[derive(Clone, Debug)]
pub enum Mode {
    /// Our DNS sent the subscriber here; the name says where to go.
    Steered {
        /// The port rules are judged by and origins are dialled at; none: 443 for TLS, 80 for HTTP.
        service_port: Option<u16>,
        /// Who is served.
        access: Access,
    },
    /// A trusted balancer in front says source and destination in a PROXY header.
    ProxyProtocol {
        /// Who may send the header.
        peers: Peers,
        /// In front of which datagrams it must stand.
        datagrams: DatagramHeaders,
        /// The type of the TLV that names a flow's subscriber.
        subscriber_tlv: Option<u8>,
    },
    /// The kernel hands over flows that were going elsewhere.
    Transparent {
        /// How.
        interception: Interception,
        /// Mark of what we send to origins, so that it is not taken again.
        upstream_mark: u32,
    },
}

impl Mode {
    /// Whether packets come unchanged, with the addresses they were going to.
    pub fn is_tproxy(&self) -> bool {
        matches!(self, Self::Transparent { interception: Interception::Tproxy, .. })
    }

    /// Whether who connects or sends datagrams is the subscriber, and no balancer in front.
    pub fn meets_subscribers(&self) -> bool {
        match self {
            Self::Steered { .. } | Self::Transparent { .. } => true,
            Self::ProxyProtocol { .. } => false,
        }
    }
}

/// Who may send the PROXY header.
#[derive(Clone, Debug)]
pub enum Peers {
    /// Whoever has an address within one of these.
    Within(Vec<IpNet>),
    /// Whoever can open the Unix socket: its mode and group say who that is.
    ThisMachine,
}

impl Peers {
    /// Whether a peer may; one without an IP address has come over a Unix socket.
    pub fn admit(&self, peer: Option<IpAddr>) -> bool {
        match (self, peer) {
            (Self::Within(allowed), Some(peer)) => {
                let peer = peer.to_canonical();
                allowed.iter().any(|allowed| allowed.contains(&peer))
            }
            (Self::Within(_), None) => false,
            (Self::ThisMachine, _) => true,
        }
    }
}

/// How the kernel hands over flows that were going elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interception {
    /// nft `tproxy`: both ends keep their addresses; needs CAP_NET_ADMIN.
    Tproxy,
    /// nft `redirect`: origins see the gateway's address.
    Redirect,
}

/// In front of which datagrams of a balancer a PROXY header must stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatagramHeaders {
    /// Of those that begin a flow at least.
    Any,
    /// Of all.
    Each,
}

/// One listener.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Where subscribers, or the balancer, connect to.
    pub address: SocketAddr,
    /// How the destination is learnt.
    pub mode: Mode,
    /// Whether connections are accepted.
    pub serves_tcp: bool,
    /// Whether datagrams are taken.
    pub serves_udp: bool,
}

/// Limits of the data path (a key of `config/examples/full.toml`).
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bits of the network that counts as one subscriber where no session has the address: of IPv4, of IPv6.
    pub unknown_prefix: (u8, u8),
    /// How long after its begin a flow may still get the session that it began in.
    pub adopt: Duration,
    /// Caps of the readers of first bytes.
    pub identify: IdentifyLimits,
    /// Caps of the reader of QUIC datagrams.
    pub quic: QuicLimits,
    /// From the flow's first moment to a verdict, absolute.
    pub identify_deadline: Duration,
    /// Without a byte in either direction, or a keep-alive of the subscriber.
    pub idle_timeout: Duration,
    /// The same of flows to port 443.
    pub https_idle_timeout: Duration,
    /// Without a datagram of a QUIC flow in either direction.
    pub quic_idle_timeout: Duration,
    /// Without a datagram of another UDP flow in either direction.
    pub udp_idle_timeout: Duration,
    /// Without a datagram of a UDP flow that its server never answered; after it such a flow's bytes are told as nobody's.
    pub unanswered_timeout: Duration,
    /// UDP flows of one worker that wait for a name or an origin.
    pub undecided_per_worker_max: usize,
    /// Datagrams of one such flow that are held.
    pub held_datagrams_max: usize,
    /// For the PROXY header, absolute.
    pub proxy_header_deadline: Duration,
    /// For one connection attempt to one of a name's addresses.
    pub connect_timeout: Duration,
    /// How long an address of a name that failed is tried behind others.
    pub failed_timeout: Duration,
    /// Such addresses that one worker remembers.
    pub failed_per_worker_max: usize,
    /// For a connection to where the subscriber was going.
    pub original_connect_timeout: Duration,
    /// The same where that is an IPv6 address with no IPv4 address behind it.
    pub original_connect_timeout_ipv6: Duration,
    /// What is remembered of destinations that did not answer.
    pub silence: SilenceLimits,
    /// For the last acknowledgement after both sides finished.
    pub finish_deadline: Duration,
    /// Open flows of one subscriber that are read, or of one address without subscriber.
    pub flows_per_subscriber_max: FlowsPerSubscriber,
    /// UDP flows of one subscriber that nobody has answered.
    pub unanswered_per_subscriber_max: usize,
    /// UDP flows of one worker that nobody has answered and that hold an upstream socket.
    pub unanswered_per_worker_max: usize,
    /// Memory that the sockets of one subscriber's flows may hold.
    pub socket_memory_per_subscriber_max: u64,
    /// Accepts before other work gets its turn.
    pub accepts_per_wake_max: usize,
    /// Bytes read at once; one buffer per worker, shared by its flows.
    pub relay_buffer: usize,
    /// Pipes of one worker for bytes that move inside the kernel; two descriptors and up to 1 MiB each.
    pub pipes_per_worker_max: usize,
}

/// How many open flows of one subscriber are read, by what is known of him.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowsPerSubscriber {
    /// A telephone number.
    pub msisdn: usize,
    /// A SIM.
    pub imsi: usize,
    /// An account, behind which may stand a whole school.
    pub account: usize,
    /// Nobody is known.
    pub unknown: usize,
}

impl FlowsPerSubscriber {
    /// The same for all.
    pub const fn all(most: usize) -> Self {
        Self { msisdn: most, imsi: most, account: most, unknown: most }
    }

    /// Those of this one.
    pub fn of(&self, subscriber: &SubscriberKey) -> usize {
        match subscriber {
            SubscriberKey::Session(session) => match session.subscriber_type() {
                SubscriberType::Msisdn => self.msisdn,
                SubscriberType::Imsi => self.imsi,
                SubscriberType::Account => self.account,
                SubscriberType::None => self.unknown,
            },
            SubscriberKey::Address(_) => self.unknown,
        }
    }
}

/// Where the gateway may connect to.
#[derive(Clone, Debug)]
pub struct DialRules {
    /// Destination port → port dialled instead (tests and laboratories).
    pub port_map: BTreeMap<u16, u16>,
    /// Permit loopback and private destinations (tests and laboratories).
    pub allow_private: bool,
    /// The operator's NAT64: what is behind it is judged by the IPv4 address.
    pub nat64: Nat64,
    /// Addresses of this machine and of its management: never dialled unless private destinations are permitted.
    pub own_addresses: Arc<OwnAddresses>,
    /// Our own listeners and endpoints: never dialled, whatever is permitted.
    pub own_sockets: Vec<SocketAddr>,
    /// Further addresses of ours to dial from, when the ports towards a destination are used up.
    pub sources: Vec<IpAddr>,
}

impl DialRules {
    /// Whether `address` may be dialled, and learnt as an answer: all that it may stand for is asked about.
    pub fn permits_address(&self, address: IpAddr) -> bool {
        let mut means = meanings(address, &self.nat64);
        let mut owned = meanings(address, &self.nat64);
        !means.any(|meaning| meaning.is_unspecified() || meaning.is_multicast())
            && (self.allow_private
                || (is_public(address, &self.nat64) && !owned.any(|meaning| self.own_addresses.has(meaning))))
    }

    /// Where to connect for `destination`; none when it may not be dialled.
    pub fn target(&self, destination: SocketAddr) -> Option<SocketAddr> {
        let address = destination.ip().to_canonical();
        if !self.permits_address(address) {
            return None;
        }
        let port = self.port_map.get(&destination.port()).copied().unwrap_or(destination.port());
        let loops = meanings(address, &self.nat64).any(|meaning| self.is_own_socket(meaning, port));
        (!loops && port != 0).then_some(SocketAddr::new(address, port))
    }

    /// Whether a listener or endpoint of ours is there.
    fn is_own_socket(&self, address: IpAddr, port: u16) -> bool {
        self.own_sockets.iter().any(|own| {
            own.port() == port
                && (own.ip() == address || (own.ip().is_unspecified() && self.own_addresses.has(address)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::binding::Nat64Prefix;

    fn rules(allow_private: bool) -> DialRules {
        DialRules {
            port_map: BTreeMap::from([(443, 8_443)]),
            allow_private,
            nat64: Nat64::new(vec![Nat64Prefix::new("2a00:64::".parse().unwrap(), 96).unwrap()]),
            own_addresses: Arc::new(OwnAddresses::of(["9.9.9.1".parse().unwrap()])),
            sources: Vec::new(),
            own_sockets: vec!["0.0.0.0:8443".parse().unwrap(), "9.9.9.1:80".parse().unwrap()],
        }
    }

    #[test]
    fn t10_private_own_and_management_addresses_are_never_dialled() {
        let strict = rules(false);
        for refused in [
            "10.0.0.1:443",
            "127.0.0.1:443",
            "[::1]:443",
            "[::ffff:10.0.0.1]:443",
            "9.9.9.1:443",
            "0.0.0.0:1",
        ] {
            assert_eq!(strict.target(refused.parse().unwrap()), None, "{refused}");
        }
        assert_eq!(strict.target("8.8.8.8:443".parse().unwrap()), Some("8.8.8.8:8443".parse().unwrap()));
        assert_eq!(strict.target("8.8.8.8:80".parse().unwrap()), Some("8.8.8.8:80".parse().unwrap()));
    }

    #[test]
    fn t10_a_laboratory_may_dial_loopback_but_not_our_own_listener() {
        let laboratory = rules(true);
        assert_eq!(laboratory.target("127.0.0.1:80".parse().unwrap()), Some("127.0.0.1:80".parse().unwrap()));
        assert_eq!(laboratory.target("127.0.0.1:443".parse().unwrap()), None);
        assert_eq!(laboratory.target("127.0.0.7:8443".parse().unwrap()), None);
        assert_eq!(laboratory.target("[::ffff:127.0.0.1]:8443".parse().unwrap()), None);
        assert_eq!(laboratory.target("9.9.9.1:80".parse().unwrap()), None);
        assert_eq!(laboratory.target("0.0.0.0:80".parse().unwrap()), None);
    }

    /// 9.9.9.1 is this machine's, port 8443 at all its addresses a listener of ours.
    #[test]
    fn f7_what_stands_behind_another_address_is_dialled_no_more_than_itself() {
        let (strict, laboratory) = (rules(false), rules(true));
        for mapped in [
            "[2a00:64::10.0.0.1]:80",
            "[2a00:64::127.0.0.1]:80",
            "[2a00:64::9.9.9.1]:81",
            "[64:ff9b::9.9.9.1]:81",
            "[2002:909:901::1]:81",
            "[2a00:1450::5efe:9.9.9.1]:81",
        ] {
            let mapped: SocketAddr = mapped.parse().unwrap();
            assert_eq!(strict.target(mapped), None, "{mapped}");
            assert_eq!(laboratory.target(mapped), Some(mapped), "{mapped}");
        }
        for listener in ["[2a00:64::9.9.9.1]:80", "[2a00:64::127.0.0.1]:443", "[64:ff9b::127.0.0.1]:8443"] {
            assert_eq!(laboratory.target(listener.parse().unwrap()), None, "{listener}");
        }
        let public: SocketAddr = "[2a00:64::8.8.8.8]:80".parse().unwrap();
        assert_eq!(strict.target(public), Some(public));
    }
}

//! What a node binds before anything is read: a socket that somebody else has is told at once.

use std::net::{SocketAddr, TcpListener};

use config::Config;

use super::error::{StartError, listen_error};
use super::settings::listeners;
use super::{dns, hand_over, radius};
use crate::net::admin;
use crate::net::ingress::inherited::{Inherited, Offered};
use crate::net::node::pool::Sockets;

/// The listening sockets of a node.
pub(super) struct Bound {
    /// Those of the workers.
    pub(super) sockets: Sockets,
    /// Their addresses, in the order of the configuration.
    pub(super) listeners: Vec<SocketAddr>,
    /// Those of the DNS plane, if there is one.
    pub(super) dns: Option<dns::Bound>,
    /// Those of accounting, if there is some.
    pub(super) radius: Option<radius::Bound>,
    /// That of the admin endpoint.
    pub(super) admin_listener: TcpListener,
    /// Its address.
    pub(super) admin: SocketAddr,
    /// A second descriptor of each, for the process that takes over.
    pub(super) offers: Vec<Offered>,
}

impl Bound {
    /// Binds what is not inherited, and closes what is inherited and not asked for.
    pub(super) fn new(config: &Config, workers: usize, mut inherited: Inherited) -> Result<Self, StartError> {
        let system = |what| move |source| StartError::System { what, source };
        let mut sockets = Sockets::bind(&listeners(config), workers, &mut inherited)
            .map_err(|(address, source)| listen_error("listener.address", address, source))?;
        for socket in &config.sockets {
            let path = &socket.place.path;
            let failed = |source| StartError::Socket { path: path.clone(), source };
            let place = dns::place(&socket.place);
            sockets.bind_local(place, socket.subscriber_tlv, &mut inherited).map_err(failed)?;
        }
        let listeners = sockets.addresses.clone();
        let dns = dns::bind(config, workers, &mut inherited)?;
        let radius = radius::bind(config, &mut inherited)?;
        let admin_listener = admin::bind(config.admin.address, &mut inherited)
            .map_err(|source| listen_error("admin.address", config.admin.address, source))?;
        let admin = admin_listener.local_addr().map_err(system("read the admin address"))?;
        inherited.close_rest();
        let mut offers = hand_over::offers(&sockets, dns.as_ref(), config, &admin_listener)
            .map_err(system("keep a second descriptor of the listening sockets"))?;
        if let Some(radius) = &radius {
            offers
                .extend(radius.offers().map_err(system("keep a second descriptor of accounting's sockets"))?);
        }
        Ok(Self { sockets, listeners, dns, radius, admin_listener, admin, offers })
    }

    /// All addresses at which this node is reached: it never connects to them itself.
    pub(super) fn own(&self) -> Vec<SocketAddr> {
        let asked_at = self.dns.as_ref().map_or(&[][..], |dns| dns.addresses());
        self.listeners.iter().chain(asked_at).copied().chain([self.admin]).collect()
    }
}

//! RADIUS accounting of a node: its sockets, its clients with their secrets, its sessions.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::Arc;

use arc_swap::ArcSwap;
use config::Config;

use super::error::{StartError, listen_error};
use crate::app::export::shelf::SessionShelf;
use crate::app::node::reload::radius::clients;
use crate::flow::session::Sessions;
use crate::flow::session::accounting::Limits;
use crate::net::ingress::inherited::{Inherited, Offered};
use crate::net::radius::{self, Clients, Plan, Service};
use crate::net::sys::clock::Clock;

/// Sockets that are bound, and clients that are known.
pub(super) struct Bound {
    sockets: Vec<UdpSocket>,
    /// The addresses of the configuration, in the order of the sockets.
    wanted: Vec<SocketAddr>,
    clients: Clients,
}

/// Reads the clients' secrets and binds; none without `[radius]`.
pub(super) fn bind(config: &Config, inherited: &mut Inherited) -> Result<Option<Bound>, StartError> {
    let Some(stated) = &config.radius else { return Ok(None) };
    let clients =
        clients(config, &Clients::default()).map_err(|fault| StartError::Clients { lines: fault.lines })?;
    let sockets = radius::bind(&stated.listen, inherited)
        .map_err(|(address, source)| listen_error("radius.listen", address, source))?;
    Ok(Some(Bound { sockets, wanted: stated.listen.clone(), clients }))
}

impl Bound {
    /// A second descriptor of each socket, for the process that takes over.
    pub(super) fn offers(&self) -> std::io::Result<Vec<Offered>> {
        let offer = |(wanted, socket): (&SocketAddr, &UdpSocket)| Offered::new(*wanted, socket.as_fd());
        self.wanted.iter().zip(&self.sockets).map(offer).collect()
    }

    /// The addresses that it hears at.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect()
    }

    /// Restores the sessions that were kept, and hears.
    pub(super) fn start(
        self,
        config: &Config,
        sessions: &Arc<Sessions>,
        clock: Clock,
        takes_over: bool,
    ) -> Result<Service, StartError> {
        let system = |source| StartError::System { what: "hear RADIUS accounting", source };
        let Some(stated) = &config.radius else {
            return Err(system(std::io::Error::other("there is no [radius]")));
        };
        let plan = Plan {
            limits: Limits { history: stated.history, sessions_max: stated.sessions_max },
            trust_gap: stated.trust_gap,
        };
        let shelf = SessionShelf::new(config.node.state_dir.clone(), config.node.id.clone());
        let clients = Arc::new(ArcSwap::from_pointee(self.clients));
        let known = (clients, Arc::clone(sessions));
        Service::start(self.sockets, &plan, known, Box::new(shelf), takes_over, clock).map_err(system)
    }
}

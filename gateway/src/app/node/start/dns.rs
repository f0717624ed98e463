//! The DNS plane of a node: its certificates read, its sockets bound, its settings handed to the workers.
//!
//! What is wrong with a certificate is told, and DNS over TLS is then not served, or that server not asked: the rest
//! serves on (trap T41). The certificate for clients is read again at each reload.

use std::net::SocketAddr;
use std::sync::Arc;

use config::dns::{Clients, Dns};
use config::{Config, LocalSocket};
use jiff::Timestamp;
use tokio::task::AbortHandle;

use super::error::{StartError, listen_error};
use crate::app::node::status::Status;
use crate::net::dns::settings::{ConnectionLimits, Server, Settings, StaleLimits};
use crate::net::dns::{Part, Plane, Sockets, tap, tls};
use crate::net::ingress::inherited::{Inherited, Offered};
use crate::net::ingress::local::{LocalPlace, MODE_SHARED, Standing};
use crate::net::node::shared::Shared;
use crate::net::sys::clock::wall;

/// A plane whose sockets are bound.
pub(super) struct Bound {
    /// What the workers share.
    pub(super) plane: Arc<Plane>,
    /// What cannot be used, for the node's readiness.
    pub(super) faults: Vec<String>,
    /// The same of the certificate for clients, which a reload may put right.
    pub(super) tls_fault: Option<String>,
    /// The addresses of the configuration, in the order of those bound.
    wanted: Vec<SocketAddr>,
    sockets: Sockets,
    dnstap: Option<LocalPlace>,
}

/// A plane that serves.
pub(super) struct Started {
    /// The workers' parts.
    pub(super) parts: Vec<Part>,
    /// What cannot be used.
    pub(super) faults: Vec<String>,
    /// Ends the taking of dnstap.
    pub(super) tap: Option<AbortHandle>,
}

/// A Unix socket of the configuration, for another program.
pub(super) fn place(socket: &LocalSocket) -> LocalPlace {
    LocalPlace { path: socket.path.clone(), mode: MODE_SHARED, group: socket.group.clone() }
}

/// Reads certificates and binds; `None` without `[dns]`.
pub(super) fn bind(
    config: &Config,
    workers: usize,
    inherited: &mut Inherited,
) -> Result<Option<Bound>, StartError> {
    let Some(dns) = &config.dns else { return Ok(None) };
    let mut faults = Vec::new();
    let settings = settings(config, dns, &mut faults);
    let tls_listen = dns.tls.as_ref().map_or(&[][..], |tls| &tls.listen);
    let sockets = Sockets::bind(&dns.listen, tls_listen, workers, inherited)
        .map_err(|(address, source)| listen_error("dns.listen", address, source))?;
    let wanted = dns.listen.iter().chain(tls_listen).copied().collect();
    let plane = Arc::new(Plane::new(settings, sockets.addresses.clone()));
    let tls_fault = renew(&plane, config, wall());
    Ok(Some(Bound {
        plane,
        faults,
        tls_fault,
        wanted,
        sockets,
        dnstap: dns.dnstap_socket.as_ref().map(place),
    }))
}

/// What a reload renews of the plane: the certificate for clients. What is wrong with it is told.
pub(super) fn follow(plane: Option<&Plane>, config: &Config, status: &Status) {
    let Some(plane) = plane else { return };
    let fault = renew(plane, config, wall());
    if let Some(fault) = &fault {
        tracing::error!("{fault}");
    }
    status.set_dns_tls(fault);
}

/// Reads the certificate for clients, and takes it unless the one there is better; says what is wrong with it.
fn renew(plane: &Plane, config: &Config, at: Timestamp) -> Option<String> {
    let tls = config.dns.as_ref()?.tls.as_ref()?;
    let read = tls::server(&tls.certificate, &tls.key);
    let fault = match (read, tls::dates(&tls.certificate, at)) {
        (Ok(read), None) => {
            plane.set_tls(read);
            return None;
        }
        // Clients that do not look at dates are served better than none.
        (Ok(read), Some(fault)) if !plane.has_tls() => {
            plane.set_tls(read);
            return Some(format!("DNS over TLS: {}", certificate_fault(config, &fault)));
        }
        (Ok(_), Some(fault)) | (Err(fault), _) => certificate_fault(config, &fault),
    };
    Some(if plane.has_tls() {
        format!("DNS over TLS goes on with the certificate it has: {fault}")
    } else {
        format!("DNS over TLS is not served: {fault}")
    })
}

/// What is wrong with a certificate, key or authorities, with the key of the configuration that names the file.
pub fn certificate_fault(config: &Config, fault: &tls::CertificateFault) -> String {
    let key = match fault.part {
        tls::Part::Chain => "dns.tls_certificate",
        tls::Part::Key => "dns.tls_key",
        tls::Part::Roots => "dns.upstream_roots",
    };
    format!("{}: {fault}", config.at(key))
}

impl Bound {
    /// The addresses bound: those for datagrams and TCP, then those for TLS.
    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.sockets.addresses
    }

    /// A second descriptor of each socket.
    ///
    /// # Errors
    /// When descriptors ran out.
    pub(super) fn offers(&self) -> std::io::Result<Vec<Offered>> {
        self.sockets.offers(&self.wanted)
    }

    /// Starts to listen for dnstap, in the place of another process's socket or not.
    pub(super) fn start(
        mut self,
        shared: &Arc<Shared>,
        control: &tokio::runtime::Handle,
        standing: Standing,
    ) -> Started {
        let mut tap = None;
        if let Some(place) = &self.dnstap {
            let bound = {
                let _context = control.enter();
                tap::bind(place, standing)
            };
            match bound {
                Ok(listener) => {
                    let serving = tap::serve(listener, Arc::clone(shared), Arc::clone(&self.plane));
                    tap = Some(control.spawn(serving).abort_handle());
                }
                Err(error) => {
                    self.faults.push(format!("dnstap is not taken: {}: {error}", place.path.display()));
                }
            }
        }
        for fault in self.faults.iter().chain(&self.tls_fault) {
            tracing::error!("{fault}");
        }
        tracing::info!(addresses = ?self.sockets.addresses, "DNS plane serves");
        let parts = self.sockets.into_parts(&self.plane);
        Started { parts, faults: self.faults, tap }
    }
}

/// Descriptors that the plane may need beside those of flows.
pub(super) fn descriptors(config: &Config, workers: usize) -> u64 {
    let Some(dns) = &config.dns else { return 0 };
    // A port in use and one that is ending, a connection, and a question of our own, of each worker towards each server.
    let ways = usize::from(dns.tries.upstream_sockets).saturating_mul(2).saturating_add(2);
    let ways = ways.saturating_mul(dns.upstream.len()).saturating_mul(workers);
    let listening =
        dns.listen.len().saturating_mul(2).saturating_add(dns.tls.as_ref().map_or(0, |tls| tls.listen.len()));
    let fixed = listening.saturating_mul(workers).saturating_add(dns.dnstap_connections_max);
    let all = dns.connections.connections_max.saturating_add(ways).saturating_add(fixed);
    u64::try_from(all).unwrap_or(u64::MAX)
}

/// The plane's settings; what cannot be used is told in `faults`.
fn settings(config: &Config, dns: &Dns, faults: &mut Vec<String>) -> Settings {
    Settings {
        servers: servers(config, dns, faults),
        serves_subscribers: dns.clients.contains(&Clients::Subscribers),
        clients: dns.clients.iter().flat_map(Clients::prefixes).collect(),
        steer_addresses: dns.steer_addresses.clone(),
        takes_datagrams: takes_datagrams(config),
        steer_ttl: dns.steer_ttl,
        source_prefix_v4: dns.load.source_prefix_v4,
        source_prefix_v6: dns.load.source_prefix_v6,
        queries_per_second_max: dns.load.queries_per_second_max,
        burst_max: dns.load.burst_max,
        truncated_per_second_max: dns.load.truncated_per_second_max,
        sources_max: dns.load.sources_max,
        tunnel_places_max: dns.load.tunnel_places_max,
        tunnel_names_max: dns.load.tunnel_names_max,
        in_flight_max: dns.load.in_flight_max,
        in_flight_per_client_max: dns.load.in_flight_per_client_max,
        failover_after: dns.tries.failover_after,
        try_timeout: dns.tries.try_timeout,
        tries: dns.tries.tries,
        total_timeout: dns.tries.total_timeout,
        upstream_sockets: usize::from(dns.tries.upstream_sockets),
        case_randomisation: dns.tries.case_randomisation,
        bad_replies_max: dns.tries.bad_replies_max,
        udp_answer_max: dns.udp_answer_max,
        connections: ConnectionLimits {
            connections_max: dns.connections.connections_max,
            connections_per_client_max: dns.connections.connections_per_client_max,
            first_byte_timeout: dns.connections.first_byte_timeout,
            idle_timeout: dns.connections.idle_timeout,
            queries_per_connection_max: dns.connections.queries_per_connection_max,
        },
        stale: dns.stale.as_ref().map(|stale| StaleLimits {
            after: stale.after,
            ttl: stale.ttl,
            age_max: stale.age_max,
            entries_max: stale.entries_max,
        }),
        dnstap_connections_max: dns.dnstap_connections_max,
    }
}

/// The servers; one over TLS without usable authorities is left out.
fn servers(config: &Config, dns: &Dns, faults: &mut Vec<String>) -> Vec<Server> {
    let mut servers = Vec::new();
    for server in &dns.upstream {
        match server {
            config::dns::Server::Plain(address) => servers.push(Server { address: *address, tls: None }),
            config::dns::Server::Tls { address, name } => {
                let made = tls::client(&dns.upstream_roots)
                    .map_err(|fault| certificate_fault(config, &fault))
                    .and_then(|client| Ok((tls::server_name(name)?, client)));
                match made {
                    Ok(tls) => servers.push(Server { address: *address, tls: Some(tls) }),
                    Err(fault) => faults.push(format!("DNS server {address} is not asked: {fault}")),
                }
            }
        }
    }
    servers
}

/// Whether a steered listener takes datagrams, so that steered names may offer HTTP/3.
fn takes_datagrams(config: &Config) -> bool {
    config
        .listeners
        .iter()
        .any(|listener| listener.mode == config::Mode::Steered && listener.serves(config::Protocol::Udp))
}

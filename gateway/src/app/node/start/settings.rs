//! The configuration as the floors below take it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use billing_export::ByteBasis;
use config::Config;
use config::dns::Clients;

use super::sinks;
use crate::app::export::orders::Plan;
use crate::flow::binding::{Nat64, Nat64Prefix};
use crate::flow::identify::IdentifyLimits;
use crate::flow::silence::SilenceLimits;
use crate::net::ingress::access::Access;
use crate::net::node::settings::{
    DatagramHeaders, DialRules, FlowsPerSubscriber, Interception, Limits, Listener, Mode, Peers,
};
use crate::net::sys::header_lengths::HeaderLengths;
use crate::net::upstream::own_addresses::OwnAddresses;
use crate::wire::quic::QuicLimits;

/// Environment variable of the test switch that interrupts the export cycle.
const FAULT_SWITCH: &str = "ZRGW_FAULT";

/// The listeners as the workers take them.
pub(super) fn listeners(config: &Config) -> Vec<Listener> {
    let mode = |listener: &config::Listener| match listener.mode {
        config::Mode::Steered => Mode::Steered {
            service_port: listener.service_port,
            access: Access {
                prefixes: listener.clients.iter().flat_map(Clients::prefixes).collect(),
                subscribers: config.subscribers.is_some() && listener.clients.contains(&Clients::Subscribers),
            },
        },
        config::Mode::ProxyProtocol => Mode::ProxyProtocol {
            peers: Peers::Within(listener.peers.clone()),
            datagrams: match listener.datagram_headers {
                config::DatagramHeaders::Any => DatagramHeaders::Any,
                config::DatagramHeaders::Each => DatagramHeaders::Each,
            },
            subscriber_tlv: listener.subscriber_tlv,
        },
        config::Mode::Transparent => Mode::Transparent {
            interception: match listener.interception {
                config::Interception::Tproxy => Interception::Tproxy,
                // Of listeners that listen.
                config::Interception::Redirect | config::Interception::Kernel => Interception::Redirect,
            },
            upstream_mark: config.edge.upstream_mark,
        },
    };
    let one = |listener: &config::Listener, address, serves_tcp, serves_udp| Listener {
        address,
        mode: mode(listener),
        serves_tcp,
        serves_udp,
    };
    let mut all = Vec::new();
    for listener in config.listeners.iter().filter(|listener| listener.listens()) {
        let serves = |protocol| listener.serves(protocol);
        let (tcp, udp) = (serves(config::Protocol::Tcp), serves(config::Protocol::Udp));
        if listener.mode != config::Mode::Transparent {
            all.push(one(listener, listener.address, tcp, udp));
            continue;
        }
        if tcp {
            all.push(one(listener, listener.address, true, false));
        }
        // Answers leave from the port of the service, so each has a listener of its own there.
        for port in config.edge.udp_ports.iter().filter(|_| udp) {
            all.push(one(listener, SocketAddr::new(listener.address.ip(), *port), false, true));
        }
    }
    all
}

/// UDP flows that nobody has answered take at most one in so many of the process's places.
const UNANSWERED_SHARE: usize = 2;

/// Limits of the data path.
pub(super) fn limits(config: &Config, workers: usize, flows_max: usize) -> Limits {
    let limits = &config.limits;
    Limits {
        adopt: config.radius.as_ref().map(|radius| radius.adopt).unwrap_or_default(),
        identify: IdentifyLimits {
            hello_handshake_bytes_max: limits.hello_handshake_max,
            hello_wire_bytes_max: limits.hello_wire_max,
            http_head_bytes_max: limits.http_head_max,
            http_headers_max: limits.http_headers_max,
        },
        quic: QuicLimits {
            crypto_bytes_max: limits.quic.crypto_max,
            fragments_max: limits.quic.fragments_max,
            datagrams_max: limits.quic.datagrams_max,
            key_derivations_max: limits.quic.key_derivations_max,
        },
        identify_deadline: limits.identify_deadline,
        idle_timeout: limits.idle_timeout,
        unknown_prefix: (limits.unknown_prefix_v4, limits.unknown_prefix_v6),
        https_idle_timeout: limits.https_idle_timeout,
        quic_idle_timeout: limits.quic_idle_timeout,
        udp_idle_timeout: limits.udp_idle_timeout,
        unanswered_timeout: limits.unanswered_timeout,
        undecided_per_worker_max: (limits.undecided_flows_max / workers.max(1)).max(1),
        held_datagrams_max: limits.quic.datagrams_max,
        proxy_header_deadline: limits.proxy_header_deadline,
        connect_timeout: config.upstream.connect_timeout,
        failed_timeout: config.upstream.failed_timeout,
        failed_per_worker_max: (config.upstream.failed_max / workers.max(1)).max(1),
        original_connect_timeout: config.upstream.original_connect_timeout,
        original_connect_timeout_ipv6: config.upstream.original_connect_timeout_ipv6,
        silence: SilenceLimits {
            time: config.edge.silent_timeout,
            max: config.edge.silent_max,
            per_subscriber_max: config.edge.silent_per_subscriber_max,
        },
        finish_deadline: limits.finish_deadline,
        flows_per_subscriber_max: FlowsPerSubscriber {
            msisdn: limits.flows_per_msisdn_max,
            imsi: limits.flows_per_imsi_max,
            account: limits.flows_per_account_max,
            unknown: limits.flows_per_subscriber_max,
        },
        unanswered_per_subscriber_max: limits.unanswered_per_subscriber_max,
        unanswered_per_worker_max: (flows_max / UNANSWERED_SHARE / workers.max(1)).max(1),
        socket_memory_per_subscriber_max: limits.socket_memory_per_subscriber_max as u64,
        accepts_per_wake_max: limits.accepts_per_wake_max,
        relay_buffer: limits.relay_buffer,
        pipes_per_worker_max: limits.splice_pipes_max,
    }
}

/// The operator's NAT64; the configuration takes such prefixes only as are possible.
pub fn nat64(config: &Config) -> Nat64 {
    let prefixes = config.trusted_answers.nat64_prefixes.iter();
    let prefixes = prefixes.filter_map(|prefix| Nat64Prefix::new(prefix.network(), prefix.prefix_len()).ok());
    Nat64::new(prefixes.collect())
}

/// Where the gateway may connect to.
pub(super) fn dial_rules(config: &Config, own_sockets: Vec<SocketAddr>) -> io::Result<DialRules> {
    Ok(DialRules {
        port_map: config.upstream.port_map.clone(),
        allow_private: config.upstream.allow_private,
        nat64: nat64(config),
        own_addresses: Arc::new(OwnAddresses::read()?),
        own_sockets,
        sources: config.upstream.source_addresses.clone(),
    })
}

/// What is counted.
pub(super) fn byte_basis(config: &Config) -> ByteBasis {
    match config.export.byte_basis {
        config::ByteBasis::Ip => ByteBasis::Ip,
        config::ByteBasis::Payload => ByteBasis::Payload,
    }
}

/// Who sees the headers of what subscribers send to the gateway itself, where they count.
pub(super) fn headers(config: &Config) -> Option<Arc<HeaderLengths>> {
    if byte_basis(config) == ByteBasis::Payload {
        return None;
    }
    match HeaderLengths::load() {
        Ok(headers) => Some(headers),
        Err(error) => {
            tracing::info!(%error, "options in the headers that subscribers send over TCP are not counted: up to 12 bytes a segment less than passed. Remedy: CAP_BPF");
            None
        }
    }
}

/// What the export task is told.
///
/// # Errors
/// Sinks that cannot be, which `load` has refused.
pub(super) fn plan(config: &Config) -> Result<Plan, String> {
    let export = &config.export;
    let sinks = sinks::plans(config).map_err(|faults| {
        faults.iter().map(|(key, problem)| format!("{key}: {problem}")).collect::<Vec<_>>().join("; ")
    })?;
    Ok(Plan {
        node_id: config.node.id.clone(),
        state_dir: config.node.state_dir.clone(),
        pickup_dir: export.dir.clone(),
        staging_dir: export.staging_dir.clone(),
        byte_basis: byte_basis(config),
        period: export.period,
        accounts_max: export.accounts_max,
        file_records_max: export.file_records_max,
        checkpoint: export.checkpoint,
        retry_max: export.retry_max,
        delivery_max: export.delivery_max,
        watermark_file: match export.release {
            config::Release::None => None,
            config::Release::WatermarkFile => Some(export.watermark_file.clone()),
        },
        retention: export.retention,
        sinks,
        fault: std::env::var(FAULT_SWITCH).ok(),
    })
}

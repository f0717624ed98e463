//! The kernel's rules as the configuration asks for them.

use config::{Config, Intercept, Interception as Wanted, KernelPath, Mode, Protocol};

use super::settings::nat64;
use crate::net::edge::nft::{Plan, Tap};
use crate::net::kernel::load as kernel;
use crate::net::node::settings::Interception;

/// The rules for the transparent listeners of a configuration; without taps there is nothing to lead anywhere.
pub fn plan(config: &Config) -> Plan {
    let edge = &config.edge;
    let transparent =
        config.listeners.iter().filter(|listener| listener.mode == Mode::Transparent && listener.listens());
    let taps = transparent.map(|listener| Tap {
        address: listener.address,
        interception: match listener.interception {
            Wanted::Tproxy => Interception::Tproxy,
            // Of listeners that listen.
            Wanted::Redirect | Wanted::Kernel => Interception::Redirect,
        },
        tcp: listener.serves(Protocol::Tcp),
        udp: listener.serves(Protocol::Udp),
    });
    Plan {
        table: edge.table.clone(),
        candidates_only: edge.intercept == Intercept::Candidates,
        candidates_max: edge.candidates_max,
        silent_max: edge.silent_max,
        nat64: nat64(config),
        interfaces: edge.interfaces.clone(),
        source_validation: edge.source_validation,
        tcp_ports: edge.tcp_ports.clone(),
        udp_ports: edge.udp_ports.clone(),
        divert_mark: edge.divert_mark,
        upstream_mark: edge.upstream_mark,
        route_table: edge.route_table,
        rule_priority: edge.rule_priority,
        alive_timeout: edge.alive_timeout,
        dscps: dscps(config),
        private_too: config.upstream.allow_private,
        taps: taps.collect(),
    }
}

/// Code points that mean "exempt".
fn dscps(config: &Config) -> Vec<u8> {
    let mut dscps: Vec<u8> = config.rating_groups.iter().filter_map(|group| group.dscp).collect();
    dscps.sort_unstable();
    dscps.dedup();
    dscps
}

/// What the kernel is to hold where it keeps the packets; none without a listener of interception "kernel".
pub fn kernel_plan(config: &Config) -> Option<kernel::Plan> {
    let KernelPath {
        pin_dir,
        slots_max,
        slots_per_subscriber_max,
        ring_max,
        marks_timeout,
        connection_timeout,
    } = config.kernel_path()?;
    let (edge, limits) = (&config.edge, &config.limits);
    Some(kernel::Plan {
        folder: pin_dir.clone(),
        interfaces: edge.interfaces.clone(),
        slots: *slots_max,
        share: *slots_per_subscriber_max,
        ring_bytes: u32::try_from(*ring_max).unwrap_or(u32::MAX),
        tcp_ports: edge.tcp_ports.clone(),
        udp_ports: edge.udp_ports.clone(),
        dscps: dscps(config),
        marks_timeout: *marks_timeout,
        idle_timeout: *connection_timeout,
        udp_idle_timeout: limits.udp_idle_timeout,
        quic_idle_timeout: limits.quic_idle_timeout,
    })
}

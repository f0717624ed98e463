//! The kernel's rules as the configuration asks for them.

use config::{Config, Intercept, Interception as Wanted, Mode, Protocol};

use super::settings::nat64;
use crate::net::edge::nft::{Plan, Tap};
use crate::net::node::settings::Interception;

/// The rules for the transparent listeners of a configuration; without taps there is nothing to lead anywhere.
pub fn plan(config: &Config) -> Plan {
    let edge = &config.edge;
    let transparent = config.listeners.iter().filter(|listener| listener.mode == Mode::Transparent);
    let taps = transparent.map(|listener| Tap {
        address: listener.address,
        interception: match listener.interception {
            Wanted::Tproxy => Interception::Tproxy,
            Wanted::Redirect => Interception::Redirect,
        },
        tcp: listener.serves(Protocol::Tcp),
        udp: listener.serves(Protocol::Udp),
    });
    let mut dscps: Vec<u8> = config.rating_groups.iter().filter_map(|group| group.dscp).collect();
    dscps.sort_unstable();
    dscps.dedup();
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
        dscps,
        private_too: config.upstream.allow_private,
        taps: taps.collect(),
    }
}

//! The tables of a compiled list: rules and denies by host, rules by prefix.
//!
//! `build` fills them once. Look-ups walk them without an allocation.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::rule::{Ports, Scope, Window};
use crate::table::{NameTable, place};

/// What a rule says besides its target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Terms {
    /// Of a host rule or deny; exact in an address rule.
    pub(super) scope: Scope,
    pub(super) ports: Ports,
    pub(super) window: Window,
    pub(super) dns_only: bool,
}

/// A rule as it is held: its target is where it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// Number of its service.
    pub(super) service: u32,
    /// Number of its terms.
    pub(super) terms: u32,
}

/// Rules and denies by host. One table for both: a name's suffixes are hashed once.
#[derive(Debug, Default)]
pub(super) struct HostTable {
    pub(super) names: NameTable,
    /// Where the rules of each host begin, and where those of the last one end.
    pub(super) firsts: Box<[u32]>,
    /// Denies and rules, host by host: denies, then rules, most specific scope first and then as written.
    pub(super) rules: Box<[Held]>,
    /// Number of the service of denies.
    pub(super) deny: u32,
    /// Length of the shortest host of a deny.
    pub(super) deny_bytes_min: usize,
}

/// Address rules by prefix.
#[derive(Debug, Default)]
pub(super) struct PrefixTable {
    /// Where the rules of each prefix begin and end.
    pub(super) by_prefix: HashMap<IpNet, (u32, u32)>,
    /// Rules, prefix by prefix, as written.
    pub(super) rules: Box<[Held]>,
    /// Lengths of the IPv4 prefixes, the longest first; only these are probed.
    pub(super) lengths_v4: Box<[u8]>,
    /// Lengths of the IPv6 prefixes, the longest first.
    pub(super) lengths_v6: Box<[u8]>,
}

impl HostTable {
    /// Denies and rules of a host.
    pub(super) fn entries_of(&self, name: u32) -> &[Held] {
        let range = || {
            let name = place(name);
            let (from, to) = (self.firsts.get(name)?, self.firsts.get(name.checked_add(1)?)?);
            self.rules.get(place(*from)..place(*to))
        };
        range().unwrap_or(&[])
    }
}

impl PrefixTable {
    /// Rules whose prefix has the address, the longest prefix first.
    pub(super) fn matching(&self, address: IpAddr) -> impl Iterator<Item = (IpNet, Held)> {
        let lengths = match address {
            IpAddr::V4(_) => &self.lengths_v4,
            IpAddr::V6(_) => &self.lengths_v6,
        };
        lengths
            .iter()
            .filter_map(move |length| Some(IpNet::new(address, *length).ok()?.trunc()))
            .filter_map(|prefix| {
                let (from, to) = self.by_prefix.get(&prefix)?;
                Some((prefix, self.rules.get(place(*from)..place(*to))?))
            })
            .flat_map(|(prefix, rules)| rules.iter().map(move |held| (prefix, *held)))
    }
}

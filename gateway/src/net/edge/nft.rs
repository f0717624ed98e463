//! The rules that lead flows to transparent listeners, as text for `nft` and commands for `ip` (decision 24).
//!
//! One table of our own and one routing rule per IP version; nothing else of the machine is touched. Everything hangs on
//! the set `alive`, whose elements run out unless the running gateway renews them: without them, without the gateway, and
//! without the table flows pass as if there were no gateway. What the gateway would not dial is never taken.

mod candidates;
mod force;
mod marks;
mod prerouting;
mod routing;
mod run;
mod silence;
mod space;
mod take;

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::flow::binding::Nat64;
use crate::net::node::settings::Interception;

/// The IP versions: as `ip` calls them, all their addresses, and whether it is version 4.
const FAMILIES: [(&str, &str, bool); 2] = [("-4", "0.0.0.0/0", true), ("-6", "::/0", false)];

/// A packet that opens a TCP connection.
const OPENS: &str = "tcp flags & (fin | syn | rst | ack) == syn";
/// Connections that were opened towards us lately and may not have a socket; about 150 bytes each.
const OPENING_MAX: usize = 131_072;
/// How long they are remembered: as long as an answer may take. The kernel's cookies are good for a minute or two.
const OPENING_TIMEOUT: Duration = Duration::from_secs(5);

/// What the rules are made from.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Name of the table.
    pub table: String,
    /// Only destinations in the sets of candidates are taken.
    pub candidates_only: bool,
    /// Most addresses in each of these sets.
    pub candidates_max: usize,
    /// Most pairs of source and destination that pass by since the destination does not answer.
    pub silent_max: usize,
    /// Prefixes behind which stand IPv4 addresses, which are candidates as a whole: the sets speak of the IPv4 addresses.
    pub nat64: Nat64,
    /// Interfaces on the subscribers' side; none: all.
    pub interfaces: Vec<String>,
    /// Only flows whose source is routed back through the interface they come by are taken.
    pub source_validation: bool,
    /// TCP ports whose flows are taken.
    pub tcp_ports: Vec<u16>,
    /// UDP ports whose flows are taken.
    pub udp_ports: Vec<u16>,
    /// Mark of packets led to our sockets.
    pub divert_mark: u32,
    /// Mark of what we send ourselves.
    pub upstream_mark: u32,
    /// Routing table that leads to our sockets.
    pub route_table: u32,
    /// Priority of the rule that asks it.
    pub rule_priority: u32,
    /// How long an element of `alive` stands.
    pub alive_timeout: Duration,
    /// DSCP values that mean "exempt" behind us: cleared where subscribers set them themselves (trap T38).
    pub dscps: Vec<u8>,
    /// Private destinations are taken too (tests and laboratories).
    pub private_too: bool,
    /// The listeners flows are led to.
    pub taps: Vec<Tap>,
}

/// One transparent listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tap {
    /// Its address; the IP version says which flows it takes.
    pub address: SocketAddr,
    /// How they are handed over.
    pub interception: Interception,
    /// Whether it takes TCP.
    pub tcp: bool,
    /// Whether it takes UDP.
    pub udp: bool,
}

/// Why the rules are not in force.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// A program cannot be started.
    #[error("cannot run {program}: {source}; install it (Debian: {package})")]
    Start {
        /// The program.
        program: &'static str,
        /// The package it comes with.
        package: &'static str,
        /// The system's word.
        source: io::Error,
    },
    /// A program said no.
    #[error("{command}: {said}; {remedy}")]
    Refused {
        /// What was run.
        command: String,
        /// What it said.
        said: String,
        /// What it needs.
        remedy: &'static str,
    },
}

impl Plan {
    /// The whole ruleset; loading it replaces a table of that name at one stroke.
    pub fn ruleset(&self) -> String {
        let mut text = String::new();
        let table = &self.table;
        // Writing to a string does not fail.
        let _ = writeln!(text, "table inet {table} {{}}\ndelete table inet {table}\ntable inet {table} {{");
        self.sets(&mut text);
        self.prerouting(&mut text);
        self.take(&mut text);
        self.passing(&mut text);
        self.redirect(&mut text);
        text.push_str("}\n");
        text
    }

    /// The dead man's set, and the candidates.
    fn sets(&self, text: &mut String) {
        let _ = write!(
            text,
            "\t# Renewed by the gateway while it answers; without elements everything passes by.\n\
             \tset alive {{\n\t\ttype inet_proto; flags timeout; timeout {};\n\t}}\n",
            milliseconds(self.alive_timeout)
        );
        for (version, kind) in [("4", "ipv4_addr"), ("6", "ipv6_addr")] {
            let timeout = milliseconds(OPENING_TIMEOUT);
            let _ = write!(
                text,
                "\t# Connections just opened: a kernel that answers a flood of them with cookies keeps no socket for them.\n\
                 \tset opening{version} {{\n\t\ttype {kind} . inet_service . {kind} . inet_service; \
                 flags dynamic, timeout; timeout {timeout}; size {OPENING_MAX};\n\t}}\n"
            );
        }
        self.silent_sets(text);
        if self.candidates_only {
            for (version, kind) in [("4", "ipv4_addr"), ("6", "ipv6_addr")] {
                let most = self.candidates_max;
                let _ = write!(
                    text,
                    "\tset candidates{version} {{\n\t\ttype {kind}; flags timeout; size {most};\n\t}}\n\
                     \tset prefixes{version} {{\n\t\ttype {kind}; flags interval;\n\t}}\n"
                );
            }
            text.push_str(
                "\t# Not empty: the gateway has filled this table.\n\tset filled {\n\t\ttype inet_proto;\n\t}\n",
            );
        }
    }

    /// Only what comes from subscribers, or goes to them.
    fn interfaces(&self, end: &str, text: &mut String) {
        if !self.interfaces.is_empty() {
            let names: Vec<String> = self.interfaces.iter().map(|name| format!("\"{name}\"")).collect();
            let _ = writeln!(text, "\t\t{end} != {{ {} }} return", names.join(", "));
        }
    }
}

/// Ports as nft writes them.
fn list(ports: &[u16]) -> String {
    joined(ports.iter())
}

/// Elements of a set as nft writes them.
fn joined(elements: impl Iterator<Item = impl ToString>) -> String {
    elements.map(|one| one.to_string()).collect::<Vec<_>>().join(", ")
}

/// A time as nft reads it.
fn milliseconds(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}

#[cfg(test)]
mod tests;

//! The rules that lead flows to transparent listeners, as text for `nft` and commands for `ip` (decision 24).
//!
//! One table of our own and one routing rule per IP version; nothing else of the machine is touched. Everything hangs on
//! the set `alive`, whose elements run out unless the running gateway renews them: without them, without the gateway, and
//! without the table flows pass as if there were no gateway. What the gateway would not dial is never taken.

mod candidates;
mod run;
mod silence;
mod space;

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use self::run::{ip, nft};
use crate::flow::binding::Nat64;
use crate::net::node::settings::Interception;

/// What the rules need.
const REMEDY: &str = "these rules need root (CAP_NET_ADMIN) and a kernel with nft_tproxy and nft_socket";
/// What routes of IPv6 need besides.
const REMEDY_V6: &str = "is IPv6 switched off on this machine? Then leave out the transparent listener with an IPv6 address, else run this as root";
/// What `ip` says of a rule that is there already.
const THERE_ALREADY: &str = "File exists";

/// The IP versions: as `ip` calls them, all their addresses, and whether it is version 4.
const FAMILIES: [(&str, &str, bool); 2] = [("-4", "0.0.0.0/0", true), ("-6", "::/0", false)];

/// A packet that opens a TCP connection.
const OPENS: &str = "tcp flags & (fin | syn | rst | ack) == syn";
/// One that may answer for an opened one.
const ANSWERS: &str = "tcp flags & (fin | syn | rst | ack) == ack";
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

    /// What leaves early, and what goes on to be taken; before connection tracking, which sees one of a flow's connections.
    fn prerouting(&self, text: &mut String) {
        if self.routes() {
            self.held(text);
        }
        let _ = write!(
            text,
            "\tchain prerouting {{\n\t\ttype filter hook prerouting priority raw; policy accept;\n\
             \t\tmeta mark {} return\n",
            self.upstream_mark
        );
        if self.routes() {
            text.push_str("\t\tmeta l4proto { tcp, udp } jump held\n");
        }
        self.interfaces("iifname", text);
        self.foreign_marks("subscriber", text);
        self.passed_by(text);
        self.unrouted(text);
        text.push_str("\t\tjump take\n\t}\n");
    }

    /// Packets of flows that we carry, from either end. Both connections of a flow have the same ends, so that to connection
    /// tracking they would be one, and a rule that drops what is invalid would stop it: only the origin's is tracked.
    fn held(&self, text: &mut String) {
        let mark = self.divert_mark;
        text.push_str(
            "\t# Flows that we carry. A socket bound to no address is a listener and none of them; a handshake that is not\n\
             \t# complete, and a connection that is just over, have no answer to that. Both connections of a flow have the same\n\
             \t# ends, and connection tracking would take them for one: only the origin's is tracked.\n\
             \tchain held {\n\t\tsocket wildcard 1 return\n",
        );
        for (protocol, ports) in self.ports() {
            let _ = writeln!(text, "\t\t{protocol} dport {{ {ports} }} socket transparent 1 notrack");
        }
        let _ = writeln!(text, "\t\tsocket transparent 1 meta mark set {mark} accept\n\t}}");
        let _ = write!(
            text,
            "\t# Answers to what was translated on its way out (masquerade): until connection tracking has seen them, they are\n\
             \t# addressed to this machine.\n\
             \tchain translated {{\n\t\ttype filter hook prerouting priority mangle; policy accept;\n\
             \t\tct status & snat == snat ct direction reply meta l4proto {{ tcp, udp }} jump translated_held\n\t}}\n\
             \tchain translated_held {{\n\t\tsocket wildcard 1 return\n\
             \t\tsocket transparent 1 meta mark set {mark}\n\t}}\n"
        );
        text.push_str("\tchain answers {\n\t\ttype filter hook output priority raw; policy accept;\n");
        for (protocol, ports) in self.ports() {
            let _ = writeln!(text, "\t\t{protocol} sport {{ {ports} }} fib saddr type != local notrack");
        }
        text.push_str("\t}\n");
    }

    /// The transports with the ports whose flows are taken; none without ports.
    fn ports(&self) -> impl Iterator<Item = (&'static str, String)> {
        let both = [("tcp", &self.tcp_ports), ("udp", &self.udp_ports)];
        both.into_iter()
            .filter(|(_, ports)| !ports.is_empty())
            .map(|(protocol, ports)| (protocol, list(ports)))
    }

    /// Nobody else's mark passes for ours (trap T38).
    fn foreign_marks(&self, whose: &str, text: &mut String) {
        for dscp in &self.dscps {
            let _ = write!(
                text,
                "\t\t# The {whose}'s own mark never passes for ours.\n\
                 \t\tip dscp {dscp} ip dscp set 0\n\t\tip6 dscp {dscp} ip6 dscp set 0\n"
            );
        }
    }

    /// What passes by on its way to subscribers: a server in league with one could set the mark for him. What we send
    /// ourselves does not come this way.
    fn passing(&self, text: &mut String) {
        if self.dscps.is_empty() {
            return;
        }
        text.push_str("\tchain passing {\n\t\ttype filter hook forward priority mangle; policy accept;\n");
        self.interfaces("oifname", text);
        self.foreign_marks("server", text);
        text.push_str("\t}\n");
    }

    /// Only what comes from subscribers, or goes to them.
    fn interfaces(&self, end: &str, text: &mut String) {
        if !self.interfaces.is_empty() {
            let names: Vec<String> = self.interfaces.iter().map(|name| format!("\"{name}\"")).collect();
            let _ = writeln!(text, "\t\t{end} != {{ {} }} return", names.join(", "));
        }
    }

    /// Sources that are not routed back by where they come from (RFC 2827, RFC 3704 §2.2): somebody else's address would be
    /// charged. Such a flow passes by as if there were no gateway, so that nothing is cut off where routes differ by
    /// direction. Looked at once a flow: what is held has gone its way before.
    fn unrouted(&self, text: &mut String) {
        if self.source_validation {
            text.push_str("\t\tfib saddr . iif oif missing counter return\n");
        }
    }

    /// To the listeners of `tproxy`, while the gateway answers. Without a listener the statement falls through. Of TCP only
    /// what opens a connection is taken: one that began while it passed by goes on past us, for the listener would reset it.
    fn take(&self, text: &mut String) {
        text.push_str("\tchain take {\n");
        for tap in self.taps.iter().filter(|tap| tap.interception == Interception::Tproxy) {
            let family = if tap.address.is_ipv4() { "ip" } else { "ip6" };
            let mark = self.divert_mark;
            if tap.tcp && !self.tcp_ports.is_empty() {
                let ports = list(&self.tcp_ports);
                let to = listener(tap.address);
                let taken = format!("meta l4proto tcp meta l4proto @alive tcp dport {{ {ports} }}");
                let (lead, keep) =
                    (format!("tproxy {family} to {to}"), format!("meta mark set {mark} notrack accept"));
                let ends = format!("{family} saddr . tcp sport . {family} daddr . tcp dport");
                let opening = format!("@opening{}", if tap.address.is_ipv4() { '4' } else { '6' });
                // A statement that fails ends its rule: without a listener nothing is remembered, and with the set full the
                // second rule takes what the first could not remember.
                let _ = write!(
                    text,
                    "\t\t{taken} {OPENS} {lead} update {opening} {{ {ends} }} {keep}\n\
                     \t\t{taken} {OPENS} {lead} {keep}\n\
                     \t\t{taken} {ANSWERS} {ends} {opening} {lead} {keep}\n"
                );
            }
            // Each port of UDP has a listener of its own, which answers from it.
            for port in self.udp_ports.iter().filter(|_| tap.udp) {
                let to = listener(SocketAddr::new(tap.address.ip(), *port));
                let _ = writeln!(
                    text,
                    "\t\tmeta l4proto udp meta l4proto @alive udp dport {port} tproxy {family} to {to} meta mark set {mark} notrack accept"
                );
            }
        }
        text.push_str("\t}\n");
    }

    /// To the listeners of `redirect`.
    fn redirect(&self, text: &mut String) {
        let taps: Vec<&Tap> =
            self.taps.iter().filter(|tap| tap.interception == Interception::Redirect).collect();
        if taps.is_empty() {
            return;
        }
        text.push_str("\tchain redirected {\n\t\ttype nat hook prerouting priority dstnat; policy accept;\n");
        let _ = writeln!(text, "\t\tmeta mark {} return", self.upstream_mark);
        self.interfaces("iifname", text);
        self.passed_by(text);
        self.unrouted(text);
        for tap in taps {
            let family = if tap.address.is_ipv4() { "ipv4" } else { "ipv6" };
            if tap.tcp && !self.tcp_ports.is_empty() {
                let ports = list(&self.tcp_ports);
                let _ = writeln!(
                    text,
                    "\t\tmeta nfproto {family} meta l4proto tcp meta l4proto @alive tcp dport {{ {ports} }} redirect to :{}",
                    tap.address.port()
                );
            }
        }
        text.push_str("\t}\n");
    }

    /// Whether packets are led to our sockets by routing.
    fn routes(&self) -> bool {
        FAMILIES.iter().any(|(_, _, is_v4)| self.routes_family(*is_v4))
    }

    /// Whether packets of this IP version are: nothing is asked of one that no listener serves.
    fn routes_family(&self, is_v4: bool) -> bool {
        self.taps.iter().any(|tap| tap.interception == Interception::Tproxy && tap.address.is_ipv4() == is_v4)
    }

    /// The commands of `ip` that lead marked packets to our sockets.
    pub fn routing(&self) -> Vec<String> {
        let (mark, table, priority) = (self.divert_mark, self.route_table, self.rule_priority);
        FAMILIES
            .iter()
            .filter(|(_, _, is_v4)| self.routes_family(*is_v4))
            .flat_map(|(version, all, _)| {
                [
                    format!("ip {version} route add local {all} dev lo table {table}"),
                    format!("ip {version} rule add fwmark {mark} lookup {table} priority {priority}"),
                ]
            })
            .collect()
    }

    /// The commands that take them back; each fails where there is nothing to take back.
    pub fn unrouting(&self) -> Vec<String> {
        let (mark, table, priority) = (self.divert_mark, self.route_table, self.rule_priority);
        FAMILIES
            .iter()
            .flat_map(|(version, all, _)| {
                [
                    format!("ip {version} rule del fwmark {mark} lookup {table} priority {priority}"),
                    format!("ip {version} route del local {all} dev lo table {table}"),
                ]
            })
            .collect()
    }

    /// Puts table and routing in force; what was there of an earlier time is replaced.
    ///
    /// # Errors
    /// What `nft` or `ip` says; then everything is as it was.
    pub fn apply(&self) -> Result<(), NftError> {
        let ruleset = self.ruleset();
        // First as a whole and without effect, so that a kernel that cannot leaves everything as it was.
        nft(&["--check", "-f", "-"], &ruleset)?;
        let mut added = Vec::new();
        let routed = self.routing().into_iter().try_for_each(|command| match ip(&command) {
            Ok(()) => {
                added.push(command);
                Ok(())
            }
            Err(NftError::Refused { said, .. }) if said.contains(THERE_ALREADY) => Ok(()),
            Err(error) => Err(error),
        });
        routed.and_then(|()| nft(&["-f", "-"], &ruleset)).inspect_err(|_| {
            for command in added.iter().rev() {
                // There is nothing to tell beside the fault itself.
                let _ = ip(&command.replacen(" add ", " del ", 1));
            }
        })
    }

    /// Takes table and routing back; what is not there is no fault.
    ///
    /// # Errors
    /// What `nft` says.
    pub fn remove(&self) -> Result<(), NftError> {
        let table = &self.table;
        nft(&["-f", "-"], &format!("table inet {table} {{}}\ndelete table inet {table}\n"))?;
        self.unroute();
        Ok(())
    }

    /// Takes the routing back, as often as it was added.
    fn unroute(&self) {
        for command in self.unrouting() {
            while ip(&command).is_ok() && command.contains(" rule ") {}
        }
    }

    /// Renews the dead man's set: flows of these transports come to us for `alive_timeout` from here on.
    ///
    /// # Errors
    /// What `nft` says; without the table that there is none.
    pub fn renew(&self) -> Result<(), NftError> {
        let table = &self.table;
        let timeout = milliseconds(self.alive_timeout);
        // Taken out and put in again in one transaction: before Linux 6.12 an element that is there keeps its old time.
        nft(
            &["-f", "-"],
            &format!(
                "add element inet {table} alive {{ tcp, udp }}\n\
                 delete element inet {table} alive {{ tcp, udp }}\n\
                 add element inet {table} alive {{ tcp timeout {timeout}, udp timeout {timeout} }}\n"
            ),
        )
    }

    /// Empties it: new flows pass by at once.
    ///
    /// # Errors
    /// As [`Plan::renew`].
    pub fn stand_aside(&self) -> Result<(), NftError> {
        nft(&["flush", "set", "inet", &self.table, "alive"], "")
    }
}

/// Where `tproxy` leads to: an address only when the listener has one of its own.
fn listener(address: SocketAddr) -> String {
    if address.ip().is_unspecified() { format!(":{}", address.port()) } else { address.to_string() }
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

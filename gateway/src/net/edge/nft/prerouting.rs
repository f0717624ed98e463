//! The chain that sees packets first: what leaves early, and what goes on to be taken.

use std::fmt::Write as _;

use super::{Plan, list};

impl Plan {
    /// What leaves early, and what goes on to be taken; before connection tracking, which sees one of a flow's connections.
    pub(super) fn prerouting(&self, text: &mut String) {
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

    /// Sources that are not routed back by where they come from (RFC 2827, RFC 3704 §2.2): somebody else's address would be
    /// charged. Such a flow passes by as if there were no gateway, so that nothing is cut off where routes differ by
    /// direction. Looked at once a flow: what is held has gone its way before.
    pub(super) fn unrouted(&self, text: &mut String) {
        if self.source_validation {
            text.push_str("\t\tfib saddr . iif oif missing counter return\n");
        }
    }
}

//! The chains that lead flows to our listeners, while the gateway answers.

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::{OPENS, Plan, Tap, list};
use crate::net::node::settings::Interception;

/// One that may answer for an opened one.
const ANSWERS: &str = "tcp flags & (fin | syn | rst | ack) == ack";

impl Plan {
    /// To the listeners of `tproxy`, while the gateway answers. Without a listener the statement falls through. Of TCP only
    /// what opens a connection is taken: one that began while it passed by goes on past us, for the listener would reset it.
    pub(super) fn take(&self, text: &mut String) {
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
    pub(super) fn redirect(&self, text: &mut String) {
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
}

/// Where `tproxy` leads to: an address only when the listener has one of its own.
fn listener(address: SocketAddr) -> String {
    if address.ip().is_unspecified() { format!(":{}", address.port()) } else { address.to_string() }
}

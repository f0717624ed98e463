//! The routing rules that lead marked packets to our sockets, as commands for `ip`.

use super::run::ip;
use super::{FAMILIES, Plan};
use crate::net::node::settings::Interception;

impl Plan {
    /// Whether packets are led to our sockets by routing.
    pub(super) fn routes(&self) -> bool {
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

    /// Takes the routing back, as often as it was added.
    pub(super) fn unroute(&self) {
        for command in self.unrouting() {
            while ip(&command).is_ok() && command.contains(" rule ") {}
        }
    }
}

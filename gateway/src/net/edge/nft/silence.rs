//! The sets of destinations that do not answer: what is in them passes by, for one source or for all.

use std::fmt::Write as _;
use std::time::Duration;

use super::run::nft;
use super::{FAMILIES, NftError, OPENS, Plan, milliseconds};
use crate::flow::silence::{Order, Passing};

/// What an earlier process put into the sets may stand beside what this one does.
const PROCESSES: usize = 2;

impl Plan {
    /// The sets.
    pub(super) fn silent_sets(&self, text: &mut String) {
        let most = self.silent_max.saturating_mul(PROCESSES);
        text.push_str(
            "\t# Destinations that did not answer the gateway, for one source and for all: they pass by.\n",
        );
        for (_, _, is_v4) in FAMILIES {
            let (version, kind) = if is_v4 { ('4', "ipv4_addr") } else { ('6', "ipv6_addr") };
            let _ = write!(
                text,
                "\tset silent{version} {{\n\t\ttype {kind} . {kind} . inet_service; flags timeout; size {most};\n\t}}\n\
                 \tset silent_to_all{version} {{\n\t\ttype {kind} . inet_service; flags timeout; size {most};\n\t}}\n"
            );
        }
    }

    /// Connections to them that begin are not taken.
    pub(super) fn silent_passed_by(&self, text: &mut String) {
        for (_, _, is_v4) in FAMILIES {
            let (version, family) = if is_v4 { ('4', "ip") } else { ('6', "ip6") };
            let _ = write!(
                text,
                "\t\t{OPENS} {family} saddr . {family} daddr . tcp dport @silent{version} return\n\
                 \t\t{OPENS} {family} daddr . tcp dport @silent_to_all{version} return\n"
            );
        }
    }

    /// Lets flows pass by, and takes them again, at one stroke.
    ///
    /// # Errors
    /// As [`Plan::renew`]; then nothing was changed.
    pub fn obey(&self, orders: &[Order]) -> Result<(), NftError> {
        nft(&["-f", "-"], &self.orders(orders))
    }

    /// The commands.
    fn orders(&self, orders: &[Order]) -> String {
        let table = &self.table;
        let mut text = String::new();
        for order in orders {
            let (Order::Pass(passing, _) | Order::Take(passing)) = order;
            let (set, element) = element(passing);
            // Put in first, so that there is something to take out; see `renew`.
            let _ = write!(
                text,
                "add element inet {table} {set} {{ {element} }}\ndelete element inet {table} {set} {{ {element} }}\n"
            );
            if let Order::Pass(_, time) = order {
                let timeout = milliseconds((*time).max(Duration::from_millis(1)));
                let _ = writeln!(text, "add element inet {table} {set} {{ {element} timeout {timeout} }}");
            }
        }
        text
    }
}

/// The set, and the element as nft writes it.
fn element(passing: &Passing) -> (String, String) {
    let (address, port) = (passing.destination.ip(), passing.destination.port());
    let version = if address.is_ipv4() { '4' } else { '6' };
    match passing.source {
        Some(source) => (format!("silent{version}"), format!("{source} . {address} . {port}")),
        None => (format!("silent_to_all{version}"), format!("{address} . {port}")),
    }
}

//! The sets of candidates in the kernel's table: each call is one transaction of `nft`, so that no flow meets half a set.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::run::nft;
use super::{NftError, Plan, joined, milliseconds};

/// Elements of a set that one command names.
const ELEMENTS_PER_COMMAND: usize = 1_000;

impl Plan {
    /// Fills the sets of candidates anew, addresses for so long each and prefixes until they are replaced, and marks the
    /// table as filled.
    ///
    /// # Errors
    /// As [`Plan::renew`]; also when a set is full. Then nothing was changed.
    pub fn fill_candidates(
        &self,
        addresses: &[IpAddr],
        time: Duration,
        prefixes: &[IpNet],
    ) -> Result<(), NftError> {
        let table = &self.table;
        let mut text = format!(
            "add element inet {table} filled {{ tcp }}\n\
             flush set inet {table} candidates4\nflush set inet {table} candidates6\n"
        );
        self.elements(addresses, time, &mut text);
        self.replace_prefixes(prefixes, &mut text);
        nft(&["-f", "-"], &text)
    }

    /// Adds or renews candidates, each for so long, and replaces the prefixes if told so.
    ///
    /// # Errors
    /// As [`Plan::fill_candidates`], and when the table is not the one that was filled: with nothing to add, this is all that
    /// is asked.
    pub fn add_candidates(
        &self,
        addresses: &[IpAddr],
        time: Duration,
        prefixes: Option<&[IpNet]>,
    ) -> Result<(), NftError> {
        let table = &self.table;
        // Deleting fails where there is nothing to delete.
        let mut text = format!(
            "delete element inet {table} filled {{ tcp }}\nadd element inet {table} filled {{ tcp }}\n"
        );
        self.elements(addresses, time, &mut text);
        if let Some(prefixes) = prefixes {
            self.replace_prefixes(prefixes, &mut text);
        }
        nft(&["-f", "-"], &text)
    }

    /// Commands that add or renew candidates.
    fn elements(&self, addresses: &[IpAddr], time: Duration, text: &mut String) {
        let table = &self.table;
        let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) =
            addresses.iter().map(IpAddr::to_canonical).partition(IpAddr::is_ipv4);
        for (version, addresses) in [('4', v4), ('6', v6)] {
            for group in addresses.chunks(ELEMENTS_PER_COMMAND) {
                let plain = joined(group.iter());
                let timed = joined(group.iter().map(|one| format!("{one} timeout {}", milliseconds(time))));
                // Taken out and put in again: see `renew`.
                let _ = write!(
                    text,
                    "add element inet {table} candidates{version} {{ {plain} }}\n\
                     delete element inet {table} candidates{version} {{ {plain} }}\n\
                     add element inet {table} candidates{version} {{ {timed} }}\n"
                );
            }
        }
    }

    /// Commands that replace the prefixes, none of which is within another.
    fn replace_prefixes(&self, prefixes: &[IpNet], text: &mut String) {
        let table = &self.table;
        let (v4, v6): (Vec<IpNet>, Vec<IpNet>) = prefixes.iter().partition(|prefix| prefix.addr().is_ipv4());
        for (version, prefixes) in [('4', v4), ('6', v6)] {
            let _ = writeln!(text, "flush set inet {table} prefixes{version}");
            for group in prefixes.chunks(ELEMENTS_PER_COMMAND) {
                let group = joined(group.iter());
                let _ = writeln!(text, "add element inet {table} prefixes{version} {{ {group} }}");
            }
        }
    }
}

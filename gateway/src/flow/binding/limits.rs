//! Sizes and times of the trusted answers.

use std::time::Duration;

/// Sizes and times of the maps (a key of `config/examples/full.toml`).
#[derive(Clone, Copy, Debug)]
pub struct AnswerLimits {
    /// How long an address counts after it was last seen.
    pub retention: Duration,
    /// Pairs of name and address in all. Worst case about 400 bytes each.
    pub pairs_max: usize,
    /// Of these, pairs of names below one rule.
    pub pairs_per_rule_max: usize,
    /// Pairs of names below rules that one subscriber was the first to have looked up.
    pub pairs_per_subscriber_max: usize,
    /// Names below one rule that were answered with an address before it is kept once, for all names below the rule.
    pub wildcard_names_min: usize,
    /// Addresses of one name; the one seen longest ago makes room.
    pub addresses_per_name_max: usize,
    /// Entries of the list that have one address; with more it counts as shared. All names below a rule are one.
    pub names_per_address_max: u32,
    /// Subscribers to whom a domain must have been answered with an address of a listed name before it is a witness that the
    /// address is shared.
    pub shared_subscribers_min: usize,
    /// Domains that must be such witnesses before it counts as shared.
    pub shared_domains_min: usize,
    /// Pairs of the DNS-only map in all. Worst case about 150 bytes each.
    pub dns_only_pairs_max: usize,
    /// Pairs of one subscriber; the one that expires first makes room.
    pub dns_only_pairs_per_subscriber_max: usize,
}

impl Default for AnswerLimits {
    /// The defaults of `[trusted_answers]`.
    fn default() -> Self {
        Self {
            retention: Duration::from_secs(86_400),
            pairs_max: 1_000_000,
            pairs_per_rule_max: 250_000,
            pairs_per_subscriber_max: 15_625,
            wildcard_names_min: 32,
            addresses_per_name_max: 512,
            names_per_address_max: 256,
            shared_subscribers_min: 32,
            shared_domains_min: 8,
            dns_only_pairs_max: 1_000_000,
            dns_only_pairs_per_subscriber_max: 512,
        }
    }
}

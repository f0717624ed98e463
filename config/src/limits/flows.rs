//! How many flows and sessions there may be, in all and of one subscriber: keys of section [limits].

use crate::dns::{
    SOURCE_PREFIX_V4_DEFAULT, SOURCE_PREFIX_V4_RANGE, SOURCE_PREFIX_V6_DEFAULT, SOURCE_PREFIX_V6_RANGE,
};
use crate::reader::Reader;
use crate::section::Section;
use std::ops::RangeInclusive;

/// Range of `flows_max` when it is a number.
pub const FLOWS_MAX_RANGE: RangeInclusive<usize> = 1..=10_000_000;
/// Flows of one subscriber (a key of `config/examples/full.toml`).
pub const FLOWS_PER_SUBSCRIBER_MAX_DEFAULT: usize = 2_048;
/// Range of `flows_per_subscriber_max` and `unanswered_per_subscriber_max`.
pub const FLOWS_PER_SUBSCRIBER_MAX_RANGE: RangeInclusive<usize> = 1..=1_000_000;
/// Addresses and prefixes that have a session: as many as the subscriber table may have rows, each some 300 bytes.
pub const SESSIONS_MAX_DEFAULT: usize = crate::subscribers::ENTRIES_MAX_DEFAULT;
/// Range of `sessions_max`.
pub const SESSIONS_MAX_RANGE: RangeInclusive<usize> = crate::subscribers::ENTRIES_MAX_RANGE;
/// UDP flows of one subscriber that nobody has answered: browsers open some dozens at once, and whoever forges his address
/// takes these places and none of his others.
pub const UNANSWERED_PER_SUBSCRIBER_MAX_DEFAULT: usize = 256;

/// Flows of the whole process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowsMax {
    /// From the limit of open files: (RLIMIT_NOFILE − 256 − pipes) / 2 (a key of `config/examples/full.toml`).
    Auto,
    /// This many.
    Count(usize),
}

/// The numbers of flows and sessions in `[limits]`.
pub(super) struct Flows {
    /// Flows of the whole process.
    pub(super) flows_max: FlowsMax,
    /// Flows of one subscriber that are read.
    pub(super) per_subscriber_max: usize,
    /// The same of one whose id is a telephone number.
    pub(super) per_msisdn_max: usize,
    /// The same of one whose id is a SIM's.
    pub(super) per_imsi_max: usize,
    /// The same of one whose id is an account.
    pub(super) per_account_max: usize,
    /// Addresses and prefixes that have a session.
    pub(super) sessions_max: usize,
    /// Bits of an IPv4 network that counts as one subscriber where no session has the address.
    pub(super) unknown_prefix_v4: u8,
    /// The same of IPv6.
    pub(super) unknown_prefix_v6: u8,
    /// UDP flows of one subscriber that nobody has answered.
    pub(super) unanswered_per_subscriber_max: usize,
}

impl Flows {
    /// Reads its keys; `rows_max` as for [`super::Limits`].
    pub(super) fn read<'t>(r: &mut Reader<'t>, s: &Section<'t>, rows_max: Option<usize>) -> Flows {
        let per_subscriber = s
            .count(
                r,
                "flows_per_subscriber_max",
                FLOWS_PER_SUBSCRIBER_MAX_DEFAULT,
                FLOWS_PER_SUBSCRIBER_MAX_RANGE,
            )
            .value;
        let mut of_type = |name: &str| s.count(r, name, per_subscriber, FLOWS_PER_SUBSCRIBER_MAX_RANGE).value;
        let [msisdn, imsi, account] =
            ["flows_per_msisdn_max", "flows_per_imsi_max", "flows_per_account_max"].map(&mut of_type);
        let unanswered = UNANSWERED_PER_SUBSCRIBER_MAX_DEFAULT;
        Flows {
            flows_max: s
                .count_or_auto(r, "flows_max", FLOWS_MAX_RANGE)
                .value
                .map_or(FlowsMax::Auto, FlowsMax::Count),
            per_subscriber_max: per_subscriber,
            per_msisdn_max: msisdn,
            per_imsi_max: imsi,
            per_account_max: account,
            sessions_max: s
                .count(r, "sessions_max", rows_max.unwrap_or(SESSIONS_MAX_DEFAULT), SESSIONS_MAX_RANGE)
                .value,
            unknown_prefix_v4: s
                .count(r, "unknown_prefix_v4", SOURCE_PREFIX_V4_DEFAULT, SOURCE_PREFIX_V4_RANGE)
                .value,
            unknown_prefix_v6: s
                .count(r, "unknown_prefix_v6", SOURCE_PREFIX_V6_DEFAULT, SOURCE_PREFIX_V6_RANGE)
                .value,
            unanswered_per_subscriber_max: s
                .count(r, "unanswered_per_subscriber_max", unanswered, FLOWS_PER_SUBSCRIBER_MAX_RANGE)
                .value,
        }
    }
}

//! Address prefixes: too wide for one platform, or not of the public Internet.

use ipnet::IpNet;

use super::{Code, Finding};
use crate::document::Place;

/// Shortest IPv4 prefix one platform may state.
const V4_LENGTH_MIN: u8 = 16;

/// Shortest IPv6 prefix one platform may state; a registry gives a provider a /32.
const V6_LENGTH_MIN: u8 = 32;

/// Prefixes that no public site has (IANA special-purpose registries, RFC 6890); those for documentation are left out,
/// because they stand in examples.
const SPECIAL: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "224.0.0.0/3",
    "::/16",
    "fc00::/7",
    "fe80::/10",
    "ff00::/8",
];

/// Checks one prefix.
pub(super) fn check(prefix: IpNet, place: Place, findings: &mut Vec<Finding>) {
    let mut add = |code, reason, remedy: String| findings.push(Finding { place, code, reason, remedy });
    let (kind, length_min) = match prefix {
        IpNet::V4(_) => ("IPv4", V4_LENGTH_MIN),
        IpNet::V6(_) => ("IPv6", V6_LENGTH_MIN),
    };
    if prefix.prefix_len() < length_min {
        let reason =
            format!("the {kind} prefix {prefix} is wider than /{length_min}: it has more than one platform");
        add(Code::WidePrefix, reason, "list the platform's own prefixes".to_owned());
    }
    let special = SPECIAL.iter().filter_map(|text| text.parse::<IpNet>().ok());
    if let Some(special) = special.into_iter().find(|special| special.contains(&prefix)) {
        let reason = format!("{prefix} lies in {special}, which is not part of the public Internet");
        add(
            Code::SpecialPrefix,
            reason,
            "remove the rule: such addresses are another host in each network".to_owned(),
        );
    }
}

//! Address prefixes: too wide for one platform, or not of the public Internet.

use std::sync::LazyLock;

use ipnet::IpNet;

use super::{Code, Findings};
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

/// IPv6 prefixes that hold all IPv4 addresses, which stand behind them: 6to4 (RFC 3056 §2) and NAT64 (RFC 6052 §2.1).
const MAPPING: &[&str] = &["2002::/16", "64:ff9b::/96"];

/// Reads a table.
fn table(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// Checks one prefix.
pub(super) fn check(prefix: IpNet, place: Place, findings: &mut Findings<'_>) {
    static SPECIAL_PREFIXES: LazyLock<Vec<IpNet>> = LazyLock::new(|| table(SPECIAL));
    static MAPPING_PREFIXES: LazyLock<Vec<IpNet>> = LazyLock::new(|| table(MAPPING));
    let mapping = MAPPING_PREFIXES.iter().find(|mapping| mapping.contains(&prefix));
    let (kind, length_min) = match (prefix, mapping) {
        (IpNet::V4(_), _) => ("IPv4", V4_LENGTH_MIN),
        (IpNet::V6(_), None) => ("IPv6", V6_LENGTH_MIN),
        (IpNet::V6(_), Some(mapping)) => ("IPv6", mapping.prefix_len().saturating_add(V4_LENGTH_MIN)),
    };
    if prefix.prefix_len() < length_min {
        findings.add(place, Code::WidePrefix, || {
            let reason = format!(
                "the {kind} prefix {prefix} is wider than /{length_min}: it has more than one platform"
            );
            (reason, "list the platform's own prefixes")
        });
    }
    if let Some(special) = SPECIAL_PREFIXES.iter().find(|special| special.contains(&prefix)) {
        findings.add(place, Code::SpecialPrefix, || {
            let reason = format!("{prefix} lies in {special}, which is not part of the public Internet");
            (reason, "remove the rule: such addresses are another host in each network")
        });
    }
}

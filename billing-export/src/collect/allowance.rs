//! `[allowance]` as the gateway's configuration has it, for statements: what a subscriber may have exempt in a day and a month. Pure.

use serde::Deserialize;

use crate::quantity;

/// The section; keys that say nothing of limits by service are passed over.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Allowances {
    /// Zone of its days and months.
    pub zone: String,
    /// All services together, in a day.
    #[serde(default, deserialize_with = "size")]
    pub daily: Option<u64>,
    /// The same in a month.
    #[serde(default, deserialize_with = "size")]
    pub monthly: Option<u64>,
    /// `[[allowance.group]]`.
    #[serde(default)]
    pub group: Vec<Group>,
}

/// Some services together.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Group {
    /// By which the gateways know it.
    pub id: String,
    /// Its services.
    pub services: Vec<String>,
    /// In a day.
    #[serde(default, deserialize_with = "size")]
    pub daily: Option<u64>,
    /// In a month.
    #[serde(default, deserialize_with = "size")]
    pub monthly: Option<u64>,
}

/// A number of bytes with its unit.
fn size<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    quantity::size(&text).map(Some).ok_or_else(|| {
        serde::de::Error::custom(format!("found {text:?}, wanted a whole number with a unit, as \"300 MiB\""))
    })
}

/// A limit that a statement speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Limit {
    /// `overall`, `group:ID`.
    pub(super) allowance: String,
    /// Of a day, or of the month that it is in.
    pub(super) monthly: bool,
    /// The services; none: all.
    pub(super) services: Option<Vec<String>>,
    /// Bytes of both directions.
    pub(super) bytes: u64,
}

impl Allowances {
    /// Every limit there is, by name and span.
    pub(super) fn limits(&self) -> Vec<Limit> {
        let of = |allowance: &str,
                  services: Option<&Vec<String>>,
                  daily: Option<u64>,
                  monthly: Option<u64>| {
            let limit = |monthly: bool, bytes: u64| Limit {
                allowance: allowance.to_owned(),
                monthly,
                services: services.cloned(),
                bytes,
            };
            daily.map(|bytes| limit(false, bytes)).into_iter().chain(monthly.map(|bytes| limit(true, bytes)))
        };
        let mut limits: Vec<Limit> = self
            .group
            .iter()
            .flat_map(|group| {
                of(&format!("group:{}", group.id), Some(&group.services), group.daily, group.monthly)
            })
            .chain(of("overall", None, self.daily, self.monthly))
            .collect();
        limits.sort_by(|one, other| (&one.allowance, one.monthly).cmp(&(&other.allowance, other.monthly)));
        limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_s_section_is_read_as_it_stands_there() {
        let read: Result<Allowances, _> = toml::from_str(
            "zone = \"Asia/Almaty\"\ndaily = \"300 MiB\"\nshared_address_daily = \"1 B\"\ncounters_max = 7\n\
             [[group]]\nid = \"library\"\nservices = [\"library\"]\nmonthly = \"1GiB\"\n",
        );
        let limits = read.unwrap().limits();
        let told: Vec<_> =
            limits.iter().map(|limit| (limit.allowance.as_str(), limit.monthly, limit.bytes)).collect();
        assert_eq!(told, [("group:library", true, 1 << 30), ("overall", false, 300 << 20)]);
        for wrong in ["300", "300 MB", "", "-1 B", "99999999999 GiB"] {
            let text = format!("zone = \"UTC\"\ndaily = \"{wrong}\"\n");
            assert!(toml::from_str::<Allowances>(&text).is_err(), "{wrong}");
        }
    }
}

//! IP bytes that the gateway's machine sent towards each of the devices' sockets, as netfilter counts them: what is sent again, what
//! the core keeps back, and what a link that is too busy drops, among them. So they are the bytes that a gateway counts whose packets
//! stay in the kernel, by another counter.

use std::collections::HashMap;
use std::io;

use serde_json::Value;

use super::client::Seen;
use super::network::ACCESS_LINK;
use super::plan::{Family, Probe, Protocol};

/// The table.
pub(super) const TABLE: &str = "sent";
/// The set of counters.
pub(super) const SET: &str = "sockets";
/// What counts, behind all that forwards.
pub(super) fn rules() -> String {
    format!(
        "table inet {TABLE} {{\n set {SET} {{ type inet_proto . inet_service . ether_type; flags dynamic; size 65535; counter; }}\n \
         chain out {{\n  type filter hook postrouting priority 300; policy accept;\n  oifname {ACCESS_LINK} meta l4proto \
         {{ tcp, udp }} update @{SET} {{ meta l4proto . th dport . meta protocol }}\n }}\n}}\n"
    )
}

/// Bytes by transport, port and IP version.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Packets(HashMap<(String, u64, String), u64>);

impl Packets {
    /// Out of what `nft -j list set` prints.
    ///
    /// # Errors
    /// It is no JSON.
    pub(super) fn read(text: &[u8]) -> io::Result<Self> {
        let value: Value = serde_json::from_slice(text).map_err(io::Error::other)?;
        let items = value.get("nftables").and_then(Value::as_array).into_iter().flatten();
        let sets = items.filter_map(|item| item.get("set")?.get("elem")?.as_array());
        let elements = sets.flatten().filter_map(|element| {
            let element = element.get("elem")?;
            let [transport, port, version] = element.get("val")?.get("concat")?.as_array()?.as_slice() else {
                return None;
            };
            let key = (transport.as_str()?.to_owned(), port.as_u64()?, version.as_str()?.to_owned());
            Some((key, element.get("counter")?.get("bytes")?.as_u64()?))
        });
        Ok(Self(elements.collect()))
    }

    /// Has each probe have the bytes that came to its socket.
    pub(super) fn tell(&self, probes: &mut [(Probe, Seen)]) {
        for (probe, seen) in probes {
            let transport = match probe.protocol {
                Protocol::Tcp => "tcp",
                Protocol::Quic => "udp",
            };
            let version = match probe.family {
                Family::V4 => "ip",
                Family::V6 => "ip6",
            };
            let key = (transport.to_owned(), u64::from(seen.port), version.to_owned());
            seen.down_bytes = self.0.get(&key).copied().unwrap_or(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_as_nft_prints_them() {
        let text = br#"{"nftables": [{"metainfo": {}}, {"set": {"name": "sockets", "elem": [
            {"elem": {"val": {"concat": ["tcp", 40000, "ip"]}, "counter": {"packets": 3, "bytes": 180}}},
            {"elem": {"val": {"concat": ["udp", 40000, "ip6"]}, "counter": {"packets": 1, "bytes": 1280}}}]}}]}"#;
        let packets = Packets::read(text).unwrap();
        assert_eq!(packets.0.len(), 2);
        assert_eq!(packets.0[&("udp".to_owned(), 40_000, "ip6".to_owned())], 1_280);
        assert!(Packets::read(b"no such set").is_err());
    }
}

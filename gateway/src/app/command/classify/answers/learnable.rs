//! Which addresses of a capture may be learnt: those that somebody may have in the network it was taken from.

use std::net::IpAddr;

use crate::flow::address::{is_documentation, is_public, meanings};
use crate::flow::binding::Nat64;

/// Whether an answer may be learnt. Captures are anonymised into documentation ranges, so these count; a loopback address
/// does where the resolver itself is on loopback, for then all of it happened on one machine.
pub(super) fn may_be_learnt(address: IpAddr, resolver: IpAddr, allow_private: bool) -> bool {
    let nat64 = Nat64::default();
    let one_machine = address.is_loopback() && resolver.to_canonical().is_loopback();
    meanings(address, &nat64).all(|meaning| {
        let nowhere = meaning.is_unspecified() || meaning.is_multicast();
        let everywhere = is_public(meaning, &nat64) || is_documentation(meaning);
        !nowhere && (allow_private || everywhere || one_machine)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_answers_count_where_asked_for_alone() {
        let counts = |address: &str, resolver: &str, allowed| {
            may_be_learnt(address.parse().unwrap(), resolver.parse().unwrap(), allowed)
        };
        for address in ["8.8.8.8", "203.0.113.1", "2001:db8::1"] {
            assert!(counts(address, "10.0.0.1", false), "{address}");
        }
        for address in [
            "10.0.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "fd00::1",
            "127.0.0.1",
            "64:ff9b::10.0.0.1",
            "2002:a00:1::1",
            "2001:db8::5efe:10.0.0.1",
        ] {
            assert!(!counts(address, "10.0.0.1", false), "{address}");
            assert!(counts(address, "10.0.0.1", true), "{address}");
        }
        assert!(counts("127.0.0.7", "127.0.0.1", false) && !counts("10.0.0.1", "127.0.0.1", false));
        assert!(!counts("0.0.0.0", "127.0.0.1", true) && !counts("ff02::1", "::1", true));
    }
}

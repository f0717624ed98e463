//! Pairs of a name and an address that were asked about in vain: for a while they are not asked about again.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use allowlist::DomainName;

use crate::flow::time::Monotonic;

/// Shortest time between two searches for denials that are over.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);
/// Pairs of name and address remembered as not vouched for; over it they are asked about again, within the budget.
const DENIED_PAIRS_MAX: usize = 65_536;

/// Pairs that were asked about in vain, and until when they are left alone.
#[derive(Default)]
pub(in crate::net::lookup) struct Denied {
    until: HashMap<(DomainName, IpAddr), Monotonic>,
    swept: Monotonic,
}

impl Denied {
    /// Whether the pair is denied.
    pub(super) fn has(&self, pair: &(DomainName, IpAddr), now: Monotonic) -> bool {
        self.until.get(pair).is_some_and(|until| now < *until)
    }

    /// Remembers that a look-up did not vouch for the pair: another flow to the same address need not ask again at once,
    /// one to another address of a rotating site must.
    pub(super) fn add(&mut self, pair: (DomainName, IpAddr), now: Monotonic, pause: Duration) {
        if self.until.len() >= DENIED_PAIRS_MAX && now.since(self.swept) >= SWEEP_PAUSE {
            self.swept = now;
            self.until.retain(|_, until| now < *until);
        }
        if self.until.len() < DENIED_PAIRS_MAX {
            self.until.insert(pair, now.plus(pause));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v5_denials_have_their_time_and_their_room() {
        let at = |seconds| Monotonic::new(Duration::from_secs(seconds));
        let name = DomainName::from_wire(b"www.listed.example").unwrap();
        let pair = |number: u32| (name.clone(), IpAddr::from(number.to_be_bytes()));
        let mut denied = Denied::default();
        denied.add(pair(0), at(10), Duration::from_secs(2));
        assert!(
            denied.has(&pair(0), at(11)) && !denied.has(&pair(0), at(12)) && !denied.has(&pair(1), at(11))
        );
        let max = u32::try_from(DENIED_PAIRS_MAX).unwrap();
        (0..max).for_each(|number| denied.add(pair(number), at(20), Duration::from_secs(30)));
        denied.add(pair(max), at(21), Duration::from_secs(30));
        assert!(denied.has(&pair(max - 1), at(21)) && !denied.has(&pair(max), at(21)), "full");
        denied.add(pair(max), at(50), Duration::from_secs(30));
        assert!(denied.has(&pair(max), at(50)), "the others' time is over");
    }
}

//! An inquiry under way: the addresses that flows wait for, with room left for every subscriber and for those whose source is
//! not forged.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use tokio::sync::watch;

use crate::net::lookup::Asker;

/// Addresses that flows wait for in one inquiry; for more the answer is no.
const WANTED_MAX: usize = 256;
/// Of these, addresses that one subscriber's flows bring: made-up ones must not leave others without an answer.
const WANTED_PER_SUBSCRIBER_MAX: usize = 64;
/// Of these, addresses that flows bring whose source may be forged.
const WANTED_UNPROVEN_MAX: usize = 128;

/// An inquiry under way.
pub(in crate::net::lookup) struct Inquiry {
    /// Changes with each answer; closed at the end.
    pub(super) rounds: watch::Receiver<usize>,
    /// Addresses that flows wait for.
    pub(super) wanted: HashSet<IpAddr>,
    /// How many of them each subscriber's flows brought.
    brought: HashMap<Asker, usize>,
    /// How many of them flows brought whose source may be forged.
    unproven: usize,
}

impl Inquiry {
    /// One in which nothing is wanted yet.
    pub(super) fn new(rounds: watch::Receiver<usize>) -> Self {
        Self { rounds, wanted: HashSet::new(), brought: HashMap::new(), unproven: 0 }
    }

    /// Whether `address` is asked about in this inquiry, for a flow of `asker`.
    pub(super) fn want(&mut self, asker: &Asker, address: IpAddr) -> bool {
        if self.wanted.contains(&address) {
            return true;
        }
        let brought = self.brought.get(asker).copied().unwrap_or(0);
        let has_room = self.wanted.len() < WANTED_MAX
            && brought < WANTED_PER_SUBSCRIBER_MAX
            && (asker.proven || self.unproven < WANTED_UNPROVEN_MAX);
        if has_room {
            self.wanted.insert(address);
            self.brought.insert(asker.clone(), brought.saturating_add(1));
            self.unproven = self.unproven.saturating_add(usize::from(!asker.proven));
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::session::SubscriberKey;
    use crate::net::lookup::flight::is_under_way;

    fn who(last: u8) -> Asker {
        Asker { subscriber: SubscriberKey::Address(IpAddr::from([10, 0, 0, last])), proven: true }
    }

    fn forged(last: u8) -> Asker {
        Asker { proven: false, ..who(last) }
    }

    #[test]
    fn v5_an_inquiry_has_room_for_addresses_and_for_every_subscriber() {
        let (sender, rounds) = watch::channel(0);
        let mut inquiry = Inquiry::new(rounds);
        let mut wanted = |last, numbers: std::ops::Range<u32>| {
            numbers.filter(|number| inquiry.want(&who(last), IpAddr::from(number.to_be_bytes()))).count()
        };
        assert_eq!(wanted(1, 0..100), 64);
        assert_eq!(wanted(1, 0..100), 64, "those are asked about already");
        assert_eq!(wanted(2, 0..100), 100, "36 of them its own");
        assert_eq!([wanted(3, 100..200), wanted(4, 200..300), wanted(5, 300..400)], [64, 64, 28]);
        assert_eq!(wanted(5, 0..64), 64);
        assert!(is_under_way(&inquiry.rounds));
        drop(sender);
        assert!(!is_under_way(&inquiry.rounds), "whoever was at work is gone");
    }

    #[test]
    fn f4_flows_whose_source_may_be_forged_leave_half_of_an_inquiry_to_others() {
        let (_sender, rounds) = watch::channel(0);
        let mut inquiry = Inquiry::new(rounds);
        let mut wanted = |who: &Asker, numbers: std::ops::Range<u32>| {
            numbers.filter(|number| inquiry.want(who, IpAddr::from(number.to_be_bytes()))).count()
        };
        assert_eq!(
            [1, 2, 3].map(|last| wanted(&forged(last), u32::from(last) * 100..u32::from(last) * 100 + 100)),
            [64, 64, 0]
        );
        assert_eq!(
            [1, 2, 3].map(|last| wanted(&who(last), u32::from(last) * 1_000..u32::from(last) * 1_000 + 100)),
            [64, 64, 0]
        );
    }
}

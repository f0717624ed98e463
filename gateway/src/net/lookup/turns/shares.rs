//! Shares of a budget: what of it each kind of look-up and each subscriber has taken, and what nobody else takes from them.

use std::collections::HashMap;

use super::Kind;
use crate::flow::session::SubscriberKey;

/// So many eighths of a number, rounded down.
fn eighths(of: u32, count: u32) -> u32 {
    u32::try_from(u64::from(of).saturating_mul(count.into()) / 8).unwrap_or(of)
}

/// What of a budget is taken, by kind and subscriber.
#[derive(Default)]
pub(in crate::net::lookup) struct Shares {
    max: u32,
    taken: [u32; 4],
    /// Further questions of inquiries.
    further: u32,
    by_subscriber: HashMap<(Kind, SubscriberKey), u32>,
}

impl Shares {
    /// So many in all.
    pub(in crate::net::lookup) fn new(max: u32) -> Self {
        Self { max, ..Self::default() }
    }

    /// Gives everything back.
    pub(in crate::net::lookup) fn clear(&mut self) {
        *self = Self::new(self.max);
    }

    /// The most that a kind may take: one at least.
    fn most(&self, kind: Kind) -> u32 {
        eighths(self.max, kind.most()).max(1)
    }

    /// The most that one subscriber may take of a kind: a quarter.
    fn most_of_one(&self, kind: Kind) -> u32 {
        match kind {
            Kind::Known => self.max.div_ceil(4),
            Kind::New | Kind::KnownUnproven | Kind::NewUnproven => self.most(kind).div_ceil(4),
        }
    }

    /// What of a kind is taken.
    fn taken(&self, kind: Kind) -> u32 {
        self.taken.get(kind.index()).copied().unwrap_or(0)
    }

    /// What those that begin have taken.
    fn begun(&self) -> u32 {
        self.taken.iter().fold(0, |sum, taken| sum.saturating_add(*taken))
    }

    /// Whether any subscriber may take one of the kind.
    pub(in crate::net::lookup) fn has_room(&self, kind: Kind) -> bool {
        let others = Kind::ALL.iter().filter(|other| **other != kind);
        let kept = others
            .map(|other| eighths(self.max, other.least()).saturating_sub(self.taken(*other)))
            .fold(self.begun(), u32::saturating_add);
        self.taken(kind) < self.most(kind)
            && kept < self.max
            && self.begun().saturating_add(self.further) < self.max
    }

    /// Whether this one may.
    pub(in crate::net::lookup) fn has_room_for(&self, kind: Kind, subscriber: &SubscriberKey) -> bool {
        let own = self.by_subscriber.get(&(kind, subscriber.clone())).copied().unwrap_or(0);
        own < self.most_of_one(kind) && self.has_room(kind)
    }

    /// Takes one.
    pub(in crate::net::lookup) fn take(&mut self, kind: Kind, subscriber: &SubscriberKey) {
        if let Some(taken) = self.taken.get_mut(kind.index()) {
            *taken = taken.saturating_add(1);
        }
        let own = self.by_subscriber.entry((kind, subscriber.clone())).or_insert(0);
        *own = own.saturating_add(1);
    }

    /// Gives one back.
    pub(in crate::net::lookup) fn give_back(&mut self, kind: Kind, subscriber: &SubscriberKey) {
        if let Some(taken) = self.taken.get_mut(kind.index()) {
            *taken = taken.saturating_sub(1);
        }
        let key = (kind, subscriber.clone());
        if let Some(own) = self.by_subscriber.get_mut(&key) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                self.by_subscriber.remove(&key);
            }
        }
    }

    /// Takes one for a further question of an inquiry, which leaves a quarter to those that begin: a claim that no answer
    /// bears out costs many questions, and must not use up those of other names.
    pub(in crate::net::lookup) fn take_further(&mut self) -> bool {
        let all = self.begun().saturating_add(self.further);
        let left = all < self.max.saturating_sub(self.max / 4);
        self.further = self.further.saturating_add(u32::from(left));
        left
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn who(last: u8) -> SubscriberKey {
        SubscriberKey::Address(IpAddr::from([10, 0, 0, last]))
    }

    /// How many of `times` are granted to a subscriber.
    fn grant(shares: &mut Shares, kind: Kind, last: u8, times: usize) -> usize {
        (0..times)
            .filter(|_| {
                let granted = shares.has_room_for(kind, &who(last));
                if granted {
                    shares.take(kind, &who(last));
                }
                granted
            })
            .count()
    }

    /// How many of three hundred each of a hundred subscribers are granted.
    fn grant_all(shares: &mut Shares, kind: Kind) -> usize {
        (1..=100).map(|last| grant(shares, kind, last, 300)).sum()
    }

    #[test]
    fn f4_no_kind_takes_what_is_another_s() {
        let mut shares = Shares::new(200);
        let by_forgers = [Kind::NewUnproven, Kind::KnownUnproven].map(|kind| grant_all(&mut shares, kind));
        assert_eq!(by_forgers, [25, 50]);
        assert_eq!([Kind::New, Kind::Known].map(|kind| grant_all(&mut shares, kind)), [75, 50]);
        shares.clear();
        assert_eq!(grant_all(&mut shares, Kind::Known), 150);
        assert_eq!([Kind::New, Kind::KnownUnproven].map(|kind| grant_all(&mut shares, kind)), [25, 25]);
        assert_eq!(Kind::ALL.map(|kind| grant_all(&mut shares, kind)), [0; 4], "at the limit");
    }

    #[test]
    fn v5_a_subscriber_has_a_quarter_and_further_questions_leave_one() {
        let mut shares = Shares::new(8);
        assert_eq!((0..9).filter(|_| shares.take_further()).count(), 6);
        assert_eq!([1, 2].map(|last| grant(&mut shares, Kind::Known, last, 9)), [2, 0], "used up");
        shares.clear();
        assert_eq!([1, 2, 3, 4].map(|last| grant(&mut shares, Kind::Known, last, 9)), [2, 2, 2, 0]);
        assert_eq!((0..9).filter(|_| shares.take_further()).count(), 0);
        shares.clear();
        assert_eq!([1, 2, 3, 4].map(|last| grant(&mut shares, Kind::New, last, 9)), [1, 1, 1, 0]);
        assert_eq!(grant(&mut shares, Kind::Known, 1, 9), 2, "his other kinds are not counted");
    }

    #[test]
    fn f4_a_budget_of_one_serves_every_kind_and_what_is_given_back_is_there_again() {
        for kind in Kind::ALL {
            let mut shares = Shares::new(1);
            assert_eq!([1, 2].map(|last| grant(&mut shares, kind, last, 2)), [1, 0], "{kind:?}");
            shares.give_back(kind, &who(1));
            assert!(shares.by_subscriber.is_empty());
            assert_eq!(grant(&mut shares, kind, 1, 2), 1);
        }
    }
}

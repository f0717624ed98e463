//! Trusted answers: which addresses a listed name was seen at (DESIGN decision 1, notes on DNS §4.3).
//!
//! Only answers of configured resolvers enter. The set is additive: an address stays for the whole retention after
//! it was last seen, so that rotating answers converge. Private answers are never learnt; the caller says what is
//! private, for laboratories may permit it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use allowlist::DomainName;

use super::time::Monotonic;

/// Sizes and times of the set (DESIGN §7).
#[derive(Clone, Copy, Debug)]
pub struct AnswerLimits {
    /// How long an address counts after it was last seen.
    pub retention: Duration,
    /// Pairs of name and address in all. Worst case about 120 bytes each.
    pub pairs_max: usize,
    /// Addresses of one name; the one seen longest ago makes room.
    pub addresses_per_name_max: usize,
}

/// A full set is searched for expired pairs at most so often: the search looks at every pair.
const SWEEP_PAUSE: Duration = Duration::from_secs(60);

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learnt {
    /// A new pair.
    New,
    /// A known pair, seen again.
    Refreshed,
    /// The set is full of pairs that are still in their retention.
    Full,
}

/// Name → addresses, each with the time it was last seen.
pub struct TrustedAnswers {
    limits: AnswerLimits,
    names: HashMap<DomainName, Vec<Seen>>,
    pairs: usize,
    /// When expired pairs were last dropped.
    swept: Option<Monotonic>,
}

/// One address of a name.
struct Seen {
    address: IpAddr,
    /// `None`: pinned by the configuration, never expires.
    last: Option<Monotonic>,
}

impl Seen {
    /// Whether the address still counts at `now`.
    fn counts(&self, now: Monotonic, retention: Duration) -> bool {
        self.last.is_none_or(|last| now.since(last) <= retention)
    }
}

impl TrustedAnswers {
    /// An empty set.
    pub fn new(limits: AnswerLimits) -> Self {
        Self { limits, names: HashMap::new(), pairs: 0, swept: None }
    }

    /// Puts in an answer of the configuration, which never expires and is never evicted.
    pub fn pin(&mut self, name: &DomainName, address: IpAddr) {
        let seen = self.names.entry(name.clone()).or_default();
        let address = address.to_canonical();
        if let Some(known) = seen.iter_mut().find(|seen| seen.address == address) {
            known.last = None;
        } else {
            seen.push(Seen { address, last: None });
            self.pairs = self.pairs.saturating_add(1);
        }
    }

    /// Learns that `name` was answered with `address` at `now`.
    pub fn learn(&mut self, name: &DomainName, address: IpAddr, now: Monotonic) -> Learnt {
        let address = address.to_canonical();
        if let Some(known) =
            self.names.get_mut(name).and_then(|seen| seen.iter_mut().find(|seen| seen.address == address))
        {
            known.last = known.last.map(|last| last.max(now));
            return Learnt::Refreshed;
        }
        let crowded =
            self.names.get(name).is_some_and(|seen| seen.len() >= self.limits.addresses_per_name_max);
        if crowded {
            return self.replace_oldest(name, address, now);
        }
        if self.pairs >= self.limits.pairs_max {
            if self.swept.is_none_or(|swept| now.since(swept) >= SWEEP_PAUSE) {
                self.sweep(now);
            }
            if self.pairs >= self.limits.pairs_max {
                return Learnt::Full;
            }
        }
        self.names.entry(name.clone()).or_default().push(Seen { address, last: Some(now) });
        self.pairs = self.pairs.saturating_add(1);
        Learnt::New
    }

    /// Puts `address` in the place of the name's address seen longest ago; pinned ones stay.
    fn replace_oldest(&mut self, name: &DomainName, address: IpAddr, now: Monotonic) -> Learnt {
        let oldest = self
            .names
            .get_mut(name)
            .and_then(|seen| seen.iter_mut().filter(|seen| seen.last.is_some()).min_by_key(|seen| seen.last));
        match oldest {
            Some(seen) => {
                *seen = Seen { address, last: Some(now) };
                Learnt::New
            }
            None => Learnt::Full,
        }
    }

    /// Whether `address` was a trusted answer for `name` within the retention.
    pub fn vouches(&self, name: &DomainName, address: IpAddr, now: Monotonic) -> bool {
        let address = address.to_canonical();
        self.names.get(name).is_some_and(|seen| {
            seen.iter().any(|seen| seen.address == address && seen.counts(now, self.limits.retention))
        })
    }

    /// Drops every pair past its retention.
    pub fn sweep(&mut self, now: Monotonic) {
        let retention = self.limits.retention;
        let mut pairs = 0_usize;
        self.names.retain(|_, seen| {
            seen.retain(|seen| seen.counts(now, retention));
            pairs = pairs.saturating_add(seen.len());
            !seen.is_empty()
        });
        self.pairs = pairs;
        self.swept = Some(now);
    }

    /// Pairs held.
    pub const fn pairs(&self) -> usize {
        self.pairs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DomainName {
        DomainName::from_wire(text.as_bytes()).unwrap()
    }

    fn at(seconds: u64) -> Monotonic {
        Monotonic::new(Duration::from_secs(seconds))
    }

    fn set(pairs_max: usize, addresses_per_name_max: usize) -> TrustedAnswers {
        TrustedAnswers::new(AnswerLimits {
            retention: Duration::from_secs(100),
            pairs_max,
            addresses_per_name_max,
        })
    }

    fn v4(last: u16) -> IpAddr {
        let [high, low] = last.to_be_bytes();
        IpAddr::from([203, 0, high, low])
    }

    #[test]
    fn n6_an_answer_counts_to_the_edge_of_its_retention() {
        let mut answers = set(10, 10);
        assert_eq!(answers.learn(&name("daryn.online"), v4(1), at(5)), Learnt::New);
        assert!(answers.vouches(&name("daryn.online"), v4(1), at(105)));
        assert!(!answers.vouches(&name("daryn.online"), v4(1), at(106)));
        assert_eq!(answers.learn(&name("daryn.online"), v4(1), at(50)), Learnt::Refreshed);
        assert!(answers.vouches(&name("daryn.online"), v4(1), at(150)));
        assert!(!answers.vouches(&name("www.daryn.online"), v4(1), at(50)));
    }

    #[test]
    fn n8_the_513th_address_takes_the_place_of_the_oldest() {
        let mut answers = set(10_000, 512);
        let host = name("daryn.online");
        for last in 0..512_u16 {
            answers.learn(&host, v4(last), at(u64::from(last) / 100));
        }
        assert_eq!(answers.pairs(), 512);
        assert!(answers.vouches(&host, v4(0), at(9)));
        assert_eq!(answers.learn(&host, v4(600), at(9)), Learnt::New);
        assert_eq!(answers.pairs(), 512);
        assert!(answers.vouches(&host, v4(600), at(9)));
        assert!(!answers.vouches(&host, v4(0), at(9)));
    }

    #[test]
    fn a_full_set_refuses_until_something_expires_and_keeps_what_is_pinned() {
        let mut answers = set(2, 10);
        answers.pin(&name("pinned.kz"), v4(9));
        assert_eq!(answers.learn(&name("a.kz"), v4(1), at(0)), Learnt::New);
        assert_eq!(answers.learn(&name("b.kz"), v4(2), at(1)), Learnt::Full);
        assert!(!answers.vouches(&name("b.kz"), v4(2), at(1)));
        assert_eq!(answers.learn(&name("b.kz"), v4(2), at(101)), Learnt::New);
        assert!(answers.vouches(&name("pinned.kz"), v4(9), at(1_000_000)));
    }

    #[test]
    fn mapped_and_plain_addresses_are_one() {
        let mut answers = set(10, 10);
        answers.learn(&name("a.kz"), "::ffff:203.0.0.1".parse().unwrap(), at(0));
        assert!(answers.vouches(&name("a.kz"), v4(1), at(0)));
        assert_eq!(answers.learn(&name("a.kz"), v4(1), at(1)), Learnt::Refreshed);
        assert_eq!(answers.pairs(), 1);
    }
}

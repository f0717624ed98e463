//! Where service bindings lead (RFC 9460 §3): what a target has, the listed names that lead to it have.

use std::collections::HashMap;

use allowlist::DomainName;

use super::learner::Listing;
use crate::flow::time::Monotonic;

/// Targets remembered at once; about 100 bytes each, and as much for each name.
const TARGETS_MAX: usize = 65_536;
/// Listed names that one such target stands for; of more, those with an entry of their own and those seen last stay, and
/// the others are verified by their own look-ups.
const NAMES_PER_TARGET_MAX: usize = 32;

/// Target → the listed names it stands for.
#[derive(Default)]
pub(super) struct Targets {
    names: HashMap<DomainName, Vec<Led>>,
}

/// A listed name that leads to a target.
struct Led {
    name: DomainName,
    /// It has an entry of its own: no made-up name displaces it.
    is_own: bool,
    /// Last moment at which it does.
    until: Monotonic,
}

impl Targets {
    /// Remembers that a service binding leads from `name` to `target`.
    pub(super) fn lead(
        &mut self,
        target: DomainName,
        (name, listing): (&DomainName, Listing),
        until: Monotonic,
        now: Monotonic,
    ) {
        if !self.names.contains_key(&target) && self.names.len() >= TARGETS_MAX {
            self.sweep(now);
            if self.names.len() >= TARGETS_MAX {
                return;
            }
        }
        let names = self.names.entry(target).or_default();
        let is_own = listing == Listing::Own;
        if let Some(known) = names.iter_mut().find(|led| led.name == *name) {
            (known.until, known.is_own) = (until.max(known.until), is_own);
            return;
        }
        let new = Led { name: name.clone(), is_own, until };
        if names.len() < NAMES_PER_TARGET_MAX {
            names.push(new);
        } else if let Some(oldest) = names.iter_mut().filter(|led| !led.is_own).min_by_key(|led| led.until) {
            *oldest = new;
        }
    }

    /// The names that lead to `target` at `now`.
    pub(super) fn of(&self, target: &DomainName, now: Monotonic) -> impl Iterator<Item = &DomainName> {
        let led = self.names.get(target).into_iter().flatten();
        led.filter(move |led| now <= led.until).map(|led| &led.name)
    }

    /// Drops what is past its time.
    pub(super) fn sweep(&mut self, now: Monotonic) {
        self.names.retain(|_, names| {
            names.retain(|led| now <= led.until);
            !names.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic::new(Duration::from_secs(seconds))
    }

    fn name(text: &str) -> DomainName {
        DomainName::from_wire(text.as_bytes()).unwrap()
    }

    #[test]
    fn f2_made_up_names_that_lead_to_a_target_displace_no_entry_and_not_the_last_seen() {
        let (mut targets, pool) = (Targets::default(), name("pool.cdn.example"));
        let below = Listing::Below { host_bytes: 9 };
        let lead = |targets: &mut Targets, text: &str, listing, now| {
            targets.lead(name("pool.cdn.example"), (&name(text), listing), at(now + 1_000), at(now));
        };
        lead(&mut targets, "listed.kz", Listing::Own, 0);
        lead(&mut targets, "www.listed.kz", below, 0);
        for number in 2..NAMES_PER_TARGET_MAX {
            lead(&mut targets, &format!("n{number}.listed.kz"), below, 1);
        }
        assert_eq!(targets.of(&pool, at(1)).count(), NAMES_PER_TARGET_MAX);
        lead(&mut targets, "www.listed.kz", below, 2);
        lead(&mut targets, "one-more.listed.kz", below, 3);
        let left: Vec<_> = targets.of(&pool, at(3)).map(ToString::to_string).collect();
        assert_eq!(left.len(), NAMES_PER_TARGET_MAX);
        for kept in ["listed.kz", "www.listed.kz", "one-more.listed.kz"] {
            assert!(left.iter().any(|name| name == kept), "{kept}");
        }
        // A name of its own finds room among made-up ones, until there are none.
        for number in 0..NAMES_PER_TARGET_MAX {
            lead(&mut targets, &format!("own{number}.kz"), Listing::Own, 4);
        }
        assert!(targets.of(&pool, at(4)).any(|name| name.as_str() == "listed.kz"));
        assert!(targets.of(&pool, at(4)).all(|name| !name.as_str().contains("www")));
        targets.sweep(at(1_004));
        assert_eq!(targets.of(&pool, at(1_004)).count(), NAMES_PER_TARGET_MAX - 1);
    }
}

//! The questions of an inquiry after its first look-up: service bindings, then every resolver by itself, again and again as
//! long as answers bring what was not known.

use std::net::IpAddr;
use std::sync::Arc;

use allowlist::DomainName;
use hickory_resolver::TokioResolver;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::net::lookup::ask::Resolvers;
use crate::net::lookup::{LookupError, Lookups};
use crate::wire::dns::Found;

/// Questions of one inquiry beyond the first look-up and the service bindings.
const QUESTIONS_MAX: usize = 64;
/// How often an address should have been seen, if it were one of those that the site picks from, before questions end in
/// vain: a pick that is independent each time then hides it from 1 inquiry in 20,000 (e^-10). With 8 of 50 addresses in
/// each answer it takes 63 answers.
const SIGHTINGS_EXPECTED: usize = 10;
/// Answers in a row with the same addresses after which a resolver is not asked further: it has one at hand, and gives it
/// until its time is over.
const REPEATS_MAX: usize = 4;
/// Targets of service bindings whose addresses are asked for.
const TARGETS_ASKED_MAX: usize = 2;

/// A resolver that is asked again and again in an inquiry.
struct Resolver {
    resolver: TokioResolver,
    /// The addresses of its last answer, and how often they came in a row.
    last: Vec<IpAddr>,
    times: usize,
}

impl Resolver {
    /// One that has not answered yet.
    fn first(resolver: TokioResolver) -> Self {
        Self { resolver, last: Vec::new(), times: 0 }
    }

    /// Notes its answer; true when it says the same over and over.
    fn repeats(&mut self, found: Found) -> bool {
        let mut addresses = found.addresses;
        addresses.sort_unstable();
        self.times = if addresses == self.last { self.times.saturating_add(1) } else { 1 };
        self.last = addresses;
        self.times >= REPEATS_MAX
    }
}

impl Lookups {
    /// The questions after the first look-up. False: the budget ended them, what is still wanted was not found out.
    pub(super) async fn inquire(self: &Arc<Self>, name: &DomainName, rounds: &watch::Sender<usize>) -> bool {
        self.look_at_bindings(name).await;
        rounds.send_modify(|round| *round = round.saturating_add(1));
        if self.is_answered(name) {
            return true;
        }
        let Some(resolvers) = &self.resolvers else { return true };
        let mut left = QUESTIONS_MAX;
        let mut asked = JoinSet::new();
        for resolver in resolvers.each.clone() {
            if !self.ask_further(&mut asked, &mut left, resolvers, Resolver::first(resolver), name) {
                return false;
            }
        }
        // Addresses in the fullest answer, the answers so far, and those in a row that brought nothing.
        let (mut longest, mut answers, mut quiet) = (0_usize, 0_usize, 0_usize);
        while let Some(answer) = asked.join_next().await {
            // Who fails is not asked again, and keeps nobody from being asked.
            let Ok((mut resolver, Ok(found))) = answer else { continue };
            let before = self.answers.addresses(name);
            self.answers.learn_found(name, &found);
            let known = self.answers.addresses(name);
            rounds.send_modify(|round| *round = round.saturating_add(1));
            longest = longest.max(found.addresses.len());
            answers = answers.saturating_add(1);
            quiet = if known == before { quiet.saturating_add(1) } else { 0 };
            let may_be_one_more = longest > 0
                && known > longest
                && answers.saturating_mul(longest) < known.saturating_mul(SIGHTINGS_EXPECTED);
            if quiet > asked.len() && (!may_be_one_more || self.is_answered(name)) {
                break;
            }
            if left == 0 || resolver.repeats(found) {
                continue;
            }
            if !self.ask_further(&mut asked, &mut left, resolvers, resolver, name) {
                return false;
            }
        }
        true
    }

    /// Asks one resolver once more, as long as there are questions `left`; false when the budget has none.
    fn ask_further(
        &self,
        asked: &mut JoinSet<(Resolver, Result<Found, LookupError>)>,
        left: &mut usize,
        resolvers: &Resolvers,
        resolver: Resolver,
        name: &DomainName,
    ) -> bool {
        if !self.take_further() {
            return false;
        }
        *left = left.saturating_sub(1);
        let (resolvers, name) = (resolvers.clone(), name.clone());
        asked.spawn(async move {
            let found = resolvers.addresses(&resolver.resolver, &name).await;
            (resolver, found)
        });
        true
    }

    /// Learns what the service bindings of `name` hint at, and the addresses of the names they lead to.
    pub(in crate::net::lookup) async fn look_at_bindings(&self, name: &DomainName) {
        let Some(resolvers) = &self.resolvers else { return };
        let asked = resolvers.bindings(&resolvers.all, name);
        let Ok(Ok(found)) = tokio::time::timeout(self.settings.try_timeout, asked).await else { return };
        self.answers.learn_found(name, &found);
        let hosts = found.targets.iter().filter_map(|target| DomainName::from_wire(&target.host()?).ok());
        for target in hosts.take(TARGETS_ASKED_MAX) {
            if !self.take_further() {
                return;
            }
            if let Ok(found) = resolvers.addresses(&resolvers.all, &target).await {
                self.answers.learn_found(&target, &found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v4_a_resolver_that_repeats_itself_is_not_asked_further() {
        let answer = |last: &[u8]| {
            let addresses = last.iter().map(|last| IpAddr::from([10, 0, 0, *last])).collect();
            Found { addresses, ..Found::default() }
        };
        let builder = TokioResolver::builder_with_config(Default::default(), Default::default());
        let mut resolver = Resolver::first(builder.build().unwrap());
        assert!((0..3).all(|_| !resolver.repeats(answer(&[1, 2]))));
        assert!(!resolver.repeats(answer(&[1, 3])), "another pick");
        assert!(!resolver.repeats(answer(&[3, 1])) && !resolver.repeats(answer(&[1, 3])));
        assert!(resolver.repeats(answer(&[3, 1])), "the order says nothing");
    }
}

//! Fills the kernel's sets of candidates: destinations of listed names and of address rules (`edge.intercept = "candidates"`).
//!
//! All else never leaves the kernel's path. An address is in the set within about a second after it was learnt; a flow that
//! is faster passes by, charged as usual. Elements run out by themselves, are renewed as long as the address counts, and are
//! filled in again when the table was replaced (`gateway nft apply`).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use allowlist::Matcher;
use ipnet::IpNet;
use tokio::time::MissedTickBehavior;

use super::nft::{NftError, Plan};
use crate::flow::binding::News;
use crate::flow::time::Monotonic;
use crate::net::edge::{Aside, Edge, run};
use crate::net::node::shared::Shared;

/// How often new addresses are looked for.
const LOOK: Duration = Duration::from_millis(250);
/// How often all trusted answers are gone through.
const REVIEW: Duration = Duration::from_secs(60);
/// How often it is looked whether the table is the one that was filled, and filled again after a failure.
const CHECK: Duration = Duration::from_secs(5);
/// How long an address stands in the kernel's set.
const ELEMENT_TIME: Duration = Duration::from_secs(1_800);
/// It is renewed when less than this is left: several reviews may fail.
const ELEMENT_TIME_LEFT_MIN: Duration = Duration::from_secs(600);

/// The keeper of the sets.
pub struct Candidates {
    plan: Plan,
    shared: Arc<Shared>,
    /// Addresses held.
    held: AtomicU64,
    /// Times an address or prefix found no room, since the start.
    full: AtomicU64,
}

/// What the kernel has, as far as we know.
struct Book {
    /// Until when it has an address.
    addresses: HashMap<IpAddr, Monotonic>,
    /// Most of them.
    max: usize,
    /// Times an address found no room, since the last look.
    left_out: u64,
}

impl Book {
    /// Nothing, with room for `max` addresses.
    fn new(max: usize) -> Self {
        Self { addresses: HashMap::new(), max, left_out: 0 }
    }

    /// Those of `wanted` that have to be added or renewed at `now`; they count as added.
    fn due(&mut self, wanted: impl IntoIterator<Item = IpAddr>, now: Monotonic) -> Vec<IpAddr> {
        let (until, renewed_before) = (now.plus(ELEMENT_TIME), now.plus(ELEMENT_TIME_LEFT_MIN));
        let mut due = Vec::new();
        for address in wanted {
            let room = self.addresses.len() < self.max;
            match self.addresses.get_mut(&address) {
                Some(known) if *known > renewed_before => continue,
                Some(known) => *known = until,
                None if room => {
                    self.addresses.insert(address, until);
                }
                None => {
                    self.left_out = self.left_out.saturating_add(1);
                    continue;
                }
            }
            due.push(address);
        }
        due
    }

    /// Forgets what the kernel has dropped.
    fn expire(&mut self, now: Monotonic) {
        self.addresses.retain(|_, until| *until > now);
    }
}

/// The prefixes of a list's address rules, none within another, at most `max`; and how many are left out.
fn prefixes(list: Option<&Matcher>, max: usize) -> (Vec<IpNet>, usize) {
    let all: Vec<IpNet> = list.into_iter().flat_map(Matcher::prefixes).collect();
    let mut joined = IpNet::aggregate(&all);
    let left_out = joined.len().saturating_sub(max);
    joined.truncate(max);
    (joined, left_out)
}

/// One keeper's view while it runs.
struct Sight {
    book: Book,
    /// The list whose prefixes the kernel has.
    list: Option<Arc<Matcher>>,
    /// Whether the kernel has what the book says.
    in_step: bool,
    /// When all answers were gone through.
    reviewed: Monotonic,
    /// When the table was last looked at or filled.
    checked: Option<Monotonic>,
    /// Whether a failure was told.
    failure_told: bool,
    /// Whether it was told that there is no room.
    full_told: bool,
}

impl Candidates {
    /// The keeper of the sets of `plan`.
    pub fn new(plan: Plan, shared: Arc<Shared>) -> Arc<Self> {
        Arc::new(Self { plan, shared, held: AtomicU64::new(0), full: AtomicU64::new(0) })
    }

    /// Addresses in the sets.
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Times an address or prefix found no room, since the start.
    pub fn full(&self) -> u64 {
        self.full.load(Ordering::Relaxed)
    }

    /// Keeps the sets in step until `edge` leads no flows here any more.
    pub async fn keep(self: Arc<Self>, edge: Arc<Edge>) {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sight = Sight {
            book: Book::new(self.plan.candidates_max),
            list: None,
            in_step: false,
            reviewed: Monotonic::default(),
            checked: None,
            failure_told: false,
            full_told: false,
        };
        while edge.aside() != Aside::Draining {
            tick.tick().await;
            let outcome = self.look(&mut sight).await;
            self.tell(&mut sight, outcome);
        }
    }

    /// Brings the kernel's sets up to date.
    async fn look(self: &Arc<Self>, sight: &mut Sight) -> Result<(), NftError> {
        let now = self.shared.clock.monotonic();
        let answers = self.shared.lookups.answers();
        let news = answers.take_news();
        let check = sight.checked.is_none_or(|last| now.since(last) >= CHECK);
        if !sight.in_step {
            return if check { self.fill(sight, now).await } else { Ok(()) };
        }
        let due = match news {
            News::Addresses(new) if now.since(sight.reviewed) < REVIEW => sight.book.due(new, now),
            News::Addresses(_) | News::Everything => {
                sight.reviewed = now;
                sight.book.expire(now);
                sight.book.due(answers.all_addresses(), now)
            }
        };
        let list = self.shared.policy.load().list.clone();
        let changed = list.as_ref().map(Arc::as_ptr) != sight.list.as_ref().map(Arc::as_ptr);
        let prefixes = changed.then(|| self.prefixes(sight, list));
        if due.is_empty() && prefixes.is_none() && !check {
            return Ok(());
        }
        sight.checked = Some(now);
        let candidates = Arc::clone(self);
        run(move || candidates.plan.add_candidates(&due, ELEMENT_TIME, prefixes.as_deref())).await
    }

    /// Fills the sets anew, as a whole.
    async fn fill(self: &Arc<Self>, sight: &mut Sight, now: Monotonic) -> Result<(), NftError> {
        (sight.checked, sight.reviewed) = (Some(now), now);
        sight.book = Book::new(self.plan.candidates_max);
        let due = sight.book.due(self.shared.lookups.answers().all_addresses(), now);
        let list = self.shared.policy.load().list.clone();
        let prefixes = self.prefixes(sight, list);
        let candidates = Arc::clone(self);
        run(move || candidates.plan.fill_candidates(&due, ELEMENT_TIME, &prefixes)).await?;
        sight.in_step = true;
        Ok(())
    }

    /// The prefixes of `list`, which counts as told to the kernel.
    fn prefixes(&self, sight: &mut Sight, list: Option<Arc<Matcher>>) -> Vec<IpNet> {
        let (prefixes, left_out) = prefixes(list.as_deref(), self.plan.candidates_max);
        sight.book.left_out = sight.book.left_out.saturating_add(left_out as u64);
        sight.list = list;
        prefixes
    }

    /// Logs and counts what came of a look.
    fn tell(&self, sight: &mut Sight, outcome: Result<(), NftError>) {
        let left_out = std::mem::take(&mut sight.book.left_out);
        self.full.fetch_add(left_out, Ordering::Relaxed);
        if left_out > 0 && !sight.full_told {
            sight.full_told = true;
            tracing::warn!(
                max = self.plan.candidates_max,
                "the sets of candidates are full: flows to further addresses pass by, charged as usual. Remedy: raise edge.candidates_max and `gateway nft apply`"
            );
        }
        match outcome {
            Ok(()) if sight.in_step => {
                sight.failure_told = false;
                self.held.store(sight.book.addresses.len() as u64, Ordering::Relaxed);
            }
            Ok(()) => {}
            Err(error) => {
                // Filled once and gone: the table was replaced, and is filled again at the next look.
                if std::mem::replace(&mut sight.in_step, false) {
                    sight.checked = None;
                    tracing::info!(%error, "the kernel's table is another one: its sets of candidates are filled again");
                } else if !std::mem::replace(&mut sight.failure_told, true) {
                    tracing::error!(%error, "the sets of candidates cannot be filled: flows pass by, charged as usual. Remedy: `gateway nft apply` with this configuration");
                }
                self.held.store(0, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    /// An address for each number.
    fn address(number: u32) -> IpAddr {
        Ipv4Addr::from(number).into()
    }

    /// A moment.
    fn at(seconds: u64) -> Monotonic {
        Monotonic::default().plus(Duration::from_secs(seconds))
    }

    #[test]
    fn addresses_are_added_once_renewed_in_time_and_forgotten_when_the_kernel_forgets_them() {
        let mut book = Book::new(10);
        let (one, two) = (address(1), address(2));
        assert_eq!(book.due([one, two, one], at(0)), [one, two]);
        assert_eq!(book.due([one], at(1_199)), [] as [IpAddr; 0]);
        assert_eq!(book.due([one], at(1_200)), [one]);
        assert_eq!(book.due([one], at(1_201)), [] as [IpAddr; 0]);
        book.expire(at(1_799));
        assert_eq!(book.addresses.len(), 2);
        book.expire(at(1_800));
        assert_eq!(book.due([one, two], at(1_800)), [two]);
    }

    #[test]
    fn no_more_than_the_limit_is_held_and_what_is_held_is_still_renewed() {
        let mut book = Book::new(3);
        let all: Vec<_> = (0..4).map(address).collect();
        assert_eq!(book.due(all.clone(), at(0)), all[..3]);
        assert_eq!((book.left_out, book.addresses.len()), (1, 3));
        assert_eq!(book.due(all.clone(), at(1_500)), all[..3]);
        assert_eq!(book.left_out, 2);
        book.expire(at(3_300));
        assert_eq!(book.due([all[3]], at(3_300)), [all[3]]);
    }
}

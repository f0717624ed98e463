//! What decisions rest on, published as one snapshot that workers take without a lock.

use std::sync::{Arc, Mutex, PoisonError};

use allowlist::{DomainName, HostMatch, Matcher, Routes, Transport};
use arc_swap::{ArcSwap, Guard};
use billing_export::Session;
use jiff::Timestamp;

use super::allowances::{Allowances, NoCounter};
use crate::flow::allowance::{AllowancePlan, Share};
use crate::flow::binding::Listing;
pub use crate::flow::engine::Exemption;
use crate::flow::engine::{self, HTTPS_PORT};
use crate::flow::rating::RatingPlan;

/// One consistent set of list, rating and limits; replaced as a whole, never changed in place.
#[derive(Clone)]
pub struct Policy {
    /// Rises with each publication; a worker that sees a new one judges its open flows again.
    pub generation: u64,
    /// The list in use, if one was ever accepted.
    pub list: Option<Arc<Matcher>>,
    /// Accepted lists whose time is still to come, the next first.
    pub pending: Vec<Arc<Matcher>>,
    /// Names of the lists accepted before it, which steered mode carries all the same (decision 4).
    pub routes: Arc<Routes>,
    /// Service → rating group.
    pub rating: Arc<RatingPlan>,
    /// How much one subscriber may have exempt.
    pub allowance: Arc<AllowancePlan>,
    /// What the subscribers have spent of it; the same in every generation.
    pub allowances: Arc<Allowances>,
    /// Whether anything may be exempt.
    pub exemption: Exemption,
}

/// Where the policy in force is published. Readers take it without a lock; writers take turns.
pub struct PolicyCell {
    current: ArcSwap<Policy>,
    turn: Mutex<()>,
}

impl PolicyCell {
    /// Publishes the first policy.
    pub fn new(policy: Policy) -> Self {
        Self { current: ArcSwap::from_pointee(policy), turn: Mutex::new(()) }
    }

    /// The policy in force.
    pub fn load(&self) -> Guard<Arc<Policy>> {
        self.current.load()
    }

    /// Publishes what `change` makes of a copy of the policy in force, as the next generation; nothing where that is the same:
    /// each generation has all open flows judged again.
    pub fn update(&self, change: impl FnOnce(&mut Policy)) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.current.load();
        let mut next = Policy::clone(&current);
        change(&mut next);
        if next.is_same(&current) {
            return;
        }
        next.generation = next.generation.wrapping_add(1);
        self.current.store(Arc::new(next));
    }
}

impl Policy {
    /// Whether every decision is that of `other`.
    fn is_same(&self, other: &Self) -> bool {
        let is_same = |(one, other): (&Arc<Matcher>, &Arc<Matcher>)| Arc::ptr_eq(one, other);
        let lists = |policy: &Self| policy.list.iter().chain(&policy.pending).cloned().collect::<Vec<_>>();
        let (own, others) = (lists(self), lists(other));
        self.list.is_some() == other.list.is_some()
            && own.len() == others.len()
            && own.iter().zip(&others).all(is_same)
            && Arc::ptr_eq(&self.routes, &other.routes)
            && self.rating == other.rating
            && self.allowance == other.allowance
            && Arc::ptr_eq(&self.allowances, &other.allowances)
            && self.exemption == other.exemption
    }

    /// Whether steered mode carries `name`: some list ever accepted speaks of it, expired or not.
    pub fn routes(&self, name: &DomainName) -> bool {
        self.list.iter().chain(&self.pending).any(|list| list.covers(name)) || self.routes.covers(name)
    }

    /// Whether the list in use has a rule that stands under `name` itself: such names cannot be made up.
    pub fn names_itself(&self, name: &DomainName) -> bool {
        let Some(list) = &self.list else { return false };
        match list.host(name, Transport::Tcp, HTTPS_PORT, None) {
            HostMatch::Listed(rule) | HostMatch::Port(rule) | HostMatch::NotInForce(rule) => {
                rule.host() == Some(name.as_str())
            }
            HostMatch::NotListed | HostMatch::Denied(_) => false,
        }
    }

    /// How the lists speak of `name`: the list in use first, those still to come, then those whose names steered mode carries.
    pub fn listing(&self, name: &DomainName) -> Listing {
        let mut lists = self.list.iter().chain(&self.pending);
        lists.find_map(|list| list.coverage(name)).or_else(|| self.routes.coverage(name)).into()
    }

    /// The next instant at which a date changes an answer: one of the list, or midnight where days are counted.
    pub fn next_change_after(&self, at: Timestamp) -> Option<Timestamp> {
        let listed = self.list.as_ref().and_then(|list| list.next_change_after(at));
        let midnight = || Some(self.allowances.calendar(&self.allowance, at)?.until());
        let midnight = if self.allowance.is_unlimited() { None } else { midnight() };
        listed.into_iter().chain(midnight).min()
    }
}

impl engine::Allowances for Policy {
    fn share(
        &self,
        session: &Session,
        service: &str,
        is_at_shared_address: bool,
        at: Timestamp,
    ) -> Result<Option<Share>, NoCounter> {
        if self.allowance.is_unlimited() {
            return Ok(None);
        }
        self.allowances.share(&self.allowance, session, (service, is_at_shared_address), at)
    }
}

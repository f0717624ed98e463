//! What decisions rest on, published as one snapshot that workers take without a lock.

use std::sync::{Arc, Mutex, PoisonError};

use allowlist::{DomainName, HostMatch, Matcher, Routes, Transport};
use arc_swap::{ArcSwap, Guard};
use billing_export::{Account, Entry, Reason, Session};
use jiff::Timestamp;

use super::allowances::{Allowances, NoCounter};
use crate::flow::allowance::{AllowancePlan, Share};
use crate::flow::binding::Listing;
use crate::flow::engine::{HTTPS_PORT, Standing};
use crate::flow::rating::RatingPlan;
use crate::flow::session::SubscriberTable;
use crate::flow::verdict::{Outcome, Verdict};

/// Whether anything may be exempt at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exemption {
    /// Decisions follow the list.
    Allowed,
    /// Counts cannot be saved: everything is charged as `overload`, so that no exempt byte is without a record.
    Suspended,
}

/// One consistent set of list, subscribers and rating; replaced as a whole, never changed in place.
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
    /// Address → subscriber.
    pub subscribers: Arc<SubscriberTable>,
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

    /// Publishes what `change` makes of a copy of the policy in force, as the next generation.
    pub fn update(&self, change: impl FnOnce(&mut Policy)) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Policy::clone(&self.current.load());
        change(&mut next);
        next.generation = next.generation.wrapping_add(1);
        self.current.store(Arc::new(next));
    }
}

impl Policy {
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

    /// `verdict`, or `overload` while exemption is suspended.
    pub fn limit(&self, verdict: Verdict) -> Verdict {
        match (self.exemption, &verdict.outcome) {
            (Exemption::Suspended, Outcome::Exempt { .. }) => {
                Verdict { outcome: Outcome::Charged(Reason::Overload), ..verdict }
            }
            (Exemption::Allowed, _) | (Exemption::Suspended, Outcome::Charged(_)) => verdict,
        }
    }

    /// The flow's share in what the subscriber may have exempt, and `verdict`, unless nothing is left or it cannot be counted.
    pub fn allow(
        &self,
        standing: &Standing,
        verdict: Verdict,
        at_shared_address: bool,
        at: impl FnOnce() -> Timestamp,
    ) -> (Verdict, Option<Share>) {
        if self.allowance.is_unlimited() {
            return (verdict, None);
        }
        let (Outcome::Exempt { service, .. }, Standing::Known(session)) = (&verdict.outcome, standing) else {
            return (verdict, None);
        };
        let reason = match self.allowances.share(&self.allowance, session, (service, at_shared_address), at())
        {
            Ok(None) => return (verdict, None),
            Ok(Some(share)) if share.has_room() => return (verdict, Some(share)),
            Ok(Some(_)) => Reason::CapReached,
            Err(NoCounter) => Reason::Overload,
        };
        (Verdict { outcome: Outcome::Charged(reason), ..verdict }, None)
    }

    /// The account that bytes under `verdict` belong to.
    pub fn account(&self, standing: &Standing, verdict: &Verdict) -> Account {
        let list = verdict.list.clone();
        let session = match standing {
            Standing::Known(session) => session.clone(),
            Standing::Unknown => {
                let entry = Entry::Unattributed(Reason::NoSubscriber);
                return Account { session: Session::none(), list, entry };
            }
            Standing::Ended => {
                let entry = Entry::Unattributed(Reason::SessionEnded);
                return Account { session: Session::none(), list, entry };
            }
        };
        let entry = match &verdict.outcome {
            Outcome::Exempt { service, .. } => {
                let group = self.rating.group(service);
                Entry::Exempt {
                    service: Arc::clone(service),
                    rating_group: group.id,
                    disposition: group.disposition,
                }
            }
            Outcome::Charged(reason) => Entry::Charged(*reason),
        };
        Account { session, list, entry }
    }
}

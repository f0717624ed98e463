//! What a flow is judged by: list, rating, evidence and allowances at a moment, and what they make of a verdict.

use std::net::IpAddr;
use std::sync::Arc;

use allowlist::{DomainName, Matcher};
use billing_export::{Account, Class, Entry, ListVersion, Reason, Session};
use jiff::Timestamp;

use super::account::nobodys;
use crate::flow::allowance::{NoCounter, Share};
use crate::flow::mark::Mark;
use crate::flow::rating::RatingPlan;
use crate::flow::session::{Standing, SubscriberKey};
use crate::flow::verdict::{Outcome, Verdict};

/// Whether anything may be exempt at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exemption {
    /// Decisions follow the list.
    Allowed,
    /// Counts cannot be saved: everything is charged as `overload`, so that no exempt byte is without a record.
    Suspended,
}

/// The trusted answers, as a verdict asks them.
pub trait Evidence {
    /// The address that rules speak of: IPv4 where the destination stands behind a NAT64.
    fn destination(&self, address: IpAddr) -> IpAddr;

    /// Whether `address` is a trusted answer for `name`, for flows of `subscriber`.
    fn vouches_for(&self, subscriber: &SubscriberKey, name: &DomainName, address: IpAddr) -> bool;

    /// Whether the address counts as shared for the flows of `subscriber`.
    fn is_shared_for(&self, subscriber: &SubscriberKey, address: IpAddr) -> bool;
}

/// What subscribers may have exempt.
pub trait Allowances {
    /// The share of a flow of `session` in what it may have exempt of `service`; none where nothing limits it.
    ///
    /// # Errors
    /// A counter is wanted and there is no room for it: what cannot be counted is not exempt.
    fn share(
        &self,
        session: &Session,
        service: &str,
        is_at_shared_address: bool,
        at: Timestamp,
    ) -> Result<Option<Share>, NoCounter>;
}

/// What a verdict rests on beside the flow itself, all of one moment.
pub struct Terms<'a> {
    /// The list in use, if one was ever accepted.
    pub list: Option<&'a Matcher>,
    /// Whether anything may be exempt.
    pub exemption: Exemption,
    /// Service → rating group.
    pub rating: &'a RatingPlan,
    /// The trusted answers.
    pub evidence: &'a dyn Evidence,
    /// What subscribers may have exempt.
    pub allowances: &'a dyn Allowances,
    /// The moment.
    pub now: Timestamp,
}

/// Where the terms in force are found. They are asked for when a flow is judged, never for a byte.
pub trait World {
    /// Hands them to `judge`.
    fn consult<R>(&self, judge: impl FnOnce(&Terms<'_>) -> R) -> R;
}

impl Terms<'_> {
    /// `verdict`, or `overload` while exemption is suspended.
    pub(super) fn limit(&self, verdict: Verdict) -> Verdict {
        match (self.exemption, &verdict.outcome) {
            (Exemption::Suspended, Outcome::Exempt { .. }) => {
                Verdict { outcome: Outcome::Charged(Reason::Overload), ..verdict }
            }
            (Exemption::Allowed, _) | (Exemption::Suspended, Outcome::Charged(_)) => verdict,
        }
    }

    /// The flow's share in what the subscriber may have exempt, and `verdict`, unless nothing is left or it cannot be counted.
    pub(super) fn allow(
        &self,
        standing: &Standing,
        verdict: Verdict,
        is_at_shared_address: bool,
    ) -> (Verdict, Option<Share>) {
        let (Outcome::Exempt { service, .. }, Some(session)) = (&verdict.outcome, standing.session()) else {
            return (verdict, None);
        };
        let reason = match self.allowances.share(session, service, is_at_shared_address, self.now) {
            Ok(None) => return (verdict, None),
            Ok(Some(share)) if share.has_room() => return (verdict, Some(share)),
            Ok(Some(_)) => Reason::CapReached,
            Err(NoCounter) => Reason::Overload,
        };
        (Verdict { outcome: Outcome::Charged(reason), ..verdict }, None)
    }

    /// The account that bytes under `verdict` belong to.
    pub(super) fn account(&self, standing: &Standing, verdict: &Verdict) -> Account {
        let list = verdict.list.clone();
        let session = match standing {
            Standing::Introduced(session) | Standing::Known(session) | Standing::Suspect(session) => {
                session.clone()
            }
            Standing::Stale(_) => return unattributed(list, Reason::StaleSubscriber),
            Standing::Unknown | Standing::Nobody => return unattributed(list, Reason::NoSubscriber),
            Standing::Ended => return unattributed(list, Reason::SessionEnded),
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

    /// Where bytes of UDP go that nobody answered: to nobody, whoever has the source address.
    pub(super) fn unanswered_account(&self, standing: &Standing) -> Account {
        match standing {
            Standing::Introduced(_) | Standing::Known(_) | Standing::Suspect(_) => nobodys(),
            Standing::Nobody | Standing::Stale(_) | Standing::Unknown | Standing::Ended => {
                let outcome = Outcome::Charged(Reason::Undecided);
                self.account(standing, &Verdict { outcome, rule: None, list: None })
            }
        }
    }

    /// What the packets of a flow with this verdict carry, by the account its bytes go to.
    pub(super) fn mark(&self, verdict: &Verdict, account: &Account) -> Mark {
        match (&verdict.outcome, account.entry.class()) {
            (Outcome::Exempt { service, .. }, Class::Exempt) => self.rating.group(service).mark,
            (Outcome::Exempt { .. } | Outcome::Charged(_), _) => Mark::NONE,
        }
    }
}

/// The account of bytes that belong to no subscriber.
fn unattributed(list: Option<ListVersion>, reason: Reason) -> Account {
    Account { session: Session::none(), list, entry: Entry::Unattributed(reason) }
}

//! How much of one subscriber's traffic may be exempt in a day and a month (traps T22, T24, T31).
//!
//! Exempt traffic is bounded where no check of a flow can bound it: what is fetched from a listed site by a program, what
//! is hidden behind a listed name on an address that others share, what a listed resolver carries as a tunnel. A cap
//! never stops traffic: what comes after it is charged as `cap_reached`.
//!
//! Counted are the bytes that were exempt, never those that were carried; a count that would pass its limit is split, so
//! that no record says more than the limit. While bytes move they are held against the limit too ([`Share::moved`]), so
//! that each flow's mark ends within two buffers of it, whichever workers carry the subscriber's other flows.

mod calendar;
mod share;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use billing_export::Session;
use jiff::Timestamp;
use jiff::tz::TimeZone;

pub use calendar::{Calendar, Length, Span};
pub use share::{Counter, Part, Share};

/// There is no room for another counter, or time is out of all bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoCounter;

/// What an allowance is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// All services.
    Overall,
    /// Bytes at addresses that are known to serve other sites too.
    SharedAddresses,
    /// The services of a group, by its id.
    Group(Arc<str>),
}

impl fmt::Display for Scope {
    /// The word of the ledger.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overall => f.write_str("overall"),
            Self::SharedAddresses => f.write_str("shared_addresses"),
            Self::Group(id) => write!(f, "group:{id}"),
        }
    }
}

impl Scope {
    /// The scope of the ledger's word.
    pub fn from_label(label: &str) -> Option<Self> {
        match label {
            "overall" => Some(Self::Overall),
            "shared_addresses" => Some(Self::SharedAddresses),
            other => other.strip_prefix("group:").map(|id| Self::Group(Arc::from(id))),
        }
    }
}

/// Limits in bytes of both directions; none: without limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// From midnight to midnight.
    pub daily: Option<u64>,
    /// From the first of a month to the first of the next.
    pub monthly: Option<u64>,
}

impl Limits {
    /// Each limit there is.
    fn each(self) -> impl Iterator<Item = (Length, u64)> {
        let limits = [(Length::Day, self.daily), (Length::Month, self.monthly)];
        limits.into_iter().filter_map(|(length, limit)| Some((length, limit?)))
    }
}

/// All limits, and where midnight is.
#[derive(Clone, Debug, PartialEq)]
pub struct AllowancePlan {
    zone: TimeZone,
    overall: Limits,
    shared_addresses: Limits,
    groups: HashMap<Arc<str>, Limits>,
    group_of: HashMap<Arc<str>, Arc<str>>,
    counters_max: usize,
}

/// One limit that a flow's bytes fall under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// What it is for.
    pub scope: Scope,
    /// For how long.
    pub length: Length,
    /// Bytes of both directions.
    pub limit: u64,
}

impl AllowancePlan {
    /// No limit at all.
    pub fn unlimited() -> Self {
        Self::new(TimeZone::UTC, Limits::default(), Limits::default(), [])
    }

    /// The plan of these limits; a group has an id, limits and services.
    pub fn new(
        zone: TimeZone,
        overall: Limits,
        shared_addresses: Limits,
        groups: impl IntoIterator<Item = (Arc<str>, Limits, Vec<Arc<str>>)>,
    ) -> Self {
        let mut plan = Self {
            zone,
            overall,
            shared_addresses,
            groups: HashMap::new(),
            group_of: HashMap::new(),
            counters_max: usize::MAX,
        };
        for (id, limits, services) in groups {
            plan.group_of.extend(services.into_iter().map(|service| (service, Arc::clone(&id))));
            plan.groups.insert(id, limits);
        }
        plan
    }

    /// The same with room for so many counters at once: one for each subscriber, scope and length.
    #[must_use]
    pub fn with_counters_max(self, counters_max: usize) -> Self {
        Self { counters_max, ..self }
    }

    /// Most counters at once.
    pub const fn counters_max(&self) -> usize {
        self.counters_max
    }

    /// Where midnight is.
    pub const fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Whether there is such a limit.
    pub fn has(&self, scope: &Scope, length: Length) -> bool {
        let limits = match scope {
            Scope::Overall => Some(self.overall),
            Scope::SharedAddresses => Some(self.shared_addresses),
            Scope::Group(id) => self.groups.get(id).copied(),
        };
        limits.is_some_and(|limits| limits.each().any(|(stated, _)| stated == length))
    }

    /// Whether nothing is ever capped.
    pub fn is_unlimited(&self) -> bool {
        let none = Limits::default();
        self.overall == none && self.shared_addresses == none && self.groups.is_empty()
    }

    /// The limits on exempt bytes of `service`.
    pub fn bounds(&self, service: &str, at_shared_address: bool) -> impl Iterator<Item = Bound> {
        let shared = at_shared_address.then_some((Scope::SharedAddresses, self.shared_addresses));
        let group = self.group_of.get(service).and_then(|id| {
            let limits = self.groups.get(id)?;
            Some((Scope::Group(Arc::clone(id)), *limits))
        });
        let scopes = [Some((Scope::Overall, self.overall)), shared, group];
        scopes.into_iter().flatten().flat_map(|(scope, limits)| {
            limits.each().map(move |(length, limit)| Bound { scope: scope.clone(), length, limit })
        })
    }

    /// The day and the month of `at`; see [`Calendar::at`].
    pub fn calendar(&self, at: Timestamp, former: Option<&Calendar>) -> Option<Calendar> {
        Calendar::at(&self.zone, at, former)
    }
}

/// Whose allowance it is: a subscriber, whichever session of theirs.
#[derive(Clone, Debug)]
pub struct Subscriber(Session);

impl Subscriber {
    /// Whose session it is.
    pub fn of(session: &Session) -> Self {
        Self(session.clone())
    }

    /// A session of theirs.
    pub const fn session(&self) -> &Session {
        &self.0
    }

    /// Kind and number, which make the subscriber.
    fn id(&self) -> (billing_export::SubscriberType, &str) {
        (self.0.subscriber_type(), self.0.subscriber_id())
    }
}

impl PartialEq for Subscriber {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl Eq for Subscriber {}

impl std::hash::Hash for Subscriber {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.id().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use billing_export::SubscriberType;

    use super::*;

    #[test]
    fn a_service_falls_under_its_own_limits_beside_the_overall_ones() {
        let (day, both) =
            (Limits { daily: Some(7), monthly: None }, Limits { daily: Some(300), monthly: Some(2_000) });
        let groups = [(Arc::from("dns"), day, vec![Arc::from("resolver"), Arc::from("other")])];
        let shared = Limits { daily: None, monthly: Some(9) };
        let plan = AllowancePlan::new(TimeZone::UTC, both, shared, groups);
        let bounds = |service, shared| -> Vec<String> {
            plan.bounds(service, shared)
                .map(|bound| format!("{} {} {}", bound.scope, bound.length.label(), bound.limit))
                .collect()
        };
        assert_eq!(bounds("school", false), ["overall day 300", "overall month 2000"]);
        assert_eq!(
            bounds("resolver", true),
            ["overall day 300", "overall month 2000", "shared_addresses month 9", "group:dns day 7"]
        );
        assert!(!plan.is_unlimited());
        let group = |id: &str| Scope::Group(Arc::from(id));
        assert!(plan.has(&Scope::Overall, Length::Day) && plan.has(&group("dns"), Length::Day));
        assert!(!plan.has(&group("dns"), Length::Month) && !plan.has(&group("gone"), Length::Day));
        assert!(!plan.has(&Scope::SharedAddresses, Length::Day));
        let unlimited = AllowancePlan::unlimited();
        assert!(unlimited.is_unlimited());
        let none = Limits::default();
        for (overall, shared, groups) in
            [(day, none, vec![]), (none, day, vec![]), (none, none, vec![(Arc::from("dns"), day, vec![])])]
        {
            assert!(!AllowancePlan::new(TimeZone::UTC, overall, shared, groups).is_unlimited());
        }
        assert_eq!(unlimited.bounds("school", true).count(), 0);
    }

    #[test]
    fn scopes_read_back_from_the_ledger_s_words() {
        for scope in [Scope::Overall, Scope::SharedAddresses, Scope::Group(Arc::from("a-1"))] {
            assert_eq!(Scope::from_label(&scope.to_string()), Some(scope));
        }
        assert_eq!(Scope::from_label("everything"), None);
    }

    #[test]
    fn sessions_of_one_subscriber_share_and_other_kinds_of_the_same_number_do_not() {
        let of = |kind, session| Subscriber::of(&Session::new(kind, "77010000001", session).unwrap());
        assert_eq!(of(SubscriberType::Msisdn, "a"), of(SubscriberType::Msisdn, "b"));
        assert_ne!(of(SubscriberType::Msisdn, "a"), of(SubscriberType::Account, "a"));
    }
}

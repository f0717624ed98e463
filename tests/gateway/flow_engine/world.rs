//! The world that a test makes up around one flow: list, evidence, allowances and clock.

use std::cell::Cell;
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use allowlist::{Document, DomainName, Matcher};
use billing_export::{Disposition, Session, SubscriberType};
use gateway::flow::allowance::{
    Counter as Spending, Length, NoCounter, Part, Scope, Share, Span, Subscriber,
};
use gateway::flow::engine::{Allowances, Evidence, Exemption, Terms, World};
use gateway::flow::mark::Mark;
use gateway::flow::rating::{RatingGroup, RatingPlan};
use gateway::flow::session::SubscriberKey;
use jiff::Timestamp;
use jiff::civil::date;

/// A list with one service, in force from January to June.
const LIST: &str = r#"format = 1
list_id = "test"
serial = 4
issued = 2026-01-01T00:00:00Z
effective_from = 2026-01-02T00:00:00Z
expires = 2026-06-01T00:00:00Z

[[service]]
id = "school"
name = "School"
owner = "School"
reference = "test"

[[service.rule]]
host = "listed.example"
scope = "subtree"
reason = "test"
evidence = "seen"
"#;
/// Where the listed name is.
pub const SITE: &str = "203.0.113.9";
/// The client's first record of application data.
pub const DATA: [u8; 6] = [23, 3, 3, 0, 1, 0];
/// What exempt packets carry.
pub const MARK: Mark = Mark { dscp: 46, fwmark: 7, upstream: false };

/// The list, or one that lacks the name.
pub fn list(is_listed: bool) -> Matcher {
    let text = if is_listed { LIST.to_owned() } else { LIST.replace("listed.example", "else.example") };
    Matcher::new(&Document::parse(&text).unwrap())
}

/// A subscriber's session.
pub fn session(id: &str) -> Session {
    Session::new(SubscriberType::Account, id, "").unwrap()
}

/// What is known in this world.
pub struct Known {
    pub list: Option<Matcher>,
    pub exemption: Exemption,
    pub rating: RatingPlan,
    /// Names and where they are.
    pub trusted: HashSet<(DomainName, IpAddr)>,
    pub shared: HashSet<IpAddr>,
    /// What the subscriber has spent, and may.
    pub cap: Option<(Arc<Spending>, u64)>,
    /// Whether there is room for a counter.
    pub has_counter: bool,
    /// Whether look-ups are begun.
    pub may_ask: bool,
    pub now: Timestamp,
    /// How often a judgement asked.
    pub consulted: Cell<u64>,
}

impl Known {
    pub(super) fn new() -> Self {
        let group = RatingGroup { id: 1, disposition: Disposition::Tagged, mark: MARK };
        Self {
            list: Some(list(true)),
            exemption: Exemption::Allowed,
            rating: RatingPlan::new(group, Vec::new()),
            trusted: HashSet::new(),
            shared: HashSet::new(),
            cap: None,
            has_counter: true,
            may_ask: true,
            now: "2026-03-01T00:00:00Z".parse().unwrap(),
            consulted: Cell::new(0),
        }
    }

    /// Learns that the listed name is at the site.
    pub fn trust(&mut self) {
        self.trusted.insert((DomainName::from_wire(b"listed.example").unwrap(), SITE.parse().unwrap()));
    }

    /// Limits what the subscriber may have exempt; the counter is shared by all his flows.
    pub fn limit(&mut self, bytes: u64) -> Arc<Spending> {
        let span = Span { length: Length::Day, first: date(2026, 3, 1) };
        let spending = Arc::new(Spending::new(Subscriber::of(&session("one")), Scope::Overall, span));
        self.cap = Some((Arc::clone(&spending), bytes));
        spending
    }
}

impl Evidence for Known {
    fn destination(&self, address: IpAddr) -> IpAddr {
        address
    }

    fn vouches_for(&self, _: &SubscriberKey, name: &DomainName, address: IpAddr) -> bool {
        self.trusted.contains(&(name.clone(), address))
    }

    fn is_shared_for(&self, _: &SubscriberKey, address: IpAddr) -> bool {
        self.shared.contains(&address)
    }
}

impl Allowances for Known {
    fn share(&self, _: &Session, _: &str, _: bool, _: Timestamp) -> Result<Option<Share>, NoCounter> {
        if !self.has_counter {
            return Err(NoCounter);
        }
        Ok(self
            .cap
            .as_ref()
            .map(|(counter, limit)| Share::new([Part { counter: Arc::clone(counter), limit: *limit }])))
    }
}

impl World for Known {
    fn consult<R>(&self, judge: impl FnOnce(&Terms<'_>) -> R) -> R {
        self.consulted.set(self.consulted.get() + 1);
        judge(&Terms {
            list: self.list.as_ref(),
            exemption: self.exemption,
            rating: &self.rating,
            evidence: self,
            allowances: self,
            now: self.now,
        })
    }
}

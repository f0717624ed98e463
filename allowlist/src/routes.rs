//! The names of lists that are no longer in force: what a steered node goes on carrying (decision 4).
//!
//! Names and how far each reached, nothing else: no dates, ports or services, for nothing is exempt by them. One set over all
//! former lists, without what the list in force says itself; two editions differ in a few names, so that it stays small.

use crate::matcher::{Coverage, Matcher};
use crate::name::DomainName;
use crate::rule::Scope;
use crate::table::{NameTable, NameTableBuilder, place};

/// Former lists whose names are carried; those of older ones are let go.
pub const FORMER_LISTS_MAX: u8 = 15;

/// Names of former lists.
#[derive(Debug, Default)]
pub struct Routes {
    names: NameTable,
    /// What is known of each name.
    reaches: Box<[Reach]>,
}

/// How far the rules and denies of one host reached, and how many lists ago the last of them stood.
#[derive(Clone, Copy, Debug)]
struct Reach {
    scopes: Scopes,
    age: u8,
}

/// A set of scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scopes(u8);

impl Scopes {
    /// The set with one scope more.
    #[must_use]
    pub(crate) const fn with(self, scope: Scope) -> Scopes {
        let bit = match scope {
            Scope::Exact => 1,
            Scope::OneLabel => 2,
            Scope::Subtree => 4,
        };
        Scopes(self.0 | bit)
    }

    /// Whether any of them reaches a name this many labels below the host.
    const fn reaches(self, labels_below: usize) -> bool {
        self.reach_by(Scope::Exact, labels_below)
            || self.reach_by(Scope::OneLabel, labels_below)
            || self.reach_by(Scope::Subtree, labels_below)
    }

    /// Whether this scope is among them and reaches a name this many labels below the host.
    const fn reach_by(self, scope: Scope, labels_below: usize) -> bool {
        self.has_all(Scopes(0).with(scope)) && scope.reaches(labels_below)
    }

    /// Whether all of the others are among these.
    const fn has_all(self, others: Scopes) -> bool {
        others.0 & !self.0 == 0
    }
}

impl Routes {
    /// Whether a former list spoke of the name.
    #[must_use]
    pub fn covers(&self, name: &DomainName) -> bool {
        self.coverage(name).is_some()
    }

    /// By which entry a former list spoke of the name: the most specific one. A deny is not told from a rule.
    #[must_use]
    pub fn coverage(&self, name: &DomainName) -> Option<Coverage> {
        self.names.walk(name).find_map(|step| {
            let reach = self.reaches.get(place(step.name))?;
            let reaches = reach.scopes.reaches(step.labels_below);
            reaches.then(|| Coverage::by(step.bytes, step.labels_below))
        })
    }

    /// How many hosts there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.reaches.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.reaches.is_empty()
    }

    /// These names and those of `former`, the list that `current` follows, without what `current` says itself; and how many
    /// hosts found no room among `hosts_max`, those of the oldest lists first.
    #[must_use]
    pub fn after(&self, former: &Matcher, current: Option<&Matcher>, hosts_max: usize) -> (Routes, usize) {
        let is_said = |host: &str, scopes| current.is_some_and(|list| list.scopes_at(host).has_all(scopes));
        let mut merged =
            Merged { names: NameTableBuilder::with_capacity(0), reaches: Vec::new(), hosts_max, left_out: 0 };
        for (host, scopes) in former.host_scopes() {
            if !is_said(host, scopes) {
                merged.add(host, Reach { scopes, age: 0 });
            }
        }
        let mut older: Vec<(u8, u32)> = Vec::new();
        for (name, host) in self.names.names() {
            let Some(reach) = self.reaches.get(place(name)) else { continue };
            let age = reach.age.saturating_add(1);
            if age < FORMER_LISTS_MAX && !is_said(host, reach.scopes) {
                older.push((age, name));
            }
        }
        older.sort_unstable();
        for (age, name) in older {
            if let (Some(host), Some(reach)) = (self.names.get(name), self.reaches.get(place(name))) {
                merged.add(host, Reach { scopes: reach.scopes, age });
            }
        }
        (Routes { names: merged.names.finish(), reaches: merged.reaches.into() }, merged.left_out)
    }
}

/// Names under way into a new set.
struct Merged {
    names: NameTableBuilder,
    reaches: Vec<Reach>,
    hosts_max: usize,
    left_out: usize,
}

impl Merged {
    /// Adds what is known of a host; of one that is there already, the scopes, and the age stays.
    fn add(&mut self, host: &str, reach: Reach) {
        let is_new = self.names.find(host).is_none();
        if is_new && self.reaches.len() >= self.hosts_max {
            self.left_out = self.left_out.saturating_add(1);
            return;
        }
        match self.names.intern(host).and_then(|name| self.reaches.get_mut(place(name))) {
            Some(known) => known.scopes = Scopes(known.scopes.0 | reach.scopes.0),
            None => self.reaches.push(reach),
        }
    }
}

//! What the clients counted themselves, by what must become of it.

use std::collections::BTreeMap;
use std::io;

use billing_export::{Class, Volume};

use crate::app::lab::demo::world::{Expected, Flow};

/// Failures that are kept with their text; the rest are counted.
const FAILURES_MAX: usize = 20;

/// What a figure is kept for: subscriber, class, service or reason.
pub(in crate::app) type Line = (String, Class, String);

/// What the clients themselves counted.
#[derive(Debug, Default)]
pub(in crate::app::lab::demo) struct Tally {
    /// TCP and UDP payload bytes by what must become of them.
    pub lines: BTreeMap<Line, Volume>,
    /// Flows carried to their end.
    pub carried: u64,
    /// Flows refused as they had to be.
    pub refused: u64,
    /// Refusals that had to come.
    pub refusals_wanted: u64,
    /// Flows that failed.
    pub failed: u64,
    /// What was wrong with the first of them.
    pub failures: Vec<String>,
}

/// A flow that ended.
pub(super) struct Ended {
    /// The flow.
    pub(super) flow: Flow,
    /// What the client counted.
    pub(super) volume: Volume,
    /// How it ended.
    pub(super) outcome: io::Result<()>,
}

impl Tally {
    /// Flows that ended in whatever way.
    pub(in crate::app::lab::demo) fn flows(&self) -> u64 {
        self.carried.saturating_add(self.refused).saturating_add(self.failed)
    }

    /// Adds a flow that ended.
    pub(super) fn add(&mut self, ended: Ended) {
        let Ended { flow, volume, outcome } = ended;
        let (class, detail) = match flow.visit.expected {
            Expected::Exempt(service) => (Class::Exempt, service),
            Expected::Charged(reason) | Expected::Refused(reason) => (Class::Charged, reason.label()),
        };
        let line = (flow.subscriber.label(), class, detail.to_owned());
        let sum = self.lines.entry(line).or_default();
        // Not to be reached: 2^64 bytes take centuries on any interface.
        *sum = sum.checked_add(volume).unwrap_or(*sum);
        let refusal = matches!(flow.visit.expected, Expected::Refused(_));
        if refusal {
            self.refusals_wanted = self.refusals_wanted.saturating_add(1);
        }
        match outcome {
            Ok(()) if refusal => self.refused = self.refused.saturating_add(1),
            Ok(()) => self.carried = self.carried.saturating_add(1),
            Err(error) => {
                let name = flow.visit.name.unwrap_or("a site without SNI");
                self.fail(format!("{} to {name}, {:?}: {error}", flow.subscriber.label(), flow.visit.via));
            }
        }
    }

    /// Notes a failure.
    pub(super) fn fail(&mut self, text: String) {
        self.failed = self.failed.saturating_add(1);
        if self.failures.len() < FAILURES_MAX {
            self.failures.push(text);
        }
    }
}

//! Running totals: each usage row continues that of the row before for the same key, and a correction repeats it.

use std::collections::HashMap;

use super::faults::Faults;
use crate::class::{Class, Reason};
use crate::record::{Body, Record};
use crate::subscriber::Session;
use crate::unit::{NodeId, Volume};

/// Key of a running total.
#[derive(PartialEq, Eq, Hash)]
struct TotalKey {
    /// Whose.
    session: Session,
    /// As what.
    class: Class,
    /// Why.
    reason: Option<Reason>,
    /// For which service.
    service: Option<std::sync::Arc<str>>,
}

/// Running totals of one node's epoch.
#[derive(Default)]
pub(super) struct Totals {
    /// By key, after the last record read.
    running: HashMap<TotalKey, Volume>,
    /// Node, epoch and last record.
    at: Option<(NodeId, u32, u64)>,
    /// Whether the epoch was read from its first record.
    complete: bool,
}

impl Totals {
    /// Checks the running total of a record against the one before it.
    pub(super) fn check(&mut self, record: &Record, faults: &mut Faults<'_>) {
        let follows = self.at.as_ref().is_some_and(|(node_id, epoch, seq)| {
            *node_id == record.node_id && *epoch == record.epoch && seq.checked_add(1) == Some(record.seq)
        });
        if !follows {
            *self = Totals { complete: record.seq == 1, ..Totals::default() };
        }
        self.at = Some((record.node_id.clone(), record.epoch, record.seq));
        let (Body::Usage { account, total, .. } | Body::Adjust { account, total, .. }) = &record.body else {
            return;
        };
        let key = TotalKey {
            session: account.session.clone(),
            class: account.entry.class(),
            reason: account.entry.reason(),
            service: account.entry.service().cloned(),
        };
        let before = self.running.insert(key, *total).or(self.complete.then_some(Volume::ZERO));
        let Some(before) = before else { return };
        // A total is of what was counted: a correction may be of a record of another epoch, and leaves it as it is.
        let (up, down) = match &record.body {
            Body::Usage { .. } => record.bytes(),
            Body::Adjust { .. } | Body::Heartbeat | Body::Gap => (0, 0),
        };
        let text = |direction: &str| format!("record_seq {}, {direction}_bytes_total", record.seq);
        const WHY: &str = "the total before and the row's bytes give";
        faults.compare(&text("up"), total.up.into(), i128::from(before.up).saturating_add(up), WHY);
        faults.compare(&text("down"), total.down.into(), i128::from(before.down).saturating_add(down), WHY);
    }
}

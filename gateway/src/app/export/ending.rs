//! The end of a process that has the ledger: the last counts, sealed, and handed to every way out that takes them.

use std::time::{Duration, Instant};

use billing_export::Cause;

use super::Export;
use super::orders::Ending;
use super::sinks::Waited;

/// How often the store is tried again at the end of the process.
const LAST_TRIES: u32 = 3;
/// How long the sinks may take for what is sealed at the end of the process.
const DELIVERY_LIMIT: Duration = Duration::from_secs(40);
/// What of the time for the end is left for closing the ledger.
const CLOSING: Duration = Duration::from_secs(5);

impl Export {
    /// The last counts, sealed and published, by the time `until`; what cannot be saved is told.
    pub(super) fn last_round(&mut self, until: Option<Instant>) -> Ending {
        if let Err(error) = self.save() {
            self.tell(&error);
        }
        let mut reports = self.stop_workers();
        let mut lost = None;
        for _ in 0..LAST_TRIES {
            if self.unsaved.is_none() && !reports.is_empty() {
                self.unsaved = Some(self.tick(std::mem::take(&mut reports)));
            }
            lost = self.save().err();
            if lost.is_none() && reports.is_empty() && self.unsaved.is_none() {
                break;
            }
        }
        let is_delivered = self.last_delivery(until);
        if lost.is_some() || self.unsaved.is_some() || !reports.is_empty() {
            // Left as after a crash: the next start finds an unclean stop and flags what it recovers.
            let error = lost.map(|error| error.to_string());
            tracing::error!(error, "the last counts are lost: they could not be saved and are in no record");
            return Ending::Lost;
        }
        if let Some(exporter) = self.exporter.take()
            && let Err(error) = exporter.close()
        {
            tracing::error!(%error, "the ledger was not closed cleanly; its content is safe");
        }
        if is_delivered { Ending::Sealed } else { Ending::Kept }
    }

    /// Seals what is open and waits for the sinks; whether they have it.
    fn last_delivery(&mut self, until: Option<Instant>) -> bool {
        const KEPT: &str = "what is counted stays in the ledger and is published at the next start";
        if let Err(error) = self.seal(Some(Cause::Shutdown)) {
            tracing::error!(%error, "{KEPT}");
            return false;
        }
        let left = until.map(|until| until.saturating_duration_since(Instant::now()).saturating_sub(CLOSING));
        let waited = self.sinks.wait(left.unwrap_or(DELIVERY_LIMIT).min(DELIVERY_LIMIT));
        match waited {
            Waited::Delivered => {}
            Waited::Failed => tracing::error!("{KEPT}: a sink does not take it"),
            Waited::StandsStill => tracing::error!("{KEPT}: a sink stands still"),
            Waited::OutOfTime => tracing::error!("{KEPT}: a sink was not done in time"),
        }
        self.sinks.dismiss();
        waited == Waited::Delivered
    }
}

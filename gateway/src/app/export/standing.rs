//! How counting stands: whether exemption is safe, and what log and admin endpoint are told.

use billing_export::{ExportError, Exporter};

use super::sinks::Sinks;
use super::{Books, Export};
use crate::app::node::status::ExportState;
use crate::net::node::policy::Exemption;
use crate::net::sys::clock::wall;

impl Export {
    /// Suspends exemption while counts go unsaved for too long, and allows it again.
    pub(super) fn judge_exemption(&self) {
        let closed = matches!(self.books, Books::Own) && self.exporter.is_none();
        let unsaved = closed || self.shared.is_overdue(self.clock.monotonic());
        let wanted = if unsaved { Exemption::Suspended } else { Exemption::Allowed };
        if self.policy.load().exemption != wanted {
            match wanted {
                Exemption::Suspended => {
                    tracing::error!("counts cannot be saved: everything is charged until they can")
                }
                Exemption::Allowed => tracing::info!("counts are saved: exemption follows the list"),
            }
            self.policy.update(|next| next.exemption = wanted);
        }
    }

    /// Logs a fault once for as long as it stays the same.
    pub(super) fn tell(&mut self, error: &ExportError) {
        let text = error.to_string();
        if self.told.as_ref() != Some(&text) {
            tracing::error!("export: {text}");
            self.told = Some(text);
        }
    }

    /// Tells the admin endpoint how things stand.
    pub(super) fn tell_status(&mut self, silent_workers: usize) {
        let saved_ago =
            jiff::SignedDuration::try_from(self.shared.age(self.clock.monotonic())).unwrap_or_default();
        let own = self.attention.iter().cloned();
        let attention =
            own.chain(self.watched.attention(self.clock)).chain(self.leaving.attention()).collect();
        let outbox_records = self.exporter.as_mut().and_then(Exporter::outbox_records);
        self.status.set_export(ExportState {
            fault: self.told.clone().or_else(|| self.sinks.fault()),
            last_saved: self.exporter.as_ref().and_then(|_| wall().checked_sub(saved_ago).ok()),
            epoch: self.exporter.as_ref().map(Exporter::epoch),
            backlog_records: Sinks::backlog_records(self.exporter.as_ref()),
            outbox_records,
            sinks: self.sinks.states(self.exporter.as_ref()),
            mismatches: self.exporter.as_ref().map_or(0, Exporter::conservation_mismatches),
            silent_workers,
            attention,
        });
    }
}

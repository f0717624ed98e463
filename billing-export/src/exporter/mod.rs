//! Ledger, store and file sink in one: what the gateway's export task and the crash tests drive.

use jiff::Timestamp;

use crate::account::Tick;
use crate::error::ExportError;
use crate::settings::Settings;
use crate::steps::Steps;
use crate::unit::Cause;

/// Ledger, store and file sink of one node.
pub struct Exporter {
    settings: Settings,
    steps: Box<dyn Steps>,
}

impl Exporter {
    /// Opens or creates the state of the node.
    ///
    /// # Errors
    /// See [`ExportError`].
    pub fn open(
        settings: Settings,
        now: Timestamp,
        start_id: [u8; 16],
        steps: Box<dyn Steps>,
    ) -> Result<Exporter, ExportError> {
        let _ = (now, start_id);
        Ok(Exporter { settings, steps })
    }

    /// Applies one tick durably.
    ///
    /// # Errors
    /// See [`ExportError`].
    pub fn checkpoint(&mut self, tick: &Tick) -> Result<(), ExportError> {
        let _ = (tick, &self.settings, &mut self.steps);
        Ok(())
    }

    /// Seals every ended period.
    ///
    /// # Errors
    /// See [`ExportError`].
    pub fn seal_due(&mut self, now: Timestamp) -> Result<u64, ExportError> {
        let _ = now;
        Ok(0)
    }

    /// Seals what is open.
    ///
    /// # Errors
    /// See [`ExportError`].
    pub fn seal_now(&mut self, now: Timestamp, cause: Cause) -> Result<u64, ExportError> {
        let _ = (now, cause);
        Ok(0)
    }

    /// Publishes what is sealed.
    ///
    /// # Errors
    /// See [`ExportError`].
    pub fn publish(&mut self) -> Result<u64, ExportError> {
        Ok(0)
    }

    /// Records sealed and not yet published.
    pub fn backlog_records(&self) -> u64 {
        0
    }

    /// The epoch of the records.
    pub fn epoch(&self) -> u32 {
        1
    }

    /// Files whose bytes were not conserved, since the state was created.
    pub fn conservation_mismatches(&self) -> u64 {
        0
    }

    /// A clean stop.
    ///
    /// # Errors
    /// See [`ExportError`].
    pub fn close(self) -> Result<(), ExportError> {
        Ok(())
    }
}

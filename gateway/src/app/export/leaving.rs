//! Records that leave the ledger once billing has them (`export.release`): looked at once a minute, a part in each tick.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use billing_export::pickup::read_watermark;
use billing_export::{ExportError, Release, Released, Watermark};

use super::Export;
use crate::flow::time::Monotonic;
use crate::net::sys::attention::{Attention, AttentionReason};
use crate::net::sys::clock::wall;

/// How often the watermark is looked at.
const LOOK: Duration = Duration::from_secs(60);

/// How it stands.
#[derive(Default)]
pub(super) struct Leaving {
    /// When it was looked at; none where more is to leave at the next tick.
    looked: Option<Monotonic>,
    /// Why nothing leaves.
    fault: Option<String>,
}

impl Leaving {
    /// What the operator has to see to.
    pub(super) fn attention(&self) -> Option<Attention> {
        let fault = self.fault.as_ref()?;
        Some(Attention::new(
            AttentionReason::ReleaseHeld,
            format!("sealed records stay in the state: {fault}"),
        ))
    }
}

impl Export {
    /// Lets records leave that may.
    ///
    /// # Errors
    /// The ledger's. What is wrong with the watermark is told under attention, and holds up nothing else.
    pub(super) fn let_leave(&mut self) -> Result<(), ExportError> {
        let (Some(path), Some(exporter)) = (&self.plan.watermark_file, &mut self.exporter) else {
            return Ok(());
        };
        let now = self.clock.monotonic();
        if self.leaving.looked.is_some_and(|looked| now.since(looked) < LOOK) {
            return Ok(());
        }
        self.leaving.looked = Some(now);
        let fault = match read(path) {
            // Billing's ledger has written none yet.
            Ok(None) => None,
            Err(fault) => Some(fault),
            Ok(Some(watermark)) => {
                // Those that are configured: one that is not any more waits for nothing.
                let sinks: Vec<String> = self.plan.sinks.iter().map(|sink| sink.id.clone()).collect();
                let (watermark, retention) = (&watermark, self.plan.retention);
                let release = Release { watermark, retention, sinks: Some(&sinks) };
                match exporter.release(wall(), release) {
                    Ok(Released { files, records }) => {
                        if files > 0 {
                            tracing::info!(files, records, "records that billing has leave the ledger");
                        }
                        if records > 0 {
                            self.leaving.looked = None;
                        }
                        None
                    }
                    Err(error @ ExportError::Settings(_)) => Some(format!("{}: {error}", path.display())),
                    Err(error) => return Err(error),
                }
            }
        };
        if let Some(fault) = fault.as_ref().filter(|_| fault != self.leaving.fault) {
            tracing::warn!("export.watermark_file: {fault}");
        }
        self.leaving.fault = fault;
        Ok(())
    }
}

/// Reads a watermark; none where there is no file.
fn read(path: &Path) -> Result<Option<Watermark>, String> {
    let at = |fault: String| format!("{}: {fault}", path.display());
    match read_watermark(path) {
        Ok(read) => read.map(Some).map_err(at),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(format!("reading the watermark: {error}"))),
    }
}

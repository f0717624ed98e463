//! Sealed records that leave the state once billing has them, every sink has them, and they are old enough.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use super::corrections::open_where_nobody_runs;
use super::{Exporter, LOCK_NAME};
use crate::error::ExportError;
use crate::sink::file::Lock;
use crate::store::{Released, Releasing};
use crate::watermark::Watermark;

/// Most records taken away in one transaction: nobody waits for longer than a fraction of a second.
const AT_ONCE: u64 = 20_000;

/// Between two parts of a state that no gateway has, so that one that starts gets it.
const PAUSE: Duration = Duration::from_millis(50);

/// What may leave.
#[derive(Debug, Clone, Copy)]
pub struct Release<'a> {
    /// How far billing's ledger is.
    pub watermark: &'a Watermark,
    /// How long records stay at least, by the end of a file's last record.
    pub retention: Duration,
    /// Sinks that have to have a file, beside the folder of usage files; none: all that the ledger has heard of.
    pub sinks: Option<&'a [String]>,
}

impl Release<'_> {
    /// The order for the store.
    fn at(&self, now: Timestamp) -> Releasing<'_> {
        Releasing {
            watermark: self.watermark,
            sinks: self.sinks,
            // Where the clock is too near to the beginning of time nothing is old.
            before: now.checked_sub(self.retention).unwrap_or(Timestamp::MIN),
            now,
            records_max: AT_ONCE,
        }
    }
}

impl Exporter {
    /// Takes away what may leave, a part at each call; nothing where all of it has left.
    ///
    /// # Errors
    /// The store's; a watermark that is not of this ledger.
    pub fn release(&mut self, now: Timestamp, release: Release<'_>) -> Result<Released, ExportError> {
        self.with_live(|live, _, _| live.store.release(release.at(now)))
    }

    /// Records that are sealed and in the state; none while the ledger has to be read again.
    pub fn outbox_records(&mut self) -> Option<u64> {
        let store = &self.live.as_ref()?.store;
        let ends = store.outbox_ends().ok()?;
        // The sum is over every file that is there: it is taken anew when one comes or goes.
        let records = match self.outbox.filter(|(known, _)| *known == ends) {
            Some((_, records)) => records,
            None => store.outbox_records().ok()?,
        };
        self.outbox = Some((ends, records));
        Some(records)
    }
}

/// Takes away what may leave a state that no gateway has; `progress` is told what has left so far.
///
/// # Errors
/// The store's; a gateway that runs, a watermark that is not of this ledger, a ledger of a version before.
pub fn prune(
    state_dir: &Path,
    release: Release<'_>,
    now: Timestamp,
    progress: &mut dyn FnMut(Released),
) -> Result<Released, ExportError> {
    let (mut lock, mut store) = open_where_nobody_runs(state_dir)?;
    let mut all = Released::default();
    loop {
        // A gateway that starts meanwhile does not wait for all of it: it has the state between two parts.
        drop(lock);
        std::thread::sleep(PAUSE);
        lock = Lock::take(state_dir.join(LOCK_NAME))?;
        let Released { files, records } = store.release(release.at(now))?;
        if (files, records) == (0, 0) {
            return Ok(all);
        }
        all.files = all.files.saturating_add(files);
        all.records = all.records.saturating_add(records);
        progress(all);
    }
}

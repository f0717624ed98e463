//! What is on disk, and its mirror in memory.
//!
//! A tick and a seal change both. The store is written first; memory follows what was committed.

use jiff::Timestamp;

use crate::account::{Account, Tick};
use crate::error::ExportError;
use crate::ledger::{Ledger, Opening, Segment};
use crate::period::to_millis;
use crate::settings::Settings;
use crate::steps::Steps;
use crate::store::{STORE_NAME, SealOrder, Sealer, Store, WriteTurn};
use crate::unit::Cause;

/// What is on disk, and its mirror in memory.
pub(super) struct Live {
    /// On disk.
    pub(super) store: Store,
    /// In memory.
    pub(super) ledger: Ledger,
}

impl Live {
    /// Reads what is on disk. Refuses a ledger that another start has written since.
    pub(super) fn read(settings: &Settings, start_id: &str, turn: &WriteTurn) -> Result<Live, ExportError> {
        let store = Store::open(&settings.state_dir.join(STORE_NAME), turn)?;
        let node = store.node()?;
        let ours = node.as_ref().is_some_and(|node| node.mark.start_id.as_deref() == Some(start_id));
        if !store.examine()?.is_clean() {
            return Err(ExportError::Changed { path: store.path().to_owned(), what: "a row" });
        }
        let Some(node) = node.filter(|_| ours) else { return Err(store.of_another_start()) };
        Live::of(store, node.tick_sequence, settings)
    }

    /// Reads counters and segment.
    pub(super) fn of(store: Store, tick_sequence: u64, settings: &Settings) -> Result<Live, ExportError> {
        let (segment, counters) = store.open_counters()?;
        let ledger = Ledger::new(counters, segment, tick_sequence, settings.accounts_max);
        Ok(Live { store, ledger })
    }

    /// Adds a tick, durably.
    pub(super) fn add(&mut self, tick: &Tick, steps: &mut dyn Steps) -> Result<(), ExportError> {
        let Live { store, ledger } = self;
        let mut opening = |account: &Account| -> Result<Opening, ExportError> { store.opening(account) };
        let mut staged = ledger.stage(tick, &mut opening)?;
        store.write_tick(&mut staged, &tick.spent, steps)?;
        ledger.apply(staged);
        Ok(())
    }

    /// Seals the open segment; the next one begins.
    pub(super) fn seal(
        &mut self,
        order: &SealOrder,
        settings: &Settings,
        steps: &mut dyn Steps,
    ) -> Result<u64, ExportError> {
        let sealer = Sealer::of(settings);
        let sealed = self.store.seal(&sealer, &self.ledger, order, steps)?;
        self.ledger.begin(order.next);
        Ok(sealed)
    }

    /// Seals the open segment at the end of its period if `now` is past it.
    pub(super) fn seal_ended(
        &mut self,
        now: Timestamp,
        settings: &Settings,
        steps: &mut dyn Steps,
    ) -> Result<u64, ExportError> {
        let segment = self.ledger.segment();
        if to_millis(now) < segment.end {
            return Ok(0);
        }
        let current = settings.period.start_of(now).max(segment.end);
        let order = SealOrder {
            end: segment.end,
            cause: Cause::Period,
            skipped_until: (current > segment.end).then_some(current),
            next: segment.following(current, settings.period),
        };
        self.seal(&order, settings, steps)
    }

    /// Seals the open segment as it stands.
    pub(super) fn seal_part(
        &mut self,
        segment: Segment,
        now: Timestamp,
        cause: Cause,
        settings: &Settings,
        steps: &mut dyn Steps,
    ) -> Result<u64, ExportError> {
        let end = segment.window(now).end();
        let next = segment.following(end, settings.period);
        self.seal(&SealOrder { end, cause, skipped_until: None, next }, settings, steps)
    }
}

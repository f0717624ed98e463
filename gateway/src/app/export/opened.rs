//! How the opening of a ledger went, in the log and as attention. What is told is what was done.

use billing_export::{Found, Opened, Volume};

use crate::net::sys::attention::{Attention, AttentionReason};

/// Logs how the ledger was found.
pub(super) fn tell(opened: &Opened) {
    let Opened { epoch, new_epoch, unclean, orphaned, sealed, set_aside, found } = opened;
    tracing::info!(epoch, "ledger open");
    if let Some(why) = new_epoch {
        tracing::warn!(epoch, why, sealed, "a new epoch begins, with a gap record");
    }
    if let Some(Found { counters, bytes: Volume { up, down }, totals, spent, other }) = found {
        tracing::error!(
            counters,
            up,
            down,
            totals,
            spent,
            numbers_or_rows_gone = other,
            "rows of the ledger are not as they were written: they are set aside (table set_aside) and in no record"
        );
    }
    let Volume { up: pending_up, down: pending_down } = orphaned;
    if *set_aside != Volume::ZERO {
        tracing::error!(
            up = set_aside.up,
            down = set_aside.down,
            "counts that were open in the ledger are in no record: later files are known, which may have them already"
        );
    } else if *unclean || *orphaned != Volume::ZERO {
        tracing::warn!(
            pending_up,
            pending_down,
            sealed,
            "the run before did not stop cleanly: what was committed is kept, what was pending is unattributed"
        );
    }
}

/// What of it wants the operator's eye for as long as this process runs.
pub(super) fn attention(opened: &Opened) -> Vec<Attention> {
    let mut items = Vec::new();
    let Volume { up, down } = opened.set_aside;
    if opened.set_aside != Volume::ZERO {
        let text = format!(
            "{up} bytes up and {down} down were open in a ledger older than its files: they are in no record of epoch {}; \
             compare with what billing has",
            opened.epoch
        );
        items.push(Attention::new(AttentionReason::CountsSetAside, text));
    }
    if let Some(Found { counters, bytes: Volume { up, down }, totals, spent, other }) = opened.found {
        let other = if other { "; numbers, times or whole rows were changed too" } else { "" };
        let text = format!(
            "rows of the ledger are not as they were written: {counters} open counters ({up} bytes up, {down} down), \
             {totals} running totals and {spent} sums of allowances are set aside (table set_aside of ledger.db){other}"
        );
        items.push(Attention::new(AttentionReason::LedgerChanged, text));
    }
    items
}

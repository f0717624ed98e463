//! Ticks: what the workers counted is asked for, made one tick, and saved.

use billing_export::{Cause, ExportError, LedgerError, Tick, Usage, Volume};

use super::orders::Fate;
use super::{ANSWER_LIMIT, Export, STOP_LIMIT};
use crate::net::node::report::{Report, UsageMap, saturating_sum};
use crate::net::sys::clock::wall;

impl Export {
    /// Asks all workers and makes the answers a tick; returns how many did not answer.
    pub(super) fn pull(&mut self) -> usize {
        let (reports, silent) = self.ask_all();
        let tick = self.tick(reports);
        self.unsaved = Some(tick);
        silent
    }

    /// The reports of all workers, and how many did not answer. What they sent before is settled by a look at the queues.
    pub(super) fn ask_all(&mut self) -> (Vec<(usize, Report)>, usize) {
        self.egress.look();
        for source in &mut self.sources {
            source.ask();
        }
        let answers: Vec<_> = self.sources.iter_mut().map(|source| source.receive(ANSWER_LIMIT)).collect();
        let silent = answers.iter().filter(|answer| answer.is_none()).count();
        let reports = answers.into_iter().enumerate().filter_map(|(worker, report)| Some((worker, report?)));
        (reports.collect(), silent)
    }

    /// Ends the workers; their last reports.
    pub(super) fn stop_workers(&mut self) -> Vec<(usize, Report)> {
        let mut reports = Vec::new();
        for (index, source) in std::mem::take(&mut self.sources).into_iter().enumerate() {
            reports.extend(source.stop(STOP_LIMIT).into_iter().map(|report| (index, report)));
        }
        reports
    }

    /// One tick of these reports.
    pub(super) fn tick(&mut self, reports: Vec<(usize, Report)>) -> Tick {
        let mut seen = Volume::ZERO;
        let mut usage = UsageMap::default();
        let mut capped = Vec::new();
        for (worker, report) in reports {
            self.status.count(worker, &report);
            capped.extend(report.capped);
            seen = saturating_sum(seen, report.seen);
            if let Some(pending) = self.pending.get_mut(worker) {
                *pending = report.pending_after;
            }
            for item in report.usage {
                usage.merge(item);
            }
        }
        self.merge_taken(&mut usage, &mut seen, &mut capped);
        self.status.count_reached(&capped);
        let at = wall();
        let from = std::mem::replace(&mut self.from, at);
        self.sequence = self.sequence.saturating_add(1);
        let pending_after =
            self.pending.iter().fold(Volume::ZERO, |sum, pending| saturating_sum(sum, *pending));
        let spent = self.policy.load().allowances.take_changes();
        let (sequence, usage) = (self.sequence, usage.take());
        let stepped = self.watched.take_stepped();
        Tick { sequence, from, at, seen, pending_after, usage, capped, spent, stepped }
    }

    /// Saves the pulled tick.
    pub(super) fn save(&mut self) -> Result<(), ExportError> {
        if self.exporter.is_none() {
            self.try_open()?;
        }
        let saved = self.save_tick();
        match &saved {
            Ok(()) | Err(ExportError::Ledger(_)) => {}
            Err(ExportError::Changed { .. }) => self.open_anew(),
            // From here on it may be in the ledger already.
            Err(_) => self.doubtful = self.unsaved.is_some(),
        }
        saved
    }

    /// Saves the pulled tick in the open ledger.
    pub(super) fn save_tick(&mut self) -> Result<(), ExportError> {
        let (Some(exporter), Some(tick)) = (&mut self.exporter, &mut self.unsaved) else { return Ok(()) };
        match exporter.checkpoint(tick) {
            Err(ExportError::Ledger(LedgerError::AccountsMax { .. })) => {
                // A full ledger is emptied by sealing early; a tick that is too large by itself is folded.
                tracing::warn!("export.accounts_max is reached: the period is sealed early");
                exporter.seal_now(wall(), Cause::Volume)?;
                tick.usage = folded(std::mem::take(&mut tick.usage), self.plan.accounts_max);
                exporter.checkpoint(tick)?;
            }
            outcome => outcome?,
        }
        self.unsaved = None;
        self.doubtful = false;
        for answer in self.merged.drain(..) {
            let _ = answer.send(Fate::Saved);
        }
        self.shared.set(self.clock.monotonic());
        Ok(())
    }
}

/// At most `accounts_max` accounts: what belongs to further ones goes to nobody as `overload`.
pub(super) fn folded(usage: Vec<Usage>, accounts_max: usize) -> Vec<Usage> {
    let mut map = UsageMap::default();
    for item in usage {
        map.add(&item.account, item.flags, item.volume, accounts_max.saturating_sub(1));
    }
    map.take()
}

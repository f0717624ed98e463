//! The export task around a restart without a gap: the ledger is let go, taken back, or in another process's hands.

use std::sync::Arc;
use std::time::{Duration, Instant};

use billing_export::{Account, Tick, Volume};

use super::allowances::settle;
use super::orders::{Fate, Order};
use super::{Books, Export, TakenDelta};
use crate::app::node::takeover::remainder::{Progress, Remainder};
use crate::app::node::takeover::words::Delta;
use crate::net::node::report::{UsageMap, saturating_sum};
use crate::net::sys::clock::wall;

/// How long a worker may take to settle what has no verdict.
const SETTLE_LIMIT: Duration = Duration::from_secs(5);
/// How long a sink may take for the file it is at before the ledger is handed over.
const HAND_OVER_LIMIT: Duration = Duration::from_secs(20);
/// How long an answer is waited for between two ticks.
const ANSWER_WAIT: Duration = Duration::from_millis(20);
/// How long the last answers of a draining process are waited for.
const LAST_LIMIT: Duration = Duration::from_secs(30);
/// The pause between two offers of them.
const LAST_PAUSE: Duration = Duration::from_millis(100);
/// How long a stopping process waits to hear who has the ledger.
const DECISION_LIMIT: Duration = Duration::from_secs(10);
/// Deltas of draining processes that wait for the next tick; each process has one at a time.
const TAKEN_MAX: usize = 64;

impl Export {
    /// Does what it is told, all but to stop.
    pub(super) fn obey(&mut self, order: Order) {
        match order {
            Order::Stop(_) => {}
            Order::Release(answer) => {
                let released = self.release();
                if let Err(why) = &released {
                    tracing::error!("the ledger cannot be handed over: {why}");
                }
                let _ = answer.send(released);
            }
            Order::Resume => {
                self.books = Books::Own;
                self.round();
            }
            Order::HandOn(place) => {
                self.books = Books::Handed(place.remainder());
                self.place = Some(place);
            }
            Order::Take(delta, answer) => self.take(&delta, answer),
        }
    }

    /// Saves what is counted, makes what has no verdict nobody's, and closes the ledger: from then on another process may
    /// open it. What cannot be done is undone by an [`Order::Resume`].
    fn release(&mut self) -> Result<(), String> {
        if !matches!(self.books, Books::Own) {
            return Err("it is not ours".to_owned());
        }
        if let Some(sink) = self.sinks.standing_still() {
            return Err(format!("sink \"{sink}\" stands still at a file"));
        }
        let released = self.end_sinks().and_then(|()| self.settle_and_close());
        if released.is_err()
            && let Err(error) = self.begin_sinks_again()
        {
            self.tell(&error);
        }
        released
    }

    /// Ends the sinks after the file each is at, for only then may another process have the ledger. Before anything is settled,
    /// which cannot be undone; what is counted is saved meanwhile.
    fn end_sinks(&mut self) -> Result<(), String> {
        let begun = Instant::now();
        self.sinks.dismiss();
        while !self.sinks.have_left(self.plan.checkpoint) {
            if begun.elapsed() >= HAND_OVER_LIMIT {
                return Err("a sink is at a file and does not end".to_owned());
            }
            if self.unsaved.is_none() {
                self.pull();
            }
            self.save().map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Lets the sinks carry again, after a hand-over that came to nothing.
    fn begin_sinks_again(&mut self) -> Result<(), billing_export::ExportError> {
        self.sinks.take_back();
        let Some(mut exporter) = self.exporter.take() else { return Ok(()) };
        let begun = self.begin_sinks(&mut exporter);
        self.exporter = Some(exporter);
        begun
    }

    /// Has the workers settle what has no verdict, and closes the ledger.
    fn settle_and_close(&mut self) -> Result<(), String> {
        let text = |error: billing_export::ExportError| error.to_string();
        if self.unsaved.is_some() {
            self.save().map_err(text)?;
        }
        for source in &mut self.sources {
            source.ask_settled();
        }
        let answers: Vec<_> = self.sources.iter_mut().map(|source| source.receive(SETTLE_LIMIT)).collect();
        let silent = answers.iter().any(Option::is_none);
        let reports = answers.into_iter().enumerate().filter_map(|(worker, report)| Some((worker, report?)));
        let reports = reports.collect();
        let tick = self.tick(reports);
        let settled = tick.pending_after == Volume::ZERO;
        self.unsaved = Some(tick);
        self.save().map_err(text)?;
        if silent || !settled {
            return Err("a worker does not answer".to_owned());
        }
        self.seal(None).map_err(text)?;
        let Some(exporter) = self.exporter.take() else { return Err("it is not open".to_owned()) };
        exporter.close().map_err(text)?;
        self.books = Books::Released;
        Ok(())
    }

    /// Takes the counts of a draining process into the next tick.
    fn take(&mut self, delta: &Delta, answer: std::sync::mpsc::Sender<Fate>) {
        let usage = delta.usage().filter(|_| self.taken.len() < TAKEN_MAX);
        match (usage, &self.books) {
            (Some(usage), Books::Own) => {
                self.taken.push(TakenDelta { usage, seen: delta.seen(), answer });
            }
            (Some(_), Books::Released | Books::Handed(_)) | (None, _) => {
                let _ = answer.send(Fate::NotTaken);
            }
        }
    }

    /// Adds what draining processes counted to a tick that is being made.
    pub(super) fn merge_taken(&mut self, usage: &mut UsageMap, seen: &mut Volume, capped: &mut Vec<Account>) {
        for taken in std::mem::take(&mut self.taken) {
            *seen = saturating_sum(*seen, taken.seen);
            let settled = settle(&self.policy.load(), taken.usage, wall(), capped);
            self.status.count_usage(&settled);
            for item in settled {
                usage.merge(item);
            }
            self.merged.push(taken.answer);
        }
    }

    /// One tick of a draining process: what was counted goes to whoever holds the ledger, or into the ledger when that process
    /// has ended.
    pub(super) fn handed_round(&mut self, mut remainder: Box<Remainder>) {
        self.watch_clock();
        let mut silent = 0;
        let mut progress = remainder.advance(ANSWER_WAIT);
        if progress == Progress::Done {
            let reports;
            (reports, silent) = self.ask_all();
            self.hand(&mut remainder, reports);
            progress = remainder.advance(ANSWER_WAIT);
            if progress == Progress::Done {
                self.shared.set(self.clock.monotonic());
            }
        }
        self.books = Books::Handed(remainder);
        if progress == Progress::Nobody {
            self.take_ledger_back();
        }
        self.judge_exemption();
        self.tell_status(silent);
        self.status.count_lookups(self.lookups.take_counts());
    }

    /// The process that held the ledger has ended while this one drains: its lock is free, and what this one counts is saved
    /// by itself until another process takes over. Where the lock is not free, somebody is about to.
    fn take_ledger_back(&mut self) {
        match self.try_open() {
            Ok(()) => {}
            Err(billing_export::ExportError::Locked { .. }) => return,
            Err(error) => return self.tell(&error),
        }
        let Books::Handed(remainder) = std::mem::replace(&mut self.books, Books::Own) else { return };
        tracing::warn!("the process that took over has ended: this one saves what its open flows carry");
        self.claim(*remainder);
        if let Err(error) = self.save() {
            self.tell(&error);
        }
        if let Some(place) = &self.place {
            Arc::clone(place).take_place();
        }
    }

    /// Lets go of a ledger that was taken back when another process has come, which waits for it.
    pub(super) fn yield_to_newcomer(&mut self) {
        let Some(place) = self.place.clone() else { return };
        if !place.has_newcomer() {
            return;
        }
        match self.release() {
            Ok(()) => {
                tracing::info!("another process has come: the ledger is its own");
                place.give_place();
                self.books = Books::Handed(place.remainder());
            }
            Err(why) => tracing::error!("the ledger cannot be handed over: {why}"),
        }
    }

    /// Makes what was never handed on the next tick of the own ledger.
    fn claim(&mut self, remainder: Remainder) {
        let mut seen = self.withheld;
        let mut usage = UsageMap::default();
        for delta in remainder.into_unsent() {
            seen = saturating_sum(seen, delta.seen());
            for item in delta.usage().into_iter().flatten() {
                usage.merge(item);
            }
        }
        self.withheld = Volume::ZERO;
        self.sequence = self.sequence.saturating_add(1);
        let at = wall();
        let pending_after = seen_without_account(seen, &usage);
        self.unsaved = Some(Tick {
            sequence: self.sequence,
            from: self.from,
            at,
            seen,
            pending_after,
            usage: usage.take(),
            capped: Vec::new(),
            stepped: self.watched.take_stepped(),
            // The changes went with the ticks that were handed on.
            spent: self.policy.load().allowances.everything(),
        });
    }

    /// Makes a delta of these reports. Bytes without a verdict wait here until they have one, and so do their bytes seen.
    fn hand(&mut self, remainder: &mut Remainder, reports: Vec<(usize, crate::net::node::report::Report)>) {
        let tick = self.tick(reports);
        let seen = saturating_sum(self.withheld, tick.seen);
        let less = |all: u64, part: u64| all.saturating_sub(part);
        self.withheld = tick.pending_after;
        let seen = Volume {
            up: less(seen.up, tick.pending_after.up),
            down: less(seen.down, tick.pending_after.down),
        };
        remainder.push(&tick.usage, seen);
    }

    /// The end of a process whose ledger is not its own: the last counts go to whoever holds it. False where nobody does:
    /// then the ledger is to be opened again for them.
    pub(super) fn last_handed_round(&mut self, orders: &std::sync::mpsc::Receiver<Order>) -> bool {
        if matches!(self.books, Books::Released)
            && let Ok(order) = orders.recv_timeout(DECISION_LIMIT)
        {
            self.obey(order);
        }
        let Books::Handed(mut remainder) = std::mem::replace(&mut self.books, Books::Own) else {
            return false;
        };
        let begun = Instant::now();
        let mut asked = false;
        while begun.elapsed() < LAST_LIMIT {
            match (remainder.advance(ANSWER_WAIT), asked) {
                (Progress::Done, true) => return true,
                (Progress::Done, false) => {
                    let reports = self.stop_workers();
                    self.hand(&mut remainder, reports);
                    asked = true;
                }
                (Progress::Waiting, _) => std::thread::sleep(LAST_PAUSE),
                // What is not asked for yet is saved with the rest.
                (Progress::Nobody, _) if self.try_open().is_ok() => break,
                (Progress::Nobody, _) => std::thread::sleep(LAST_PAUSE),
            }
        }
        tracing::warn!("no process takes the last counts of the drained flows: they are saved by this one");
        self.claim(*remainder);
        false
    }
}

/// Bytes seen that no account has: they are pending in the ledger until the next tick attributes them.
fn seen_without_account(seen: Volume, usage: &UsageMap) -> Volume {
    let accounted = usage.total();
    Volume { up: seen.up.saturating_sub(accounted.up), down: seen.down.saturating_sub(accounted.down) }
}

//! Sealing: what makes the open segment end, and in which order.
//!
//! A period ends, a cause asks for it, or the clock stands far before what is written.

use jiff::Timestamp;

use super::Exporter;
use crate::audit::Figures;
use crate::epoch::CLOCK_WAS_WRONG;
use crate::error::ExportError;
use crate::ledger::Segment;
use crate::period::{is_far_behind, to_millis};
use crate::record::Window;
use crate::store::Sealer;
use crate::subscriber::Session;
use crate::unit::{Cause, Volume};

impl Exporter {
    /// Notes sessions that have ended: the records of what is counted for them in the open segment close with
    /// [`Cause::SessionEnd`] when the period ends, and nobody else's are sealed for it. In memory only: a restart before that
    /// closes them like all others.
    ///
    /// # Errors
    /// The store's, after an earlier error.
    pub fn end_sessions(&mut self, sessions: &[Session]) -> Result<(), ExportError> {
        if sessions.is_empty() {
            return Ok(());
        }
        self.with_live(|live, _, _| {
            sessions.iter().for_each(|session| live.ledger.end(session.clone()));
            Ok(())
        })
    }

    /// Notes sessions of whose end nobody told: the record that closes with [`Cause::SessionEnd`] has [`crate::Flag::StopLost`].
    ///
    /// # Errors
    /// As of [`Exporter::end_sessions`].
    pub fn lose_sessions(&mut self, sessions: &[Session]) -> Result<(), ExportError> {
        if sessions.is_empty() {
            return Ok(());
        }
        self.with_live(|live, _, _| {
            sessions.iter().for_each(|session| live.ledger.lose(session.clone()));
            Ok(())
        })
    }

    /// Seals every period that has ended, with one heartbeat row where nothing happened. Returns the records sealed.
    ///
    /// # Errors
    /// The store's. What was sealed before the error stays sealed.
    pub fn seal_due(&mut self, now: Timestamp) -> Result<u64, ExportError> {
        let begun = self.begin_anew_if_far_behind(now)?;
        let mut behind = self.behind;
        let sealed = self.with_live(|live, settings, steps| {
            let segment = live.ledger.segment();
            if to_millis(now) >= segment.start {
                behind = None;
                return live.seal_ended(now, settings, steps);
            }
            let current = settings.period.start_of(now);
            let sealed = if behind.is_some_and(|last| last != current) {
                live.seal_part(segment, now, Cause::Period, settings, steps)?
            } else {
                0
            };
            behind = Some(current);
            Ok(sealed)
        })?;
        self.behind = behind;
        Ok(sealed.saturating_add(begun))
    }

    /// Where the clock is more than a day before what is written, that was written by a wrong one: what is open is sealed, and
    /// an epoch begins at the present. Returns the records sealed.
    fn begin_anew_if_far_behind(&mut self, now: Timestamp) -> Result<u64, ExportError> {
        let epoch = self.opened.epoch.checked_add(1).unwrap_or(self.opened.epoch);
        let mut begun = false;
        let sealed = self.with_live(|live, settings, steps| {
            let segment = live.ledger.segment();
            if !is_far_behind(to_millis(now), segment.start) || epoch == u32::MAX {
                return Ok(0);
            }
            let mut sealed = 0;
            if !segment.is_idle() {
                sealed = live.seal_part(segment, now, Cause::Period, settings, steps)?;
            }
            let pending = live.ledger.segment().figures.pending_after;
            let figures = Figures { seen: Volume::ZERO, pending_before: pending, pending_after: pending };
            let next = Segment { figures, ..Segment::beginning(now, settings.period) };
            let sealer = Sealer::of(settings);
            live.store.next_epoch(&sealer, epoch, Window::clamped(now, now), &next)?;
            live.ledger.begin(next);
            begun = true;
            Ok(sealed.saturating_add(1))
        })?;
        if begun {
            self.opened.epoch = epoch;
            self.opened.new_epoch = Some(CLOCK_WAS_WRONG);
            self.behind = None;
        }
        Ok(sealed)
    }

    /// Seals what is open, whatever the time, after the periods that have ended. Returns the records sealed.
    ///
    /// Where nothing happened since the last seal nothing is sealed, but a [`Cause::Shutdown`] says so in a heartbeat.
    ///
    /// # Errors
    /// As [`Exporter::seal_due`].
    pub fn seal_now(&mut self, now: Timestamp, cause: Cause) -> Result<u64, ExportError> {
        let begun = self.begin_anew_if_far_behind(now)?;
        self.with_live(|live, settings, steps| {
            let ended = live.seal_ended(now, settings, steps)?.saturating_add(begun);
            let segment = live.ledger.segment();
            let silent =
                segment.is_idle() && (cause != Cause::Shutdown || segment.window(now).end() == segment.start);
            if silent {
                return Ok(ended);
            }
            Ok(ended.saturating_add(live.seal_part(segment, now, cause, settings, steps)?))
        })
    }
}

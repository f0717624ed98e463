//! First half of a start: which epoch it goes on in, and what becomes of the one before.
//!
//! Witnesses, names of files, the machine's boot and the clock are compared with the ledger. The outcome is written to the
//! database as pending.

use jiff::Timestamp;

use super::{Opened, flag_recovered};
use crate::epoch::{CLOCK_WAS_WRONG, Course, Mark, Open, Witnesses, course};
use crate::error::ExportError;
use crate::exporter::Live;
use crate::ledger::Segment;
use crate::period::{is_far_behind, to_millis};
use crate::record::Window;
use crate::settings::Settings;
use crate::steps::Steps;
use crate::store::{NewState, NodeRow, SealOrder, Sealer, Store};
use crate::unit::{Cause, Volume};
use crate::witness;

/// What a start finds, and what it is told.
#[derive(Clone, Copy)]
pub(super) struct Start<'a> {
    /// The node's row of the ledger; none in a new one.
    pub(super) node: Option<&'a NodeRow>,
    /// What vouches for the ledger.
    pub(super) witnesses: &'a Witnesses,
    /// What the node was told.
    pub(super) settings: &'a Settings,
    /// The present.
    pub(super) now: Timestamp,
    /// Id of this start, in hex.
    pub(super) start_id: &'a str,
}

/// First half of a start: decides how it goes on and writes it to the database.
pub(super) fn begin(
    mut store: Store,
    start: &Start<'_>,
    steps: &mut dyn Steps,
) -> Result<(Store, Opened), ExportError> {
    let Start { node, witnesses, settings, start_id, .. } = *start;
    let names = witness::names(&settings.pickup_dir, &settings.node_id)?;
    let boot_id = settings.boot_id.as_deref();
    let Some(course) = course(node.map(|node| &node.mark), witnesses, names, boot_id) else {
        return Err(no_epoch_left(settings));
    };
    let opened = Opened {
        epoch: node.map_or(1, |node| node.mark.epoch),
        new_epoch: None,
        unclean: node.is_some_and(|node| node.running),
        orphaned: Volume::ZERO,
        sealed: 0,
        set_aside: Volume::ZERO,
        found: None,
    };
    let is_ahead = is_ahead(&store, start)?;
    let (mut opened, file_seq, open) = match judged_by_clock(course, start, is_ahead)? {
        Course::Same => {
            store.begin_start(start_id, &witnesses.summary(), boot_id)?;
            return Ok((store, opened));
        }
        Course::First => (opened, 0, Open::Seal),
        Course::New { epoch, file_seq, why, open } => {
            (Opened { epoch, new_epoch: Some(why), ..opened }, file_seq, open)
        }
    };
    let (mut store, known, file_seq) = end_epoch(store, (file_seq, open), &mut opened, start, steps)?;
    // The times of a wrong clock do not go on.
    let known = known.filter(|_| !is_ahead);
    begin_epoch(&mut store, known, file_seq, &mut opened, start)?;
    Ok((store, opened))
}

/// Whether the ledger's times are more than a day ahead of the clock.
fn is_ahead(store: &Store, start: &Start<'_>) -> Result<bool, ExportError> {
    let written = match start.node {
        Some(_) => Some(store.open_counters()?.0),
        None => None,
    };
    let written = written.map(|segment| segment.high_water.unwrap_or(segment.start).max(segment.start));
    Ok(written.is_some_and(|written| is_far_behind(to_millis(start.now), written)))
}

/// The course, but for a ledger that a wrong clock has dated: it does not go on in its epoch.
fn judged_by_clock(course: Course, start: &Start<'_>, is_ahead: bool) -> Result<Course, ExportError> {
    Ok(match (course, start.node) {
        (Course::Same, Some(NodeRow { mark: Mark { epoch, file_seq, .. }, .. })) if is_ahead => {
            let epoch = epoch.checked_add(1).ok_or_else(|| no_epoch_left(start.settings))?;
            Course::New { epoch, file_seq: *file_seq, why: CLOCK_WAS_WRONG, open: Open::Seal }
        }
        (course, _) => course,
    })
}

/// Ends the epoch that the ledger was in, if there was one: what is open in it is sealed, or left to be set aside. Returns its
/// segment, and the highest file number known after that.
fn end_epoch(
    store: Store,
    (file_seq, open): (u64, Open),
    opened: &mut Opened,
    start: &Start<'_>,
    steps: &mut dyn Steps,
) -> Result<(Store, Option<Segment>, u64), ExportError> {
    if start.node.is_none() {
        return Ok((store, None, file_seq));
    }
    let mut live = Live::of(store, 0, start.settings)?;
    // The ledger's own times go on where they stood, so that no window overlaps one of the lost state that it knew.
    let segment = live.ledger.segment();
    let file_seq = match open {
        Open::SetAside => file_seq,
        Open::Seal => {
            seal_open(&mut live, segment, start.now, opened, start.settings, steps)?;
            file_seq.max(live.store.highest_file()?)
        }
    };
    Ok((live.store, Some(segment), file_seq))
}

/// Begins an epoch in the database, with a gap record unless it is the first. `known` is the segment whose times go on.
fn begin_epoch(
    store: &mut Store,
    known: Option<Segment>,
    file_seq: u64,
    opened: &mut Opened,
    start: &Start<'_>,
) -> Result<(), ExportError> {
    let Start { witnesses, settings, now, start_id, .. } = *start;
    let boot_id = settings.boot_id.as_deref();
    let since = known.map_or(now, |segment| segment.high_water.unwrap_or(segment.start));
    let window = Window::clamped(since, now);
    let segment = Segment {
        high_water: known.and_then(|segment| segment.high_water),
        ..Segment::beginning(window.end(), settings.period)
    };
    let gap = opened.new_epoch.map(|_| window);
    opened.sealed = opened.sealed.saturating_add(u64::from(gap.is_some()));
    let why = opened.new_epoch.unwrap_or_default();
    let state = NewState { epoch: opened.epoch, file_seq, gap, segment, now, why, boot_id };
    let sealer = Sealer::of(settings);
    opened.set_aside =
        store.begin_epoch(&sealer, settings.byte_basis, &state, start_id, &witnesses.summary())?;
    Ok(())
}

/// The error where no number is left for an epoch.
fn no_epoch_left(settings: &Settings) -> ExportError {
    let message = format!("node {}: found epoch {} used, wanted a greater one", settings.node_id, u32::MAX);
    ExportError::Settings(message)
}

/// Seals what is open in an epoch that ends with this start: what was committed comes into a record of the epoch it was
/// counted in, whatever became of the witness.
fn seal_open(
    live: &mut Live,
    segment: Segment,
    now: Timestamp,
    opened: &mut Opened,
    settings: &Settings,
    steps: &mut dyn Steps,
) -> Result<(), ExportError> {
    if segment.is_idle() && segment.figures.pending_after.is_zero() {
        return Ok(());
    }
    opened.orphaned = segment.figures.pending_after;
    flag_recovered(live, steps)?;
    let segment = live.ledger.segment();
    let end = segment.window(segment.high_water.unwrap_or(segment.start)).end();
    let next = segment.following(end.max(to_millis(now)), settings.period);
    let order = SealOrder { end, cause: Cause::Recovered, skipped_until: None, next };
    opened.sealed = opened.sealed.saturating_add(live.seal(&order, settings, steps)?);
    Ok(())
}

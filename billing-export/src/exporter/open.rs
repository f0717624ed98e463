//! The start: locks, epoch, recovery.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Exporter, Live};
use crate::account::Account;
use crate::epoch::{CLOCK_WAS_WRONG, Course, Mark, Open, Witnesses, course};
use crate::error::ExportError;
use crate::ledger::{Opening, Segment};
use crate::period::{is_far_behind, to_millis};
use crate::record::Window;
use crate::settings::Settings;
use crate::sink::file::{Lock, create_directory};
use crate::steps::{SharedSteps, Steps};
use crate::store::{NewState, NodeRow, Repaired, STORE_NAME, SealOrder, Sealer, Store, WriteTurn};
use crate::unit::{Cause, Volume};
use crate::witness::{self, Memory};

/// Name of the file in the state directory that is locked (flock(2)) for as long as a process has the ledger.
pub const LOCK_NAME: &str = "lock";

/// How a start went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Epoch of the records of this run.
    pub epoch: u32,
    /// Why a new epoch began; none where the state is the one of the run before, or the first.
    pub new_epoch: Option<&'static str>,
    /// The run before did not stop cleanly.
    pub unclean: bool,
    /// Bytes that were pending at the unclean stop: they became `unattributed`.
    pub orphaned: Volume,
    /// Records sealed by the start itself.
    pub sealed: u64,
    /// Bytes of counters that were open in a ledger whose later files are known: they may have been exported before it was
    /// put back, so they are in no record.
    pub set_aside: Volume,
    /// What was not as it was written; none where all was.
    pub found: Option<Found>,
}

/// Rows of a ledger that were not as they were written. They are set aside in it (table `set_aside`) and in no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Open counters.
    pub counters: u64,
    /// Their bytes, as they were found.
    pub bytes: Volume,
    /// Running totals; with these a new epoch begins.
    pub totals: u64,
    /// What was spent of allowances: these count as used up until their day or month is over.
    pub spent: u64,
    /// The rows that keep numbers and times, or rows that came or went.
    pub other: bool,
}

/// Opens the state of a node.
pub(super) fn open(
    settings: Settings,
    now: Timestamp,
    start_id: &str,
    steps: Box<dyn Steps>,
) -> Result<Exporter, ExportError> {
    let mut steps = SharedSteps::new(steps);
    check(&settings)?;
    for directory in [&settings.state_dir, &settings.staging_dir, &settings.pickup_dir] {
        create_directory(directory)?;
    }
    let lock = Lock::take(settings.state_dir.join(LOCK_NAME))?;
    let staging = Lock::take(settings.staging_dir.join(format!("{}.lock", settings.node_id)))?;
    let turn = WriteTurn::default();
    let mut store = Store::open(&settings.state_dir.join(STORE_NAME), &turn)?;
    let findings = store.examine()?;
    let found = match findings.is_clean() {
        true => None,
        false => Some(store.repair(&findings, settings.period, now)?),
    };
    let node = store.node()?;
    check_owner(&store, node.as_ref(), &settings)?;
    let memory = Memory::of(&settings);
    memory.prepare();
    let witnesses = Witnesses {
        disk: witness::read(&settings.staging_dir, &settings.node_id)?,
        memory: memory.read(&settings.node_id, node.is_some()),
    };
    let (mut store, mut opened) =
        begin(store, node.as_ref(), &witnesses, &settings, now, start_id, &mut steps)?;
    opened.found = found.map(|found| {
        let Repaired { counters, bytes, totals, spent, other } = found;
        Found { counters, bytes, totals, spent, other }
    });
    let witnessed = complete(&mut store, &witnesses, &memory, &settings, start_id)?;
    let mut live = Live::of(store, 0, &settings)?;
    recover(&mut live, node.as_ref(), &mut opened, &settings, now, &mut steps)?;
    let mismatches = live.store.mismatches()?;
    Ok(Exporter {
        settings,
        steps,
        turn,
        start_id: start_id.to_owned(),
        opened,
        live: Some(live),
        mismatches,
        behind: None,
        witnessed,
        _lock: lock,
        staging: Arc::new(staging),
    })
}

/// Refuses settings that contradict each other.
fn check(settings: &Settings) -> Result<(), ExportError> {
    let Settings { state_dir, pickup_dir, staging_dir, file_records_max, accounts_max, .. } = settings;
    for (a, b, names) in [
        (state_dir, pickup_dir, "state_dir and export.dir"),
        (state_dir, staging_dir, "state_dir and export.staging_dir"),
        (pickup_dir, staging_dir, "export.dir and export.staging_dir"),
    ] {
        if a == b {
            let message = format!("{}: found it as {names}, wanted two different directories", a.display());
            return Err(ExportError::Settings(message));
        }
    }
    if *file_records_max == 0 || *accounts_max == 0 {
        let message = "export.file_records_max, export.accounts_max: found 0, wanted at least 1";
        return Err(ExportError::Settings(message.into()));
    }
    Ok(())
}

/// Refuses the ledger of another node.
fn check_owner(store: &Store, node: Option<&NodeRow>, settings: &Settings) -> Result<(), ExportError> {
    match node {
        Some(node) if node.node_id != settings.node_id.as_str() => Err(ExportError::Damaged {
            path: store.path().to_owned(),
            found: format!("the ledger of node {:?}", node.node_id),
            wanted: format!("that of node {:?}", settings.node_id.as_str()),
            remedy: "Correct node.id, or give this node a state directory of its own",
        }),
        Some(_) | None => Ok(()),
    }
}

/// First half of a start: decides how it goes on and writes it to the database.
fn begin(
    mut store: Store,
    node: Option<&NodeRow>,
    witnesses: &Witnesses,
    settings: &Settings,
    now: Timestamp,
    start_id: &str,
    steps: &mut dyn Steps,
) -> Result<(Store, Opened), ExportError> {
    let names = witness::names(&settings.pickup_dir, &settings.node_id)?;
    let boot_id = settings.boot_id.as_deref();
    let Some(course) = course(node.map(|node| &node.mark), witnesses, names, boot_id) else {
        return Err(no_epoch_left(settings));
    };
    let mut opened = Opened {
        epoch: node.map_or(1, |node| node.mark.epoch),
        new_epoch: None,
        unclean: node.is_some_and(|node| node.running),
        orphaned: Volume::ZERO,
        sealed: 0,
        set_aside: Volume::ZERO,
        found: None,
    };
    let written = match node {
        Some(_) => Some(store.open_counters()?.0),
        None => None,
    };
    let written = written.map(|segment| segment.high_water.unwrap_or(segment.start).max(segment.start));
    let is_far_behind = written.is_some_and(|written| is_far_behind(to_millis(now), written));
    let course = match (course, node) {
        (Course::Same, Some(NodeRow { mark: Mark { epoch, file_seq, .. }, .. })) if is_far_behind => {
            let epoch = epoch.checked_add(1).ok_or_else(|| no_epoch_left(settings))?;
            Course::New { epoch, file_seq: *file_seq, why: CLOCK_WAS_WRONG, open: Open::Seal }
        }
        (course, _) => course,
    };
    let (file_seq, open) = match course {
        Course::Same => {
            store.begin_start(start_id, &witnesses.summary(), boot_id)?;
            return Ok((store, opened));
        }
        Course::First => (0, Open::Seal),
        Course::New { epoch, file_seq, why, open } => {
            opened = Opened { epoch, new_epoch: Some(why), ..opened };
            (file_seq, open)
        }
    };
    // The ledger's own times go on where they stood, so that no window overlaps one of the lost state that it knew.
    let mut known = None;
    let mut file_seq = file_seq;
    if node.is_some() {
        let mut live = Live::of(store, 0, settings)?;
        let segment = live.ledger.segment();
        known = Some(segment);
        match open {
            Open::SetAside => {}
            Open::Seal => {
                seal_open(&mut live, segment, now, &mut opened, settings, steps)?;
                file_seq = file_seq.max(live.store.highest_file()?);
            }
        }
        store = live.store;
    }
    // But not where they were those of a wrong clock.
    let known = known.filter(|_| !is_far_behind);
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
    Ok((store, opened))
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

/// Flags every open counter, and gives what was pending to nobody.
fn flag_recovered(live: &mut Live, steps: &mut dyn Steps) -> Result<(), ExportError> {
    let Live { store, ledger } = live;
    let mut opening = |account: &Account| -> Result<Opening, ExportError> { store.opening(account) };
    let mut staged = ledger.stage_recovery(&mut opening)?;
    store.write_tick(&mut staged, &[], steps)?;
    ledger.apply(staged);
    Ok(())
}

/// Second half of a start: the witness has the id, then the database has it for good. Returns the highest file the
/// witness knows.
fn complete(
    store: &mut Store,
    witnesses: &Witnesses,
    memory: &Memory,
    settings: &Settings,
    start_id: &str,
) -> Result<u64, ExportError> {
    let epoch = store.node()?.map_or(1, |node| node.mark.epoch);
    // A witness that is written anew knows what the one before it knew.
    let witnessed = witnesses.highest().1.max(store.highest_begun()?);
    witness::write(&settings.staging_dir, &settings.node_id, start_id, epoch, witnessed)?;
    memory.write(&settings.node_id, start_id, epoch, witnessed);
    store.complete_start(start_id)?;
    Ok(witnessed)
}

/// Flags what an unclean stop left open, seals what has ended, and begins where the clock stands.
fn recover(
    live: &mut Live,
    node: Option<&NodeRow>,
    opened: &mut Opened,
    settings: &Settings,
    now: Timestamp,
    steps: &mut dyn Steps,
) -> Result<(), ExportError> {
    let before = live.ledger.segment();
    if opened.unclean || !before.figures.pending_after.is_zero() {
        // What a start that was interrupted made nobody's is told by it.
        opened.orphaned =
            opened.orphaned.checked_add(before.figures.pending_after).unwrap_or(opened.orphaned);
        flag_recovered(live, steps)?;
    }
    let segment = live.ledger.segment();
    let now = to_millis(now);
    let other_basis =
        node.is_some_and(|node| node.byte_basis != settings.byte_basis) && opened.new_epoch.is_none();
    if !segment.is_idle() && (now >= segment.end || other_basis) {
        let end = segment.window(segment.high_water.unwrap_or(segment.start)).end();
        let next = segment.following(end.max(now), settings.period);
        let order = SealOrder { end, cause: Cause::Recovered, skipped_until: None, next };
        opened.sealed = opened.sealed.saturating_add(live.seal(&order, settings, steps)?);
    } else if segment.is_idle() && now > segment.start {
        // Nothing was counted while the process was away, so nothing is said about that time.
        live.ledger.begin(Segment { recovered: false, ..segment.following(now, settings.period) });
        live.store.write_idle_segment(&live.ledger.segment())?;
    }
    if other_basis {
        live.store.set_byte_basis(settings.byte_basis)?;
    }
    Ok(())
}

//! The start: locks, epoch, recovery.

mod begin;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use self::begin::{Start, begin};
use super::{Exporter, Live};
use crate::account::Account;
use crate::epoch::Witnesses;
use crate::error::ExportError;
use crate::ledger::{Opening, Segment};
use crate::period::to_millis;
use crate::settings::Settings;
use crate::sink::file::{Lock, create_directory};
use crate::steps::{SharedSteps, Steps};
use crate::store::{NodeRow, Place, Repaired, STORE_NAME, SealOrder, Store, WriteTurn};
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
    let start = Start { node: node.as_ref(), witnesses: &witnesses, settings: &settings, now, start_id };
    let (mut store, mut opened) = begin(store, &start, &mut steps)?;
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
        outbox: None,
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
    store.set_place(&place(settings))?;
    memory.write(&settings.node_id, start_id, epoch, witnessed);
    store.complete_start(start_id)?;
    Ok(witnessed)
}

/// Where the node's directories are, from wherever they are looked for.
fn place(settings: &Settings) -> Place {
    let whole = |path: &PathBuf| fs::canonicalize(path).unwrap_or_else(|_| path.clone());
    let Settings { pickup_dir, staging_dir, memory_dir, .. } = settings;
    Place {
        pickup_dir: whole(pickup_dir),
        staging_dir: whole(staging_dir),
        memory_dir: memory_dir.as_ref().map(whole),
    }
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

//! Corrections are made by whoever has the ledger: a running gateway, which is asked, or else the command itself.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::{Exporter, requests};
use crate::correction::{Adjusted, Correction, Refusal};
use crate::epoch::{Course, StartId, Witnesses, course, hex};
use crate::error::ExportError;
use crate::exporter::LOCK_NAME;
use crate::settings::Settings;
use crate::sink::file::Lock;
use crate::store::{Asked, NodeRow, STORE_NAME, Sealer, Store, WriteTurn};
use crate::unit::NodeId;
use crate::witness::{self, Memory};

/// What became of a correction.
pub type Made = Result<Adjusted, Refusal>;

impl Exporter {
    /// Makes the corrections that other processes asked for; what is refused is said to them. Returns those that were made.
    ///
    /// # Errors
    /// The store's, or the system's. What was made before the error stays made, the rest is taken up at the next call.
    pub fn make_corrections(&mut self, now: Timestamp) -> Result<Vec<Adjusted>, ExportError> {
        let state_dir = self.settings.state_dir.clone();
        let mut made = Vec::new();
        for id in requests::waiting(&state_dir)? {
            let taken = requests::take(&state_dir, &id, now)?;
            // Made before an interruption, however long that is ago.
            let before = self.with_live(|live, _, _| live.store.adjusted(&id))?;
            if let Some(before) = before {
                requests::done(&state_dir, &id, None)?;
                made.push(before);
                continue;
            }
            let outcome = match taken {
                None => continue,
                Some(Err(refusal)) => Err(refusal),
                Some(Ok(correction)) => self.with_live(|live, settings, _| {
                    let asked = Asked { correction: &correction, request: &id, now };
                    live.store.adjust(&Sealer::of(settings), asked)
                })?,
            };
            requests::done(&state_dir, &id, outcome.as_ref().err())?;
            made.extend(outcome.ok());
        }
        Ok(made)
    }
}

/// A correction that a running gateway was asked for.
#[derive(Debug)]
pub struct Request {
    /// The node's state.
    state_dir: PathBuf,
    /// Random.
    id: String,
}

impl Request {
    /// What became of it; none as long as nothing has.
    ///
    /// # Errors
    /// The ledger or the state directory cannot be read.
    pub fn outcome(&self) -> Result<Option<Result<Adjusted, String>>, ExportError> {
        if let Some(refusal) = requests::refused(&self.state_dir, &self.id)? {
            return Ok(Some(Err(refusal)));
        }
        let store = Store::open_to_look(&self.state_dir.join(STORE_NAME))?;
        Ok(store.adjusted(&self.id)?.map(Ok))
    }

    /// Takes the request back; false where it was taken up already, and an outcome will be there.
    ///
    /// # Errors
    /// The system's.
    pub fn withdraw(&self) -> Result<bool, ExportError> {
        requests::withdraw(&self.state_dir, &self.id)
    }
}

/// How a correction goes on.
#[derive(Debug)]
pub enum Adjusting {
    /// It was made, or refused, here: nobody else had the ledger.
    Here(Made),
    /// A running gateway has the ledger, and is asked.
    Asked(Request),
}

/// Corrects a record of the node whose state directory this is, or asks the gateway that has it. `request` is a fresh random
/// value; `boot_id` is the machine's boot, where it is known.
///
/// # Errors
/// No ledger; one that cannot be used, or of which nobody knows whether it is the one written last: a start decides that.
pub fn adjust(
    state_dir: &Path,
    correction: &Correction,
    request: [u8; 16],
    now: Timestamp,
    boot_id: Option<String>,
) -> Result<Adjusting, ExportError> {
    let id: StartId = request;
    let id = hex(&id);
    let (_lock, mut store) = match open_where_nobody_runs(state_dir) {
        Ok(opened) => opened,
        Err(ExportError::Locked { .. }) => {
            requests::place(state_dir, &id, correction, now)?;
            return Ok(Adjusting::Asked(Request { state_dir: state_dir.to_owned(), id }));
        }
        Err(error) => return Err(error),
    };
    let settings = settings_of(&store, state_dir, boot_id)?;
    let asked = Asked { correction, request: &id, now };
    Ok(Adjusting::Here(store.adjust(&Sealer::of(&settings), asked)?))
}

/// Opens the ledger of a state that no process has, and keeps others from it.
///
/// # Errors
/// [`ExportError::Locked`] where a gateway runs; no ledger, or one of a version before.
pub(super) fn open_where_nobody_runs(state_dir: &Path) -> Result<(Lock, Store), ExportError> {
    let ledger = state_dir.join(STORE_NAME);
    // Neither lock nor ledger is made where there is no node.
    fs::metadata(&ledger).map_err(|source| ExportError::Io {
        path: ledger.clone(),
        action: "looking for the ledger",
        source,
        remedy: "Name the state directory of the node (node.state_dir)",
    })?;
    let lock = Lock::take(state_dir.join(LOCK_NAME))?;
    // Bringing it to the present is the gateway's: a process of the version before may still want it back.
    let looked = Store::open_to_look(&ledger)?;
    if !looked.is_present()? {
        return Err(doubtful(&looked, "one of a version before this command's"));
    }
    Ok((lock, Store::open(&ledger, &WriteTurn::default())?))
}

/// The error for a ledger of which only a start can say how it goes on.
fn doubtful(store: &Store, found: &str) -> ExportError {
    ExportError::Damaged {
        path: store.path().to_owned(),
        found: found.to_owned(),
        wanted: "the ledger as the gateway left it".to_owned(),
        remedy: "Start the gateway, which knows how to go on with it, and ask again while it runs",
    }
}

/// The settings of a node that is not running, as far as a correction needs them; refused where a start would not go on in this
/// ledger's epoch, for then a correction's name may be another record's.
fn settings_of(store: &Store, state_dir: &Path, boot_id: Option<String>) -> Result<Settings, ExportError> {
    let doubtful = |found: &str| doubtful(store, found);
    if !store.examine()?.is_clean() {
        return Err(doubtful("rows that are not as they were written"));
    }
    let node = store.node()?.ok_or_else(|| doubtful("one that no start has reached"))?;
    let place = store.place()?.ok_or_else(|| doubtful("one that does not say where its witness is"))?;
    let NodeRow { node_id, mark, byte_basis, .. } = node;
    let node_id: NodeId = node_id.parse().map_err(|_| doubtful("a node_id that is none"))?;
    let settings = Settings {
        memory_dir: place.memory_dir,
        boot_id,
        ..Settings::new(node_id, state_dir.to_owned(), place.pickup_dir, place.staging_dir, byte_basis)
    };
    let witnesses = Witnesses {
        disk: witness::read(&settings.staging_dir, &settings.node_id)?,
        memory: Memory::of(&settings).read(&settings.node_id, true),
    };
    let names = witness::names(&settings.pickup_dir, &settings.node_id)?;
    match course(Some(&mark), &witnesses, names, settings.boot_id.as_deref()) {
        Some(Course::Same) => Ok(settings),
        Some(Course::New { why, .. }) => Err(doubtful(why)),
        Some(Course::First) | None => Err(doubtful("no epoch to go on in")),
    }
}

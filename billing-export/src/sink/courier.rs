//! Carries sealed files to one sink, each step noted in the ledger before the next.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::ExportError;
use crate::sink::{Phase, Progress, SealedFile, Sink};
use crate::steps::{SharedSteps, Step};
use crate::store::{Kept, Next, Store, WriteTurn};

/// Where a sink begins that the ledger has not heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// With the oldest file there is.
    Oldest,
    /// With the next one that is sealed.
    Next,
}

/// Carries for one sink, by a connection to the ledger of its own: on a thread of its own it holds up nobody.
///
/// It belongs to the start that made it. Once another start has the ledger, it writes nothing there.
pub struct Courier {
    /// The way out.
    sink: Box<dyn Sink>,
    /// The ledger's file.
    ledger: PathBuf,
    /// Id of the start it belongs to, in hex.
    start_id: String,
    /// Its turn among the writers of this process.
    turn: WriteTurn,
    /// Told of every named point.
    steps: SharedSteps,
    /// The ledger; none after an error, until it is opened again.
    store: Option<Store>,
}

impl fmt::Debug for Courier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Courier").field("sink", &self.sink.id()).finish_non_exhaustive()
    }
}

impl Courier {
    /// A courier of a start.
    pub(crate) fn new(
        sink: Box<dyn Sink>,
        ledger: PathBuf,
        start_id: String,
        turn: WriteTurn,
        steps: SharedSteps,
    ) -> Courier {
        Courier { sink, ledger, start_id, turn, steps, store: None }
    }

    /// The sink's id.
    pub fn id(&self) -> &str {
        self.sink.id()
    }

    /// Carries every file there is; returns how many.
    ///
    /// # Errors
    /// As [`Courier::deliver_next`]; the files before it are there.
    pub fn deliver(&mut self) -> Result<u64, ExportError> {
        let mut delivered: u64 = 0;
        while self.deliver_next()? {
            delivered = delivered.saturating_add(1);
        }
        Ok(delivered)
    }

    /// Carries the next file to its end; false where there is none.
    ///
    /// # Errors
    /// The sink's or the ledger's; the next call goes on with the same file. What of it is known is noted beside the file.
    pub fn deliver_next(&mut self) -> Result<bool, ExportError> {
        let mut store = match self.store.take() {
            Some(store) => store,
            None => Store::open_beside(&self.ledger, &self.turn)?,
        };
        store.check_start(&self.start_id)?;
        let Some(next) = store.next_for(self.sink.id())? else {
            self.store = Some(store);
            return Ok(false);
        };
        let file_seq = next.file.manifest.file_seq;
        let carried = match store.released_at(file_seq)? {
            None => self.carry(&mut store, next),
            // It was not among the sinks that had to have it.
            Some(at) => Err(ExportError::NoSuchFile {
                path: self.ledger.clone(),
                file_seq,
                wanted: format!(
                    "one whose records are here: they have left the state at {at}, when this sink was not configured. Deliver \
                     the file from billing's ledger or pickup folder, and give the sink another id, with which it begins anew"
                ),
            }),
        };
        match carried {
            Ok(()) => {
                self.store = Some(store);
                Ok(true)
            }
            Err(error) => {
                // What the store could not do once is not asked of the same connection again.
                if !matches!(error, ExportError::Store { .. }) {
                    let noted =
                        store.note_failure(self.sink.id(), file_seq, &error.to_string(), &self.start_id);
                    // The error itself says more than that it could not be noted.
                    drop(noted);
                }
                Err(error)
            }
        }
    }

    /// Carries a file from its phase to its end. What it finds damaged is made again, once.
    fn carry(&mut self, store: &mut Store, next: Next) -> Result<(), ExportError> {
        let Next { file, mut phase, kept: Kept { before, mut here } } = next;
        let mut is_made_again = false;
        while phase != Phase::Published {
            let sealed = SealedFile::new(store, &file).with_kept(before.as_deref(), here.as_deref());
            let progress = self.sink.advance(&sealed, phase, &self.steps)?;
            store.note_phase(self.sink.id(), file.manifest.file_seq, &progress, &self.start_id)?;
            let Progress { phase: next, kept } = progress;
            if next < phase && std::mem::replace(&mut is_made_again, true) {
                return Err(ExportError::io(
                    Path::new(&file.name.data()),
                    "making a file that was damaged and made again, and is damaged",
                    io::ErrorKind::InvalidData.into(),
                ));
            }
            phase = next;
            here = kept.or(here);
        }
        self.steps.reach(Step::AfterPublishedMark, store.path())
    }
}

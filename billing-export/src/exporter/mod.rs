//! Ledger and store in one: what the gateway's export task and the crash tests drive. What is sealed leaves by couriers.
//!
//! **Counting.** [`Exporter::checkpoint`] returns when the tick is on disk. A tick belongs to the period that contains
//! its `from`; a tick that comes late goes to the period that is open, a sealed one is never reopened.
//!
//! **Clock.** Set back: the open period stays open and its records are flagged `clock_step`; while the clock stands
//! before the open period, a seal follows each period of that clock all the same, with windows of no length, so that
//! billing does not wait until the clock has caught up. Set back by more than a day: the clock before was wrong, an epoch
//! begins at the present with a gap record. Set forward over whole periods, or not ticked for as long: the open period is
//! sealed, and one heartbeat row speaks for those that never were. In an epoch no window ends before it starts, none
//! overlaps another.
//!
//! **Errors.** After an error the state on disk is read again before the next call, because it is unknown whether the
//! failed operation took place; a tick that is offered again is applied at most once. Only a refused tick
//! ([`ExportError::Ledger`]) leaves everything known and unchanged.

mod corrections;
mod couriers;
mod live;
mod open;
mod release;
mod requests;
mod seal;
#[cfg(test)]
mod tests;

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use self::live::Live;
use crate::account::{Spent, Tick};
use crate::epoch::{StartId, hex};
use crate::error::ExportError;
use crate::settings::Settings;
use crate::sink::file::Lock;
use crate::steps::{SharedSteps, Steps};
use crate::store::{STORE_NAME, Store, WriteTurn};

pub use corrections::{Adjusting, Made, Request, adjust};
pub use open::{Found, LOCK_NAME, Opened};
pub use release::{Release, prune};

/// Ledger and store of one node. One process at a time holds the directories.
///
/// From a tick of counts to files that billing verifies:
///
/// ```
/// use billing_export::{
///     Account, ByteBasis, Cause, Entry, Exporter, Flags, ListVersion, NoFault, Reason, Session, Settings,
///     SubscriberType, Tick, Timestamp, Usage, Volume, pickup, verify::verify,
/// };
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// let [state, usage, staging] = ["state", "usage", "usage.staging"].map(|name| folder.path().join(name));
/// let settings = Settings::new("zrgw-01".parse()?, state, usage.clone(), staging, ByteBasis::Ip);
/// let noon: Timestamp = "2020-04-06T12:00:00Z".parse()?;
/// let mut exporter = Exporter::open(settings, noon, [7; 16], Box::new(NoFault))?;
///
/// // One second: 40 bytes up and 1,500 down of a subscriber's flow to a site that no list names.
/// let volume = Volume { up: 40, down: 1_500 };
/// let account = Account {
///     session: Session::new(SubscriberType::Msisdn, "77010000001", "")?,
///     list: Some(ListVersion { id: "kz-edu".into(), serial: 7 }),
///     entry: Entry::because(Reason::NotListed),
/// };
/// exporter.checkpoint(&Tick {
///     sequence: 1,
///     from: noon,
///     at: noon,
///     seen: volume,
///     pending_after: Volume::ZERO,
///     usage: vec![Usage { account, flags: Flags::NONE, volume }],
///     capped: Vec::new(),
///     spent: Vec::new(),
///     stepped: false,
/// })?;
/// // On the disk from here on, whatever happens. Sealed, its record never changes; a courier hands it to billing.
/// exporter.seal_now("2020-04-06T12:00:01Z".parse()?, Cause::Shutdown)?;
/// exporter.courier().deliver()?;
/// exporter.close()?;
///
/// let report = verify(&pickup::pairs(&[usage])?, &mut |_| ())?;
/// assert!(report.faults.is_empty());
/// assert_eq!((report.records, report.up_bytes, report.down_bytes), (1, 40, 1_500));
/// # Ok(())
/// # }
/// ```
pub struct Exporter {
    /// What it was told.
    settings: Settings,
    /// Told of every named point.
    steps: SharedSteps,
    /// Its turn to write, and that of its couriers.
    turn: WriteTurn,
    /// Id of this start, in hex.
    start_id: String,
    /// How the start went.
    opened: Opened,
    /// Store and ledger; none after an error, until they are read again.
    live: Option<Live>,
    /// Files whose bytes were not conserved, at the last success.
    mismatches: u64,
    /// While the clock stands before the open segment: the period of that clock last seen.
    behind: Option<Timestamp>,
    /// The last sealed and the last released file, and the records of those between.
    outbox: Option<((u64, u64), u64)>,
    /// Highest file the witness knew at the start.
    witnessed: u64,
    /// Held while the exporter lives.
    _lock: Lock,
    /// Held while the exporter lives, or a courier that makes files there.
    staging: Arc<Lock>,
}

impl Exporter {
    /// The node whose ledger stands in `state_dir`; none where there is no ledger, or an empty one. It is only read, and may be
    /// in use.
    ///
    /// # Errors
    /// It cannot be read, or is none of ours.
    pub fn owner(state_dir: &Path) -> Result<Option<String>, ExportError> {
        let path = state_dir.join(STORE_NAME);
        // A file without content is what a start leaves that was ended at its first step.
        if fs::metadata(&path).map_or(true, |found| found.len() == 0) {
            return Ok(None);
        }
        Store::owner(&path)
    }

    /// Opens the node's state, or creates it at the first start.
    ///
    /// `start_id` is a fresh random value for every call. Missing directories are created. After an unclean stop what was
    /// open is flagged `recovered`, bytes that were pending become `unattributed` for the reason `undecided`, and a
    /// period that has ended since is sealed with that cause.
    ///
    /// # Errors
    /// Settings that contradict each other, directories that cannot be used, a state that is locked by another process,
    /// damaged, newer than this program or of another node.
    pub fn open(
        settings: Settings,
        now: Timestamp,
        start_id: [u8; 16],
        steps: Box<dyn Steps>,
    ) -> Result<Exporter, ExportError> {
        let start_id: StartId = start_id;
        open::open(settings, now, &hex(&start_id), steps)
    }

    /// Adds one tick. `Ok` means that it is on disk and survives any stop.
    ///
    /// A tick of a later period seals the open one first. A sequence that was applied before in this run changes nothing.
    ///
    /// # Errors
    /// [`ExportError::Ledger`]: refused, nothing changed. Any other: unknown whether it was applied; offer it again with
    /// the same sequence.
    pub fn checkpoint(&mut self, tick: &Tick) -> Result<(), ExportError> {
        self.with_live(|live, settings, steps| {
            if live.ledger.has_applied(tick) {
                return Ok(());
            }
            live.seal_ended(tick.from, settings, steps)?;
            live.add(tick, steps)
        })
    }

    /// Calls `each` for what every subscriber has spent of every allowance in these spans. Memory does not grow with them.
    ///
    /// # Errors
    /// The store's.
    pub fn each_spent(&mut self, spans: &[String], each: &mut dyn FnMut(Spent)) -> Result<(), ExportError> {
        self.with_live(|live, _, _| live.store.each_spent(spans, each))
    }

    /// Forgets what was spent in spans of these ranges, by the order of their words.
    ///
    /// # Errors
    /// The store's.
    pub fn forget_spent(&mut self, over: &[Range<String>]) -> Result<(), ExportError> {
        self.with_live(|live, _, _| live.store.forget_spent(over))
    }

    /// The epoch of the records of this run.
    pub fn epoch(&self) -> u32 {
        self.opened.epoch
    }

    /// The latest time that the open period has seen, by whichever process: what is counted from here on comes after it.
    pub fn latest(&self) -> Option<Timestamp> {
        self.live.as_ref().and_then(|live| live.ledger.segment().high_water)
    }

    /// How the start went: for the log.
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// Sealed files whose bytes were not conserved, over the whole ledger. Each is an alarm.
    pub fn conservation_mismatches(&self) -> u64 {
        self.mismatches
    }

    /// A clean stop: what is open stays open, without a flag, for the next start.
    ///
    /// # Errors
    /// The store's; the next start then treats the stop as unclean.
    pub fn close(mut self) -> Result<(), ExportError> {
        self.with_live(|live, _, _| live.store.set_stopped())
    }

    /// Does something with the state; after an error it is read again before the next time.
    fn with_live<T>(
        &mut self,
        work: impl FnOnce(&mut Live, &Settings, &mut dyn Steps) -> Result<T, ExportError>,
    ) -> Result<T, ExportError> {
        let mut live = match self.live.take() {
            Some(live) => live,
            None => Live::read(&self.settings, &self.start_id, &self.turn)?,
        };
        let outcome = work(&mut live, &self.settings, &mut self.steps);
        let known = outcome.as_ref().err().is_none_or(ExportError::leaves_state_known);
        if known {
            self.mismatches = live.store.mismatches()?;
            self.live = Some(live);
        }
        outcome
    }
}

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exporter")
            .field("opened", &self.opened)
            .field("mismatches", &self.mismatches)
            .finish_non_exhaustive()
    }
}

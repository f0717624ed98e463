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

mod open;
#[cfg(test)]
mod tests;

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use crate::account::{Account, Spent, Tick};
use crate::audit::Figures;
use crate::epoch::{CLOCK_WAS_WRONG, StartId, hex};
use crate::error::ExportError;
use crate::ledger::{Ledger, Opening, Segment};
use crate::period::{is_far_behind, to_millis};
use crate::record::Window;
use crate::settings::Settings;
use crate::sink::file::Lock;
use crate::sink::folder::Folder;
use crate::sink::{Courier, FILES, Since, Sink, is_sink_id};
use crate::steps::{SharedSteps, Steps};
use crate::store::{STORE_NAME, SealOrder, Sealer, SinkStanding, Store, WriteTurn};
use crate::subscriber::Session;
use crate::unit::{Cause, Volume};

pub use open::{Found, LOCK_NAME, Opened};

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
    /// Highest file the witness knew at the start.
    witnessed: u64,
    /// Held while the exporter lives.
    _lock: Lock,
    /// Held while the exporter lives, or a courier that makes files there.
    staging: Arc<Lock>,
}

/// What is on disk, and its mirror in memory.
struct Live {
    /// On disk.
    store: Store,
    /// In memory.
    ledger: Ledger,
}

impl Live {
    /// Reads what is on disk. Refuses a ledger that another start has written since.
    fn read(settings: &Settings, start_id: &str, turn: &WriteTurn) -> Result<Live, ExportError> {
        let store = Store::open(&settings.state_dir.join(STORE_NAME), turn)?;
        let node = store.node()?;
        let ours = node.as_ref().is_some_and(|node| node.mark.start_id.as_deref() == Some(start_id));
        if !store.examine()?.is_clean() {
            return Err(ExportError::Changed { path: store.path().to_owned(), what: "a row" });
        }
        let Some(node) = node.filter(|_| ours) else { return Err(store.of_another_start()) };
        Live::of(store, node.tick_sequence, settings)
    }

    /// Reads counters and segment.
    fn of(store: Store, tick_sequence: u64, settings: &Settings) -> Result<Live, ExportError> {
        let (segment, counters) = store.open_counters()?;
        let ledger = Ledger::new(counters, segment, tick_sequence, settings.accounts_max);
        Ok(Live { store, ledger })
    }

    /// Adds a tick, durably.
    fn add(&mut self, tick: &Tick, steps: &mut dyn Steps) -> Result<(), ExportError> {
        let Live { store, ledger } = self;
        let mut opening = |account: &Account| -> Result<Opening, ExportError> { store.opening(account) };
        let mut staged = ledger.stage(tick, &mut opening)?;
        store.write_tick(&mut staged, &tick.spent, steps)?;
        ledger.apply(staged);
        Ok(())
    }

    /// Seals the open segment; the next one begins.
    fn seal(
        &mut self,
        order: &SealOrder,
        settings: &Settings,
        steps: &mut dyn Steps,
    ) -> Result<u64, ExportError> {
        let sealer = Sealer::of(settings);
        let sealed = self.store.seal(&sealer, &self.ledger, order, steps)?;
        self.ledger.begin(order.next);
        Ok(sealed)
    }

    /// Seals the open segment at the end of its period if `now` is past it.
    fn seal_ended(
        &mut self,
        now: Timestamp,
        settings: &Settings,
        steps: &mut dyn Steps,
    ) -> Result<u64, ExportError> {
        let segment = self.ledger.segment();
        if to_millis(now) < segment.end {
            return Ok(0);
        }
        let current = settings.period.start_of(now).max(segment.end);
        let order = SealOrder {
            end: segment.end,
            cause: Cause::Period,
            skipped_until: (current > segment.end).then_some(current),
            next: segment.following(current, settings.period),
        };
        self.seal(&order, settings, steps)
    }

    /// Seals the open segment as it stands.
    fn seal_part(
        &mut self,
        segment: Segment,
        now: Timestamp,
        cause: Cause,
        settings: &Settings,
        steps: &mut dyn Steps,
    ) -> Result<u64, ExportError> {
        let end = segment.window(now).end();
        let next = segment.following(end, settings.period);
        self.seal(&SealOrder { end, cause, skipped_until: None, next }, settings, steps)
    }
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

    /// A courier to the folder of usage files. Nothing incomplete is ever visible there.
    pub fn courier(&self) -> Courier {
        let (settings, start_id) = (&self.settings, &self.start_id);
        let lock = Arc::clone(&self.staging);
        self.courier_of(Box::new(Folder::new(settings, start_id, self.opened.epoch, self.witnessed, lock)))
    }

    /// A courier to another sink. One that the ledger has not heard of begins as `since` says.
    ///
    /// # Errors
    /// The store's; an id that is not one, or is that of the folder of usage files.
    pub fn courier_to(&mut self, sink: Box<dyn Sink>, since: Since) -> Result<Courier, ExportError> {
        let id = sink.id();
        if id == FILES || !is_sink_id(id) {
            return Err(ExportError::Settings(format!(
                "a sink's id is 1 to 32 of a-z, 0-9 and hyphen, and \"{FILES}\" is the folder of usage files: found {id:?}"
            )));
        }
        match since {
            Since::Oldest => {}
            Since::Next => self.with_live(|live, _, _| live.store.begin_sink(sink.id()))?,
        }
        Ok(self.courier_of(sink))
    }

    /// A courier to this sink.
    fn courier_of(&self, sink: Box<dyn Sink>) -> Courier {
        let ledger = self.settings.state_dir.join(STORE_NAME);
        Courier::new(sink, ledger, self.start_id.clone(), self.turn.clone(), self.steps.clone())
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

    /// How far a sink is; none while the ledger has to be read again.
    pub fn sink_standing(&self, sink: &str) -> Option<SinkStanding> {
        self.live.as_ref().and_then(|live| live.store.sink_standing(sink).ok())
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

//! The export task: pulls the workers' counts once a tick, saves them and seals ended periods. What is sealed leaves by the
//! threads of `sinks`, which it waits for at the end alone.
//!
//! The only place that touches ledger, store and sinks. Its own thread: a slow disk never delays traffic. While a tick
//! cannot be saved nothing more is pulled; the counts stay with the flows, which lose nothing, and after
//! `export.unsaved_max` exemption is suspended, so that no byte is exempt for long without a record of it.

mod allowances;
mod clock;
mod counting;
mod ending;
mod fault;
mod handed;
mod leaving;
mod ledger;
mod machine;
mod opened;
pub mod orders;
pub mod shelf;
mod sinks;
mod standing;
pub mod state;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use billing_export::{Cause, ExportError, Exporter, NodeId, Period, Session, Settings, Tick, Usage, Volume};
use jiff::Timestamp;

use crate::app::node::status::Status;
use crate::app::node::takeover::remainder::Remainder;
use crate::flow::session::Sessions;
use crate::net::lookup::Lookups;
use crate::net::node::policy::PolicyCell;
use crate::net::node::report::ReportSource;
use crate::net::node::shared::{Saved, Shared};
use crate::net::sys::attention::Attention;
use crate::net::sys::clock::{Clock, wall};
use crate::net::sys::egress::Egress;
use allowances::Followed;
use clock::Watched;
use fault::{SharedFault, fault};
use leaving::Leaving;
use orders::{Ending, Fate, MeetingPlace, Order, Plan};
use sinks::Sinks;

/// How long a worker, or a sink that is to end, may take to answer; one that does not is asked again at the next tick.
const ANSWER_LIMIT: Duration = Duration::from_millis(500);
/// How long the last answers of a stopping worker are waited for: one that hangs gives none, one with a hundred thousand flows to
/// conclude on a busy machine needs seconds.
const STOP_LIMIT: Duration = Duration::from_secs(15);
/// How often expired trusted answers are dropped, in ticks.
const SWEEP_TICKS: u64 = 600;

/// Whose the ledger is.
enum Books {
    /// Ours.
    Own,
    /// Closed, for another process to open.
    Released,
    /// Another process's.
    Handed(Box<Remainder>),
}

/// Counts of a draining process that wait for the next tick.
struct TakenDelta {
    usage: Vec<Usage>,
    seen: Volume,
    answer: Sender<Fate>,
}

/// The export task.
pub struct Export {
    plan: Plan,
    settings: Settings,
    sources: Vec<Box<dyn ReportSource>>,
    policy: Arc<PolicyCell>,
    sessions: Arc<Sessions>,
    /// Those that have ended and of which the ledger does not know yet.
    ended: Vec<Session>,
    lookups: Arc<Lookups>,
    egress: Arc<Egress>,
    status: Arc<Status>,
    exporter: Option<Exporter>,
    sinks: Sinks,
    books: Books,
    /// Where the processes of this node meet, once another one has taken over.
    place: Option<Arc<dyn MeetingPlace>>,
    /// Counts of draining processes for the next tick.
    taken: Vec<TakenDelta>,
    /// Whose counts are in the tick that is not saved.
    merged: Vec<Sender<Fate>>,
    /// Bytes seen whose flows have no verdict, while another process holds the ledger.
    withheld: Volume,
    /// A tick that is pulled and not saved.
    unsaved: Option<Tick>,
    /// Whether it was offered, and nobody knows whether it was taken.
    doubtful: bool,
    /// Number of the last tick.
    sequence: u64,
    /// When counting of the next tick began.
    from: Timestamp,
    /// Bytes pending at each worker at its last report.
    pending: Vec<Volume>,
    /// When a tick was last saved, for the workers to watch.
    shared: Arc<Saved>,
    clock: Clock,
    /// The system's clock, as far as it is believed.
    watched: Watched,
    /// Serial of the list in force at the last tick.
    serial: Option<u64>,
    /// The limits and the day whose spending is known.
    followed: Option<Followed>,
    /// The fault that was last told, so that it is told once.
    told: Option<String>,
    /// What the start of the ledger wants looked at.
    attention: Vec<Attention>,
    /// Records that billing has, on their way out of the state.
    leaving: Leaving,
    /// The test switch; what it has used up stays used up when the ledger is opened anew.
    fault: Option<SharedFault>,
}

impl Export {
    /// An export task that has not begun.
    ///
    /// # Errors
    /// What is wrong with the node's name or the period.
    pub fn new(plan: Plan, shared: &Shared, status: Arc<Status>) -> Result<Self, String> {
        let settings = settings(&plan)?;
        let fault = plan.fault.as_deref().and_then(fault);
        let sinks = Sinks::new(plan.retry_max, plan.delivery_max, shared.clock);
        Ok(Self {
            sinks,
            plan,
            settings,
            sources: Vec::new(),
            policy: Arc::clone(&shared.policy),
            sessions: Arc::clone(&shared.sessions),
            ended: Vec::new(),
            lookups: Arc::clone(&shared.lookups),
            egress: Arc::clone(&shared.egress),
            status,
            exporter: None,
            books: Books::Own,
            place: None,
            taken: Vec::new(),
            merged: Vec::new(),
            withheld: Volume::ZERO,
            unsaved: None,
            doubtful: false,
            sequence: 0,
            from: wall(),
            pending: Vec::new(),
            shared: Arc::clone(&shared.saved),
            clock: shared.clock,
            watched: Watched::new(),
            serial: None,
            followed: None,
            told: None,
            attention: Vec::new(),
            leaving: Leaving::default(),
            fault,
        })
    }

    /// Opens the ledger before the first byte, so that a fault is told at start. A node whose ledger does not open still
    /// carries traffic, all of it charged, and tries again at each tick.
    pub fn open(&mut self) {
        if let Err(error) = self.try_open() {
            self.tell(&error);
        }
        self.judge_exemption();
        self.tell_status(0);
    }

    /// Takes those whose counts are to be saved.
    pub fn employ(&mut self, sources: Vec<Box<dyn ReportSource>>) {
        self.pending = vec![Volume::ZERO; sources.len()];
        self.sources = sources;
    }

    /// Whether the ledger is open.
    pub fn is_open(&self) -> bool {
        self.exporter.is_some()
    }

    /// Works until told to stop; what became of what was counted.
    pub fn run(mut self, orders: &Receiver<Order>) -> Ending {
        let mut rounds = 0_u64;
        let until = loop {
            match orders.recv_timeout(until_next(self.plan.checkpoint, wall())) {
                Ok(Order::Stop(until)) => break Some(until),
                Err(RecvTimeoutError::Disconnected) => break None,
                Ok(order) => self.obey(order),
                Err(RecvTimeoutError::Timeout) => {
                    self.round();
                    rounds = rounds.wrapping_add(1);
                    if rounds.is_multiple_of(SWEEP_TICKS) {
                        self.lookups.answers().sweep();
                    }
                }
            }
        };
        let handed = !matches!(self.books, Books::Own) && self.last_handed_round(orders);
        let ending = if handed { Ending::HandedOn } else { self.last_round(until) };
        while let Ok(order) = orders.try_recv() {
            if let Order::Take(_, answer) = order {
                let _ = answer.send(Fate::NotTaken);
            }
        }
        ending
    }

    /// One tick, whoever holds the ledger.
    fn round(&mut self) {
        match std::mem::replace(&mut self.books, Books::Own) {
            Books::Own => {
                self.own_round();
                self.yield_to_newcomer();
            }
            Books::Released => self.books = Books::Released,
            Books::Handed(remainder) => {
                self.books = Books::Released;
                self.handed_round(remainder);
            }
        }
    }

    /// One tick: pull, save, seal.
    fn own_round(&mut self) {
        self.watch_clock();
        let silent = if self.unsaved.is_none() { self.pull() } else { 0 };
        // Sealing frees counters, so it is tried also when a tick is refused for want of them.
        let saved = self.save().and_then(|()| self.follow_allowances()).and_then(|()| self.end_sessions());
        let serial = self.policy.load().list.as_ref().map(|list| list.serial());
        // Another list came into force: what was counted until now is sealed with that cause.
        let changed = self.serial.is_some() && self.serial != serial;
        let sealed = self.seal(changed.then_some(Cause::ListChange));
        if sealed.is_ok() {
            self.serial = serial;
        }
        let corrected = self.make_corrections();
        // Whoever has sealed something, and though that failed in the end.
        self.sinks.tell();
        let released = self.let_leave();
        match saved.and(sealed).and(corrected).and(released) {
            Ok(()) => self.told = None,
            Err(error) => self.tell(&error),
        }
        self.judge_exemption();
        self.tell_status(silent);
        self.status.count_lookups(self.lookups.take_counts());
    }

    /// Has the records of sessions that ended close with that cause.
    fn end_sessions(&mut self) -> Result<(), ExportError> {
        match &mut self.exporter {
            Some(exporter) => {
                self.ended.extend(self.sessions.take_ended());
                // No more than these can have a record open.
                self.ended.truncate(self.plan.accounts_max);
                exporter.end_sessions(&self.ended)?;
                self.ended.clear();
                // What an error takes of these is a remark.
                exporter.lose_sessions(&self.sessions.take_lost())?;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// The ledger's settings.
fn settings(plan: &Plan) -> Result<Settings, String> {
    let node_id: NodeId = plan.node_id.parse().map_err(|error| format!("node.id: {error}"))?;
    let period = Period::new(plan.period).map_err(|error| format!("export.period: {error}"))?;
    let (state, pickup, staging) =
        (plan.state_dir.clone(), plan.pickup_dir.clone(), plan.staging_dir.clone());
    Ok(Settings {
        period,
        memory_dir: machine::memory_dir(),
        boot_id: machine::boot_id(),
        file_records_max: plan.file_records_max,
        accounts_max: plan.accounts_max,
        ..Settings::new(node_id, state, pickup, staging, plan.byte_basis)
    })
}

/// Time until the next whole multiple of `tick` of the wall clock: ticks fall on the edges of periods.
fn until_next(tick: Duration, now: Timestamp) -> Duration {
    let length = tick.as_nanos().max(1);
    let into = now.as_nanosecond().unsigned_abs().checked_rem(length).unwrap_or(0);
    let left = length.saturating_sub(into);
    Duration::from_nanos(u64::try_from(left).unwrap_or(u64::MAX))
}

//! The ways out for sealed files, each on a thread of its own: the export thread tells them that something is sealed, and
//! waits for none of them but at the end of the process, and then not for long.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use billing_export::sink::{Backoff, Courier, FILES};
use billing_export::{ExportError, Exporter};
use jiff::Timestamp;

use crate::app::node::status::SinkState;
use crate::flow::time::Monotonic;
use crate::net::sys::attention::{Attention, AttentionReason};
use crate::net::sys::clock::{Clock, wall};

/// How often a thread that is to end is looked at.
const POLL: Duration = Duration::from_millis(5);

/// All ways out of this process.
pub(super) struct Sinks {
    /// Those that carry.
    threads: Vec<SinkThread>,
    /// Those that were told to end and have not.
    leaving: Vec<SinkThread>,
    /// Rounds of each that failed, on all threads it has had.
    errors: BTreeMap<String, Arc<AtomicU64>>,
    /// The longest pause after a failure.
    retry_max: Duration,
    /// How long one file may take before that is told.
    delivery_max: Duration,
    clock: Clock,
}

/// What became of what the sinks were waited for; of several the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Waited {
    /// Every sink has all that is sealed.
    Delivered,
    /// One failed; it is told.
    Failed,
    /// One has stood still since before it was waited for.
    StandsStill,
    /// One was not done in time.
    OutOfTime,
}

/// How far a round came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    /// The sink has all that was sealed.
    Everything,
    /// It was to end, and files may be left.
    Ended,
}

/// One way out.
struct SinkThread {
    id: String,
    bell: Arc<Bell>,
    errors: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

/// What the export thread and the thread of a sink tell each other.
#[derive(Default)]
struct Bell {
    state: Mutex<State>,
    rung: Condvar,
}

/// How a sink stands.
#[derive(Default)]
struct State {
    /// Rounds that were asked for.
    asked: u64,
    /// The last of them that is over, well or not.
    done: u64,
    /// The next one is not to wait for the end of a pause.
    is_urgent: bool,
    /// No further file is to be begun.
    is_to_end: bool,
    /// None will be.
    has_ended: bool,
    /// Since when it has been at one file.
    busy_since: Option<Monotonic>,
    /// Why the last round failed.
    fault: Option<String>,
    /// When it last had all there was.
    last_success: Option<Timestamp>,
}

impl Bell {
    /// The state; whoever panicked with it left it whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes the thread.
    fn ring(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.rung.notify_all();
    }

    /// Asks for a round that waits for no pause; its number.
    fn ask_at_once(&self) -> u64 {
        let mut round = 0;
        self.ring(|state| {
            state.asked = state.asked.saturating_add(1);
            state.is_urgent = true;
            round = state.asked;
        });
        round
    }

    /// Waits until there is a round to carry; none when there will be none.
    fn wait(&self, backoff: &Backoff, clock: Clock) -> Option<u64> {
        let mut state = self.state();
        loop {
            if state.is_to_end {
                state.has_ended = true;
                return None;
            }
            let left = backoff.left(since_start(clock));
            let wanted = state.asked > state.done || backoff.is_failing();
            if wanted && (left.is_zero() || state.is_urgent) {
                state.is_urgent = false;
                return Some(state.asked);
            }
            state = if wanted {
                self.rung.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
            } else {
                self.rung.wait(state).unwrap_or_else(PoisonError::into_inner)
            };
        }
    }
}

impl Sinks {
    /// None yet.
    pub(super) fn new(retry_max: Duration, delivery_max: Duration, clock: Clock) -> Self {
        let (threads, leaving, errors) = (Vec::new(), Vec::new(), BTreeMap::new());
        Self { threads, leaving, errors, retry_max, delivery_max, clock }
    }

    /// Lets these couriers carry.
    ///
    /// # Errors
    /// The system has no thread; what is sealed waits in the ledger.
    pub(super) fn begin(&mut self, couriers: Vec<Courier>) -> Result<(), std::io::Error> {
        for courier in couriers {
            let (id, bell) = (courier.id().to_owned(), Arc::new(Bell::default()));
            // What was sealed before, and by the start.
            bell.state().asked = 1;
            let errors = Arc::clone(self.errors.entry(id.clone()).or_default());
            let (of_thread, failed) = (Arc::clone(&bell), Arc::clone(&errors));
            let (clock, backoff) = (self.clock, Backoff::new(self.retry_max));
            let thread = std::thread::Builder::new()
                .name(format!("sink-{id}"))
                .spawn(move || carry(courier, &of_thread, &failed, backoff, clock))?;
            self.threads.push(SinkThread { id, bell, errors, thread });
        }
        Ok(())
    }

    /// Tells them to look whether something is sealed.
    pub(super) fn tell(&self) {
        for sink in &self.threads {
            sink.bell.ring(|state| state.asked = state.asked.saturating_add(1));
        }
    }

    /// Waits until each has tried to take what is sealed by now, but for none that has stood still already.
    pub(super) fn wait(&self, limit: Duration) -> Waited {
        let begun = Instant::now();
        let ask = |sink: &SinkThread| (self.stands_still(sink), sink.bell.ask_at_once());
        let asked: Vec<_> = self.threads.iter().map(ask).collect();
        let outcomes = self.threads.iter().zip(asked).map(|(sink, (stands_still, round))| {
            let mut state = sink.bell.state();
            while state.done < round {
                let left = limit.saturating_sub(begun.elapsed());
                if stands_still {
                    return Waited::StandsStill;
                } else if left.is_zero() {
                    return Waited::OutOfTime;
                }
                state = sink.bell.rung.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            if state.fault.is_some() { Waited::Failed } else { Waited::Delivered }
        });
        outcomes.max().unwrap_or(Waited::Delivered)
    }

    /// Has those that were dismissed and have not ended go on.
    pub(super) fn take_back(&mut self) {
        for sink in std::mem::take(&mut self.leaving) {
            let mut goes_on = false;
            sink.bell.ring(|state| {
                goes_on = !state.has_ended;
                state.is_to_end = state.has_ended;
                // What it left when it was to end.
                state.asked = state.asked.saturating_add(1);
            });
            if goes_on { &mut self.threads } else { &mut self.leaving }.push(sink);
        }
    }

    /// The id of one that stands still; none where none does.
    pub(super) fn standing_still(&self) -> Option<&str> {
        self.threads.iter().find(|sink| self.stands_still(sink)).map(|sink| &*sink.id)
    }

    /// Whether a sink has been at one file for longer than it may without being told.
    fn stands_still(&self, sink: &SinkThread) -> bool {
        let since = sink.bell.state().busy_since;
        since.is_some_and(|since| self.clock.monotonic().since(since) > self.delivery_max)
    }

    /// Whether a sink of this id carries.
    pub(super) fn has(&self, id: &str) -> bool {
        self.threads.iter().any(|sink| sink.id == id)
    }

    /// Has them end after the file each is at, whenever that is.
    pub(super) fn dismiss(&mut self) {
        for sink in self.threads.drain(..) {
            sink.bell.ring(|state| state.is_to_end = true);
            self.leaving.push(sink);
        }
    }

    /// Whether all that were dismissed have ended, in this time: only then may another start have the ledger.
    pub(super) fn have_left(&mut self, limit: Duration) -> bool {
        let begun = Instant::now();
        loop {
            self.leaving.retain(|sink| !sink.thread.is_finished());
            if self.leaving.is_empty() || begun.elapsed() >= limit {
                return self.leaving.is_empty();
            }
            std::thread::sleep(POLL);
        }
    }

    /// Why usage files are held back; none where they are not.
    pub(super) fn fault(&self) -> Option<String> {
        let files = self.threads.iter().find(|sink| sink.id == FILES)?;
        files.bell.state().fault.clone()
    }

    /// Records sealed that the folder of usage files does not have; none while the ledger is read again.
    pub(super) fn backlog_records(exporter: Option<&Exporter>) -> Option<u64> {
        let Some(exporter) = exporter else { return Some(0) };
        exporter.sink_standing(FILES).map(|standing| standing.backlog_records)
    }

    /// How each stands, by what the ledger says and what its thread does.
    pub(super) fn states(&self, exporter: Option<&Exporter>) -> Vec<SinkState> {
        let now = self.clock.monotonic();
        let mut states: Vec<SinkState> = Vec::new();
        let leaving = self.leaving.iter().filter(|sink| !sink.bell.state().has_ended);
        for sink in self.threads.iter().chain(leaving) {
            let standing = exporter.and_then(|exporter| exporter.sink_standing(&sink.id));
            let state = sink.bell.state();
            let busy = state.busy_since.map(|since| now.since(since));
            states.push(SinkState {
                id: sink.id.clone(),
                standing,
                errors: sink.errors.load(Ordering::Relaxed),
                last_success: state.last_success,
                attention: self.attention(&sink.id, state.fault.as_deref(), busy),
            });
        }
        states
    }

    /// What of a sink wants the operator's eye.
    fn attention(&self, id: &str, fault: Option<&str>, busy: Option<Duration>) -> Option<Attention> {
        let text = match (busy.filter(|busy| *busy > self.delivery_max), fault) {
            (Some(busy), _) => format!(
                "sink \"{id}\" has been at one file for {} s: what it writes to does not answer. Records wait in the ledger; \
                 nothing else waits for it",
                busy.as_secs()
            ),
            (None, Some(fault)) => {
                format!("sink \"{id}\" takes no files, records wait in the ledger: {fault}")
            }
            (None, None) => return None,
        };
        Some(Attention::new(AttentionReason::SinkBehind, text))
    }
}

/// Time since the process started.
fn since_start(clock: Clock) -> Duration {
    Duration::from_millis(clock.monotonic().as_millis())
}

/// The work of one thread: carries what is sealed whenever it is told, and again after a pause where that failed.
fn carry(mut courier: Courier, bell: &Bell, errors: &AtomicU64, mut backoff: Backoff, clock: Clock) {
    let mut told: Option<String> = None;
    while let Some(round) = bell.wait(&backoff, clock) {
        // A panic is this sink's fault like any other: it opens the ledger anew, and tries again.
        let carried = catch_unwind(AssertUnwindSafe(|| carry_round(&mut courier, bell, clock)));
        let fault = match carried {
            Ok(Ok(Round::Everything)) => None,
            Ok(Ok(Round::Ended)) => {
                bell.ring(|state| state.busy_since = None);
                continue;
            }
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("it panicked: report what standard error says of it".to_owned()),
        };
        match &fault {
            None => backoff.succeeded(),
            Some(_) => backoff.failed(since_start(clock)),
        }
        if let Some(error) = fault.as_ref().filter(|_| fault != told) {
            tracing::error!(sink = courier.id(), "export: {error}");
        }
        told.clone_from(&fault);
        bell.ring(|state| {
            state.done = state.done.max(round);
            state.busy_since = None;
            match &fault {
                None => state.last_success = Some(wall()),
                Some(_) => {
                    errors.fetch_add(1, Ordering::Relaxed);
                }
            }
            state.fault = fault;
        });
    }
}

/// Carries file by file until there is none, or until it is to end.
fn carry_round(courier: &mut Courier, bell: &Bell, clock: Clock) -> Result<Round, ExportError> {
    let mut files = 0_u64;
    let came_to = loop {
        let mut state = bell.state();
        if state.is_to_end {
            break Round::Ended;
        }
        state.busy_since = Some(clock.monotonic());
        drop(state);
        if !courier.deliver_next()? {
            break Round::Everything;
        }
        files = files.saturating_add(1);
    };
    if files > 0 {
        tracing::info!(sink = courier.id(), files, "usage files published");
    }
    Ok(came_to)
}

#[cfg(test)]
mod tests;

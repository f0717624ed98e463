//! The ways out for sealed files, each on a thread of its own: the export thread tells them that something is sealed, and
//! waits for none of them but at the end of the process, and then not for long.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use billing_export::sink::{Backoff, Courier, FILES};
use billing_export::{ExportError, Exporter};
use jiff::Timestamp;

use crate::app::status::SinkState;
use crate::flow::time::Monotonic;
use crate::net::attention::{Attention, AttentionReason};
use crate::net::clock::{Clock, wall};

/// How often a sink that is waited for is looked at.
const POLL: Duration = Duration::from_millis(5);

/// All ways out of this process.
pub(super) struct Sinks {
    /// Those that carry.
    threads: Vec<SinkThread>,
    /// Those that were told to end and have not.
    leaving: Vec<SinkThread>,
    /// The longest pause after a failure, and the longest try that is not told.
    retry_max: Duration,
    clock: Clock,
}

/// What became of what a sink was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waited {
    /// Every sink has all that is sealed.
    Delivered,
    /// One failed; it is told.
    Failed,
    /// One stands still.
    Hangs,
}

/// One way out.
struct SinkThread {
    id: String,
    bell: Arc<Bell>,
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
    /// Rounds that failed.
    errors: u64,
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
    pub(super) fn new(retry_max: Duration, clock: Clock) -> Self {
        Self { threads: Vec::new(), leaving: Vec::new(), retry_max, clock }
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
            let (of_thread, clock, backoff) = (Arc::clone(&bell), self.clock, Backoff::new(self.retry_max));
            let thread = std::thread::Builder::new()
                .name(format!("sink-{id}"))
                .spawn(move || carry(courier, &of_thread, backoff, clock))?;
            self.threads.push(SinkThread { id, bell, thread });
        }
        Ok(())
    }

    /// Tells them that something is sealed.
    pub(super) fn tell(&self) {
        for sink in &self.threads {
            sink.bell.ring(|state| state.asked = state.asked.saturating_add(1));
        }
    }

    /// Waits until each has tried to take what is sealed by now, but for none that has stood still already.
    pub(super) fn wait(&self, limit: Duration) -> Waited {
        let begun = Instant::now();
        let mut waited = Waited::Delivered;
        for sink in &self.threads {
            let mut round = 0;
            sink.bell.ring(|state| {
                state.asked = state.asked.saturating_add(1);
                state.is_urgent = true;
                round = state.asked;
            });
            let stands_still = self.stands_still(sink);
            let mut state = sink.bell.state();
            while state.done < round {
                if stands_still || begun.elapsed() >= limit {
                    return Waited::Hangs;
                }
                state = sink.bell.rung.wait_timeout(state, POLL).unwrap_or_else(PoisonError::into_inner).0;
            }
            if state.fault.is_some() {
                waited = Waited::Failed;
            }
        }
        waited
    }

    /// Ends them after the file each is at. Where one is not done with its file in time, it goes on, and its id comes back.
    pub(super) fn end(&mut self, limit: Duration) -> Result<(), String> {
        self.dismiss();
        if self.have_left(limit) {
            return Ok(());
        }
        let mut hanging = None;
        for sink in std::mem::take(&mut self.leaving) {
            let mut goes_on = false;
            sink.bell.ring(|state| {
                goes_on = !state.has_ended;
                state.is_to_end = state.has_ended;
                // What it left when it was to end.
                state.asked = state.asked.saturating_add(1);
            });
            if goes_on {
                hanging = hanging.or_else(|| Some(sink.id.clone()));
                self.threads.push(sink);
            } else {
                self.leaving.push(sink);
            }
        }
        hanging.map_or(Ok(()), Err)
    }

    /// The id of one that stands still; none where none does.
    pub(super) fn standing_still(&self) -> Option<&str> {
        self.threads.iter().find(|sink| self.stands_still(sink)).map(|sink| &*sink.id)
    }

    /// Whether a sink has been at one file for longer than it may without being told.
    fn stands_still(&self, sink: &SinkThread) -> bool {
        let since = sink.bell.state().busy_since;
        since.is_some_and(|since| self.clock.monotonic().since(since) > self.retry_max)
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
        for sink in &self.threads {
            let standing = exporter.and_then(|exporter| exporter.sink_standing(&sink.id));
            let state = sink.bell.state();
            let busy = state.busy_since.map(|since| now.since(since));
            states.push(SinkState {
                id: sink.id.clone(),
                standing,
                errors: state.errors,
                last_success: state.last_success,
                attention: self.attention(&sink.id, state.fault.as_deref(), busy),
            });
        }
        states
    }

    /// What of a sink wants the operator's eye.
    fn attention(&self, id: &str, fault: Option<&str>, busy: Option<Duration>) -> Option<Attention> {
        let text = match (busy.filter(|busy| *busy > self.retry_max), fault) {
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
fn carry(mut courier: Courier, bell: &Bell, mut backoff: Backoff, clock: Clock) {
    let mut told: Option<String> = None;
    while let Some(round) = bell.wait(&backoff, clock) {
        let carried = carry_round(&mut courier, bell, clock);
        let fault = carried.as_ref().err().map(ToString::to_string);
        match &fault {
            None => backoff.succeeded(),
            Some(_) => backoff.failed(since_start(clock)),
        }
        if fault.is_some() && fault != told {
            let error = fault.as_deref().unwrap_or_default();
            tracing::error!(sink = courier.id(), "export: {error}");
        }
        told.clone_from(&fault);
        bell.ring(|state| {
            state.done = state.done.max(round);
            state.busy_since = None;
            match &fault {
                None => state.last_success = Some(wall()),
                Some(_) => state.errors = state.errors.saturating_add(1),
            }
            state.fault = fault;
        });
    }
}

/// Carries file by file until there is none, or until it is to end.
fn carry_round(courier: &mut Courier, bell: &Bell, clock: Clock) -> Result<(), ExportError> {
    let mut files = 0_u64;
    loop {
        let mut state = bell.state();
        if state.is_to_end {
            return Ok(());
        }
        state.busy_since = Some(clock.monotonic());
        drop(state);
        if !courier.deliver_next()? {
            break;
        }
        files = files.saturating_add(1);
    }
    if files > 0 {
        tracing::info!(sink = courier.id(), files, "usage files published");
    }
    Ok(())
}

//! What the thread is told: to go on, to let another process have its turn, to end.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long the thread may take to be where it is wanted: what it is at waits for the disk.
const REACH_LIMIT: Duration = Duration::from_secs(10);

/// What the thread does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    /// It hears.
    #[default]
    Hears,
    /// It reads and writes nothing.
    Rests,
    /// It has ended, or is about to.
    Ends,
}

/// Where it is wanted, and where it is.
#[derive(Debug, Default)]
pub(super) struct Control {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    wanted: Mode,
    reached: Mode,
}

impl Control {
    /// Has the thread do this; whether it does by the time this returns.
    pub(super) fn want(&self, mode: Mode) -> bool {
        let mut state = self.state();
        // One that has ended neither hears nor writes, whatever it is wanted for.
        if state.reached == Mode::Ends {
            return mode != Mode::Hears;
        }
        state.wanted = mode;
        self.changed.notify_all();
        let waits = |state: &mut State| state.reached != mode;
        let waited = self.changed.wait_timeout_while(state, REACH_LIMIT, waits);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.reached == mode
    }

    /// Where the thread is wanted.
    pub(super) fn wanted(&self) -> Mode {
        self.state().wanted
    }

    /// The thread is where it was wanted; it waits there as long as it is to rest. What it is to do then.
    pub(super) fn reach(&self, mode: Mode) -> Mode {
        let mut state = self.state();
        state.reached = mode;
        self.changed.notify_all();
        if mode == Mode::Rests {
            let rests = |state: &mut State| state.wanted == Mode::Rests;
            state = self.changed.wait_while(state, rests).unwrap_or_else(PoisonError::into_inner);
            state.reached = state.wanted;
            self.changed.notify_all();
        }
        state.wanted
    }

    /// The state; a panic elsewhere does not make it unusable.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

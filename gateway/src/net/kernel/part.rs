//! The task that looks after the flows of the kernel's slots, at one worker.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::io::unix::AsyncFd;
use tokio::time::{sleep, timeout};

use super::claims::Claims;
use super::load::Kernel;
use super::taps::{Taken, Taps};
use crate::flow::time::Monotonic;
use crate::net::node::worker::Worker;
use crate::net::sys::socket::watch_descriptor;

/// How often the ring is looked at while something comes: the longest wait for a verdict.
const LOOK: Duration = Duration::from_millis(2);
/// Looks at the ring between two at the flows that are waited for.
const LOOKS_PER_AWAITED: u32 = 4;
/// After so long without a piece the next one wakes us.
const SLEEPY: Duration = Duration::from_millis(100);
/// How long a sleep is without one: the process says that it looks, and flows are waited for.
const SLEEP: Duration = Duration::from_millis(20);
/// From one sweep to the next.
const SWEEP: Duration = Duration::from_secs(1);

/// What one worker has of the kernel path.
pub struct Part {
    taps: RefCell<Taps>,
}

impl Part {
    /// Begins to look after the flows of the kernel's slots. Flows of a process before this one go on.
    pub fn start(worker: &Rc<Worker>, kernel: Kernel, claims: Claims) -> io::Result<Rc<Self>> {
        worker.claims.replace(claims);
        let taps = Taps::new(Rc::clone(worker), kernel);
        let ring = watch_descriptor(taps.ring()?)?;
        let part = Rc::new(Self { taps: RefCell::new(taps) });
        part.beat();
        part.taps.borrow_mut().sweep();
        tokio::task::spawn_local(Rc::clone(&part).run(ring));
        Ok(part)
    }

    /// Before a report: what the kernel has counted by now is part of it.
    pub fn sweep(&self) {
        self.taps.borrow_mut().sweep();
    }

    /// Another process goes on with the flows.
    pub fn leave(&self) {
        self.taps.borrow_mut().leave();
    }

    /// It does not.
    pub fn return_to(&self) {
        self.taps.borrow_mut().return_to();
    }

    /// Looks until the event loop ends.
    async fn run(self: Rc<Self>, ring: AsyncFd<OwnedFd>) {
        let clock = self.taps.borrow().clock();
        let (mut swept, mut active, mut looks) = (clock.monotonic(), clock.monotonic(), 0_u32);
        loop {
            let now = clock.monotonic();
            if self.taps.borrow().is_left() {
                sleep(SLEEPY).await;
                continue;
            }
            self.beat();
            looks = looks.wrapping_add(1);
            let taken = self.look(looks);
            if taken != Taken::Nothing {
                active = now;
            }
            if now.since(swept) >= SWEEP {
                swept = now;
                let mut taps = self.taps.borrow_mut();
                taps.sweep();
                taps.follow_machine();
            }
            match taken {
                Taken::Some => tokio::task::yield_now().await,
                Taken::All | Taken::Nothing => self.wait(&ring, now, active).await,
            }
        }
    }

    /// Looks at the ring, and now and then at the flows that are waited for; what came.
    fn look(&self, looks: u32) -> Taken {
        let mut taps = self.taps.borrow_mut();
        let taken = taps.take_copies();
        match taken {
            // What was copied before a slot said something must have been taken before that is gone by.
            Taken::Some => {}
            // Where something came, something may follow from it.
            Taken::All => taps.look_at_awaited(),
            Taken::Nothing if looks.is_multiple_of(LOOKS_PER_AWAITED) => taps.look_at_awaited(),
            Taken::Nothing => {}
        }
        taken
    }

    /// Waits for the next look.
    async fn wait(&self, ring: &AsyncFd<OwnedFd>, now: Monotonic, active: Monotonic) {
        if now.since(active) < SLEEPY {
            return sleep(LOOK).await;
        }
        self.taps.borrow().sleep(true);
        // What came before we said so wakes nobody.
        if self.look(0) != Taken::Nothing {
            self.taps.borrow().sleep(false);
            return;
        }
        if let Ok(Ok(mut ready)) = timeout(SLEEP, ring.readable()).await {
            ready.clear_ready();
        }
        self.taps.borrow().sleep(false);
    }

    /// Says that the process looks.
    fn beat(&self) {
        self.taps.borrow_mut().beat(coarse_now());
    }
}

/// CLOCK_MONOTONIC_COARSE, by which the programs say when a flow began.
pub(super) fn coarse_now() -> Duration {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
}

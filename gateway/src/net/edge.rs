//! Keeps the kernel's rules in step with the gateway: flows are led to it while it answers and has room, and pass by else.
//!
//! The set `alive` of [`crate::net::edge::nft`] is renewed only while every worker's event loop runs and there is room for flows; the
//! moment that ends it is emptied, and whatever hangs lets it run out (decision 24).

pub mod candidates;
pub mod nft;
pub mod silence;
mod silent;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::flow::time::Monotonic;
use crate::net::edge::candidates::Candidates;
use crate::net::edge::nft::{NftError, Plan};
use crate::net::edge::silence::Silences;
use crate::net::node::shared::Shared;
use crate::net::sys::overload::Level;

/// How often it is looked whether flows may come.
const LOOK: Duration = Duration::from_millis(100);
/// Renewals within the time an element stands: two may fail.
const RENEWALS: u32 = 3;
/// With less than one place in so many left, new flows pass by.
const ROOM_MIN_SHARE: usize = 20;
/// With more than one in so many left again, they are taken.
const ROOM_AGAIN_SHARE: usize = 10;

/// Why new flows pass by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aside {
    /// The rules have not been renewed yet.
    Starting,
    /// They do not: they are led here.
    Taken,
    /// A worker's event loop stands still.
    Hung,
    /// There is no room for more flows.
    Full,
    /// The gateway ends.
    Draining,
    /// The rules cannot be renewed.
    NoRules,
}

impl Aside {
    /// The word for metrics and readiness.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Taken => "taken",
            Self::Hung => "hung",
            Self::Full => "full",
            Self::Draining => "draining",
            Self::NoRules => "no_rules",
        }
    }

    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Starting, Self::Taken, Self::Hung, Self::Full, Self::Draining, Self::NoRules];
}

/// The keeper of the rules.
pub struct Edge {
    plan: Plan,
    shared: Arc<Shared>,
    /// Keeper of the sets of candidates, where flows to them alone are taken.
    candidates: Option<Arc<Candidates>>,
    /// Room for flows when none is open.
    flows_max: usize,
    draining: AtomicBool,
    /// Index into [`Aside::ALL`].
    state: AtomicU64,
}

impl Edge {
    /// The keeper of `plan`; nothing is renewed before [`Edge::keep`].
    pub fn new(plan: Plan, shared: Arc<Shared>, flows_max: usize) -> Arc<Self> {
        let candidates = plan.candidates_only.then(|| Candidates::new(plan.clone(), Arc::clone(&shared)));
        Arc::new(Self {
            plan,
            shared,
            candidates,
            flows_max,
            draining: AtomicBool::new(false),
            state: AtomicU64::new(0),
        })
    }

    /// The keeper of the sets of candidates, where there are such.
    pub const fn candidates(&self) -> Option<&Arc<Candidates>> {
        self.candidates.as_ref()
    }

    /// What is known of destinations that did not answer.
    pub fn silences(&self) -> &Silences {
        &self.shared.silences
    }

    /// Whether new flows are led here, or why not.
    pub fn aside(&self) -> Aside {
        let index = usize::try_from(self.state.load(Ordering::Relaxed)).unwrap_or(0);
        Aside::ALL.get(index).copied().unwrap_or(Aside::Starting)
    }

    /// New flows pass by from here on, without waiting for anything.
    pub fn stand_aside(&self) {
        self.draining.store(true, Ordering::Relaxed);
        if let Err(error) = self.plan.stand_aside() {
            tracing::debug!(%error, "nothing to take back");
        }
        self.set(Aside::Draining);
    }

    /// Another process keeps the rules from here on.
    pub fn leave(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.set(Aside::Draining);
    }

    /// Keeps the rules in step until the event loop ends.
    pub async fn keep(self: Arc<Self>) {
        if let Some(candidates) = &self.candidates {
            tokio::spawn(Arc::clone(candidates).keep(Arc::clone(&self)));
        }
        tokio::spawn(silent::keep(Arc::clone(&self.shared), self.plan.clone(), Arc::clone(&self)));
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut renewed: Option<Monotonic> = None;
        loop {
            tick.tick().await;
            let now = self.shared.clock.monotonic();
            let before = self.aside();
            let wanted = self.judge(now, before);
            if self.draining.load(Ordering::Relaxed) {
                return;
            }
            match wanted {
                // Until the workers run a process before this one may renew them: nothing is taken from it.
                Aside::Starting => {}
                Aside::Taken | Aside::NoRules => {
                    let due =
                        renewed.is_none_or(|last| now.since(last) >= self.plan.alive_timeout / RENEWALS);
                    if due {
                        renewed = Some(now);
                        self.renew().await;
                    }
                }
                Aside::Hung | Aside::Full | Aside::Draining => {
                    if before != wanted {
                        renewed = None;
                        self.pass_by(wanted).await;
                    }
                }
            }
        }
    }

    /// What the state of the gateway asks for.
    fn judge(&self, now: Monotonic, before: Aside) -> Aside {
        if !self.shared.beats.all_within(self.plan.alive_timeout / 2, now) {
            return if before == Aside::Starting { before } else { Aside::Hung };
        }
        if self.shared.overload.level() == Level::Past {
            return Aside::Full;
        }
        let share = if before == Aside::Full { ROOM_AGAIN_SHARE } else { ROOM_MIN_SHARE };
        let free = self.shared.flow_permits.available_permits();
        if self.shared.overload.room(free) < self.flows_max / share {
            return Aside::Full;
        }
        Aside::Taken
    }

    /// Renews the set; the first failure and the first success after one are told.
    async fn renew(self: &Arc<Self>) {
        let edge = Arc::clone(self);
        match run(move || edge.plan.renew()).await {
            // Told to end meanwhile: what was just renewed runs out, or another process renews it.
            Ok(()) if self.draining.load(Ordering::Relaxed) => {}
            Ok(()) => {
                if self.set(Aside::Taken) != Aside::Taken {
                    tracing::info!("new flows are led here");
                }
            }
            Err(error) => {
                if self.set(Aside::NoRules) != Aside::NoRules {
                    tracing::error!(%error, "the kernel leads no flows here: they pass by, charged as usual. Remedy: `gateway nft apply`");
                }
            }
        }
    }

    /// Empties the set.
    async fn pass_by(self: &Arc<Self>, why: Aside) {
        let edge = Arc::clone(self);
        self.set(why);
        tracing::warn!(why = why.label(), "new flows pass by, charged as usual");
        if let Err(error) = run(move || edge.plan.stand_aside()).await {
            tracing::debug!(%error, "the set runs out by itself");
        }
    }

    /// Notes the state; what it was.
    fn set(&self, aside: Aside) -> Aside {
        let before = self.aside();
        let index = Aside::ALL.iter().position(|one| *one == aside).unwrap_or(0);
        self.state.store(index as u64, Ordering::Relaxed);
        before
    }
}

/// Runs a command that waits for a program, beside the event loop.
pub(super) async fn run(
    work: impl FnOnce() -> Result<(), NftError> + Send + 'static,
) -> Result<(), NftError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| {
        Err(NftError::Start { program: "nft", package: "nftables", source: io::Error::other(error) })
    })
}

//! Tells the kernel which flows pass by because their destinations do not answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, sleep};

use super::{Aside, Edge, run};
use crate::net::edge::nft::Plan;
use crate::net::node::shared::Shared;

/// How often it is looked what is over.
const LOOK: Duration = Duration::from_millis(500);
/// How far apart the kernel is told at least: a program is run for it.
const PAUSE: Duration = Duration::from_millis(100);
/// Looks between two at what is over.
const LOOKS_PER_EXPIRY: u32 = 10;

/// Tells the kernel until `edge` leads no flows here any more.
pub(super) async fn keep(shared: Arc<Shared>, plan: Plan, edge: Arc<Edge>) {
    let silences = &shared.silences;
    silences.set_kept(true);
    let mut tick = tokio::time::interval(LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut looks, mut failure_told) = (0_u32, false);
    while edge.aside() != Aside::Draining {
        tokio::select! {
            _ = tick.tick() => {
                looks = looks.wrapping_add(1);
                if looks.is_multiple_of(LOOKS_PER_EXPIRY) {
                    silences.expire(shared.clock.monotonic());
                }
            }
            () = silences.wanted() => {}
        }
        let (orders, round) = silences.take_orders();
        if orders.is_empty() {
            continue;
        }
        let plan = plan.clone();
        match run(move || plan.obey(&orders)).await {
            Ok(()) => failure_told = false,
            Err(error) => {
                // The commands name subscribers: their words are not for the log of every day.
                tracing::debug!(%error, "orders not obeyed");
                if !std::mem::replace(&mut failure_told, true) {
                    tracing::warn!(
                        "the kernel does not let flows pass by whose destinations do not answer: they are taken and wait. Remedy: `gateway nft apply` with this configuration"
                    );
                }
            }
        }
        silences.note_told(round);
        sleep(PAUSE).await;
    }
    silences.set_kept(false);
}

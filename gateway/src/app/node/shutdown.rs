//! A node between its start and its end: signals, reload, drain.

use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use super::service;
use super::start::Node;
use crate::app::export::orders::Ending;

/// How often a draining node looks whether it is empty.
const DRAIN_POLL: Duration = Duration::from_millis(100);
/// A flow without a byte for so long is ended once the drain time is over.
const DRAIN_IDLE: Duration = Duration::from_secs(5);
/// Time for answers to DNS queries that were taken before another process took over; look-ups take no longer.
const HAND_OVER_LINGER: Duration = Duration::from_secs(5);
/// Time for ended flows to leave.
const CUT_GRACE: Duration = Duration::from_secs(2);

/// The signals a node listens to.
pub struct Signals {
    hangup: Signal,
    renew: Signal,
    terminate: Signal,
    interrupt: Signal,
}

/// How long open flows may go on after the node was told to stop.
#[derive(Clone, Copy, Debug)]
pub struct DrainLimits {
    /// Then idle flows are ended (`limits.drain`).
    pub idle: Duration,
    /// Then all are (`limits.drain_hard`).
    pub hard: Duration,
}

/// Serves until SIGTERM or SIGINT, or until another process takes over; then drains and stops. `reload` is called at each
/// SIGHUP, `renew` at each SIGUSR2, which is to start that other process. `signals` are those of the
/// node's control thread, taken before the node started. What became of what was counted comes back.
pub fn serve(
    node: Node,
    signals: std::io::Result<Signals>,
    limits: DrainLimits,
    mut reload: impl FnMut(&Node),
    mut renew: impl FnMut(),
) -> Ending {
    let control = node.control().handle().clone();
    control.block_on(async {
        let mut signals = match signals {
            Ok(signals) => signals,
            Err(error) => {
                tracing::error!(%error, "signals cannot be received: stop the gateway by SIGKILL, nothing committed is lost");
                return std::future::pending().await;
            }
        };
        service::ready(node.listeners.len());
        let successor = serve_until_told(&node, &mut signals, &mut reload, &mut renew).await;
        stop_accepting(&node, successor).await;
        tokio::select! {
            () = drain(&node, limits) => {}
            () = watch(&node) => {}
            () = ended(&mut signals.terminate, &mut signals.interrupt) => tracing::warn!("asked again: ending at once"),
        }
        node.cut_idle(Duration::ZERO);
        let cut = Instant::now();
        while node.connections() > 0 && cut.elapsed() < CUT_GRACE {
            sleep(DRAIN_POLL).await;
        }
    });
    let ending = node.stop();
    tell(ending);
    ending
}

/// Serves until told to end, or until another process accepts: its id.
async fn serve_until_told(
    node: &Node,
    signals: &mut Signals,
    reload: &mut impl FnMut(&Node),
    renew: &mut impl FnMut(),
) -> Option<u32> {
    loop {
        tokio::select! {
            _ = signals.renew.recv() => renew(),
            process = node.successor() => break Some(process),
            _ = signals.hangup.recv() => {
                tracing::info!("reloading");
                service::reloading();
                reload(node);
                service::ready(node.listeners.len());
            }
            () = ended(&mut signals.terminate, &mut signals.interrupt) => break None,
            () = watch(node) => {}
        }
    }
}

/// Has the node accept nothing more: it drains, or leaves its sockets to its successor.
async fn stop_accepting(node: &Node, successor: Option<u32>) {
    match successor {
        None => {
            tracing::info!("draining: no new connections");
            service::stopping(node.connections());
            node.drain();
            // The workers take the order at once; a connection accepted before it holds its room by then.
            sleep(DRAIN_POLL).await;
        }
        Some(process) => {
            tracing::info!(process, connections = node.connections(), "another process accepts: draining");
            service::handed_over(process);
            node.hand_over();
            sleep(HAND_OVER_LINGER).await;
        }
    }
}

/// Says what became of what was counted.
fn tell(ending: Ending) {
    match ending {
        Ending::Sealed => tracing::info!("stopped: what was counted is sealed"),
        Ending::Kept => {
            tracing::warn!("stopped: what was counted is in the ledger, for the next start to publish")
        }
        Ending::HandedOn => {
            tracing::info!("stopped: what was counted is sealed, or with the process that took over")
        }
        Ending::Lost => {
            tracing::error!("stopped, and not all that was counted is in the ledger: it could not be used");
        }
    }
}

impl Signals {
    /// Takes the signals over from their default actions, which end the process: before anything is there that a start
    /// could leave half done. They are received by the event loop in whose context this is called.
    ///
    /// # Errors
    /// What the system says.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            renew: signal(SignalKind::user_defined2())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

/// Gives the service manager its signs of life for as long as all workers give theirs; for ever without one.
async fn watch(node: &Node) {
    let Some(interval) = service::watchdog_interval() else { return std::future::pending().await };
    let mut silent = false;
    loop {
        sleep(interval).await;
        if node.workers_run(interval) {
            service::alive();
            silent = false;
        } else if !std::mem::replace(&mut silent, true) {
            tracing::error!(
                "a worker does not answer: the service manager gets no sign of life until it does"
            );
        }
    }
}

/// Waits for either way of being told to end.
async fn ended(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Waits until no flow is open; after `limits.drain` idle flows are ended, after `limits.drain_hard` the wait is over.
async fn drain(node: &Node, limits: DrainLimits) {
    let begun = Instant::now();
    while node.connections() > 0 {
        let elapsed = begun.elapsed();
        if elapsed >= limits.hard {
            tracing::warn!(
                connections = node.connections(),
                "limits.drain_hard is over: ending what is open"
            );
            return;
        }
        if elapsed >= limits.idle {
            node.cut_idle(DRAIN_IDLE);
        }
        sleep(DRAIN_POLL).await;
    }
}

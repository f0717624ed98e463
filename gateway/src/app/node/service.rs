//! What the service manager is told (sd_notify(3), `Type=notify`): ready, reloading, stopping, alive. Without one, nothing.
//!
//! Never a reason to stop: a message that cannot be sent is told once in the log and the node goes on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;

/// A message that failed has been told.
static TOLD: AtomicBool = AtomicBool::new(false);

/// The node accepts.
pub fn ready(listeners: usize) {
    let line = format!("accepting at {listeners} listeners");
    tell(&[NotifyState::Ready, NotifyState::Status(&line)]);
}

/// List and configuration are read again; [`ready`] follows.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now, NotifyState::Status("reloading")]),
        // Without the time newer managers would take the message for a fault.
        Err(error) => tracing::warn!(%error, "the service manager is not told of the reload: no clock"),
    }
}

/// The node accepts nothing more.
pub fn stopping(connections: usize) {
    let line = format!("draining {connections} connections");
    tell(&[NotifyState::Stopping, NotifyState::Status(&line)]);
}

/// Another process of ours accepts in this one's place and is the service from then on.
pub fn handed_over(process: u32) {
    tell(&[NotifyState::MainPid(process)]);
}

/// How often the service manager wants a sign of life: half of the time after which it gives the node up.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().and_then(|limit| limit.checked_div(2)).filter(|half| !half.is_zero())
}

/// The node is alive.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// Sends a message.
fn tell(message: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(message)
        && !TOLD.swap(true, Ordering::Relaxed)
    {
        tracing::warn!(%error, "the service manager cannot be told (NOTIFY_SOCKET)");
    }
}

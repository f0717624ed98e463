//! Flows beyond what their subscribers may have (`limits.flows_per_subscriber_max`): they are carried, and charged as
//! `overload`, so that a limit of ours is nobody's outage. How many there are is for the operator to see.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::flow::time::Monotonic;
use crate::net::sys::attention::{Attention, AttentionReason};
use crate::net::sys::notice::Notice;

/// How many there are, and have been.
#[derive(Debug, Default)]
pub struct OverLimit {
    open: AtomicU64,
    total: AtomicU64,
    notice: Notice,
}

impl OverLimit {
    /// One begins.
    pub fn begin(&self, now: Monotonic) {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.total.fetch_add(1, Ordering::Relaxed);
        if let Some(flows) = self.notice.note(now) {
            tracing::warn!(
                flows,
                "a subscriber has more open flows than limits.flows_per_subscriber_max: further ones are carried unread and charged as overload. Remedy for an account that many share: raise limits.flows_per_account_max"
            );
        }
    }

    /// One ends.
    pub fn end(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Those that have begun since the start.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// What the operator is told while there are any.
    pub fn attention(&self) -> Option<Attention> {
        let open = self.open.load(Ordering::Relaxed);
        let text = format!(
            "{open} open flows are beyond what their subscribers may have: carried unread, charged as overload \
             (limits.flows_per_subscriber_max; for accounts that many share limits.flows_per_account_max)"
        );
        (open > 0).then(|| Attention::new(AttentionReason::FlowsPerSubscriber, text))
    }
}

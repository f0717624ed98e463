//! The export task's part in allowances: what is spent stands in the ledger with the bytes, and is known again after a
//! restart.

use std::sync::Arc;

use billing_export::{Account, Entry, ExportError, Exporter, Reason, Usage, Volume};
use jiff::Timestamp;

use super::Export;
use crate::flow::allowance::{AllowancePlan, Calendar, Length};
use crate::net::node::allowances::NoCounter;
use crate::net::node::policy::Policy;
use crate::net::sys::clock::wall;

/// The limits and the calendar at the last look.
pub(super) type Followed = (Arc<AllowancePlan>, Calendar);

impl Export {
    /// Goes on from what a ledger that was just opened says was spent. Until that is known nothing is exempt.
    pub(super) fn restore_allowances(&mut self, exporter: &mut Exporter) -> Result<(), ExportError> {
        self.followed = None;
        let policy = self.policy.load();
        self.followed = restore(&policy, exporter, wall())?;
        Ok(())
    }

    /// Follows the calendar and the configuration: on a new day what is long over is forgotten; where limits changed, or the
    /// clock was set by days, the ledger is asked anew.
    pub(super) fn follow_allowances(&mut self) -> Result<(), ExportError> {
        let policy = self.policy.load();
        let now = wall();
        let plan = &policy.allowance;
        let calendar = if plan.is_unlimited() { None } else { policy.allowances.calendar(plan, now) };
        let (Some(calendar), Some(exporter)) = (calendar, &mut self.exporter) else {
            self.followed = None;
            return Ok(());
        };
        match &self.followed {
            Some((known, day)) if known == plan && *day == calendar => {}
            Some((known, day)) if known == plan && calendar.follows(day) => {
                policy.allowances.sweep(&calendar);
                self.followed = Some((Arc::clone(plan), calendar));
                if let Err(error) = exporter.forget_spent(&calendar.long_over()) {
                    // They are in nobody's way: tried again at the next midnight.
                    tracing::warn!(%error, "what was spent of allowances on days that are over stays in the ledger");
                }
            }
            Some(_) | None => {
                policy.allowances.sweep(&calendar);
                self.followed = restore(&policy, exporter, now)?;
            }
        }
        Ok(())
    }
}

/// Raises the counters to what the ledger has; the limits and the calendar that it was done for.
fn restore(
    policy: &Policy,
    exporter: &mut Exporter,
    now: Timestamp,
) -> Result<Option<Followed>, ExportError> {
    let (plan, allowances) = (&policy.allowance, &policy.allowances);
    if plan.is_unlimited() {
        return Ok(None);
    }
    let Some(calendar) = allowances.calendar(plan, now) else { return Ok(None) };
    let spans = [Length::Day, Length::Month].map(|length| calendar.span(length).label());
    let (mut restored, mut without_room) = (0_u64, 0_u64);
    exporter.each_spent(&spans, &mut |spent| match allowances.restore(plan, &spent, now) {
        Ok(()) => restored = restored.saturating_add(1),
        Err(NoCounter) => without_room = without_room.saturating_add(1),
    })?;
    if without_room > 0 {
        tracing::warn!(
            without_room,
            "allowance.counters_max is reached: who has no counter is charged as overload. Remedy: raise it and reload"
        );
    }
    tracing::info!(restored, until = %calendar.until(), "allowances of this day and month");
    Ok(Some((Arc::clone(plan), calendar)))
}

/// Bytes that a draining process counted: exempt ones count against the allowances of this process, which goes on with
/// them, and what is over is charged. The accounts that reached a cap go to `capped`.
pub(super) fn settle(
    policy: &Policy,
    usage: Vec<Usage>,
    at: Timestamp,
    capped: &mut Vec<Account>,
) -> Vec<Usage> {
    if policy.allowance.is_unlimited() {
        return usage;
    }
    usage.into_iter().flat_map(|usage| split(policy, usage, at, capped)).collect()
}

/// The part of `usage` that may be exempt, and the rest.
fn split(policy: &Policy, usage: Usage, at: Timestamp, capped: &mut Vec<Account>) -> Vec<Usage> {
    let Account { session, list, entry } = &usage.account;
    let Entry::Exempt { service, .. } = entry else { return vec![usage] };
    let share = policy.allowances.share(&policy.allowance, session, (service, false), at);
    // Without a counter of its own here, the other process's stands.
    let Ok(Some(mut share)) = share else { return vec![usage] };
    let exempt = share.take(usage.volume, 0);
    policy.allowances.note_changed(&share);
    let over = Volume {
        up: usage.volume.up.saturating_sub(exempt.up),
        down: usage.volume.down.saturating_sub(exempt.down),
    };
    if over != Volume::ZERO {
        capped.push(usage.account.clone());
    }
    let entry = Entry::Charged(Reason::CapReached);
    let account = Account { session: session.clone(), list: list.clone(), entry };
    let over = Usage { account, flags: usage.flags, volume: over };
    let parts = [Usage { volume: exempt, ..usage }, over];
    parts.into_iter().filter(|part| part.volume != Volume::ZERO).collect()
}

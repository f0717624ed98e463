//! The export task's part in allowances: what is spent stands in the ledger with the bytes, and is known again after a
//! restart.

use billing_export::{Account, Entry, ExportError, Reason, Usage, Volume};
use jiff::Timestamp;

use super::Export;
use crate::flow::allowance::{Calendar, Length};
use crate::net::policy::Policy;

impl Export {
    /// Goes on from what the ledger says was spent on the day and in the month in force, once it is open or a limit came into
    /// force; has it forget those that are over.
    pub(super) fn follow_calendar(&mut self) -> Result<(), ExportError> {
        let policy = self.policy.load();
        let (plan, allowances) = (&policy.allowance, &policy.allowances);
        let now = Timestamp::now();
        let calendar = if plan.is_unlimited() { None } else { allowances.calendar(plan, now) };
        if self.calendar == calendar {
            return Ok(());
        }
        let Some(exporter) = &mut self.exporter else { return Ok(()) };
        if let Some(calendar) = &calendar {
            let spans = spans(calendar);
            allowances.sweep(calendar);
            exporter.forget_spent_outside(&spans)?;
            let mut restored = 0_u64;
            if self.calendar.is_none() {
                exporter.each_spent(&spans, &mut |spent| {
                    allowances.restore(plan, &spent, now);
                    restored = restored.saturating_add(1);
                })?;
            }
            tracing::info!(restored, until = %calendar.until(), "allowances of this day and month");
        }
        drop(policy);
        self.calendar = calendar;
        Ok(())
    }
}

/// The spans in force, in the words of the ledger.
fn spans(calendar: &Calendar) -> [String; 2] {
    [Length::Day, Length::Month].map(|length| calendar.span(length).label())
}

/// Bytes that a draining process counted: exempt ones count against the allowances of this process, which goes on with
/// them, and what is over is charged.
pub(super) fn settle(policy: &Policy, usage: Vec<Usage>, at: Timestamp) -> Vec<Usage> {
    if policy.allowance.is_unlimited() {
        return usage;
    }
    usage.into_iter().flat_map(|usage| split(policy, usage, at)).collect()
}

/// The part of `usage` that may be exempt, and the rest.
fn split(policy: &Policy, usage: Usage, at: Timestamp) -> Vec<Usage> {
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
    let account =
        Account { session: session.clone(), list: list.clone(), entry: Entry::Charged(Reason::CapReached) };
    let over = Usage { account, flags: usage.flags, volume: over };
    let parts = [Usage { volume: exempt, ..usage }, over];
    parts.into_iter().filter(|part| part.volume != Volume::ZERO).collect()
}

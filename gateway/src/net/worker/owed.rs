//! Bytes sent under one account that are known to have left only when another has begun: they stay the first one's, as the
//! mark they carry says.

use billing_export::{Flags, Volume};

use super::Worker;
use crate::net::flow_record::{Owed, Ruling, State};

/// Accounts of one flow that wait for bytes; those of further ones go to the account that stands.
const OWED_MAX: usize = 8;

impl Worker {
    /// The flow's account is about to change: what is on its way belongs to the one that stands.
    pub(super) fn owe(state: &mut State) {
        let allowed = state.allowed.take();
        let (Ruling::Latched { account, flags }, Some(sent)) = (&state.ruling, state.sent()) else { return };
        if sent.unproven() == 0 || state.owed.len() >= OWED_MAX {
            return;
        }
        let owed = Owed { account: account.clone(), flags: *flags, allowed, upto: sent.total() };
        state.owed.push(owed);
    }

    /// Counts what of `down`, the newest bytes known to have left, belongs to accounts before the present one, with a `remark` on
    /// it; how much.
    pub(super) fn count_owed(&self, state: &mut State, down: u64, remark: Flags) -> u64 {
        if state.owed.is_empty() {
            return 0;
        }
        let known = state.tally.carried().down;
        let from = known.saturating_sub(down);
        let (lost, settled_to) = match state.sent() {
            Some(sent) => (sent.lost(), sent.settled()),
            // Nothing more will be known.
            None => (0, u64::MAX),
        };
        let mut at = from;
        state.owed.retain_mut(|owed| {
            // What may have been dropped was nobody's: it is taken from the older account.
            let end = owed.upto.saturating_sub(lost);
            let part = Volume { up: 0, down: known.min(end).saturating_sub(at) };
            at = at.saturating_add(part.down);
            let part = match &mut owed.allowed {
                Some(allowed) => self.count_allowed(allowed, &owed.account, part, end.saturating_sub(at)),
                None => part,
            };
            self.usage.borrow_mut().add(
                &owed.account,
                owed.flags.union(remark),
                part,
                self.shared.accounts_max,
            );
            at < end && settled_to < owed.upto
        });
        at.saturating_sub(from)
    }
}

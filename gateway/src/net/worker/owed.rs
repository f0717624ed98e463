//! Bytes sent under one account that are known to have left only when another has begun: they stay the first one's, as the
//! mark they carry says.

use billing_export::{Entry, Flags, Volume};

use super::Worker;
use crate::flow::engine::{Owed, Ruling};
use crate::net::flow_record::State;

/// Accounts of one flow that wait for bytes; those of further ones go to the account that stands.
const OWED_MAX: usize = 8;

impl Worker {
    /// The flow's account is about to change: what is on its way belongs to the one that stands.
    pub(super) fn owe(state: &mut State) {
        let allowed = state.engine.allowed.take();
        let (Ruling::Latched { account, flags }, Some(sent)) = (&state.engine.ruling, state.sent()) else {
            return;
        };
        if sent.unproven() == 0 || state.engine.owed.len() >= OWED_MAX {
            return;
        }
        let owed = Owed { account: account.clone(), flags: *flags, allowed, way: sent.on_its_way() };
        let mut all = std::mem::take(&mut state.engine.owed).into_vec();
        all.push(owed);
        state.engine.owed = all.into();
    }

    /// Counts what of `down`, the newest bytes known to have left, belongs to accounts before the present one, with a `remark` on
    /// it; how much.
    pub(super) fn count_owed(&self, state: &mut State, down: u64, remark: Flags) -> u64 {
        if state.engine.owed.is_empty() {
            return 0;
        }
        let known = state.engine.tally.carried().down;
        let from = known.saturating_sub(down);
        let sent = state.sent().copied();
        let is_exempt_now = state.engine.ruling.is_exempt();
        let mut at = from;
        let mut all = std::mem::take(&mut state.engine.owed).into_vec();
        all.retain_mut(|owed| {
            let is_exempt = matches!(owed.account.entry, Entry::Exempt { .. });
            let (end, is_final) = match &sent {
                Some(sent) => owed.way.end(sent, is_exempt_now && !is_exempt),
                // Nothing more will be known.
                None => (owed.way.upto(), true),
            };
            let part = Volume { up: 0, down: known.min(end).saturating_sub(at) };
            at = at.saturating_add(part.down);
            let part = match &mut owed.allowed {
                Some(allowed) => self.count_allowed(allowed, &owed.account, part, end.saturating_sub(at)),
                None => part,
            };
            self.count(&owed.account, owed.flags, part, remark);
            at < end && !is_final
        });
        state.engine.owed = all.into();
        at.saturating_sub(from)
    }
}

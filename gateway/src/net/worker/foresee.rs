//! The mark of a TCP flow before its verdict: from the first hello on, where name and address agree already (trap T38).
//!
//! A verdict waits until no second hello can follow, which is the client's next flight; the server's first, with its
//! certificates, comes before that. Its packets carry the mark of the verdict that is to be expected, and of no other: nothing is
//! looked up for it, and nothing is marked of which no allowance has room. What falls takes it back.

use std::rc::Rc;

use super::Worker;
use super::verdict::mark;
use crate::flow::allowance::Share;
use crate::flow::decide::Decision;
use crate::flow::engine::Ruling;
use crate::flow::mark::Mark;
use crate::net::flow_record::{Flow, State};
use crate::net::policy::Policy;

/// Bytes that a flight of the server may come to, for what the subscriber may have exempt: a chain of long certificates
/// (RFC 8446 §4.4.2).
const FLIGHT_BYTES: u64 = 8 << 10;

impl Worker {
    /// Has the flow's packets carry the mark of the verdict that is to be expected, or none.
    pub(super) fn foresee(&self, flow: &Rc<Flow>) {
        let policy = self.shared.policy.load();
        if !policy.rating.is_marking() {
            return;
        }
        let mut state = flow.state.borrow_mut();
        if !state.engine.claim.is_observed()
            || state.engine.unanswered
            || !matches!(state.engine.ruling, Ruling::Pending)
        {
            return;
        }
        let (mark, share) = self.foreseen(&state, &policy).unwrap_or((Mark::NONE, None));
        state.engine.foreseen = share.map(Box::new);
        self.set_mark(&mut state, mark);
    }

    /// The mark, and the flow's share in what the subscriber may have exempt, where that is limited.
    fn foreseen(&self, state: &State, policy: &Policy) -> Option<(Mark, Option<Share>)> {
        let verdict = match self.decision(state, policy)? {
            (Decision::Final(verdict), _) => policy.limit(verdict),
            (Decision::LookUp(_), _) => return None,
        };
        let shared = self.is_at_shared_address(state, &verdict);
        let (verdict, mut share) =
            policy.allow(&state.engine.standing, verdict, shared, || self.shared.clock.now().wall);
        let mark = mark(policy, &verdict, &policy.account(&state.engine.standing, &verdict));
        // Held against the limits, so that many flows at once do not pass them; near one, nobody goes ahead of his verdict.
        let near = share.as_mut().is_some_and(|share| share.moved(FLIGHT_BYTES));
        (mark != Mark::NONE && !near).then_some((mark, share))
    }
}

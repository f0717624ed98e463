//! What a flow is: judged when its name is known, when something changed, and when it ends (decisions 1, 3).

use billing_export::{Account, Class, Reason};

use super::Engine;
use super::account::{Allowed, Ruling};
use super::effect::{Carrier, Decided, Effect};
use super::terms::{Terms, World};
use crate::flow::allowance::Share;
use crate::flow::decide::{Case, Decision, Vouched, decide};
use crate::flow::identify::Identity;
use crate::flow::mark::Mark;
use crate::flow::session::Standing;
use crate::flow::verdict::{Outcome, Verdict};

/// Bytes that a flight of the server may come to, for what the subscriber may have exempt: a chain of long certificates
/// (RFC 8446 §4.4.2).
const FLIGHT_BYTES: u64 = 8 << 10;

impl Engine {
    /// Decides about a flow whose identity is known, or decides again after something changed.
    pub(super) fn judge(&mut self, world: &impl World, carrier: &mut impl Carrier) {
        if self.is_unsure {
            self.foresee(world, carrier);
        } else if !self.is_held && !matches!(self.ruling, Ruling::LookingUp) {
            world.consult(|terms| self.judge_by(terms, carrier));
        }
    }

    /// The same for a flow that has no account yet and waits for no answer.
    pub(super) fn judge_if_pending(&mut self, world: &impl World, carrier: &mut impl Carrier) {
        match self.ruling {
            Ruling::Pending => self.judge(world, carrier),
            Ruling::LookingUp | Ruling::Latched { .. } => {}
        }
    }

    /// The same by these terms.
    fn judge_by(&mut self, terms: &Terms<'_>, carrier: &mut impl Carrier) {
        let Some((decision, vouched)) = self.decision(terms) else { return };
        // What was vouched for once stays so for this flow, however long it lasts.
        self.vouched = vouched;
        match decision {
            Decision::Final(verdict) => self.latch(terms, verdict, carrier),
            // Whoever forges source addresses costs no look-up: a verdict would wait for the answer too.
            Decision::LookUp(otherwise) if self.is_unanswered => self.latch(terms, otherwise, carrier),
            Decision::LookUp(otherwise) => self.look_up(terms, otherwise, carrier),
        }
    }

    /// What is decided by what is known; none while no verdict is taken.
    fn decision(&self, terms: &Terms<'_>) -> Option<(Decision, Vouched)> {
        if self.is_held || matches!(self.ruling, Ruling::LookingUp) {
            return None;
        }
        let identity = self.claim.identity()?;
        let vouched = self.vouched_by(terms, identity);
        let destination = self.start.destination();
        let case = Case {
            identity,
            transport: self.start.transport,
            address: destination.map(|destination| terms.evidence.destination(destination.ip())),
            port: self.service_port(),
            vouched,
            dns_only: self.start.dns_only.as_ref(),
            at: Some(terms.now),
        };
        Some((decide(terms.list, &case), vouched))
    }

    /// What is known about the flow's name and address together.
    fn vouched_by(&self, terms: &Terms<'_>, identity: &Identity) -> Vouched {
        match (self.vouched, &identity.name, self.start.destination()) {
            (Vouched::NotYet | Vouched::No, Some(name), Some(destination))
                if terms.evidence.vouches_for(&self.subscriber(), name, destination.ip()) =>
            {
                Vouched::Yes
            }
            (known, _, _) => known,
        }
    }

    /// Whether what this flow has exempt counts as at an address that other sites share.
    fn is_at_shared_address_by(&self, terms: &Terms<'_>, verdict: &Verdict) -> bool {
        let address = || self.start.destination().map(|destination| destination.ip()).or(self.dialled);
        matches!(verdict.outcome, Outcome::Exempt { .. })
            && address().is_some_and(|address| terms.evidence.is_shared_for(&self.subscriber(), address))
    }

    /// Asks whether the name may be at the address; the flow's bytes stay pending, its traffic untouched. A flow that was judged
    /// before (a list came into force) keeps its account until the answer is here.
    fn look_up(&mut self, terms: &Terms<'_>, otherwise: Verdict, carrier: &mut impl Carrier) {
        let identity = self.claim.identity();
        let name = identity.and_then(|identity| identity.name.clone());
        let (Some(name), Some(destination)) = (name, self.start.destination()) else {
            self.latch(terms, otherwise, carrier);
            return;
        };
        match self.ruling {
            Ruling::Pending => {
                self.ruling = Ruling::LookingUp;
                self.set_mark(Mark::NONE, carrier);
            }
            Ruling::LookingUp | Ruling::Latched { .. } => {}
        }
        carrier.carry_out(Effect::Ask {
            subscriber: self.subscriber(),
            transport: self.start.transport,
            name: &name,
            address: destination.ip(),
        });
    }

    /// Fixes where the flow's bytes are counted. What was already under another account stays there.
    fn latch(&mut self, terms: &Terms<'_>, verdict: Verdict, carrier: &mut impl Carrier) {
        let verdict = terms.limit(verdict);
        let waits = self.waits_for_answer(&verdict);
        if waits && !self.is_ending() {
            return;
        }
        let verdict =
            if waits { Verdict { outcome: Outcome::Charged(Reason::Undecided), ..verdict } } else { verdict };
        let is_at_shared_address = self.is_at_shared_address_by(terms, &verdict);
        let (verdict, share) = terms.allow(&self.standing, verdict, is_at_shared_address);
        let account = if waits {
            terms.unanswered_account(&self.standing)
        } else {
            terms.account(&self.standing, &verdict)
        };
        // Also where the account stays: the group may have another mark.
        self.set_mark(terms.mark(&verdict, &account), carrier);
        self.foreseen = None;
        if self.ruling.is_latched() {
            self.count(carrier);
        }
        let flags = self.flags(&account);
        if let Ruling::Latched { account: old, flags: said } = &self.ruling
            && (old, *said) != (&account, flags)
        {
            self.owe(carrier);
        }
        self.is_at_shared_address = is_at_shared_address && account.entry.class() == Class::Exempt;
        self.allowed = share.map(|share| self.allowed_by(terms, &verdict, share));
        let is_first = match &self.ruling {
            Ruling::Latched { account: old, flags: said } if (old, *said) == (&account, flags) => return,
            Ruling::Latched { account: old, .. } => {
                if account.entry.reason() == Some(Reason::CapReached) && old.entry.class() == Class::Exempt {
                    carrier.carry_out(Effect::Capped(old));
                }
                false
            }
            Ruling::Pending | Ruling::LookingUp => true,
        };
        carrier.carry_out(Effect::Decided(Decided {
            is_first,
            verdict: &verdict,
            account: &account,
            claim: &self.claim,
            destination: self.start.destination(),
        }));
        self.ruling = Ruling::Latched { account, flags };
    }

    /// Whether the flow's bytes stay pending until its server answers: those that would be exempt, and those that would be
    /// charged to a subscriber. What is nobody's anyhow need not wait.
    const fn waits_for_answer(&self, verdict: &Verdict) -> bool {
        self.is_unanswered
            && match (&verdict.outcome, &self.standing) {
                (Outcome::Exempt { .. }, _)
                | (
                    Outcome::Charged(_),
                    Standing::Introduced(_) | Standing::Known(_) | Standing::Suspect(_),
                ) => true,
                (
                    Outcome::Charged(_),
                    Standing::Nobody | Standing::Stale(_) | Standing::Unknown | Standing::Ended,
                ) => false,
            }
    }

    /// What the flow may have exempt from here on, with what it has carried without a count.
    fn allowed_by(&self, terms: &Terms<'_>, verdict: &Verdict, mut share: Share) -> Box<Allowed> {
        let over = Verdict { outcome: Outcome::Charged(Reason::CapReached), ..verdict.clone() };
        let over: Account = terms.account(&self.standing, &over);
        let pending = self.pending();
        share.moved(pending.up.saturating_add(pending.down));
        Box::new(Allowed { share, over_flags: self.flags(&over), over })
    }

    /// The flow's packets carry `mark` from here on.
    pub(super) fn set_mark(&mut self, mark: Mark, carrier: &mut impl Carrier) {
        let before = std::mem::replace(&mut self.mark, mark);
        if before != mark {
            carrier.carry_out(Effect::Mark { before, mark });
        }
    }

    /// Has the flow's packets carry the mark of the verdict that is to be expected, or none: from the first hello on, where name
    /// and address agree already (trap T38).
    ///
    /// A verdict waits until no second hello can follow, which is the client's next flight; the server's first, with its
    /// certificates, comes before that. Its packets carry the mark of the verdict that is to be expected, and of no other:
    /// nothing is looked up for it, and nothing is marked of which no allowance has room. What falls takes it back.
    pub(super) fn foresee(&mut self, world: &impl World, carrier: &mut impl Carrier) {
        let may_change = self.claim.is_observed() || self.is_unsure;
        if !may_change || self.is_unanswered || !matches!(self.ruling, Ruling::Pending) {
            return;
        }
        world.consult(|terms| {
            if !terms.rating.is_marking() {
                return;
            }
            let (mark, share) = self.foreseen_by(terms).unwrap_or((Mark::NONE, None));
            self.foreseen = share.map(Box::new);
            self.set_mark(mark, carrier);
        });
    }

    /// The mark, and the flow's share in what the subscriber may have exempt, where that is limited.
    fn foreseen_by(&self, terms: &Terms<'_>) -> Option<(Mark, Option<Share>)> {
        let verdict = match self.decision(terms)? {
            (Decision::Final(verdict), _) => terms.limit(verdict),
            (Decision::LookUp(_), _) => return None,
        };
        let is_at_shared_address = self.is_at_shared_address_by(terms, &verdict);
        let (verdict, mut share) = terms.allow(&self.standing, verdict, is_at_shared_address);
        let mark = terms.mark(&verdict, &terms.account(&self.standing, &verdict));
        // Held against the limits, so that many flows at once do not pass them; near one, nobody goes ahead of his verdict.
        let near = share.as_mut().is_some_and(|share| share.moved(FLIGHT_BYTES));
        (mark != Mark::NONE && !near).then_some((mark, share))
    }
}

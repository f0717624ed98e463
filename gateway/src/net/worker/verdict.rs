//! What a flow is: judged when its name is known, when something changed, and when it ends (decisions 1, 3).

use std::net::IpAddr;
use std::rc::Rc;

use allowlist::DomainName;
use billing_export::{Account, Class, Flag, Flags, Reason};

use super::Worker;
use super::count::nobodys;
use crate::flow::allowance::Share;
use crate::flow::decide::{Case, Decision, Vouched, decide};
use crate::flow::engine::{Allowed, News, Place, Ruling, Standing, Start};
use crate::flow::identify::Identity;
use crate::flow::mark::Mark;
use crate::flow::verdict::{Outcome, Verdict};
use crate::net::flow_record::{Flow, State};
use crate::net::policy::Policy;
use crate::net::report::FlowLabels;
use crate::net::shared::SubscriberKey;

impl Worker {
    /// The subscriber sends nothing more: a name that is not complete will not be.
    pub fn subscriber_finished(self: &Rc<Self>, flow: &Rc<Flow>) {
        let news = flow.state.borrow_mut().engine.claim.finish();
        match news {
            News::Verdict => self.judge(flow),
            News::Name | News::None => {}
        }
    }

    /// Says whether the gateway dialled the name itself, and where, and lets the verdict latch.
    pub fn release(self: &Rc<Self>, flow: &Rc<Flow>, vouched: Vouched, dialled: Option<IpAddr>) {
        let judge = {
            let mut state = flow.state.borrow_mut();
            state.engine.dialled = dialled;
            state.engine.vouched = vouched;
            state.engine.held = false;
            if state.engine.start.is_over_limit && dialled.is_some() {
                // The name said where to go, and no more is asked of it.
                state.engine.claim.stop(Reason::Overload);
            }
            state.engine.claim.is_readable()
        };
        if judge {
            self.judge(flow);
        } else {
            self.foresee(flow);
        }
    }

    /// The server has answered on this flow: its verdict may latch.
    pub fn answered(self: &Rc<Self>, flow: &Rc<Flow>, subscriber: &SubscriberKey) {
        let first = std::mem::replace(&mut flow.state.borrow_mut().engine.unanswered, false);
        if !first {
            return;
        }
        self.shared.answered(subscriber);
        self.settle_unanswered(flow, subscriber);
        if flow.state.borrow().engine.claim.is_readable() {
            self.judge(flow);
        }
    }

    /// Gives a UDP flow the name of the one it continues.
    pub fn inherit(&self, flow: &Rc<Flow>, identity: Identity) {
        flow.state.borrow_mut().engine.claim.inherit(identity);
    }

    /// Decides about a flow whose identity is known, or decides again after something changed.
    pub(super) fn judge(self: &Rc<Self>, flow: &Rc<Flow>) {
        let policy = self.shared.policy.load();
        let Some((decision, vouched)) = self.decision(&flow.state.borrow(), &policy) else { return };
        // What was vouched for once stays so for this flow, however long it lasts.
        flow.state.borrow_mut().engine.vouched = vouched;
        match decision {
            Decision::Final(verdict) => self.latch(flow, &policy, verdict),
            // Whoever forges source addresses costs no look-up: a verdict would wait for the answer too.
            Decision::LookUp(otherwise) if flow.state.borrow().engine.unanswered => {
                self.latch(flow, &policy, otherwise);
            }
            Decision::LookUp(otherwise) => self.look_up(flow, &policy, otherwise),
        }
    }

    /// What is decided by what is known; none while no verdict is taken.
    pub(super) fn decision(&self, state: &State, policy: &Policy) -> Option<(Decision, Vouched)> {
        if state.engine.held || matches!(state.engine.ruling, Ruling::LookingUp) {
            return None;
        }
        let identity = state.engine.claim.identity()?;
        let vouched = self.vouched(state, identity);
        let case = Case {
            identity,
            transport: state.engine.start.transport,
            address: state
                .engine
                .start
                .destination()
                .map(|destination| self.shared.lookups.answers().destination(destination.ip())),
            port: state.engine.service_port(),
            vouched,
            dns_only: state.engine.start.dns_only.as_ref(),
            at: Some(self.shared.clock.now().wall),
        };
        Some((decide(policy.list.as_deref(), &case), vouched))
    }

    /// Whether what this flow has exempt counts as at an address that other sites share.
    pub(super) fn is_at_shared_address(&self, state: &State, verdict: &Verdict) -> bool {
        matches!(verdict.outcome, Outcome::Exempt { .. })
            && state
                .engine
                .start
                .destination()
                .map(|destination| destination.ip())
                .or(state.engine.dialled)
                .is_some_and(|address| {
                    let subscriber = state.engine.subscriber();
                    self.shared.lookups.answers().is_shared_for(&subscriber, address)
                })
    }

    /// What is known about the flow's name and address together.
    fn vouched(&self, state: &State, identity: &Identity) -> Vouched {
        match (state.engine.vouched, &identity.name, state.engine.start.destination()) {
            (Vouched::NotYet | Vouched::No, Some(name), Some(destination))
                if self.shared.lookups.answers().vouches_for(
                    &state.engine.subscriber(),
                    name,
                    destination.ip(),
                ) =>
            {
                Vouched::Yes
            }
            (known, _, _) => known,
        }
    }

    /// Asks our own resolver whether the name may be at the address; the flow's bytes stay pending, its traffic untouched.
    fn look_up(self: &Rc<Self>, flow: &Rc<Flow>, policy: &Policy, otherwise: Verdict) {
        let name = flow.name();
        let destination = flow.state.borrow().engine.start.destination();
        let (Some(name), Some(destination)) = (name, destination) else {
            self.latch(flow, policy, otherwise);
            return;
        };
        let asker = flow.asker();
        let Some(answer) = self.shared.lookups.verify(&asker, &name, destination.ip()) else {
            flow.state.borrow_mut().engine.vouched = Vouched::No;
            self.latch(flow, policy, otherwise);
            return;
        };
        // A flow that was judged before (a list came into force) keeps its account until the answer is here.
        let first = matches!(flow.state.borrow().engine.ruling, Ruling::Pending);
        if first {
            let mut state = flow.state.borrow_mut();
            state.engine.ruling = Ruling::LookingUp;
            self.set_mark(&mut state, Mark::NONE);
        }
        let worker = Rc::clone(self);
        let flow = Rc::clone(flow);
        tokio::task::spawn_local(async move {
            let found = answer.await;
            if found {
                worker.shared.lookups.note_use(&name, &asker.subscriber);
            }
            {
                let mut state = flow.state.borrow_mut();
                state.engine.vouched = if found { Vouched::Yes } else { Vouched::No };
                if matches!(state.engine.ruling, Ruling::LookingUp) {
                    state.engine.ruling = Ruling::Pending;
                }
            }
            worker.judge(&flow);
            worker.forget_if_closed(&flow);
        });
    }

    /// Fixes where the flow's bytes are counted. What was already under another account stays there.
    fn latch(&self, flow: &Rc<Flow>, policy: &Policy, verdict: Verdict) {
        let verdict = policy.limit(verdict);
        let mut state = flow.state.borrow_mut();
        let waits = waits_for_answer(&state, &verdict);
        if waits && !state.is_ending() {
            return;
        }
        let verdict =
            if waits { Verdict { outcome: Outcome::Charged(Reason::Undecided), ..verdict } } else { verdict };
        let at_shared_address = self.is_at_shared_address(&state, &verdict);
        let now = || self.shared.clock.now().wall;
        let (verdict, share) = policy.allow(&state.engine.standing, verdict, at_shared_address, now);
        let account = if waits {
            unanswered_account(policy, &state.engine.standing)
        } else {
            policy.account(&state.engine.standing, &verdict)
        };
        let flags = flags(&state.engine.start, &account);
        // Also where the account stays: the group may have another mark.
        self.set_mark(&mut state, mark(policy, &verdict, &account));
        state.engine.foreseen = None;
        if !matches!(&state.engine.ruling, Ruling::Pending | Ruling::LookingUp) {
            self.count_carried(&mut state);
        }
        if matches!(&state.engine.ruling, Ruling::Latched { account: old, .. } if *old != account) {
            Self::owe(&mut state);
        }
        state.engine.at_shared_address = at_shared_address && account.entry.class() == Class::Exempt;
        state.engine.allowed = share.map(|share| allowed(&state, policy, &verdict, share));
        match &state.engine.ruling {
            Ruling::Latched { account: old, .. } if *old == account => return,
            Ruling::Latched { account: old, .. } => {
                if account.entry.reason() == Some(Reason::CapReached) && old.entry.class() == Class::Exempt {
                    self.note_capped(old);
                }
            }
            Ruling::Pending | Ruling::LookingUp => {
                let labels = FlowLabels {
                    protocol: state.engine.claim.protocol(),
                    class: account.entry.class(),
                    reason: account.entry.reason(),
                };
                let mut counts = self.counts.borrow_mut();
                let count = counts.flows.entry(labels).or_insert(0);
                *count = count.saturating_add(1);
                drop(counts);
                self.note_ech(&state);
            }
        }
        log_verdict(flow, &state, &verdict);
        state.engine.ruling = Ruling::Latched { account, flags };
        drop(state);
        self.mark_dirty(flow);
    }

    /// Charges a flow of whose allowance nothing is left, from here on. What was decided of its name stays.
    pub(super) fn cap(&self, flow: &Flow) {
        let mut state = flow.state.borrow_mut();
        self.count_carried(&mut state);
        let Some(allowed) = &state.engine.allowed else { return };
        let (account, flags) = (allowed.over.clone(), allowed.over_flags);
        Self::owe(&mut state);
        if let Ruling::Latched { account, .. } =
            std::mem::replace(&mut state.engine.ruling, Ruling::Latched { account, flags })
        {
            self.note_capped(&account);
        }
        state.engine.at_shared_address = false;
        self.set_mark(&mut state, Mark::NONE);
        tracing::debug!(flow = flow.id, reason = Reason::CapReached.label(), "charged");
    }

    /// Counts a hello that may hide another name than the one it shows (decision 9).
    fn note_ech(&self, state: &State) {
        let Some(identity) = state.engine.claim.identity() else { return };
        let config_id = identity.ech.and_then(|ech| ech.config_id);
        if let (Some(name), Some(config_id), Some(destination)) =
            (&identity.name, config_id, state.engine.start.destination())
        {
            self.shared.lookups.answers().note_ech(name, destination.ip(), config_id);
        }
    }

    /// Judges every open flow again when list, subscribers or dates changed (traps T32, B24).
    pub(super) fn follow_policy(self: &Rc<Self>) {
        let now = self.shared.clock.now().wall;
        let policy = self.shared.policy.load();
        let renewed = policy.generation != self.judged_by.get();
        let dated = self.next_change.get().is_some_and(|change| now >= change);
        if !renewed && !dated {
            return;
        }
        self.judged_by.set(policy.generation);
        self.next_change.set(policy.next_change_after(now));
        let flows: Vec<_> = self.flows.borrow().values().cloned().collect();
        for flow in flows {
            let judged = {
                let mut state = flow.state.borrow_mut();
                if renewed {
                    state.engine.standing =
                        state.engine.standing.after_change(policy.subscribers.find(flow.source));
                    if state.engine.vouched == Vouched::No
                        && matches!(state.engine.start.place, Place::Original(_))
                    {
                        state.engine.vouched = Vouched::NotYet;
                    }
                }
                matches!(state.engine.ruling, Ruling::Latched { .. })
            };
            if judged {
                self.judge(&flow);
            } else {
                self.foresee(&flow);
            }
        }
    }

    /// Judges what is still open by what is known at the moment, for nobody will wait for more: the process ends.
    pub fn settle(self: &Rc<Self>) {
        let flows: Vec<_> = self.flows.borrow().values().cloned().collect();
        for flow in flows {
            {
                let mut state = flow.state.borrow_mut();
                state.engine.held = false;
                state.engine.last_call = true;
                if state.engine.vouched == Vouched::NotYet {
                    state.engine.vouched = Vouched::No;
                }
                if matches!(state.engine.ruling, Ruling::LookingUp) {
                    state.engine.ruling = Ruling::Pending;
                }
            }
            self.subscriber_finished(&flow);
            self.judge_if_pending(&flow);
            self.forget_if_closed(&flow);
        }
    }

    /// Judges a flow that ended before its verdict latched (a name known, the watch for a second one still on).
    pub(super) fn judge_if_pending(self: &Rc<Self>, flow: &Rc<Flow>) {
        let pending = matches!(flow.state.borrow().engine.ruling, Ruling::Pending);
        if pending {
            self.judge(flow);
        }
    }
}

/// Whether the flow's bytes stay pending until its server answers: those that would be exempt, and those that would be
/// charged to a subscriber. What is nobody's anyhow need not wait.
const fn waits_for_answer(state: &State, verdict: &Verdict) -> bool {
    state.engine.unanswered
        && match (&verdict.outcome, &state.engine.standing) {
            (Outcome::Exempt { .. }, _) | (Outcome::Charged(_), Standing::Known(_)) => true,
            (Outcome::Charged(_), Standing::Unknown | Standing::Ended) => false,
        }
}

/// Where bytes of UDP go that nobody answered: to nobody, whoever has the source address.
pub(super) fn unanswered_account(policy: &Policy, standing: &Standing) -> Account {
    match standing {
        Standing::Known(_) => nobodys(),
        Standing::Unknown | Standing::Ended => {
            let outcome = Outcome::Charged(Reason::Undecided);
            policy.account(standing, &Verdict { outcome, rule: None, list: None })
        }
    }
}

/// What the packets of a flow with this verdict carry, by the account its bytes go to.
pub(super) fn mark(policy: &Policy, verdict: &Verdict, account: &Account) -> Mark {
    match (&verdict.outcome, account.entry.class()) {
        (Outcome::Exempt { service, .. }, Class::Exempt) => policy.rating.group(service).mark,
        (Outcome::Exempt { .. } | Outcome::Charged(_), _) => Mark::NONE,
    }
}

/// Remarks on bytes of the flow under this account: steered ones pass free in the core, whatever they are to us.
pub(super) fn flags(start: &Start, account: &Account) -> Flags {
    match (start.place, account.entry.class()) {
        (Place::Steered { .. }, Class::Charged | Class::Unattributed) => Flags::NONE.with(Flag::FreeInCore),
        (Place::Steered { .. }, Class::Exempt) | (Place::Original(_), _) => Flags::default(),
    }
}

/// What the flow may have exempt from here on, with what it has carried without a count.
fn allowed(state: &State, policy: &Policy, verdict: &Verdict, mut share: Share) -> Box<Allowed> {
    let over = Verdict { outcome: Outcome::Charged(Reason::CapReached), ..verdict.clone() };
    let over = policy.account(&state.engine.standing, &over);
    let pending = state.engine.pending();
    share.moved(pending.up.saturating_add(pending.down));
    Box::new(Allowed { share, over_flags: flags(&state.engine.start, &over), over })
}

/// The decision in the log, at DEBUG: it names what a subscriber visits.
fn log_verdict(flow: &Flow, state: &State, verdict: &Verdict) {
    let name = state.engine.claim.identity().and_then(|identity| identity.name.as_ref());
    let name = name.map(DomainName::as_str);
    let rule = verdict.rule.as_ref().map(tracing::field::display);
    match &verdict.outcome {
        Outcome::Exempt { basis, service } => {
            tracing::debug!(flow = flow.id, name, basis = basis.label(), service = %service, rule, "exempt");
        }
        Outcome::Charged(reason) => {
            tracing::debug!(flow = flow.id, name, reason = reason.label(), rule, "charged");
        }
    }
}

//! Flows that this process watches and the kernel carries: what its slots and copies say goes to their engines.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use billing_export::{Account, Entry, Flags, Reason, Session, Volume};

use super::{OpenFlow, Worker};
use crate::flow::engine::Observation;
use crate::flow::identify::Identity;
use crate::flow::session::{Evidence, Introduction};
use crate::net::node::event::Event;
use crate::net::node::flow_record::{Destination, Flow, State};
use crate::net::node::meter::{SlotMeter, SubscriberSide};
use crate::net::node::report::saturating_sum;

impl Worker {
    /// Begins a flow of a slot; with a reason it is not read.
    pub(in crate::net) fn watch(
        self: &Rc<Self>,
        source: (IpAddr, Option<u16>),
        server: SocketAddr,
        meter: SlotMeter,
        unread: Option<Reason>,
    ) -> OpenFlow {
        self.open(
            source,
            Destination::Original(server),
            SubscriberSide::Slot(Box::new(meter)),
            (Introduction::Nothing, unread),
        )
    }

    /// Shows bytes that the subscriber sent to the reader of names: of a stream, or one datagram. They are counted elsewhere.
    pub(in crate::net) fn show(self: &Rc<Self>, flow: &Rc<Flow>, bytes: &[u8]) {
        self.observe(flow, Observation::Bytes(bytes));
        self.mark_dirty(flow);
    }

    /// The flow goes on under a name that a process before this one has read.
    pub(in crate::net) fn go_on(self: &Rc<Self>, flow: &Rc<Flow>, identity: Identity) {
        self.observe(flow, Observation::Continues(identity));
        self.observe(flow, Observation::Sure);
        self.observe(flow, Observation::Unread);
        self.mark_dirty(flow);
    }

    /// The server has what was read of the name.
    pub(in crate::net) fn is_sure(self: &Rc<Self>, flow: &Rc<Flow>) {
        self.observe(flow, Observation::Sure);
        self.mark_dirty(flow);
    }

    /// What was read may be another's than what the server reads.
    pub(in crate::net) fn contradict(self: &Rc<Self>, flow: &Rc<Flow>, reason: Reason) {
        self.observe(flow, Observation::Contradicted(reason));
        self.mark_dirty(flow);
    }

    /// Packets of so many bytes have passed since the last look.
    pub(in crate::net) fn passed(self: &Rc<Self>, flow: &Rc<Flow>, bytes: u64) {
        flow.note_moved(bytes, self.shared.clock.monotonic());
        self.mark_dirty(flow);
        let mut state = flow.state.borrow_mut();
        if state.engine.is_limited() {
            self.tell(flow, &mut state, Observation::Moved(bytes));
        }
    }

    /// Has the kernel copy what follows a known name too, or no more of it.
    pub(in crate::net) fn want_copies(&self, flow: &Rc<Flow>, whether: bool) {
        let State { engine, subscriber, .. } = &mut *flow.state.borrow_mut();
        if let Some(slot) = subscriber.as_mut().and_then(SubscriberSide::slot_mut) {
            slot.want_copies(whether);
            slot.follow(engine);
        }
    }

    /// Has the kernel copy on what it copies of the flow.
    pub(in crate::net) fn copy_anew(&self, flow: &Rc<Flow>) {
        let mut state = flow.state.borrow_mut();
        if let Some(slot) = state.subscriber.as_mut().and_then(SubscriberSide::slot_mut) {
            slot.copy_anew();
        }
    }

    /// Counts copies and slots that the kernel had no room for.
    pub(in crate::net) fn note_kernel_losses(&self, pieces: u64, packets: u64) {
        let mut counts = self.counts.borrow_mut();
        counts.events.add(Event::KernelPiecesLost, pieces);
        counts.events.add(Event::KernelSlotless, packets);
    }

    /// The flow began before its address had whom it has now: it is nobody's.
    pub(in crate::net) fn disown(self: &Rc<Self>, flow: &Rc<Flow>) {
        self.observe(flow, Observation::Sessions(None, Evidence::Since(0)));
    }

    /// The flow is over: what has no verdict by now is judged by what is known, and what the slot has is read.
    pub(in crate::net) fn conclude(self: &Rc<Self>, flow: &Rc<Flow>) {
        self.observe(flow, Observation::LastCall);
    }

    /// The flow is over, and nothing more passes. Reads what passed last, and judges by what is known; whether that was all, or
    /// the queues may still drop some of it.
    pub(in crate::net) fn read_last(self: &Rc<Self>, flow: &Rc<Flow>) -> bool {
        self.conclude(flow);
        self.observe(flow, Observation::Tick);
        self.mark_dirty(flow);
        !flow.state.borrow().subscriber.as_ref().is_some_and(|side| side.counter().is_waiting())
    }

    /// What the queues have not let go of the flow by now is never counted.
    pub(in crate::net) fn give_up_moving(self: &Rc<Self>, flow: &Rc<Flow>) {
        if let Some(slot) = flow.state.borrow_mut().subscriber.as_mut().and_then(SubscriberSide::slot_mut) {
            slot.give_up();
        }
        self.observe(flow, Observation::Unwatched);
    }

    /// Another process goes on with the flow. What was read of it by the last report has its account, and the slot says so;
    /// what has passed since is for whoever goes on.
    pub(in crate::net) fn leave_to_another(self: &Rc<Self>, flow: &Rc<Flow>) {
        if let Some(slot) = flow.state.borrow_mut().subscriber.as_mut().and_then(SubscriberSide::slot_mut) {
            slot.leave();
        }
        self.observe(flow, Observation::LastCall);
    }

    /// Counts packets that passed without a slot: nobody's, and never exempt.
    pub(in crate::net) fn count_slotless(&self, volume: Volume) {
        let entry = Entry::Unattributed(Reason::Overload);
        let account = Account { session: Session::none(), list: None, entry };
        self.usage.borrow_mut().add(&account, Flags::NONE, volume, self.shared.accounts_max);
        let mut counts = self.counts.borrow_mut();
        counts.seen = saturating_sum(counts.seen, volume);
    }
}

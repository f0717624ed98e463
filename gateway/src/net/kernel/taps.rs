//! The flows of the kernel's slots: each has a record and an engine like a flow that we carry, and no task.
//!
//! The ring gives first bytes, in the order in which they came at one processor; TCP's are put in order by their sequence
//! numbers. They are shown to the engine once the connection is established: a name that somebody says in another's name, and
//! whose server's answers he never sees, earns nothing (trap T23). What was shown is compared with what is sent again, until the
//! server has acknowledged the name: a hello that the server never saw would be contradicted by the one that it did. UDP is
//! answered when a byte went down.

mod holders;
mod reading;
mod sweep;

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use allowlist::Transport;
use billing_export::{Reason, Volume};

use self::holders::Holders;
use self::reading::{Progress, Reading, Said};
use super::copies::Piece;
use super::layout::{Gate, Key, NOWHERE, address_key};
use super::load::Kernel;
use super::part::coarse_now;
use super::slots::Slots;
use super::watch::{Untold, Watch};
use crate::flow::time::Monotonic;
use crate::net::node::meter::SlotMeter;
use crate::net::node::worker::{OpenFlow, Worker};
use crate::net::sys::clock::Clock;

/// Pieces taken before other work gets its turn; the others wait in the ring.
const PIECES_PER_LOOK_MAX: usize = 2_048;

/// What a look at the ring has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It was empty.
    Nothing,
    /// It had something, and is empty.
    All,
    /// It has more.
    Some,
}

/// One flow.
struct Tap {
    generation: u32,
    key: Key,
    open: OpenFlow,
    /// TCP only, while its name may become known or is not sure.
    reading: Option<Box<Reading>>,
    /// What was carried at the last sweep.
    carried: Volume,
    /// When it was last looked whether its key leads to it.
    key_seen: Monotonic,
    stage: Stage,
}

/// How far the end of a flow is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its key leads to its slot.
    Open,
    /// No packet finds the slot any more since then, but one may have found it before.
    Unreachable(Monotonic),
}

/// All flows of the slots.
pub struct Taps {
    worker: Rc<Worker>,
    kernel: Kernel,
    /// By slot.
    taps: Vec<Option<Box<Tap>>>,
    /// Slots whose flow is waited for: an establishment, an answer, an acknowledgement.
    awaited: Vec<u32>,
    /// Slots given back by each subscriber's address, as the kernel was told.
    closed: HashMap<IpAddr, u32>,
    /// The machine's addresses, as the kernel was told.
    own: HashSet<[u8; 16]>,
    /// The programs' counts at the last sweep.
    gate: Gate,
    /// Since when addresses have whom they have.
    holders: Holders,
    /// Holds them against the interfaces'.
    watch: Watch,
    /// Holds what the kernel told of drops against what queues say.
    untold: Untold,
    /// Room for the piece that is taken.
    piece: Vec<u8>,
    /// Another process goes on with the flows.
    is_left: bool,
}

impl Taps {
    /// No flow yet. Those of a process before this one begin with the first sweep.
    pub fn new(worker: Rc<Worker>, kernel: Kernel) -> Self {
        let taps = kernel.slots.numbers().map(|_| None).collect();
        let (own, gate) = (kernel.own(), kernel.gate());
        let holders = Holders::new(worker.shared.sessions.number());
        let mut taps = Self {
            worker,
            kernel,
            taps,
            awaited: Vec::new(),
            closed: HashMap::new(),
            own,
            gate,
            holders,
            watch: Watch::default(),
            untold: Untold::default(),
            piece: Vec::new(),
            is_left: false,
        };
        taps.follow_machine();
        taps
    }

    /// Whether another process goes on with the flows.
    pub const fn is_left(&self) -> bool {
        self.is_left
    }

    /// Takes what the ring has, at most 2,048 pieces of it.
    pub fn take_copies(&mut self) -> Taken {
        let mut data = std::mem::take(&mut self.piece);
        let mut taken = Taken::Nothing;
        for _ in 0..PIECES_PER_LOOK_MAX {
            let Some(record) = self.kernel.ring.next() else {
                self.piece = data;
                return taken;
            };
            taken = Taken::All;
            let Some(piece) = Piece::read(&record) else { continue };
            // Of a flow that has ended since.
            if self.kernel.slots.generation(piece.slot) != piece.generation {
                continue;
            }
            // The ring lends a record while it stands there; what is done with it needs the rest of us.
            data.clear();
            data.extend_from_slice(piece.data);
            let piece = Piece { data: &[], ..piece };
            let (slot, sequence, is_down) = (piece.slot, piece.sequence, piece.is_down);
            drop(record);
            self.take(slot, sequence, is_down, &data);
        }
        self.piece = data;
        Taken::Some
    }

    /// Takes a piece of the flow of a slot.
    fn take(&mut self, slot: u32, sequence: u32, is_down: bool, data: &[u8]) {
        let slots = Arc::clone(&self.kernel.slots);
        let Some(tap) = self.begin(slot) else { return };
        let flow = tap.open.flow();
        match (&tap.key, is_down) {
            (Key::Flow { transport: Transport::Tcp, .. }, false) => {
                if let Some(reading) = &mut tap.reading {
                    reading.push(sequence, data);
                }
                tap.show_stream(&slots, slot);
            }
            (Key::Flow { transport: Transport::Udp, .. }, false) => {
                let worker = Rc::clone(tap.open.worker());
                worker.show(flow, data);
            }
            // A server's long header: what counts is that it answers.
            (Key::Flow { transport: Transport::Udp, .. }, true) => {
                let worker = Rc::clone(tap.open.worker());
                worker.answered(flow, tap.open.subscriber());
            }
            (Key::Flow { .. } | Key::Rest { .. }, _) => {}
        }
    }

    /// The flow of a slot, which begins if it has not; none where nobody has the slot.
    fn begin(&mut self, number: u32) -> Option<&mut Tap> {
        let place = self.taps.get_mut(usize::try_from(number).ok()?)?;
        let slots = &self.kernel.slots;
        let generation = slots.generation(number);
        if place.is_none() {
            let seen = slots.seen(number);
            // A slot that was taken in this moment: what its first packet says is not written yet.
            if !seen.is_live() || slots.carried(number) == Volume::ZERO {
                return None;
            }
            let tap = open(&self.worker, &self.holders, slots, number, generation);
            let is_awaited = matches!(tap.key, Key::Flow { .. });
            *place = Some(Box::new(tap));
            if is_awaited {
                self.awaited.push(number);
            }
        }
        place.as_deref_mut().filter(|tap| tap.generation == generation)
    }

    /// Looks at the flows that are waited for; the ring was emptied just before.
    pub fn look_at_awaited(&mut self) {
        let slots = Arc::clone(&self.kernel.slots);
        let awaited = std::mem::take(&mut self.awaited);
        self.awaited = awaited.into_iter().filter(|number| self.look(&slots, *number)).collect();
    }

    /// Looks at the flow of a slot that is waited for; whether it still is.
    fn look(&mut self, slots: &Slots, number: u32) -> bool {
        let tap = usize::try_from(number).ok().and_then(|at| self.taps.get_mut(at)?.as_deref_mut());
        let Some(tap) = tap.filter(|tap| tap.generation == slots.generation(number)) else { return false };
        match &tap.key {
            Key::Flow { transport: Transport::Tcp, .. } => tap.conclude_stream(slots, number),
            Key::Flow { transport: Transport::Udp, .. } => tap.look_for_answer(slots, number),
            Key::Rest { .. } => false,
        }
    }

    /// Counts what the kernel has counted, ends what is over, and frees its slots. Once a second, and before each report.
    pub fn sweep(&mut self) {
        if !self.is_left {
            self.take_copies();
            self.sweep_slots();
            self.count_overflow();
        }
    }

    /// Follows the machine's addresses and interfaces.
    pub fn follow_machine(&mut self) {
        let own = self.worker.shared.dial.own_addresses.all();
        let own: HashSet<[u8; 16]> = own.iter().map(|address| address_key(*address)).collect();
        if own != self.own {
            self.kernel.set_own(&self.own, &own);
            self.own = own;
        }
        self.kernel.programs.follow();
        self.kernel.figures.set_drops_known(self.kernel.programs.minds_drops());
        let interfaces: Vec<&str> = self.kernel.programs.interfaces().collect();
        let seen = || {
            let (Gate { seen, own, .. }, dropped) = (self.kernel.gate(), self.kernel.dropped());
            // What a queue dropped did not pass.
            seen.into_iter().chain(own).fold(0, u64::saturating_add).saturating_sub(dropped.bytes)
        };
        self.watch.look(&interfaces, seen, &self.kernel.figures);
        let dropped = self.worker.shared.egress.dropped_at(self.kernel.programs.numbers());
        if let (Some(dropped), Some(told)) = (dropped, self.kernel.programs.drops()) {
            self.untold.look(dropped, told.counts().packets, &self.kernel.figures);
        }
    }

    /// The process looks, at this time of CLOCK_MONOTONIC_COARSE.
    pub fn beat(&mut self, now: std::time::Duration) {
        self.kernel.control.beat(now);
        self.holders.look(self.worker.shared.sessions.number(), now);
    }

    /// Whether the next piece is to wake us.
    pub fn sleep(&self, whether: bool) {
        self.kernel.control.sleep(whether);
    }

    /// The ring, to wait for.
    ///
    /// # Errors
    /// The system's word.
    pub fn ring(&self) -> io::Result<OwnedFd> {
        self.kernel.ring.as_fd().try_clone_to_owned()
    }

    /// The process's clock.
    pub fn clock(&self) -> Clock {
        self.worker.shared.clock
    }

    /// Another process goes on: what it is to count is not touched from here on.
    pub fn leave(&mut self) {
        self.is_left = true;
        for tap in self.taps.iter_mut().filter_map(Option::take) {
            self.worker.leave_to_another(tap.open.flow());
        }
        self.awaited.clear();
    }

    /// It does not: this one goes on, as one that starts does.
    pub fn return_to(&mut self) {
        if std::mem::take(&mut self.is_left) {
            self.gate = self.kernel.gate();
            self.sweep();
        }
    }
}

/// Begins the flow of a slot, or goes on with one that a process before this one has judged.
fn open(worker: &Rc<Worker>, holders: &Holders, slots: &Arc<Slots>, number: u32, generation: u32) -> Tap {
    let key = Key::from(slots.key(number));
    let opened = slots.opened(number);
    let (transport, server, unread) = match key {
        Key::Flow { transport, server, .. } => (transport, server, None),
        // As a stream: nobody is waited for to answer it.
        Key::Rest { in_fragments: true, .. } => (Transport::Tcp, NOWHERE, Some(Reason::NotRecognised)),
        Key::Rest { in_fragments: false, .. } => (Transport::Tcp, NOWHERE, Some(Reason::Port)),
    };
    let known = worker.claims.borrow().identity(slots.claim(number));
    let is_opened = transport == Transport::Udp || slots.seen(number).is_opened();
    // It was there before anybody watched.
    let unread = unread.or((!is_opened).then_some(Reason::Undecided));
    let meter = SlotMeter::new(Arc::clone(slots), number, transport);
    let open = worker.watch((key.subscriber(), key.subscriber_port()), server, meter, unread);
    let since = worker
        .shared
        .sessions
        .find_at(key.subscriber(), key.subscriber_port())
        .map_or(0, |holding| holding.since);
    if let Some(opened) = opened {
        worker.note_begin(open.flow(), coarse_now().saturating_sub(opened));
        if holders.began_before(opened, since) {
            worker.disown(open.flow());
        }
    }
    let mut reading = None;
    match (known, unread) {
        (Some(identity), None) => {
            worker.answered(open.flow(), open.subscriber());
            worker.go_on(open.flow(), identity);
        }
        (None, None) if transport == Transport::Tcp => {
            reading = Some(Box::new(Reading::new(slots.client_isn(number))));
        }
        _ => {}
    }
    // What a ruling of an earlier process asked for ends; ours stands from here on.
    worker.want_copies(open.flow(), reading.is_some());
    let key_seen = open.flow().opened;
    Tap { generation, key, open, reading, carried: Volume::ZERO, key_seen, stage: Stage::Open }
}

impl Tap {
    /// Shows what is read of a stream, once somebody has shown that he receives what the server sends.
    fn show_stream(&mut self, slots: &Slots, number: u32) {
        let Some(reading) = &mut self.reading else { return };
        if !slots.seen(number).is_established() {
            return;
        }
        let (worker, flow) = (self.open.worker(), self.open.flow());
        worker.answered(flow, self.open.subscriber());
        let bytes = reading.take();
        if !bytes.is_empty() && flow.is_observed() {
            worker.show(flow, &bytes);
        }
        reading.note_identified(flow.is_identified());
    }

    /// Draws conclusions from what the slot said at the look before this one, for all that was copied before that has been taken
    /// since; whether more is waited for.
    fn conclude_stream(&mut self, slots: &Slots, number: u32) -> bool {
        self.show_stream(slots, number);
        let Some(reading) = &mut self.reading else { return false };
        let (worker, flow) = (self.open.worker(), self.open.flow());
        let said = Said {
            seen: slots.seen(number),
            acknowledged: slots.acknowledged(number),
            copied: slots.copied(number),
        };
        let Some(said) = reading.said.replace(said) else { return true };
        let is_over = said.seen.is_finished_up() || said.seen.is_reset();
        if !said.seen.is_established() {
            return !is_over;
        }
        let progress = reading.progress(said, flow.is_observed());
        match progress {
            Progress::Contradicted(reason) => worker.contradict(flow, reason),
            Progress::Done => worker.is_sure(flow),
            Progress::Sure if is_over => {
                worker.is_sure(flow);
                worker.subscriber_finished(flow);
            }
            Progress::Sure => {
                worker.is_sure(flow);
                return true;
            }
            Progress::Waiting if is_over => worker.subscriber_finished(flow),
            Progress::Waiting => {
                let limit = worker.shared.overload.shorten(worker.shared.limits.identify_deadline);
                if reading.age(worker.shared.clock.monotonic()) < limit {
                    return true;
                }
                worker.deadline(flow);
            }
        }
        self.reading = None;
        worker.want_copies(flow, false);
        false
    }

    /// Whether the server has answered, and whether the time for a name is over; whether either is still waited for.
    fn look_for_answer(&mut self, slots: &Slots, number: u32) -> bool {
        let (worker, flow) = (self.open.worker(), self.open.flow());
        let is_answered = slots.carried(number).down > 0;
        if is_answered {
            worker.answered(flow, self.open.subscriber());
        }
        if flow.is_identified() {
            return !is_answered;
        }
        let age = worker.shared.clock.monotonic().since(flow.opened);
        if age < worker.shared.overload.shorten(worker.shared.limits.identify_deadline) {
            return true;
        }
        worker.deadline(flow);
        !is_answered
    }
}

//! The relay of UDP: datagrams of subscribers, each flow with an upstream socket of its own (decisions 3, 4, 5).
//!
//! Steered: datagrams are held until the name is known, then go to the name's own addresses; names never listed, or unreadable,
//! are refused, which for UDP is silence; by itself the gateway answers unknown versions of QUIC alone, with less than it was
//! sent, so nobody can have it flood somebody else. Behind a balancer (PROXY header in front of datagrams): the original
//! destination, at once, whatever the name; handed over by the kernel (nft `tproxy`): the same, from the subscriber's own
//! address and port, and answered from the server's by the listener's socket, which has the port of the service; of the
//! upstream sockets only a quarter may belong to flows without a name, the rest wait in the table.
//!
//! One relay per listener and worker; its table belongs to that thread alone. The task of the relay takes what subscribers
//! send, a task per upstream socket what servers answer; between two awaits they share the worker's batch of buffers.
//! QUIC: RFC 8999 to 9001, 9369; the PROXY protocol in front of datagrams: §2.2 of its specification.

mod begin;
mod carry;
pub mod connection_ids;
mod ending;
mod hand_over;
mod headers;
pub mod held;
mod holders;
mod migration;
mod negotiate;
pub mod port;
pub mod table;
mod take;
mod too_long;
pub mod unanswered;
pub mod undecided;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::RandomState;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, sleep};

use self::carry::Carried;
use self::connection_ids::Pulse;
use self::ending::idle_limit;
use self::hand_over::{Own, Pair};
use self::held::Held;
use self::negotiate::Negotiations;
use self::port::Port;
use self::table::{FlowEnds, Key, Table};
use self::undecided::Undecided;
use crate::flow::decide::Vouched;
use crate::flow::time::Monotonic;
use crate::net::node::event::Event;
use crate::net::node::flow_record::Flow;
use crate::net::node::report::Refusal;
use crate::net::node::settings::{Listener, Mode};
use crate::net::node::worker::{OpenFlow, Worker};
use crate::net::sys::batch::Batch;

/// How often deadlines are looked at.
const HOUSEKEEPING: Duration = Duration::from_millis(100);
/// Rounds between two looks at idle flows.
const ROUNDS_PER_IDLE: u32 = 10;
/// The least datagram of a connection that migrated: first byte, an id of [`connection_ids`], packet number, tag.
const MIGRATED_BYTES_MIN: usize = 1 + 4 + 4 + 16;
/// The pause after an error of receiving.
const BACK_OFF: Duration = Duration::from_millis(100);

/// What one listener's datagrams are to one worker.
pub struct Relay {
    worker: Rc<Worker>,
    /// The listener's socket, until another process takes it over.
    port: RefCell<Option<Rc<Port>>>,
    /// Sockets of open flows while another process takes over.
    own: RefCell<HashMap<Pair, Own>>,
    /// Flows that begin get such sockets too.
    keeping: Cell<bool>,
    /// The address it is bound to.
    bound: SocketAddr,
    mode: Mode,
    table: RefCell<Table<Entry>>,
    batch: Rc<RefCell<Batch>>,
    /// The undecided flows of all relays of the worker.
    undecided: Rc<Undecided>,
    /// Turns what PROXY headers say of subscribers into numbers.
    numbers: RandomState,
    /// Answers to versions of QUIC that are not read.
    negotiations: Negotiations,
    /// No flow begins any more.
    draining: Cell<bool>,
    /// The listener's socket is another process's.
    handed_over: Notify,
    /// Descriptors ran out: no upstream socket is tried before.
    dial_again: Cell<Monotonic>,
}

/// A flow in the table; when it is taken out, its last counts are taken.
pub struct Entry {
    open: OpenFlow,
    stage: Stage,
    held: Held,
    /// Where the flow that this one continues was carried to.
    continues: Option<Continuation>,
}

/// Where a flow was carried that goes on from another port, and what vouched for it.
#[derive(Clone)]
struct Continuation {
    target: SocketAddr,
    vouched: Vouched,
    /// Nothing shows that the server knows the connection.
    is_blind: bool,
    /// Of the flow that taught the ids by which it is known.
    pulse: Pulse,
}

/// How far a flow is.
enum Stage {
    /// Its name is not known, or there is no room for its upstream socket; datagrams are held.
    Waiting,
    /// Its name is being resolved; datagrams are held.
    Reaching,
    /// Datagrams go both ways.
    Carried(Carried),
    /// Not carried: what else comes within the time for a name is dropped.
    Refused,
}

impl Entry {
    /// The flow's record.
    fn flow(&self) -> &Rc<Flow> {
        self.open.flow()
    }

    /// Whether the name is known, or known not to be readable.
    fn is_identified(&self) -> bool {
        self.flow().is_identified()
    }
}

impl Relay {
    /// The relay of a bound socket.
    ///
    /// # Errors
    /// What the system says to the socket's options.
    pub fn new(
        worker: Rc<Worker>,
        socket: std::net::UdpSocket,
        listener: &Listener,
        batch: Rc<RefCell<Batch>>,
        undecided: Rc<Undecided>,
    ) -> io::Result<Rc<Self>> {
        let bound = socket.local_addr()?;
        let relay = Rc::new(Self {
            worker,
            port: RefCell::new(Some(Rc::new(Port::new(socket)?))),
            own: RefCell::default(),
            keeping: Cell::new(false),
            bound,
            mode: listener.mode.clone(),
            table: RefCell::default(),
            batch,
            undecided,
            numbers: RandomState::new(),
            negotiations: Negotiations::default(),
            draining: Cell::new(false),
            handed_over: Notify::new(),
            dial_again: Cell::default(),
        });
        relay.undecided.join(&relay);
        Ok(relay)
    }

    /// Takes datagrams and keeps house until the worker's event loop ends.
    pub async fn run(self: Rc<Self>) {
        let mut tick = tokio::time::interval(HOUSEKEEPING);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut rounds = 0_u32;
        let mut port = self.port.borrow().clone();
        loop {
            tokio::select! {
                // First of all: what is taken from the listener's socket behind it belongs to nobody.
                biased;
                () = self.handed_over.notified() => port = None,
                _ = tick.tick() => {
                    rounds = rounds.wrapping_add(1);
                    self.end_overdue();
                    if rounds.is_multiple_of(ROUNDS_PER_IDLE) {
                        self.sweep_own();
                        self.end_idle(|limits, state| self.worker.shared.overload.shorten(idle_limit(limits, state)));
                    }
                }
                ready = readable(port.as_deref()) => {
                    if let Some(port) = &port
                        && (ready.is_err() || self.receive(port).is_err())
                    {
                        self.worker.count_event(Event::AcceptError);
                        sleep(BACK_OFF).await;
                    }
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// No flow begins any more; open ones go on.
    pub fn drain(&self) {
        self.draining.set(true);
    }

    /// Ends every flow that was idle for at least `idle`.
    pub fn cut_idle(&self, idle: Duration) {
        self.end_idle(|_, _| idle);
    }

    /// Where the subscriber's datagrams were going.
    fn destination(&self, key: &Key) -> SocketAddr {
        match key.ends {
            FlowEnds::Proxied { destination, .. } | FlowEnds::Transparent { destination } => destination,
            FlowEnds::Steered { local } => {
                let address: IpAddr = local.unwrap_or(self.bound.ip()).to_canonical();
                SocketAddr::new(address, self.bound.port())
            }
        }
    }

    /// Ends a flow; false when there is none.
    fn remove(&self, key: &Key) -> bool {
        let mut table = self.table.borrow_mut();
        let Some(entry) = table.remove(key) else { return false };
        self.settle(&mut table, entry.flow().id);
        drop(table);
        // Takes the last counts; no borrow of the table may be held.
        drop(entry);
        true
    }

    /// Says that a flow is not carried: silence to the subscriber, a count for the operator.
    fn refuse(&self, key: &Key, refusal: Refusal) {
        let flow = {
            let mut table = self.table.borrow_mut();
            let Some(entry) = table.get_mut(key) else { return };
            entry.stage = Stage::Refused;
            entry.held.take();
            Rc::clone(entry.flow())
        };
        self.worker.count_refusal(refusal);
        tracing::debug!(flow = flow.id, refusal = refusal.label(), "not carried");
        self.worker.release(&flow, Vouched::No, None);
    }
}

/// Waits until something may be received; for ever where there is no socket any more.
async fn readable(port: Option<&Port>) -> io::Result<()> {
    match port {
        Some(port) => port.readable().await,
        None => std::future::pending().await,
    }
}

//! Giving a waiting flow its upstream socket: room for it, a connection to the first target that takes one, and what was held
//! meanwhile.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use super::down::down;
use super::{Carried, Upstream};
use crate::flow::decide::Vouched;
use crate::net::node::event::Event;
use crate::net::node::flow_record::Flow;
use crate::net::node::report::{DropCause, Refusal};
use crate::net::node::settings::Mode;
use crate::net::node::worker::Worker;
use crate::net::sys::batch::Train;
use crate::net::sys::socket;
use crate::net::udp::connection_ids::Pulse;
use crate::net::udp::held::Waiting;
use crate::net::udp::port::Port;
use crate::net::udp::table::Key;
use crate::net::udp::{Entry, Relay, Stage};
use crate::net::upstream::dial::is_about_ports;
use crate::net::upstream::own_ends::DatagramEnd;

/// How long no upstream socket is tried after descriptors ran out.
const DIAL_PAUSE: Duration = Duration::from_millis(100);

/// What a carried flow takes from the others.
struct Room {
    /// Room for the socket.
    socket: OwnedSemaphorePermit,
    /// Room among those without a name, while it has none.
    undecided: Option<OwnedSemaphorePermit>,
}

/// A socket that is connected to an origin.
struct Connected {
    port: Port,
    /// Where it leaves from; none where that is the subscriber's address.
    own_end: Option<DatagramEnd>,
    /// The origin's address.
    target: SocketAddr,
}

impl Relay {
    /// Gives a waiting flow its upstream socket and sends what it held; it goes on waiting while there is no room. `vouched`
    /// says of the target that takes it whether a steered flow's name may be there.
    pub(super) fn carry(
        self: &Rc<Self>,
        key: &Key,
        targets: &[SocketAddr],
        identified: bool,
        vouched: impl FnOnce(IpAddr) -> Vouched,
    ) {
        let shared = &self.worker.shared;
        if shared.clock.monotonic() < self.dial_again.get() {
            return;
        }
        let Some(Room { socket, undecided }) = self.room(identified) else { return };
        let Some(connected) = self.connect(key, targets) else { return };
        let target = connected.target;
        let mut table = self.table.borrow_mut();
        let Some(entry) = table.get_mut(key) else { return };
        let flow = Rc::clone(entry.flow());
        flow.has_place.set(true);
        self.worker.unanswered.carry(entry.open.subscriber(), flow.id, self, *key);
        shared.overload.take_reclaimable();
        let up = Rc::new(self.upstream(key, entry, connected));
        let down = down(Rc::clone(self), *key, Rc::clone(&flow), Rc::clone(&up));
        let task = tokio::task::spawn_local(down).abort_handle();
        let carried = Carried { up, task, _room: socket, undecided };
        let refused = self.send_held(key, &flow, &carried, &entry.held.take());
        entry.stage = Stage::Carried(carried);
        if identified {
            self.settle(&mut table, flow.id);
        }
        drop(table);
        match self.mode {
            Mode::Steered { .. } => {
                self.worker.release(&flow, vouched(target.ip()), Some(target.ip()));
            }
            Mode::ProxyProtocol { .. } | Mode::Transparent { .. } => {}
        }
        if refused {
            self.remove(key);
        }
    }

    /// Room for an upstream socket: a flow that nobody has answered may give way to it. None while there is none.
    fn room(&self, identified: bool) -> Option<Room> {
        let shared = &self.worker.shared;
        let undecided = if identified {
            None
        } else {
            Some(Arc::clone(&shared.undecided_permits).try_acquire_owned().ok()?)
        };
        let free = shared.flow_permits.available_permits();
        let unanswered = &self.worker.unanswered;
        if unanswered.is_full(shared.overload.is_reserved(free)) && unanswered.give_up_one() {
            shared.overload.count_given_up();
        }
        let socket = Arc::clone(&shared.flow_permits).try_acquire_owned().ok()?;
        Some(Room { socket, undecided })
    }

    /// A socket connected to the first target that takes one. None: it is tried again later, or the flow is refused.
    fn connect(&self, key: &Key, targets: &[SocketAddr]) -> Option<Connected> {
        let shared = &self.worker.shared;
        let source = self.source(key);
        match connect_first(&self.worker, targets, source) {
            Ok((port, target)) => {
                let own = if source.is_none() { port.local_addr().ok() } else { None };
                let own_end = own.map(|local| shared.own_ends.note_datagrams(local));
                Some(Connected { port, own_end, target })
            }
            Err(error) if is_about_descriptors(&error) => {
                self.worker.count_event(Event::AcceptError);
                self.dial_again.set(shared.clock.monotonic().plus(DIAL_PAUSE));
                None
            }
            Err(_) => {
                self.refuse(key, Refusal::Connect);
                None
            }
        }
    }

    /// The upstream side of a flow in the table.
    fn upstream(&self, key: &Key, entry: &mut Entry, connected: Connected) -> Upstream {
        let Connected { port, own_end, target } = connected;
        Upstream {
            port,
            _own_end: own_end,
            target,
            subscriber: entry.open.subscriber().clone(),
            destination: self.destination(key),
            pulse: Pulse::default(),
            ids: RefCell::default(),
            blind: Cell::new(entry.continues.as_ref().is_some_and(|flow| flow.is_blind).then_some(0)),
            continues: RefCell::new(entry.continues.take()),
            told: Cell::default(),
        }
    }

    /// Sends the datagrams that a flow held; whether the origin refused one.
    fn send_held(&self, key: &Key, flow: &Rc<Flow>, carried: &Carried, held: &VecDeque<Waiting>) -> bool {
        let mut refused = false;
        for Waiting { bytes, octet, in_fragments } in held {
            let (peer, octet, in_fragments) = (key.peer, *octet, *in_fragments);
            let train = Train { peer, local: None, octet, in_fragments, bytes, stride: bytes.len() };
            let sent = carried.send(&self.worker, flow, self.manner(flow), &train);
            if sent.cause == Some(DropCause::TooLong) {
                self.too_long(key, flow, &carried.up);
            }
            refused |= sent.refused;
        }
        refused
    }
}

/// A socket connected to the first target that takes one; of a subscriber whose port another socket of this machine has alone,
/// from any of his address's.
fn connect_first(
    worker: &Worker,
    targets: &[SocketAddr],
    source: Option<(SocketAddr, u32)>,
) -> io::Result<(Port, SocketAddr)> {
    let mut outcome = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for target in targets {
        let connected = match source {
            Some((source, mark)) => match socket::connect_datagrams_from(*target, source, mark) {
                Err(error) if is_about_ports(&error) => {
                    worker.count_event(Event::PortChanged);
                    socket::connect_datagrams_from(*target, SocketAddr::new(source.ip(), 0), mark)
                }
                outcome => outcome,
            },
            None => socket::connect_datagrams(*target),
        };
        match connected.and_then(Port::new) {
            Ok(port) => return Ok((port, *target)),
            Err(error) if is_about_descriptors(&error) => return Err(error),
            Err(error) => outcome = error,
        }
    }
    Err(outcome)
}

/// Whether the system is out of something that comes back: descriptors, memory, local ports.
fn is_about_descriptors(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::EAGAIN)
    )
}

//! One open TCP flow: whose it is, what it is called, what it has carried, and where its bytes are counted.
//!
//! A flow belongs to one worker and is touched by that thread only. Bytes before the verdict are carried and pending;
//! when the verdict latches they are counted where it says, and so is what follows, until a change of list,
//! subscribers or name has it judged again: then what was carried before stays where it was counted.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use billing_export::{Account, Flags, Volume};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::policy::Standing;
use super::report::ProtocolLabel;
use super::socket;
use crate::flow::binding::DnsOnly;
use crate::flow::decide::Vouched;
use crate::flow::identify::{Identifier, Identity, SeenIn};
use crate::flow::session::SubscriberKey;
use crate::flow::tally::Tally;
use crate::flow::time::Monotonic;

/// Where a flow was going when it came in.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// To the gateway itself, sent by our DNS; the name decides.
    Steered {
        /// The port rules are judged by, when the listener states one.
        service_port: Option<u16>,
    },
    /// To this destination.
    Original(SocketAddr),
}

/// One flow.
pub struct Flow {
    /// Its key in the worker's table.
    pub id: u64,
    /// The subscriber's address.
    pub source: IpAddr,
    /// Where it was going.
    pub place: Place,
    /// When it began.
    pub opened: Monotonic,
    /// When a byte last moved.
    pub last_activity: Cell<Monotonic>,
    /// Wakes the flow's task to end it.
    pub cut: Notify,
    /// Everything that changes with the bytes.
    pub state: RefCell<State>,
}

/// What changes while a flow is open.
pub struct State {
    /// Reads the client's bytes while they may still say something.
    pub identifier: Option<Identifier>,
    /// What it said, once known.
    pub identity: Option<Identity>,
    /// What the first bytes looked like.
    pub protocol: ProtocolLabel,
    /// Whose flow it is.
    pub standing: Standing,
    /// Whether the address may carry the name, as far as this flow found out.
    pub vouched: Vouched,
    /// What the subscriber's own look-ups said of the destination when the flow began; most flows have none.
    pub dns_only: Option<Box<DnsOnly>>,
    /// No verdict is taken yet: steered mode waits for its upstream.
    pub held: bool,
    /// Bytes carried and reported.
    pub tally: Tally,
    /// The subscriber's socket and its meter; none when closed.
    pub subscriber: Option<SubscriberSide>,
    /// Where the bytes are counted.
    pub ruling: Ruling,
    /// Whether the flow waits in the worker's list of flows to read at the next tick.
    pub dirty: bool,
}

/// Where a flow's bytes are counted.
#[derive(Debug)]
pub enum Ruling {
    /// Nowhere yet.
    Pending,
    /// Nowhere yet; a look-up is on its way.
    LookingUp,
    /// Here.
    Latched {
        /// The counter.
        account: Account,
        /// Remarks on it.
        flags: Flags,
    },
}

/// The subscriber's socket, with the running total of what was delivered through it.
pub struct SubscriberSide {
    /// The socket.
    socket: Rc<TcpStream>,
    /// Bytes the socket took for sending.
    written: u64,
    /// Bytes the subscriber acknowledged, at the last reading.
    delivered: u64,
    /// Whether FIN was sent, which the kernel counts as one unacknowledged byte.
    finished: bool,
}

impl SubscriberSide {
    /// A new meter on `socket`.
    pub const fn new(socket: Rc<TcpStream>) -> Self {
        Self { socket, written: 0, delivered: 0, finished: false }
    }

    /// Adds bytes that the socket took.
    pub fn add_written(&mut self, bytes: u64) {
        self.written = self.written.saturating_add(bytes);
    }

    /// Notes that FIN follows what was written.
    pub const fn set_finished(&mut self) {
        self.finished = true;
    }

    /// Bytes written and not acknowledged; none known to be so when the system will not say.
    fn unacknowledged(&self) -> Option<u64> {
        let queued = socket::unacknowledged(&*self.socket).ok()?;
        // With everything acknowledged and FIN out the queue reads 1, with FIN acknowledged 0; before that FIN is one of the bytes.
        Some(if self.finished { queued.saturating_sub(1) } else { queued })
    }

    /// Reads the meter: the running total of delivered bytes, and how many are new since the last reading. A reading that
    /// fails leaves the total where it was: it under-counts.
    pub fn read(&mut self) -> (u64, u64) {
        let waiting = self.unacknowledged().unwrap_or(self.written);
        let total = self.written.saturating_sub(waiting).max(self.delivered);
        let new = total.saturating_sub(self.delivered);
        self.delivered = total;
        (total, new)
    }

    /// Whether written bytes wait for their acknowledgement.
    pub const fn is_waiting(&self) -> bool {
        self.delivered < self.written
    }
}

impl State {
    /// Reads the subscriber's meter into the tally; returns the newly delivered bytes.
    pub fn read_meter(&mut self) -> u64 {
        let Some(subscriber) = &mut self.subscriber else { return 0 };
        let (total, new) = subscriber.read();
        self.tally.raise_down(total);
        new
    }

    /// Bytes carried that no account has.
    pub fn pending(&self) -> Volume {
        self.tally.unreported()
    }
}

impl Flow {
    /// The port that rules are judged by.
    pub fn service_port(&self, protocol: ProtocolLabel) -> u16 {
        match self.place {
            Place::Original(destination) => destination.port(),
            Place::Steered { service_port: Some(port) } => port,
            Place::Steered { service_port: None } => match protocol {
                ProtocolLabel::Http => HTTP_PORT,
                ProtocolLabel::Tls | ProtocolLabel::Tcp => HTTPS_PORT,
            },
        }
    }

    /// Whether the flow has ended and all its bytes have their account.
    pub fn is_settled(&self) -> bool {
        let state = self.state.borrow();
        state.subscriber.is_none()
            && matches!(state.ruling, Ruling::Latched { .. })
            && state.pending() == Volume::ZERO
    }

    /// Who the flow counts for.
    pub fn subscriber_key(&self) -> SubscriberKey {
        match &self.state.borrow().standing {
            Standing::Known(session) => SubscriberKey::Session(session.clone()),
            Standing::Unknown | Standing::Ended => SubscriberKey::stranger(self.source),
        }
    }

    /// The destination address, when the flow came with one.
    pub fn destination(&self) -> Option<SocketAddr> {
        match self.place {
            Place::Original(destination) => Some(destination),
            Place::Steered { .. } => None,
        }
    }
}

/// IANA service name `https`.
const HTTPS_PORT: u16 = 443;
/// IANA service name `http`.
const HTTP_PORT: u16 = 80;

impl From<Option<SeenIn>> for ProtocolLabel {
    fn from(seen: Option<SeenIn>) -> Self {
        match seen {
            Some(SeenIn::TlsSni | SeenIn::QuicSni) => Self::Tls,
            Some(SeenIn::HttpHost) => Self::Http,
            None => Self::Tcp,
        }
    }
}

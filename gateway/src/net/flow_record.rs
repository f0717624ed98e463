//! One open flow: whose it is, what it is called, what it has carried, and where its bytes are counted.
//!
//! A flow belongs to one worker and is touched by that thread only. Bytes before the verdict are carried and pending;
//! when the verdict latches they are counted where it says, and so is what follows, until a change of list,
//! subscribers or name has it judged again: then what was carried before stays where it was counted.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Weak;
use std::task::{Context, Poll, Waker};

use allowlist::Transport;
use billing_export::{Account, Entry, Flags, Reason, Volume};

use super::lookup::Asker;
use super::meter::{Reading, Remainder};
pub use super::meter::{SubscriberSide, Unknowable};
use super::policy::Standing;
use super::report::ProtocolLabel;
use super::stream::TcpStream;
use crate::flow::allowance::Share;
use crate::flow::binding::DnsOnly;
use crate::flow::decide::Vouched;
use crate::flow::identify::{Identifier, Identity, Progress, QuicIdentifier, SeenIn};
use crate::flow::mark::Mark;
use crate::flow::room::Recent;
use crate::flow::sent::{OnItsWay, Queues, Sent};
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
    /// Its key in the worker's table, and its number in the log: no other flow of the process has it.
    pub id: u64,
    /// The subscriber's address.
    pub source: IpAddr,
    /// The network of it that is one customer's.
    pub network: IpAddr,
    /// Where it was going.
    pub place: Place,
    /// TCP or UDP.
    pub transport: Transport,
    /// It began beyond what its subscriber may have: it is charged.
    pub is_over_limit: bool,
    /// What the subscriber's own look-ups said of the destination when it began.
    pub dns_only: Option<DnsOnly>,
    /// When it began.
    pub opened: Monotonic,
    /// When a byte last moved.
    pub last_activity: Cell<Monotonic>,
    /// How many moved lately.
    pub recent: Cell<Recent>,
    /// TCP only: segments from the subscriber when half of the time was over that it may be idle; 0 before that.
    pub segments_seen: Cell<u32>,
    /// Whether it has one of the process's places: UDP flows wait for theirs.
    pub has_place: Cell<bool>,
    /// Asks the flow's task to end it.
    pub cut: Cut,
    /// Everything that changes with the bytes.
    pub state: RefCell<State>,
}

/// Whether a flow is to end before its sides do; its task waits for that beside its sockets.
#[derive(Default)]
pub struct Cut {
    is_asked: Cell<bool>,
    is_for_room: Cell<bool>,
    waits: Cell<Option<Waker>>,
}

impl Cut {
    /// Asks the flow's task to end, at once or when it next waits.
    pub fn ask(&self) {
        self.is_asked.set(true);
        if let Some(task) = self.waits.take() {
            task.wake();
        }
    }

    /// The same, without a wait for what is on its way: others need what the flow holds.
    pub fn ask_for_room(&self) {
        self.is_for_room.set(true);
        self.ask();
    }

    /// Whether the flow is to end.
    pub fn is_asked(&self) -> bool {
        self.is_asked.get()
    }

    /// Whether it is to end because others need what it holds.
    pub fn is_for_room(&self) -> bool {
        self.is_for_room.get()
    }

    /// Ready once it was asked; else the task is woken when it is.
    pub fn poll_asked(&self, context: &Context<'_>) -> Poll<()> {
        if self.is_asked.get() {
            return Poll::Ready(());
        }
        let known = self.waits.take().filter(|task| task.will_wake(context.waker()));
        self.waits.set(Some(known.unwrap_or_else(|| context.waker().clone())));
        Poll::Pending
    }
}

/// What changes while a flow is open.
pub struct State {
    /// Reads the client's bytes while they may still say something.
    pub names: Option<Names>,
    /// What it said, once known.
    pub identity: Option<Identity>,
    /// What the first bytes looked like.
    pub protocol: ProtocolLabel,
    /// Whose flow it is.
    pub standing: Standing,
    /// Steered: where the gateway found the name.
    pub dialled: Option<IpAddr>,
    /// Whether the address may carry the name, as far as this flow found out.
    pub vouched: Vouched,
    /// No verdict is taken yet: steered mode waits for its upstream.
    pub held: bool,
    /// UDP only: the server has said nothing yet, and nothing is exempt, nor charged to anybody, before it has. A source
    /// address is free to forge, and datagrams that nobody answers are no visit.
    pub unanswered: bool,
    /// Nobody waits for more: the process ends.
    pub last_call: bool,
    /// Bytes carried and reported.
    pub tally: Tally,
    /// The most bytes that a record was told may be missing in it.
    pub unknowable: Unknowable,
    /// The subscriber's socket and its meter; none when closed.
    pub subscriber: Option<SubscriberSide>,
    /// What it sent last, when its sockets are closed and the queues of interfaces have not let it go yet.
    pub remainder: Option<Box<Remainder>>,
    /// Where the bytes are counted.
    pub ruling: Ruling,
    /// Accounts before this one, for bytes that were sent under them and are not known to have left.
    pub owed: Vec<Owed>,
    /// It is exempt at an address that is known to serve other sites too: no gateway can tell them apart (trap T24).
    pub at_shared_address: bool,
    /// While it is exempt and that is capped: how much is left.
    pub allowed: Option<Box<Allowed>>,
    /// What the flow's packets carry, by where its bytes are counted, or will be as far as can be foreseen.
    pub mark: Mark,
    /// Its share in an allowance while it is marked before its verdict.
    pub foreseen: Option<Box<Share>>,
    /// TCP only: the origin's socket while bytes are carried.
    pub origin: Weak<TcpStream>,
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

impl Ruling {
    /// Whether the flow's bytes are exempt.
    pub const fn is_exempt(&self) -> bool {
        match self {
            Self::Latched { account, .. } => matches!(account.entry, Entry::Exempt { .. }),
            Self::Pending | Self::LookingUp => false,
        }
    }
}

/// What an exempt flow may still have exempt, and where its bytes are counted beyond that.
#[derive(Debug)]
pub struct Allowed {
    /// Its part in the subscriber's allowances.
    pub share: Share,
    /// The counter of what is over.
    pub over: Account,
    /// Remarks on it.
    pub over_flags: Flags,
}

/// An account that bytes on their way belong to.
#[derive(Debug)]
pub struct Owed {
    /// The counter.
    pub account: Account,
    /// Remarks on it.
    pub flags: Flags,
    /// What of it may still be exempt, where that is limited.
    pub allowed: Option<Box<Allowed>>,
    /// What had been sent when the next account began.
    pub way: OnItsWay,
}

/// The reader of names at work.
pub enum Names {
    /// Of a TCP stream.
    Stream(Box<Identifier>),
    /// Of UDP datagrams; on the watch for a second name once there is one.
    Datagrams(Box<QuicIdentifier>),
    /// Of UDP datagrams whose name came from the flow they continue; on the watch for another.
    Inherited(Box<QuicIdentifier>),
}

/// The bit of a QUIC datagram's first byte that says long header (RFC 8999 §5.1).
const LONG_HEADER_BIT: u8 = 0x80;

/// Whether the datagram begins with a QUIC long header, if it is QUIC at all.
pub fn has_long_header(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| first & LONG_HEADER_BIT != 0)
}

impl State {
    /// Reads the subscriber's meter into the tally; none when the sockets are closed and all they sent is settled.
    pub fn read_meter(&mut self, queues: Queues) -> Option<Reading> {
        let reading = match (&mut self.subscriber, &mut self.remainder) {
            (Some(subscriber), _) => subscriber.read(queues),
            (None, Some(remainder)) => remainder.read(queues),
            (None, None) => return None,
        };
        self.tally.raise(reading.carried);
        Some(reading)
    }

    /// What was sent to the subscriber, where it counts before it is acknowledged.
    pub fn sent(&self) -> Option<&Sent> {
        match (&self.subscriber, &self.remainder) {
            (Some(subscriber), _) => subscriber.sent(),
            (None, Some(remainder)) => Some(remainder.sent()),
            (None, None) => None,
        }
    }

    /// The sockets close: what they sent last is settled when the queues have let it go.
    pub fn close(&mut self, queues: Queues) {
        self.remainder = self.subscriber.take().and_then(|side| side.end(queues)).map(Box::new);
    }

    /// Shows bytes (of a stream, or one datagram) to the reader of names; true when there is something new to judge.
    pub fn observe(&mut self, bytes: &[u8]) -> bool {
        let Some(names) = &mut self.names else { return false };
        // A stream's name is judged when no second hello can follow; datagrams have no such point.
        let (progress, found, judged_at_once) = match names {
            Names::Stream(reader) => {
                let progress = reader.observe(bytes);
                self.protocol = ProtocolLabel::of_stream(reader.protocol());
                (progress, reader.identity(), false)
            }
            Names::Datagrams(reader) => {
                let progress = reader.observe(bytes);
                self.protocol = ProtocolLabel::of_datagrams(reader.protocol());
                (progress, reader.identity(), true)
            }
            Names::Inherited(reader) => {
                // The flow goes on in the middle of a connection: only a new hello says anything.
                if !has_long_header(bytes) {
                    return false;
                }
                let progress = reader.observe(bytes);
                return self.compare(progress);
            }
        };
        match progress {
            Progress::Undecided => false,
            Progress::Identified => {
                let new = self.identity.is_none();
                if new {
                    self.identity = found.cloned();
                }
                new && judged_at_once
            }
            Progress::Settled => {
                self.identity = found.cloned();
                self.names = None;
                true
            }
        }
    }

    /// Compares the name of a hello on a flow that inherited one; true when they differ, and then the name no longer holds.
    fn compare(&mut self, progress: Progress) -> bool {
        let Some(Names::Inherited(reader)) = &self.names else { return false };
        let Some(found) = reader.identity() else { return false };
        let Some(own) = &mut self.identity else { return false };
        let differs = found.name != own.name || found.gave_up.is_some();
        if differs {
            own.gave_up = Some(found.gave_up.unwrap_or(Reason::SecondName));
        }
        if differs || progress == Progress::Settled {
            self.names = None;
        }
        differs
    }

    /// The time for a name is over; the watch for a second one goes on.
    pub fn deadline(&mut self) {
        let (progress, found) = match &mut self.names {
            Some(Names::Stream(reader)) => (reader.deadline(), reader.identity()),
            Some(Names::Datagrams(reader)) => (reader.deadline(), reader.identity()),
            Some(Names::Inherited(_)) | None => return,
        };
        self.identity = found.cloned();
        if progress == Progress::Settled {
            self.names = None;
        }
    }

    /// The subscriber sends nothing more; false when that says nothing new.
    pub fn finish_reading(&mut self) -> bool {
        match self.names.take() {
            None => return false,
            Some(Names::Stream(mut reader)) => {
                reader.finish();
                self.identity = reader.identity().cloned();
            }
            Some(Names::Datagrams(mut reader)) => {
                reader.finish();
                self.identity = reader.identity().cloned();
            }
            Some(Names::Inherited(_)) => {}
        }
        true
    }

    /// Whether the name is known well enough for a verdict.
    pub const fn is_readable(&self) -> bool {
        match &self.names {
            Some(Names::Stream(_)) => false,
            Some(Names::Datagrams(_) | Names::Inherited(_)) | None => self.identity.is_some(),
        }
    }

    /// Whether no more can become known.
    pub const fn is_ending(&self) -> bool {
        self.subscriber.is_none() || self.last_call
    }

    /// Memory the reader of names holds beyond the value itself, in bytes.
    pub fn reader_bytes(&self) -> usize {
        match &self.names {
            Some(Names::Stream(reader)) => reader.buffer_bytes(),
            Some(Names::Datagrams(reader) | Names::Inherited(reader)) => reader.buffer_bytes(),
            None => 0,
        }
    }

    /// Bytes carried that no account has.
    pub fn pending(&self) -> Volume {
        self.tally.unreported()
    }
}

impl Flow {
    /// Who a look-up for the flow counts for.
    pub fn asker(&self) -> Asker {
        Asker::new(self.state.borrow().standing.key(self.network), self.transport)
    }

    /// Notes that `bytes` moved.
    pub fn note_moved(&self, bytes: u64, now: Monotonic) {
        self.last_activity.set(now);
        self.recent.set(self.recent.get().plus(bytes, now));
    }

    /// The port that rules are judged by.
    pub fn service_port(&self, protocol: ProtocolLabel) -> u16 {
        match self.place {
            Place::Original(destination) => destination.port(),
            Place::Steered { service_port: Some(port) } => port,
            Place::Steered { service_port: None } => match protocol {
                ProtocolLabel::Http => HTTP_PORT,
                ProtocolLabel::Tls | ProtocolLabel::Tcp | ProtocolLabel::Quic | ProtocolLabel::Udp => {
                    HTTPS_PORT
                }
            },
        }
    }

    /// Whether the flow has ended and all its bytes have their account.
    pub fn is_settled(&self) -> bool {
        let state = self.state.borrow();
        state.subscriber.is_none()
            && state.remainder.is_none()
            && matches!(state.ruling, Ruling::Latched { .. })
            && state.pending() == Volume::ZERO
    }

    /// Whether the subscriber's next bytes may still say something about the name.
    pub fn is_observed(&self) -> bool {
        self.state.borrow().names.is_some()
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
pub(super) const HTTPS_PORT: u16 = 443;
/// IANA service name `http`.
const HTTP_PORT: u16 = 80;

impl ProtocolLabel {
    /// Of a TCP flow that looks like this.
    pub const fn of_stream(seen: Option<SeenIn>) -> Self {
        match seen {
            Some(SeenIn::TlsSni | SeenIn::QuicSni) => Self::Tls,
            Some(SeenIn::HttpHost) => Self::Http,
            None => Self::Tcp,
        }
    }

    /// Of a UDP flow that looks like this.
    pub const fn of_datagrams(seen: Option<SeenIn>) -> Self {
        match seen {
            Some(SeenIn::QuicSni | SeenIn::TlsSni | SeenIn::HttpHost) => Self::Quic,
            None => Self::Udp,
        }
    }
}

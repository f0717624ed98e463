//! Both directions of a flow as one future of our own making. It is what an open flow keeps, so it is small: what is needed
//! only while bytes wait or move inside the kernel has a box of its own, and an idle flow has none.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::Interest;

use super::{Failed, shutdown_subscriber};
use crate::net::node::flow_record::Flow;
use crate::net::node::worker::{OpenFlow, Worker};
use crate::net::sys::socket;
use crate::net::tcp::splice::Taken;
use crate::net::tcp::stream::TcpStream;

/// A sender that has less than this between two pauses is copied again: looking for a pipe would cost more.
const BULK_BYTES_MIN: usize = 16 * 1024;

/// One of the directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Subscriber → origin.
    Up,
    /// Origin → subscriber.
    Down,
}

/// What one direction is doing.
enum Stage {
    /// Bytes pass through the worker's buffer; `bulk` when the last reading filled it.
    Copying {
        /// More is on its way.
        bulk: bool,
    },
    /// Bytes wait that the receiver did not take.
    Holding(Box<Held>),
    /// Bytes move inside the kernel.
    Moving(Box<Moving>),
    /// FIN was passed on, or nobody takes anything more.
    Finished,
}

/// Bytes that the receiver did not take.
struct Held {
    bytes: Vec<u8>,
    /// How many of them it has taken since.
    taken: usize,
    /// It is one byte, and urgent.
    urgent: bool,
}

/// Bytes that move through a pipe.
struct Moving {
    pipe: Taken,
    /// What the sender has said since its last pause.
    bytes: usize,
}

/// A flow that is carried, and its sockets.
pub(super) struct Carried {
    pub open: OpenFlow,
    pub client: Rc<TcpStream>,
    pub origin: Rc<TcpStream>,
}

impl Carried {
    /// Its parts.
    fn ends(&self) -> Ends<'_> {
        Ends {
            worker: self.open.worker(),
            flow: self.open.flow(),
            client: &self.client,
            origin: &self.origin,
        }
    }
}

/// The sockets of a flow, and who counts what passes.
#[derive(Clone, Copy)]
struct Ends<'f> {
    worker: &'f Rc<Worker>,
    flow: &'f Rc<Flow>,
    client: &'f TcpStream,
    origin: &'f TcpStream,
}

/// Carries both directions until each has passed its FIN on, one side has failed, or the flow is cut.
pub(super) struct Both<'f> {
    carried: &'f Carried,
    up: Stage,
    down: Stage,
    /// The origin takes nothing more, but what it sent before may still be read.
    origin_failed: bool,
    /// Whose turn it is to go first: one direction at full speed must not keep the other waiting.
    first: Way,
}

impl<'f> Both<'f> {
    /// Nothing has moved yet but `first`, which the subscriber sent and which is counted.
    pub(super) fn new(carried: &'f Carried, first: Vec<u8>) -> Self {
        let up = if first.is_empty() { Stage::Copying { bulk: false } } else { Stage::holding(first) };
        Self { carried, up, down: Stage::Copying { bulk: false }, origin_failed: false, first: Way::Up }
    }

    /// Moves what the subscriber sends.
    fn go_up(&mut self, context: &mut Context<'_>) -> Result<(), Failed> {
        let outcome = match self.carried.ends().go(Way::Up, &mut self.up, context) {
            Poll::Pending => return Ok(()),
            Poll::Ready(Ok(())) => {
                self.carried.open.worker().subscriber_finished(self.carried.open.flow());
                // When the origin has said all it had to say, closing its socket says the same.
                if self.down.is_finished() {
                    Ok(())
                } else {
                    socket::shutdown_write(&*self.carried.origin).map_err(Failed::origin)
                }
            }
            Poll::Ready(Err(failed)) => Err(failed),
        };
        self.up = Stage::Finished;
        match outcome {
            Ok(()) => {}
            Err(Failed::Subscriber) => return Err(Failed::Subscriber),
            Err(Failed::Origin | Failed::Neither) => self.origin_failed = true,
        }
        Ok(())
    }

    /// Moves what the origin sends.
    fn go_down(&mut self, context: &mut Context<'_>) -> Result<(), Failed> {
        match self.carried.ends().go(Way::Down, &mut self.down, context) {
            Poll::Pending => Ok(()),
            Poll::Ready(outcome) => {
                outcome?;
                self.down = Stage::Finished;
                shutdown_subscriber(self.carried.open.flow(), &self.carried.client)
                    .map_err(Failed::subscriber)
            }
        }
    }

    /// Gives one direction its turn, unless it is finished.
    fn turn(&mut self, way: Way, context: &mut Context<'_>) -> Result<(), Failed> {
        match way {
            Way::Up if !self.up.is_finished() => self.go_up(context),
            Way::Down if !self.down.is_finished() => self.go_down(context),
            Way::Up | Way::Down => Ok(()),
        }
    }
}

impl Future for Both<'_> {
    type Output = Result<(), Failed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let both = self.get_mut();
        if both.carried.open.flow().cut.poll_asked(context).is_ready() {
            return Poll::Ready(Err(Failed::Neither));
        }
        let first = both.first;
        both.first = first.other();
        both.turn(first, context)?;
        both.turn(first.other(), context)?;
        if !both.up.is_finished() || !both.down.is_finished() {
            return Poll::Pending;
        }
        Poll::Ready(if both.origin_failed { Err(Failed::Origin) } else { Ok(()) })
    }
}

impl Way {
    /// The other direction.
    const fn other(self) -> Self {
        match self {
            Self::Up => Self::Down,
            Self::Down => Self::Up,
        }
    }

    /// Whose fault an error of the sender's socket is.
    fn sender_failed(self, error: io::Error) -> Failed {
        match self {
            Self::Up => Failed::subscriber(error),
            Self::Down => Failed::origin(error),
        }
    }

    /// Whose fault an error of the receiver's socket is.
    fn receiver_failed(self, error: io::Error) -> Failed {
        self.other().sender_failed(error)
    }
}

impl Stage {
    /// Holds `bytes` until they are taken.
    fn holding(bytes: Vec<u8>) -> Self {
        Self::Holding(Box::new(Held { bytes, taken: 0, urgent: false }))
    }

    /// Whether nothing more is done.
    const fn is_finished(&self) -> bool {
        match self {
            Self::Finished => true,
            Self::Copying { .. } | Self::Holding(_) | Self::Moving(_) => false,
        }
    }
}

impl<'f> Ends<'f> {
    /// Moves bytes one way until the sender pauses or the receiver is full; ready when the sender has sent FIN and all was
    /// passed on.
    fn go(self, way: Way, stage: &mut Stage, context: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        loop {
            let next = match stage {
                Stage::Copying { bulk } => {
                    // Every round comes by here or by one of the other two waits, each of which takes from the task's budget.
                    ready!(self.sender(way).poll_read_ready(context))
                        .map_err(|error| way.sender_failed(error))?;
                    match self.pipe(way, *bulk) {
                        Some(pipe) => Some(Stage::Moving(Box::new(Moving { pipe, bytes: 0 }))),
                        None => self.copy(way, *bulk)?,
                    }
                }
                Stage::Holding(held) => {
                    ready!(self.let_go(way, held, context))?;
                    Some(Stage::Copying { bulk: false })
                }
                Stage::Moving(moving) => {
                    ready!(self.empty(way, moving, context))?;
                    let Poll::Ready(readable) = self.sender(way).poll_read_ready(context) else {
                        // The pipe goes back: others need it while this sender pauses.
                        *stage = Stage::Copying { bulk: moving.bytes >= BULK_BYTES_MIN };
                        return Poll::Pending;
                    };
                    readable.map_err(|error| way.sender_failed(error))?;
                    if self.sender(way).has_urgent() {
                        // Nothing moves past an urgent byte inside the kernel.
                        Some(Stage::Copying { bulk: false })
                    } else {
                        match self.fill(way, moving)? {
                            // In front of an urgent byte that has just come with FIN splice(2) says the same as at the end.
                            Some(0) => Some(Stage::Copying { bulk: false }),
                            Some(_) | None => continue,
                        }
                    }
                }
                Stage::Finished => None,
            };
            match next {
                Some(next) => *stage = next,
                None => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Reads what is there and passes on what the receiver takes; none at the sender's end.
    fn copy(self, way: Way, bulk: bool) -> Result<Option<Stage>, Failed> {
        let sender = self.sender(way);
        let failed = |error| way.sender_failed(error);
        let urgent = sender.has_urgent() && socket::is_at_urgent(sender).map_err(failed)?;
        let mut buffer = self.worker.buffer.borrow_mut();
        let room = if urgent { 1 } else { buffer.len() };
        let buffer = buffer.get_mut(..room).unwrap_or_default();
        let Some(count) = read_ready(sender, buffer).map_err(failed)? else {
            return Ok(Some(Stage::Copying { bulk }));
        };
        let is_all = count < buffer.len() && !sender.has_urgent();
        let bulk = count == buffer.len() && !urgent;
        let bytes = buffer.get(..count).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(None);
        }
        match way {
            Way::Up => self.worker.received(self.flow, bytes),
            Way::Down => self.origin_said(),
        }
        if urgent {
            sender.forget_urgent();
        }
        // Known without asking once more; what is written and FIN then go in one segment.
        let is_last = is_all && sender.has_ended();
        let manner = Manner::of(urgent, is_last);
        let taken =
            write_ready(self.receiver(way), bytes, manner).map_err(|error| way.receiver_failed(error))?;
        self.sent(way, taken);
        let rest = bytes.get(taken..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(if is_last { None } else { Some(Stage::Copying { bulk }) });
        }
        Ok(Some(Stage::Holding(Box::new(Held { bytes: rest.to_vec(), taken: 0, urgent }))))
    }

    /// Writes what is held, as the receiver makes room.
    fn let_go(self, way: Way, held: &mut Held, context: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        loop {
            let rest = held.bytes.get(held.taken..).unwrap_or_default();
            if rest.is_empty() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.receiver(way).poll_write_ready(context))
                .map_err(|error| way.receiver_failed(error))?;
            let taken = write_ready(self.receiver(way), rest, Manner::of(held.urgent, false))
                .map_err(|error| way.receiver_failed(error))?;
            held.taken = held.taken.saturating_add(taken);
            self.sent(way, taken);
        }
    }

    /// A pipe, when there is bulk to move that nobody looks at any more, and one is free.
    fn pipe(self, way: Way, bulk: bool) -> Option<Taken> {
        let observed = match way {
            Way::Up => self.flow.is_observed(),
            Way::Down => false,
        };
        (bulk && !observed && !self.sender(way).has_urgent()).then(|| self.worker.pipes.take()).flatten()
    }

    /// Moves what the sender has into the pipe; none when it has nothing, zero at its end or in front of an urgent byte.
    fn fill(self, way: Way, moving: &mut Moving) -> Result<Option<usize>, Failed> {
        let count = moving.pipe.fill(self.sender(way)).map_err(|error| way.sender_failed(error))?;
        if let Some(count) = count {
            moving.bytes = moving.bytes.saturating_add(count);
            match way {
                Way::Up if count > 0 => self.worker.received_unread(self.flow, count),
                Way::Up | Way::Down => {}
            }
        }
        Ok(count)
    }

    /// Moves what is in the pipe to the receiver, as it makes room.
    fn empty(self, way: Way, moving: &mut Moving, context: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        while !moving.pipe.is_empty() {
            match moving.pipe.drain(self.receiver(way)).map_err(|error| way.receiver_failed(error))? {
                Some(count) => {
                    self.sent(way, count);
                    match way {
                        Way::Up => {}
                        Way::Down => self.worker.count_spliced(count),
                    }
                }
                None => {
                    ready!(self.receiver(way).poll_write_ready(context))
                        .map_err(|error| way.receiver_failed(error))?;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The origin is not ourselves: it has answered.
    fn origin_said(self) {
        if let Some(end) = self.origin.take_own_end() {
            self.worker.shared.own_ends.forget_stream(end);
        }
    }

    /// Counts what the receiver took.
    fn sent(self, way: Way, count: usize) {
        match way {
            // Counted when it was received.
            Way::Up => {}
            Way::Down => self.worker.written(self.flow, count),
        }
    }

    /// The sender's socket.
    const fn sender(self, way: Way) -> &'f TcpStream {
        match way {
            Way::Up => self.client,
            Way::Down => self.origin,
        }
    }

    /// The receiver's socket.
    const fn receiver(self, way: Way) -> &'f TcpStream {
        self.sender(way.other())
    }
}

/// Reads what is there; none when the readiness was spurious. What does not fill the buffer is all there was: the socket
/// counts as empty from then on, without being asked once more (epoll(7), question 9). A FIN stays known. Where an urgent
/// byte has come the read may have ended in front of it, and the socket is asked again.
pub fn read_ready(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    let mut all = None;
    let outcome = stream.try_io(Interest::READABLE, || {
        let count = socket::receive(stream, buffer)?;
        if count == 0 || count == buffer.len() || stream.has_urgent() {
            return Ok(count);
        }
        all = Some(count);
        Err(io::ErrorKind::WouldBlock.into())
    });
    match outcome {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            if all.is_none() {
                // Nothing is there, not even an urgent byte.
                stream.forget_urgent();
            }
            Ok(all)
        }
        Err(error) => Err(error),
    }
}

/// How bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// As they come.
    Ordinary,
    /// One byte, as urgent.
    Urgent,
    /// FIN follows at once: the kernel may wait for it.
    BeforeFin,
}

impl Manner {
    /// Of bytes that are urgent, or the last that there are.
    const fn of(urgent: bool, is_last: bool) -> Self {
        match (urgent, is_last) {
            (true, _) => Self::Urgent,
            (false, true) => Self::BeforeFin,
            (false, false) => Self::Ordinary,
        }
    }
}

/// Writes what the socket takes at once.
pub(super) fn write_ready(stream: &TcpStream, bytes: &[u8], manner: Manner) -> io::Result<usize> {
    let written = match (manner, bytes) {
        (Manner::Urgent, [byte]) => stream.try_io(Interest::WRITABLE, || socket::send_urgent(stream, *byte)),
        (Manner::BeforeFin, _) => {
            stream.try_io(Interest::WRITABLE, || socket::send_before_fin(stream, bytes))
        }
        (Manner::Ordinary | Manner::Urgent, _) => stream.try_write(bytes),
    };
    match written {
        Ok(taken) => Ok(taken),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        Err(error) => Err(error),
    }
}

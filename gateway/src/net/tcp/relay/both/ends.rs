//! One direction of a flow: what it is doing, and how bytes move from the sender's socket to the receiver's.
//!
//! Bytes pass through the worker's buffer, wait for a receiver that is full, or move inside the kernel.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::ready::{Manner, read_ready, write_ready};
use super::way::Way;
use crate::net::node::flow_record::Flow;
use crate::net::node::worker::Worker;
use crate::net::sys::socket;
use crate::net::tcp::relay::Failed;
use crate::net::tcp::splice::Taken;
use crate::net::tcp::stream::TcpStream;

/// A sender that has less than this between two pauses is copied again: looking for a pipe would cost more.
const BULK_BYTES_MIN: usize = 16 * 1024;

/// What one direction is doing.
pub(super) enum Stage {
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
pub(super) struct Held {
    bytes: Vec<u8>,
    /// How many of them it has taken since.
    taken: usize,
    /// It is one byte, and urgent.
    urgent: bool,
}

/// Bytes that move through a pipe.
pub(super) struct Moving {
    pipe: Taken,
    /// What the sender has said since its last pause.
    bytes: usize,
}

/// The sockets of a flow, and who counts what passes.
#[derive(Clone, Copy)]
pub(super) struct Ends<'f> {
    pub(super) worker: &'f Rc<Worker>,
    pub(super) flow: &'f Rc<Flow>,
    pub(super) client: &'f TcpStream,
    pub(super) origin: &'f TcpStream,
}

impl Stage {
    /// Holds `bytes` until they are taken.
    pub(super) fn holding(bytes: Vec<u8>) -> Self {
        Self::Holding(Box::new(Held { bytes, taken: 0, urgent: false }))
    }

    /// Whether nothing more is done.
    pub(super) const fn is_finished(&self) -> bool {
        match self {
            Self::Finished => true,
            Self::Copying { .. } | Self::Holding(_) | Self::Moving(_) => false,
        }
    }
}

impl<'f> Ends<'f> {
    /// Moves bytes one way until the sender pauses or the receiver is full; ready when the sender has sent FIN and all was
    /// passed on.
    pub(super) fn go(
        self,
        way: Way,
        stage: &mut Stage,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Failed>> {
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

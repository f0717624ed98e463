//! Both directions of a flow as one future of our own making. It is what an open flow keeps, so it is small: what is needed
//! only while bytes wait or move inside the kernel has a box of its own, and an idle flow has none.

mod ends;
mod ready;
mod way;

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use self::ends::{Ends, Stage};
pub use self::ready::read_ready;
pub(super) use self::ready::{Manner, write_ready};
use self::way::Way;
use super::{Failed, shutdown_subscriber};
use crate::net::node::worker::OpenFlow;
use crate::net::sys::socket;
use crate::net::tcp::stream::TcpStream;

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

//! Moves bytes between subscriber and origin: tee, never gate (decision 3).
//!
//! Every byte is passed on as it was read; the reader of names gets a look at the same buffer. A flow holds no buffer
//! while it is idle: both directions read into the worker's one buffer and hand it on at once; only what the other side
//! does not take waits in a vector of the flow's own, and then nothing more is read.
//!
//! A full buffer says that more is on its way: then what the reader of names no longer wants moves inside the kernel (see
//! [`super::splice`]), until the sender has less to say. Small messages are copied: two system calls either way.
//!
//! An urgent byte is passed on in its place, and as urgent (tcp(7), `MSG_OOB`); not those among the bytes that a steered flow or a
//! balancer sends before its origin is known: they pass as ordinary ones.
//!
//! FIN is passed on for each direction by itself; a reset or an error ends both, and the other side is reset too. What an
//! origin sent before its reset is delivered first: a server that refuses an upload answers and closes.

mod both;

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep};

pub use self::both::read_ready;
use self::both::{Both, Carried, Manner, write_ready};
use super::stream::TcpStream;
use crate::net::node::flow_record::Flow;
use crate::net::node::worker::{OpenFlow, Worker};
use crate::net::sys::socket;

/// The first pause between two readings of the last acknowledgement; each next one is twice as long.
const FINISH_POLL_MIN: Duration = Duration::from_millis(1);
/// The longest such pause.
const FINISH_POLL_MAX: Duration = Duration::from_millis(200);

/// A flow whose both connections stand.
pub struct Begun {
    /// The flow, until its end.
    pub open: OpenFlow,
    /// The connection to the subscriber.
    pub client: Rc<TcpStream>,
    /// The connection to the origin.
    pub origin: TcpStream,
    /// Bytes already received from the subscriber and counted.
    pub first: Vec<u8>,
    /// Its place among the flows.
    pub permit: OwnedSemaphorePermit,
}

/// The task of one connection: carries what `begin` has begun until both sides have finished, one has failed, or the worker
/// cuts it. Begun in a box of its own, and carried here rather than in a function of its own: a task keeps room for the largest
/// thing it ever waits for, and for whatever it passes on, and there are many that are idle.
pub async fn serve(begin: Pin<Box<impl Future<Output = Option<Begun>>>>) {
    let Some(Begun { open, client, origin, first, permit: _permit }) = begin.await else { return };
    let carried = Carried { open, client, origin: Rc::new(origin) };
    carried.open.worker().mark_origin(carried.open.flow(), &carried.origin);
    let outcome = Both::new(&carried, first).await;
    let finishes = match outcome {
        Ok(()) => true,
        Err(failed) => {
            // The one that failed is gone; the other learns it as it would without us.
            let _ = socket::reset_on_close(&*carried.origin);
            match failed {
                Failed::Subscriber => false,
                Failed::Neither if carried.open.flow().cut.is_for_room() => false,
                // What was sent last may be on its way: acknowledged, it is counted.
                Failed::Origin | Failed::Neither => true,
            }
        }
    };
    drop(carried.origin);
    if finishes {
        finish(carried.open.worker(), carried.open.flow(), &carried.client).await;
    }
    if outcome.is_err() {
        let _ = socket::reset_on_close(&*carried.client);
    }
}

/// Whose side of a flow failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failed {
    /// The subscriber's.
    Subscriber,
    /// The origin's.
    Origin,
    /// The flow was idle, or the gateway ends.
    Neither,
}

impl Failed {
    /// For errors of the subscriber's socket.
    fn subscriber(_: io::Error) -> Self {
        Self::Subscriber
    }

    /// For errors of the origin's socket.
    fn origin(_: io::Error) -> Self {
        Self::Origin
    }
}

/// Writes bytes of our own (a refusal) to the subscriber; they are counted like any others.
pub async fn answer(
    worker: &Rc<Worker>,
    flow: &Rc<Flow>,
    client: &TcpStream,
    bytes: &[u8],
) -> io::Result<()> {
    write_all(client, bytes.to_vec(), |taken| worker.written(flow, taken)).await?;
    shutdown_subscriber(flow, client)
}

/// Sends FIN to the subscriber and tells the meter so.
fn shutdown_subscriber(flow: &Rc<Flow>, client: &TcpStream) -> io::Result<()> {
    socket::shutdown_write(client)?;
    if let Some(subscriber) = &mut flow.state.borrow_mut().subscriber {
        subscriber.set_finished();
    }
    Ok(())
}

/// Waits until the subscriber has acknowledged everything with FIN, at most `finish_deadline`, so that the last reading
/// of the meter is exact (decision 13).
pub async fn finish(worker: &Rc<Worker>, flow: &Rc<Flow>, client: &TcpStream) {
    if !worker.is_delivered(flow) {
        // In a box of its own: most flows do not come here, and an idle one keeps no room for it.
        Box::pin(await_delivery(worker, flow, client)).await;
    }
}

/// Waits for it: there is no event for an acknowledgement, so the queue is read in growing pauses.
async fn await_delivery(worker: &Rc<Worker>, flow: &Rc<Flow>, client: &TcpStream) {
    let deadline = Instant::now().checked_add(worker.shared.limits.finish_deadline);
    let mut pause = FINISH_POLL_MIN;
    loop {
        if deadline.is_none_or(|deadline| Instant::now() >= deadline) {
            tracing::debug!(flow = flow.id, "closed before the last acknowledgement");
            return;
        }
        if !matches!(client.take_error(), Ok(None)) {
            // Reset: what was not acknowledged never will be.
            return;
        }
        sleep(pause).await;
        if worker.is_delivered(flow) {
            return;
        }
        pause = pause.saturating_mul(2).min(FINISH_POLL_MAX);
    }
}

/// Writes all of `bytes`, waiting where the socket makes us wait; `taken` hears of every part.
pub(in crate::net) async fn write_all(
    stream: &TcpStream,
    bytes: Vec<u8>,
    taken: impl Fn(usize),
) -> io::Result<()> {
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        stream.writable().await?;
        let count = write_ready(stream, rest, Manner::Ordinary)?;
        taken(count);
        rest = rest.get(count..).unwrap_or_default();
    }
    Ok(())
}

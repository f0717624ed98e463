//! Moves bytes between subscriber and origin: tee, never gate (DESIGN decision 3).
//!
//! Every byte is passed on as it was read; the reader of names gets a look at the same buffer. A flow holds no buffer
//! while it is idle: both directions read into the worker's one buffer and hand it on at once; only what the other side
//! does not take waits in a vector of the flow's own, and then nothing more is read.
//!
//! A full buffer says that more is on its way: then what the reader of names no longer wants moves inside the kernel (see
//! [`super::splice`]), until the sender has less to say. Small messages are copied: two system calls either way.
//!
//! FIN is passed on for each direction by itself; a reset or an error ends both, and the other side is reset too. What an
//! origin sent before its reset is delivered first: a server that refuses an upload answers and closes.

use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::flow_record::Flow;
use super::socket;
use super::splice::Taken;
use super::worker::Worker;

/// The first pause between two readings of the last acknowledgement; each next one is twice as long.
const FINISH_POLL_MIN: Duration = Duration::from_millis(1);
/// The longest such pause.
const FINISH_POLL_MAX: Duration = Duration::from_millis(200);
/// A sender that has less than this between two pauses is copied again: looking for a pipe would cost more.
const BULK_BYTES_MIN: usize = 16 * 1024;

/// Carries the flow until both sides have finished, one has failed, or the worker cuts it.
/// `first` are bytes already received from the subscriber and counted.
pub async fn carry(
    worker: &Rc<Worker>,
    flow: &Rc<Flow>,
    client: &TcpStream,
    origin: TcpStream,
    first: Vec<u8>,
) {
    let origin = Rc::new(origin);
    worker.mark_origin(flow, &origin);
    let outcome = tokio::select! {
        outcome = both(worker, flow, client, &origin, first) => outcome,
        () = flow.cut.notified() => Err(Failed::Neither),
    };
    match outcome {
        Ok(()) => {
            drop(origin);
            Box::pin(finish(worker, flow, client)).await;
        }
        Err(failed) => {
            // The one that failed is gone; the other learns it as it would without us.
            let _ = socket::reset_on_close(&*origin);
            drop(origin);
            match failed {
                Failed::Subscriber => {}
                // What was sent last may be on its way: acknowledged, it is counted.
                Failed::Origin | Failed::Neither => Box::pin(finish(worker, flow, client)).await,
            }
            let _ = socket::reset_on_close(client);
        }
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

/// Both directions until each has seen its FIN, or one side has failed.
async fn both(
    worker: &Rc<Worker>,
    flow: &Rc<Flow>,
    client: &TcpStream,
    origin: &TcpStream,
    first: Vec<u8>,
) -> Result<(), Failed> {
    let mut up = pin!(up(worker, flow, client, origin, first));
    let mut down = pin!(down(worker, flow, client, origin));
    tokio::select! {
        outcome = &mut up => match outcome {
            Ok(()) => {
                socket::shutdown_write(origin).map_err(Failed::origin)?;
                down.await
            }
            Err(Failed::Subscriber) => Err(Failed::Subscriber),
            // It takes nothing more, but what it sent before may still be read.
            Err(Failed::Origin | Failed::Neither) => down.await.and(Err(Failed::Origin)),
        },
        outcome = &mut down => {
            outcome?;
            // The origin has said all it had to say: closing its socket sends the subscriber's FIN on.
            up.await
        }
    }
}

/// Subscriber → origin.
async fn up(
    worker: &Rc<Worker>,
    flow: &Rc<Flow>,
    client: &TcpStream,
    origin: &TcpStream,
    first: Vec<u8>,
) -> Result<(), Failed> {
    if !first.is_empty() {
        Box::pin(write_all(origin, first, |_| ())).await.map_err(Failed::origin)?;
    }
    let mut bulk = false;
    loop {
        tokio::task::consume_budget().await;
        client.readable().await.map_err(Failed::subscriber)?;
        if bulk
            && !flow.is_observed()
            && let Some(pipe) = worker.pipes.take()
        {
            let way =
                Way { from: client, to: origin, from_failed: Failed::subscriber, to_failed: Failed::origin };
            let received = |count| worker.received_unread(flow, count);
            // In a box of its own: an idle flow keeps no room for it.
            match Box::pin(move_bulk(&way, pipe, received, |_| ())).await? {
                Moved::Ended => break,
                Moved::Paused { bytes } => bulk = bytes >= BULK_BYTES_MIN,
            }
            continue;
        }
        let rest = {
            let mut buffer = worker.buffer.borrow_mut();
            let Some(count) = read_ready(client, &mut buffer).map_err(Failed::subscriber)? else { continue };
            bulk = count == buffer.len();
            let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
            worker.received(flow, bytes);
            let taken = write_ready(origin, bytes).map_err(Failed::origin)?;
            bytes.get(taken..).unwrap_or_default().to_vec()
        };
        if !rest.is_empty() {
            Box::pin(write_all(origin, rest, |_| ())).await.map_err(Failed::origin)?;
        }
    }
    worker.subscriber_finished(flow);
    Ok(())
}

/// Origin → subscriber.
async fn down(
    worker: &Rc<Worker>,
    flow: &Rc<Flow>,
    client: &TcpStream,
    origin: &TcpStream,
) -> Result<(), Failed> {
    let mut bulk = false;
    loop {
        tokio::task::consume_budget().await;
        origin.readable().await.map_err(Failed::origin)?;
        if bulk && let Some(pipe) = worker.pipes.take() {
            let way =
                Way { from: origin, to: client, from_failed: Failed::origin, to_failed: Failed::subscriber };
            let sent = |count| {
                worker.written(flow, count);
                worker.count_spliced(count);
            };
            match Box::pin(move_bulk(&way, pipe, |_| (), sent)).await? {
                Moved::Ended => break,
                Moved::Paused { bytes } => bulk = bytes >= BULK_BYTES_MIN,
            }
            continue;
        }
        let rest = {
            let mut buffer = worker.buffer.borrow_mut();
            let Some(count) = read_ready(origin, &mut buffer).map_err(Failed::origin)? else { continue };
            bulk = count == buffer.len();
            let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
            let taken = write_ready(client, bytes).map_err(Failed::subscriber)?;
            worker.written(flow, taken);
            bytes.get(taken..).unwrap_or_default().to_vec()
        };
        if !rest.is_empty() {
            let taken = |taken| worker.written(flow, taken);
            Box::pin(write_all(client, rest, taken)).await.map_err(Failed::subscriber)?;
        }
    }
    shutdown_subscriber(flow, client).map_err(Failed::subscriber)
}

/// Why bytes no longer move inside the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moved {
    /// The sender pauses.
    Paused {
        /// What it had said since the pause before.
        bytes: usize,
    },
    /// The sender has sent FIN.
    Ended,
}

/// One direction inside the kernel.
struct Way<'s> {
    from: &'s TcpStream,
    to: &'s TcpStream,
    /// Whose fault an error of `from` is.
    from_failed: fn(io::Error) -> Failed,
    /// Whose fault an error of `to` is.
    to_failed: fn(io::Error) -> Failed,
}

/// Moves bytes along `way` until its sender pauses; `received` hears of each part that came, `sent` of each that went.
async fn move_bulk(
    way: &Way<'_>,
    mut pipe: Taken,
    received: impl Fn(usize),
    sent: impl Fn(usize),
) -> Result<Moved, Failed> {
    let mut bytes: usize = 0;
    loop {
        tokio::task::consume_budget().await;
        match pipe.fill(way.from).map_err(way.from_failed)? {
            None => return Ok(Moved::Paused { bytes }),
            Some(0) => return Ok(Moved::Ended),
            Some(count) => {
                received(count);
                bytes = bytes.saturating_add(count);
            }
        }
        pipe.drain(way.to, &sent).await.map_err(way.to_failed)?;
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
/// of the meter is exact (DESIGN decision 13). There is no event for an acknowledgement: the queue is read in growing
/// pauses.
pub async fn finish(worker: &Rc<Worker>, flow: &Rc<Flow>, client: &TcpStream) {
    let deadline = Instant::now().checked_add(worker.shared.limits.finish_deadline);
    let mut pause = FINISH_POLL_MIN;
    while socket::unacknowledged(client).is_ok_and(|waiting| waiting > 0) {
        if deadline.is_none_or(|deadline| Instant::now() >= deadline) {
            tracing::debug!(flow = flow.id, "closed before the last acknowledgement");
            return;
        }
        if !matches!(client.take_error(), Ok(None)) {
            // Reset: what was not acknowledged never will be.
            return;
        }
        sleep(pause).await;
        pause = pause.saturating_mul(2).min(FINISH_POLL_MAX);
    }
}

/// Reads what is there; none when the readiness was spurious.
fn read_ready(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    match stream.try_read(buffer) {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes what the socket takes at once.
fn write_ready(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match stream.try_write(bytes) {
        Ok(taken) => Ok(taken),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        Err(error) => Err(error),
    }
}

/// Writes all of `bytes`, waiting where the socket makes us wait; `taken` hears of every part.
async fn write_all(stream: &TcpStream, bytes: Vec<u8>, taken: impl Fn(usize)) -> io::Result<()> {
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        stream.writable().await?;
        let count = write_ready(stream, rest)?;
        taken(count);
        rest = rest.get(count..).unwrap_or_default();
    }
    Ok(())
}

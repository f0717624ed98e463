//! A connection to where a subscriber was going, who has an open connection with us and waits for the answer.
//!
//! He waits as long as he likes, as he would without us, and so do we (`upstream.original_connect_timeout`, and a shorter one
//! where he has another way): until he has gone, or others need the place. Where it is known that the destination does not
//! answer, one try is enough. What is found is noted for those who come next ([`crate::net::edge::silence`]).

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::dial::failure_of;
use crate::flow::address::meanings;
use crate::flow::silence::Failure;
use crate::net::edge::silence::Round;
use crate::net::node::worker::{OpenFlow, Worker};
use crate::net::sys::socket;
use crate::net::tcp::stream::TcpStream;

/// A destination that has said nothing for so long counts as silent: three SYNs, at 0, 1 and 3 s, and a round trip.
const SILENT_AFTER: Duration = Duration::from_secs(4);
/// How often it is looked whether the subscriber is still there, once that is so.
const LOOK: Duration = Duration::from_millis(500);

/// Who waits for what.
#[derive(Clone, Copy)]
pub struct Waiting<'f> {
    /// Whose flow it is.
    pub worker: &'f Rc<Worker>,
    /// The flow.
    pub open: &'f OpenFlow,
    /// The subscriber's connection, or his balancer's.
    pub client: &'f TcpStream,
    /// Where he was going.
    pub destination: SocketAddr,
}

/// Why there is no connection.
#[derive(Debug)]
pub enum NotReached {
    /// The system's word, or ours: no answer in time, or nobody waits for one.
    Failed(io::Error),
    /// Others need the place.
    Cut,
}

/// Waits for `connecting`, as long as the subscriber does.
///
/// # Errors
/// As it says.
pub async fn reach(
    ends: Waiting<'_>,
    connecting: impl Future<Output = io::Result<TcpStream>>,
) -> Result<TcpStream, NotReached> {
    if ends.open.flow().cut.is_asked() {
        return Err(NotReached::Cut);
    }
    let limits = &ends.worker.shared.limits;
    let limit = ends.patience();
    let limit = if ends.is_known_silent() { limit.min(limits.connect_timeout) } else { limit };
    let mut connecting = pin!(connecting);
    if let Ok(outcome) = timeout(limit.min(SILENT_AFTER), &mut connecting).await {
        return ends.judge(outcome).await;
    }
    let round = ends.note(Failure::Silent);
    let begun = Instant::now();
    let mut left = limit.saturating_sub(SILENT_AFTER);
    while begun.elapsed() < left {
        tokio::select! {
            biased;
            outcome = &mut connecting => return ends.judge(outcome).await,
            () = poll_fn(|context| ends.open.flow().cut.poll_asked(context)) => return Err(NotReached::Cut),
            () = sleep(LOOK.min(left)) => {}
        }
        if !matches!(ends.client.take_error(), Ok(None)) {
            return Err(NotReached::Failed(io::ErrorKind::ConnectionReset.into()));
        }
        // He has said all he had to say, or is gone: which of both shows when he is answered.
        if socket::stream_state(ends.client).is_ok_and(|state| state.may_have_received_fin) {
            left = left.min(begun.elapsed().saturating_add(limits.connect_timeout));
        }
    }
    ends.worker.shared.silences.told(round).await;
    Err(NotReached::Failed(io::ErrorKind::TimedOut.into()))
}

impl Waiting<'_> {
    /// How long the subscriber may be waited for. One who goes to an IPv6 address has IPv4 beside it, if his client could not
    /// take our answer for the destination's: reset, it begins anew and finds what lives.
    fn patience(&self) -> Duration {
        let shared = &self.worker.shared;
        if meanings(self.destination.ip(), &shared.dial.nat64).any(|meaning| meaning.is_ipv4()) {
            shared.limits.original_connect_timeout
        } else {
            shared.limits.original_connect_timeout_ipv6
        }
    }

    /// Whether the destination is known not to answer.
    fn is_known_silent(&self) -> bool {
        let shared = &self.worker.shared;
        shared.silences.is_silent_for(self.open.flow().source, self.destination, shared.clock.monotonic())
    }

    /// Notes what came of it; a failure is passed on when the kernel knows of it, so that the client's next try passes by.
    async fn judge(&self, outcome: io::Result<TcpStream>) -> Result<TcpStream, NotReached> {
        match &outcome {
            Ok(_) => self.worker.shared.silences.note_answer(self.open.flow().source, self.destination),
            Err(error) => {
                if let Some(failure) = failure_of(error) {
                    self.worker.shared.silences.told(self.note(failure)).await;
                }
            }
        }
        outcome.map_err(NotReached::Failed)
    }

    /// Notes that the destination did not answer.
    fn note(&self, failure: Failure) -> Round {
        let shared = &self.worker.shared;
        let (subscriber, source) = (self.open.subscriber(), self.open.flow().source);
        let now = shared.clock.monotonic();
        shared.silences.note_failure(subscriber, source, self.destination, failure, now)
    }
}

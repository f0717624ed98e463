//! dnstap: what the operator's own resolvers tell of their answers, over a Unix socket (Frame Streams, bidirectional).
//!
//! Their word is taken like that of our own upstream: whoever may write to the socket is trusted, so its owner and its group
//! alone may ([`crate::net::ingress::local`]). A frame that breaks its format ends its connection and nothing else.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Plane;
use super::count::{Dnstap, Event};
use crate::flow::session::SubscriberKey;
use crate::net::ingress::local::{LocalPlace, Standing};
use crate::net::node::shared::Shared;
use crate::wire::dns::{self, Outcome};
use crate::wire::dnstap::{CONTROL_BYTES_MAX, Control, FRAME_BYTES_MAX, control, control_frame, observed};

/// Time for the handshake, and for the rest of a frame that has begun.
const FRAME_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after an error of accept(2).
const BACK_OFF: Duration = Duration::from_secs(1);

/// Binds the socket.
///
/// # Errors
/// As [`LocalPlace::listen`].
pub fn bind(place: &LocalPlace, standing: Standing) -> io::Result<UnixListener> {
    UnixListener::from_std(place.listen(standing)?)
}

/// Takes connections until the process ends, or another one has the socket's place: then theirs end too, and resolvers
/// connect again.
pub async fn serve(listener: UnixListener, shared: Arc<Shared>, plane: Arc<Plane>) {
    let mut connections = JoinSet::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a dnstap connection");
                sleep(BACK_OFF).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        if connections.len() >= plane.settings.dnstap_connections_max {
            plane.counts.count(Event::Dnstap(Dnstap::Connection));
            continue;
        }
        let (shared, plane) = (Arc::clone(&shared), Arc::clone(&plane));
        connections.spawn(async move {
            if let Err(error) = listen(stream, &shared, &plane).await {
                if error.kind() == io::ErrorKind::InvalidData {
                    plane.counts.count(Event::Dnstap(Dnstap::Malformed));
                    tracing::warn!(%error, "a dnstap connection was ended");
                } else {
                    tracing::debug!(%error, "a dnstap connection ended");
                }
            }
        });
    }
}

/// One frame of the stream.
enum Frame {
    Control(Control, bool),
    Data(Vec<u8>),
}

/// Shakes hands, then learns from data until the sender stops.
async fn listen(mut stream: UnixStream, shared: &Shared, plane: &Plane) -> io::Result<()> {
    match timeout(FRAME_TIMEOUT, read(&mut stream)).await?? {
        Frame::Control(Control::Ready, true) => stream.write_all(&control_frame(Control::Accept)).await?,
        Frame::Control(..) | Frame::Data(_) => return Err(broken("no READY for dnstap")),
    }
    match timeout(FRAME_TIMEOUT, read(&mut stream)).await?? {
        Frame::Control(Control::Start, true) => {}
        Frame::Control(..) | Frame::Data(_) => return Err(broken("no START of dnstap")),
    }
    loop {
        // Between two frames a resolver may be silent for as long as it likes.
        match read(&mut stream).await? {
            Frame::Data(payload) => learn(&payload, shared, plane)?,
            Frame::Control(Control::Stop, _) => {
                return stream.write_all(&control_frame(Control::Finish)).await;
            }
            Frame::Control(..) => return Err(broken("control frame out of turn")),
        }
    }
}

/// Reads one frame.
async fn read(stream: &mut UnixStream) -> io::Result<Frame> {
    let length = stream.read_u32().await?;
    let body = async {
        if length == 0 {
            let length = stream.read_u32().await?;
            let payload = read_body(stream, length, CONTROL_BYTES_MAX).await?;
            let (kind, ours) = control(&payload).map_err(|error| broken(error.field))?;
            return Ok(Frame::Control(kind, ours));
        }
        Ok(Frame::Data(read_body(stream, length, FRAME_BYTES_MAX).await?))
    };
    timeout(FRAME_TIMEOUT, body).await?
}

/// Reads a payload of a length that a limit permits.
async fn read_body(stream: &mut UnixStream, length: u32, bytes_max: usize) -> io::Result<Vec<u8>> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > bytes_max {
        return Err(broken("frame length"));
    }
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await?;
    Ok(payload)
}

/// Learns from one data frame.
fn learn(payload: &[u8], shared: &Shared, plane: &Plane) -> io::Result<()> {
    let Some(told) = observed(payload).map_err(|error| broken(error.field))? else {
        plane.counts.count(Event::Dnstap(Dnstap::Ignored));
        return Ok(());
    };
    let subscriber = told.client.and_then(|client| Some((client, shared.sessions.find(client)?.session)));
    // Whatever the answer is: it is the other end of a tunnel that writes it. Who is no subscriber may ask for many.
    if let (Some((client, session)), Ok(question)) = (&subscriber, dns::question(&told.response)) {
        let source = plane.sources.of(*client, Some(session));
        plane.look_for_tunnel(source, *client, &question, shared.clock.monotonic());
    }
    match dns::answer(&told.response, &plane.answer_limits) {
        Outcome::Answer(facts) => {
            let subscriber = subscriber.map(|(_, session)| SubscriberKey::Session(session));
            plane.learn(shared, &facts, subscriber.as_ref());
            plane.counts.count(Event::Dnstap(Dnstap::Answer));
        }
        // A resolver may well tell of answers that we do not read.
        Outcome::NotAnAnswer | Outcome::Oversize | Outcome::Malformed { .. } => {
            plane.counts.count(Event::Dnstap(Dnstap::Ignored));
        }
    }
    Ok(())
}

/// An error that says what broke the format.
fn broken(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

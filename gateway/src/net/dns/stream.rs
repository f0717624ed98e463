//! The clients' connections, over TCP (RFC 7766) and TLS (RFC 7858): several queries at once, answers as they come, and a
//! limit on everything that a client may keep open.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;

use super::count::{Event, Refused, Transport};
use super::lane::connection::push_framed;
use super::limit::ConnectionPlace;
use super::pending::{Asker, Backlog};
use super::relay::{Relay, Taken};

/// Queries of one connection that are read and whose answers are not written yet: with more, no other is read.
const ANSWERS_MAX: usize = 128;
/// Time without a query after which a connection that has had as many as it may ends, when all are answered. What a client
/// has sent before it could know is answered so, and a client that asks again as soon as it has an answer goes on.
const REST: Duration = Duration::from_millis(200);
/// Shortest wait for a turn: then several may have come.
const TURN_PAUSE_MIN: Duration = Duration::from_millis(20);
/// Pause after an error of accept(2).
const BACK_OFF: Duration = Duration::from_millis(200);
/// Answers are written together up to so many bytes.
const BATCH_BYTES: usize = 32 << 10;
/// Bytes that are read and thrown away behind a connection's last query.
const DISCARDED_BYTES_MAX: usize = 64 << 10;
/// Bytes thrown away at once.
const DISCARDED_AT_ONCE: usize = 4 << 10;

/// Accepts until the worker ends.
pub(super) async fn serve(relay: Rc<Relay>, listener: TcpListener, transport: Transport) {
    loop {
        match listener.accept().await {
            Ok((stream, client)) => start(&relay, stream, client, transport),
            Err(error) => {
                tracing::debug!(%error, "cannot accept a DNS connection");
                sleep(BACK_OFF).await;
            }
        }
    }
}

/// Gives the connection a task of its own, if there is room for it.
fn start(relay: &Rc<Relay>, stream: TcpStream, client: SocketAddr, transport: Transport) {
    // Before the limits: whoever may not ask takes no room from those who may.
    let holding = relay.shared.sessions.find_at(client.ip(), Some(client.port()));
    let subscriber = holding.as_ref().map(|holding| &holding.session);
    if !relay.is_welcome(client.ip().to_canonical(), subscriber) {
        relay.count(Event::Refused(Refused::Client));
        return;
    }
    let tls = match transport {
        Transport::Udp | Transport::Tcp => None,
        Transport::Tls => {
            // That there is no certificate is the node's fault, which it tells; the client may ask in clear.
            let Some(config) = relay.plane.tls.load_full() else { return };
            Some(TlsAcceptor::from(config))
        }
    };
    let limits = relay.plane.settings.connections;
    let place = relay.plane.connections.take(
        relay.plane.sources.of(client.ip(), subscriber),
        limits.connections_max,
        limits.connections_per_client_max,
    );
    let Some(place) = place else {
        relay.count(Event::Refused(Refused::Connection));
        return;
    };
    // A refinement: without it answers may wait for one another.
    let _ = stream.set_nodelay(true);
    let relay = Rc::clone(relay);
    tokio::task::spawn_local(async move {
        let ended = match tls {
            None => converse(&relay, stream, client, transport, place).await,
            Some(acceptor) => match timeout(limits.first_byte_timeout, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => converse(&relay, stream, client, transport, place).await,
                Ok(Err(error)) => Err(error),
                Err(late) => Err(late.into()),
            },
        };
        if let Err(error) = ended {
            tracing::trace!(%error, "a DNS connection ended");
        }
    });
}

/// Why no more queries are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The client has had as many as a connection has, or more, and rests.
    Limit,
    /// It is done, silent, or not to be answered.
    Client,
}

/// Reads queries and writes answers until the client is done, idle or over its limits.
async fn converse(
    relay: &Rc<Relay>,
    stream: impl AsyncRead + AsyncWrite,
    client: SocketAddr,
    transport: Transport,
    _place: ConnectionPlace,
) -> io::Result<()> {
    let (mut from, to) = tokio::io::split(stream);
    let (answers, queue) = mpsc::channel::<Vec<u8>>(ANSWERS_MAX);
    let limits = relay.plane.settings.connections;
    let backlog = Rc::new(Backlog::default());
    let queries = Queries { relay, client, transport, backlog: Rc::clone(&backlog), answers };
    let end = {
        let read = queries.read(&mut from);
        let write = write_answers(to, queue, backlog, limits.idle_timeout);
        tokio::pin!(read, write);
        tokio::select! {
            end = &mut read => {
                write.await?;
                end
            }
            ended = &mut write => return ended,
        }
    };
    match end {
        // Closed with bytes unread, the connection is reset (RFC 2525 §2.17), and the client may lose its last answers.
        End::Limit => timeout(limits.first_byte_timeout, discard(&mut from)).await?,
        End::Client => Ok(()),
    }
}

/// What is asked on one connection.
struct Queries<'r> {
    relay: &'r Rc<Relay>,
    client: SocketAddr,
    transport: Transport,
    /// What waits to be written.
    backlog: Rc<Backlog>,
    /// Where answers go. When this is dropped, and every query under way with it, all of them are written.
    answers: mpsc::Sender<Vec<u8>>,
}

impl Queries<'_> {
    /// Reads queries, and has each answered, until no more is read.
    async fn read(self, from: &mut (impl AsyncRead + Unpin)) -> End {
        let limits = self.relay.plane.settings.connections;
        let mut query = Vec::new();
        let mut wait = limits.first_byte_timeout;
        let mut left = limits.queries_per_connection_max;
        loop {
            // Before it is read: what is read is answered.
            let Ok(room) = self.answers.clone().reserve_owned().await else { return End::Client };
            if !self.backlog.may_read().await {
                return End::Client;
            }
            let first = match timeout(wait, from.read_u8()).await {
                Ok(Ok(first)) => first,
                Ok(Err(_)) => return End::Client,
                Err(_) if left > 0 => return End::Client,
                Err(_) => {
                    drop(room);
                    if self.answers.capacity() == ANSWERS_MAX {
                        return End::Limit;
                    }
                    continue;
                }
            };
            let deadline = Instant::now() + limits.first_byte_timeout;
            let rest = timeout_at(deadline, read_rest(from, first, &mut query)).await;
            if !matches!(rest, Ok(Ok(()))) {
                return End::Client;
            }
            match self.ask(&query, room).await {
                Taken::Answered => {}
                Taken::Dropped => return End::Client,
            }
            left = left.saturating_sub(1);
            wait = if left > 0 { limits.idle_timeout } else { REST.min(limits.idle_timeout) };
        }
    }

    /// Asks a query when it is the client's turn. Nothing is read meanwhile: the client is slowed down, and loses nothing.
    async fn ask(&self, query: &[u8], room: mpsc::OwnedPermit<Vec<u8>>) -> Taken {
        while let Err(pause) = self.relay.take_turn(self.client) {
            sleep(pause.max(TURN_PAUSE_MIN)).await;
        }
        let asker = Asker::Connection(Cell::new(Some(room)), Rc::clone(&self.backlog));
        self.relay.ask(query, self.client, self.transport, asker)
    }
}

/// Writes answers as they come, several together, until no more can come; each within `limit`.
async fn write_answers(
    mut to: impl AsyncWrite + Unpin,
    mut queue: mpsc::Receiver<Vec<u8>>,
    backlog: Rc<Backlog>,
    limit: Duration,
) -> io::Result<()> {
    let mut batch = Vec::new();
    while let Some(answer) = queue.recv().await {
        batch.clear();
        let mut bytes = answer.len();
        push_framed(&mut batch, &answer);
        // Not all of them: what is taken here makes room for as much again.
        while batch.len() < BATCH_BYTES
            && let Ok(answer) = queue.try_recv()
        {
            bytes = bytes.saturating_add(answer.len());
            push_framed(&mut batch, &answer);
        }
        timeout(limit, to.write_all(&batch)).await??;
        timeout(limit, to.flush()).await??;
        batch.shrink_to(BATCH_BYTES);
        backlog.written(bytes);
    }
    timeout(limit, to.shutdown()).await?
}

/// Reads to the end, or to a limit, and keeps nothing.
async fn discard(from: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let mut part = vec![0; DISCARDED_AT_ONCE];
    let mut left = DISCARDED_BYTES_MAX;
    while left > 0 {
        let count = from.read(&mut part).await?;
        if count == 0 {
            break;
        }
        left = left.saturating_sub(count);
    }
    Ok(())
}

/// Reads the rest of a query whose first byte is there.
async fn read_rest(from: &mut (impl AsyncRead + Unpin), first: u8, query: &mut Vec<u8>) -> io::Result<()> {
    let length = usize::from(u16::from_be_bytes([first, from.read_u8().await?]));
    query.resize(length, 0);
    from.read_exact(query).await.map(|_| ())
}

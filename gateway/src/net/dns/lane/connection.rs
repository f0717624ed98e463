//! Connections to servers: their bytes, and the frames in them (RFC 1035 §4.2.2).

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{IDLE, Lane};
use crate::net::dns::relay::Relay;
use crate::net::dns::settings::Server;

/// Anything that carries bytes both ways.
pub(in crate::net::dns) trait Carrier: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Carrier for T {}

/// Connects, writes queries, reads replies; ends on any error, when idle, and when the server is silent.
pub(super) async fn converse(
    relay: &Rc<Relay>,
    lane: &Rc<Lane>,
    server: &Server,
    mut queue: mpsc::Receiver<Vec<u8>>,
    limit: Duration,
) -> io::Result<()> {
    let carrier = timeout(limit, connect(server)).await??;
    lane.is_open.set(true);
    let (mut from, mut to) = tokio::io::split(carrier);
    let write = async {
        let mut batch = Vec::new();
        while let Some(query) = queue.recv().await {
            batch.clear();
            push_framed(&mut batch, &query);
            while let Ok(query) = queue.try_recv() {
                push_framed(&mut batch, &query);
            }
            timeout(limit, to.write_all(&batch)).await??;
            timeout(limit, to.flush()).await??;
        }
        io::Result::Ok(())
    };
    let read = async {
        let mut reply = Vec::new();
        loop {
            timeout(IDLE, read_framed(&mut from, &mut reply)).await??;
            relay.replied(lane, &mut reply);
        }
    };
    tokio::select! {
        ended = write => ended,
        ended = read => ended,
    }
}

/// A connection to the server, with TLS where it is asked so.
pub(in crate::net::dns) async fn connect(server: &Server) -> io::Result<Box<dyn Carrier>> {
    let stream = TcpStream::connect(server.address).await?;
    stream.set_nodelay(true)?;
    match &server.tls {
        None => Ok(Box::new(stream)),
        Some((name, config)) => {
            let connector = TlsConnector::from(Arc::clone(config));
            Ok(Box::new(connector.connect(name.clone(), stream).await?))
        }
    }
}

/// Adds a message with its length in front (RFC 1035 §4.2.2).
pub(in crate::net::dns) fn push_framed(bytes: &mut Vec<u8>, message: &[u8]) {
    // Longer ones are never made: clients' are read by their 16-bit length, ours are short.
    if let Ok(length) = u16::try_from(message.len()) {
        bytes.extend(length.to_be_bytes());
        bytes.extend(message);
    }
}

/// Reads a message behind its length.
pub(in crate::net::dns) async fn read_framed(
    from: &mut (impl AsyncRead + Unpin),
    message: &mut Vec<u8>,
) -> io::Result<()> {
    let length = usize::from(from.read_u16().await?);
    message.resize(length, 0);
    from.read_exact(message).await.map(|_| ())
}

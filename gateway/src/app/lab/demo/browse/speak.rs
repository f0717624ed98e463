//! One flow's conversation: it connects, asks, and reads to the end. What comes back must be what had to come.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::AlertDescription;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::OwnedSemaphorePermit;

use super::Network;
use super::proxy::{binary_proxy_header, proxy_header};
use crate::app::lab::demo::counting::{Counting, Counts};
use crate::app::lab::demo::world::{BALANCER, Expected, Flow, Protocol, Via};

/// Bytes read at a time.
const CHUNK_BYTES: usize = 16 * 1024;
/// Longest head of an answer.
const HEAD_BYTES_MAX: usize = 1_024;

/// Connects and speaks as the flow says; an error if what came back is not what had to come.
pub(super) async fn converse(
    network: &Network,
    flow: &Flow,
    counts: Arc<Counts>,
    turn: OwnedSemaphorePermit,
) -> io::Result<()> {
    let refused = matches!(flow.visit.expected, Expected::Refused(_));
    let status = if refused { 421 } else { 200 };
    match flow.visit.protocol {
        Protocol::Quic => {
            let (from, to) = ends(network, flow);
            let header = match flow.visit.via {
                Via::Steered => Vec::new(),
                Via::Proxied => binary_proxy_header(flow),
            };
            network.http3.converse(flow, (from, to), header, counts, turn).await
        }
        Protocol::Http => {
            let mut stream = connect(network, flow, counts).await?;
            exchange(&mut stream, flow, status).await?;
            stream.shutdown().await
        }
        Protocol::Tls => {
            let stream = connect(network, flow, counts).await?;
            let handshake = network.connector.connect(server_name(flow)?, stream).into_fallible().await;
            match handshake {
                Ok(_) if refused => Err(unexpected("found a handshake, wanted the alert unrecognized_name")),
                Ok(mut stream) => {
                    exchange(&mut stream, flow, status).await?;
                    expect_end(stream.get_mut().0).await?;
                    stream.shutdown().await
                }
                Err((error, mut stream)) if refused && is_unrecognized_name(&error) => {
                    expect_end(&mut stream).await?;
                    stream.shutdown().await
                }
                Err((error, _)) => Err(error),
            }
        }
    }
}

/// Where a flow comes from and which listener it goes to: from the subscriber's address, or from the balancer's with a
/// header that names the subscriber.
fn ends(network: &Network, flow: &Flow) -> (SocketAddr, SocketAddr) {
    let (from, to): (IpAddr, _) = match flow.visit.via {
        Via::Steered => ((*flow.source.ip()).into(), network.steered),
        Via::Proxied => (BALANCER.into(), network.proxied),
    };
    (SocketAddr::new(from, 0), to)
}

/// Connects a TCP flow. A PROXY header is the balancer's: it is written before counting begins.
async fn connect(network: &Network, flow: &Flow, counts: Arc<Counts>) -> io::Result<Counting<TcpStream>> {
    let (from, to) = ends(network, flow);
    let socket = TcpSocket::new_v4()?;
    socket.set_nodelay(true)?;
    socket.bind(from)?;
    let mut stream = socket.connect(to).await?;
    match flow.visit.via {
        Via::Steered => {}
        Via::Proxied => stream.write_all(&proxy_header(flow)).await?,
    }
    Ok(Counting::new(stream, counts))
}

/// What a TLS client asks for: a name in SNI, or an address, for which there is no SNI (RFC 6066 §3).
fn server_name(flow: &Flow) -> io::Result<ServerName<'static>> {
    match flow.visit.name {
        Some(name) => ServerName::try_from(name).map_err(io::Error::other),
        None => Ok(ServerName::from(IpAddr::V4(flow.visit.destination.0))),
    }
}

/// Asks for `down_bytes`, sends `up_bytes`, and reads to the end.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    flow: &Flow,
    status: u16,
) -> io::Result<()> {
    let host = flow.visit.name.map_or_else(|| flow.visit.destination.0.to_string(), str::to_owned);
    let (up, down) = (flow.up_bytes, flow.down_bytes);
    let request = if up > 0 {
        format!("POST /{down} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {up}\r\nConnection: close\r\n\r\n")
    } else {
        format!("GET /{down} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
    };
    stream.write_all(request.as_bytes()).await?;
    tokio::io::copy(&mut tokio::io::repeat(b'u').take(up), stream).await?;
    stream.flush().await?;
    let (head, body) = read_answer(stream).await?;
    let wanted = format!("HTTP/1.1 {status} ");
    if !head.starts_with(wanted.as_bytes()) {
        let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
        return Err(unexpected(&format!("found {:?}, wanted {wanted:?}", String::from_utf8_lossy(line))));
    }
    let wanted = if status == 200 { down } else { 0 };
    if body != wanted {
        return Err(unexpected(&format!("found a body of {body} bytes, wanted {wanted}")));
    }
    Ok(())
}

/// Reads an answer to the end of the stream: its head and the number of body bytes.
async fn read_answer<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<(Vec<u8>, u64)> {
    let mut head = Vec::new();
    let mut head_complete = false;
    let mut body: u64 = 0;
    let mut chunk = [0; CHUNK_BYTES];
    loop {
        let count = stream.read(&mut chunk).await?;
        let bytes = chunk.get(..count).unwrap_or_default();
        if bytes.is_empty() && head_complete {
            return Ok((head, body));
        }
        if bytes.is_empty() || head.len() > HEAD_BYTES_MAX {
            return Err(unexpected("the answer has no complete head"));
        }
        if head_complete {
            body = body.saturating_add(bytes.len() as u64);
            continue;
        }
        head.extend_from_slice(bytes);
        if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            head_complete = true;
            let first = head.split_off(end.saturating_add(4));
            body = first.len() as u64;
        }
    }
}

/// Waits for the other side's FIN, before which nothing more may come.
async fn expect_end<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<()> {
    match stream.read(&mut [0]).await? {
        0 => Ok(()),
        _ => Err(unexpected("found bytes after the end, wanted none")),
    }
}

/// Whether the handshake was refused with the alert `unrecognized_name` (RFC 6066 §3).
fn is_unrecognized_name(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::AlertReceived(AlertDescription::UnrecognisedName)))
}

/// An answer that is not the one that had to come.
fn unexpected(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

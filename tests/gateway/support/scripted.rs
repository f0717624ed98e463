//! A server whose answers a test makes to order: over UDP, from its own socket or a stranger's, and over TCP at the same
//! port.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Binds tried for a port that is free for UDP and TCP.
const BINDS_MAX: usize = 100;
/// Pause of a flood between two bursts, so that a buffer of common size drops none of it.
const BURST_PAUSE: Duration = Duration::from_millis(1);
/// Datagrams of one burst.
const BURST: usize = 64;

/// A server of answers made to order: `script` gives the datagrams to send, from its own socket or another one.
pub fn server(script: impl FnMut(&[u8]) -> Vec<(bool, Vec<u8>)> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    serve_datagrams(socket, script);
    address
}

/// The same with TCP at the same port.
pub struct Scripted {
    pub address: SocketAddr,
    over_tcp: Arc<AtomicUsize>,
}

impl Scripted {
    /// `datagrams` as with [`server`]; `stream` gives the answer to each query over TCP.
    pub fn new(
        datagrams: impl FnMut(&[u8]) -> Vec<(bool, Vec<u8>)> + Send + 'static,
        stream: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let bound = (0..BINDS_MAX).find_map(|_| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let listener = TcpListener::bind(socket.local_addr().unwrap()).ok()?;
            Some((socket, listener))
        });
        let (socket, listener) = bound.expect("no port is free for UDP and TCP");
        let address = socket.local_addr().unwrap();
        serve_datagrams(socket, datagrams);
        let over_tcp = Arc::new(AtomicUsize::new(0));
        let (asked, stream) = (Arc::clone(&over_tcp), Arc::new(stream));
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let (asked, stream) = (Arc::clone(&asked), Arc::clone(&stream));
                std::thread::spawn(move || converse(connection.unwrap(), &asked, &*stream));
            }
        });
        Self { address, over_tcp }
    }

    /// Queries that came over TCP.
    pub fn asked_over_tcp(&self) -> usize {
        self.over_tcp.load(Ordering::Relaxed)
    }
}

/// Serves a socket until the test's process ends.
fn serve_datagrams(
    socket: UdpSocket,
    mut script: impl FnMut(&[u8]) -> Vec<(bool, Vec<u8>)> + Send + 'static,
) {
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 4_096];
        loop {
            // Whoever has closed his port answers with ICMP, which is an error of some later call.
            let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
            for (number, (own, answer)) in script(&buffer[..length]).into_iter().enumerate() {
                let sender = if own { &socket } else { &stranger };
                let _ = sender.send_to(&answer, from);
                if number % BURST == BURST - 1 {
                    std::thread::sleep(BURST_PAUSE);
                }
            }
        }
    });
}

/// Answers on one connection until it ends.
fn converse(mut connection: TcpStream, asked: &AtomicUsize, answer: &dyn Fn(&[u8]) -> Vec<u8>) {
    let mut length = [0; 2];
    while connection.read_exact(&mut length).is_ok() {
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        if connection.read_exact(&mut query).is_err() {
            return;
        }
        asked.fetch_add(1, Ordering::Relaxed);
        if connection.write_all(&framed(&answer(&query))).is_err() {
            return;
        }
    }
}

/// A message behind its length.
pub fn framed(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat()
}

/// The name that a query of [`super::ask::query`]'s shape asks for, in lower case.
pub fn name_of(query: &[u8]) -> String {
    let (mut at, mut labels) = (12, Vec::new());
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..end]).to_lowercase());
        at = end;
    }
    labels.join(".")
}

/// The answer to a query of [`super::ask::query`]'s shape with one A record.
pub fn answered(query: &[u8], address: [u8; 4]) -> Vec<u8> {
    let end = query.iter().skip(12).position(|byte| *byte == 0).unwrap() + 12 + 5;
    let mut bytes = query[..2].to_vec();
    bytes.extend([0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    bytes.extend(&query[12..end]);
    bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 0, 0, 4]);
    bytes.extend(address);
    bytes
}

/// A referral: NOERROR without an answer, and a name server of the name asked for in the authority section.
pub fn referred(query: &[u8]) -> Vec<u8> {
    let end = query.iter().skip(12).position(|byte| *byte == 0).unwrap() + 12 + 5;
    let mut bytes = query[..2].to_vec();
    bytes.extend([0x80, 0x80, 0, 1, 0, 0, 0, 1, 0, 0]);
    bytes.extend(&query[12..end]);
    bytes.extend([0xc0, 12, 0, 2, 0, 1, 0, 0, 1, 0, 0, 5, 2, b'n', b's', 0xc0, 12]);
    bytes
}

//! Our own question to a server in doubt: the name servers of the root, which every resolver knows without asking anybody.
//! Whatever it says to that, it answers. No subscriber has a hand in it.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::lane::{connect, push_framed, read_framed};
use super::relay::Relay;
use super::settings::Server;
use crate::flow::time::Monotonic;
use crate::wire::dns;

/// A query for the name servers of the root (type NS, class IN), recursion desired; its id is put in.
const QUERY: [u8; 17] = [0, 0, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1];
/// Longest answer looked at: of a longer one the beginning is enough.
const ANSWER_BYTES_MAX: usize = 512;

impl Relay {
    /// Asks every server in doubt whose turn it is; what it says decides how it stands.
    pub(super) fn probe(self: &Rc<Self>, now: Monotonic) {
        let settings = &self.plane.settings;
        for (number, (health, server)) in self.plane.health.iter().zip(&settings.servers).enumerate() {
            if !health.wants_probe(now, settings.failover_after) {
                continue;
            }
            let Some(id) = self.random.borrow_mut().u16() else { return };
            let (relay, server, limit) = (Rc::clone(self), server.clone(), settings.failover_after);
            tokio::task::spawn_local(async move {
                let answered = answers(&server, id, limit).await;
                let Some(health) = relay.plane.health.get(number) else { return };
                match answered {
                    Ok(()) => health.probe_answered(),
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => health.unreachable(),
                    Err(_) => health.probe_timed_out(),
                }
            });
        }
    }
}

/// Whether a server answers within `limit`.
async fn answers(server: &Server, id: u16, limit: Duration) -> io::Result<()> {
    let mut query = QUERY;
    if let Some(place) = query.get_mut(..2) {
        place.copy_from_slice(&id.to_be_bytes());
    }
    let asked = async {
        if server.tls.is_some() { over_tls(server, &query).await } else { in_datagrams(server, &query).await }
    };
    timeout(limit, asked).await?
}

/// Asks from a port of its own.
async fn in_datagrams(server: &Server, query: &[u8]) -> io::Result<()> {
    let any = match server.address {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server.address).await?;
    socket.send(query).await?;
    let mut answer = [0; ANSWER_BYTES_MAX];
    loop {
        let length = socket.recv(&mut answer).await?;
        if is_answer(answer.get(..length).unwrap_or_default(), query) {
            return Ok(());
        }
    }
}

/// Asks over a connection of its own.
async fn over_tls(server: &Server, query: &[u8]) -> io::Result<()> {
    let mut carrier = connect(server).await?;
    let mut framed = Vec::new();
    push_framed(&mut framed, query);
    carrier.write_all(&framed).await?;
    carrier.flush().await?;
    let mut answer = Vec::new();
    read_framed(&mut carrier, &mut answer).await?;
    if is_answer(&answer, query) { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Whether a message answers our question; one that repeats no question does (REFUSED may come so).
fn is_answer(answer: &[u8], query: &[u8]) -> bool {
    let has_id = answer.get(..2) == query.get(..2);
    let is_response = answer.get(2).is_some_and(|flags| flags & 0x80 != 0);
    let repeats = answer.get(dns::HEADER_BYTES..query.len()) == query.get(dns::HEADER_BYTES..);
    has_id && is_response && (repeats || answer.len() == dns::HEADER_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f10_only_the_answer_to_our_question_says_that_a_server_answers() {
        let mut answer = QUERY.to_vec();
        answer[2] |= 0x80;
        assert!(!is_answer(&QUERY, &QUERY), "a question is none");
        assert!(is_answer(&answer, &QUERY));
        answer.extend([0xc0, 12]);
        assert!(is_answer(&answer, &QUERY), "with records");
        assert!(is_answer(&answer[..12], &QUERY), "without a question");
        for length in (0..12).chain(13..17) {
            assert!(!is_answer(&answer[..length], &QUERY), "{length} bytes");
        }
        for changed in [0, 1, 14] {
            let mut other = answer.clone();
            other[changed] ^= 1;
            assert!(!is_answer(&other, &QUERY), "byte {changed}");
        }
        assert!(dns::question(&QUERY).is_ok_and(|question| question.kind == 2 && question.recursion_desired));
    }
}

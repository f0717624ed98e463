//! Our own questions to a server in doubt: the address of a listed name, then the name servers of the root, which a resolver
//! knows without asking anybody, and some firewalls drop. Whatever it says to one of them, it answers. No subscriber has a
//! hand in it.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::lane::connection::{connect, push_framed, read_framed};
use super::relay::Relay;
use super::settings::Server;
use crate::flow::time::Monotonic;
use crate::wire::dns;

/// Flags and counts of a query: recursion desired, one question.
const HEADER: [u8; 10] = [0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0];
/// The question for the name servers of the root: type NS, class IN.
const ROOT: [u8; 5] = [0, 0, 2, 0, 1];
/// Type A, class IN.
const ADDRESS: [u8; 4] = [0, 1, 0, 1];
/// Listed names that are asked for, of each list.
const LISTED_MAX: usize = 16;
/// Longest answer looked at: of a longer one the beginning is enough.
const ANSWER_BYTES_MAX: usize = 512;

impl Relay {
    /// A name of the list in force, one of a few by `draw`; none without a list.
    fn listed(&self, draw: u64) -> Option<dns::Name> {
        let policy = self.shared.policy.load();
        let rules = policy.list.iter().flat_map(|list| list.host_rules());
        let names = rules.filter_map(|rule| dns::Name::from_host(rule.host()?.as_bytes()));
        let names: Vec<dns::Name> = names.take(LISTED_MAX).collect();
        // The low bits are the id.
        let place = draw.wrapping_shr(16).checked_rem(u64::try_from(names.len()).ok()?)?;
        names.into_iter().nth(usize::try_from(place).ok()?)
    }

    /// Asks every server in doubt whose turn it is; what it says decides how it stands.
    pub(super) fn probe(self: &Rc<Self>, now: Monotonic) {
        let settings = &self.plane.settings;
        for (number, (health, server)) in self.plane.health.iter().zip(&settings.servers).enumerate() {
            if !health.wants_probe(now, settings.failover_after) {
                continue;
            }
            let Some(draw) = self.random.borrow_mut().u64() else { return };
            // A listed site may be down: the next question is another.
            let listed = if health.wants_root() { None } else { self.listed(draw) };
            let query = query(draw, listed.as_ref());
            let (relay, server, limit) = (Rc::clone(self), server.clone(), settings.failover_after);
            tokio::task::spawn_local(async move {
                let answered = answers(&server, &query, limit).await;
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

/// A query for a name's address, or for the name servers of the root; its id is taken from `draw`.
fn query(draw: u64, listed: Option<&dns::Name>) -> Vec<u8> {
    let [.., high, low] = draw.to_be_bytes();
    let mut query = vec![high, low];
    query.extend(HEADER);
    match listed {
        Some(name) => {
            query.extend(name.wire());
            query.extend(ADDRESS);
        }
        None => query.extend(ROOT),
    }
    query
}

/// Whether a server answers within `limit`.
async fn answers(server: &Server, query: &[u8], limit: Duration) -> io::Result<()> {
    let asked = async {
        if server.tls.is_some() { over_tls(server, query).await } else { in_datagrams(server, query).await }
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
    // In whatever letters: it is asked on a port of its own.
    let question =
        |message: &'_ [u8]| message.get(dns::HEADER_BYTES..query.len()).map(<[u8]>::to_ascii_lowercase);
    let repeats = question(answer) == question(query);
    has_id && is_response && (repeats || answer.len() == dns::HEADER_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f10_only_the_answer_to_our_question_says_that_a_server_answers() {
        let listed = dns::Name::from_host(b"listed.example").unwrap();
        for (name, kind, host) in [(None, 2, &b""[..]), (Some(&listed), dns::TYPE_A, b"listed.example")] {
            let query = query(0x1234_5678, name);
            let read = dns::question(&query).unwrap();
            assert_eq!((read.id, read.kind, read.class, read.recursion_desired), (0x5678, kind, 1, true));
            assert_eq!(read.name.host().unwrap_or_default(), host);
            let mut answer = query.clone();
            answer[2] |= 0x80;
            assert!(!is_answer(&query, &query), "a question is none");
            assert!(is_answer(&answer, &query));
            let mut capitals = answer.clone();
            capitals[dns::HEADER_BYTES..].make_ascii_uppercase();
            assert!(is_answer(&capitals, &query), "f40: in other letters");
            let length = answer.len();
            answer.extend([0xc0, 12]);
            assert!(is_answer(&answer, &query), "with records");
            assert!(is_answer(&answer[..12], &query), "without a question");
            for cut in (0..12).chain(13..length) {
                assert!(!is_answer(&answer[..cut], &query), "{cut} bytes");
            }
            for changed in [0, 1, length - 1] {
                let mut other = answer.clone();
                other[changed] ^= 1;
                assert!(!is_answer(&other, &query), "byte {changed}");
            }
        }
    }
}

//! The DNS stub of the demonstration: A records of its sites over UDP (RFC 1035 §4), with real messages.

use std::net::{IpAddr, Ipv4Addr};

use hickory_proto::op::{Edns, Message, Metadata, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record, RecordType};
use tokio::net::UdpSocket;

use super::world;

/// Seconds that an answer may be used: shorter than a long run, so that look-ups recur.
const TTL: u32 = 30;
/// Longest query read; resolvers stay below the usual MTU.
const QUERY_BYTES_MAX: usize = 1_500;

/// Starts the stub; returns its port on 127.0.0.1.
///
/// # Errors
/// What the system says when no port can be bound.
pub(super) async fn start() -> std::io::Result<u16> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let port = socket.local_addr()?.port();
    tokio::spawn(async move {
        let mut query = [0; QUERY_BYTES_MAX];
        loop {
            // An error of one exchange (the asker is gone) is no reason to leave the others without answers.
            let Ok((length, asker)) = socket.recv_from(&mut query).await else { continue };
            if let Some(answer) = answer(query.get(..length).unwrap_or_default()) {
                let _ = socket.send_to(&answer, asker).await;
            }
        }
    });
    Ok(port)
}

/// The answer to a query; none to what is no query.
fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let query = Message::from_vec(query).ok()?;
    let question = query.queries.first()?.clone();
    let name = question.name().to_lowercase().to_ascii();
    let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
    answer.metadata = Metadata::response_from_request(&query.metadata);
    answer.metadata.recursion_available = true;
    match (world::resolve(name.trim_end_matches('.')), question.query_type()) {
        (None, _) => answer.metadata.response_code = ResponseCode::NXDomain,
        (Some(IpAddr::V4(address)), RecordType::A) => {
            let record = Record::from_rdata(question.name().clone(), TTL, RData::A(A(address)));
            answer.add_answer(record);
        }
        // The name exists without records of this type.
        (Some(_), _) => {}
    }
    answer.add_query(question);
    if query.edns.is_some() {
        // RFC 6891 §6.1.1: a query with OPT gets an answer with OPT.
        answer.set_edns(Edns::new());
    }
    answer.to_vec().ok()
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::Query;
    use hickory_proto::rr::Name;

    use super::*;

    /// Code and addresses of the answer to one question.
    fn ask(name: &str, kind: RecordType) -> (ResponseCode, Vec<RData>) {
        let mut query = Message::query();
        query.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        let answer = Message::from_vec(&answer(&query.to_vec().unwrap()).unwrap()).unwrap();
        assert_eq!(answer.metadata.id, query.metadata.id);
        (answer.metadata.response_code, answer.answers.iter().map(|record| record.data.clone()).collect())
    }

    #[test]
    fn sites_have_their_address_and_nothing_else_exists() {
        let address = RData::A(A(Ipv4Addr::new(127, 21, 0, 4)));
        assert_eq!(ask("Books.Example.", RecordType::A), (ResponseCode::NoError, vec![address]));
        assert_eq!(ask("books.example.", RecordType::AAAA), (ResponseCode::NoError, vec![]));
        assert_eq!(ask("proxy.forger.example.", RecordType::A), (ResponseCode::NXDomain, vec![]));
        assert_eq!(answer(b"no message"), None);
    }
}

//! What is told to who asks nothing that is passed on: an operation that is none of ours, a message that cannot be read, and
//! a client that wants a cookie and nothing else (RFC 7873 §5.4).
//!
//! NOTIFY and UPDATE are refused and never passed on: a resolver that lets the gateway's address do so means the gateway,
//! not its subscribers.

use std::borrow::Cow;
use std::net::SocketAddr;

use super::count::{Event, Refused};
use super::message::{self, BAD_VERS, FORM_ERR, NOT_IMP, REFUSED};
use super::pending::Asker;
use super::relay::{Relay, Taken};
use crate::wire::dns::options::{COOKIE, client_cookie};
use crate::wire::dns::{self, OPCODE_QUERY, layout};

/// Operation NOTIFY, RFC 1996 §3.
const OPCODE_NOTIFY: u8 = 4;
/// Operation UPDATE, RFC 2136 §1.3.
const OPCODE_UPDATE: u8 = 5;
/// Code NOERROR.
const NO_ERROR: u16 = 0;

impl Relay {
    /// Answers a message that is no query with one question whose every record can be read.
    pub(super) fn answer_form(&self, query: &[u8], from: SocketAddr, asker: &Asker) -> Taken {
        let operation = query.get(2).map_or(0, |flags| flags >> 3 & 0x0f);
        let (refused, code) = match operation {
            OPCODE_QUERY => match self.cookie(query, from) {
                Some((code, options)) => return self.give_bare(query, code, &options, asker),
                None => (Refused::Malformed, FORM_ERR),
            },
            OPCODE_NOTIFY | OPCODE_UPDATE => (Refused::Operation, REFUSED),
            _ => (Refused::Operation, NOT_IMP),
        };
        self.count(Event::Refused(refused));
        self.give_bare(query, code, &[], asker)
    }

    /// Gives an answer without records.
    fn give_bare(&self, query: &[u8], code: u16, options: &[u8], asker: &Asker) -> Taken {
        let question = dns::question(query).ok();
        let size = self.plane.settings.udp_answer_max;
        let answer = message::bare(query, question.as_ref(), code, size, options);
        self.give_coded(asker, answer.map(Cow::Owned), code);
        Taken::Answered
    }

    /// The code and options of the answer to a query for a cookie alone; `None` when it is none.
    ///
    /// Its server cookie is a keyed hash of who asks, and nothing is held against it: those of queries pass to the resolvers,
    /// and what these answer takes its place.
    fn cookie(&self, query: &[u8], from: SocketAddr) -> Option<(u16, Vec<u8>)> {
        if query.get(4..6) != Some(&[0, 0]) {
            return None;
        }
        let edns = layout::edns_of_any(query)?;
        let client = client_cookie(layout::options(query, &edns)).ok()??;
        if edns.version != 0 {
            return Some((BAD_VERS, Vec::new()));
        }
        let server = self.plane.sources.cookie(from.ip(), client);
        let length = u16::try_from(client.len().saturating_add(server.len())).ok()?;
        Some((NO_ERROR, [&COOKIE.to_be_bytes()[..], &length.to_be_bytes(), &client, &server].concat()))
    }
}

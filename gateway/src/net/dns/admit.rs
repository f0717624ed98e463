//! Who is heard, and how much of him: what is dropped without a word, and what is said to a source over its limit.
//!
//! A datagram says who sent it, a connection proves it: what comes in datagrams has an allowance and a share of its own, so
//! that whoever writes in another's name takes nothing from what that one asks over TCP. Over the limit a datagram is
//! answered with nothing but that (TC): the true client comes over TCP (RFC 7766 §5), a forger does not. The answer is never
//! longer than the query, and limited in number: nobody is flooded through us. Over a connection queries wait their turn.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use billing_export::{Session, SubscriberType};

use super::count::{Event, Refused};
use super::message::Asked;
use super::pending::Asker;
use super::relay::{Relay, Taken};
use super::source::Source;
use crate::flow::time::Monotonic;
use crate::wire::dns::{self, OPCODE_QUERY, layout};

/// Ports that no client asks from.
const ANSWERING_PORTS: [u16; 2] = [0, 53];
/// Bit of the first byte of flags: an answer.
const QR: u8 = 0x80;

impl Relay {
    /// Why a query is dropped without a word; `None` when it is not.
    pub(super) fn unwelcome(
        &self,
        query: &[u8],
        from: SocketAddr,
        subscriber: Option<&Session>,
    ) -> Option<Refused> {
        if ANSWERING_PORTS.contains(&from.port()) || self.plane.is_own(from) {
            return Some(Refused::Source);
        }
        if !self.is_welcome(from.ip().to_canonical(), subscriber) {
            return Some(Refused::Client);
        }
        if query.len() < dns::HEADER_BYTES {
            return Some(Refused::Malformed);
        }
        query.get(2).is_some_and(|flags| flags & QR != 0).then_some(Refused::Response)
    }

    /// Whether a client, in canonical form, may ask here.
    pub(super) fn is_welcome(&self, client: IpAddr, subscriber: Option<&Session>) -> bool {
        let settings = &self.plane.settings;
        (settings.serves_subscribers && subscriber.is_some())
            || settings.clients.iter().any(|prefix| prefix.contains(&client))
    }

    /// Takes one query from the allowance of a client on a connection; how long he has to wait when it is used up.
    pub(super) fn take_turn(&self, client: SocketAddr) -> Result<(), Duration> {
        let holding = self.shared.sessions.find_at(client.ip(), Some(client.port()));
        let subscriber = holding.as_ref().map(|holding| &holding.session);
        let source = self.plane.sources.of(client.ip(), subscriber).proven();
        let now = self.now();
        self.plane.allowances.take(source, now).inspect_err(|_| self.note_over_limit(subscriber, now))
    }

    /// What becomes of a datagram of a source that has used up its allowance.
    pub(super) fn over_limit(
        &self,
        query: &[u8],
        asker: &Asker,
        (source, subscriber): (Source, Option<&Session>),
        now: Monotonic,
    ) -> Taken {
        self.count(Event::Refused(Refused::Rate));
        self.note_over_limit(subscriber, now);
        // What cannot be answered so is not: nobody asks it over TCP.
        let Ok(question) = dns::question(query) else { return Taken::Dropped };
        if question.opcode != OPCODE_QUERY {
            return Taken::Dropped;
        }
        let Ok(additional) = layout::additional(query, &question) else { return Taken::Dropped };
        let udp_bytes_max = self.plane.settings.udp_answer_max;
        let asked = Asked { query, question: &question, edns: additional.edns, udp_bytes_max };
        if self.send_to_tcp(&asked, asker, source, now) { Taken::Answered } else { Taken::Dropped }
    }

    /// Answers a datagram with nothing but that more does not fit, unless its source has had enough of that.
    pub(super) fn send_to_tcp(
        &self,
        asked: &Asked<'_>,
        asker: &Asker,
        source: Source,
        now: Monotonic,
    ) -> bool {
        let may = self.plane.truncations.as_ref().is_some_and(|told| told.take(source, now).is_ok());
        let Some(answer) = may.then(|| asked.truncated()).flatten() else { return false };
        self.count(Event::Truncated);
        self.give(asker, Some(Cow::Owned(answer)));
        true
    }

    /// One line a minute, for each kind of subscriber, says that there is somebody who asks too much.
    fn note_over_limit(&self, subscriber: Option<&Session>, now: Monotonic) {
        let kind = subscriber.map_or(SubscriberType::None, Session::subscriber_type);
        let notices = SubscriberType::ALL.iter().zip(&self.plane.over_limit);
        let notice = notices.into_iter().find_map(|(known, notice)| (*known == kind).then_some(notice));
        if let Some(queries) = notice.and_then(|notice| notice.note(now)) {
            tracing::warn!(
                kind = kind.label(),
                queries,
                "sources ask more than dns.queries_per_second_max: they are told to come over TCP, or wait there"
            );
        }
    }
}

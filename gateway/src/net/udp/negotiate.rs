//! What a steered listener says to a version of QUIC that it does not read: it is the server that the client meets, and only
//! the client can choose another (RFC 9000 §6). Elsewhere such datagrams go on, and the origin answers.
//!
//! The answer is shorter than half of what it answers, so that nobody gains by forging a source, and each subscriber has a
//! number of them a second.

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher as _, RandomState};

use super::port::Manner;
use super::table::Key;
use super::{Entry, Relay};
use crate::flow::session::SubscriberKey;
use crate::flow::time::Monotonic;
use crate::net::node::settings::Mode;
use crate::net::sys::batch::Train;
use crate::wire::quic::negotiation;

/// Answers to one subscriber in a second; a client repeats itself about twice in that time.
const ANSWERS_PER_SECOND: u8 = 16;
/// Places to count them in, by subscriber; those of one place share it.
const PLACES: usize = 256;

/// How many answers went out in this second, by subscriber.
pub(super) struct Negotiations {
    /// Random, so that nobody chooses whose place he shares.
    places: RandomState,
    second: Cell<u64>,
    counts: RefCell<[u8; PLACES]>,
}

impl Default for Negotiations {
    fn default() -> Self {
        Self { places: RandomState::new(), second: Cell::default(), counts: RefCell::new([0; PLACES]) }
    }
}

impl Negotiations {
    /// Whether one more may go out to this subscriber.
    fn admit(&self, subscriber: &SubscriberKey, now: Monotonic) -> bool {
        let second = now.as_millis() / 1_000;
        let mut counts = self.counts.borrow_mut();
        if self.second.replace(second) != second {
            *counts = [0; PLACES];
        }
        let [place, ..] = self.places.hash_one(subscriber).to_ne_bytes();
        let Some(count) = counts.get_mut(usize::from(place)) else { return false };
        let admitted = *count < ANSWERS_PER_SECOND;
        *count = count.saturating_add(u8::from(admitted));
        admitted
    }
}

impl Relay {
    /// Answers a datagram of a version that is not read; true when that was all there was to do. It goes no further: an origin
    /// would answer it a second time.
    pub(super) fn negotiate(&self, key: &Key, entry: &Entry, datagram: &[u8]) -> bool {
        match &self.mode {
            Mode::Steered { .. } => {}
            Mode::ProxyProtocol { .. } | Mode::Transparent { .. } => return false,
        }
        let Some(answer) = negotiation(datagram) else { return false };
        if !self.negotiations.admit(entry.open.subscriber(), self.worker.shared.clock.monotonic()) {
            return false;
        }
        let (bytes, stride) = (answer.as_slice(), answer.len());
        let train = Train { peer: key.peer, local: None, octet: 0, in_fragments: false, bytes, stride };
        let sent = self.send_down(key, Manner::PLAIN, &train);
        self.worker.sent_datagrams(entry.flow(), &sent);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

    use super::*;

    #[test]
    fn f45_answers_to_one_subscriber_at_the_limit_and_one_over() {
        let negotiations = Negotiations::default();
        let at = |millis| Monotonic::new(Duration::from_millis(millis));
        let subscriber = |number| SubscriberKey::Address(IpAddr::from([10, 0, 0, number]));
        assert!((0..ANSWERS_PER_SECOND).all(|_| negotiations.admit(&subscriber(1), at(5_000))));
        assert!(!negotiations.admit(&subscriber(1), at(5_999)), "one over");
        // Others have their own; by chance a few share his place.
        let others = (2..=250).filter(|number| negotiations.admit(&subscriber(*number), at(5_999))).count();
        assert!(others > 220, "{others}");
        assert!(negotiations.admit(&subscriber(1), at(6_000)));
    }
}

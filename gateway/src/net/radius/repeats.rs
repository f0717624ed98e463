//! Requests that were answered of late: who asks again has missed the answer (RFC 5080 §2.2.2).

use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use crate::flow::time::Monotonic;
use crate::wire::radius::AUTHENTICATOR_OCTETS;

/// How long a request is known again, longer than access servers go on asking: one without a stamp that came later would be a new event.
const KEPT: Duration = Duration::from_secs(300);
/// Most requests, 80 bytes each; of more the oldest are forgotten.
const REPEATS_MAX: usize = 262_144;

/// What tells a request from every other: a client takes an Identifier again for another one, with another authenticator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct RequestId {
    /// Where it came from.
    pub source: SocketAddr,
    /// Which of our sockets it came to.
    pub socket: usize,
    /// Its Identifier.
    pub identifier: u8,
    /// Its Request Authenticator.
    pub authenticator: [u8; AUTHENTICATOR_OCTETS],
}

/// The requests.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    known: HashSet<RequestId>,
    order: VecDeque<(RequestId, Monotonic)>,
}

impl Repeats {
    /// Notes a request that came at `now`; whether it is a repeated one.
    pub(super) fn note(&mut self, request: RequestId, now: Monotonic) -> bool {
        while let Some((oldest, at)) = self.order.front() {
            if self.order.len() < REPEATS_MAX && now.since(*at) < KEPT {
                break;
            }
            self.known.remove(oldest);
            self.order.pop_front();
        }
        let is_repeated = !self.known.insert(request);
        if !is_repeated {
            self.order.push_back((request, now));
        }
        is_repeated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(number: u32) -> RequestId {
        let mut authenticator = [0; AUTHENTICATOR_OCTETS];
        authenticator[..4].copy_from_slice(&number.to_be_bytes());
        RequestId { source: "192.0.2.1:1812".parse().unwrap(), socket: 0, identifier: 7, authenticator }
    }

    #[test]
    fn c24_a_request_is_known_again_for_five_minutes_and_by_all_that_tells_it_from_others() {
        let at = |seconds| Monotonic::new(Duration::from_secs(seconds));
        let mut repeats = Repeats::default();
        assert!(!repeats.note(request(1), at(0)));
        assert!(repeats.note(request(1), at(299)));
        assert!(!repeats.note(request(2), at(299)), "the Identifier again, for another one");
        assert!(!repeats.note(RequestId { identifier: 8, ..request(1) }, at(299)));
        assert!(
            !repeats.note(RequestId { source: "192.0.2.1:1813".parse().unwrap(), ..request(1) }, at(299))
        );
        assert!(!repeats.note(request(1), at(300)));
        assert_eq!(repeats.known.len(), 4);
    }

    #[test]
    fn at_the_limit_and_one_over() {
        let mut repeats = Repeats::default();
        let now = Monotonic::default();
        let most = u32::try_from(REPEATS_MAX).unwrap();
        for number in 0..most {
            assert!(!repeats.note(request(number), now));
        }
        assert!(repeats.note(request(1), now));
        assert!(!repeats.note(request(most), now));
        assert_eq!((repeats.known.len(), repeats.order.len()), (REPEATS_MAX, REPEATS_MAX));
        assert!(!repeats.note(request(0), now), "the oldest was forgotten");
    }
}

//! The windows in which questions are counted that may carry a tunnel (`flow::dns_tunnel`): a table of a fixed size, for
//! pairs of a source and a registered domain, shared by all workers.
//!
//! A pair has four places to stand at, chosen by a keyed hash. When all are taken the one with the fewest names goes:
//! whoever asks little below many domains does not push out who asks much below one. Only a question that may carry data
//! takes a lock, that of its four places.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use super::source::Source;
use crate::flow::dns_tunnel::{Text, Window, bits_of, suspicious};
use crate::flow::time::Monotonic;
use crate::wire::dns::Question;

/// Places that one pair may stand at.
const WAYS: usize = 4;

/// The windows.
pub(super) struct Tunnels {
    sets: Box<[Mutex<[Option<Watched>; WAYS]>]>,
    /// Bits of names from which a window is told of.
    bits_min: u32,
    key: RandomState,
}

/// A pair's window.
#[derive(Clone, Copy)]
struct Watched {
    /// The pair's hash: two pairs of one hash would be counted together.
    pair: u64,
    window: Window,
}

impl Tunnels {
    /// A table of at least `places`; a window is told of at `names_max` distinct names.
    pub(super) fn new(places: usize, names_max: u32, key: RandomState) -> Self {
        let sets = (0..places.div_ceil(WAYS).max(1)).map(|_| Mutex::default()).collect();
        Self { sets, bits_min: bits_of(names_max).max(1), key }
    }

    /// Notes a question of `client`. True once in a window in which it looks like a tunnel.
    pub(super) fn note(&self, client: Source, question: &Question, now: Monotonic) -> bool {
        let mut text: Text = [0; _];
        let Some(domain) = suspicious(&question.name, question.kind, &mut text) else { return false };
        let pair = self.key.hash_one((client, domain));
        let name = self.key.hash_one(&question.name);
        let sets = u64::try_from(self.sets.len()).unwrap_or(u64::MAX);
        let set = pair.checked_rem(sets).and_then(|set| usize::try_from(set).ok());
        let Some(set) = set.and_then(|set| self.sets.get(set)) else { return false };
        let mut places = set.lock().unwrap_or_else(PoisonError::into_inner);
        let rank = |place: &Option<Watched>| match place {
            Some(watched) if watched.pair == pair => (0, 0),
            None => (1, 0),
            Some(watched) if watched.window.is_over(now) => (1, 0),
            Some(watched) => (2, watched.window.bits()),
        };
        let Some(place) = places.iter_mut().min_by_key(|place| rank(place)) else { return false };
        let kept = place.take().filter(|watched| watched.pair == pair && !watched.window.is_over(now));
        let watched = place.insert(kept.unwrap_or_else(|| Watched { pair, window: Window::begin(now) }));
        watched.window.note(name, self.bits_min)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::flow::dns_tunnel::WINDOW;
    use crate::net::dns::source::Sources;
    use crate::wire::dns::{Name, TYPE_A};

    fn client(number: u8) -> Source {
        let sources = SOURCES.get_or_init(|| Sources::new(32, 56, RandomState::new()));
        sources.of([10, 7, 0, number].into(), None)
    }

    static SOURCES: std::sync::OnceLock<Sources> = std::sync::OnceLock::new();

    /// A question for a name like those of a tunnel.
    fn question(number: u32, domain: &str) -> Question {
        let data =
            format!("{:x}", (u128::from(number) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
        let name = Name::from_host(format!("{data}.{domain}").as_bytes()).unwrap();
        Question {
            id: 1,
            is_response: false,
            opcode: 0,
            truncated: false,
            recursion_desired: true,
            rcode: 0,
            name,
            kind: TYPE_A,
            class: 1,
            section: 12..12,
        }
    }

    fn noted(tunnels: &Tunnels, who: u8, domain: &str, times: u32, at: Monotonic) -> usize {
        (0..times).filter(|number| tunnels.note(client(who), &question(*number, domain), at)).count()
    }

    #[test]
    fn t22_a_window_is_one_client_s_below_one_domain() {
        let tunnels = Tunnels::new(1_024, 100, RandomState::new());
        let at = Monotonic::new(Duration::from_secs(7));
        for who in 1..=5 {
            assert_eq!(noted(&tunnels, who, "one.example", 40, at), 0);
            assert_eq!(noted(&tunnels, who, "two.example", 40, at), 0);
        }
        assert_eq!(noted(&tunnels, 1, "one.example", 400, at), 1);
        assert_eq!(noted(&tunnels, 1, "one.example", 400, at), 0, "once a window");
        assert_eq!(noted(&tunnels, 1, "one.example", 400, at.plus(WINDOW)), 1, "and in the next one");
        assert_eq!(noted(&tunnels, 2, "two.example", 400, at), 1);
    }

    #[test]
    fn t22_a_full_table_keeps_those_who_ask_most() {
        let tunnels = Tunnels::new(1, 100, RandomState::new());
        let at = Monotonic::default();
        assert_eq!(noted(&tunnels, 1, "tunnel.example", 60, at), 0);
        for number in 0..500 {
            assert_eq!(noted(&tunnels, 2, &format!("d{number}.example"), 1, at), 0);
        }
        assert_eq!(noted(&tunnels, 1, "tunnel.example", 400, at), 1);
        assert_eq!(tunnels.sets.len(), 1);
    }
}

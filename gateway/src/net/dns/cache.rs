//! Old answers, given while the servers are silent (RFC 8767). Kept by all that changes an answer: question, class, DO, CD and
//! client subnet; of each the header, the question, the answer section, and the SOA record that says how long a name does not
//! exist: nothing else of authority or additional section is ever used again. Only who wants recursion has his answers kept and
//! is given one: what a resolver says to others is a referral, and whether it is known is nobody's business.
//!
//! A table of a fixed number of places in small sets, each with its own lock: what is kept is bounded, and workers hardly ever
//! meet. Whoever asks for made-up names displaces his own: in a full set one of the same asker goes first, then what one asker
//! alone has wanted, denials before answers, and last what several have. The time is an argument.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::source::Source;
use crate::flow::time::Monotonic;
use crate::wire::dns::layout::{Edns, checking_disabled, said};
use crate::wire::dns::options::{ForSubnet, Subnet};
use crate::wire::dns::{Facts, Name, Question};

/// Places of one set.
const WAYS: usize = 4;
/// Longest answer kept; longer ones are rare and come over TCP.
const ANSWER_BYTES_MAX: usize = 4_096;
/// Records of an answer section that are kept.
const RECORDS_MAX: usize = 256;
/// An answer younger than this is not replaced: copying each would cost more than it is worth.
const FRESH: Duration = Duration::from_secs(1);
/// Bytes of the header.
const HEADER_BYTES: usize = 12;
/// Response codes that are kept: NOERROR, NXDOMAIN.
const KEPT_CODES: [u16; 2] = [0, 3];
/// Bits of the second byte of flags that are the response code.
const CODE_MASK: u8 = 0x0f;
/// Bit of the second byte of flags: the answer was validated.
const AUTHENTIC: u8 = 0x20;

/// What an answer is kept by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// The name asked for, lower-case.
    pub name: Name,
    /// The type asked for.
    pub kind: u16,
    /// The class asked for.
    pub class: u16,
    /// Whether DNSSEC records were wanted.
    pub dnssec_ok: bool,
    /// Whether answers need not be checked.
    pub checking_disabled: bool,
    /// The network that the answer is for.
    pub subnet: Option<Subnet>,
}

impl Key {
    /// What the answer to a query is kept by; `None` when it is neither kept nor given. A signed query's answer is signed.
    pub(super) fn of(
        query: &[u8],
        question: &Question,
        edns: Option<&Edns>,
        is_signed: bool,
    ) -> Option<Self> {
        let subnet = match edns.map_or(ForSubnet::Any, |edns| edns.subnet) {
            ForSubnet::Any => None,
            ForSubnet::One(subnet) => Some(subnet),
            ForSubnet::Unreadable => return None,
        };
        (question.recursion_desired && !is_signed).then(|| Self {
            name: question.name.clone(),
            kind: question.kind,
            class: question.class,
            dnssec_ok: edns.is_some_and(|edns| edns.dnssec_ok),
            checking_disabled: checking_disabled(query),
            subnet,
        })
    }
}

/// One answer.
struct Kept {
    key: Key,
    answer: Box<[u8]>,
    at: Monotonic,
    /// Who asked first.
    by: Source,
    /// Others have asked too.
    is_shared: bool,
}

impl Kept {
    /// What goes before it when room is wanted by somebody: the lowest goes first.
    fn worth(&self, to: Source) -> (bool, bool, bool, Monotonic) {
        let is_own = self.by == to && !self.is_shared;
        let is_denial = self.answer.get(3).is_some_and(|flags| flags & CODE_MASK != 0);
        (!is_own, self.is_shared, !is_denial, self.at)
    }
}

/// The answers.
pub(super) struct StaleAnswers {
    sets: Box<[Mutex<Vec<Kept>>]>,
    ways: usize,
    age_max: Duration,
    hasher: RandomState,
}

impl StaleAnswers {
    /// Room for `entries_max` answers that are given up to `age_max` after they were last seen.
    pub(super) fn new(entries_max: usize, age_max: Duration, hasher: RandomState) -> Self {
        let ways = WAYS.min(entries_max).max(1);
        let sets = entries_max.checked_div(ways).unwrap_or(1).max(1);
        Self { sets: (0..sets).map(|_| Mutex::default()).collect(), ways, age_max, hasher }
    }

    /// Keeps an answer that somebody asked for, unless it is cut short, a failure, too long, or broken.
    pub(super) fn keep(&self, key: &Key, by: Source, answer: &[u8], facts: &Facts, now: Monotonic) {
        let question = &facts.question;
        let length = answer.len();
        if question.truncated || length > ANSWER_BYTES_MAX || !KEPT_CODES.contains(&facts.rcode) {
            return;
        }
        let Some(set) = self.set(key) else { return };
        let mut set = set.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = set.iter_mut().find(|kept| kept.key == *key) {
            kept.is_shared |= kept.by != by;
            if now.since(kept.at) < FRESH {
                return;
            }
        }
        let Some(answer) = without_tail(answer, question) else { return };
        if let Some(kept) = set.iter_mut().find(|kept| kept.key == *key) {
            kept.answer = answer;
            kept.at = now;
            return;
        }
        let kept = Kept { key: key.clone(), answer, at: now, by, is_shared: false };
        if set.len() < self.ways {
            set.push(kept);
        } else if let Some(least) = set.iter_mut().min_by_key(|kept| kept.worth(by)) {
            *least = kept;
        }
    }

    /// The last answer, every TTL at most `ttl`, not authentic any more; the caller puts in id and question.
    pub(super) fn find(
        &self,
        key: &Key,
        question: &Question,
        ttl: Duration,
        now: Monotonic,
    ) -> Option<Vec<u8>> {
        let mut answer = {
            let set = self.set(key)?.lock().unwrap_or_else(PoisonError::into_inner);
            let kept = set.iter().find(|kept| kept.key == *key)?;
            (now.since(kept.at) <= self.age_max).then(|| kept.answer.to_vec())?
        };
        let most = u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX);
        let ttls = said(&answer, question, RECORDS_MAX).ok()?.ttls;
        for place in ttls {
            let bytes = answer.get_mut(place)?.first_chunk_mut::<4>()?;
            *bytes = u32::from_be_bytes(*bytes).min(most).to_be_bytes();
        }
        *answer.get_mut(3)? &= !AUTHENTIC;
        Some(answer)
    }

    /// Answers held.
    pub(super) fn len(&self) -> usize {
        let held = |set: &Mutex<Vec<Kept>>| set.lock().unwrap_or_else(PoisonError::into_inner).len();
        self.sets.iter().map(held).fold(0, usize::saturating_add)
    }

    /// The set of a key.
    fn set(&self, key: &Key) -> Option<&Mutex<Vec<Kept>>> {
        let sets = u64::try_from(self.sets.len()).ok()?;
        let place = self.hasher.hash_one(key).checked_rem(sets)?;
        self.sets.get(usize::try_from(place).ok()?)
    }
}

/// The answer up to the end of what it says itself, with counts that say so. Names point backwards only (RFC 1035 §4.1.4),
/// so that nothing left refers to what is cut.
fn without_tail(answer: &[u8], question: &Question) -> Option<Box<[u8]>> {
    let said = said(answer, question, RECORDS_MAX).ok()?;
    let mut kept = answer.get(..said.end)?.to_vec();
    kept.get_mut(8..HEADER_BYTES)?.fill(0);
    *kept.get_mut(9)? = u8::from(said.has_soa);
    Some(kept.into())
}

#[cfg(test)]
mod tests;

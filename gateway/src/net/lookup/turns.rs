//! Whose look-up is next: shares of a budget, and turns for those that find none left.
//!
//! Names below a listed one can be made up without end, and the source of a datagram can be forged. So look-ups are of four
//! kinds, by whether the name is known and whether its flow's source has answered a handshake; each kind has a share that no
//! other takes, each subscriber a quarter of the kind's. Datagrams from forged addresses that name what nobody ever asked for
//! are left an eighth, whatever they claim and however many they are. Whoever finds nothing left waits: subscriber by
//! subscriber they get their turns, so that who asks much waits long and who asks once is next.

use std::collections::{HashMap, VecDeque};

use allowlist::{DomainName, Transport};

use crate::flow::session::SubscriberKey;

/// Who asks, and whether his address is known to be his.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Asker {
    /// Who he is.
    pub subscriber: SubscriberKey,
    /// He has answered from his address: it is not forged.
    pub proven: bool,
}

impl Asker {
    /// Whoever begins a flow of this transport: a TCP handshake proves the address, a datagram nothing (RFC 9000 §8.1).
    pub fn new(subscriber: SubscriberKey, transport: Transport) -> Self {
        Self { subscriber, proven: transport == Transport::Tcp }
    }
}

/// Kinds of look-ups, in the order in which they get what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// A name that the list has itself or that flows have reached, from a source that is proven.
    Known,
    /// Another name below a listed one, from such a source.
    New,
    /// A known name from a source that may be forged.
    KnownUnproven,
    /// Another name from such a source.
    NewUnproven,
}

impl Kind {
    /// All of them.
    pub(super) const ALL: [Self; 4] = [Self::Known, Self::New, Self::KnownUnproven, Self::NewUnproven];

    /// The kind of a look-up.
    pub(super) const fn of(asker: &Asker, is_known: bool) -> Self {
        match (asker.proven, is_known) {
            (true, true) => Self::Known,
            (true, false) => Self::New,
            (false, true) => Self::KnownUnproven,
            (false, false) => Self::NewUnproven,
        }
    }

    /// Its place in arrays.
    const fn index(self) -> usize {
        self as usize
    }

    /// How many eighths of a budget it may take at most.
    const fn most(self) -> u32 {
        match self {
            Self::Known => 6,
            Self::New => 3,
            Self::KnownUnproven => 2,
            Self::NewUnproven => 1,
        }
    }

    /// How many eighths of a budget no other kind takes from it.
    const fn least(self) -> u32 {
        match self {
            Self::Known => 2,
            Self::New | Self::KnownUnproven => 1,
            Self::NewUnproven => 0,
        }
    }
}

/// So many eighths of a number, rounded down.
fn eighths(of: u32, count: u32) -> u32 {
    u32::try_from(u64::from(of).saturating_mul(count.into()) / 8).unwrap_or(of)
}

/// What of a budget is taken, by kind and subscriber.
#[derive(Default)]
pub(super) struct Shares {
    max: u32,
    taken: [u32; 4],
    /// Further questions of inquiries.
    further: u32,
    by_subscriber: HashMap<(Kind, SubscriberKey), u32>,
}

impl Shares {
    /// So many in all.
    pub(super) fn new(max: u32) -> Self {
        Self { max, ..Self::default() }
    }

    /// Gives everything back.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.max);
    }

    /// The most that a kind may take: one at least.
    fn most(&self, kind: Kind) -> u32 {
        eighths(self.max, kind.most()).max(1)
    }

    /// The most that one subscriber may take of a kind: a quarter.
    fn most_of_one(&self, kind: Kind) -> u32 {
        match kind {
            Kind::Known => self.max.div_ceil(4),
            Kind::New | Kind::KnownUnproven | Kind::NewUnproven => self.most(kind).div_ceil(4),
        }
    }

    /// What of a kind is taken.
    fn taken(&self, kind: Kind) -> u32 {
        self.taken.get(kind.index()).copied().unwrap_or(0)
    }

    /// What those that begin have taken.
    fn begun(&self) -> u32 {
        self.taken.iter().fold(0, |sum, taken| sum.saturating_add(*taken))
    }

    /// Whether any subscriber may take one of the kind.
    pub(super) fn has_room(&self, kind: Kind) -> bool {
        let others = Kind::ALL.iter().filter(|other| **other != kind);
        let kept = others
            .map(|other| eighths(self.max, other.least()).saturating_sub(self.taken(*other)))
            .fold(self.begun(), u32::saturating_add);
        self.taken(kind) < self.most(kind)
            && kept < self.max
            && self.begun().saturating_add(self.further) < self.max
    }

    /// Whether this one may.
    pub(super) fn has_room_for(&self, kind: Kind, subscriber: &SubscriberKey) -> bool {
        let own = self.by_subscriber.get(&(kind, subscriber.clone())).copied().unwrap_or(0);
        own < self.most_of_one(kind) && self.has_room(kind)
    }

    /// Takes one.
    pub(super) fn take(&mut self, kind: Kind, subscriber: &SubscriberKey) {
        if let Some(taken) = self.taken.get_mut(kind.index()) {
            *taken = taken.saturating_add(1);
        }
        let own = self.by_subscriber.entry((kind, subscriber.clone())).or_insert(0);
        *own = own.saturating_add(1);
    }

    /// Gives one back.
    pub(super) fn give_back(&mut self, kind: Kind, subscriber: &SubscriberKey) {
        if let Some(taken) = self.taken.get_mut(kind.index()) {
            *taken = taken.saturating_sub(1);
        }
        let key = (kind, subscriber.clone());
        if let Some(own) = self.by_subscriber.get_mut(&key) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                self.by_subscriber.remove(&key);
            }
        }
    }

    /// Takes one for a further question of an inquiry, which leaves a quarter to those that begin: a claim that no answer
    /// bears out costs many questions, and must not use up those of other names.
    pub(super) fn take_further(&mut self) -> bool {
        let all = self.begun().saturating_add(self.further);
        let left = all < self.max.saturating_sub(self.max / 4);
        self.further = self.further.saturating_add(u32::from(left));
        left
    }
}

/// Those of one kind that wait for their turn.
#[derive(Default)]
struct Line {
    /// Subscribers by turn, each once.
    order: VecDeque<SubscriberKey>,
    /// What each waits for; none: to be taken out of `order`.
    names: HashMap<SubscriberKey, VecDeque<DomainName>>,
    count: usize,
}

/// Names that wait for their turn.
pub(super) struct Queue {
    /// Of each kind.
    max: usize,
    /// Of each kind by one subscriber.
    per_subscriber_max: usize,
    lines: [Line; 4],
}

/// A place in the queue.
pub(super) type Place = (Kind, SubscriberKey);

/// Whether a name was queued.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Queued {
    /// It waits.
    Waits,
    /// It waits in the place of this one, of the subscriber who has most.
    Displaced(Place, DomainName),
    /// There is no room.
    Full,
}

impl Queue {
    /// Room for so many names of each kind, and so many of one subscriber's.
    pub(super) fn new(max: usize, per_subscriber_max: usize) -> Self {
        Self { max, per_subscriber_max, lines: Default::default() }
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.iter().all(|line| line.count == 0)
    }

    /// Puts a name in, behind the subscriber's others.
    pub(super) fn push(&mut self, (kind, subscriber): &Place, name: &DomainName) -> Queued {
        let (max, own_max) = (self.max, self.per_subscriber_max);
        let Some(line) = self.lines.get_mut(kind.index()) else { return Queued::Full };
        let own = line.names.get(subscriber).map_or(0, VecDeque::len);
        if own >= own_max {
            return Queued::Full;
        }
        let displaced = if line.count < max { None } else { line.displace(own) };
        if line.count >= max {
            return Queued::Full;
        }
        match line.names.get_mut(subscriber) {
            Some(names) => names.push_back(name.clone()),
            None => {
                line.names.insert(subscriber.clone(), VecDeque::from([name.clone()]));
                line.order.push_back(subscriber.clone());
            }
        }
        line.count = line.count.saturating_add(1);
        displaced.map_or(Queued::Waits, |(other, name)| Queued::Displaced((*kind, other), name))
    }

    /// Takes the next name of a kind out, of a subscriber who `may`.
    pub(super) fn pop(
        &mut self,
        kind: Kind,
        may: impl Fn(&SubscriberKey) -> bool,
    ) -> Option<(SubscriberKey, DomainName)> {
        let line = self.lines.get_mut(kind.index())?;
        if line.count == 0 {
            return None;
        }
        for _ in 0..line.order.len() {
            let subscriber = line.order.pop_front()?;
            let Some(names) = line.names.get_mut(&subscriber) else { continue };
            let taken = if may(&subscriber) { names.pop_front() } else { None };
            if names.is_empty() {
                line.names.remove(&subscriber);
            } else {
                line.order.push_back(subscriber.clone());
            }
            if let Some(name) = taken {
                line.count = line.count.saturating_sub(1);
                return Some((subscriber, name));
            }
        }
        None
    }

    /// Takes a name out that waits no longer. The subscriber keeps his turn until [`Queue::tidy`].
    pub(super) fn remove(&mut self, (kind, subscriber): &Place, name: &DomainName) {
        let Some(line) = self.lines.get_mut(kind.index()) else { return };
        let Some(names) = line.names.get_mut(subscriber) else { return };
        let before = names.len();
        names.retain(|known| known != name);
        line.count = line.count.saturating_sub(before.saturating_sub(names.len()));
    }

    /// Forgets subscribers who wait for nothing.
    pub(super) fn tidy(&mut self) {
        for line in &mut self.lines {
            if line.names.values().any(VecDeque::is_empty) {
                line.names.retain(|_, names| !names.is_empty());
                line.order.retain(|subscriber| line.names.contains_key(subscriber));
            }
        }
    }
}

impl Line {
    /// Takes the last name out of the subscriber who waits for most, if that is more than `own` and one.
    fn displace(&mut self, own: usize) -> Option<(SubscriberKey, DomainName)> {
        let (most, names) = self.names.iter_mut().max_by_key(|(_, names)| names.len())?;
        if names.len() <= own.saturating_add(1) {
            return None;
        }
        let name = names.pop_back()?;
        self.count = self.count.saturating_sub(1);
        Some((most.clone(), name))
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn who(last: u8) -> SubscriberKey {
        SubscriberKey::Address(IpAddr::from([10, 0, 0, last]))
    }

    fn name(number: usize) -> DomainName {
        DomainName::from_wire(format!("n{number}.kz").as_bytes()).unwrap()
    }

    /// How many of `times` are granted to a subscriber.
    fn grant(shares: &mut Shares, kind: Kind, last: u8, times: usize) -> usize {
        (0..times)
            .filter(|_| {
                let granted = shares.has_room_for(kind, &who(last));
                if granted {
                    shares.take(kind, &who(last));
                }
                granted
            })
            .count()
    }

    /// How many of three hundred each of a hundred subscribers are granted.
    fn grant_all(shares: &mut Shares, kind: Kind) -> usize {
        (1..=100).map(|last| grant(shares, kind, last, 300)).sum()
    }

    #[test]
    fn f4_no_kind_takes_what_is_another_s() {
        let mut shares = Shares::new(200);
        let by_forgers = [Kind::NewUnproven, Kind::KnownUnproven].map(|kind| grant_all(&mut shares, kind));
        assert_eq!(by_forgers, [25, 50]);
        assert_eq!([Kind::New, Kind::Known].map(|kind| grant_all(&mut shares, kind)), [75, 50]);
        shares.clear();
        assert_eq!(grant_all(&mut shares, Kind::Known), 150);
        assert_eq!([Kind::New, Kind::KnownUnproven].map(|kind| grant_all(&mut shares, kind)), [25, 25]);
        assert_eq!(Kind::ALL.map(|kind| grant_all(&mut shares, kind)), [0; 4], "at the limit");
    }

    #[test]
    fn v5_a_subscriber_has_a_quarter_and_further_questions_leave_one() {
        let mut shares = Shares::new(8);
        assert_eq!((0..9).filter(|_| shares.take_further()).count(), 6);
        assert_eq!([1, 2].map(|last| grant(&mut shares, Kind::Known, last, 9)), [2, 0], "used up");
        shares.clear();
        assert_eq!([1, 2, 3, 4].map(|last| grant(&mut shares, Kind::Known, last, 9)), [2, 2, 2, 0]);
        assert_eq!((0..9).filter(|_| shares.take_further()).count(), 0);
        shares.clear();
        assert_eq!([1, 2, 3, 4].map(|last| grant(&mut shares, Kind::New, last, 9)), [1, 1, 1, 0]);
        assert_eq!(grant(&mut shares, Kind::Known, 1, 9), 2, "his other kinds are not counted");
    }

    #[test]
    fn f4_a_budget_of_one_serves_every_kind_and_what_is_given_back_is_there_again() {
        for kind in Kind::ALL {
            let mut shares = Shares::new(1);
            assert_eq!([1, 2].map(|last| grant(&mut shares, kind, last, 2)), [1, 0], "{kind:?}");
            shares.give_back(kind, &who(1));
            assert!(shares.by_subscriber.is_empty());
            assert_eq!(grant(&mut shares, kind, 1, 2), 1);
        }
    }

    #[test]
    fn f4_who_asks_once_is_next_however_much_others_ask() {
        let mut queue = Queue::new(1_000, 16);
        for last in 1..=4 {
            let waits = (0..100).filter(|number| {
                queue.push(&(Kind::NewUnproven, who(last)), &name(1_000 * usize::from(last) + number))
                    == Queued::Waits
            });
            assert_eq!(waits.count(), 16, "his room");
        }
        assert_eq!(queue.push(&(Kind::NewUnproven, who(9)), &name(9)), Queued::Waits);
        let mut turn =
            |may: &dyn Fn(&SubscriberKey) -> bool| queue.pop(Kind::NewUnproven, may).map(|(who, _)| who);
        let five: Vec<_> = (0..5).filter_map(|_| turn(&|_| true)).collect();
        assert_eq!(five, [1, 2, 3, 4, 9].map(who));
        assert_eq!(turn(&|subscriber| *subscriber == who(3)), Some(who(3)), "the others may not just now");
        assert_eq!(turn(&|_| false), None);
        assert_eq!((0..100).filter_map(|_| turn(&|_| true)).count(), 4 * 15 - 1);
        assert!(queue.is_empty());
    }

    #[test]
    fn f4_a_full_queue_takes_from_who_has_most() {
        let mut queue = Queue::new(8, 4);
        let place = |last| (Kind::New, who(last));
        for number in 0..8 {
            queue.push(&place(1 + u8::try_from(number / 4).unwrap()), &name(number));
        }
        let displaced = queue.push(&place(3), &name(30));
        assert!(matches!(displaced, Queued::Displaced((Kind::New, _), _)), "{displaced:?}");
        assert!(matches!(queue.push(&place(4), &name(40)), Queued::Displaced(..)));
        assert!(matches!(queue.push(&place(4), &name(41)), Queued::Displaced(..)));
        assert_eq!(queue.push(&place(4), &name(42)), Queued::Full, "no more than anybody else");
        assert_eq!(queue.push(&(Kind::Known, who(4)), &name(42)), Queued::Waits, "another kind");
        queue.remove(&place(3), &name(30));
        queue.tidy();
        assert_eq!(queue.push(&place(5), &name(50)), Queued::Waits);
        let served: Vec<_> = std::iter::from_fn(|| queue.pop(Kind::New, |_| true)).collect();
        assert_eq!(served.len(), 8);
    }
}

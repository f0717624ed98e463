//! Names that wait for their turn: subscriber by subscriber, so that who asks once is next.

use std::collections::{HashMap, VecDeque};

use allowlist::DomainName;

use super::Kind;
use crate::flow::session::SubscriberKey;

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
pub(in crate::net::lookup) struct Queue {
    /// Of each kind.
    max: usize,
    /// Of each kind by one subscriber.
    per_subscriber_max: usize,
    lines: [Line; 4],
}

/// A place in the queue.
pub(in crate::net::lookup) type QueueKey = (Kind, SubscriberKey);

/// Whether a name was queued.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::net::lookup) enum Queued {
    /// It waits.
    Waits,
    /// It waits in the place of this one, of the subscriber who has most.
    Displaced(QueueKey, DomainName),
    /// There is no room.
    Full,
}

impl Queue {
    /// Room for so many names of each kind, and so many of one subscriber's.
    pub(in crate::net::lookup) fn new(max: usize, per_subscriber_max: usize) -> Self {
        Self { max, per_subscriber_max, lines: Default::default() }
    }

    /// Whether nobody waits.
    pub(in crate::net::lookup) fn is_empty(&self) -> bool {
        self.lines.iter().all(|line| line.count == 0)
    }

    /// Puts a name in, behind the subscriber's others.
    pub(in crate::net::lookup) fn push(
        &mut self,
        (kind, subscriber): &QueueKey,
        name: &DomainName,
    ) -> Queued {
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
    pub(in crate::net::lookup) fn pop(
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
    pub(in crate::net::lookup) fn remove(&mut self, (kind, subscriber): &QueueKey, name: &DomainName) {
        let Some(line) = self.lines.get_mut(kind.index()) else { return };
        let Some(names) = line.names.get_mut(subscriber) else { return };
        let before = names.len();
        names.retain(|known| known != name);
        line.count = line.count.saturating_sub(before.saturating_sub(names.len()));
    }

    /// Forgets subscribers who wait for nothing.
    pub(in crate::net::lookup) fn tidy(&mut self) {
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

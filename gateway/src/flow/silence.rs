//! Destinations that did not answer our connections: what is known of them, and which flows pass by for it.
//!
//! A transparent node answers a subscriber's SYN before the origin has: a client that races addresses (RFC 8305) takes a dead
//! one for the winner. So a destination that did not answer is remembered, and flows to it are not taken for a while: then
//! the client finds out by itself. What passes by is charged, so nobody may bring that about for others: a subscriber's
//! failures count for his own address, bounded by a share of his, and for everybody only where several known subscribers have
//! failed at a destination and nobody was answered meanwhile; then for a shorter time.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::session::SubscriberKey;
use super::time::Monotonic;

/// So many known subscribers must have failed before a destination passes by for everybody.
const SUBSCRIBERS_MIN: usize = 3;
/// It does for one part in so many of the time, for nobody notices meanwhile that it answers again.
const ALL_SHARE: u32 = 2;
/// A destination that said no (RST, ICMP) is remembered for one part in so many: it may be there again in seconds.
const TOLD_SHARE: u32 = 10;

/// How a destination failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It said nothing.
    Silent,
    /// It, or somebody on the way, said no.
    Told,
}

/// How much is remembered.
#[derive(Clone, Copy, Debug)]
pub struct SilenceLimits {
    /// For how long.
    pub time: Duration,
    /// Pairs of source and destination.
    pub max: usize,
    /// Of them one subscriber's.
    pub per_subscriber_max: usize,
}

/// Flows that pass by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Passing {
    /// Whose: all, where there is none.
    pub source: Option<IpAddr>,
    /// To where.
    pub destination: SocketAddr,
}

/// What whoever takes flows is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Let these pass by for so long.
    Pass(Passing, Duration),
    /// Take them again.
    Take(Passing),
}

/// The memory.
pub struct Silence {
    limits: SilenceLimits,
    /// Until when flows from here to there pass by, and whose they are.
    own: HashMap<(IpAddr, SocketAddr), Own>,
    /// How many of them each subscriber has.
    held: HashMap<SubscriberKey, usize>,
    /// Where somebody failed.
    destinations: HashMap<SocketAddr, Known>,
    /// What is to be done, in its order.
    orders: Vec<Order>,
    /// Failures that found no room.
    full: u64,
}

/// One subscriber's failure.
struct Own {
    subscriber: SubscriberKey,
    until: Monotonic,
}

/// A destination that somebody failed at.
struct Known {
    until: Monotonic,
    /// Known subscribers who did since anybody was answered, at most [`SUBSCRIBERS_MIN`].
    subscribers: Vec<SubscriberKey>,
    /// Until when it passes by for everybody.
    all_until: Option<Monotonic>,
}

impl Silence {
    /// Nothing is known.
    pub fn new(limits: SilenceLimits) -> Self {
        Self {
            limits,
            own: HashMap::new(),
            held: HashMap::new(),
            destinations: HashMap::new(),
            orders: Vec::new(),
            full: 0,
        }
    }

    /// `destination` did not take a connection from `source`.
    pub fn failed(
        &mut self,
        subscriber: &SubscriberKey,
        source: IpAddr,
        destination: SocketAddr,
        failure: Failure,
        now: Monotonic,
    ) {
        if self.own.len() >= self.limits.max {
            self.expire(now);
        }
        let time = match failure {
            Failure::Silent => self.limits.time,
            Failure::Told => self.limits.time / TOLD_SHARE,
        };
        let until = now.plus(time);
        match self.own.get_mut(&(source, destination)) {
            Some(own) => own.until = own.until.max(until),
            None => {
                let held = self.held.get(subscriber).copied().unwrap_or(0);
                if held >= self.limits.per_subscriber_max || self.own.len() >= self.limits.max {
                    self.full = self.full.saturating_add(1);
                    return;
                }
                self.held.insert(subscriber.clone(), held.saturating_add(1));
                self.own.insert((source, destination), Own { subscriber: subscriber.clone(), until });
            }
        }
        self.order(Order::Pass(Passing { source: Some(source), destination }, time));
        self.note(subscriber, destination, time, now);
    }

    /// Notes whose failure it was, and has the destination pass by for everybody when there are enough.
    fn note(&mut self, subscriber: &SubscriberKey, destination: SocketAddr, time: Duration, now: Monotonic) {
        let until = now.plus(time);
        let known = self.destinations.entry(destination).or_insert_with(|| Known {
            until,
            subscribers: Vec::new(),
            all_until: None,
        });
        known.until = known.until.max(until);
        match known.all_until {
            Some(all_until) if all_until > now => return,
            // It takes as many again.
            Some(_) => {
                known.subscribers.clear();
                known.all_until = None;
            }
            None => {}
        }
        // Whoever is not known may be one with many addresses.
        if matches!(subscriber, SubscriberKey::Address(_)) || known.subscribers.contains(subscriber) {
            return;
        }
        known.subscribers.push(subscriber.clone());
        if known.subscribers.len() >= SUBSCRIBERS_MIN {
            let time = time / ALL_SHARE;
            known.all_until = Some(now.plus(time));
            self.order(Order::Pass(Passing { source: None, destination }, time));
        }
    }

    /// `destination` took a connection from `source`.
    pub fn answered(&mut self, source: IpAddr, destination: SocketAddr) {
        if let Some(own) = self.own.remove(&(source, destination)) {
            self.release(&own.subscriber);
            self.order(Order::Take(Passing { source: Some(source), destination }));
        }
        if self.destinations.remove(&destination).is_some_and(|known| known.all_until.is_some()) {
            self.order(Order::Take(Passing { source: None, destination }));
        }
    }

    /// Whether it is known that flows from `source` get no answer from `destination`: another's word alone is not enough.
    pub fn is_silent_for(&self, source: IpAddr, destination: SocketAddr, now: Monotonic) -> bool {
        let own = self.own.get(&(source, destination)).is_some_and(|own| own.until > now);
        let all = self.destinations.get(&destination).and_then(|known| known.all_until);
        own || all.is_some_and(|until| until > now)
    }

    /// Forgets what is over.
    pub fn expire(&mut self, now: Monotonic) {
        let (own, held) = (&mut self.own, &mut self.held);
        own.retain(|_, own| {
            let stays = own.until > now;
            if !stays {
                release(held, &own.subscriber);
            }
            stays
        });
        self.destinations.retain(|_, known| known.until > now);
    }

    /// Destinations of which something is known.
    pub fn destinations(&self) -> impl Iterator<Item = SocketAddr> {
        self.own.keys().map(|(_, destination)| *destination).chain(self.destinations.keys().copied())
    }

    /// Pairs of source and destination that pass by.
    pub fn len(&self) -> usize {
        self.own.len()
    }

    /// Whether nothing passes by.
    pub fn is_empty(&self) -> bool {
        self.own.is_empty()
    }

    /// Failures that found no room, so far.
    pub fn full(&self) -> u64 {
        self.full
    }

    /// What is to be done since this was last asked.
    pub fn take_orders(&mut self) -> Vec<Order> {
        std::mem::take(&mut self.orders)
    }

    /// Has something done; nobody may be there to do it.
    fn order(&mut self, order: Order) {
        if self.orders.len() < self.limits.max {
            self.orders.push(order);
        }
    }

    /// One of the subscriber's is over.
    fn release(&mut self, subscriber: &SubscriberKey) {
        release(&mut self.held, subscriber);
    }
}

/// One less of the subscriber's.
fn release(held: &mut HashMap<SubscriberKey, usize>, subscriber: &SubscriberKey) {
    if let Some(count) = held.get_mut(subscriber) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            held.remove(subscriber);
        }
    }
}

#[cfg(test)]
mod tests;

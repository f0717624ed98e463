//! Look-ups on their way: one for each name, however many flows ask (trap V5); whoever finds nothing left of the budget
//! waits for his turn ([`super::turns`]), at most `total_timeout`.

mod serve;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use allowlist::DomainName;
use tokio::sync::watch;

use super::turns::{Kind, Queue, QueueKey, Queued, Shares};
use super::{Answer, LookupError, LookupSettings};
use crate::flow::time::Monotonic;

/// The time that `per_second_max` speaks of.
const SECOND: Duration = Duration::from_secs(1);
/// Subscribers who wait in a place of their own for the same name; more wait with them.
const PLACES_MAX: usize = 16;

/// Where an answer will come.
pub(super) type Arrival = watch::Receiver<Option<Answer>>;

/// A look-up that somebody waits for.
enum Flight {
    /// Its turn has not come.
    Waiting { sender: watch::Sender<Option<Answer>>, until: Monotonic, places: Vec<QueueKey> },
    /// The resolvers are asked, at the cost of this place.
    Asked { arrival: Arrival, place: QueueKey },
}

/// Look-ups on their way, and what of the budgets is taken.
pub(super) struct Flights {
    by_name: HashMap<DomainName, Flight>,
    queue: Queue,
    /// Names that wait, by the time at which they no longer do.
    waiting: VecDeque<(Monotonic, DomainName)>,
    /// When the present second began.
    second: Monotonic,
    started: Shares,
    under_way: Shares,
    /// Something was given back since those who wait were last served.
    may_serve: bool,
    /// Somebody looks after those who wait.
    is_paced: bool,
}

impl Flights {
    /// None yet.
    pub(super) fn new(settings: &LookupSettings) -> Self {
        Self {
            by_name: HashMap::new(),
            queue: Queue::new(settings.waiting_max, settings.waiting_per_subscriber_max),
            waiting: VecDeque::new(),
            second: Monotonic::default(),
            started: Shares::new(settings.per_second_max),
            under_way: Shares::new(u32::try_from(settings.in_flight_max).unwrap_or(u32::MAX)),
            may_serve: false,
            is_paced: false,
        }
    }

    /// Whether a look-up of the name is on its way.
    pub(super) fn has(&self, name: &DomainName) -> bool {
        self.by_name.contains_key(name)
    }

    /// Takes a further question of an inquiry from the budget.
    pub(super) fn take_further(&mut self, now: Monotonic) -> bool {
        self.begin_second(now);
        self.started.take_further()
    }

    /// Begins another second where one is over.
    fn begin_second(&mut self, now: Monotonic) {
        if now.since(self.second) >= SECOND {
            self.second = now;
            self.started.clear();
            self.may_serve = true;
        }
    }

    /// The look-up under way for the name. One that nobody is at work on any more, for it panicked, is forgotten.
    fn asked(&mut self, name: &DomainName) -> Option<Arrival> {
        let Some(Flight::Asked { arrival, .. }) = self.by_name.get(name) else { return None };
        if is_under_way(arrival) {
            return Some(arrival.clone());
        }
        self.end(name);
        None
    }

    /// Takes out a look-up that was under way.
    fn end(&mut self, name: &DomainName) {
        if let Some(Flight::Asked { place: (kind, subscriber), .. }) = self.by_name.remove(name) {
            self.under_way.give_back(kind, &subscriber);
            self.may_serve = true;
        }
    }

    /// Whether a look-up may be started at the cost of this place.
    fn has_room_for(&self, (kind, subscriber): &QueueKey) -> bool {
        self.started.has_room_for(*kind, subscriber) && self.under_way.has_room_for(*kind, subscriber)
    }

    /// The next of a kind whose turn has come.
    fn next(&mut self, kind: Kind) -> Option<(QueueKey, DomainName)> {
        loop {
            let (started, under_way) = (&self.started, &self.under_way);
            if !started.has_room(kind) || !under_way.has_room(kind) {
                return None;
            }
            let (subscriber, name) = self.queue.pop(kind, |subscriber| {
                started.has_room_for(kind, subscriber) && under_way.has_room_for(kind, subscriber)
            })?;
            if matches!(self.by_name.get(&name), Some(Flight::Waiting { .. })) {
                return Some(((kind, subscriber), name));
            }
        }
    }

    /// Notes that the resolvers are asked for `name` at the cost of `place`: where the answer is to be sent, and where it
    /// comes.
    fn start(&mut self, name: &DomainName, place: QueueKey) -> (watch::Sender<Option<Answer>>, Arrival) {
        let (sender, arrival) = match self.by_name.remove(name) {
            Some(Flight::Waiting { sender, places, .. }) => {
                places.iter().for_each(|place| self.queue.remove(place, name));
                let arrival = sender.subscribe();
                (sender, arrival)
            }
            Some(Flight::Asked { .. }) | None => watch::channel(None),
        };
        let (kind, subscriber) = &place;
        self.started.take(*kind, subscriber);
        self.under_way.take(*kind, subscriber);
        self.by_name.insert(name.clone(), Flight::Asked { arrival: arrival.clone(), place });
        (sender, arrival)
    }

    /// Puts a name in the queue, or joins those who wait for it; none when there is no room. The second value is how many
    /// names gave up their place.
    fn wait(&mut self, name: &DomainName, place: QueueKey, until: Monotonic) -> (Option<Arrival>, u64) {
        let joined = match self.by_name.get(name) {
            Some(Flight::Waiting { sender, places, .. }) => {
                let has_place = places.contains(&place) || places.len() >= PLACES_MAX;
                Some((sender.subscribe(), has_place))
            }
            Some(Flight::Asked { .. }) | None => None,
        };
        if let Some((arrival, true)) = joined {
            return (Some(arrival), 0);
        }
        let arrival = joined.map(|(arrival, _)| arrival);
        let displaced = match self.queue.push(&place, name) {
            Queued::Waits => None,
            Queued::Displaced(other, other_name) => Some((other, other_name)),
            Queued::Full => return (arrival, 0),
        };
        let arrival = match self.by_name.get_mut(name) {
            Some(Flight::Waiting { places, .. }) => {
                places.push(place);
                arrival
            }
            Some(Flight::Asked { .. }) | None => {
                let (sender, arrival) = watch::channel(None);
                let flight = Flight::Waiting { sender, until, places: vec![place] };
                self.by_name.insert(name.clone(), flight);
                self.waiting.push_back((until, name.clone()));
                Some(arrival)
            }
        };
        // Behind that: it may be the same name, which waits on in the new place.
        let given_up = displaced.map_or(0, |(other, other_name)| self.lose(&other, &other_name));
        (arrival, given_up)
    }

    /// A place in the queue is lost; 1 when the name has no other and is given up.
    fn lose(&mut self, place: &QueueKey, name: &DomainName) -> u64 {
        let Some(Flight::Waiting { places, .. }) = self.by_name.get_mut(name) else { return 0 };
        places.retain(|known| known != place);
        if places.is_empty() { self.give_up(name) } else { 0 }
    }

    /// Tells those who wait for a name that its turn does not come.
    fn give_up(&mut self, name: &DomainName) -> u64 {
        let Some(Flight::Waiting { sender, places, .. }) = self.by_name.remove(name) else { return 0 };
        places.iter().for_each(|place| self.queue.remove(place, name));
        // Nobody may be waiting any more.
        let _ = sender.send(Some(Err(LookupError::Busy)));
        1
    }

    /// Gives up names whose turn did not come in time; how many.
    fn give_up_overdue(&mut self, now: Monotonic) -> u64 {
        let mut given_up = 0_u64;
        while self.waiting.front().is_some_and(|(until, _)| *until <= now) {
            let Some((until, name)) = self.waiting.pop_front() else { break };
            // It may have been asked since, and wait again.
            let is_it =
                matches!(self.by_name.get(&name), Some(Flight::Waiting { until: own, .. }) if *own == until);
            if is_it {
                given_up = given_up.saturating_add(self.give_up(&name));
            }
        }
        self.queue.tidy();
        given_up
    }
}

/// Whether somebody is at work behind a channel. One that panicked never takes its entry away, and would be waited for for
/// ever.
pub(super) fn is_under_way<T>(receiver: &watch::Receiver<T>) -> bool {
    receiver.has_changed().is_ok()
}

/// Waits for a look-up to end.
pub(super) async fn landed(mut arrival: Arrival) -> Answer {
    match arrival.wait_for(Option::is_some).await {
        Ok(answer) => answer.clone().unwrap_or(Err(LookupError::Failed)),
        // The look-up's task ended without an answer: the runtime is stopping.
        Err(_) => Err(LookupError::Failed),
    }
}

#[cfg(test)]
mod tests;

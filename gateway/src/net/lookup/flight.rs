//! Look-ups on their way: one for each name, however many flows ask (trap V5); whoever finds nothing left of the budget
//! waits for his turn ([`super::turns`]), at most `total_timeout`.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use allowlist::DomainName;
use tokio::sync::watch;

use super::turns::{Asker, Kind, Place, Queue, Queued, Shares};
use super::{Answer, LookupError, LookupSettings, Lookups, State};
use crate::flow::time::Monotonic;

/// How often it is looked whose turn has come, or passed by, while anybody waits.
const PACE: Duration = Duration::from_millis(50);
/// The time that `per_second_max` speaks of.
const SECOND: Duration = Duration::from_secs(1);
/// Subscribers who wait in a place of their own for the same name; more wait with them.
const PLACES_MAX: usize = 16;

/// Where an answer will come.
pub(super) type Arrival = watch::Receiver<Option<Answer>>;

/// A look-up that somebody waits for.
enum Flight {
    /// Its turn has not come.
    Waiting { sender: watch::Sender<Option<Answer>>, until: Monotonic, places: Vec<Place> },
    /// The resolvers are asked, at the cost of this place.
    Asked { arrival: Arrival, place: Place },
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
    fn has_room_for(&self, (kind, subscriber): &Place) -> bool {
        self.started.has_room_for(*kind, subscriber) && self.under_way.has_room_for(*kind, subscriber)
    }

    /// The next of a kind whose turn has come.
    fn next(&mut self, kind: Kind) -> Option<(Place, DomainName)> {
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
    fn start(&mut self, name: &DomainName, place: Place) -> (watch::Sender<Option<Answer>>, Arrival) {
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
    fn wait(&mut self, name: &DomainName, place: Place, until: Monotonic) -> (Option<Arrival>, u64) {
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
    fn lose(&mut self, place: &Place, name: &DomainName) -> u64 {
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

impl Lookups {
    /// Joins the look-up on its way for `name`, or starts one, or waits for its turn.
    pub(super) fn ask(
        self: &Arc<Self>,
        state: &mut State,
        asker: &Asker,
        name: &DomainName,
        now: Monotonic,
    ) -> Result<Arrival, LookupError> {
        if self.resolvers.is_none() {
            return Err(LookupError::NoResolver);
        }
        if let Some(arrival) = state.flights.asked(name) {
            return Ok(arrival);
        }
        // Those who wait come first.
        state.flights.begin_second(now);
        self.serve(state);
        if let Some(arrival) = state.flights.asked(name) {
            return Ok(arrival);
        }
        let is_known = state.cache.get(name).is_some_and(|known| known.is_known())
            || self.policy.load().names_itself(name);
        let place = (Kind::of(asker, is_known), asker.subscriber.clone());
        if state.flights.has_room_for(&place) {
            return Ok(self.start(state, name, place));
        }
        let until = now.plus(self.settings.total_timeout);
        let (arrival, given_up) = state.flights.wait(name, place, until);
        let refused = given_up.saturating_add(u64::from(arrival.is_none()));
        state.counts.refused = state.counts.refused.saturating_add(refused);
        self.pace(state);
        arrival.ok_or(LookupError::Busy)
    }

    /// Asks the resolvers for `name`.
    fn start(self: &Arc<Self>, state: &mut State, name: &DomainName, place: Place) -> Arrival {
        let subscriber = place.1.clone();
        let (sender, arrival) = state.flights.start(name, place);
        let Some(resolvers) = self.resolvers.clone() else { return arrival };
        let (lookups, name) = (Arc::clone(self), name.clone());
        self.runtime.spawn(async move {
            let (answer, ttl) = lookups.query(&resolvers, &subscriber, &name).await;
            lookups.land(&name, &answer, ttl);
            // Nobody may be waiting any more; the answer is kept all the same.
            let _ = sender.send(Some(answer));
        });
        arrival
    }

    /// Starts what waits and whose turn has come.
    fn serve(self: &Arc<Self>, state: &mut State) {
        if !std::mem::take(&mut state.flights.may_serve) || state.flights.queue.is_empty() {
            return;
        }
        for kind in Kind::ALL {
            while let Some((place, name)) = state.flights.next(kind) {
                self.start(state, &name, place);
            }
        }
    }

    /// Takes a look-up that was answered from those on their way.
    pub(super) fn end(self: &Arc<Self>, state: &mut State, name: &DomainName) {
        state.flights.end(name);
        self.serve(state);
    }

    /// Sees to it that those who wait get their turns.
    fn pace(self: &Arc<Self>, state: &mut State) {
        if state.flights.queue.is_empty() || std::mem::replace(&mut state.flights.is_paced, true) {
            return;
        }
        let lookups = Arc::clone(self);
        self.runtime.spawn(async move {
            loop {
                tokio::time::sleep(PACE).await;
                let now = lookups.clock.monotonic();
                let mut state = lookups.state();
                state.flights.begin_second(now);
                lookups.serve(&mut state);
                let given_up = state.flights.give_up_overdue(now);
                state.counts.refused = state.counts.refused.saturating_add(given_up);
                if state.flights.queue.is_empty() {
                    state.flights.is_paced = false;
                    return;
                }
            }
        });
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
mod tests {
    use std::net::{IpAddr, SocketAddr};

    use super::*;
    use crate::flow::session::SubscriberKey;

    fn name(number: usize) -> DomainName {
        DomainName::from_wire(format!("n{number}.kz").as_bytes()).unwrap()
    }

    fn place(kind: Kind, last: u8) -> Place {
        (kind, SubscriberKey::Address(IpAddr::from([10, 0, 0, last])))
    }

    fn at(seconds: u64) -> Monotonic {
        Monotonic::new(Duration::from_secs(seconds))
    }

    fn flights(waiting_max: usize) -> Flights {
        Flights::new(&LookupSettings {
            resolvers: vec![SocketAddr::from(([127, 0, 0, 1], 53))],
            try_timeout: SECOND,
            tries: 1,
            total_timeout: SECOND,
            stale_after: SECOND,
            cnames_max: 1,
            negative_ttl: SECOND,
            per_second_max: 8,
            in_flight_max: 8,
            per_subscriber_minute_max: 1,
            waiting_max,
            waiting_per_subscriber_max: 4,
            names_max: 1,
            scheduled_per_second_max: 0,
        })
    }

    #[test]
    fn f4_a_name_that_waits_is_joined_and_answered_once_in_whosever_turn() {
        let mut flights = flights(8);
        let forged = place(Kind::NewUnproven, 1);
        let (first, _) = flights.wait(&name(1), forged.clone(), at(4));
        let (again, _) = flights.wait(&name(1), forged, at(4));
        let (other, _) = flights.wait(&name(1), place(Kind::New, 2), at(5));
        let arrivals = [first.unwrap(), again.unwrap(), other.unwrap()];
        assert_eq!(flights.waiting.len(), 1);
        let (honest, found) = flights.next(Kind::New).unwrap();
        assert_eq!((&honest, &found), (&place(Kind::New, 2), &name(1)));
        let (sender, _) = flights.start(&found, honest);
        assert!(flights.queue.is_empty(), "the other place is given back");
        assert!(flights.next(Kind::NewUnproven).is_none());
        sender.send(Some(Err(LookupError::NoAddress))).unwrap();
        for arrival in arrivals {
            assert_eq!(*arrival.borrow(), Some(Err(LookupError::NoAddress)));
        }
        flights.end(&name(1));
        assert!(!flights.has(&name(1)) && flights.under_way.has_room_for(Kind::New, &place(Kind::New, 2).1));
    }

    #[test]
    fn f4_whoever_s_turn_does_not_come_in_time_is_told() {
        let mut flights = flights(8);
        let arrivals: Vec<_> = (0..3)
            .map(|number| flights.wait(&name(number), place(Kind::New, 1), at(4 + number as u64)).0.unwrap())
            .collect();
        assert_eq!(flights.give_up_overdue(at(3)), 0);
        assert_eq!(flights.give_up_overdue(at(4)), 1);
        assert_eq!(flights.give_up_overdue(at(9)), 2);
        assert!(flights.queue.is_empty() && flights.by_name.is_empty());
        assert!(arrivals.iter().all(|arrival| *arrival.borrow() == Some(Err(LookupError::Busy))));
    }

    #[test]
    fn f4_a_place_that_is_displaced_is_told_unless_there_is_another() {
        let mut flights = flights(4);
        let waits =
            |flights: &mut Flights, number, last| flights.wait(&name(number), place(Kind::New, last), at(4));
        let arrivals: Vec<_> = (0..4).map(|number| waits(&mut flights, number, 1).0.unwrap()).collect();
        assert!(waits(&mut flights, 4, 1).0.is_none(), "full of his own");
        assert_eq!(waits(&mut flights, 9, 2).1, 1);
        assert_eq!(*arrivals[3].borrow(), Some(Err(LookupError::Busy)), "the last he asked for");
        // Somebody else waits for the same.
        assert_eq!(waits(&mut flights, 2, 3).1, 0, "displaced, and joined");
        assert_eq!(*arrivals[2].borrow(), None);
    }

    #[test]
    fn f4_a_look_up_that_panicked_gives_its_place_back() {
        let mut flights = flights(4);
        let (sender, _arrival) = flights.start(&name(1), place(Kind::New, 1));
        assert!(!flights.has_room_for(&place(Kind::New, 1)) && flights.asked(&name(1)).is_some());
        flights.begin_second(at(1));
        drop(sender);
        assert!(flights.asked(&name(1)).is_none());
        assert!(flights.has_room_for(&place(Kind::New, 1)));
    }
}

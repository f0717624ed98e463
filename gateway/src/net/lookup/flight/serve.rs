//! Starts look-ups: a flow joins one that is on its way, begins one where there is room, or waits; those who wait are served in
//! their turns.

use std::sync::Arc;
use std::time::Duration;

use allowlist::DomainName;

use super::Arrival;
use crate::flow::time::Monotonic;
use crate::net::lookup::turns::{Asker, Kind, QueueKey};
use crate::net::lookup::{LookupError, Lookups, State};

/// How often it is looked whose turn has come, or passed by, while anybody waits.
const PACE: Duration = Duration::from_millis(50);

impl Lookups {
    /// Joins the look-up on its way for `name`, or starts one, or waits for its turn.
    pub(in crate::net::lookup) fn ask(
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
    fn start(self: &Arc<Self>, state: &mut State, name: &DomainName, place: QueueKey) -> Arrival {
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
    pub(in crate::net::lookup) fn end(self: &Arc<Self>, state: &mut State, name: &DomainName) {
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

//! Packets that bind nothing, and tell all the same what their session had: whoever began before it and is still there has lost
//! that, for it came to this session since. Else bytes of one subscriber would go to another who left long ago.

use std::cmp::Ordering;

use billing_export::Session;

use super::Registry;
use super::book::is_same;
use super::decision::Takeover;
use super::life::{begun, is_of_another, is_outside, said};
use super::report::{Ports, Report, Subscriber};
use super::spot::Spot;
use super::work::Work;

impl Registry {
    /// A packet of a session that has ended, and stays so.
    pub(super) fn testify(
        &mut self,
        work: &mut Work,
        slot: u32,
        report: &Report,
        subscriber: Option<&Subscriber>,
    ) {
        let Some(known) = self.book.get(slot) else { return };
        let Some((_, at)) = known.end else { return };
        let begun = begun(report, work.event);
        let is_later = begun.is_some_and(|begun| known.is_earlier_than(begun));
        if is_later || work.event < known.start || is_of_another(known, subscriber) {
            // Of another session under its id.
            let realm = known.realm;
            if let Some(start) = begun {
                self.displace(work, report, realm, subscriber, start);
            }
            return;
        }
        let event = work.event;
        work.event = event.max(at);
        self.name(work, slot, report);
        let Some(known) = self.book.get(slot) else { return };
        let (start, who) = (known.start, (known.realm, known.session.clone()));
        for spot in known.wanted() {
            if self.displace_at(work, spot, &who, start) {
                work.rows.insert(slot);
            }
        }
        work.event = event;
    }

    /// A packet of a session that is not kept, which began at `start`.
    pub(super) fn displace(
        &mut self,
        work: &mut Work,
        report: &Report,
        realm: u32,
        subscriber: Option<&Subscriber>,
        start: u32,
    ) {
        let who = holder(realm, subscriber);
        for spot in spots(report) {
            self.displace_at(work, spot, &who, start);
        }
    }

    /// A packet of a session for which there is no room: what it has, and nobody had, is not to be somebody's who began before it.
    pub(super) fn remember_unkept(
        &mut self,
        work: &mut Work,
        report: &Report,
        realm: u32,
        subscriber: Option<&Subscriber>,
        start: u32,
    ) {
        let places_max = self.places_max();
        for spot in spots(report) {
            let who = holder(realm, subscriber);
            let at = (work.event, work.heard);
            self.places.remember(spot, who, start, at, places_max);
        }
    }

    /// Somebody had a spot from `start` on; whether somebody else has lost it by that.
    pub(super) fn displace_at(
        &mut self,
        work: &mut Work,
        spot: Spot,
        who: &(u32, Option<Session>),
        start: u32,
    ) -> bool {
        let mut is_news = false;
        for rival in self.places.rivals(spot) {
            let Some(place) = self.places.get(rival) else { continue };
            let is_foreign = |slot: &u32| {
                let known = self.book.get(*slot);
                let known = known.map(|known| (known.realm, known.session.as_ref()));
                !known.is_some_and(|known| is_same(known, (who.0, who.1.as_ref())))
            };
            if !place.claims.slots().iter().any(is_foreign) {
                continue;
            }
            let order = place.top.cmp(&start);
            self.touch(work, rival);
            let dropped = match order {
                Ordering::Less => {
                    work.decision.takeovers.push(Takeover::LaterStart);
                    let dropped = self.drop_claims(work, rival, u32::MAX, start);
                    self.places.pass(rival, who.clone(), start);
                    dropped
                }
                // Whoever began in the same second may have it behind him.
                Ordering::Equal => self.stands_between(work, start, start.saturating_sub(1), rival),
                Ordering::Greater => self.stands_between(work, start, start, rival),
            };
            is_news |= !dropped.is_empty();
            self.have_lost(work, u32::MAX, dropped);
        }
        is_news
    }
}

/// Who a report says that has something.
fn holder(realm: u32, subscriber: Option<&Subscriber>) -> (u32, Option<Session>) {
    (realm, subscriber.and_then(|who| Session::new(who.kind(), who.id(), "").ok()))
}

/// All that a report says that its session has.
fn spots(report: &Report) -> Vec<Spot> {
    let ports = report.ports.iter().filter(|port| is_outside(report) && port.change != Ports::Remove);
    let ports = ports.filter_map(|port| Spot::ports(port.address, port.first, port.last));
    said(report).into_values().flatten().chain(ports).collect()
}

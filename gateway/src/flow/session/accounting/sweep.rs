//! What time does to sessions, and a restart (rules 14 and 15).

use std::time::Duration;

use billing_export::Session;

use super::book::{Key, Known, Named, is_same, row_key};
use super::decision::{Decision, End, Memory, NamedSpot, Row, RowChange};
use super::places::Place;
use super::report::Kind;
use super::work::Work;
use super::{Registry, rank, seconds, text};
use crate::flow::session::SessionState;
use crate::flow::time::Moment;

/// Sessions that one sweep looks at: a few milliseconds. Of a million each is looked at in every sixteenth sweep.
const SWEEP_MAX: usize = 65_536;

/// How long nobody listened before what the disk kept was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Away {
    /// Not at all: a successor took over.
    TookOver,
    /// For so long, of which `trust_gap` is trusted to have changed nothing.
    For {
        /// From the last saved tick to now.
        gap: Duration,
        /// Rule 15.
        trust_gap: Duration,
    },
}

impl Registry {
    /// What follows from time passing, to be asked for once a second.
    pub fn tick(&mut self, now: Moment) -> Decision {
        let heard = self.heard(now);
        let mut work = Work::new(seconds(now), heard);
        let slots = self.book.slots();
        for _ in 0..slots.min(SWEEP_MAX) {
            self.swept = if self.swept.saturating_add(1) < slots { self.swept.saturating_add(1) } else { 0 };
            if let Ok(slot) = u32::try_from(self.swept) {
                self.grow_old(&mut work, slot);
            }
        }
        let since = heard.saturating_sub(self.history);
        self.places.forget_before(since, SWEEP_MAX);
        for _ in 0..SWEEP_MAX {
            match self.book.ended.front() {
                Some((_, _, at)) if *at < since => self.forget_ended(&mut work, false),
                _ => break,
            }
        }
        self.finish(work)
    }

    /// A session that nobody hears of is stale, and in the end forgotten.
    fn grow_old(&mut self, work: &mut Work, slot: u32) {
        let Some(known) = self.book.get(slot).filter(|known| known.is_open()) else { return };
        let (unheard, silence) = (work.heard.saturating_sub(known.heard), known.silence);
        if unheard < silence {
            return;
        }
        if known.state != SessionState::Stale {
            known.wanted().into_iter().for_each(|spot| self.touch(work, spot));
            if let Some(known) = self.book.get_mut(slot) {
                known.state = SessionState::Stale;
            }
            work.rows.insert(slot);
        } else if unheard >= silence.max(self.history) {
            let at = known.event;
            self.end(work, slot, End::Lost, at);
        }
    }

    /// Forgets sessions that ended where there are more than may be remembered.
    pub(super) fn forget_over_limit(&mut self, work: &mut Work) {
        while self.book.len().saturating_sub(self.book.open()) > self.sessions_max {
            if self.book.ended.is_empty() {
                break;
            }
            self.forget_ended(work, true);
        }
        self.book.tidy();
    }

    /// Forgets the session that ended first. `early`: before its packets are too old to be believed.
    fn forget_ended(&mut self, work: &mut Work, early: bool) {
        let Some((slot, event, _)) = self.book.ended.pop_front() else { return };
        let is_it = |known: &&Known| known.end.is_some_and(|(_, at)| at == event);
        let Some(known) = self.book.get(slot).filter(is_it) else { return };
        work.decision.rows.extend(row_key(known, &self.servers).map(RowChange::Delete));
        let nas = known.key.nas;
        self.book.remove(slot);
        if early {
            self.note_forgotten(work, nas, event);
        }
    }

    /// A session of an access server ended with this event, and is not known any more, or never was: its older packets may come
    /// yet.
    pub(super) fn note_forgotten(&mut self, work: &mut Work, nas: u32, event: u32) {
        if let Some(server) = self.servers.get_mut(nas) {
            server.forgotten = server.forgotten.max(event);
            work.servers.insert(nas);
        }
    }

    /// Takes in what the disk kept. To be called once, before the first report.
    pub fn restore(&mut self, memory: Memory, away: Away, now: Moment) -> Decision {
        let Memory { mut rows, servers, forgotten } = memory;
        let mut work = Work::new(seconds(now), self.heard(now));
        for row in servers {
            let Some(place) = self.servers.place(&row.realm, &row.nas) else { continue };
            if row.said > 0 {
                self.servers.reset(place, row.said);
            }
            if let Some(server) = self.servers.get_mut(place) {
                server.forgotten = row.forgotten;
            }
        }
        // What ended is remembered by when that was heard: the earliest first.
        rows.sort_by_key(|row| (row.heard, row.start));
        let mut slots: Vec<u32> =
            rows.into_iter().filter_map(|row| self.take_in(&mut work, row, away)).collect();
        // As it came about: the later start takes what is free or was an earlier one's, and those that ended are before those that
        // last.
        slots.sort_by_key(|slot| self.book.get(*slot).map(|known| (known.start, known.is_open())));
        for slot in &slots {
            self.claim_again(&mut work, *slot);
        }
        // Behind all who have something: what is lost is kept from coming back where nobody has it.
        for slot in slots {
            self.keep_lost(&mut work, slot);
        }
        self.told_forgotten = forgotten;
        self.places.raise_forgotten(forgotten);
        // They were counted when they came about.
        work.decision.takeovers.clear();
        self.finish(work)
    }

    /// Takes a row in.
    fn take_in(&mut self, work: &mut Work, row: Row, away: Away) -> Option<u32> {
        let nas = self.servers.place(&row.key.realm, &row.key.nas)?;
        let realm = self.servers.get(nas)?.realm;
        let key = Key { nas, id: row.key.session };
        if self.book.find(&key).is_some() {
            return None;
        }
        let id = text::session_id(&key.id, row.start);
        let session = row.subscriber.and_then(|who| Session::new(who.kind(), who.id(), &id).ok());
        let after = match away {
            Away::TookOver => SessionState::Active,
            Away::For { gap, trust_gap } if gap <= trust_gap => SessionState::Suspect,
            Away::For { .. } => SessionState::Stale,
        };
        let state = if rank(after) > rank(row.state) && row.end.is_none() { after } else { row.state };
        let is_changed = state != row.state;
        let named =
            row.spots.into_iter().map(|NamedSpot { kind, spot, lost }| Named { spot, kind, lost }).collect();
        let known = Known {
            key,
            realm,
            session,
            named,
            inside: row.inside.map(Box::new),
            start: row.start,
            event: row.event,
            heard: row.heard,
            silence: row.silence,
            end: row.end,
            state,
            unsure: row.unsure,
            translated: row.translated,
            is_nat: row.is_nat,
        };
        let slot = self.book.add(known)?;
        if let Some((_, at)) = row.end {
            self.book.ended.push_back((slot, at, row.heard));
        } else if let Some(inside) = row.inside.filter(|_| row.is_nat) {
            self.joined.entry((inside, realm)).or_default().push(slot);
        }
        if is_changed {
            work.rows.insert(slot);
        }
        Some(slot)
    }

    /// Claims what a session had, and leaves what it has no more.
    fn claim_again(&mut self, work: &mut Work, slot: u32) {
        let Some(known) = self.book.get(slot) else { return };
        let (is_open, event) = (known.is_open(), known.end.map_or(known.event, |(_, at)| at));
        let mut named = known.named.clone();
        named.retain(|named| named.lost == 0);
        named.sort_by_key(|named| named.kind != Kind::Former);
        let now = std::mem::replace(&mut work.event, event);
        for named in named {
            self.claim(work, slot, named.spot);
            if !is_open || named.kind == Kind::Former {
                self.drop_claim(work, slot, named.spot);
            }
        }
        work.event = now;
    }

    /// Has a session not come back to what it has lost: who had it may not be known any more, or never had room.
    fn keep_lost(&mut self, work: &mut Work, slot: u32) {
        let Some(known) = self.book.get(slot) else { return };
        let (realm, session, event) = (known.realm, known.session.clone(), known.event);
        let lost: Vec<Named> = known.named.iter().filter(|named| named.lost > 0).copied().collect();
        let places_max = self.places_max();
        for Named { spot, lost, .. } in lost {
            let claims = self.places.get(spot).map(|place| place.claims.slots().to_vec()).unwrap_or_default();
            let is_own = claims.iter().all(|claim| self.is_same(*claim, slot));
            match self.places.claimed(spot, lost, places_max) {
                Some(place) if !claims.is_empty() && is_own => place.other = place.other.max(lost),
                // Whoever has it stands in the way, and will when he has left.
                Some(_) if !claims.is_empty() => {}
                Some(Place { last: Some(last), other, .. }) => {
                    let is_own = is_same((last.who.0, last.who.1.as_ref()), (realm, session.as_ref()));
                    let barrier = if is_own { *other } else { last.start.max(*other) };
                    if barrier < lost {
                        self.places.pass(spot, (realm, None), lost);
                    }
                }
                Some(place) => {
                    place.top = lost;
                    self.places.free(spot, (realm, None), event, work.heard);
                }
                None => {}
            }
        }
    }
}

//! Sessions from RADIUS accounting (RFC 2866): who has which address, from what access servers say, late, twice, or never.
//!
//! One state machine without a clock: [`Registry::decide`] takes a report and a time, and gives what follows from it. The caller
//! writes [`Decision::rows`] to the disk, then applies [`Decision::changes`] to the table of sessions, then answers. Time that
//! passes without a report comes in by [`Registry::tick`], what the disk kept by [`Registry::restore`].
//!
//! An address belongs to a subscriber only while that can be told. Of two that claim it the later start has it; two that started
//! in one second have it neither, until one ends or goes on; who was refused or has lost it does not come back by a late packet.
//! Times of events are whole seconds, for that is what access servers send; those of arrival are cut to seconds too, so that a
//! fraction decides nothing.
//!
//! Ports of an address are claimed alike. The table of sessions has them as blocks of its own ([`Block::of_ports`]), and the address
//! they are of as nobody's.
//!
//! Memory: some 380 bytes for a session with an IPv4 address and 510 with a prefix beside it, measured at a million with all its
//! texts, which the table of sessions shares; what that holds itself comes on top. As many sessions that ended are remembered as may last, and four spots for each; who has to forget one before its time forgets
//! with it whoever might come late.

mod book;
mod claims;
mod decision;
mod evidence;
mod life;
mod places;
mod report;
mod spot;
mod sweep;
mod text;
mod translator;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use billing_export::Session;

use self::book::{Book, Servers, is_same};
use self::places::Places;
use self::work::{Shown, Work};
use super::{Block, SessionState};
use crate::flow::time::Moment;

pub use decision::{
    Bound, Decision, End, Ended, Memory, NamedSpot, Outcome, Row, RowChange, RowKey, ServerRow, Takeover,
};
pub use report::{Client, ClientKind, Kind, Nas, PortChange, Ports, Report, Side, Status, Subscriber};
pub use spot::Spot;
pub use sweep::Away;

/// How far ahead an Event-Timestamp may be (rule 3): clocks drift, and none is right by more.
const AHEAD_MAX_S: u32 = 300;
/// By how much an event that is reckoned from its arrival may seem later than it was: Acct-Delay-Time is cut to seconds.
const RECKONED_LATE_MAX_S: u32 = 1;
/// Spots for each session that may last: two addresses, and as many that are remembered.
const SPOTS_PER_SESSION: usize = 4;

/// Limits of a registry.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How old an Event-Timestamp may be; what ended longer ago is forgotten.
    pub history: Duration,
    /// Sessions that last, and as many that have ended.
    pub sessions_max: usize,
}

/// All sessions that access servers told of.
#[derive(Debug)]
pub struct Registry {
    history: u32,
    sessions_max: usize,
    /// What the clocks read when it was made: silence is measured from here by the one that cannot be set.
    made: Moment,
    servers: Servers,
    book: Book,
    places: Places,
    /// Translators' sessions by inside address and realm.
    joined: BTreeMap<(Spot, u32), Vec<u32>>,
    /// Addresses that are nobody's but for ports that somebody has.
    occupied: BTreeSet<Spot>,
    /// The slot at which the next sweep begins.
    swept: usize,
    /// What the disk knows of [`Places::forgotten`].
    told_forgotten: u32,
}

/// Who has an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The session.
    pub session: Session,
    /// Its state.
    pub state: SessionState,
    /// What it has.
    pub spot: Spot,
    /// Its realm.
    pub realm: Arc<str>,
    /// Its access server.
    pub nas: Nas,
    /// Its start, in Unix seconds.
    pub start: u32,
    /// When it was last heard of, in Unix seconds.
    pub heard: u32,
}

/// What a report says of time.
struct Told {
    /// When its event happened, in Unix seconds.
    event: u32,
    /// That is reckoned from its arrival.
    is_reckoned: bool,
    /// What it says itself was not believed.
    is_doubted: bool,
}

impl Registry {
    /// An empty one, made at `now`.
    pub fn new(limits: Limits, now: Moment) -> Self {
        Self {
            history: u32::try_from(limits.history.as_secs()).unwrap_or(u32::MAX),
            sessions_max: limits.sessions_max,
            made: now,
            servers: Servers::default(),
            book: Book::default(),
            places: Places::default(),
            joined: BTreeMap::new(),
            occupied: BTreeSet::new(),
            swept: 0,
            told_forgotten: 0,
        }
    }

    /// What follows from a report that arrived at `now`. It is applied here at once.
    pub fn decide(&mut self, report: &Report, now: Moment) -> Decision {
        let told = self.event(report, seconds(now));
        let mut work = Work::new(told.event, self.heard(now));
        work.decision.clock_doubt = told.is_doubted;
        work.late_max = if told.is_reckoned { RECKONED_LATE_MAX_S } else { 0 };
        work.decision.outcome = match report.status {
            Status::Other => Outcome::Applied,
            Status::On | Status::Off => self.reset(report, &mut work),
            Status::Start | Status::Interim | Status::Stop => self.hear(report, &mut work),
        };
        self.finish(work)
    }

    /// Who has a port of an address, by the longest prefix; without a port who has the address with all of them.
    pub fn find(&self, address: IpAddr, port: Option<u16>) -> Option<Holder> {
        let own = Block::of(address);
        // A short prefix of IPv6 holds no IPv4 address.
        let shortest = if own.is_v4() { super::block::MAPPED_BITS } else { 0 };
        for length in self.places.lengths().filter(|length| *length >= shortest) {
            let whole = Spot::of(own.widened(length));
            let covers = |spot: Spot| match (port, spot.range()) {
                (Some(port), (first, last)) => first <= port && port <= last,
                (None, _) => spot.block().is_some(),
            };
            let claimed = |(spot, place): &(Spot, &places::Place)| {
                covers(*spot) && !place.claims.slots().is_empty() && spot.addresses() == whole.addresses()
            };
            if let Some((spot, _)) = self.places.of(whole).find(claimed) {
                return self.holder(spot);
            }
        }
        None
    }

    /// All that is to be known again after a restart.
    pub fn rows(&self) -> Vec<RowChange> {
        let slots = 0..u32::try_from(self.book.slots()).unwrap_or(u32::MAX);
        let sessions = slots.filter_map(|slot| self.book.row(slot, &self.servers)).map(RowChange::Upsert);
        let servers = self.servers.rows().map(RowChange::Server);
        let forgotten = (self.told_forgotten > 0).then_some(RowChange::Forgotten(self.told_forgotten));
        sessions.chain(servers).chain(forgotten).collect()
    }

    /// Sessions that last.
    pub const fn open(&self) -> usize {
        self.book.open()
    }

    /// Sessions that last by their state: active, suspect, stale.
    pub fn states(&self) -> [u64; 3] {
        let mut states = [0_u64; 3];
        for slot in 0..u32::try_from(self.book.slots()).unwrap_or(u32::MAX) {
            let known = self.book.get(slot).filter(|known| known.is_open());
            if let Some(count) = known.and_then(|known| states.get_mut(usize::from(rank(known.state)))) {
                *count = count.saturating_add(1);
            }
        }
        states
    }

    /// Sessions that are known, those that ended among them.
    pub fn known(&self) -> usize {
        self.book.len()
    }

    /// Blocks and ranges of ports that are held or remembered.
    pub fn spots(&self) -> usize {
        self.places.len()
    }

    /// Who has a spot.
    fn holder(&self, spot: Spot) -> Option<Holder> {
        let slot = self.shown_slot(spot)?;
        let known = self.book.get(slot)?;
        let server = self.servers.get(known.key.nas)?;
        Some(Holder {
            session: known.session.clone()?,
            state: known.state,
            spot,
            realm: self.servers.realm(known.realm)?.clone(),
            nas: server.nas.clone(),
            start: known.start,
            heard: known.heard,
        })
    }

    /// The session that a spot is counted for: of those of one subscriber the first in the best state. None where nobody can tell.
    fn shown_slot(&self, spot: Spot) -> Option<u32> {
        let slots = self.places.get(spot)?.claims.slots();
        let first = *slots.first()?;
        self.book.get(first)?.session.as_ref()?;
        if !slots.iter().all(|slot| self.is_same(first, *slot)) {
            return None;
        }
        slots.iter().copied().min_by_key(|slot| self.book.get(*slot).map(|known| rank(known.state)))
    }

    /// What the table is to say of a spot.
    fn shown(&self, spot: Spot) -> Option<Shown> {
        if self.places.get(spot)?.claims.slots().is_empty() {
            return None;
        }
        let known = self.shown_slot(spot).and_then(|slot| self.book.get(slot));
        let held = known.and_then(|known| Some((known.session.clone()?, known.state, known.start)));
        Some(held.map_or(Shown::Nobody, |(session, state, start)| Shown::Held { session, state, start }))
    }

    /// Whether two sessions are one subscriber's, or one session.
    fn is_same(&self, one: u32, other: u32) -> bool {
        let who = |slot| self.book.get(slot).map(|known| (known.realm, known.session.as_ref()));
        one == other || who(one).zip(who(other)).is_some_and(|(one, other)| is_same(one, other))
    }

    /// When the event happened that a report tells of (rule 3).
    fn event(&self, report: &Report, arrival: u32) -> Told {
        let is_believed = |stamp: &u32| {
            stamp.saturating_add(self.history) >= arrival && *stamp <= arrival.saturating_add(AHEAD_MAX_S)
        };
        let stamp = report.event_timestamp.filter(is_believed);
        let delay = report.delay.filter(|delay| *delay <= self.history);
        let is_doubted = stamp.is_none() && (report.event_timestamp.is_some() || delay != report.delay);
        let event = stamp.unwrap_or_else(|| arrival.saturating_sub(delay.unwrap_or(0)));
        // From 1 on: 0 is the start of nobody.
        Told { event: event.max(1), is_reckoned: stamp.is_none(), is_doubted }
    }

    /// Seconds by which silence is measured: Unix seconds that a step of the clock does not move.
    fn heard(&self, now: Moment) -> u32 {
        let since = now.monotonic.since(self.made.monotonic).as_secs();
        seconds(self.made).saturating_add(u32::try_from(since).unwrap_or(u32::MAX))
    }

    /// Accounting-On and -Off (rule 12).
    fn reset(&mut self, report: &Report, work: &mut Work) -> Outcome {
        let Some(place) = self.servers.place(&report.client.realm, &report.nas) else { return Outcome::Full };
        let is_news = self.servers.get(place).is_some_and(|server| work.event > server.said);
        if !is_news {
            return Outcome::Old;
        }
        for nas in self.servers.reset(place, work.event) {
            for slot in self.book.of(nas) {
                let is_over = |known: &book::Known| {
                    known.is_open() && known.start < work.event && known.event <= work.event
                };
                if self.book.get(slot).is_some_and(is_over) {
                    self.end(work, slot, End::Reset, work.event);
                }
            }
        }
        work.servers.insert(place);
        Outcome::Applied
    }
}

/// The wall clock in Unix seconds.
fn seconds(now: Moment) -> u32 {
    u32::try_from(now.wall.as_second().max(0)).unwrap_or(u32::MAX)
}

/// Which of several sessions of a subscriber an address is counted for.
const fn rank(state: SessionState) -> u8 {
    match state {
        SessionState::Active => 0,
        SessionState::Suspect => 1,
        SessionState::Stale => 2,
    }
}

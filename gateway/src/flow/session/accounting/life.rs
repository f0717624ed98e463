//! The life of a session: what a Start, Interim or Stop is to it (rules 4, 5, 6, 9, 10 and 11).

use std::collections::BTreeMap;
use std::sync::Arc;

use billing_export::Session;

use super::book::{Key, Known};
use super::claims::Claim;
use super::decision::{End, Ended, Outcome, Takeover};
use super::report::{ClientKind, Kind, Ports, Report, Side, Status, Subscriber};
use super::spot::Spot;
use super::translator::inside;
use super::work::Work;
use super::{Registry, text};
use crate::flow::session::SessionState;

/// How long after its Stop a session may be heard of without going on (rule 10).
const AFTERMATH_S: u32 = 60;

/// What a report is to the session with its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Nothing.
    Ignore,
    /// The first there is of it, or the first of another session under its id.
    Begin { start: u32 },
    /// It goes on.
    Continue,
    /// It goes on though it had ended.
    Reopen,
    /// It ends, and one of another subscriber begins.
    Change { start: u32 },
    /// The same, but which subscriber is the later one nobody can tell.
    Doubt,
    /// It had ended, and a Stop of it is later.
    StopAgain,
}

impl Registry {
    /// A Start, Interim or Stop.
    pub(super) fn hear(&mut self, report: &Report, work: &mut Work) -> Outcome {
        let Some(nas) = self.servers.place(&report.client.realm, &report.nas) else { return Outcome::Full };
        let key = Key { nas, id: Arc::clone(&report.session) };
        let slot = self.book.find(&key);
        let realm = self.servers.get(nas).map_or(0, |server| server.realm);
        let subscriber = self.subscriber(report, realm, slot, work.event);
        let step = self.step(report, nas, slot, subscriber.as_ref(), work);
        let is_new = !slot.and_then(|slot| self.book.get(slot)).is_some_and(Known::is_open);
        let opens = is_new && matches!(step, Step::Begin { .. } | Step::Reopen);
        if opens && self.book.open() >= self.sessions_max {
            let start = match step {
                Step::Begin { start } => start,
                _ => slot.and_then(|slot| self.book.get(slot)).map_or(work.event, |known| known.start),
            };
            // Whoever it has its addresses from has lost them, room or none; and may make room by it.
            self.displace(work, report, realm, subscriber.as_ref(), start);
            if self.book.open() >= self.sessions_max {
                self.remember_unkept(work, report, realm, subscriber.as_ref(), start);
                if report.status == Status::Stop {
                    self.note_forgotten(work, nas, work.event);
                }
                return Outcome::Full;
            }
        }
        let slot = match (step, slot) {
            (Step::Ignore, Some(slot)) => {
                self.testify(work, slot, report, subscriber.as_ref());
                return Outcome::Old;
            }
            (Step::Ignore, None) => {
                if let Some(start) = begun(report, work.event) {
                    self.displace(work, report, realm, subscriber.as_ref(), start);
                }
                return Outcome::Old;
            }
            (Step::StopAgain, Some(slot)) => {
                self.testify(work, slot, report, subscriber.as_ref());
                self.book.set_end(slot, Some((End::Stopped, work.event)), work.heard);
                work.rows.insert(slot);
                return Outcome::Applied;
            }
            (Step::Begin { start }, None) => self.book.add(fresh(key, realm, start, report)),
            (step, slot) => slot.inspect(|slot| self.follow(work, *slot, step, report, subscriber.as_ref())),
        };
        let Some(slot) = slot else { return Outcome::Full };
        let is_full = self.update(work, slot, report, subscriber);
        let outcome = match self.book.get(slot) {
            _ if is_full => Outcome::Full,
            _ if step == Step::Reopen => Outcome::Reopened,
            Some(known) if known.session.is_none() => Outcome::NoSubscriber,
            Some(known) if known.wanted().is_empty() && report.status != Status::Stop => Outcome::NoAddress,
            _ => Outcome::Applied,
        };
        if report.status == Status::Stop {
            self.end(work, slot, End::Stopped, work.event);
        }
        outcome
    }

    /// Has a session that is known begin, change or go on.
    fn follow(
        &mut self,
        work: &mut Work,
        slot: u32,
        step: Step,
        report: &Report,
        subscriber: Option<&Subscriber>,
    ) {
        match step {
            Step::Begin { start } => self.begin_again(work, slot, start),
            Step::Change { start } => self.change_subscriber(work, slot, start, false),
            Step::Doubt => self.change_subscriber(work, slot, work.event, true),
            Step::Reopen => {
                self.book.set_end(slot, None, work.heard);
                self.forsake(work, slot);
                self.began_later(work, slot, report, subscriber);
            }
            Step::Continue => self.began_later(work, slot, report, subscriber),
            Step::Ignore | Step::StopAgain => {}
        }
    }

    /// A session goes on by rules 9 and 10. Where its report says that it began later, who had its addresses before that has lost
    /// them all the same.
    fn began_later(&mut self, work: &mut Work, slot: u32, report: &Report, subscriber: Option<&Subscriber>) {
        let Some(known) = self.book.get(slot) else { return };
        let realm = known.realm;
        let later = begun(report, work.event).filter(|begun| known.is_earlier_than(*begun));
        if let Some(start) = later {
            self.displace(work, report, realm, subscriber, start);
        }
    }

    /// What a report is to the session at `slot`.
    fn step(
        &self,
        report: &Report,
        nas: u32,
        slot: Option<u32>,
        subscriber: Option<&Subscriber>,
        work: &Work,
    ) -> Step {
        let event = work.event;
        let begun = begun(report, event);
        let known = slot.and_then(|slot| self.book.get(slot));
        let server = self.servers.get(nas);
        let is_over = server
            .is_some_and(|server| event <= server.reset && begun.is_none_or(|begun| begun < server.reset));
        match known {
            Some(known) if known.is_open() => step_of_open(known, subscriber, begun, event),
            _ if is_over => Step::Ignore,
            Some(known) => step_of_ended(known, report.status, subscriber, begun, work),
            None if server.is_some_and(|server| event <= server.forgotten) => Step::Ignore,
            None => Step::Begin { start: begun.unwrap_or(event) },
        }
    }

    /// Another session under an id whose session has ended.
    fn begin_again(&mut self, work: &mut Work, slot: u32, start: u32) {
        self.book.set_end(slot, None, work.heard);
        self.forsake(work, slot);
        if let Some(known) = self.book.get_mut(slot) {
            known.leave_named();
            known.session = None;
            known.start = start;
            known.unsure = false;
            known.translated = false;
        }
    }

    /// Ends the session of one subscriber, and begins another under the same id.
    fn change_subscriber(&mut self, work: &mut Work, slot: u32, start: u32, unsure: bool) {
        work.decision.takeovers.push(Takeover::SubscriberChanged);
        self.forsake(work, slot);
        let Some(known) = self.book.get_mut(slot) else { return };
        let session = known.session.take();
        known.leave_named();
        known.start = start;
        known.unsure = unsure;
        known.translated = false;
        work.decision.ended.extend(session.map(|session| Ended {
            session,
            at: work.event,
            stop_lost: false,
        }));
    }

    /// Takes from a session what it has.
    fn forsake(&mut self, work: &mut Work, slot: u32) {
        let Some(known) = self.book.get_mut(slot) else { return };
        let mut left = Vec::new();
        for named in known.named.iter_mut().filter(|named| named.kind != Kind::Former) {
            named.kind = Kind::Former;
            left.push(named.spot);
        }
        for spot in left {
            self.touch(work, spot);
            self.drop_claim(work, slot, spot);
        }
    }

    /// Has a session say what its latest report says; whether there was too little room.
    fn update(
        &mut self,
        work: &mut Work,
        slot: u32,
        report: &Report,
        subscriber: Option<Subscriber>,
    ) -> bool {
        let Some(known) = self.book.get(slot) else { return true };
        let is_later = work.event > known.event;
        let may_gain = known.session.is_none() && (!known.unsure || is_later);
        // States of spots change with that of the session.
        known.wanted().into_iter().for_each(|spot| self.touch(work, spot));
        if let Some(known) = self.book.get_mut(slot) {
            known.event = known.event.max(work.event);
            known.heard = work.heard;
            known.silence = report.client.silence();
            known.state = SessionState::Active;
        }
        if report.client.kind == ClientKind::Nat {
            self.move_inside(work, slot, inside(report), subscriber.is_none());
        }
        if let Some(subscriber) = subscriber.filter(|_| may_gain) {
            self.gain(work, slot, &subscriber);
        }
        let mut is_full = self.name(work, slot, report);
        let wanted = self.book.get(slot).map(Known::wanted).unwrap_or_default();
        for spot in wanted {
            is_full |= self.claim(work, slot, spot) == Claim::Full;
        }
        work.rows.insert(slot);
        is_full
    }

    /// A session without subscriber has one from here on.
    pub(super) fn gain(&mut self, work: &mut Work, slot: u32, subscriber: &Subscriber) {
        let Some(known) = self.book.get(slot) else { return };
        let wanted = known.wanted();
        let id = text::session_id(&known.key.id, known.start);
        wanted.iter().for_each(|spot| self.touch(work, *spot));
        if let Some(known) = self.book.get_mut(slot) {
            known.session = Session::new(subscriber.kind(), subscriber.id(), &id).ok();
            known.unsure = false;
        }
        wanted.into_iter().for_each(|spot| self.settle(work, slot, spot));
        work.rows.insert(slot);
    }

    /// A session is nobody's from here on.
    pub(super) fn lose(&mut self, work: &mut Work, slot: u32) {
        let Some(known) = self.book.get(slot) else { return };
        known.wanted().into_iter().for_each(|spot| self.touch(work, spot));
        let session = self.book.get_mut(slot).and_then(|known| known.session.take());
        let at = work.event;
        work.decision.ended.extend(session.map(|session| Ended { session, at, stop_lost: false }));
        work.rows.insert(slot);
    }

    /// Takes what a report names into its session; whether there was too little room.
    pub(super) fn name(&mut self, work: &mut Work, slot: u32, report: &Report) -> bool {
        let mut said = said(report);
        let Some(known) = self.book.get_mut(slot) else { return true };
        let has_ports = is_outside(report) && !report.ports.is_empty();
        known.translated |= has_ports || said.get(&Kind::Outside).is_some_and(|spots| !spots.is_empty());
        if known.translated {
            said.insert(Kind::V4, Vec::new());
        }
        if has_ports {
            said.insert(Kind::Ports, ports_after(known, report));
        }
        for (kind, spots) in &said {
            let kept: Vec<Spot> = spots.clone();
            let gone = self.book.get(slot).map(|known| {
                let gone = known.named.iter().filter(|named| named.kind == *kind);
                gone.map(|named| named.spot).filter(|spot| !kept.contains(spot)).collect::<Vec<_>>()
            });
            for spot in gone.unwrap_or_default() {
                self.touch(work, spot);
                self.drop_claim(work, slot, spot);
                if let Some(known) = self.book.get_mut(slot) {
                    known.name(spot, Kind::Former);
                }
            }
        }
        let mut over = Vec::new();
        let spots =
            said.into_iter().flat_map(|(kind, spots)| spots.into_iter().map(move |spot| (kind, spot)));
        for (kind, spot) in spots {
            self.touch(work, spot);
            if !self.book.get_mut(slot).is_some_and(|known| known.name(spot, kind)) {
                over.push(spot);
            }
        }
        let own = self.book.get(slot).map(|known| (known.realm, known.session.clone(), known.start));
        if let Some((realm, session, start)) = own {
            let who = (realm, session);
            for spot in &over {
                self.displace_at(work, *spot, &who, start);
            }
        }
        !over.is_empty()
    }

    /// Ends a session: what it had is free, or of those who have it beside it.
    pub(super) fn end(&mut self, work: &mut Work, slot: u32, end: End, at: u32) {
        let Some(known) = self.book.get(slot) else { return };
        let session = known.session.clone();
        for spot in known.wanted() {
            self.touch(work, spot);
            self.drop_claim(work, slot, spot);
        }
        let stop_lost = end == End::Lost;
        work.decision.ended.extend(session.map(|session| Ended { session, at, stop_lost }));
        self.book.set_end(slot, Some((end, at)), work.heard);
        self.leave_inside(slot);
        work.rows.insert(slot);
    }
}

/// When the session of a report began; none where it does not say so: then nobody can tell more than that it lasts.
pub(super) fn begun(report: &Report, event: u32) -> Option<u32> {
    match report.status {
        Status::Start => Some(event),
        _ => report.session_time.map(|time| event.saturating_sub(time).max(1)),
    }
}

/// What a report is to a session that lasts.
fn step_of_open(known: &Known, subscriber: Option<&Subscriber>, begun: Option<u32>, event: u32) -> Step {
    if event < known.event {
        return Step::Ignore;
    }
    if !is_of_another(known, subscriber) {
        return Step::Continue;
    }
    // One that began before what was heard last is the same to the access server: a portal, say, where somebody logs in.
    match begun.filter(|begun| *begun > known.event) {
        _ if event == known.event => Step::Doubt,
        Some(start) => Step::Change { start },
        None => Step::Change { start: event },
    }
}

/// What a report is to a session that has ended.
fn step_of_ended(
    known: &Known,
    status: Status,
    subscriber: Option<&Subscriber>,
    begun: Option<u32>,
    work: &Work,
) -> Step {
    let event = work.event;
    let is_after = |at: u32, time: u32| time > at.saturating_add(work.late_max);
    let Some((end, at)) = known.end.filter(|(_, at)| is_after(*at, event)) else { return Step::Ignore };
    // What ended it otherwise than by its Stop says nothing of its own time: one that began after its last event is another.
    let own = match end {
        End::Stopped => at,
        End::Reset | End::Lost => known.event,
    };
    match (begun.filter(|begun| is_after(own, *begun)), status, end) {
        (Some(start), ..) => Step::Begin { start },
        _ if is_of_another(known, subscriber) => Step::Begin { start: event },
        (None, Status::Stop, _) => Step::StopAgain,
        (None, _, End::Stopped) if event < at.saturating_add(AFTERMATH_S) => Step::Ignore,
        (None, _, End::Stopped | End::Reset | End::Lost) => Step::Reopen,
    }
}

/// Whether a report names another subscriber than the session has.
pub(super) fn is_of_another(known: &Known, subscriber: Option<&Subscriber>) -> bool {
    subscriber.zip(known.session.as_ref()).is_some_and(|(subscriber, session)| !subscriber.has(session))
}

/// A session that begins.
fn fresh(key: Key, realm: u32, start: u32, report: &Report) -> Known {
    Known {
        key,
        realm,
        session: None,
        named: Vec::new(),
        inside: None,
        start,
        event: start,
        heard: 0,
        silence: 0,
        end: None,
        state: SessionState::Active,
        unsure: false,
        translated: false,
        is_nat: report.client.kind == ClientKind::Nat,
    }
}

/// Whether the addresses outside of a translator count.
pub(super) fn is_outside(report: &Report) -> bool {
    report.client.side == Side::Outside || report.client.kind == ClientKind::Nat
}

/// What a report names and the client may bind, without ports.
pub(super) fn said(report: &Report) -> BTreeMap<Kind, Vec<Spot>> {
    let client = &report.client;
    let mut said: BTreeMap<Kind, Vec<Spot>> = BTreeMap::new();
    for (kind, blocks) in &report.addresses {
        let is_bound = match kind {
            Kind::Route => client.routes && client.kind == ClientKind::Access,
            Kind::Outside => is_outside(report),
            Kind::Ports | Kind::Former => false,
            Kind::V4 | Kind::V6 | Kind::Prefix | Kind::Delegated => client.kind == ClientKind::Access,
        };
        if is_bound {
            said.entry(*kind).or_default().extend(blocks.iter().map(|block| Spot::of(*block)));
        }
    }
    said
}

/// The ports of a session after a report.
fn ports_after(known: &Known, report: &Report) -> Vec<Spot> {
    let own = known.named.iter().filter(|named| named.kind == Kind::Ports);
    let mut ports: Vec<Spot> = match report.ports.iter().any(|port| port.change == Ports::Replace) {
        true => Vec::new(),
        false => own.map(|named| named.spot).collect(),
    };
    for port in &report.ports {
        let Some(spot) = Spot::ports(port.address, port.first, port.last) else { continue };
        match port.change {
            Ports::Remove => ports.retain(|other| !other.overlaps(spot)),
            Ports::Add | Ports::Replace if !ports.contains(&spot) => ports.push(spot),
            Ports::Add | Ports::Replace => {}
        }
    }
    ports
}

//! A translator that accounts by itself: its sessions know inside addresses, and are whoever's those are (rule 7).

use billing_export::Session;

use super::Registry;
use super::report::{ClientKind, Kind, Report, Subscriber};
use super::spot::Spot;
use super::work::Work;

impl Registry {
    /// Who a report says that the session is of: of a translator's session whoever has its inside address (rule 7).
    pub(super) fn subscriber(
        &self,
        report: &Report,
        realm: u32,
        slot: Option<u32>,
        event: u32,
    ) -> Option<Subscriber> {
        match report.client.kind {
            ClientKind::Access => report.subscriber.clone(),
            ClientKind::Nat => {
                let known = slot.and_then(|slot| self.book.get(slot));
                let before = known.and_then(|known| known.inside.as_deref().copied());
                let (session, start) = self.insider(inside(report).or(before)?, realm)?;
                (start <= event).then(|| Subscriber::of(&session)).flatten()
            }
        }
    }

    /// The access session that has an inside address in a realm, and its start.
    pub(super) fn insider(&self, inside: Spot, realm: u32) -> Option<(Session, u32)> {
        let known = self.shown_slot(inside).and_then(|slot| self.book.get(slot))?;
        (known.realm == realm && !known.is_nat).then(|| Some((known.session.clone()?, known.start))).flatten()
    }

    /// A translator's session is of an inside address.
    pub(super) fn move_inside(&mut self, work: &mut Work, slot: u32, inside: Option<Spot>, nobody: bool) {
        let Some(known) = self.book.get(slot) else { return };
        let (realm, before) = (known.realm, known.inside.as_deref().copied());
        let Some(after) = inside.or(before) else { return };
        if before.is_some_and(|before| before != after) && nobody {
            self.lose(work, slot);
        }
        self.leave_inside(slot);
        if let Some(known) = self.book.get_mut(slot) {
            known.inside = Some(Box::new(after));
        }
        self.joined.entry((after, realm)).or_default().push(slot);
    }

    /// A translator's session is of no inside address.
    pub(super) fn leave_inside(&mut self, slot: u32) {
        let Some(known) = self.book.get(slot).filter(|known| known.is_nat) else { return };
        let Some(key) = known.inside.as_deref().map(|inside| (*inside, known.realm)) else { return };
        if let Some(slots) = self.joined.get_mut(&key) {
            slots.retain(|other| *other != slot);
            if slots.is_empty() {
                self.joined.remove(&key);
            }
        }
    }

    /// Translators' sessions follow whoever has their inside addresses, as far as this decision changed that.
    pub(super) fn join_again(&mut self, work: &mut Work) {
        if self.joined.is_empty() {
            return;
        }
        for spot in work.touched() {
            let at_spot = self.joined.range((spot, 0)..=(spot, u32::MAX));
            let joined: Vec<_> =
                at_spot.flat_map(|((_, realm), slots)| slots.iter().map(|slot| (*realm, *slot))).collect();
            for (realm, slot) in joined {
                let insider = self.insider(spot, realm);
                let Some(known) = self.book.get(slot) else { continue };
                match (&known.session, insider) {
                    (Some(own), Some((session, _)))
                        if Subscriber::of(&session).is_some_and(|subscriber| subscriber.has(own)) => {}
                    (Some(_), _) => self.lose(work, slot),
                    (None, Some((session, start))) if start <= known.start => {
                        if let Some(subscriber) = Subscriber::of(&session) {
                            self.gain(work, slot, &subscriber);
                        }
                    }
                    (None, _) => {}
                }
            }
        }
    }
}

/// The inside address of a translator's session.
pub(super) fn inside(report: &Report) -> Option<Spot> {
    let (_, blocks) = report.addresses.iter().find(|(kind, _)| *kind == Kind::V4)?;
    blocks.first().map(|block| Spot::of(*block))
}

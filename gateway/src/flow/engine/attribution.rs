//! Where bytes go: what is counted under which account, what was sent under the one before, and what is over a limit.
//!
//! Bytes sent under one account may be known to have left only when another has begun: they stay the first one's, as the mark
//! they carry says.

use billing_export::{Account, Class, Entry, Flag, Flags, Reason, Volume};

use super::Engine;
use super::account::{Allowed, Owed, Ruling, nobodys};
use super::counter::Unknowable;
use super::effect::{Carrier, Effect};
use super::terms::World;
use crate::flow::mark::Mark;

/// Accounts of one flow that wait for bytes. What is on its way under further ones is nobody's.
const OWED_MAX: usize = 8;

impl Engine {
    /// Reads the flow's counter and counts what is not reported under its present account, and what is over a limit as charged;
    /// pending bytes stay with the flow.
    pub(super) fn count(&mut self, carrier: &mut impl Carrier) {
        let queues = carrier.queues();
        let reading = carrier.counter().map(|counter| counter.read(queues));
        if let Some(reading) = &reading {
            self.tally.raise(reading.carried);
            carrier.carry_out(Effect::Read(reading));
        }
        if !self.ruling.is_latched() {
            return;
        }
        let unknowable = reading.map_or_else(Unknowable::default, |reading| reading.unknowable);
        let is_lower = unknowable.exceeds(self.unknowable);
        let remark = if is_lower { Flags::from(Flag::LowerBound) } else { Flags::NONE };
        self.unknowable = self.unknowable.most(unknowable);
        let mut volume = self.tally.take();
        let mut refused = reading.map_or(Volume::ZERO, |reading| reading.refused);
        volume.down =
            volume.down.saturating_sub(self.count_owed(volume.down, &mut refused.down, remark, carrier));
        let ruling = &self.ruling;
        if let Ruling::Latched { account, flags } = ruling {
            volume = count_refused(account, *flags, self.allowed.as_deref(), refused, volume, carrier);
        }
        let Ruling::Latched { account, flags } = &self.ruling else { return };
        if let Some(allowed) = &mut self.allowed {
            let owed = self.owed.last().map_or(0, |owed| owed.way.upto());
            let moving = carrier.counter().map_or(0, |counter| counter.moving_after(owed));
            volume = count_allowed(allowed, account, volume, moving, carrier);
        }
        if self.is_at_shared_address && volume != Volume::ZERO {
            carrier.carry_out(Effect::AtSharedAddress(volume.up.saturating_add(volume.down)));
        }
        attribute(account, *flags, volume, remark, carrier);
    }

    /// The flow's account is about to change: what is on its way belongs to the one that stands.
    pub(super) fn owe(&mut self, carrier: &mut impl Carrier) {
        let allowed = self.allowed.take();
        let sent = carrier.counter().and_then(|counter| counter.sent().copied());
        let (Ruling::Latched { account, flags }, Some(sent)) = (&self.ruling, sent) else { return };
        if sent.unproven() == 0 {
            return;
        }
        let owed = Owed { account: account.clone(), flags: *flags, allowed, way: sent.on_its_way() };
        let mut all = std::mem::take(&mut self.owed).into_vec();
        if all.len() < OWED_MAX {
            all.push(owed);
        } else if let Some(last) = all.last_mut() {
            last.join(owed);
        }
        self.owed = all.into();
    }

    /// Remarks on bytes of the flow under this account.
    pub(super) fn flags(&self, account: &Account) -> Flags {
        let remark = match account.entry.class() {
            Class::Exempt | Class::Charged => self.standing.remark(),
            Class::Unattributed => Flags::NONE,
        };
        self.start.flags(account).union(remark)
    }

    /// Counts what of `down`, the newest bytes known to have left, belongs to accounts before the present one, with a `remark` on
    /// it; how much. What was `refused` of it passed while such an account stood.
    fn count_owed(&mut self, down: u64, refused: &mut u64, remark: Flags, carrier: &mut impl Carrier) -> u64 {
        if self.owed.is_empty() {
            return 0;
        }
        let known = self.tally.carried().down;
        let from = known.saturating_sub(down);
        let sent = carrier.counter().and_then(|counter| counter.sent().copied());
        let is_exempt_now = self.ruling.is_exempt();
        let mut at = from;
        let mut all = std::mem::take(&mut self.owed).into_vec();
        all.retain_mut(|owed| {
            let is_exempt = matches!(owed.account.entry, Entry::Exempt { .. });
            let (end, is_final) = match &sent {
                Some(sent) => owed.way.end(sent, is_exempt_now && !is_exempt),
                // Nothing more will be known.
                None => (owed.way.upto(), true),
            };
            let part = Volume { up: 0, down: known.min(end).saturating_sub(at) };
            at = at.saturating_add(part.down);
            let without = Volume { up: 0, down: *refused };
            let allowed = owed.allowed.as_deref();
            let had = count_refused(&owed.account, owed.flags, allowed, without, part, carrier);
            *refused = refused.saturating_sub(part.down.saturating_sub(had.down));
            let part = had;
            let part = match &mut owed.allowed {
                Some(allowed) => count_allowed(allowed, &owed.account, part, end.saturating_sub(at), carrier),
                None => part,
            };
            attribute(&owed.account, owed.flags, part, remark, carrier);
            at < end && !is_final
        });
        self.owed = all.into();
        at.saturating_sub(from)
    }

    /// Holds what has just moved against what the flow may have exempt. Near a limit it is counted at once, and when nothing
    /// is left the flow is charged from here on: within one buffer of it, and what is on its way (trap T31).
    pub(super) fn spend(&mut self, moved: u64, carrier: &mut impl Carrier) {
        let Some(allowed) = &mut self.allowed else { return };
        if allowed.share.moved(moved) {
            self.count(carrier);
            if self.is_spent() {
                self.cap(carrier);
            }
        }
    }

    /// Charges a flow of whose allowance nothing is left, from here on. What was decided of its name stays.
    pub(super) fn cap(&mut self, carrier: &mut impl Carrier) {
        // First: where the mark ends, what is exempt ends.
        self.set_mark(Mark::NONE, carrier);
        self.count(carrier);
        let Some(allowed) = &self.allowed else { return };
        let (account, flags) = (allowed.over.clone(), allowed.over_flags);
        self.owe(carrier);
        if let Ruling::Latched { account, .. } =
            std::mem::replace(&mut self.ruling, Ruling::Latched { account, flags })
        {
            carrier.carry_out(Effect::Capped(&account));
        }
        self.is_at_shared_address = false;
        carrier.carry_out(Effect::Charged(Reason::CapReached));
    }

    /// What nobody has answered for long is told as nobody's as it comes: nothing is pending for ever.
    pub(super) fn disown(&mut self, world: &impl World, carrier: &mut impl Carrier) {
        if self.is_unanswered && !self.ruling.is_latched() {
            let account = world.consult(|terms| terms.unanswered_account(&self.standing));
            attribute(&account, self.flags(&account), self.tally.take(), Flags::NONE, carrier);
        }
    }

    /// What has no verdict by now and no subscriber stays without one, whoever the flow is found to be of.
    pub(super) fn leave_to_nobody(&mut self, carrier: &mut impl Carrier) {
        if !self.ruling.is_latched() {
            self.count(carrier);
            let entry = Entry::Unattributed(Reason::NoSubscriber);
            let account = Account { entry, ..nobodys() };
            attribute(&account, Flags::NONE, self.tally.take(), Flags::NONE, carrier);
        }
    }

    /// What has no verdict is told as nobody's, as after an end without warning; the flow goes on without it.
    pub(super) fn orphan(&mut self, carrier: &mut impl Carrier) {
        if !self.ruling.is_latched() {
            let flags = Flags::NONE.with(Flag::Recovered);
            attribute(&nobodys(), flags, self.tally.take(), Flags::NONE, carrier);
        }
    }

    /// What was sent and nothing says of whether it left is not counted: the flow's record says so.
    pub(super) fn give_up_moving(&self, carrier: &mut impl Carrier) {
        let counter = carrier.counter().filter(|counter| !counter.is_kept());
        let sent = counter.and_then(|counter| counter.sent().copied());
        if let (true, Ruling::Latched { account, .. }) =
            (sent.is_some_and(|sent| sent.moving() > 0), &self.ruling)
        {
            attribute(account, Flags::NONE, Volume::ZERO, Flag::LowerBound.into(), carrier);
        }
    }
}

/// Counts as charged what of `volume` passed without the exemption that its account has; the rest, which had it.
fn count_refused(
    account: &Account,
    flags: Flags,
    allowed: Option<&Allowed>,
    refused: Volume,
    volume: Volume,
    carrier: &mut impl Carrier,
) -> Volume {
    if refused == Volume::ZERO || account.entry.class() != Class::Exempt {
        return volume;
    }
    let refused = Volume { up: refused.up.min(volume.up), down: refused.down.min(volume.down) };
    match allowed {
        Some(allowed) => attribute(&allowed.over, allowed.over_flags, refused, Flags::NONE, carrier),
        None => {
            let over = Account { entry: Entry::Charged(Reason::Overload), ..account.clone() };
            attribute(&over, flags, refused, Flags::NONE, carrier);
        }
    }
    Volume { up: volume.up.saturating_sub(refused.up), down: volume.down.saturating_sub(refused.down) }
}

/// Counts bytes of an account, with a `remark` on it: also on bytes that were counted before.
fn attribute(account: &Account, flags: Flags, volume: Volume, remark: Flags, carrier: &mut impl Carrier) {
    if volume != Volume::ZERO {
        carrier.carry_out(Effect::Attribute { account, flags: flags.union(remark), volume });
    } else if !remark.is_empty() {
        carrier.carry_out(Effect::Remark { account, flags: remark });
    }
}

/// Counts what of `volume` may be exempt, which is returned; the rest goes where bytes over the limit go. Bytes that are
/// `moving` stay held against the limit.
fn count_allowed(
    allowed: &mut Allowed,
    account: &Account,
    volume: Volume,
    moving: u64,
    carrier: &mut impl Carrier,
) -> Volume {
    let exempt = allowed.share.take(volume, moving);
    if volume == Volume::ZERO {
        return volume;
    }
    carrier.carry_out(Effect::Spent(&allowed.share));
    if exempt != volume {
        // Never negative: only a part of it is exempt.
        let over =
            Volume { up: volume.up.saturating_sub(exempt.up), down: volume.down.saturating_sub(exempt.down) };
        attribute(&allowed.over, allowed.over_flags, over, Flags::NONE, carrier);
        carrier.carry_out(Effect::Capped(account));
    }
    exempt
}

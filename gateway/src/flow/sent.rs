//! What of the bytes sent to a subscriber has left the machine (decision 27).
//!
//! A system call that took bytes, and the kernel's count of segments sent, say that packets were given to an interface's
//! queue: a queue that is full or holds them too long drops them. What a subscriber acknowledged has left. Of the rest it is
//! known only in hindsight: when the queue has run empty of what stood in it, and its drops were not more than before. So what
//! is sent counts one look at the queues later, less what they may have dropped meanwhile; whose packets those were nobody
//! says, and each flow bears all of them. Of packets that stay in the kernel it is known whose were dropped: they count one look
//! later too, less their own.

/// The queues of the machine's interfaces at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queues {
    /// Looks at them so far.
    pub looks: u64,
    /// What was given to them before this look has left them.
    pub emptied: u64,
    /// Packets they have dropped, as far as they were seen; never lower than the true number at look `emptied`.
    pub dropped: u64,
}

/// Bytes sent that are not proven yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Waiting {
    /// All that was sent.
    total: u64,
    /// Looks before that.
    looks: u64,
    /// Packets dropped before that.
    dropped: u64,
    /// The largest packet among what is not settled.
    packet: u64,
}

/// Running totals of what one flow sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Given to the queues, in the byte basis.
    total: u64,
    /// Known to have left.
    left: u64,
    /// Acknowledged.
    proven: u64,
    /// Of what has been looked at: all, what of it may have been dropped, and packets dropped before its end.
    settled: u64,
    lost: u64,
    dropped: u64,
    /// The largest packet since something waits.
    packet: u64,
    /// What the next look is to settle.
    waiting: Option<Waiting>,
}

impl Sent {
    /// Nothing sent, with the queues like this.
    pub const fn new(queues: Queues) -> Self {
        Self {
            total: 0,
            left: 0,
            proven: 0,
            settled: 0,
            lost: 0,
            dropped: queues.dropped,
            packet: 0,
            waiting: None,
        }
    }

    /// Adds bytes sent, in packets of at most `packet`.
    pub fn add(&mut self, bytes: u64, packet: u64) {
        self.total = self.total.saturating_add(bytes);
        self.packet = self.packet.max(packet);
    }

    /// Raises what was sent to `total`, in packets of at most `packet`, and what is proven to have left to `proven`; lower ones
    /// change nothing.
    pub fn raise(&mut self, total: u64, packet: u64, proven: u64) {
        self.total = self.total.max(total);
        self.packet = self.packet.max(packet);
        self.proven = self.proven.max(proven.min(self.total));
        self.left = self.left.max(self.proven);
    }

    /// Settles what the queues have emptied of; then what is sent by now waits.
    pub fn look(&mut self, queues: Queues) {
        self.settle(queues);
        if self.waiting.is_none() && self.is_open() {
            self.wait(queues);
        }
    }

    /// The last of it: nothing more is sent.
    pub fn end(&mut self, queues: Queues) {
        self.settle(queues);
        self.packet = self.packet.max(self.waiting.map_or(0, |waiting| waiting.packet));
        self.waiting = None;
        if self.is_open() {
            self.wait(queues);
        }
    }

    /// Settles what waits, if the queues have emptied of it.
    pub fn settle(&mut self, queues: Queues) {
        let Some(waiting) = self.waiting.filter(|waiting| queues.emptied > waiting.looks) else { return };
        self.waiting = None;
        let sent = waiting.total.saturating_sub(self.settled);
        let dropped = queues.dropped.saturating_sub(self.dropped);
        self.lost = self.lost.saturating_add(sent.min(dropped.saturating_mul(waiting.packet)));
        self.settled = waiting.total;
        self.dropped = waiting.dropped;
        self.left = self.left.max(self.settled.saturating_sub(self.lost));
    }

    /// Settles what waits where it is known whose packets were dropped: `lost` bytes of this flow's since it began. The totals are
    /// without them, then. Where in the queue those stood that were dropped since, nobody says: among what is settled.
    pub fn settle_knowing(&mut self, queues: Queues, lost: u64) {
        let Some(waiting) = self.waiting.filter(|waiting| queues.emptied > waiting.looks) else { return };
        self.waiting = None;
        let since = lost.saturating_sub(waiting.dropped);
        self.settled = self.settled.max(waiting.total.saturating_sub(since));
        self.left = self.left.max(self.settled);
    }

    /// The flow has sent `total` bytes by now without the `lost` ones; what of them is not settled waits for the next look.
    pub fn raise_knowing(&mut self, queues: Queues, total: u64, lost: u64) {
        self.total = total.max(self.left);
        self.lost = self.lost.max(lost);
        if self.waiting.is_none() && self.total > self.settled {
            let waiting = Waiting { total: self.total, looks: queues.looks, dropped: lost, packet: 0 };
            self.waiting = Some(waiting);
        }
    }

    /// All that was sent.
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// What may have been dropped of what is settled, and so is never known to have left.
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    /// Bytes of which no look says more.
    pub const fn settled(&self) -> u64 {
        self.settled
    }

    /// Bytes known to have left.
    pub const fn left(&self) -> u64 {
        self.left
    }

    /// Bytes sent that are not known to have.
    pub const fn unproven(&self) -> u64 {
        self.total.saturating_sub(self.left)
    }

    /// Bytes sent of which neither a look nor an acknowledgement has said anything yet: what may be on its way. What was settled
    /// as dropped is not.
    pub const fn moving(&self) -> u64 {
        let known = if self.left > self.settled { self.left } else { self.settled };
        self.total.saturating_sub(known)
    }

    /// What of the first `bytes` sent may be on its way.
    pub fn moving_of(&self, bytes: u64) -> u64 {
        bytes.min(self.total).saturating_sub(self.left.max(self.settled))
    }

    /// What is on its way by now, for an account that ends here.
    pub const fn on_its_way(&self) -> OnItsWay {
        OnItsWay { upto: self.total, left: self.left, moving: self.moving(), lost: self.lost }
    }

    /// Whether a look may still say something.
    pub const fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Whether something was sent that no look has settled and nobody acknowledged.
    const fn is_open(&self) -> bool {
        self.settled < self.total && self.left < self.total
    }

    /// What is sent by now waits for a look.
    fn wait(&mut self, queues: Queues) {
        let packet = std::mem::take(&mut self.packet);
        let Queues { looks, dropped, .. } = queues;
        self.waiting = Some(Waiting { total: self.total, looks, dropped, packet });
    }
}

/// What was on its way when an account ended and the next one began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnItsWay {
    /// All that had been sent.
    upto: u64,
    /// What of it was known to have left.
    left: u64,
    /// What may have been on its way.
    moving: u64,
    /// What may have been dropped before.
    lost: u64,
}

impl OnItsWay {
    /// All that had been sent.
    pub const fn upto(&self) -> u64 {
        self.upto
    }

    /// Where the older account ends among the bytes that are known to have left, by what is known of `sent`; and whether that is
    /// final. Whose packets were dropped since nobody says: they are taken from the older account, unless `keeps`, for that it is
    /// charged and the next one exempt.
    pub fn end(&self, sent: &Sent, keeps: bool) -> (u64, bool) {
        let is_final = sent.settled >= self.upto;
        if keeps {
            return (self.upto, is_final);
        }
        let whole = self.left.saturating_add(self.moving).min(self.upto);
        let end = whole.saturating_sub(sent.lost.saturating_sub(self.lost));
        // Acknowledgements come in order: what was acknowledged first was sent first.
        (end.max(whole.min(sent.proven)).max(self.left.min(whole)), is_final)
    }
}

#[cfg(test)]
mod tests;

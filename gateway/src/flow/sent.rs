//! What of the bytes sent to a subscriber has left the machine (decision 27).
//!
//! A system call that took bytes, and the kernel's count of segments sent, say that packets were given to an interface's
//! queue: a queue that is full or holds them too long drops them. What a subscriber acknowledged has left. Of the rest it is
//! known only in hindsight: when the queue has run empty of what stood in it, and its drops were not more than before. So what
//! is sent counts one look at the queues later, less what they may have dropped meanwhile; whose packets those were nobody
//! says, and each flow bears all of them.

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
mod tests {
    use super::*;

    const PACKET: u64 = 1_500;

    /// Queues that run empty at each look.
    fn queues(looks: u64, dropped: u64) -> Queues {
        Queues { looks, emptied: looks, dropped }
    }

    #[test]
    fn f61_what_was_sent_has_left_when_the_queues_emptied_without_a_drop() {
        let mut sent = Sent::new(queues(3, 10));
        sent.add(5_000, PACKET);
        sent.look(queues(3, 10));
        assert_eq!((sent.left(), sent.is_waiting()), (0, true));
        // A look that found packets in the queue says nothing.
        sent.look(Queues { looks: 4, emptied: 3, dropped: 10 });
        sent.add(700, PACKET);
        assert_eq!(sent.left(), 0);
        sent.look(queues(5, 10));
        assert_eq!((sent.left(), sent.unproven(), sent.is_waiting()), (5_000, 700, true));
        sent.look(queues(6, 10));
        assert_eq!((sent.left(), sent.is_waiting()), (5_700, false));
    }

    #[test]
    fn f61_what_the_queues_dropped_meanwhile_is_nobodys() {
        let mut sent = Sent::new(queues(0, 0));
        sent.add(10_000, PACKET);
        sent.look(queues(0, 0));
        sent.look(queues(1, 2));
        assert_eq!(sent.left(), 7_000);
        sent.add(10_000, PACKET);
        // Two more before it is looked at again. The first two may have been seen late: they count here as well.
        sent.look(queues(1, 2));
        sent.look(queues(2, 4));
        assert_eq!(sent.left(), 11_000);
        sent.add(1_000, PACKET);
        sent.look(queues(2, 4));
        sent.look(queues(3, 400));
        assert_eq!(sent.left(), 11_000, "never more than was sent since");
        assert_eq!((sent.unproven(), sent.is_waiting()), (10_000, false));
        // What was acknowledged has left all the same.
        sent.raise(21_000, PACKET, 20_500);
        assert_eq!(sent.left(), 20_500);
        sent.raise(21_000, PACKET, 30_000);
        assert_eq!(sent.left(), 21_000);
    }

    #[test]
    fn f61_what_was_dropped_is_not_on_its_way_for_ever() {
        let mut sent = Sent::new(queues(0, 0));
        sent.add(10_000, PACKET);
        sent.look(queues(0, 0));
        assert_eq!((sent.moving(), sent.moving_of(4_000), sent.unproven()), (10_000, 4_000, 10_000));
        sent.look(queues(1, 2));
        assert_eq!((sent.left(), sent.moving(), sent.unproven()), (7_000, 0, 3_000));
        sent.add(500, PACKET);
        assert_eq!((sent.moving(), sent.moving_of(10_200)), (500, 200));
    }

    #[test]
    fn f61_drops_make_no_charged_byte_exempt_and_an_account_ends_where_its_bytes_do() {
        let sent_with = |before: u64, after: u64| {
            let mut sent = Sent::new(queues(0, 0));
            sent.add(10_000, PACKET);
            sent.look(queues(0, 0));
            sent.look(queues(1, before));
            sent.add(3_000, PACKET);
            let way = sent.on_its_way();
            sent.add(2_000, PACKET);
            sent.look(queues(1, before));
            sent.look(queues(2, before + after));
            (way, sent)
        };
        // Nothing dropped: 13,000 are the older account's, 2,000 the next one's.
        let (way, sent) = sent_with(0, 0);
        assert_eq!((way.end(&sent, false), way.end(&sent, true)), ((13_000, true), (13_000, true)));
        assert_eq!(sent.left(), 15_000);
        // 1,500 dropped before the accounts changed may have been seen late, so they are taken once more: from an exempt account
        // that ends, never from a charged one in favour of an exempt one.
        let (way, sent) = sent_with(1, 0);
        assert_eq!(
            (sent.left(), way.end(&sent, false), way.end(&sent, true)),
            (12_000, (10_000, true), (13_000, true))
        );
        // And 1,500 since.
        let (way, sent) = sent_with(1, 1);
        assert_eq!(
            (sent.left(), way.end(&sent, false), way.end(&sent, true)),
            (10_500, (8_500, true), (13_000, true))
        );
        // So many that all may be gone: what was counted before stays counted.
        let (way, sent) = sent_with(0, 100);
        assert_eq!((sent.left(), way.end(&sent, false)), (10_000, (10_000, true)));
    }

    #[test]
    fn f61_what_is_acknowledged_is_the_older_accounts_first() {
        let mut sent = Sent::new(queues(0, 0));
        sent.raise(10_000, PACKET, 6_000);
        let way = sent.on_its_way();
        sent.raise(14_000, PACKET, 9_000);
        assert_eq!(way.end(&sent, false), (10_000, false));
        sent.look(queues(0, 0));
        sent.look(queues(1, 1_000));
        assert_eq!((sent.left(), way.end(&sent, false)), (9_000, (9_000, true)));
        sent.raise(14_000, PACKET, 12_000);
        assert_eq!(way.end(&sent, false), (10_000, true));
    }

    #[test]
    fn f61_a_drop_seen_before_the_bytes_were_sent_is_not_theirs_and_one_behind_them_may_be() {
        let mut sent = Sent::new(queues(5, 100));
        sent.add(1_000, PACKET);
        sent.end(queues(5, 100));
        sent.settle(queues(5, 100));
        assert!(sent.is_waiting(), "no look since");
        sent.settle(queues(6, 101));
        assert_eq!((sent.left(), sent.unproven(), sent.is_waiting()), (0, 1_000, false));
        sent.settle(queues(7, 101));
        assert_eq!(sent.left(), 0);
        let mut huge = Sent::new(queues(0, 0));
        huge.raise(u64::MAX, u64::MAX, 0);
        huge.look(queues(0, 0));
        huge.look(queues(1, u64::MAX));
        assert_eq!((huge.left(), huge.unproven()), (0, u64::MAX));
    }

    #[test]
    fn f61_drops_are_taken_from_what_was_sent_around_them_and_from_nothing_later() {
        let mut sent = Sent::new(queues(0, 0));
        for (looks, before, after, wanted) in
            [(0, 0, 2, (7_000, 3_000)), (1, 2, 2, (14_000, 6_000)), (2, 2, 2, (24_000, 6_000))]
        {
            sent.add(10_000, PACKET);
            sent.look(queues(looks, before));
            sent.look(queues(looks + 1, after));
            assert_eq!((sent.left(), sent.lost()), wanted, "look {looks}");
        }
        assert_eq!(sent.on_its_way().end(&sent, true), (30_000, true), "a look has said all of it");
        sent.add(700, PACKET);
        sent.look(queues(3, 2));
        sent.look(queues(4, 400));
        assert_eq!((sent.left(), sent.lost()), (24_000, 6_700), "no more than was sent since");
        sent.add(50, PACKET);
        assert_eq!((sent.moving(), sent.moving_of(u64::MAX)), (50, 50));
    }

    #[test]
    fn f61_the_end_settles_what_it_can_and_remembers_the_size_of_what_waits() {
        let waiting = |packet| {
            let mut sent = Sent::new(queues(0, 0));
            sent.add(10_000, packet);
            sent.look(queues(0, 0));
            sent
        };
        let mut sent = waiting(PACKET);
        sent.end(queues(1, 0));
        assert_eq!((sent.left(), sent.is_waiting()), (10_000, false));
        let mut acknowledged = waiting(PACKET);
        acknowledged.raise(10_000, PACKET, 10_000);
        acknowledged.end(queues(0, 0));
        assert!(!acknowledged.is_waiting(), "no look says more");
        // What is dropped may be the largest packet of all that waits, not of the last alone.
        let mut large = waiting(9_000);
        large.add(500, PACKET);
        large.end(queues(0, 0));
        large.settle(queues(1, 1));
        assert_eq!(large.left(), 1_500);
    }
}

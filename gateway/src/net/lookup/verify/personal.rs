//! How many inquiries each subscriber has started in the present minute.

use std::collections::HashMap;
use std::time::Duration;

use crate::flow::session::SubscriberKey;
use crate::flow::time::Monotonic;
use crate::net::lookup::Asker;

/// Subscribers whose inquiries are counted at a time; others may start none until the minute is over.
const SUBSCRIBERS_MAX: usize = 65_536;
/// For how long a subscriber's inquiries are counted.
const PERSONAL_PERIOD: Duration = Duration::from_secs(60);

/// Inquiries that subscribers started in the present minute: those of flows whose source is proven apart, so that nobody's
/// are used up in his name.
#[derive(Default)]
pub(in crate::net::lookup) struct Personal {
    began: Monotonic,
    proven: Counts,
    unproven: Counts,
}

/// Inquiries by who started them.
#[derive(Default)]
struct Counts {
    by_subscriber: HashMap<SubscriberKey, u32>,
    /// Of all for whom the table has no room: together they have as many as it has places, for most of them are made up.
    others: u32,
}

impl Counts {
    /// Takes one of the subscriber's, if any is left.
    fn take(&mut self, subscriber: &SubscriberKey, most: u32) -> bool {
        let room = self.by_subscriber.len() < SUBSCRIBERS_MAX;
        match self.by_subscriber.get_mut(subscriber) {
            Some(used) if *used < most => *used = used.saturating_add(1),
            Some(_) => return false,
            None if most == 0 => return false,
            None if room => {
                self.by_subscriber.insert(subscriber.clone(), 1);
            }
            None if self.others as usize >= SUBSCRIBERS_MAX => return false,
            None => self.others = self.others.saturating_add(1),
        }
        true
    }

    /// Gives one back; who has none left leaves his place.
    fn give_back(&mut self, subscriber: &SubscriberKey) {
        match self.by_subscriber.get_mut(subscriber) {
            Some(used) if *used > 1 => *used = used.saturating_sub(1),
            Some(_) => {
                self.by_subscriber.remove(subscriber);
            }
            None => self.others = self.others.saturating_sub(1),
        }
    }
}

impl Personal {
    /// The counts that one of these belongs to.
    const fn used(&mut self, proven: bool) -> &mut Counts {
        if proven { &mut self.proven } else { &mut self.unproven }
    }

    /// Takes one of the subscriber's, if any is left of `per_minute_max`.
    pub(super) fn take(&mut self, asker: &Asker, now: Monotonic, per_minute_max: u32) -> bool {
        if now.since(self.began) >= PERSONAL_PERIOD {
            *self = Self { began: now, ..Self::default() };
        }
        self.used(asker.proven).take(&asker.subscriber, per_minute_max)
    }

    /// Gives one back that came to nothing.
    pub(super) fn give_back(&mut self, asker: &Asker) {
        self.used(asker.proven).give_back(&asker.subscriber);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn who(last: u8) -> Asker {
        Asker { subscriber: SubscriberKey::Address(IpAddr::from([10, 0, 0, last])), proven: true }
    }

    fn forged(last: u8) -> Asker {
        Asker { proven: false, ..who(last) }
    }

    #[test]
    fn f4_a_table_full_of_made_up_subscribers_refuses_nobody_outright_and_empties() {
        let mut counts = Counts::default();
        let subscriber = |number: u32| SubscriberKey::Address(IpAddr::from(number.to_be_bytes()));
        let most = u32::try_from(SUBSCRIBERS_MAX).unwrap();
        for number in 0..most {
            assert!(counts.take(&subscriber(number), 20));
        }
        let late = subscriber(most);
        assert!(counts.take(&late, 20) && counts.by_subscriber.len() == SUBSCRIBERS_MAX);
        assert!(!counts.take(&late, 0));
        counts.give_back(&late);
        assert_eq!(counts.others, 0);
        // What came to nothing leaves no place taken.
        (0..most).for_each(|number| counts.give_back(&subscriber(number)));
        assert!(counts.by_subscriber.is_empty());
        assert!(counts.take(&late, 1) && !counts.take(&late, 1));
    }

    #[test]
    fn v5_a_subscriber_may_start_so_many_inquiries_in_a_minute() {
        let at = |seconds| Monotonic::new(Duration::from_secs(seconds));
        let mut personal = Personal::default();
        for _ in 0..20 {
            assert!(personal.take(&who(1), at(10), 20));
        }
        assert!(!personal.take(&who(1), at(59), 20));
        assert!(personal.take(&who(2), at(59), 20));
        assert!(personal.take(&who(1), at(60), 20));
        assert!(!personal.take(&who(3), at(60), 0));
        assert!(
            (0..20).all(|_| personal.take(&forged(2), at(60), 20)) && !personal.take(&forged(2), at(60), 20)
        );
        assert!(personal.take(&who(2), at(60), 20), "not used up in his name");
    }
}

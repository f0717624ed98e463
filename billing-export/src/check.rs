//! Checks of what the ledger keeps between a tick and a seal: a row that is not as it was written is found. Pure.
//!
//! A check is the first half of a SHA-256 over everything that gives a row its meaning; a sum of the checks of a table stands
//! in another row, so that rows which come or go are found too. What this holds against is damage, and edits of the
//! database by a hand that does not know the rule. Who can write the state directory and reckons the checks anew is not
//! held off by it: against him stand the permissions of the directory, and the hashes that billing has already.

use sha2::{Digest as _, Sha256};

use crate::account::{Account, Spent};
use crate::codec::account::AccountWords;
use crate::ledger::Segment;
use crate::unit::Volume;

/// Length of a check in bytes.
const LEN: usize = 16;

/// The check of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Check([u8; LEN]);

impl Check {
    /// A check as the store has it; none where its length is wrong.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Option<Check> {
        bytes.try_into().ok().map(Check)
    }

    /// As the store has it.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The sum of the checks of a table, whatever their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sum(u128);

impl Sum {
    /// A sum as the store has it; none where its length is wrong.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Option<Sum> {
        bytes.try_into().ok().map(u128::from_be_bytes).map(Sum)
    }

    /// As the store has it.
    pub(crate) fn bytes(self) -> [u8; LEN] {
        self.0.to_be_bytes()
    }

    /// With one row more.
    pub(crate) fn add(&mut self, check: Check) {
        self.0 = self.0.wrapping_add(u128::from_be_bytes(check.0));
    }

    /// With one row less.
    pub(crate) fn remove(&mut self, check: Check) {
        self.0 = self.0.wrapping_sub(u128::from_be_bytes(check.0));
    }
}

/// The fields of a row on their way into its check: each with its length, so that none can pass for two.
pub(crate) struct Fields(Sha256);

impl Fields {
    /// The fields of a row of this table.
    pub(crate) fn of(table: &str) -> Fields {
        let mut fields = Fields(Sha256::new());
        fields.bytes(table.as_bytes());
        fields
    }

    /// A field that is there.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.number(i64::try_from(bytes.len()).unwrap_or(i64::MAX));
        self.0.update(bytes);
    }

    /// A field that may be missing.
    pub(crate) fn bytes_or_none(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bytes(bytes),
            None => self.number(-1),
        }
    }

    /// A number.
    pub(crate) fn number(&mut self, number: i64) {
        self.0.update(number.to_be_bytes());
    }

    /// A count.
    pub(crate) fn count(&mut self, count: u64) {
        self.0.update(count.to_be_bytes());
    }

    /// A number that may be missing.
    pub(crate) fn number_or_none(&mut self, number: Option<i64>) {
        self.0.update([u8::from(number.is_some())]);
        self.number(number.unwrap_or_default());
    }

    /// Bytes both ways.
    pub(crate) fn volume(&mut self, volume: Volume) {
        self.count(volume.up);
        self.count(volume.down);
    }

    /// The check.
    pub(crate) fn finish(self) -> Check {
        let mut check = [0; LEN];
        self.0.finalize().iter().zip(&mut check).for_each(|(from, to)| *to = *from);
        Check(check)
    }
}

/// Whose bytes and as what: the columns of `total` that name an account, in their order.
pub(crate) type Identity<'a> = [&'a [u8]; 6];

/// The identity of an account.
pub(crate) fn identity(account: &Account) -> Identity<'_> {
    let words = AccountWords::of(account);
    [
        words.subscriber_type.as_bytes(),
        words.subscriber_id.as_bytes(),
        words.session_id.as_bytes(),
        words.class.as_bytes(),
        words.service_id.unwrap_or("").as_bytes(),
        words.reason.unwrap_or("").as_bytes(),
    ]
}

/// The check of a running total.
pub(crate) fn of_total(identity: Identity<'_>, total: Volume) -> Check {
    let mut fields = Fields::of("total");
    identity.into_iter().for_each(|field| fields.bytes(field));
    fields.volume(total);
    fields.finish()
}

/// What an open counter has beside its account's identity.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CounterFields<'a> {
    /// Id of the list.
    pub(crate) list_id: Option<&'a [u8]>,
    /// Serial of the list.
    pub(crate) list_serial: Option<i64>,
    /// Rating group.
    pub(crate) rating_group: Option<i64>,
    /// Who exempts it.
    pub(crate) disposition: Option<&'a [u8]>,
    /// The bytes.
    pub(crate) volume: Volume,
    /// Remarks.
    pub(crate) flags: &'a [u8],
    /// A cap was reached.
    pub(crate) capped: bool,
}

impl<'a> CounterFields<'a> {
    /// Those of an account with these bytes and remarks.
    pub(crate) fn of(
        account: &'a Account,
        volume: Volume,
        flags: &'a str,
        capped: bool,
    ) -> CounterFields<'a> {
        let words = AccountWords::of(account);
        CounterFields {
            list_id: words.list_id.map(str::as_bytes),
            // The ledger refuses serials that would not fit.
            list_serial: words.list_serial.map(|serial| i64::try_from(serial).unwrap_or(i64::MAX)),
            rating_group: words.rating_group.map(i64::from),
            disposition: words.disposition.map(str::as_bytes),
            volume,
            flags: flags.as_bytes(),
            capped,
        }
    }

    /// The check of the counter of this identity.
    pub(crate) fn check(&self, identity: Identity<'_>) -> Check {
        let CounterFields { list_id, list_serial, rating_group, disposition, volume, flags, capped } = *self;
        let mut fields = Fields::of("counter");
        identity.into_iter().for_each(|field| fields.bytes(field));
        fields.bytes_or_none(list_id);
        fields.number_or_none(list_serial);
        fields.number_or_none(rating_group);
        fields.bytes_or_none(disposition);
        fields.volume(volume);
        fields.bytes(flags);
        fields.number(i64::from(capped));
        fields.finish()
    }
}

/// The check of what was spent of an allowance.
pub(crate) fn of_spent(key: [&[u8]; 4], bytes: u64) -> Check {
    let mut fields = Fields::of("spent");
    key.into_iter().for_each(|field| fields.bytes(field));
    fields.count(bytes);
    fields.finish()
}

/// The key of what was spent: subscriber type and id, allowance, span.
pub(crate) fn spent_key(spent: &Spent) -> [&[u8]; 4] {
    [
        spent.subscriber.subscriber_type().label().as_bytes(),
        spent.subscriber.subscriber_id().as_bytes(),
        spent.allowance.as_bytes(),
        spent.span.as_bytes(),
    ]
}

/// The check of the open segment, with the sum of its counters' checks.
pub(crate) fn of_segment(segment: &Segment) -> Check {
    let Segment { start, end, high_water, stepped, recovered, damaged, figures, usage, sum } = segment;
    let mut fields = Fields::of("segment");
    fields.number(start.as_millisecond());
    fields.number(end.as_millisecond());
    fields.number_or_none(high_water.map(jiff::Timestamp::as_millisecond));
    for mark in [stepped, recovered, damaged] {
        fields.number(i64::from(*mark));
    }
    for volume in [figures.seen, figures.pending_before, figures.pending_after, *usage] {
        fields.volume(volume);
    }
    fields.bytes(&sum.bytes());
    fields.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Entry;
    use crate::class::Reason;
    use crate::subscriber::Session;
    use crate::unit::Disposition;

    /// The check of an account's counter.
    fn check(account: &Account, volume: Volume, flags: &str, capped: bool) -> Check {
        CounterFields::of(account, volume, flags, capped).check(identity(account))
    }

    #[test]
    fn f64_every_field_of_a_counter_is_under_its_check() {
        use crate::account::ListVersion;
        use crate::subscriber::SubscriberType;
        let session = |kind, id, session| Session::new(kind, id, session).unwrap();
        let exempt = |service: &str, rating_group, disposition| Entry::Exempt {
            service: service.into(),
            rating_group,
            disposition,
        };
        let list = |id: &str, serial| Some(ListVersion { id: id.into(), serial });
        let base = Account {
            session: session(SubscriberType::Msisdn, "1", "s"),
            list: list("kz", 3),
            entry: exempt("a", 1, Disposition::Tagged),
        };
        let volume = Volume { up: 5, down: 6 };
        let others = [
            Account { session: session(SubscriberType::Imsi, "1", "s"), ..base.clone() },
            Account { session: session(SubscriberType::Msisdn, "2", "s"), ..base.clone() },
            Account { session: session(SubscriberType::Msisdn, "1", "t"), ..base.clone() },
            // What is cut elsewhere is not the same.
            Account { session: session(SubscriberType::Msisdn, "1s", ""), ..base.clone() },
            Account { list: None, ..base.clone() },
            Account { list: list("kz", 4), ..base.clone() },
            Account { list: list("ru", 3), ..base.clone() },
            Account { entry: exempt("b", 1, Disposition::Tagged), ..base.clone() },
            Account { entry: exempt("a", 2, Disposition::Tagged), ..base.clone() },
            Account { entry: exempt("a", 1, Disposition::Observed), ..base.clone() },
            Account { entry: Entry::because(Reason::Port), ..base.clone() },
        ];
        let mut checks = vec![check(&base, volume, "", false)];
        checks.extend(others.iter().map(|account| check(account, volume, "", false)));
        checks.push(check(&base, Volume { up: 6, down: 5 }, "", false));
        checks.push(check(&base, Volume { up: 5, down: 7 }, "", false));
        checks.push(check(&base, volume, "recovered", false));
        checks.push(check(&base, volume, "", true));
        for (at, one) in checks.iter().enumerate() {
            assert!(checks.iter().skip(at + 1).all(|other| other != one), "{at}");
        }
    }

    #[test]
    fn f64_a_sum_knows_which_rows_there_are_and_not_their_order() {
        let row = |bytes| of_total([b"", b"", b"", b"", b"", b""], Volume { up: bytes, down: 0 });
        let (mut one, mut other) = (Sum::default(), Sum::default());
        [1, 2, 3].into_iter().for_each(|bytes| one.add(row(bytes)));
        [3, 1, 2].into_iter().for_each(|bytes| other.add(row(bytes)));
        assert_eq!(one, other);
        other.remove(row(3));
        assert_ne!(one, other);
        other.add(row(4));
        assert_ne!(one, other);
        assert_eq!(Sum::of_bytes(&other.bytes()), Some(other));
        assert_eq!(Sum::of_bytes(&[0; 15]), None);
    }
}

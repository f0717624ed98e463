//! Books: what was carried, line by line, and what a ledger holds.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;

use super::{LISTED, UNLISTED};

/// The kinds of traffic, by who asks for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    FirstListed,
    FirstUnlisted,
    SecondListed,
    SecondUnlisted,
    StrangerListed,
}

impl Kind {
    pub(crate) const ALL: [Kind; 5] = [
        Kind::FirstListed,
        Kind::FirstUnlisted,
        Kind::SecondListed,
        Kind::SecondUnlisted,
        Kind::StrangerListed,
    ];

    pub(super) fn index(self) -> usize {
        Kind::ALL.iter().position(|kind| *kind == self).unwrap()
    }

    pub(crate) fn host(self) -> &'static str {
        match self {
            Kind::FirstListed | Kind::SecondListed | Kind::StrangerListed => LISTED,
            Kind::FirstUnlisted | Kind::SecondUnlisted => UNLISTED,
        }
    }

    pub(super) fn source(self) -> Ipv4Addr {
        match self {
            Kind::FirstListed | Kind::FirstUnlisted => Ipv4Addr::new(127, 66, 0, 1),
            Kind::SecondListed | Kind::SecondUnlisted => Ipv4Addr::new(127, 66, 0, 2),
            Kind::StrangerListed => Ipv4Addr::new(127, 66, 0, 9),
        }
    }

    /// Where the books of a node without faults have this kind.
    pub(crate) fn row(self) -> Row {
        let row = |subscriber: &str, class: &str, service: &str, reason: &str| Row {
            subscriber: subscriber.into(),
            class: class.into(),
            service: service.into(),
            reason: reason.into(),
        };
        match self {
            Kind::FirstListed => row("77010000001", "exempt", "study", ""),
            Kind::FirstUnlisted => row("77010000001", "charged", "", "not_listed"),
            Kind::SecondListed => row("77010000002", "exempt", "study", ""),
            Kind::SecondUnlisted => row("77010000002", "charged", "", "not_listed"),
            Kind::StrangerListed => row("", "unattributed", "", "no_subscriber"),
        }
    }
}

/// One line of the books.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Row {
    pub(crate) subscriber: String,
    pub(crate) class: String,
    pub(crate) service: String,
    pub(crate) reason: String,
}

impl Row {
    /// Where bytes without a verdict go when the process that carried them is gone.
    pub(crate) fn orphaned() -> Row {
        Row {
            subscriber: String::new(),
            class: "unattributed".into(),
            service: String::new(),
            reason: "undecided".into(),
        }
    }
}

/// Bytes up and down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bytes {
    pub(crate) up: u64,
    pub(crate) down: u64,
}

impl Bytes {
    pub(crate) fn add(&mut self, other: Bytes) {
        self.up += other.up;
        self.down += other.down;
    }

    pub(crate) fn plus(mut self, other: Bytes) -> Bytes {
        self.add(other);
        self
    }

    pub(crate) fn at_most(self, other: Bytes) -> bool {
        self.up <= other.up && self.down <= other.down
    }
}

/// Sums by line.
pub(crate) type Sums = BTreeMap<Row, Bytes>;

/// Everything under one class, whoever's.
pub(crate) fn sum_where(sums: &Sums, keep: impl Fn(&Row) -> bool) -> Bytes {
    sums.iter().filter(|(row, _)| keep(row)).fold(Bytes::default(), |sum, (_, bytes)| sum.plus(*bytes))
}

/// What a ledger holds that survives any stop.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    /// Sealed records and open counters.
    pub(crate) sums: Sums,
    /// Bytes without a verdict at the last tick.
    pub(crate) pending: Bytes,
    /// Time of the last tick, in microseconds.
    pub(crate) high_water: Option<i64>,
}

impl Ledger {
    pub(super) fn read(path: &Path) -> Ledger {
        let connection = rusqlite::Connection::open(path).unwrap();
        let mut ledger = Ledger::default();
        let number = |row: &rusqlite::Row<'_>, index: usize| -> rusqlite::Result<u64> {
            Ok(u64::try_from(row.get::<_, Option<i64>>(index)?.unwrap_or(0)).unwrap())
        };
        let text = |row: &rusqlite::Row<'_>, index: usize| -> rusqlite::Result<String> {
            Ok(row.get::<_, Option<String>>(index)?.unwrap_or_default())
        };
        for query in [
            "SELECT subscriber_id, class, service_id, reason, up_bytes, down_bytes FROM record WHERE kind = 'usage'",
            "SELECT subscriber_id, class, service_id, reason, counter.up_bytes, counter.down_bytes
             FROM counter JOIN total ON total.id = total_id",
        ] {
            // A kill may come before there are any tables.
            let Ok(mut statement) = connection.prepare(query) else { return ledger };
            let rows = statement.query_map([], |row| {
                let found = Row {
                    subscriber: text(row, 0)?,
                    class: text(row, 1)?,
                    service: text(row, 2)?,
                    reason: text(row, 3)?,
                };
                Ok((found, Bytes { up: number(row, 4)?, down: number(row, 5)? }))
            });
            for found in rows.unwrap() {
                let (row, bytes) = found.unwrap();
                ledger.sums.entry(row).or_default().add(bytes);
            }
        }
        let segment = "SELECT pending_after_up, pending_after_down, high_water_utc FROM segment";
        let found = connection.query_row(segment, [], |row| {
            Ok((Bytes { up: number(row, 0)?, down: number(row, 1)? }, row.get::<_, Option<String>>(2)?))
        });
        if let Ok((pending, high_water)) = found {
            ledger.pending = pending;
            ledger.high_water =
                high_water.map(|text| text.parse::<jiff::Timestamp>().unwrap().as_microsecond());
        }
        ledger
    }

    /// All bytes that are safe: counted, or without a verdict.
    pub(crate) fn safe(&self) -> Bytes {
        sum_where(&self.sums, |_| true).plus(self.pending)
    }
}

//! What two processes of one node say to each other over the restart socket.
//!
//! Usage is written with the labels of the usage file and read back by the same constructors as everything else: what
//! does not read is refused, never guessed.

use std::net::SocketAddr;
use std::path::PathBuf;

use billing_export::codec::account::AccountWords;
use billing_export::{Usage, Volume};
use serde::{Deserialize, Serialize};

/// Rows of one delta; more go in several.
pub const ROWS_MAX: usize = 4_096;

/// What two processes must agree on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// What is spoken.
    pub version: u32,
    /// Whose sockets, ledger and counts.
    pub node_id: String,
    /// What is counted, in the word of the usage file: one ledger has one.
    pub byte_basis: String,
}

/// The first message of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// A new process wants sockets and ledger.
    TakeOver(Terms),
    /// A draining process hands over what it counts.
    Remainder(Terms),
}

impl Request {
    /// What must agree.
    pub fn terms(&self) -> &Terms {
        match self {
            Self::TakeOver(terms) | Self::Remainder(terms) => terms,
        }
    }
}

/// What the process that is taken over from says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum FromOld {
    /// It goes on by itself.
    Refused {
        /// Why.
        why: String,
    },
    /// A listening socket comes with this message.
    Socket {
        /// The address of the configuration that it serves.
        wanted: SocketAddr,
    },
    /// A listening Unix socket comes with this message.
    LocalSocket {
        /// The path of the configuration that it serves.
        wanted: PathBuf,
    },
    /// Those were all.
    NoMoreSockets,
    /// The ledger is closed.
    Released,
}

/// What the new process says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromNew {
    /// Everything is there but the ledger.
    Prepared,
    /// It accepts and counts.
    Accepting,
}

/// What a draining process hears of its counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Counts are taken here.
    Welcome,
    /// They are on the disk.
    Saved,
    /// They are in no record and will not be: offer them again, to whoever listens then.
    NotTaken,
}

/// Bytes that a draining process counted.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delta {
    /// Bytes up that passed the sockets.
    seen_up: u64,
    /// Bytes down that passed the sockets.
    seen_down: u64,
    /// The accounts they belong to.
    rows: Vec<Row>,
}

/// Bytes of one account, in the words of the usage file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    kind: String,
    subscriber: String,
    session: String,
    list: Option<(String, u64)>,
    class: String,
    /// The reason; none when exempt.
    reason: Option<String>,
    /// Service, rating group and disposition when exempt.
    exempt: Option<(String, u32, String)>,
    flags: String,
    up: u64,
    down: u64,
}

impl Delta {
    /// The deltas for this usage, of at most [`ROWS_MAX`] rows each; what was seen beyond the rows' bytes is in the last.
    pub fn of(usage: &[Usage], seen: Volume) -> Vec<Self> {
        let mut left = seen;
        let mut deltas: Vec<Self> = Vec::new();
        for part in usage.chunks(ROWS_MAX) {
            let sum = |bytes: fn(&Usage) -> u64| part.iter().map(bytes).fold(0, u64::saturating_add);
            let (up, down) = (sum(|usage| usage.volume.up), sum(|usage| usage.volume.down));
            let seen = Volume { up: up.min(left.up), down: down.min(left.down) };
            left = Volume { up: left.up.saturating_sub(seen.up), down: left.down.saturating_sub(seen.down) };
            let rows = part.iter().map(Row::of).collect();
            deltas.push(Self { seen_up: seen.up, seen_down: seen.down, rows });
        }
        if left != Volume::ZERO {
            // Bytes that no account has: a mismatch, which the ledger is to see.
            let mut last = deltas.pop().unwrap_or(Self { seen_up: 0, seen_down: 0, rows: Vec::new() });
            last.seen_up = last.seen_up.saturating_add(left.up);
            last.seen_down = last.seen_down.saturating_add(left.down);
            deltas.push(last);
        }
        deltas
    }

    /// Bytes that passed the sockets.
    pub fn seen(&self) -> Volume {
        Volume { up: self.seen_up, down: self.seen_down }
    }

    /// Usage of the ledger; none when a row does not read.
    pub fn usage(&self) -> Option<Vec<Usage>> {
        if self.rows.len() > ROWS_MAX {
            return None;
        }
        self.rows.iter().map(Row::usage).collect()
    }
}

impl Row {
    /// The row of this usage.
    fn of(usage: &Usage) -> Self {
        let words = AccountWords::of(&usage.account);
        let owned = |word: &str| word.to_owned();
        Self {
            kind: owned(words.subscriber_type),
            subscriber: owned(words.subscriber_id),
            session: owned(words.session_id),
            list: words.list_id.map(owned).zip(words.list_serial),
            class: owned(words.class),
            reason: words.reason.map(owned),
            exempt: words
                .service_id
                .zip(words.rating_group)
                .zip(words.disposition)
                .map(|((service, group), disposition)| (owned(service), group, owned(disposition))),
            flags: usage.flags.to_string(),
            up: usage.volume.up,
            down: usage.volume.down,
        }
    }

    /// The usage of this row.
    fn usage(&self) -> Option<Usage> {
        let (list, exempt) = (self.list.as_ref(), self.exempt.as_ref());
        let words = AccountWords {
            subscriber_type: &self.kind,
            subscriber_id: &self.subscriber,
            session_id: &self.session,
            list_id: list.map(|(id, _)| &**id),
            list_serial: list.map(|(_, serial)| *serial),
            class: &self.class,
            reason: self.reason.as_deref(),
            service_id: exempt.map(|(service, ..)| &**service),
            rating_group: exempt.map(|(_, group, _)| *group),
            disposition: exempt.map(|(.., disposition)| &**disposition),
        };
        Some(Usage {
            account: words.account().ok()?,
            flags: self.flags.parse().ok()?,
            volume: Volume { up: self.up, down: self.down },
        })
    }
}

#[cfg(test)]
mod tests {
    use billing_export::{
        Account, Disposition, Entry, Flag, Flags, ListVersion, Reason, Session, SubscriberType,
    };

    use super::*;

    /// Usage of one subscriber.
    fn usage(entry: Entry, flags: Flags, up: u64, down: u64) -> Usage {
        let session = Session::new(SubscriberType::Msisdn, "77010000001", "s-1").unwrap();
        let list = Some(ListVersion { id: "kz".into(), serial: 7 });
        Usage { account: Account { session, list, entry }, flags, volume: Volume { up, down } }
    }

    #[test]
    fn usage_reads_back_as_it_was() {
        let exempt =
            Entry::Exempt { service: "study".into(), rating_group: 9, disposition: Disposition::Tagged };
        let mut all = vec![
            usage(exempt, Flags::NONE, 1, u64::MAX),
            usage(Entry::Charged(Reason::NotListed), Flags::NONE.with(Flag::FreeInCore), 2, 3),
        ];
        all.extend(Reason::ALL.map(|reason| usage(Entry::because(reason), Flags::NONE, 1, 1)));
        all.push(Usage {
            account: Account {
                session: Session::none(),
                list: None,
                entry: Entry::Unattributed(Reason::Undecided),
            },
            flags: Flags::NONE.with(Flag::Recovered),
            volume: Volume { up: 4, down: 5 },
        });
        let seen = Volume { up: 100, down: u64::MAX };
        let deltas = Delta::of(&all, seen);
        let text = serde_json::to_string(&deltas).unwrap();
        let back: Vec<Delta> = serde_json::from_str(&text).unwrap();
        assert_eq!(back.len(), 1);
        assert_eq!(back[0].usage().unwrap(), all);
        assert_eq!(back[0].seen(), seen);
    }

    #[test]
    fn rows_at_the_limit_go_in_one_delta_and_one_over_in_two_that_each_add_up() {
        let row = || usage(Entry::Charged(Reason::Port), Flags::NONE, 2, 3);
        let many = vec![row(); ROWS_MAX];
        assert_eq!(Delta::of(&many, Volume { up: 2 * ROWS_MAX as u64, down: 3 * ROWS_MAX as u64 }).len(), 1);
        let over = vec![row(); ROWS_MAX + 1];
        let seen = Volume { up: 2 * over.len() as u64, down: 3 * over.len() as u64 };
        let deltas = Delta::of(&over, seen);
        assert_eq!(deltas.len(), 2);
        assert_eq!(deltas[1].seen(), Volume { up: 2, down: 3 });
        // More seen than accounted for is not hidden, and less is not made up.
        let more = Delta::of(&[row()], Volume { up: 10, down: 1 });
        assert_eq!(more[0].seen(), Volume { up: 10, down: 1 });
        assert!(Delta::of(&[], Volume::ZERO).is_empty());
    }

    #[test]
    fn what_does_not_read_is_refused() {
        let good = Row::of(&usage(Entry::Charged(Reason::Port), Flags::NONE, 1, 1));
        assert!(good.usage().is_some());
        for bad in [
            Row { kind: "pager".into(), ..good.clone() },
            Row { subscriber: String::new(), ..good.clone() },
            Row { reason: Some("because".into()), ..good.clone() },
            Row { reason: None, ..good.clone() },
            Row { class: "exempt".into(), ..good.clone() },
            Row { exempt: Some(("study".into(), 1, "tagged".into())), ..good.clone() },
            Row { flags: "odd".into(), ..good.clone() },
        ] {
            assert!(bad.usage().is_none());
        }
        let delta = Delta { seen_up: 0, seen_down: 0, rows: vec![good; ROWS_MAX + 1] };
        assert!(delta.usage().is_none());
    }
}

//! A statement of one subscriber's day, for a support desk: what was free, what was charged and why, net of corrections. Pure.
//!
//! Records come in any order and may come twice. A usage record is on the local day in which it starts; a correction is on the
//! day of the usage record at the end of its references, whenever it was made.
//!
//! Memory: one entry for each of the subscriber's records, about 100 bytes.

mod coverage;
mod words;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;

pub use self::coverage::Coverage;
use crate::account::{Account, Entry};
use crate::record::{Body, Record};
use crate::subscriber::{Session, SubscriberType};
use crate::unit::NodeId;

/// A local day.
#[derive(Debug, Clone)]
pub struct Day {
    date: Date,
    zone: TimeZone,
    start: Timestamp,
    end: Timestamp,
}

impl Day {
    /// The day of a zone; 23 or 25 hours, or another length, where clocks change in it. None where the calendar ends.
    pub fn new(date: Date, zone: TimeZone) -> Option<Day> {
        let begin = |date: Date| zone.to_timestamp(date.at(0, 0, 0, 0)).ok();
        let (start, end) = (begin(date)?, begin(date.tomorrow().ok()?)?);
        Some(Day { date, zone, start, end })
    }

    /// The date.
    pub fn date(&self) -> Date {
        self.date
    }

    /// First instant.
    pub fn start(&self) -> Timestamp {
        self.start
    }

    /// First instant after.
    pub fn end(&self) -> Timestamp {
        self.end
    }

    /// Whether an instant is in it, by the date that clocks there show.
    pub fn contains(&self, at: Timestamp) -> bool {
        self.zone.to_datetime(at).date() == self.date
    }
}

/// A record's name: node, epoch, number.
type Name = (NodeId, u32, u64);
/// Bytes upward and downward.
type Net = (i128, i128);

/// A correction of the subscriber's.
struct Correction {
    reference: Name,
    account: Account,
    start: Timestamp,
    bytes: Net,
}

/// What is read of a subscriber's records.
pub struct Reading {
    day: Day,
    id: String,
    kind: Option<SubscriberType>,
    /// Usage records, and those on the day with what they say.
    usage: HashMap<Name, Option<(Account, Net)>>,
    corrections: BTreeMap<Name, Correction>,
    kinds: BTreeSet<SubscriberType>,
}

/// Several subscribers have the id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ambiguous(pub Vec<SubscriberType>);

/// Exempt bytes of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exempt {
    /// The service.
    pub service_id: String,
    /// Who exempts it.
    pub disposition: &'static str,
    /// Bytes upward.
    #[serde(serialize_with = "as_text")]
    pub up_bytes: i128,
    /// Bytes downward.
    #[serde(serialize_with = "as_text")]
    pub down_bytes: i128,
}

/// Bytes that were charged, or are nobody's, for a reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Charged {
    /// The reason.
    pub reason: &'static str,
    /// Bytes upward.
    #[serde(serialize_with = "as_text")]
    pub up_bytes: i128,
    /// Bytes downward.
    #[serde(serialize_with = "as_text")]
    pub down_bytes: i128,
}

/// A correction that is in the sums.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Adjusted {
    /// The gateway.
    pub node_id: String,
    /// Epoch of its own record.
    pub epoch: u32,
    /// Number of its own record.
    #[serde(serialize_with = "as_text")]
    pub record_seq: u64,
    /// Bytes upward.
    #[serde(serialize_with = "as_text")]
    pub up_bytes: i128,
    /// Bytes downward.
    #[serde(serialize_with = "as_text")]
    pub down_bytes: i128,
}

/// What is left of what a subscriber may have exempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Allowance {
    /// Which: `overall`, `shared_addresses`, `group:ID`.
    pub allowance: String,
    /// Its day or month.
    pub span: String,
    /// Bytes of both directions that may be exempt.
    #[serde(serialize_with = "as_text")]
    pub limit: u64,
    /// Those that were.
    #[serde(serialize_with = "as_text")]
    pub used: i128,
    /// Those that are left.
    #[serde(serialize_with = "as_text")]
    pub left: i128,
}

/// Editions of a list that were in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct List {
    /// The list.
    pub list_id: String,
    /// Its editions.
    pub serials: Vec<String>,
}

/// A subscriber's day. Its JSON is that of the contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Statement {
    /// What kind of id the subscriber has.
    pub subscriber_type: &'static str,
    /// The id.
    pub subscriber_id: String,
    /// The local day.
    pub day: String,
    /// Its zone.
    pub zone: String,
    /// Whether every record of the day is in it.
    pub complete: bool,
    /// By service and disposition.
    pub exempt: Vec<Exempt>,
    /// By reason.
    pub charged: Vec<Charged>,
    /// By node, epoch and number.
    pub adjusted: Vec<Adjusted>,
    /// Where they are known.
    pub allowances: Vec<Allowance>,
    /// By id.
    pub lists: Vec<List>,
}

/// A number as JSON's text: its numbers end at 2^53.
fn as_text<S: serde::Serializer>(number: &impl ToString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&number.to_string())
}

impl Reading {
    /// Of the subscriber with this id, of one type or of whichever there is, on a day.
    pub fn new(day: Day, id: &str, kind: Option<SubscriberType>) -> Reading {
        Reading {
            day,
            id: id.to_owned(),
            kind,
            usage: HashMap::new(),
            corrections: BTreeMap::new(),
            kinds: BTreeSet::new(),
        }
    }

    /// The day.
    pub fn day(&self) -> &Day {
        &self.day
    }

    /// Whether a session is the subscriber's.
    fn is_own(&self, session: &Session) -> bool {
        session.subscriber_id() == self.id
            && session.subscriber_type() != SubscriberType::None
            && self.kind.is_none_or(|kind| kind == session.subscriber_type())
    }

    /// Takes a record; of others than the subscriber's nothing is kept.
    pub fn add(&mut self, record: &Record) {
        let Some(account) = record.account().filter(|account| self.is_own(&account.session)) else { return };
        let name = (record.node_id.clone(), record.epoch, record.seq);
        let start = record.window.start();
        match &record.body {
            Body::Usage { .. } => {
                let told = self.day.contains(start).then(|| (account.clone(), record.bytes()));
                self.usage.insert(name, told);
            }
            Body::Adjust { reference, .. } => {
                let reference = (record.node_id.clone(), reference.epoch, reference.seq);
                let (account, bytes) = (account.clone(), record.bytes());
                self.corrections.insert(name, Correction { reference, account, start, bytes });
            }
            Body::Heartbeat | Body::Gap => return,
        }
        self.kinds.insert(account.session.subscriber_type());
    }

    /// Whether a correction is on the day: by its usage record, or by its own begin where that is not here.
    fn is_on_day(&self, correction: &Correction) -> bool {
        let mut correction = correction;
        // References lead to earlier records; a circle can only be forged.
        for _ in 0..=self.corrections.len() {
            if let Some(told) = self.usage.get(&correction.reference) {
                return told.is_some();
            }
            match self.corrections.get(&correction.reference) {
                Some(next) => correction = next,
                None => break,
            }
        }
        self.day.contains(correction.start)
    }

    /// The statement; none where nothing is known of the subscriber on that day.
    ///
    /// # Errors
    /// Subscribers of several types have the id.
    pub fn finish(self, complete: bool) -> Result<Option<Statement>, Ambiguous> {
        let mut kinds = self.kinds.iter().copied();
        let (Some(kind), None) = (kinds.next(), kinds.next()) else {
            return if self.kinds.is_empty() { Ok(None) } else { Err(Ambiguous(Vec::from_iter(self.kinds))) };
        };
        let mut sums = Sums::default();
        for (account, bytes) in self.usage.values().flatten() {
            sums.add(account, *bytes);
        }
        let mut adjusted = Vec::new();
        for ((node_id, epoch, record_seq), one) in &self.corrections {
            if !self.is_on_day(one) {
                continue;
            }
            sums.add(&one.account, one.bytes);
            let (up_bytes, down_bytes) = one.bytes;
            let (epoch, record_seq) = (*epoch, *record_seq);
            adjusted.push(Adjusted { node_id: node_id.to_string(), epoch, record_seq, up_bytes, down_bytes });
        }
        if sums.is_empty() {
            return Ok(None);
        }
        let zone = self.day.zone.iana_name().unwrap_or("UTC").to_owned();
        Ok(Some(Statement {
            subscriber_type: kind.label(),
            subscriber_id: self.id,
            day: self.day.date.to_string(),
            zone,
            complete,
            exempt: sums.exempt(),
            charged: sums.charged(),
            adjusted,
            allowances: Vec::new(),
            lists: sums.lists(),
        }))
    }
}

/// Sums of a day.
#[derive(Default)]
struct Sums {
    exempt: BTreeMap<(String, &'static str), Net>,
    charged: BTreeMap<&'static str, Net>,
    lists: BTreeMap<String, BTreeSet<u64>>,
}

impl Sums {
    /// Adds bytes of an account. 2⁶³ records of 2⁶⁴ bytes fit 127 bits.
    fn add(&mut self, account: &Account, bytes: Net) {
        let sum = match &account.entry {
            Entry::Exempt { service, disposition, .. } => {
                self.exempt.entry((service.to_string(), disposition.label())).or_default()
            }
            Entry::Charged(reason) | Entry::Unattributed(reason) => {
                self.charged.entry(reason.label()).or_default()
            }
        };
        *sum = (sum.0.saturating_add(bytes.0), sum.1.saturating_add(bytes.1));
        if let Some(list) = &account.list {
            self.lists.entry(list.id.to_string()).or_default().insert(list.serial);
        }
    }

    fn is_empty(&self) -> bool {
        self.exempt.is_empty() && self.charged.is_empty()
    }

    fn exempt(&self) -> Vec<Exempt> {
        let exempt = self.exempt.iter().map(|((service_id, disposition), (up_bytes, down_bytes))| Exempt {
            service_id: service_id.clone(),
            disposition,
            up_bytes: *up_bytes,
            down_bytes: *down_bytes,
        });
        exempt.collect()
    }

    fn charged(&self) -> Vec<Charged> {
        let charged = self.charged.iter().map(|(reason, (up_bytes, down_bytes))| Charged {
            reason,
            up_bytes: *up_bytes,
            down_bytes: *down_bytes,
        });
        charged.collect()
    }

    fn lists(&self) -> Vec<List> {
        let lists = self.lists.iter().map(|(list_id, serials)| List {
            list_id: list_id.clone(),
            serials: serials.iter().map(u64::to_string).collect(),
        });
        lists.collect()
    }
}

#[cfg(test)]
mod tests;

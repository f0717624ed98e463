//! One row of a usage file as text: a record to 25 values and back.
//!
//! Every value has one written form, so what is read is written again equal: no leading zeros, no other time zone, flags
//! in order.

use std::str::FromStr;
use std::sync::Arc;

use crate::account::{Account, Entry, ListVersion};
use crate::class::Class;
use crate::period::{format_instant, parse_instant};
use crate::record::{Body, Change, Kind, Record, Reference, Window};
use crate::subscriber::Session;
use crate::unit::Volume;

/// The columns, in order.
pub const COLUMNS: [&str; 25] = [
    "node_id",
    "epoch",
    "record_seq",
    "kind",
    "ref_epoch",
    "ref_seq",
    "class",
    "reason",
    "subscriber_type",
    "subscriber_id",
    "session_id",
    "service_id",
    "rating_group",
    "list_id",
    "list_serial",
    "start_utc",
    "end_utc",
    "up_bytes",
    "down_bytes",
    "up_bytes_total",
    "down_bytes_total",
    "byte_basis",
    "disposition",
    "cause",
    "flags",
];

/// The values of one row as text, in the order of [`COLUMNS`]; empty where the kind has none.
pub type Fields = [String; 25];

/// The row of a record.
pub fn fields(record: &Record) -> Fields {
    let mut fields = Fields::default();
    let [
        node_id,
        epoch,
        seq,
        kind,
        ref_epoch,
        ref_seq,
        class,
        reason,
        subscriber_type,
        subscriber_id,
        session_id,
        service_id,
        rating_group,
        list_id,
        list_serial,
        start,
        end,
        up,
        down,
        up_total,
        down_total,
        byte_basis,
        disposition,
        cause,
        flags,
    ] = &mut fields;
    *node_id = record.node_id.to_string();
    *epoch = record.epoch.to_string();
    *seq = record.seq.to_string();
    *kind = record.kind().label().into();
    *start = format_instant(record.window.start());
    *end = format_instant(record.window.end());
    *byte_basis = record.byte_basis.label().into();
    *cause = record.cause.map_or("", |cause| cause.label()).into();
    *flags = record.flags.to_string();
    if let Some(account) = record.account() {
        *class = account.entry.class().label().into();
        *reason = account.entry.reason().map_or("", |reason| reason.label()).into();
        *subscriber_type = account.session.subscriber_type().label().into();
        *subscriber_id = account.session.subscriber_id().into();
        *session_id = account.session.session_id().into();
        if let Some(list) = &account.list {
            *list_id = list.id.to_string();
            *list_serial = list.serial.to_string();
        }
        if let Entry::Exempt { service, rating_group: group, disposition: who } = &account.entry {
            *service_id = service.to_string();
            *rating_group = group.to_string();
            *disposition = who.label().into();
        }
    }
    match &record.body {
        Body::Usage { volume, total, .. } => {
            *up = volume.up.to_string();
            *down = volume.down.to_string();
            *up_total = total.up.to_string();
            *down_total = total.down.to_string();
        }
        Body::Adjust { reference, up: up_change, down: down_change, total, .. } => {
            *ref_epoch = reference.epoch.to_string();
            *ref_seq = reference.seq.to_string();
            *up = up_change.bytes().to_string();
            *down = down_change.bytes().to_string();
            *up_total = total.up.to_string();
            *down_total = total.down.to_string();
        }
        Body::Heartbeat | Body::Gap => {}
    }
    fields
}

/// What is wrong with one value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// The column's name.
    pub column: &'static str,
    /// The value, cut to a readable length; personal data is left out.
    pub found: String,
    /// What would have been right.
    pub wanted: String,
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: found {:?}, wanted {}", self.column, self.found, self.wanted)
    }
}

/// The values of one row, by name.
struct Row<'a>(&'a [&'a str; 25]);

/// Longest value repeated in a message, in characters.
pub(super) const FOUND_LEN_MAX: usize = 64;

impl<'a> Row<'a> {
    /// The value of a column.
    fn get(&self, column: &'static str) -> &'a str {
        COLUMNS.iter().zip(self.0).find_map(|(name, value)| (*name == column).then_some(*value)).unwrap_or("")
    }

    /// The error for a column.
    fn refuse(&self, column: &'static str, wanted: impl Into<String>) -> FieldError {
        let personal = matches!(column, "subscriber_id" | "session_id");
        let found = if personal {
            "(not shown)".into()
        } else {
            self.get(column).chars().take(FOUND_LEN_MAX).collect()
        };
        FieldError { column, found, wanted: wanted.into() }
    }

    /// A value of a vocabulary.
    fn word<T: FromStr<Err: std::fmt::Display>>(&self, column: &'static str) -> Result<T, FieldError> {
        self.get(column).parse().map_err(|error: T::Err| self.refuse(column, wanted_of(&error.to_string())))
    }

    /// A number in its one decimal form.
    fn number<T: FromStr + ToString>(&self, column: &'static str) -> Result<T, FieldError> {
        let text = self.get(column);
        let number = text.parse::<T>().ok().filter(|number| number.to_string() == text);
        number.ok_or_else(|| self.refuse(column, "a decimal number without leading zeros, within its range"))
    }

    /// An instant in its one form.
    fn instant(&self, column: &'static str) -> Result<jiff::Timestamp, FieldError> {
        parse_instant(self.get(column))
            .ok_or_else(|| self.refuse(column, "UTC with milliseconds, as 2026-04-06T00:15:00.000Z"))
    }

    /// A value that this kind of row does not have.
    fn empty(&self, column: &'static str) -> Result<(), FieldError> {
        if self.get(column).is_empty() {
            return Ok(());
        }
        Err(self.refuse(column, format!("nothing in a row of kind {}", self.get("kind"))))
    }

    /// Text that must be there.
    fn text(&self, column: &'static str) -> Result<Arc<str>, FieldError> {
        let text = self.get(column);
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err(self.refuse(column, "text without control characters"));
        }
        Ok(text.into())
    }

    /// A signed number of bytes.
    fn change(&self, column: &'static str) -> Result<Change, FieldError> {
        Change::new(self.number(column)?).ok_or_else(|| self.refuse(column, "at most 64 bits and a sign"))
    }

    /// Upward and downward bytes.
    fn volume(&self, up: &'static str, down: &'static str) -> Result<Volume, FieldError> {
        Ok(Volume { up: self.number(up)?, down: self.number(down)? })
    }

    /// The account of a usage or adjust row.
    fn account(&self) -> Result<Account, FieldError> {
        let session =
            Session::new(self.word("subscriber_type")?, self.get("subscriber_id"), self.get("session_id"))
                .map_err(|error| self.refuse("subscriber_id", wanted_of(&error.to_string())))?;
        let list = if self.get("list_id").is_empty() && self.get("list_serial").is_empty() {
            None
        } else {
            Some(ListVersion { id: self.text("list_id")?, serial: self.number("list_serial")? })
        };
        let class: Class = self.word("class")?;
        let entry = match class {
            Class::Exempt => {
                self.empty("reason")?;
                Entry::Exempt {
                    service: self.text("service_id")?,
                    rating_group: self.number("rating_group")?,
                    disposition: self.word("disposition")?,
                }
            }
            Class::Charged => Entry::Charged(self.word("reason")?),
            Class::Unattributed => Entry::Unattributed(self.word("reason")?),
        };
        if class != Class::Exempt {
            for column in ["service_id", "rating_group", "disposition"] {
                self.empty(column)?;
            }
        }
        if entry.clone().normalised() != entry {
            return Err(self.refuse("class", "unattributed, where the reason says that nobody is known"));
        }
        Ok(Account { session, list, entry })
    }

    /// What the row says.
    fn body(&self, kind: Kind) -> Result<Body, FieldError> {
        if kind != Kind::Adjust {
            self.empty("ref_epoch")?;
            self.empty("ref_seq")?;
        }
        match kind {
            Kind::Usage => Ok(Body::Usage {
                account: self.account()?,
                volume: self.volume("up_bytes", "down_bytes")?,
                total: self.volume("up_bytes_total", "down_bytes_total")?,
            }),
            Kind::Adjust => Ok(Body::Adjust {
                reference: Reference { epoch: self.number("ref_epoch")?, seq: self.number("ref_seq")? },
                account: self.account()?,
                up: self.change("up_bytes")?,
                down: self.change("down_bytes")?,
                total: self.volume("up_bytes_total", "down_bytes_total")?,
            }),
            Kind::Heartbeat | Kind::Gap => {
                const UNUSED: [&str; 14] = [
                    "class",
                    "reason",
                    "subscriber_type",
                    "subscriber_id",
                    "session_id",
                    "service_id",
                    "rating_group",
                    "list_id",
                    "list_serial",
                    "up_bytes",
                    "down_bytes",
                    "up_bytes_total",
                    "down_bytes_total",
                    "disposition",
                ];
                UNUSED.into_iter().try_for_each(|column| self.empty(column))?;
                Ok(if kind == Kind::Heartbeat { Body::Heartbeat } else { Body::Gap })
            }
        }
    }
}

/// The part of a vocabulary's message that says what was wanted.
fn wanted_of(message: &str) -> String {
    message.rsplit_once("wanted ").map_or(message, |(_, wanted)| wanted).to_owned()
}

/// The record of a row.
///
/// # Errors
/// The first value that is not in its written form or does not fit the others.
pub fn parse_fields(values: &[&str; 25]) -> Result<Record, FieldError> {
    let row = Row(values);
    let kind: Kind = row.word("kind")?;
    let window = Window::new(row.instant("start_utc")?, row.instant("end_utc")?)
        .ok_or_else(|| row.refuse("end_utc", "an instant not before start_utc"))?;
    let cause = if row.get("cause").is_empty() { None } else { Some(row.word("cause")?) };
    Ok(Record {
        node_id: row.word("node_id")?,
        epoch: row.number("epoch")?,
        seq: row.number("record_seq")?,
        window,
        byte_basis: row.word("byte_basis")?,
        cause,
        flags: row.word("flags")?,
        body: row.body(kind)?,
    })
}

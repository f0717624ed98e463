//! Usage records that billing can trust: counted, kept, sealed, published and verified.
//!
//! The words ([`Class`], [`Reason`], [`Volume`], [`Session`], [`Account`], [`Tick`]) say what was carried for whom and
//! as what. The **ledger** adds ticks to open counters and seals them into immutable records; the **store** keeps both
//! in SQLite so that what was committed survives any stop; the **sink** hands sealed records to billing as files that
//! are complete or not there. [`Exporter`] is the three together.
//!
//! Only `store`, `sink`, `witness` and `exporter` touch files; everything else is pure. Nothing here reads a clock.

#![deny(clippy::arithmetic_side_effects)]

mod account;
mod class;
mod error;
mod exporter;
mod period;
mod settings;
mod steps;
mod subscriber;
mod unit;

pub use account::{Account, Entry, ListVersion, Tick, Usage};
pub use class::{Class, Reason};
pub use error::{ExportError, LedgerError, UnknownLabel};
pub use exporter::Exporter;
pub use period::{PERIOD_DEFAULT, Period, PeriodError};
pub use settings::{ACCOUNTS_MAX_DEFAULT, FILE_RECORDS_MAX_DEFAULT, Settings};
pub use steps::{NoFault, Step, Steps};
pub use subscriber::{ID_LEN_MAX, Session, SessionError, SubscriberType};
pub use unit::{ByteBasis, Cause, Disposition, Flag, Flags, NodeId, Volume};

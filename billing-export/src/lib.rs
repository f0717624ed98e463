//! Usage records that billing can trust: counted, kept, sealed, published and verified.
//!
//! The words ([`Class`], [`Reason`], [`Volume`], [`Session`], [`Account`], [`Tick`]) say what was carried for whom and
//! as what. The **ledger** adds ticks to open counters and seals them into immutable records; the **store** keeps both
//! in SQLite so that what was committed survives any stop: [`Exporter`] is the two together. A **sink** takes what is sealed,
//! each by a [`sink::Courier`] of its own; the first is the folder where billing finds files that are complete or not there.
//!
//! [`verify`], [`totals`] and [`statement`] are the receiving side: they read what billing received. [`collect`] (a feature,
//! which the gateway does without) takes it into a PostgreSQL ledger.
//!
//! Only `store`, `sink`, `witness`, `exporter`, `render`, `pickup`, `verify`, `whole`, `totals` and `collect` touch files;
//! everything else is pure. Nothing here reads a clock but what `collect` answers over HTTP.

#![deny(clippy::arithmetic_side_effects)]

pub mod audit;
pub mod codec;
#[cfg(feature = "collect")]
pub mod collect;
pub mod correction;
pub mod manifest;
pub mod name;
pub mod pickup;
pub mod quantity;
pub mod record;
pub mod sink;
pub mod statement;
pub mod tdf;
pub mod totals;
pub mod verify;
pub mod whole;

mod account;
mod check;
mod class;
mod epoch;
mod error;
mod exporter;
mod ledger;
mod period;
mod render;
mod settings;
mod steps;
mod store;
mod subscriber;
mod unit;
mod watermark;
mod witness;

pub use account::{Account, Entry, ListVersion, Spent, Tick, Usage};
pub use class::{Class, Reason};
pub use error::{ExportError, LedgerError, UnknownLabel};
pub use exporter::{Adjusting, Exporter, Found, LOCK_NAME, Made, Opened, Release, Request, adjust, prune};
/// The time type of all interfaces.
pub use jiff::Timestamp;
pub use period::{PERIOD_DEFAULT, Period, PeriodError, format_instant, parse_instant};
pub use render::render;
pub use settings::{ACCOUNTS_MAX_DEFAULT, FILE_RECORDS_MAX_DEFAULT, Settings};
pub use steps::{NoFault, SharedSteps, Step, Steps};
pub use store::{
    BINDINGS_NAME, BindingChange, BindingKey, Bindings, LEDGER_VERSION, Released, STORE_NAME, SinkStanding,
};
pub use subscriber::{ID_LEN_MAX, Session, SessionError, SubscriberType};
pub use unit::{ByteBasis, Cause, Disposition, Flag, Flags, NodeId, Volume};
pub use watermark::Watermark;

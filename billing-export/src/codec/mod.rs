//! Records to bytes and back, one file per format. Pure over any reader or writer.

pub mod account;
pub mod csv;
pub mod jsonl;

mod columns;
mod row;

pub use self::columns::Format;

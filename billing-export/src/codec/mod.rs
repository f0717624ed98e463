//! Records to bytes and back, one file per format. Pure over any reader or writer.

pub mod csv;
pub mod jsonl;

mod row;

pub use self::row::COLUMNS;

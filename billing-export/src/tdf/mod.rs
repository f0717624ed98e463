//! Files of TS 32.297 with TS 32.298 `GPRSRecord.tDFRecord` in BER: what a mobile operator's mediation reads natively.
//!
//! A row of usage becomes a charging record ([`Composer`]), by what is agreed with the receiver ([`Profile`]) and what the
//! sink has counted before ([`Counts`]); equal records, counts and profiles give equal octets. [`Reader`] is the other way: it
//! reads such a file record by record, and says at which offset it is not one. `billing-export/docs/tdf.md` has the fields.
//! Pure: it reads and writes by `std::io` traits and opens nothing.

mod asn1;
mod bcd;
mod cdr;
mod compose;
mod error;
mod header;
mod json;
mod profile;
mod read;
mod record;
#[cfg(test)]
mod tests;
mod time;

pub use cdr::{Extension, Mnnai, ServiceData, TdfCdr};
pub use compose::{Composer, Counts, Outline};
pub use error::{ProfileError, ReadError, RecordError};
pub use header::{Closure, FileHeader, HeaderTime, LENGTH_UNKNOWN, Layout, Release};
pub use json::{write_header, write_record};
pub use profile::{Classes, ExtensionOid, NodeName, Profile, SessionFacts, Sponsor, release};
pub use read::Reader;
pub use time::LocalTime;

//! An instant of a list document.
//!
//! It keeps the offset that its writer chose, so that the canonical form says the same.

use std::fmt;

use jiff::Timestamp;
use toml::value::Datetime;

/// An instant together with the offset it was written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    instant: Timestamp,
    written: Datetime,
}

impl Moment {
    /// What stands for one that could not be read, in a document that is never given out.
    pub(crate) const UNKNOWN: Moment =
        Moment { instant: Timestamp::UNIX_EPOCH, written: Datetime { date: None, time: None, offset: None } };

    /// Takes a TOML date-time; none when it has no offset or names no instant.
    pub(crate) fn from_toml(mut written: Datetime) -> Option<Moment> {
        written.offset?;
        // TOML 1.1 lets the seconds go; RFC 3339, which everybody else reads, does not.
        if let Some(time) = written.time.as_mut() {
            time.second.get_or_insert(0);
        }
        let instant = written.to_string().parse().ok()?;
        Some(Moment { instant, written })
    }

    /// The instant.
    #[must_use]
    pub fn instant(self) -> Timestamp {
        self.instant
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.written.fmt(formatter)
    }
}

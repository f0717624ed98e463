//! Local times with whole minutes of offset: all that the two formats can say. Pure.

use std::fmt;

use jiff::Timestamp;
use jiff::civil;
use jiff::tz::{Offset, TimeZone};

/// Seconds of a minute, and minutes of an hour.
const SIXTY: i32 = 60;

/// A time of day and its distance from UTC in whole minutes, cut to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalTime {
    /// What clocks show there.
    civil: civil::DateTime,
    /// East of UTC in minutes; negative in the west.
    offset_minutes: i32,
}

impl LocalTime {
    /// An instant in a zone. An offset with seconds, as zones had before there was standard time, is cut to the minute: what is
    /// written names the instant all the same.
    pub(super) fn at(instant: Timestamp, zone: &TimeZone) -> LocalTime {
        LocalTime::with(instant, zone.to_offset(instant))
    }

    /// An instant at an offset.
    pub(super) fn with(instant: Timestamp, offset: Offset) -> LocalTime {
        let offset_minutes = offset.seconds().checked_div(SIXTY).unwrap_or(0);
        let whole = Offset::from_seconds(offset_minutes.saturating_mul(SIXTY)).unwrap_or(Offset::UTC);
        let civil = whole.to_datetime(instant);
        let whole_second = civil.with().subsec_nanosecond(0).build();
        LocalTime { civil: whole_second.unwrap_or(civil), offset_minutes }
    }

    /// From what was read; `None` where the offset is beyond the clock.
    pub(super) fn of_parts(
        civil: civil::DateTime,
        negative: bool,
        hours: u8,
        minutes: u8,
    ) -> Option<LocalTime> {
        if hours > 23 || minutes > 59 {
            return None;
        }
        let minutes = i32::from(hours).checked_mul(SIXTY)?.checked_add(i32::from(minutes))?;
        Some(LocalTime { civil, offset_minutes: if negative { minutes.checked_neg()? } else { minutes } })
    }

    /// What clocks show.
    pub fn civil(self) -> civil::DateTime {
        self.civil
    }

    /// Whether west of UTC, and by how many hours and minutes.
    pub(super) fn offset_parts(self) -> (bool, u8, u8) {
        let minutes = self.offset_minutes.unsigned_abs();
        let (hours, minutes) = (minutes.checked_div(60).unwrap_or(0), minutes.checked_rem(60).unwrap_or(0));
        (self.offset_minutes < 0, u8::try_from(hours).unwrap_or(0), u8::try_from(minutes).unwrap_or(0))
    }

    /// `±hhmm`.
    pub(super) fn offset_text(self) -> String {
        let (negative, hours, minutes) = self.offset_parts();
        format!("{}{hours:02}{minutes:02}", if negative { '-' } else { '+' })
    }
}

impl fmt::Display for LocalTime {
    /// RFC 3339 with whole seconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (negative, hours, minutes) = self.offset_parts();
        let sign = if negative { '-' } else { '+' };
        write!(f, "{}{sign}{hours:02}:{minutes:02}", self.civil)
    }
}

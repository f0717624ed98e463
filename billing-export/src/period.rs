//! Billing periods: equal parts of the UTC day, and the one written form of an instant.
//!
//! Every zone in use is a multiple of 15 minutes from UTC, so with the default period each local day is a whole number
//! of periods. Pure: time is an argument.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// The default period: 15 minutes.
pub const PERIOD_DEFAULT: Duration = Duration::from_secs(900);

/// Length of a written instant; a year outside 0000 to 9999 (RFC 3339 §1) would be longer.
const INSTANT_LEN: usize = "2026-04-06T00:00:00.000Z".len();

/// How far a clock may stand behind what is written and windows wait for it: bills are by the day. Beyond it the records were
/// dated by a clock that was wrong, and an epoch begins at the present.
const BEHIND_MAX: SignedDuration = SignedDuration::from_hours(24);

/// Whether `now` is so far before `written` that the clock which wrote it was wrong.
pub(crate) fn is_far_behind(now: Timestamp, written: Timestamp) -> bool {
    written.duration_since(now) > BEHIND_MAX
}

/// Length of a billing period: at least a second, a whole number of seconds, and a whole number of periods a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// Length in milliseconds, a divisor of [`DAY_MS`].
    length_ms: i64,
}

impl Period {
    /// A period of this length.
    ///
    /// # Errors
    /// The length is not a whole number of seconds, or does not divide 24 hours.
    pub fn new(length: Duration) -> Result<Period, PeriodError> {
        let refused = PeriodError { found: length };
        let length_ms = i64::try_from(length.as_millis()).map_err(|_| refused)?;
        let whole = length.subsec_nanos() == 0 && length_ms > 0;
        if !whole || DAY_MS.checked_rem(length_ms) != Some(0) {
            return Err(refused);
        }
        Ok(Period { length_ms })
    }

    /// The length.
    pub fn length(self) -> Duration {
        Duration::from_millis(self.length_ms.unsigned_abs())
    }

    /// First instant of the period that contains `at`.
    pub fn start_of(self, at: Timestamp) -> Timestamp {
        let into = at.as_millisecond().rem_euclid(self.length_ms);
        let start = at.as_millisecond().saturating_sub(into);
        Timestamp::from_millisecond(start).unwrap_or(Timestamp::MIN)
    }

    /// First instant after the period that contains `at`.
    pub fn end_of(self, at: Timestamp) -> Timestamp {
        self.start_of(at).checked_add(SignedDuration::from_millis(self.length_ms)).unwrap_or(Timestamp::MAX)
    }
}

impl Default for Period {
    fn default() -> Period {
        Period { length_ms: i64::try_from(PERIOD_DEFAULT.as_millis()).unwrap_or(DAY_MS) }
    }
}

/// A length that cannot be a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("found a period of {found:?}, wanted whole seconds that divide 24 h, such as 15 min")]
pub struct PeriodError {
    /// The length asked for.
    found: Duration,
}

/// The instant cut to the millisecond the usage file writes, towards the past, within the years 0000 to 9999.
pub(crate) fn to_millis(at: Timestamp) -> Timestamp {
    let millis = at.as_nanosecond().div_euclid(1_000_000);
    let cut = i64::try_from(millis).ok().and_then(|millis| Timestamp::from_millisecond(millis).ok());
    cut.unwrap_or(Timestamp::UNIX_EPOCH)
}

/// RFC 3339 in UTC with milliseconds, as the usage file writes it.
pub fn format_instant(at: Timestamp) -> String {
    format!("{:.3}", to_millis(at))
}

/// The instant of one written by [`format_instant`]; no other form is accepted.
pub fn parse_instant(text: &str) -> Option<Timestamp> {
    let at: Timestamp = text.parse().ok()?;
    (text.len() == INSTANT_LEN && format_instant(at) == text).then_some(at)
}

/// `YYYYMMDDThhmmssZ`, the second rounded down, as the file name writes it.
pub(crate) fn format_compact(at: Timestamp) -> String {
    to_millis(at).strftime("%Y%m%dT%H%M%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shorthand.
    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn lengths_that_do_not_divide_a_day_are_refused() {
        for seconds in [1, 60, 900, 3_600, 86_400] {
            assert!(Period::new(Duration::from_secs(seconds)).is_ok(), "{seconds}");
        }
        for length in [0, 7, 86_401, 172_800].map(Duration::from_secs) {
            assert!(Period::new(length).is_err(), "{length:?}");
        }
        assert!(Period::new(Duration::from_millis(500)).is_err());
        assert!(Period::new(Duration::from_millis(1_500)).is_err());
        assert!(Period::new(Duration::MAX).is_err());
    }

    #[test]
    fn b11_the_last_millisecond_of_a_day_belongs_to_its_last_period() {
        let period = Period::default();
        let leap = at("2028-02-29T23:59:59.999Z");
        assert_eq!(period.start_of(leap), at("2028-02-29T23:45:00Z"));
        assert_eq!(period.end_of(leap), at("2028-03-01T00:00:00Z"));
        let year = at("2026-12-31T23:59:59.999Z");
        assert_eq!(period.end_of(year), at("2027-01-01T00:00:00Z"));
        assert_eq!(period.start_of(at("2027-01-01T00:00:00Z")), at("2027-01-01T00:00:00Z"));
        assert_eq!(period.start_of(at("1969-12-31T23:59:59Z")), at("1969-12-31T23:45:00Z"));
    }

    #[test]
    fn instants_have_one_written_form() {
        let instant = at("2026-04-06T00:00:00.123987Z");
        assert_eq!(format_instant(instant), "2026-04-06T00:00:00.123Z");
        assert_eq!(format_compact(instant), "20260406T000000Z");
        assert_eq!(parse_instant("2026-04-06T00:00:00.123Z"), Some(at("2026-04-06T00:00:00.123Z")));
        for text in [
            "2026-04-06T00:00:00Z",
            "2026-04-06T00:00:00.1234Z",
            "2026-04-06t00:00:00.123z",
            "2026-04-06T06:00:00.123+06:00",
            "2026-04-06 00:00:00.123Z",
            "-000001-04-06T00:00:00.123Z",
            "",
        ] {
            assert_eq!(parse_instant(text), None, "{text:?}");
        }
    }
}

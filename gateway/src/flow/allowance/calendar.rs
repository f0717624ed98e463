//! Which day and month it is where the subscribers live.

use std::ops::Range;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};

/// How long an allowance lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Length {
    /// From midnight to midnight.
    Day,
    /// From the first of a month to the first of the next.
    Month,
}

impl Length {
    /// The word of the ledger.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
        }
    }
}

/// One day or month, by its first date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// Which of the two.
    pub length: Length,
    /// The day, or the first of the month.
    pub first: Date,
}

impl Span {
    /// The word of the ledger: `day 2026-11-25`, `month 2026-11-01`.
    pub fn label(self) -> String {
        format!("{} {}", self.length.label(), self.first)
    }
}

/// The day and the month in force, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calendar {
    day: Date,
    from: Timestamp,
    until: Timestamp,
}

/// A clock that is set back by less than this does not give a day twice; by more, its word is taken.
const STEP_BACK_MAX: SignedDuration = SignedDuration::from_hours(24);
/// When the calendar is looked at again where a zone's clocks were set back over midnight, and tomorrow has begun before.
const AGAIN_AFTER: SignedDuration = SignedDuration::from_mins(15);

impl Calendar {
    /// The calendar of `zone` at `at`, after `former`; none at the ends of time, which no zone reaches.
    ///
    /// A day lasts from midnight to midnight as the zone's clocks show it, be it 23 or 25 hours. It never goes back to the
    /// day before while the clock is set back by less than a day: else the day that was over would be given anew.
    pub fn at(zone: &TimeZone, at: Timestamp, former: Option<&Self>) -> Option<Self> {
        let stays = |former: &&Self| {
            former.covers(at) || (at < former.from && former.from.duration_since(at) < STEP_BACK_MAX)
        };
        if let Some(former) = former.filter(stays) {
            return Some(*former);
        }
        let local = at.to_zoned_datetime(zone.clone());
        let day = local.date();
        let from = local.start_of_day().ok()?.timestamp();
        let midnight = local.tomorrow().ok()?.start_of_day().ok()?.timestamp();
        let until = if midnight > at { midnight } else { at.checked_add(AGAIN_AFTER).ok()? };
        Some(Self { day, from: from.min(at), until })
    }

    /// Whether it is the day after `former`'s. A leap over days is a clock that was set: once wrongly, perhaps.
    pub fn follows(&self, former: &Self) -> bool {
        former.day.tomorrow().is_ok_and(|next| next == self.day)
    }

    /// Spans that are long over, in the words of the ledger: days for two days, months for two months.
    pub fn long_over(&self) -> [Range<String>; 2] {
        let before = |length: Length, days: i64| {
            let first = self.day.checked_sub(days.days()).unwrap_or(self.day);
            let begin = format!("{} ", length.label());
            begin..Span { length, first }.label()
        };
        [before(Length::Day, 2), before(Length::Month, 62)]
    }

    /// Whether it says what is in force at `at`, without being asked anew.
    pub fn covers(&self, at: Timestamp) -> bool {
        at >= self.from && at < self.until
    }

    /// The first instant at which it may be another.
    pub const fn until(&self) -> Timestamp {
        self.until
    }

    /// The span of this length that is in force.
    pub fn span(&self, length: Length) -> Span {
        let first = match length {
            Length::Day => self.day,
            Length::Month => self.day.first_of_month(),
        };
        Span { length, first }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The day in a zone at an instant, and how many hours it has left.
    fn day(zone: &str, at: &str, former: Option<&Calendar>) -> (Calendar, String) {
        let at: Timestamp = at.parse().unwrap();
        let calendar = Calendar::at(&TimeZone::get(zone).unwrap(), at, former).unwrap();
        let left = calendar.until().duration_since(at).as_mins();
        (calendar, format!("{} {left}", calendar.span(Length::Day).label()))
    }

    #[test]
    fn t31_days_begin_at_the_zone_s_own_midnight() {
        assert_eq!(day("Asia/Almaty", "2026-11-25T18:59:00Z", None).1, "day 2026-11-25 1");
        assert_eq!(day("Asia/Almaty", "2026-11-25T19:00:00Z", None).1, "day 2026-11-26 1440");
        // Until the first of March 2024 the zone was six hours ahead, and the last day of February had 25.
        assert_eq!(day("Asia/Almaty", "2024-02-28T18:00:00Z", None).1, "day 2024-02-29 1500");
        let (month, _) = day("Asia/Almaty", "2026-11-30T19:00:00Z", None);
        assert_eq!(month.span(Length::Month).label(), "month 2026-12-01");
        assert_eq!(month.span(Length::Day).label(), "day 2026-12-01");
    }

    #[test]
    fn t31_what_is_long_over_is_told_from_yesterday_and_last_month() {
        let (today, _) = day("UTC", "2026-03-01T12:00:00Z", None);
        let [days, months] = today.long_over();
        let is_over = |range: &Range<String>, span: &str| range.contains(&span.to_owned());
        assert!(is_over(&days, "day 2026-02-26") && is_over(&days, "day 2025-12-31"));
        assert!(!is_over(&days, "day 2026-02-27") && !is_over(&days, "day 2099-01-01"));
        assert!(is_over(&months, "month 2025-12-01"));
        assert!(!is_over(&months, "month 2026-01-01") && !is_over(&months, "day 2020-01-01"));
        let (next, _) = day("UTC", "2026-03-02T00:00:00Z", None);
        assert!(next.follows(&today) && !today.follows(&next) && !today.follows(&today));
        let (leap, _) = day("UTC", "2099-03-02T00:00:00Z", None);
        assert!(!leap.follows(&today));
    }

    #[test]
    fn t31_days_of_23_and_25_hours_are_whole_days() {
        assert_eq!(day("Europe/Berlin", "2026-03-28T23:00:00Z", None).1, "day 2026-03-29 1380");
        assert_eq!(day("Europe/Berlin", "2026-10-24T22:00:00Z", None).1, "day 2026-10-25 1500");
        // The hour that comes twice belongs to one day.
        assert_eq!(day("Europe/Berlin", "2026-10-25T00:30:00Z", None).1, "day 2026-10-25 1350");
        assert_eq!(day("Europe/Berlin", "2026-10-25T01:30:00Z", None).1, "day 2026-10-25 1290");
        // Midnight itself is skipped: the day begins at one.
        assert_eq!(day("America/Sao_Paulo", "2018-11-04T02:59:00Z", None).1, "day 2018-11-03 1");
        assert_eq!(day("America/Sao_Paulo", "2018-11-04T03:00:00Z", None).1, "day 2018-11-04 1380");
        // The clocks went back from one past midnight to one past eleven: the day before came again for 59 minutes.
        let (after, text) = day("America/St_Johns", "2010-11-07T02:30:00Z", None);
        assert_eq!(text, "day 2010-11-07 1500");
        let again = "2010-11-07T02:40:00Z";
        assert_eq!(day("America/St_Johns", again, Some(&after)).1, "day 2010-11-07 1490");
        let (again_from, text) = day("America/St_Johns", again, None);
        assert_eq!(text, "day 2010-11-06 15");
        assert!(again_from.covers(again.parse().unwrap()), "it is asked for once");
    }

    #[test]
    fn t31_a_clock_set_back_gives_no_day_twice_unless_it_is_set_back_by_days() {
        let (today, _) = day("UTC", "2026-11-25T00:00:01Z", None);
        assert_eq!(day("UTC", "2026-11-24T23:59:59Z", Some(&today)).0, today);
        assert_eq!(day("UTC", "2026-11-24T00:00:01Z", Some(&today)).0, today);
        assert_eq!(day("UTC", "2026-11-24T00:00:00Z", Some(&today)).1, "day 2026-11-24 1440");
        assert!(today.covers("2026-11-25T23:59:59Z".parse().unwrap()));
        assert!(today.covers("2026-11-25T00:00:00Z".parse().unwrap()));
        assert!(!today.covers("2026-11-24T23:59:59Z".parse().unwrap()));
        assert!(!today.covers("2026-11-26T00:00:00Z".parse().unwrap()));
        assert_eq!(day("UTC", "2026-11-26T00:00:00Z", Some(&today)).1, "day 2026-11-26 1440");
    }
}

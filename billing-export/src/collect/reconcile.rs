//! The operator's figures against ours, claim by claim: the difference, and the first cause that explains it. Pure.

use jiff::Timestamp;

use crate::subscriber::{ID_LEN_MAX, SubscriberType};

/// The columns of the operator's file, in this order.
pub const COLUMNS: [&str; 6] =
    ["subscriber_type", "subscriber_id", "start_utc", "end_utc", "up_bytes", "down_bytes"];
/// The columns that are added.
pub const ADDED: [&str; 8] = [
    "exempt_up",
    "exempt_down",
    "charged_up",
    "charged_down",
    "difference_up",
    "difference_down",
    "percent",
    "cause",
];

/// What the operator counted for one subscriber in some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Kind of the id.
    pub kind: SubscriberType,
    /// The id.
    pub subscriber_id: String,
    /// First instant.
    pub start: Timestamp,
    /// First instant after.
    pub end: Timestamp,
    /// Bytes upward and downward.
    pub bytes: (u64, u64),
}

impl Claim {
    /// A claim from the values of a row.
    ///
    /// # Errors
    /// The column, what was found and what was wanted.
    pub fn read(values: &[&str]) -> Result<Claim, String> {
        let [kind, subscriber_id, start, end, up, down] = values else {
            return Err(format!("found {} values, wanted {}", values.len(), COLUMNS.len()));
        };
        let kind = kind.parse().map_err(|error| format!("{error}"))?;
        if kind == SubscriberType::None || subscriber_id.is_empty() || subscriber_id.len() > ID_LEN_MAX {
            return Err(format!("subscriber_id: found {subscriber_id:?}, wanted the id of a subscriber"));
        }
        let instant = |column: &str, text: &str| {
            text.parse::<Timestamp>()
                .map_err(|_| format!("{column}: found {text:?}, wanted RFC 3339, as 2020-04-06T12:00:00Z"))
        };
        let bytes = |column: &str, text: &str| {
            text.parse::<u64>().map_err(|_| format!("{column}: found {text:?}, wanted a number of bytes"))
        };
        let claim = Claim {
            kind,
            subscriber_id: (*subscriber_id).to_owned(),
            start: instant("start_utc", start)?,
            end: instant("end_utc", end)?,
            bytes: (bytes("up_bytes", up)?, bytes("down_bytes", down)?),
        };
        if claim.start >= claim.end {
            return Err(format!("end_utc: found {end:?}, wanted an instant after start_utc"));
        }
        Ok(claim)
    }
}

/// What the ledger has for a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counted {
    /// Exempt bytes, upward and downward.
    pub exempt: (i128, i128),
    /// Charged and unattributed ones.
    pub charged: (i128, i128),
    /// Some of it counts payload, without headers.
    pub is_payload: bool,
    /// Records of the subscriber reach from the begin to the end.
    pub is_seen: bool,
    /// Every node's records reach to the end, without a gap.
    pub is_complete: bool,
}

/// The first cause, in this order, that explains a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// There is none.
    Equal,
    /// It is within the tolerance.
    WithinTolerance,
    /// Records are still to come, or missing.
    Incomplete,
    /// We count without headers.
    ByteBasis,
    /// We counted more than the operator.
    MoreThanOperator,
    /// We counted less, and the subscriber was not seen here all the time.
    NotSeenHere,
    /// Nothing explains it.
    Unexplained,
}

impl Cause {
    /// The word in the output.
    pub fn label(self) -> &'static str {
        match self {
            Cause::Equal => "equal",
            Cause::WithinTolerance => "within_tolerance",
            Cause::Incomplete => "incomplete",
            Cause::ByteBasis => "byte_basis",
            Cause::MoreThanOperator => "more_than_operator",
            Cause::NotSeenHere => "not_seen_here",
            Cause::Unexplained => "unexplained",
        }
    }

    /// Whether somebody has to look into it.
    pub fn is_open(self) -> bool {
        match self {
            Cause::MoreThanOperator | Cause::Unexplained => true,
            Cause::Equal
            | Cause::WithinTolerance
            | Cause::Incomplete
            | Cause::ByteBasis
            | Cause::NotSeenHere => false,
        }
    }
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compared {
    /// The operator's bytes less ours, upward and downward.
    pub difference: (i128, i128),
    /// Both differences without their signs, in hundredths of a percent of the operator's bytes.
    pub percent_hundredths: u128,
    /// Why.
    pub cause: Cause,
}

impl Compared {
    /// Percent with two digits behind the point.
    pub fn percent(&self) -> String {
        let hundredths = self.percent_hundredths;
        let (whole, rest) = (hundredths.checked_div(100), hundredths.checked_rem(100));
        format!("{}.{:02}", whole.unwrap_or(0), rest.unwrap_or(0))
    }
}

/// Compares a claim with what was counted. `tolerance` is in hundredths of a percent.
pub fn compare(claim: &Claim, counted: &Counted, tolerance: u128) -> Compared {
    let less = |bytes: u64, exempt: i128, charged: i128| {
        i128::from(bytes).saturating_sub(exempt).saturating_sub(charged)
    };
    let up = less(claim.bytes.0, counted.exempt.0, counted.charged.0);
    let down = less(claim.bytes.1, counted.exempt.1, counted.charged.1);
    let off = up.unsigned_abs().saturating_add(down.unsigned_abs());
    let all = u128::from(claim.bytes.0).saturating_add(u128::from(claim.bytes.1));
    // Against nothing everything is a hundred percent off. A part of a hundredth counts as one: nothing rounds to equal.
    let percent_hundredths = match (off, all) {
        (0, _) => 0,
        (_, 0) => 10_000,
        _ => off.saturating_mul(10_000).div_ceil(all),
    };
    let cause = if off == 0 {
        Cause::Equal
    } else if all > 0 && percent_hundredths <= tolerance {
        Cause::WithinTolerance
    } else if !counted.is_complete {
        Cause::Incomplete
    } else if counted.is_payload {
        Cause::ByteBasis
    } else if up < 0 || down < 0 {
        Cause::MoreThanOperator
    } else if !counted.is_seen {
        Cause::NotSeenHere
    } else {
        Cause::Unexplained
    };
    Compared { difference: (up, down), percent_hundredths, cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(up: u64, down: u64) -> Claim {
        let (up, down) = (up.to_string(), down.to_string());
        let values = ["msisdn", "1", "2020-04-06T00:00:00Z", "2020-04-07T00:00:00+06:00", &up, &down];
        Claim::read(&values).unwrap()
    }

    #[test]
    fn causes_are_tried_in_their_order() {
        let all = Counted {
            exempt: (900, 9_000),
            charged: (0, 0),
            is_payload: true,
            is_seen: false,
            is_complete: false,
        };
        let cause = |claim: &Claim, counted: Counted| compare(claim, &counted, 100).cause;
        assert_eq!(cause(&claim(900, 9_000), all), Cause::Equal);
        // 99 bytes of 9,999 are 0.99 %; 100 of 10,000 are 1 %, 102 of 10,002 more.
        assert_eq!(cause(&claim(999, 9_000), all), Cause::WithinTolerance);
        assert_eq!(cause(&claim(1_000, 9_000), all), Cause::WithinTolerance);
        assert_eq!(cause(&claim(1_002, 9_000), all), Cause::Incomplete);
        let complete = Counted { is_complete: true, ..all };
        assert_eq!(cause(&claim(1_002, 9_000), complete), Cause::ByteBasis);
        let with_headers = Counted { is_payload: false, ..complete };
        assert_eq!(cause(&claim(1_100, 8_999), with_headers), Cause::MoreThanOperator);
        assert_eq!(cause(&claim(800, 9_000), with_headers), Cause::MoreThanOperator);
        assert_eq!(cause(&claim(1_100, 9_000), with_headers), Cause::NotSeenHere);
        let seen = Counted { is_seen: true, ..with_headers };
        assert_eq!(cause(&claim(1_100, 9_000), seen), Cause::Unexplained);
        assert_eq!(cause(&claim(0, 0), Counted { is_complete: true, ..Counted::default() }), Cause::Equal);
        assert_eq!(cause(&claim(0, 0), seen), Cause::MoreThanOperator);
    }

    #[test]
    fn b12_percent_has_two_digits_and_nothing_rounds_to_equal() {
        let percent = |up: u64, exempt: i128| {
            compare(&claim(up, 0), &Counted { exempt: (exempt, 0), ..Counted::default() }, 0).percent()
        };
        assert_eq!(percent(200, 199), "0.50");
        assert_eq!(percent(u64::MAX, i128::from(u64::MAX) - 1), "0.01");
        assert_eq!(percent(u64::MAX, 0), "100.00");
        assert_eq!(percent(100, 350), "250.00");
        assert_eq!(percent(0, 1), "100.00");
        assert_eq!(percent(0, 0), "0.00");
    }

    #[test]
    fn what_is_no_claim_is_refused_with_its_column() {
        let good = ["imsi", "1", "2020-04-06T00:00:00Z", "2020-04-06T00:15:00Z", "1", "1"];
        assert!(Claim::read(&good).is_ok());
        for (column, value, wanted) in [
            (0, "none", "subscriber_id"),
            (0, "mac", "subscriber_type"),
            (1, "", "subscriber_id"),
            (2, "yesterday", "start_utc"),
            (3, "2020-04-06T00:00:00Z", "end_utc"),
            (4, "-1", "up_bytes"),
            (5, "1.5", "down_bytes"),
        ] {
            let mut values = good;
            values[column] = value;
            let said = Claim::read(&values).unwrap_err();
            assert!(said.contains(wanted), "{said}");
        }
        assert!(Claim::read(&good[..5]).unwrap_err().contains("5 values"));
    }
}

//! Lengths of time with a unit, as the gateway's configuration writes them. Pure.

use std::time::Duration;

/// What a length of time looks like, for messages.
pub(super) const DURATION_FORM: &str =
    "a whole number above 0 with a unit in quotes (ms, s, min, h, d), such as \"5 s\"";
/// Milliseconds of each unit.
const UNITS: [(&str, u64); 6] =
    [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads `"5 s"`, `"5s"`, `"15 min"`, `"400 d"`; `None` for anything else, overflow included.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let digits_end = text.find(|character: char| !character.is_ascii_digit())?;
    let (digits, rest) = text.split_at_checked(digits_end)?;
    let unit = rest.strip_prefix(' ').unwrap_or(rest);
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
    digits.parse::<u64>().ok()?.checked_mul(*factor).map(Duration::from_millis)
}

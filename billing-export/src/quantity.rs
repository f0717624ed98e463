//! Lengths of time and numbers of bytes with a unit, as the gateway's configuration writes them. Pure.

use std::time::Duration;

/// What a length of time looks like, for messages.
pub const DURATION_FORM: &str =
    "a whole number above 0 with a unit in quotes (ms, s, min, h, d), such as \"5 s\"";
/// Milliseconds of each unit.
const UNITS: [(&str, u64); 6] =
    [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Bytes of each unit.
const SIZE_UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads `"5 s"`, `"5s"`, `"15 min"`, `"400 d"`; `None` for anything else, overflow included.
pub fn duration(text: &str) -> Option<Duration> {
    parse(text, &UNITS).map(Duration::from_millis)
}

/// Reads `"300 MiB"`, `"1GiB"` as bytes; `None` for anything else, overflow included.
pub fn size(text: &str) -> Option<u64> {
    parse(text, &SIZE_UNITS)
}

/// A whole number with one of these units.
fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits_end = text.find(|character: char| !character.is_ascii_digit())?;
    let (digits, rest) = text.split_at_checked(digits_end)?;
    let unit = rest.strip_prefix(' ').unwrap_or(rest);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    digits.parse::<u64>().ok()?.checked_mul(*factor)
}

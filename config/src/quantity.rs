//! Numbers with units: durations (`"5 s"`) and sizes (`"16 KiB"`). A number without a unit is never guessed at.
//!
//! Pure. Whole numbers only; the result is exact or there is none.

use std::time::Duration;

/// What a duration looks like, for messages.
pub(crate) const DURATION_FORM: &str =
    "a whole number with a unit in quotes (ms, s, min, h, d), such as \"5 s\"";
/// What a size looks like, for messages.
pub(crate) const SIZE_FORM: &str =
    "a whole number with a unit in quotes (B, KiB, MiB, GiB), such as \"16 KiB\"";

/// Milliseconds of each unit of time; the first name of a unit is the one written back.
const TIME_UNITS: [(&str, u64); 6] =
    [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
/// Bytes of each unit of size (IEC 80000-13).
const SIZE_UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads `"5 s"`, `"5s"`, `"15 min"`, `"15m"`, `"24 h"`, `"90 d"`, `"250 ms"`; `None` for anything else, overflow
/// included.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    amount(text, &TIME_UNITS).map(Duration::from_millis)
}

/// Reads `"16 KiB"`, `"4MiB"`, `"512 B"`, `"1 GiB"` as bytes; `None` for anything else, overflow included.
pub(crate) fn size(text: &str) -> Option<u64> {
    amount(text, &SIZE_UNITS)
}

/// Digits, at most one space, a unit: the number in the smallest unit.
fn amount(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits_end = text.find(|character: char| !character.is_ascii_digit())?;
    let (digits, rest) = text.split_at_checked(digits_end)?;
    let unit = rest.strip_prefix(' ').unwrap_or(rest);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    digits.parse::<u64>().ok()?.checked_mul(*factor)
}

/// A duration as the configuration writes it, in the largest unit that divides it.
pub(crate) fn show_duration(duration: Duration) -> String {
    show(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), &TIME_UNITS, "s")
}

/// A size as the configuration writes it, in the largest unit that divides it.
pub(crate) fn show_size(bytes: u64) -> String {
    show(bytes, &SIZE_UNITS, "B")
}

/// `amount` in the largest unit that divides it; `zero_unit` when it is nothing.
fn show(amount: u64, units: &[(&str, u64)], zero_unit: &str) -> String {
    if amount == 0 {
        return format!("\"0 {zero_unit}\"");
    }
    for (name, factor) in units {
        if let Some(whole) = amount.checked_div(*factor)
            && whole.checked_mul(*factor) == Some(amount)
        {
            return format!("\"{whole} {name}\"");
        }
    }
    format!("\"{amount}\"")
}

#[cfg(test)]
mod tests {
    use super::{duration, show_duration, show_size, size};
    use std::time::Duration;

    #[test]
    fn durations_as_documented() {
        let seconds = |s| Some(Duration::from_secs(s));
        assert_eq!(duration("5 s"), seconds(5));
        assert_eq!(duration("5s"), seconds(5));
        assert_eq!(duration("15 min"), seconds(900));
        assert_eq!(duration("15m"), seconds(900));
        assert_eq!(duration("24 h"), seconds(86_400));
        assert_eq!(duration("90 d"), seconds(7_776_000));
        assert_eq!(duration("250 ms"), Some(Duration::from_millis(250)));
        for wrong in
            ["", "5", "s", " 5 s", "5  s", "5 s ", "-5 s", "+5 s", "1.5 s", "5 S", "5 sec", "٥ s", "1e3 s"]
        {
            assert_eq!(duration(wrong), None, "{wrong:?}");
        }
        assert_eq!(duration("213503982334 d"), Some(Duration::from_millis(213_503_982_334 * 86_400_000)));
        assert_eq!(duration("213503982335 d"), None, "one day over 2^64 milliseconds");
    }

    #[test]
    fn sizes_as_documented() {
        assert_eq!(size("512 B"), Some(512));
        assert_eq!(size("16 KiB"), Some(16_384));
        assert_eq!(size("4MiB"), Some(4_194_304));
        assert_eq!(size("1 GiB"), Some(1_073_741_824));
        assert_eq!(size("17179869183 GiB"), Some(17_179_869_183 << 30));
        assert_eq!(size("17179869184 GiB"), None, "2^64 bytes");
        for wrong in ["16", "16 KB", "16 kB", "16 kib", "16 K", "0x10 B", "", "16 KiB "] {
            assert_eq!(size(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn quantities_are_shown_as_they_are_written() {
        assert_eq!(show_duration(Duration::from_secs(900)), "\"15 min\"");
        assert_eq!(show_duration(Duration::from_millis(1_500)), "\"1500 ms\"");
        assert_eq!(show_duration(Duration::ZERO), "\"0 s\"");
        assert_eq!(show_size(65_536), "\"64 KiB\"");
        assert_eq!(show_size(1_000), "\"1000 B\"");
    }
}

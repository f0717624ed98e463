//! Digits in nibbles: numbers in TBCD (TS 29.002 §17.7.8) and `TimeStamp` (TS 32.298 §5.1.1.1). Pure.

use jiff::civil;

use super::time::LocalTime;

/// What fills the last nibble of an odd number of digits.
const FILLER: u8 = 0x0f;
/// Octets of a `TimeStamp`.
pub(super) const TIME_STAMP_LEN: usize = 9;

/// Digits as TBCD, the first in the low nibble; `None` for anything but digits.
pub(super) fn tbcd(digits: &str) -> Option<Vec<u8>> {
    let values: Vec<u8> = digits.bytes().map(digit).collect::<Option<_>>()?;
    Some(
        values
            .chunks(2)
            .map(|pair| match *pair {
                [low, high] => high << 4 | low,
                [low] => FILLER << 4 | low,
                _ => u8::MAX,
            })
            .collect(),
    )
}

/// The digits of TBCD; `None` where a nibble is none, but for a filler at the end.
pub(super) fn from_tbcd(octets: &[u8]) -> Option<String> {
    let mut digits = String::new();
    let mut nibbles = octets.iter().flat_map(|octet| [octet & 0x0f, octet >> 4]).peekable();
    while let Some(nibble) = nibbles.next() {
        match nibble {
            FILLER if nibbles.peek().is_none() => {}
            value @ 0..=9 => digits.push(char::from(b'0'.checked_add(value)?)),
            _ => return None,
        }
    }
    Some(digits)
}

/// The value of an ASCII digit.
fn digit(byte: u8) -> Option<u8> {
    byte.is_ascii_digit().then_some(byte & 0x0f)
}

/// A local time as a `TimeStamp`: BCD `YYMMDDhhmmss`, the sign in ASCII, BCD `hhmm`.
pub(super) fn time_stamp(time: LocalTime) -> [u8; TIME_STAMP_LEN] {
    let civil = time.civil();
    let two = |number: i8| bcd(number.unsigned_abs());
    let year = civil.year().rem_euclid(100);
    let (sign, hours, minutes) = time.offset_parts();
    [
        bcd(u8::try_from(year).unwrap_or_default()),
        two(civil.month()),
        two(civil.day()),
        two(civil.hour()),
        two(civil.minute()),
        two(civil.second()),
        if sign { b'-' } else { b'+' },
        bcd(hours),
        bcd(minutes),
    ]
}

/// The local time of a `TimeStamp`, its year in the years 2000 to 2099; `None` for octets that are none.
pub(super) fn from_time_stamp(octets: &[u8]) -> Option<LocalTime> {
    let [year, month, day, hour, minute, second, sign, offset_hours, offset_minutes] =
        <[u8; TIME_STAMP_LEN]>::try_from(octets).ok()?;
    let year = 2000_i16.checked_add(i16::from(from_bcd(year)?))?;
    let two = |octet: u8| from_bcd(octet).and_then(|number| i8::try_from(number).ok());
    let civil =
        civil::DateTime::new(year, two(month)?, two(day)?, two(hour)?, two(minute)?, two(second)?, 0).ok()?;
    let negative = match sign {
        b'+' => false,
        b'-' => true,
        _ => return None,
    };
    LocalTime::of_parts(civil, negative, from_bcd(offset_hours)?, from_bcd(offset_minutes)?)
}

/// A number below 100 in two nibbles, the tens first.
fn bcd(number: u8) -> u8 {
    let (tens, ones) = (number.checked_div(10).unwrap_or(0) & 0x0f, number.checked_rem(10).unwrap_or(0));
    tens << 4 | ones
}

/// The number of two nibbles.
fn from_bcd(octet: u8) -> Option<u8> {
    let (tens, ones) = (octet >> 4, octet & 0x0f);
    (tens <= 9 && ones <= 9).then(|| tens.checked_mul(10)?.checked_add(ones)).flatten()
}

#[cfg(test)]
mod tests {
    use jiff::tz::Offset;

    use super::*;

    #[test]
    fn tbcd_of_odd_and_even_numbers_of_digits_reads_back() {
        for (digits, octets) in [
            ("77010000001", &[0x77, 0x10, 0x00, 0x00, 0x00, 0xf1][..]),
            ("401019876543210", &[0x04, 0x01, 0x91, 0x78, 0x56, 0x34, 0x12, 0xf0]),
            ("1234", &[0x21, 0x43]),
            ("", &[]),
        ] {
            assert_eq!(tbcd(digits).as_deref(), Some(octets), "{digits}");
            assert_eq!(from_tbcd(octets).as_deref(), Some(digits));
        }
        assert!(["+77", "7a", "٣"].iter().all(|text| tbcd(text).is_none()));
        // A filler stands last, and nowhere else; what is no digit is refused.
        assert!(
            [&[0x1f_u8, 0x21][..], &[0xf1, 0x21], &[0xa1], &[0x1f]]
                .iter()
                .all(|octets| from_tbcd(octets).is_none())
        );
    }

    #[test]
    fn time_stamps_are_local_and_read_back() {
        for (at, offset, octets) in [
            ("2020-04-06T12:34:56Z", 6 * 60, [0x20, 0x04, 0x06, 0x18, 0x34, 0x56, b'+', 0x06, 0x00]),
            ("2028-02-29T23:59:59Z", 0, [0x28, 0x02, 0x29, 0x23, 0x59, 0x59, b'+', 0x00, 0x00]),
            ("2026-12-31T23:59:59Z", 5 * 60 + 45, [0x27, 0x01, 0x01, 0x05, 0x44, 0x59, b'+', 0x05, 0x45]),
            ("2026-01-01T00:00:00Z", -(3 * 60 + 30), [0x25, 0x12, 0x31, 0x20, 0x30, 0x00, b'-', 0x03, 0x30]),
        ] {
            let time = LocalTime::with(at.parse().unwrap(), Offset::from_seconds(offset * 60).unwrap());
            assert_eq!(time_stamp(time), octets, "{at}");
            assert_eq!(from_time_stamp(&octets), Some(time));
        }
    }

    #[test]
    fn octets_that_are_no_time_are_refused() {
        let good = [0x20, 0x04, 0x06, 0x18, 0x34, 0x56, b'+', 0x06, 0x00];
        for (place, octet) in
            [(0, 0x2a), (1, 0x13), (2, 0x31), (3, 0x24), (4, 0x60), (6, b' '), (7, 0x30), (8, 0x60)]
        {
            let mut octets = good;
            octets[place] = octet;
            assert_eq!(from_time_stamp(&octets), None, "{place}");
        }
        assert_eq!(from_time_stamp(&good[1..]), None);
        assert_eq!(from_time_stamp(&[]), None);
    }
}

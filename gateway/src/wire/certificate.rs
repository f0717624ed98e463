//! From when until when a certificate is good: the one field of it that its own server looks at.
//!
//! Nothing is verified here, and no name or key is read. X.509 in DER: RFC 5280 §4.1 (the fields in front of the
//! validity), §4.1.2.5 (its two forms of time); X.690 §8.1 (lengths).

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::reader::{Malformed, Reader};

/// Tags of DER: X.690 §8, and the explicit tag of the version.
const SEQUENCE: u8 = 0x30;
/// See [`SEQUENCE`].
const INTEGER: u8 = 0x02;
/// See [`SEQUENCE`].
const VERSION: u8 = 0xa0;
/// See [`SEQUENCE`].
const UTC_TIME: u8 = 0x17;
/// See [`SEQUENCE`].
const GENERALIZED_TIME: u8 = 0x18;
/// Bit of a length's first byte: that many bytes of length follow.
const LONG_FORM: u8 = 0x80;
/// Bytes of a length in long form that are read: up to 16 MiB.
const LENGTH_BYTES_MAX: usize = 3;
/// Years of two digits from here on are of the last century (RFC 5280 §4.1.2.5.1).
const LAST_CENTURY: i16 = 50;

/// From when until when a certificate is good, both moments included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first moment.
    pub from: Timestamp,
    /// The last moment.
    pub to: Timestamp,
}

/// Reads the validity of a certificate.
///
/// # Errors
/// [`Malformed`] with the field.
pub fn validity(certificate: &[u8]) -> Result<Validity, Malformed> {
    let mut outer = element(&mut Reader::new(certificate), SEQUENCE, "certificate")?;
    let mut signed = element(&mut outer, SEQUENCE, "signed part")?;
    if signed.clone().take(1, "version")? == [VERSION] {
        element(&mut signed, VERSION, "version")?;
    }
    element(&mut signed, INTEGER, "serial number")?;
    element(&mut signed, SEQUENCE, "signature algorithm")?;
    element(&mut signed, SEQUENCE, "issuer")?;
    let mut both = element(&mut signed, SEQUENCE, "validity")?;
    Ok(Validity { from: time(&mut both)?, to: time(&mut both)? })
}

/// The contents of an element that must have this tag.
fn element<'a>(reader: &mut Reader<'a>, tag: u8, field: &'static str) -> Result<Reader<'a>, Malformed> {
    let malformed = Malformed { field };
    let [found, first] = reader.array(field)?;
    if found != tag {
        return Err(malformed);
    }
    let length = if first & LONG_FORM == 0 {
        usize::from(first)
    } else {
        let count = usize::from(first & !LONG_FORM);
        if !(1..=LENGTH_BYTES_MAX).contains(&count) {
            return Err(malformed);
        }
        reader.take(count, field)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
    };
    reader.take(length, field).map(Reader::new)
}

/// A time in either form, to the second and of UTC, as RFC 5280 wants both.
fn time(reader: &mut Reader<'_>) -> Result<Timestamp, Malformed> {
    let malformed = Malformed { field: "time" };
    let [tag] = reader.clone().array("time")?;
    let mut digits = element(reader, tag, "time")?;
    let mut pair = || {
        let [tens, ones] = digits.array("time")?;
        if !tens.is_ascii_digit() || !ones.is_ascii_digit() {
            return Err(malformed);
        }
        // At most 99.
        Ok(i8::try_from((tens & 0xf).saturating_mul(10).saturating_add(ones & 0xf)).unwrap_or_default())
    };
    let year = match tag {
        UTC_TIME => {
            let year = i16::from(pair()?);
            year.saturating_add(if year < LAST_CENTURY { 2_000 } else { 1_900 })
        }
        GENERALIZED_TIME => i16::from(pair()?).saturating_mul(100).saturating_add(i16::from(pair()?)),
        _ => return Err(malformed),
    };
    let (month, day, hour, minute, second) = (pair()?, pair()?, pair()?, pair()?, pair()?);
    if digits.take(digits.left(), "time")? != b"Z" {
        return Err(malformed);
    }
    let at = DateTime::new(year, month, day, hour, minute, second, 0).map_err(|_| malformed)?;
    // 99991231235959Z is how certificates say "no end" (RFC 5280 §4.1.2.5); it is later than the latest time there is.
    Ok(TimeZone::UTC.to_timestamp(at).unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate up to its validity.
    fn certificate(from: &[u8], to: &[u8]) -> Vec<u8> {
        let wrap =
            |tag: u8, contents: &[u8]| [&[tag, u8::try_from(contents.len()).unwrap()][..], contents].concat();
        let validity = wrap(SEQUENCE, &[from, to].concat());
        let fields = [
            wrap(VERSION, &[INTEGER, 1, 2]),
            wrap(INTEGER, &[7]),
            wrap(SEQUENCE, &[6, 1, 42]),
            wrap(SEQUENCE, &[]),
            validity,
        ];
        wrap(SEQUENCE, &wrap(SEQUENCE, &fields.concat()))
    }

    #[test]
    fn both_forms_of_time_are_read_and_every_prefix_is_malformed() {
        let whole = certificate(b"\x17\x0d500101000000Z", b"\x18\x0f20500101000001Z");
        let read = validity(&whole).unwrap();
        assert_eq!(read.from, "1950-01-01T00:00:00Z".parse().unwrap());
        assert_eq!(read.to, "2050-01-01T00:00:01Z".parse().unwrap());
        let read = validity(&certificate(b"\x17\x0d491231235959Z", b"\x18\x0f99991231235959Z")).unwrap();
        assert_eq!(read.from, "2049-12-31T23:59:59Z".parse().unwrap());
        assert_eq!(read.to, Timestamp::MAX, "no end");
        for end in 0..whole.len() {
            assert!(validity(&whole[..end]).is_err(), "{end} bytes");
        }
    }

    #[test]
    fn times_that_are_none_and_lengths_beyond_the_limit_are_malformed() {
        let good = b"\x17\x0d200101000000Z";
        let bad: [&[u8]; 6] = [
            b"\x17\x0d201301000000Z",
            b"\x17\x0d2001010000xxZ",
            b"\x17\x0d200101000000+",
            b"\x17\x0b2001010000Z",
            b"\x16\x0d200101000000Z",
            b"\x18\x0f99991332235959Z",
        ];
        for time in bad {
            assert!(validity(&certificate(good, time)).is_err(), "{time:?}");
        }
        for length in [&[0x80][..], &[0x84, 0, 0, 0, 0], &[0x83, 0xff, 0xff, 0xff]] {
            assert!(validity(&[&[SEQUENCE][..], length].concat()).is_err(), "{length:?}");
        }
    }
}

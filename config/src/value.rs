//! Typed values of single keys: what each kind of value looks like, its range, and the words when it is wrong.

use crate::problem::quoted;
use crate::quantity::{self, DURATION_FORM, SIZE_FORM, show_duration, show_size};
use crate::reader::{Mismatch, Reader, describe, one_of};
use crate::section::{Section, Stated};
use ipnet::IpNet;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;
use toml::de::{DeInteger, DeValue};

/// Longest path taken, in bytes (Linux PATH_MAX less its NUL).
const PATH_BYTES_MAX: usize = 4_095;
/// What a path looks like, for messages.
pub(crate) const PATH_FORM: &str =
    "a path in quotes (relative to the configuration file's folder unless it starts with /)";
/// What a socket address looks like, for messages.
pub(crate) const SOCKET_FORM: &str =
    "an address with port in quotes, such as \"127.0.0.1:443\" or \"[::1]:443\"";

/// The words of a key that takes one of a few: what is written, what it means.
pub(crate) type Words<T> = [(&'static str, T)];

impl<'t> Section<'t> {
    /// A duration within `range`.
    pub(crate) fn duration(
        &self,
        reader: &mut Reader<'t>,
        name: &str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Stated<Duration> {
        let found = self.read(reader, name, |value| {
            let duration = value.as_str().and_then(quantity::duration);
            let duration = duration.ok_or_else(|| Mismatch::new(describe(value), DURATION_FORM))?;
            within(duration, &range, |bound| show_duration(*bound))
        });
        self.defaulted(found, default)
    }

    /// A size in bytes within `range`.
    pub(crate) fn size(
        &self,
        reader: &mut Reader<'t>,
        name: &str,
        default: usize,
        range: RangeInclusive<usize>,
    ) -> Stated<usize> {
        let found = self.read(reader, name, |value| {
            let bytes = value.as_str().and_then(quantity::size);
            let bytes = bytes.ok_or_else(|| Mismatch::new(describe(value), SIZE_FORM))?;
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            within(bytes, &range, |bound| show_size(u64::try_from(*bound).unwrap_or(u64::MAX)))
        });
        self.defaulted(found, default)
    }

    /// A plain whole number within `range`.
    pub(crate) fn count<T: Number>(
        &self,
        reader: &mut Reader<'t>,
        name: &str,
        default: T,
        range: RangeInclusive<T>,
    ) -> Stated<T> {
        let found = self.read(reader, name, |value| count_of(value, &range));
        self.defaulted(found, default)
    }

    /// `"auto"` (as `None`) or a whole number within `range`.
    pub(crate) fn count_or_auto<T: Number>(
        &self,
        reader: &mut Reader<'t>,
        name: &str,
        range: RangeInclusive<T>,
    ) -> Stated<Option<T>> {
        let found = self.read(reader, name, |value| match value.as_str() {
            Some("auto") => Ok(None),
            Some(_) => Err(Mismatch::new(describe(value), format!("\"auto\" or {}", numbers(&range)))),
            None => count_of(value, &range)
                .map(Some)
                .map_err(|fault| Mismatch { wanted: format!("\"auto\" or {}", fault.wanted), ..fault }),
        });
        self.defaulted(found, None)
    }

    /// `"auto"`, which is also the default and gives none, or a size within `range`.
    pub(crate) fn size_or_auto(
        &self,
        reader: &mut Reader<'t>,
        name: &str,
        range: RangeInclusive<usize>,
    ) -> Stated<Option<usize>> {
        let found = self.read(reader, name, |value| {
            if value.as_str() == Some("auto") {
                return Ok(None);
            }
            let wanted = || format!("\"auto\" or {SIZE_FORM}");
            let bytes = value.as_str().and_then(quantity::size);
            let bytes = bytes.ok_or_else(|| Mismatch::new(describe(value), wanted()))?;
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            within(bytes, &range, |bound| show_size(u64::try_from(*bound).unwrap_or(u64::MAX))).map(Some)
        });
        self.defaulted(found, None)
    }

    /// One of a few words.
    pub(crate) fn word<T: Copy>(
        &self,
        reader: &mut Reader<'t>,
        name: &str,
        words: &Words<T>,
        default: T,
    ) -> Stated<T> {
        let found = self.read(reader, name, |value| word_of(value, words));
        self.defaulted(found, default)
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&self, reader: &mut Reader<'t>, name: &str, default: bool) -> Stated<bool> {
        let found = self.read(reader, name, |value| {
            value.as_bool().ok_or_else(|| Mismatch::new(describe(value), "true or false without quotes"))
        });
        self.defaulted(found, default)
    }

    /// A path that must be stated, joined to the configuration's folder, with its byte offset.
    pub(crate) fn required_path(&self, reader: &mut Reader<'t>, name: &str) -> Option<(PathBuf, usize)> {
        let found = self.read(reader, name, path_text);
        let (text, at) = self.required(reader, name, found, PATH_FORM)?;
        Some((reader.join(&text), at))
    }
}

/// A path's text: not empty, no NUL, not longer than the system takes.
pub(crate) fn path_text(value: &DeValue<'_>) -> Result<String, Mismatch> {
    match value.as_str() {
        Some("") => Err(Mismatch::new("an empty path", PATH_FORM)),
        Some(text) if text.contains('\0') => Err(Mismatch::new("a path with a NUL character", PATH_FORM)),
        Some(text) if text.len() > PATH_BYTES_MAX => Err(Mismatch::new(
            format!("a path of {} bytes", text.len()),
            format!("at most {PATH_BYTES_MAX} bytes"),
        )),
        Some(text) => Ok(text.to_owned()),
        None => Err(Mismatch::new(describe(value), PATH_FORM)),
    }
}

/// One of a few words.
pub(crate) fn word_of<T: Copy>(value: &DeValue<'_>, words: &Words<T>) -> Result<T, Mismatch> {
    let known = words.iter().find(|(word, _)| value.as_str() == Some(word));
    match known {
        Some((_, meaning)) => Ok(*meaning),
        None => {
            let quoted: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            Err(Mismatch::new(describe(value), one_of(quoted.iter().map(String::as_str))))
        }
    }
}

/// The port of what stands for all addresses elsewhere: `:443`, `*:443`, `:::443`.
fn without_address(text: &str) -> Option<u16> {
    let (address, port) = text.rsplit_once(':')?;
    let is_digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    matches!(address, "" | "*" | "::" | "[*]").then_some(port).filter(|_| is_digits)?.parse().ok()
}

/// An address with a port.
pub(crate) fn socket_of(value: &DeValue<'_>) -> Result<SocketAddr, Mismatch> {
    let Some(text) = value.as_str() else {
        return Err(Mismatch::new(describe(value), SOCKET_FORM));
    };
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let fault = Mismatch::new(quoted(text), SOCKET_FORM);
    let without_port = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    Err(match without_port {
        Ok(IpAddr::V4(address)) => fault.remedy(format!("add a port: \"{address}:443\"")),
        Ok(IpAddr::V6(address)) => fault.remedy(format!("add brackets and a port: \"[{address}]:443\"")),
        Err(_) if without_address(text).is_some() => {
            let port = without_address(text).unwrap_or_default();
            fault.remedy(format!("for all addresses write \"0.0.0.0:{port}\" or \"[::]:{port}\""))
        }
        Err(_) if text.starts_with("localhost:") => {
            fault.remedy("names are not looked up here: write the address")
        }
        Err(_) => fault,
    })
}

/// A prefix without host bits.
pub(crate) fn prefix_of(value: &DeValue<'_>) -> Result<IpNet, Mismatch> {
    let Some(text) = value.as_str() else {
        return Err(Mismatch::new(describe(value), "a prefix in quotes, such as \"127.0.0.0/8\""));
    };
    let prefix =
        text.parse::<IpNet>().or_else(|error| text.parse::<IpAddr>().map(IpNet::from).map_err(|_| error));
    match prefix {
        Ok(prefix) if prefix.addr() == prefix.network() => Ok(prefix),
        Ok(prefix) => {
            let fault =
                Mismatch::new(format!("{}, which has host bits", quoted(text)), "a prefix without host bits");
            Err(fault.remedy(format!("write \"{}\"", prefix.trunc())))
        }
        Err(_) => Err(Mismatch::new(quoted(text), "a prefix, such as \"127.0.0.0/8\" or \"2001:db8::/32\"")),
    }
}

/// Unsigned numbers that counts are read into.
pub(crate) trait Number: Copy + PartialOrd + Display + TryFrom<u64> {}
impl Number for u8 {}
impl Number for u16 {}
impl Number for u32 {}
impl Number for usize {}

/// A whole number within `range`.
pub(crate) fn count_of<T: Number>(value: &DeValue<'_>, range: &RangeInclusive<T>) -> Result<T, Mismatch> {
    let DeValue::Integer(integer) = value else {
        return Err(Mismatch::new(describe(value), format!("{} without quotes", numbers(range))));
    };
    match integer_of(integer).and_then(|number| T::try_from(number).ok()) {
        Some(number) if range.contains(&number) => Ok(number),
        _ => Err(Mismatch::new(integer.to_string().chars().take(40).collect::<String>(), numbers(range))),
    }
}

/// The integer's value, when it is not negative and fits.
fn integer_of(integer: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// The words for a range of plain numbers.
fn numbers<T: Number>(range: &RangeInclusive<T>) -> String {
    format!("a whole number from {} to {}", range.start(), range.end())
}

/// `value` when it is in `range`; never another value.
fn within<T: PartialOrd>(
    value: T,
    range: &RangeInclusive<T>,
    show: impl Fn(&T) -> String,
) -> Result<T, Mismatch> {
    if range.contains(&value) {
        Ok(value)
    } else {
        let wanted = format!("from {} to {}", show(range.start()), show(range.end()));
        Err(Mismatch::new(show(&value), wanted))
    }
}

//! The last good addresses over a restart: a copy of them as text, beside that of the trusted answers.
//!
//! Trusted answers are not restored past their retention, for they exempt. These exempt nothing by themselves: a name whose
//! resolver is down is dialled where it was last found, however long ago, and the verdict follows the trusted answers. Of
//! names without bytes behind them nothing is kept, of subscribers nothing either.
//!
//! ```text
//!  zrgw-known 1
//!  www.example.kz 203.0.113.7 2001:db8::7          a line for each name
//!  crc32 0a1b2c3d                                  of all before it
//! ```

use std::net::IpAddr;
use std::sync::Arc;

use allowlist::DomainName;
use flate2::Crc;

use super::Lookups;

/// The first line.
const HEAD: &str = "zrgw-known 1";
/// What the last line begins with.
const SUM: &str = "crc32 ";
/// Addresses kept of one name.
const ADDRESSES_MAX: usize = 8;

/// Why bytes are no such copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// They begin like something else, or like another version.
    #[error("found another kind of file, wanted one that begins with {HEAD:?}")]
    Foreign,
    /// The checksum does not fit.
    #[error("the checksum does not fit: the file is damaged or was cut short")]
    Checksum,
    /// The checksum fits, the content does not.
    #[error("line {line}: wanted a host name and its addresses")]
    Malformed {
        /// Its number.
        line: usize,
    },
}

/// A name and the addresses at which it was last found.
type Known = (DomainName, Arc<[IpAddr]>);

/// The names and addresses as bytes.
fn write<'a>(names: impl Iterator<Item = (&'a DomainName, &'a [IpAddr])>) -> Vec<u8> {
    let mut text = String::from(HEAD);
    text.push('\n');
    for (name, addresses) in names {
        text.push_str(name.as_str());
        for address in addresses.iter().take(ADDRESSES_MAX) {
            text.push(' ');
            text.push_str(&address.to_string());
        }
        text.push('\n');
    }
    let sum = format!("{SUM}{:08x}\n", crc(text.as_bytes()));
    text.push_str(&sum);
    text.into_bytes()
}

/// What `write` wrote: all of it or nothing.
fn read(bytes: &[u8]) -> Result<Vec<Known>, CopyError> {
    let text = std::str::from_utf8(bytes).map_err(|_| CopyError::Foreign)?;
    if text.lines().next() != Some(HEAD) {
        return Err(CopyError::Foreign);
    }
    let (body, sum) = text.trim_end().rsplit_once('\n').ok_or(CopyError::Checksum)?;
    let body = text.get(..body.len().saturating_add(1)).unwrap_or_default();
    let stated = sum.strip_prefix(SUM).and_then(|sum| u32::from_str_radix(sum, 16).ok());
    if stated != Some(crc(body.as_bytes())) {
        return Err(CopyError::Checksum);
    }
    let one = |(index, line): (usize, &str)| {
        let malformed = CopyError::Malformed { line: index.saturating_add(1) };
        let mut words = line.split(' ');
        let name = words.next().and_then(|name| DomainName::from_wire(name.as_bytes()).ok());
        let addresses: Result<Arc<[IpAddr]>, _> = words.map(str::parse).collect();
        match (name, addresses) {
            (Some(name), Ok(addresses)) if !addresses.is_empty() => Ok((name, addresses)),
            (Some(_) | None, Ok(_) | Err(_)) => Err(malformed),
        }
    };
    body.lines().enumerate().skip(1).map(one).collect()
}

/// The checksum.
fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

impl Lookups {
    /// The last good addresses as bytes.
    pub fn copy_known(&self) -> Vec<u8> {
        let state = self.state();
        write(state.cache.last_known())
    }

    /// Takes them back, as far as some list speaks of the names; how many those are.
    ///
    /// # Errors
    /// [`CopyError`]; then nothing was taken.
    pub fn restore_known(&self, bytes: &[u8]) -> Result<usize, CopyError> {
        let names = read(bytes)?;
        let policy = self.policy.load();
        let now = self.clock.monotonic();
        let mut state = self.state();
        let mut taken = 0_usize;
        for (name, addresses) in names.into_iter().filter(|(name, _)| policy.routes(name)) {
            state.cache.restore(&name, addresses, now);
            taken = taken.saturating_add(1);
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DomainName {
        DomainName::from_wire(text.as_bytes()).unwrap()
    }

    #[test]
    fn f12_what_is_written_is_read_again_and_damage_is_told() {
        let v4: IpAddr = "203.0.113.7".parse().unwrap();
        let v6: IpAddr = "2001:db8::7".parse().unwrap();
        let names = [(name("a.kz"), vec![v4, v6]), (name("b.kz"), vec![v6; ADDRESSES_MAX + 1])];
        let bytes = write(names.iter().map(|(name, addresses)| (name, addresses.as_slice())));
        let again = read(&bytes).unwrap();
        assert_eq!(again[0], (name("a.kz"), Arc::from([v4, v6])));
        assert_eq!(again[1].1.len(), ADDRESSES_MAX);
        for cut in 0..bytes.len() - 1 {
            assert!(read(&bytes[..cut]).is_err(), "{cut}");
        }
        let mut other = bytes.clone();
        other[HEAD.len() + 1] ^= 1;
        assert_eq!(read(&other), Err(CopyError::Checksum));
        assert_eq!(read(b"zrgw-known 2\ncrc32 00000000\n"), Err(CopyError::Foreign));
        assert_eq!(read(&write(std::iter::empty())).unwrap(), []);
    }

    #[test]
    fn f12_a_line_that_is_none_is_told() {
        for line in ["a.kz", "a.kz 1.2.3", "- 1.2.3.4", ""] {
            let body = format!("{HEAD}\nb.kz 1.2.3.4\n{line}\n");
            let bytes = format!("{body}{SUM}{:08x}\n", crc(body.as_bytes()));
            assert_eq!(read(bytes.as_bytes()), Err(CopyError::Malformed { line: 3 }), "{line:?}");
        }
    }
}

//! Options of a query's OPT record: the client subnet, which changes its answer, and the client cookie, which is the whole
//! question of some.
//!
//! Sections: RFC 6891 §6.1.2 (options), RFC 7871 §6 (client subnet), RFC 7873 §4, §5.4 (cookies). Options of no interest are
//! stepped over.

use crate::wire::reader::{Malformed, Reader};

/// Code of the client subnet, RFC 7871 §6.
pub const CLIENT_SUBNET: u16 = 8;
/// Bytes of a client subnet: family, two lengths, an address.
const SUBNET_BYTES_MAX: usize = 20;
/// Bytes of it before the address.
const SUBNET_BYTES_MIN: usize = 4;

/// Code of a cookie, RFC 7873 §4.
pub const COOKIE: u16 = 10;
/// Bytes of a client cookie.
pub const CLIENT_COOKIE_BYTES: usize = 8;
/// Bytes of a client cookie with a server cookie behind it, the least and the most.
const COOKIES_BYTES: std::ops::RangeInclusive<usize> = 16..=40;

/// The network that a query's answer is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subnet {
    /// The option as it was written, zeros behind it.
    bytes: [u8; SUBNET_BYTES_MAX],
    length: u8,
}

impl Subnet {
    /// Reads the content of the option; `None` when it is longer or shorter than any may be.
    fn read(option: &[u8]) -> Option<Self> {
        if option.len() < SUBNET_BYTES_MIN {
            return None;
        }
        let mut bytes = [0; SUBNET_BYTES_MAX];
        bytes.get_mut(..option.len())?.copy_from_slice(option);
        Some(Self { bytes, length: u8::try_from(option.len()).ok()? })
    }

    /// The option of an answer that holds for this network and for no wider one: its scope is as long as its source
    /// (RFC 7871 §7.2.1).
    pub fn scoped(&self) -> Vec<u8> {
        let mut option = CLIENT_SUBNET.to_be_bytes().to_vec();
        option.extend([0, self.length]);
        option.extend(self.bytes.iter().take(usize::from(self.length)));
        // Behind code and length: family (2), source, scope.
        if let Some([source, scope]) = option.get_mut(6..8) {
            *scope = *source;
        }
        option
    }
}

/// What the options of a query say of the network it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForSubnet {
    /// Nothing.
    Any,
    /// It is this one.
    One(Subnet),
    /// Something that is no network, or more than one.
    Unreadable,
}

/// Reads the options of an OPT record.
///
/// # Errors
/// [`Malformed`] when an option is longer than the record.
pub(super) fn for_subnet(options: &[u8]) -> Result<ForSubnet, Malformed> {
    let mut found = ForSubnet::Any;
    let mut reader = Reader::new(options);
    while !reader.is_empty() {
        let code = reader.u16("OPT option")?;
        let content = reader.block16("OPT option")?;
        if code == CLIENT_SUBNET {
            found = match (found, Subnet::read(content)) {
                (ForSubnet::Any, Some(subnet)) => ForSubnet::One(subnet),
                (ForSubnet::Any | ForSubnet::One(_) | ForSubnet::Unreadable, _) => ForSubnet::Unreadable,
            };
        }
    }
    Ok(found)
}

/// The client cookie among the options of a query; `None` without one. Of more the first counts (RFC 7873 §5.2).
///
/// # Errors
/// [`Malformed`] when an option is longer than the record, or a cookie of a length that none has (RFC 7873 §5.2.2).
pub fn client_cookie(options: &[u8]) -> Result<Option<[u8; CLIENT_COOKIE_BYTES]>, Malformed> {
    let mut reader = Reader::new(options);
    while !reader.is_empty() {
        let code = reader.u16("OPT option")?;
        let content = reader.block16("OPT option")?;
        if code != COOKIE {
            continue;
        }
        if content.len() != CLIENT_COOKIE_BYTES && !COOKIES_BYTES.contains(&content.len()) {
            return Err(Malformed { field: "cookie" });
        }
        return Ok(content.first_chunk().copied());
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f43_a_client_subnet_is_read_among_other_options_and_given_back_with_its_scope() {
        let subnet = [0, 8, 0, 7, 0, 1, 24, 0, 192, 0, 2];
        let other = [0xfd, 0xe9, 0, 3, 1, 2, 3];
        for options in [[&subnet[..], &other].concat(), [&other[..], &subnet].concat()] {
            let ForSubnet::One(read) = for_subnet(&options).unwrap() else { panic!("{options:?}") };
            assert_eq!(read.scoped(), [0, 8, 0, 7, 0, 1, 24, 24, 192, 0, 2]);
        }
        assert_eq!(for_subnet(&other), Ok(ForSubnet::Any));
        assert_eq!(for_subnet(&[]), Ok(ForSubnet::Any));
        assert_eq!(for_subnet(&[subnet, subnet].concat()), Ok(ForSubnet::Unreadable));
        for cut in 1..subnet.len() {
            assert!(for_subnet(&subnet[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn f44_a_client_cookie_has_eight_bytes_alone_and_sixteen_to_forty_with_a_server_cookie() {
        for length in 0..=48_u8 {
            let option =
                [&[0xfd, 0xe9, 0, 1, 9, 0, 10, 0, length][..], &vec![7; usize::from(length)]].concat();
            let read = client_cookie(&option);
            match length {
                8 | 16..=40 => assert_eq!(read, Ok(Some([7; 8])), "{length}"),
                _ => assert!(read.is_err(), "{length}"),
            }
        }
        assert_eq!(client_cookie(&[0xfd, 0xe9, 0, 1, 9]), Ok(None));
    }

    #[test]
    fn f43_a_client_subnet_at_its_longest_and_one_over() {
        for (length, is_read) in [(3, false), (4, true), (20, true), (21, false)] {
            let option = [&[0, 8, 0, length][..], &vec![1; usize::from(length)]].concat();
            assert_eq!(matches!(for_subnet(&option), Ok(ForSubnet::One(_))), is_read, "{length}");
        }
    }
}

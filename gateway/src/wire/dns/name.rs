//! Names of DNS messages: labels of any bytes, folded to lower case, compared label by label.
//!
//! A label may hold a dot, and then looks in text like two labels: equality is that of the labels, and such a name has no
//! text form. Sections: RFC 1035 §2.3.4, §3.1; RFC 4343 (case).

use crate::wire::reader::{Malformed, Reader};

/// Longest name on the wire, RFC 1035 §2.3.4.
const NAME_BYTES_MAX: usize = 255;
/// The two bits of a length byte that say it is none: a compression pointer, or reserved (RFC 1035 §4.1.4).
const NOT_A_LENGTH: u8 = 0xc0;

/// A name: its labels in lower case, each behind its length, ended by the root.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Box<[u8]>);

impl Name {
    /// Reads an uncompressed name, as a question has it: there is nothing before it that a pointer could lead to.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut wire = [0_u8; NAME_BYTES_MAX];
        let mut length = 0_usize;
        loop {
            let count = reader.u8("label")?;
            if count & NOT_A_LENGTH != 0 {
                return Err(Malformed { field: "label" });
            }
            let label = reader.take(usize::from(count), "label")?;
            let end = length.saturating_add(label.len()).saturating_add(1);
            let Some([first, rest @ ..]) = wire.get_mut(length..end) else {
                return Err(Malformed { field: "name length" });
            };
            *first = count;
            rest.copy_from_slice(label);
            length = end;
            if count == 0 {
                break;
            }
        }
        let wire = wire.get_mut(..length).unwrap_or_default();
        wire.make_ascii_lowercase();
        Ok(Self(Box::from(&*wire)))
    }

    /// The name of these labels; `None` when one is empty or too long, or all are together.
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        let mut wire = Vec::new();
        for label in labels {
            let count = u8::try_from(label.len()).ok()?;
            if count == 0 || count & NOT_A_LENGTH != 0 {
                return None;
            }
            wire.push(count);
            wire.extend_from_slice(label);
        }
        wire.push(0);
        // Lengths are below 64, and 'A' is 65: only letters of labels are folded.
        wire.make_ascii_lowercase();
        (wire.len() <= NAME_BYTES_MAX).then(|| Self(wire.into()))
    }

    /// The name of a host in text form, without or with a final dot.
    pub fn from_host(host: &[u8]) -> Option<Self> {
        let host = host.strip_suffix(b".").unwrap_or(host);
        Self::from_labels(host.split(|byte| *byte == b'.'))
    }

    /// The name in its uncompressed form on the wire, lower-case.
    pub fn wire(&self) -> &[u8] {
        &self.0
    }

    /// The labels from left to right, without the root.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        let mut reader = Reader::new(&self.0);
        std::iter::from_fn(move || reader.block8("label").ok().filter(|label| !label.is_empty()))
    }

    /// The labels joined by dots; `None` for the root, and when a label itself has a dot.
    pub fn host(&self) -> Option<Vec<u8>> {
        let mut text = Vec::with_capacity(self.0.len());
        for label in self.labels() {
            if label.contains(&b'.') {
                return None;
            }
            if !text.is_empty() {
                text.push(b'.');
            }
            text.extend_from_slice(label);
        }
        (!text.is_empty()).then_some(text)
    }
}

impl std::fmt::Debug for Name {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Name({})", self.0.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(wire: &[u8]) -> Result<Name, Malformed> {
        Name::read(&mut Reader::new(wire))
    }

    #[test]
    fn t6_a_dot_inside_a_label_is_not_a_boundary() {
        let two = read(b"\x01a\x06listed\x02kz\0").unwrap();
        let one = read(b"\x08a.listed\x02kz\0").unwrap();
        assert_ne!(two, one);
        assert_eq!(two.host().as_deref(), Some(&b"a.listed.kz"[..]));
        assert_eq!(one.host(), None);
        assert_eq!(Name::from_host(b"A.LISTED.kz."), Some(two));
    }

    #[test]
    fn a_name_of_255_bytes_is_read_and_one_of_256_is_not() {
        let label = [&[62_u8][..], &[b'a'; 62]].concat();
        let mut wire = label.repeat(4);
        wire.extend([1, b'b']);
        wire.push(0);
        assert_eq!(wire.len(), 255);
        assert!(read(&wire).is_ok());
        let mut longer = label.repeat(4);
        longer.extend([2, b'b', b'b', 0]);
        assert_eq!(read(&longer), Err(Malformed { field: "name length" }));
        assert_eq!(read(&label.repeat(9)), Err(Malformed { field: "name length" }));
    }

    #[test]
    fn the_root_has_no_text_and_an_empty_label_no_name() {
        assert_eq!(read(b"\0").unwrap().host(), None);
        assert_eq!(Name::from_host(b"a..b"), None);
        assert_eq!(Name::from_host(b""), None);
        assert_eq!(Name::from_labels([&[b'a'; 64][..]]), None);
        assert!(Name::from_labels([&[b'a'; 63][..]]).is_some());
    }
}

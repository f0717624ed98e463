//! A session's name in the column `session_id`.
//!
//! An Acct-Session-Id alone repeats after a reboot of its NAS, so the start of the session is part of the name.

use core::fmt;

/// An Acct-Session-Id and the start of the session; its `Display` is the column.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SessionId<'a> {
    /// The Acct-Session-Id, any octets.
    pub acct_session_id: &'a [u8],
    /// The start, seconds since 1970 (UTC).
    pub start_s: i64,
}

impl fmt::Display for SessionId<'_> {
    /// Octets outside `!` to `~`, and those that mean something here or in files of usage (`%`, `@`, `,`, `"`), as `%` and
    /// two hexadecimal digits; then `@` and the start.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for octet in self.acct_session_id {
            match octet {
                b'%' | b'@' | b',' | b'"' => write!(f, "%{octet:02X}")?,
                b'!'..=b'~' => f.write_char(char::from(*octet))?,
                _ => write!(f, "%{octet:02X}")?,
            }
        }
        write!(f, "@{}", self.start_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The column.
    fn column(octets: &[u8], start_s: i64) -> String {
        SessionId { acct_session_id: octets, start_s }.to_string()
    }

    #[test]
    fn what_is_printable_stays_and_the_rest_is_escaped() {
        assert_eq!(column(b"4ffd48320b214697", 1_796_000_000), "4ffd48320b214697@1796000000");
        assert_eq!(column(b"esm|ipoe_sub_08", 0), "esm|ipoe_sub_08@0");
        assert_eq!(column(b"!~", 1), "!~@1", "both ends stay");
        assert_eq!(column(b" \x7f", 1), "%20%7F@1", "one beyond each end does not");
        assert_eq!(column(b"a%b@c,d\"e", 1), "a%25b%40c%2Cd%22e@1");
        assert_eq!(column(&[0, 0x0a, 0xff, 0xd1, 0x8f], -1), "%00%0A%FF%D1%8F@-1");
        assert_eq!(column(&[0; 253], i64::MIN).len(), 3 * 253 + 1 + 20, "the longest");
    }

    #[test]
    fn no_two_sessions_have_one_name() {
        let octets: Vec<u8> = (0..=255).collect();
        let names: std::collections::BTreeSet<String> =
            octets.iter().flat_map(|octet| [column(&[*octet], 1), column(&[*octet, b'1'], 1)]).collect();
        assert_eq!(names.len(), 512);
        assert_ne!(column(b"a@1", 2), column(b"a", 12));
    }
}

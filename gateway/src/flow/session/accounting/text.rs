//! The session id of usage records: Acct-Session-Id and start, in characters that no file has to quote.

use std::fmt::Write;

use billing_export::ID_LEN_MAX;

/// FNV-1a's offset basis and prime.
const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// `session`, an at sign, and the start in Unix seconds. Octets outside `!` to `~`, and `%`, `@`, `,` and `"`, stand as `%HH`. An id
/// that is too long for a record is cut, and followed by `~` and a hash of the whole.
pub(super) fn session_id(session: &[u8], start: u32) -> String {
    let mut text = String::with_capacity(session.len().saturating_add(11));
    let end = format!("@{start}");
    for octet in session {
        escape(&mut text, *octet);
    }
    if text.len().saturating_add(end.len()) > ID_LEN_MAX {
        let hash =
            session.iter().fold(FNV_BASIS, |hash, octet| (hash ^ u64::from(*octet)).wrapping_mul(FNV_PRIME));
        let rest = format!("~{hash:016x}");
        let room = ID_LEN_MAX.saturating_sub(end.len()).saturating_sub(rest.len());
        text.clear();
        for octet in session {
            let before = text.len();
            escape(&mut text, *octet);
            if text.len() > room {
                text.truncate(before);
                break;
            }
        }
        text.push_str(&rest);
    }
    text.push_str(&end);
    text
}

/// Adds an octet as it stands in a session id.
fn escape(text: &mut String, octet: u8) {
    if octet.is_ascii_graphic() && !ESCAPED.contains(&octet) {
        text.push(char::from(octet));
    } else {
        // Writing to a string does not fail.
        let _ = write!(text, "%{octet:02X}");
    }
}

/// Octets between `!` and `~` that mean something in a session id, a row or a header.
const ESCAPED: [u8; 4] = *b"%@,\"";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c13_the_session_id_carries_the_start_and_nothing_to_quote() {
        assert_eq!(session_id(b"81a09556", 1_700_000_000), "81a09556@1700000000");
        assert_eq!(session_id(b"a b%@,\"\x00\xff~!", 0), "a%20b%25%40%2C%22%00%FF~!@0");
        assert_eq!(session_id(b"", 7), "@7");
    }

    #[test]
    fn c13_no_two_sessions_have_one_id() {
        let octets: Vec<u8> = (0..=255).collect();
        let ids: std::collections::BTreeSet<String> = octets
            .iter()
            .flat_map(|octet| [session_id(&[*octet], 1), session_id(&[*octet, b'1'], 1)])
            .collect();
        assert_eq!(ids.len(), 512);
        assert_ne!(session_id(b"a@1", 2), session_id(b"a", 12));
    }

    #[test]
    fn an_id_at_the_limit_is_whole_and_a_longer_one_cut_and_told_apart() {
        let fits = vec![b'a'; ID_LEN_MAX - 2];
        assert_eq!(session_id(&fits, 1).len(), ID_LEN_MAX);
        assert!(!session_id(&fits, 1).contains('~'));
        let (one, other) = ([[0_u8; 252].as_slice(), b"1"].concat(), [[0_u8; 252].as_slice(), b"2"].concat());
        assert_ne!(session_id(&one, 1), session_id(&other, 1));
        assert!(session_id(&one, u32::MAX).len() <= ID_LEN_MAX);
        assert!(session_id(&one, u32::MAX).starts_with("%00%00"));
    }
}

//! DNS messages: the question a message asks, and what an answer says of the name that was asked for.
//!
//! The header and question are read here, byte by byte and without trusting a count; the records of an answer are read by
//! `hickory-proto` from a copy of bounded size. A relay passes the original bytes on: nothing here writes a message.
//!
//! An answer is believed in whole or not at all. Only its answer section counts, only records on the chain of CNAMEs that
//! begins at the name asked for, only records of the type asked for. A message that breaks its format anywhere, also in
//! a record of no interest, gives no facts. Sections: RFC 1035 §4.1 (messages), §3.1 and §4.1.4 (names), RFC 2181 §8
//! (TTL), RFC 6891 §6.1.3 (extended codes), RFC 9460 §2 and §7 (SVCB, HTTPS), RFC 9849 §4 (ECH configurations).
//!
//! This module may not know what a name is worth: names are labels of bytes, folded to lower case and no more.

mod answer;
mod ech;
pub mod layout;
mod name;
pub mod options;

use std::ops::Range;

pub use self::answer::{AnswerLimits, Facts, Found, Outcome, answer, believe};
pub use self::ech::EchConfig;
pub use self::name::Name;

use super::reader::{Malformed, Reader};

/// Bytes of the header, RFC 1035 §4.1.1.
pub const HEADER_BYTES: usize = 12;
/// Longest message: that which the two-byte length over TCP can say, RFC 1035 §4.2.2.
pub const MESSAGE_BYTES_MAX: usize = 65_535;
/// Class IN, RFC 1035 §3.2.4.
pub const CLASS_IN: u16 = 1;
/// Type A, RFC 1035 §3.2.2.
pub const TYPE_A: u16 = 1;
/// Type AAAA, RFC 3596 §2.1.
pub const TYPE_AAAA: u16 = 28;
/// Type SVCB, RFC 9460 §14.1.
pub const TYPE_SVCB: u16 = 64;
/// Type HTTPS, RFC 9460 §14.2.
pub const TYPE_HTTPS: u16 = 65;
/// Type ANY, RFC 1035 §3.2.3.
pub const TYPE_ANY: u16 = 255;
/// Operation QUERY, RFC 1035 §4.1.1.
pub const OPCODE_QUERY: u8 = 0;
/// Response code NOERROR, RFC 1035 §4.1.1.
pub const RCODE_NO_ERROR: u16 = 0;

/// Codes of [`bare_failure`]: FORMERR, SERVFAIL, NOTIMP, REFUSED.
const BARE_CODES: [u16; 4] = [1, 2, 4, 5];

/// Bit of the flags: the message is a response.
const QR: u16 = 0x8000;
/// Bit of the flags: truncated.
const TC: u16 = 0x0200;
/// Bit of the flags: recursion desired.
const RD: u16 = 0x0100;

/// The header of a message and its one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The id that pairs query and answer.
    pub id: u16,
    /// QR: the message is an answer.
    pub is_response: bool,
    /// What kind of operation; [`OPCODE_QUERY`] is the ordinary one.
    pub opcode: u8,
    /// TC: more did not fit; ask again over TCP.
    pub truncated: bool,
    /// RD: the client wants recursion.
    pub recursion_desired: bool,
    /// Low four bits of the response code; [`Facts::rcode`] has all twelve.
    pub rcode: u8,
    /// The name asked for, in lower case.
    pub name: Name,
    /// The type asked for.
    pub kind: u16,
    /// The class asked for.
    pub class: u16,
    /// Where the question section stands in the message: its bytes are compared as they are, letter case too (0x20).
    pub section: Range<usize>,
}

/// Reads the header and the one question of a message, and nothing behind it.
///
/// # Errors
/// [`Malformed`] with the field; a message without a question, or with more than one, is one too (RFC 9619 §4).
pub fn question(message: &[u8]) -> Result<Question, Malformed> {
    if message.len() > MESSAGE_BYTES_MAX {
        return Err(Malformed { field: "message length" });
    }
    let mut reader = Reader::new(message);
    let id = reader.u16("ID")?;
    let flags = reader.u16("flags")?;
    if reader.u16("QDCOUNT")? != 1 {
        return Err(Malformed { field: "QDCOUNT" });
    }
    reader.take(6, "ANCOUNT")?;
    let name = Name::read(&mut reader)?;
    let kind = reader.u16("QTYPE")?;
    let class = reader.u16("QCLASS")?;
    // The name on the wire is as long as its lower-case copy; type and class have four bytes.
    let end = HEADER_BYTES.saturating_add(name.wire().len()).saturating_add(4);
    let [high, low] = flags.to_be_bytes();
    Ok(Question {
        id,
        is_response: flags & QR != 0,
        opcode: high >> 3 & 0x0f,
        truncated: flags & TC != 0,
        recursion_desired: flags & RD != 0,
        rcode: low & 0x0f,
        name,
        kind,
        class,
        section: HEADER_BYTES..end,
    })
}

/// Id and code of an answer that says no more than that it fails: some servers leave out the question then. `None` for
/// anything else, and for codes that say something about the question.
pub fn bare_failure(message: &[u8]) -> Option<(u16, u16)> {
    let mut reader = Reader::new(message);
    let id = reader.u16("ID").ok()?;
    let flags = reader.u16("flags").ok()?;
    // Question, answer and authority section are empty.
    let is_bare = reader.take(6, "counts").ok()?.iter().all(|byte| *byte == 0);
    let [high, low] = flags.to_be_bytes();
    let code = u16::from(low & 0x0f);
    let is_answer = flags & QR != 0 && high >> 3 & 0x0f == OPCODE_QUERY;
    (is_bare && is_answer && BARE_CODES.contains(&code)).then_some((id, code))
}

/// How many records a message says it has behind its question; `None` when the header is cut short.
fn record_count(message: &[u8]) -> Option<u32> {
    let mut reader = Reader::new(message.get(6..HEADER_BYTES)?);
    let mut count = 0_u32;
    while !reader.is_empty() {
        count = count.saturating_add(u32::from(reader.u16("count").ok()?));
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A query for `www.listed.kz` A, as dig sends it without EDNS.
    const QUERY: &[u8] = b"\x12\x34\x01\x20\0\x01\0\0\0\0\0\0\x03WwW\x06LISTED\x02kz\0\0\x01\0\x01";

    #[test]
    fn a_question_is_read_with_its_place_and_folded_name() {
        let read = question(QUERY).unwrap();
        assert_eq!((read.id, read.is_response, read.opcode), (0x1234, false, OPCODE_QUERY));
        assert_eq!((read.truncated, read.recursion_desired, read.rcode), (false, true, 0));
        assert_eq!(read.name.host().as_deref(), Some(&b"www.listed.kz"[..]));
        assert_eq!((read.kind, read.class), (TYPE_A, CLASS_IN));
        assert_eq!(QUERY.get(read.section), QUERY.get(12..));
    }

    #[test]
    fn t20_every_prefix_of_a_query_is_malformed() {
        for length in 0..QUERY.len() {
            assert!(question(&QUERY[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn t20_a_question_must_be_one_and_its_name_plain() {
        for (place, byte, field) in
            [(5, 0, "QDCOUNT"), (5, 2, "QDCOUNT"), (12, 0xc0, "label"), (12, 0x40, "label")]
        {
            let mut changed = QUERY.to_vec();
            changed[place] = byte;
            assert_eq!(question(&changed), Err(Malformed { field }));
        }
    }

    #[test]
    fn f40_a_failure_without_a_question_has_an_id_and_a_code_and_nothing_else() {
        for code in 0..16 {
            let wanted = [1, 2, 4, 5].contains(&code).then_some((0x1234, u16::from(code)));
            let reply = [0x12, 0x34, 0x81, 0x80 | code, 0, 0, 0, 0, 0, 0, 0, 0];
            assert_eq!(bare_failure(&reply), wanted, "{code}");
        }
        let reply = [0x12, 0x34, 0x81, 0x85, 0, 0, 0, 0, 0, 0, 0, 0];
        assert!((0..10).all(|length| bare_failure(&reply[..length]).is_none()));
        for (place, byte) in [(2, 0x01), (2, 0x91), (4, 1), (5, 1), (7, 1), (9, 1)] {
            let mut changed = reply;
            changed[place] = byte;
            assert_eq!(bare_failure(&changed), None, "byte {place}");
        }
        let mut with_opt = reply;
        with_opt[11] = 1;
        assert_eq!(bare_failure(&with_opt), Some((0x1234, 5)));
    }

    #[test]
    fn a_message_over_the_longest_is_not_read() {
        let mut long = QUERY.to_vec();
        long.resize(MESSAGE_BYTES_MAX, 0);
        assert!(question(&long).is_ok());
        long.push(0);
        assert_eq!(question(&long), Err(Malformed { field: "message length" }));
    }
}

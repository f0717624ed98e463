//! Where the records of a message stand, for those who change a byte of a copy: the size a query's OPT record says, the
//! TTLs of an old answer, the end of its answer section. Names are stepped over, never followed.
//!
//! Sections: RFC 1035 §4.1.3 (records), §4.1.4 (pointers end a name), RFC 6891 §6.1.2 (OPT).

use std::ops::Range;

use super::options::{ForSubnet, for_subnet};
use super::{HEADER_BYTES, Question};
use crate::wire::reader::{Malformed, Reader};

/// Type OPT, RFC 6891 §6.1.1.
pub const TYPE_OPT: u16 = 41;
/// Type SOA, RFC 1035 §3.2.2.
const TYPE_SOA: u16 = 6;
/// Type SIG, RFC 2931 §3.
const TYPE_SIG: u16 = 24;
/// Type TSIG, RFC 8945 §4.2.
const TYPE_TSIG: u16 = 250;
/// Smallest size that an OPT record can say (RFC 6891 §6.2.3: lower values count as 512).
pub const UDP_BYTES_MIN: usize = 512;
/// The two bits of a compression pointer.
const POINTER: u8 = 0xc0;
/// Bit of the OPT record's flags: DNSSEC OK (RFC 3225 §3).
const DO: u16 = 0x8000;
/// Bit of the header's flags: checking disabled (RFC 4035 §3.2.2).
const CD: u16 = 0x0010;
/// Records read of a query: one OPT, and what a curious client may add.
const QUERY_RECORDS_MAX: usize = 16;

/// What a query's OPT record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns {
    /// Largest answer over UDP, at least [`UDP_BYTES_MIN`].
    pub udp_bytes_max: usize,
    /// Version; only 0 is defined.
    pub version: u8,
    /// DNSSEC records are wanted.
    pub dnssec_ok: bool,
    /// Where the two bytes of the size stand.
    pub size_at: usize,
    /// The network that the answer is wanted for.
    pub subnet: ForSubnet,
}

/// One record, by its places.
struct RecordFields {
    /// Its type.
    kind: u16,
    /// Where its class stands; of OPT the size.
    class_at: usize,
    /// Its TTL's bytes; of OPT code, version and flags.
    ttl: [u8; 4],
    /// Where the TTL stands.
    ttl_at: usize,
    /// Where its data begins.
    data_at: usize,
    /// Where the next record begins.
    end: usize,
}

/// What stands behind a query's question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Additional {
    /// What its OPT record says; `None` without one.
    pub edns: Option<Edns>,
    /// Whether a signature covers it: TSIG (RFC 8945 §4.2) or SIG(0) (RFC 2931 §3) stands behind everything else.
    pub is_signed: bool,
    /// Where the query ends: bytes behind it are none of it, and resolvers pass over them.
    pub end: usize,
}

/// Reads what stands behind a query's question.
///
/// # Errors
/// [`Malformed`] when the records break their format, are too many, or OPT is there twice, has an owner, or stands in
/// another section than the additional one (RFC 6891 §6.1.1, §6.1.2).
pub fn additional(query: &[u8], question: &Question) -> Result<Additional, Malformed> {
    behind(query, question.section.end)
}

/// The OPT record of a message of whatever operation and number of questions; `None` without one, or when it cannot be read.
pub fn edns_of_any(message: &[u8]) -> Option<Edns> {
    let questions = usize::from(Reader::new(message.get(4..6)?).u16("QDCOUNT").ok()?);
    if questions > QUERY_RECORDS_MAX {
        return None;
    }
    let mut at = HEADER_BYTES;
    for _ in 0..questions {
        at = name_end(message, at).ok()?.checked_add(4)?;
    }
    behind(message, at).ok()?.edns
}

/// The options of an OPT record that was read from this message.
pub fn options<'m>(message: &'m [u8], edns: &Edns) -> &'m [u8] {
    // Behind size, code, version and flags.
    let at = edns.size_at.saturating_add(6);
    let mut reader = Reader::new(message.get(at..).unwrap_or_default());
    reader.block16("OPT options").unwrap_or_default()
}

/// Reads the records from `at` on.
fn behind(query: &[u8], mut at: usize) -> Result<Additional, Malformed> {
    let counts = counts(query)?;
    let total: usize = counts.iter().sum();
    if total > QUERY_RECORDS_MAX {
        return Err(Malformed { field: "record count" });
    }
    let [answers, authorities, _] = counts;
    let (mut edns, mut last) = (None, None);
    for number in 0..total {
        let place = record(query, at)?;
        if place.kind == TYPE_OPT {
            let is_additional = number >= answers.saturating_add(authorities);
            if !is_additional || query.get(at) != Some(&0) || edns.replace(opt(query, &place)?).is_some() {
                return Err(Malformed { field: "OPT" });
            }
        }
        last = Some(place.kind);
        at = place.end;
    }
    Ok(Additional { edns, is_signed: matches!(last, Some(TYPE_TSIG | TYPE_SIG)), end: at })
}

/// What an OPT record says.
fn opt(query: &[u8], place: &RecordFields) -> Result<Edns, Malformed> {
    let [_, version, high, low] = place.ttl;
    let size = query.get(place.class_at..).and_then(|rest| rest.first_chunk::<2>());
    let size = usize::from(u16::from_be_bytes(*size.ok_or(Malformed { field: "OPT" })?));
    Ok(Edns {
        udp_bytes_max: size.max(UDP_BYTES_MIN),
        version,
        dnssec_ok: u16::from_be_bytes([high, low]) & DO != 0,
        size_at: place.class_at,
        subnet: for_subnet(query.get(place.data_at..place.end).unwrap_or_default())?,
    })
}

/// Whether a query says that answers need not be checked.
pub fn checking_disabled(query: &[u8]) -> bool {
    query
        .get(2..4)
        .and_then(|flags| flags.first_chunk::<2>())
        .is_some_and(|flags| u16::from_be_bytes(*flags) & CD != 0)
}

/// Where what an answer says itself stands: its answer section, and the SOA record that says how long a name or a type may
/// be taken not to exist (RFC 2308 §5), where that is the first of the authority section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Where the TTLs of these records stand.
    pub ttls: Vec<Range<usize>>,
    /// Where they end.
    pub end: usize,
    /// Whether the last of them is that SOA record.
    pub has_soa: bool,
}

/// Finds what an answer says itself, at most `records_max` records of its answer section.
///
/// # Errors
/// [`Malformed`] when a record breaks its format, or there are more.
pub fn said(answer: &[u8], question: &Question, records_max: usize) -> Result<Said, Malformed> {
    let [answers, authorities, _] = counts(answer)?;
    if answers > records_max {
        return Err(Malformed { field: "record count" });
    }
    let mut said = Said {
        ttls: Vec::with_capacity(answers.saturating_add(1)),
        end: question.section.end,
        has_soa: false,
    };
    for _ in 0..answers {
        let place = record(answer, said.end)?;
        said.ttls.push(place.ttl_at..place.ttl_at.saturating_add(4));
        said.end = place.end;
    }
    if authorities > 0 {
        let place = record(answer, said.end)?;
        if place.kind == TYPE_SOA {
            said.ttls.push(place.ttl_at..place.ttl_at.saturating_add(4));
            said.end = place.end;
            said.has_soa = true;
        }
    }
    Ok(said)
}

/// How many records the header counts behind the question: answer, authority, additional.
fn counts(message: &[u8]) -> Result<[usize; 3], Malformed> {
    let mut reader = Reader::new(message.get(6..HEADER_BYTES).ok_or(Malformed { field: "header" })?);
    Ok([
        usize::from(reader.u16("ANCOUNT")?),
        usize::from(reader.u16("NSCOUNT")?),
        usize::from(reader.u16("ARCOUNT")?),
    ])
}

/// Where a name that begins at `at` ends.
fn name_end(message: &[u8], at: usize) -> Result<usize, Malformed> {
    let rest = message.get(at..).ok_or(Malformed { field: "record" })?;
    let mut reader = Reader::new(rest);
    loop {
        let length = reader.u8("record name")?;
        if length & POINTER == POINTER {
            reader.u8("record name")?;
            break;
        }
        if length & POINTER != 0 {
            return Err(Malformed { field: "record name" });
        }
        if length == 0 {
            break;
        }
        reader.take(usize::from(length), "record name")?;
    }
    Ok(at.saturating_add(rest.len().saturating_sub(reader.left())))
}

/// The record that begins at `at`.
fn record(message: &[u8], at: usize) -> Result<RecordFields, Malformed> {
    let name_end = name_end(message, at)?;
    let mut reader = Reader::new(message.get(name_end..).unwrap_or_default());
    let kind = reader.u16("record type")?;
    reader.u16("record class")?;
    let ttl = reader.array::<4>("record TTL")?;
    let data = reader.block16("record data")?;
    let class_at = name_end.saturating_add(2);
    let ttl_at = class_at.saturating_add(2);
    let data_at = ttl_at.saturating_add(6);
    let end = data_at.saturating_add(data.len());
    Ok(RecordFields { kind, class_at, ttl, ttl_at, data_at, end })
}

#[cfg(test)]
mod tests;

//! What an answer says of the name asked for: addresses, service bindings, and how long they hold.

use std::net::IpAddr;

use hickory_proto::op::{Message, MessageType, OpCode};
use hickory_proto::rr::rdata::SVCB;
use hickory_proto::rr::rdata::svcb::SvcParamValue;
use hickory_proto::rr::{DNSClass, RData, Record};

use super::{
    CLASS_IN, EchConfig, MESSAGE_BYTES_MAX, Name, OPCODE_QUERY, Question, RCODE_NO_ERROR, TYPE_A, TYPE_AAAA,
    TYPE_ANY, TYPE_HTTPS, TYPE_SVCB, ech, question, record_count,
};
use crate::wire::reader::Malformed;

/// How much of an answer is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerLimits {
    /// Bytes of a message.
    pub message_bytes_max: usize,
    /// Records of all sections together, as the header counts them.
    pub records_max: u16,
    /// CNAMEs from the name asked for to its addresses (a key of `config/examples/full.toml`).
    pub cnames_max: usize,
    /// Addresses, hints and targets that are kept, each; of more the first.
    pub found_max: usize,
    /// Encrypted Client Hello configurations that are kept.
    pub ech_configs_max: usize,
}

impl Default for AnswerLimits {
    fn default() -> Self {
        Self {
            message_bytes_max: MESSAGE_BYTES_MAX,
            records_max: 1_024,
            cnames_max: 16,
            found_max: 512,
            ech_configs_max: 8,
        }
    }
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer, whole and well-formed; it may still have no address.
    Answer(Facts),
    /// A query, or an answer of another operation.
    NotAnAnswer,
    /// More bytes or records than are read; nothing of it is believed.
    Oversize,
    /// It breaks the format, or its CNAMEs lead nowhere or are too many; nothing of it is believed.
    Malformed {
        /// Where.
        field: &'static str,
    },
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The header, and the question that is repeated in the answer.
    pub question: Question,
    /// Response code with its extended bits (RFC 6891 §6.1.3).
    pub rcode: u16,
    /// What was found; nothing when the code is not NOERROR, when the message is truncated, or for another class than IN.
    pub found: Found,
}

/// What stands at the end of the chain of CNAMEs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Names that the name asked for is an alias of, in order.
    pub chain: Vec<Name>,
    /// Addresses, without repeats.
    pub addresses: Vec<IpAddr>,
    /// Addresses hinted at by service bindings (RFC 9460 §7.3), without repeats.
    pub hints: Vec<IpAddr>,
    /// Names that service bindings lead to, other than the end of the chain itself (RFC 9460 §2.4.2, §2.5).
    pub targets: Vec<Name>,
    /// Published configurations of Encrypted Client Hello.
    pub ech: Vec<EchConfig>,
    /// Seconds that all of it holds: the least of the chain and of the records found. 0 when there is none.
    pub ttl: u32,
}

impl From<Malformed> for Outcome {
    fn from(Malformed { field }: Malformed) -> Self {
        Self::Malformed { field }
    }
}

/// Reads an answer. Whether it answers a question that was asked is the caller's to know: id, question section and
/// addresses are compared by who keeps them.
pub fn answer(message: &[u8], limits: &AnswerLimits) -> Outcome {
    if message.len() > limits.message_bytes_max {
        return Outcome::Oversize;
    }
    let asked = match question(message) {
        Ok(asked) => asked,
        Err(error) => return error.into(),
    };
    if !asked.is_response || asked.opcode != OPCODE_QUERY {
        return Outcome::NotAnAnswer;
    }
    // Before the records are read: their number decides what reading them may cost.
    if record_count(message).is_none_or(|count| count > u32::from(limits.records_max)) {
        return Outcome::Oversize;
    }
    let Ok(read) = Message::from_vec(message) else { return Outcome::Malformed { field: "record" } };
    if read.metadata.message_type != MessageType::Response || read.metadata.op_code != OpCode::Query {
        return Outcome::NotAnAnswer;
    }
    let rcode = u16::from(read.metadata.response_code);
    let found = if asked.class == CLASS_IN && rcode == RCODE_NO_ERROR && !asked.truncated {
        match believe(&asked.name, asked.kind, &read.answers, limits) {
            Ok(found) => found,
            Err(error) => return error.into(),
        }
    } else {
        Found::default()
    };
    Outcome::Answer(Facts { question: asked, rcode, found })
}

/// Takes from the records of an answer section what belongs to `asked`: also for answers that a library received.
///
/// # Errors
/// [`Malformed`] when the CNAMEs contradict each other, run in a circle or are too many, or when a service binding is
/// broken.
pub fn believe(
    asked: &Name,
    kind: u16,
    answers: &[Record],
    limits: &AnswerLimits,
) -> Result<Found, Malformed> {
    let mut found = Found::default();
    let mut ttl = u32::MAX;
    let mut at = asked.clone();
    while let Some((next, cname_ttl)) = alias(&at, answers)? {
        if next == *asked || found.chain.contains(&next) {
            return Err(Malformed { field: "CNAME circle" });
        }
        if found.chain.len() >= limits.cnames_max {
            return Err(Malformed { field: "CNAME chain" });
        }
        ttl = ttl.min(cname_ttl);
        found.chain.push(next.clone());
        at = next;
    }
    let wanted = |kind_found: u16| kind == kind_found || kind == TYPE_ANY;
    let max = limits.found_max;
    for record in records_of(&at, answers) {
        match &record.data {
            RData::A(address) if wanted(TYPE_A) => {
                push_new(&mut found.addresses, IpAddr::V4(address.0), max);
            }
            RData::AAAA(address) if wanted(TYPE_AAAA) => {
                push_new(&mut found.addresses, IpAddr::V6(address.0), max);
            }
            RData::HTTPS(binding) if wanted(TYPE_HTTPS) => service(&at, binding, limits, &mut found)?,
            RData::SVCB(binding) if wanted(TYPE_SVCB) => service(&at, binding, limits, &mut found)?,
            _ => continue,
        }
        ttl = ttl.min(seconds(record));
    }
    let nothing = found.addresses.is_empty() && found.hints.is_empty() && found.targets.is_empty();
    found.ttl = if nothing && found.ech.is_empty() { 0 } else { ttl };
    Ok(found)
}

/// The records of class IN that `owner` owns.
fn records_of<'r>(owner: &'r Name, answers: &'r [Record]) -> impl Iterator<Item = &'r Record> {
    answers.iter().filter(move |record| record.dns_class == DNSClass::IN && is(&record.name, owner))
}

/// Where a CNAME leads from `owner`, and how long it holds; `None` at the end of the chain.
fn alias(owner: &Name, answers: &[Record]) -> Result<Option<(Name, u32)>, Malformed> {
    let mut found: Option<(Name, u32)> = None;
    for record in records_of(owner, answers) {
        let RData::CNAME(target) = &record.data else { continue };
        let target = name_of(&target.0).ok_or(Malformed { field: "CNAME" })?;
        let ttl = seconds(record);
        found = match found {
            None => Some((target, ttl)),
            Some((known, known_ttl)) if known == target => Some((known, known_ttl.min(ttl))),
            // Two of them are no chain (RFC 2181 §10.1): whichever we took, another reader may take the other.
            Some(_) => return Err(Malformed { field: "CNAME" }),
        };
    }
    Ok(found)
}

/// Takes hints, target and `ech` of a service binding that `owner` owns.
fn service(owner: &Name, binding: &SVCB, limits: &AnswerLimits, found: &mut Found) -> Result<(), Malformed> {
    // "." is the owner itself in ServiceMode, and no service in AliasMode (RFC 9460 §2.5.1, §2.5.2).
    if !binding.target_name.is_root() {
        let target = name_of(&binding.target_name).ok_or(Malformed { field: "TargetName" })?;
        if target != *owner {
            push_new(&mut found.targets, target, limits.found_max);
        }
    }
    if binding.svc_priority == 0 {
        // AliasMode: parameters are ignored (RFC 9460 §2.4.2).
        return Ok(());
    }
    for (_, value) in &binding.svc_params {
        match value {
            SvcParamValue::Ipv4Hint(hints) => {
                let hints = hints.0.iter().map(|address| IpAddr::V4(address.0));
                hints.for_each(|address| push_new(&mut found.hints, address, limits.found_max));
            }
            SvcParamValue::Ipv6Hint(hints) => {
                let hints = hints.0.iter().map(|address| IpAddr::V6(address.0));
                hints.for_each(|address| push_new(&mut found.hints, address, limits.found_max));
            }
            SvcParamValue::EchConfigList(list) => {
                let room = limits.ech_configs_max.saturating_sub(found.ech.len());
                found.ech.extend(ech::read(&list.0, room)?);
            }
            SvcParamValue::Mandatory(_)
            | SvcParamValue::Alpn(_)
            | SvcParamValue::NoDefaultAlpn
            | SvcParamValue::Port(_)
            | SvcParamValue::Unknown(_) => {}
        }
    }
    Ok(())
}

/// Seconds that a record holds; a value with the highest bit set counts as 0 (RFC 2181 §8).
fn seconds(record: &Record) -> u32 {
    if record.ttl > u32::MAX >> 1 { 0 } else { record.ttl }
}

/// Whether two names have the same labels, whatever their letter case.
fn is(name: &hickory_proto::rr::Name, wanted: &Name) -> bool {
    let mut labels = wanted.labels();
    name.iter().all(|label| labels.next().is_some_and(|other| other.eq_ignore_ascii_case(label)))
        && labels.next().is_none()
}

/// The library's name as ours.
fn name_of(name: &hickory_proto::rr::Name) -> Option<Name> {
    Name::from_labels(name.iter())
}

/// Adds what is not there yet, up to `max`: the search through all of them stays short.
fn push_new<T: PartialEq>(all: &mut Vec<T>, one: T, max: usize) {
    if all.len() < max && !all.contains(&one) {
        all.push(one);
    }
}

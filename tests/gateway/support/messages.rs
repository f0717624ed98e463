//! DNS messages for tests: ordinary ones by `hickory-proto`, broken ones by hand.

use std::net::IpAddr;
use std::str::FromStr;

use gateway::wire::dns::{self, AnswerLimits, Facts, Outcome};
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::svcb::{EchConfigList, IpHint, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, HTTPS, SVCB};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// The id of every message here.
pub const ID: u16 = 0x2a17;

/// A name with its final dot.
pub fn fqdn(text: &str) -> Name {
    Name::from_ascii(format!("{text}.")).unwrap()
}

/// A query.
pub fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(ID, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(fqdn(name), kind));
    message
}

/// An answer with these records.
pub fn answer(name: &str, kind: RecordType, records: Vec<Record>) -> Message {
    let mut message = query(name, kind);
    message.metadata.message_type = MessageType::Response;
    message.metadata.recursion_available = true;
    message.metadata.response_code = ResponseCode::NoError;
    message.add_answers(records);
    message
}

/// An address record.
pub fn address(owner: &str, ttl: u32, address: &str) -> Record {
    let data = match IpAddr::from_str(address).unwrap() {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    };
    Record::from_rdata(fqdn(owner), ttl, data)
}

/// An alias.
pub fn cname(owner: &str, ttl: u32, target: &str) -> Record {
    Record::from_rdata(fqdn(owner), ttl, RData::CNAME(CNAME(fqdn(target))))
}

/// An HTTPS record; `target` "" is the owner itself.
pub fn https(owner: &str, priority: u16, target: &str, hints: &[&str], ech: Option<Vec<u8>>) -> Record {
    let parsed: Vec<IpAddr> = hints.iter().map(|hint| hint.parse().unwrap()).collect();
    let v4: Vec<A> = parsed
        .iter()
        .filter_map(|hint| if let IpAddr::V4(v4) = hint { Some(A(*v4)) } else { None })
        .collect();
    let v6: Vec<AAAA> = parsed
        .iter()
        .filter_map(|hint| if let IpAddr::V6(v6) = hint { Some(AAAA(*v6)) } else { None })
        .collect();
    let mut params = Vec::new();
    if !v4.is_empty() {
        params.push((SvcParamKey::Ipv4Hint, SvcParamValue::Ipv4Hint(IpHint(v4))));
    }
    if let Some(list) = ech {
        params.push((SvcParamKey::EchConfigList, SvcParamValue::EchConfigList(EchConfigList(list))));
    }
    if !v6.is_empty() {
        params.push((SvcParamKey::Ipv6Hint, SvcParamValue::Ipv6Hint(IpHint(v6))));
    }
    let target = if target.is_empty() { Name::root() } else { fqdn(target) };
    Record::from_rdata(fqdn(owner), 300, RData::HTTPS(HTTPS(SVCB::new(priority, target, params))))
}

/// An ECHConfigList of one configuration (RFC 9849 §4).
pub fn ech(config_id: u8, public_name: &str) -> Vec<u8> {
    let count = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap().to_be_bytes();
    let mut contents = vec![config_id, 0, 32, 0, 4, 1, 2, 3, 4, 0, 4, 0, 1, 0, 1, 0];
    contents.push(u8::try_from(public_name.len()).unwrap());
    contents.extend_from_slice(public_name.as_bytes());
    contents.extend([0, 0]);
    let config = [&[0xfe, 0x0d][..], &count(&contents), &contents].concat();
    [&count(&config)[..], &config].concat()
}

/// The facts of an answer.
pub fn facts(message: &Message) -> Facts {
    match dns::answer(&message.to_vec().unwrap(), &AnswerLimits::default()) {
        Outcome::Answer(facts) => facts,
        other => panic!("{other:?}"),
    }
}

/// The facts of an answer with addresses for `name`.
pub fn addresses(name: &str, ttl: u32, found: &[&str]) -> Facts {
    let kind = if found[0].contains(':') { RecordType::AAAA } else { RecordType::A };
    facts(&answer(name, kind, found.iter().map(|one| address(name, ttl, one)).collect()))
}

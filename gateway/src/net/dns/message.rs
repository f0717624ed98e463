//! The answers that are our own, built with `hickory-proto`: steered names, refusals, failures, and answers cut to what a
//! datagram may carry. None is ever authentic (AD clear), none authoritative.
//!
//! RFC 1035 §4.1.1, RFC 6891 §6.1.1 (a query with OPT gets an answer with OPT), RFC 8482 (ANY), RFC 9460 §7.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::svcb::{Alpn, IpHint, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{A, AAAA, HINFO, HTTPS, SOA, SVCB};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use crate::flow::steer::{OriginService, SteeredService};
use crate::wire::dns::layout::{self, UDP_BYTES_MIN};
use crate::wire::dns::{self, HEADER_BYTES, Question, TYPE_HTTPS, TYPE_SVCB};

/// Response codes of our own answers.
pub(super) const FORM_ERR: u16 = 1;
/// See [`FORM_ERR`].
pub(super) const SERV_FAIL: u16 = 2;
/// See [`FORM_ERR`].
pub(super) const NOT_IMP: u16 = 4;
/// See [`FORM_ERR`].
pub(super) const REFUSED: u16 = 5;
/// RFC 6891 §6.1.3.
pub(super) const BAD_VERS: u16 = 16;
/// Mailbox of who keeps our SOA records: nobody (RFC 2606 §2).
const KEEPER: &str = "nobody.invalid.";
/// Times of our SOA records, in seconds, for secondary servers, of which there are none (RFC 1912 §2.2).
const REFRESH: i32 = 3_600;
/// See [`REFRESH`].
const RETRY: i32 = 600;
/// See [`REFRESH`].
const EXPIRE: i32 = 86_400;
/// How long the minimal answer to ANY may be kept.
const ANY_TTL: u32 = 3_600;
/// Bit of the first byte of flags: truncated.
const TC: u8 = 0x02;
/// Bit of the first byte of flags: an answer.
const QR: u8 = 0x80;
/// Bit of the second byte of flags: recursion is available.
const RA: u8 = 0x80;
/// Bit of the second byte of flags: answers need not be checked.
const CD: u8 = 0x10;
/// Bits of the first byte of flags that a reply repeats: operation, RD.
const REPEATED: u8 = 0x79;
/// An OPT record: size, code, DO and length to be filled in (RFC 6891 §6.1.2).
const OPT: [u8; 11] = [0, 0, 41, 0, 0, 0, 0, 0, 0, 0, 0];

/// A query that is being answered.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    /// As the client wrote it.
    pub query: &'a [u8],
    /// Its question.
    pub question: &'a Question,
    /// Its OPT record.
    pub edns: Option<layout::Edns>,
    /// Largest answer over UDP that we take and give.
    pub udp_bytes_max: usize,
}

impl Asked<'_> {
    /// The largest answer that its client takes in a datagram.
    pub(super) fn datagram_max(&self) -> usize {
        self.edns.map_or(UDP_BYTES_MIN, |edns| edns.udp_bytes_max.min(self.udp_bytes_max))
    }

    /// An answer with our addresses; without any, the name exists without records of this type.
    pub(super) fn addresses(&self, addresses: &[IpAddr], ttl: Duration) -> Option<Vec<u8>> {
        if addresses.is_empty() {
            return self.nothing(ttl);
        }
        let name = self.name()?;
        self.write(0, |answer| {
            for address in addresses {
                let data = match address {
                    IpAddr::V4(address) => RData::A(A(*address)),
                    IpAddr::V6(address) => RData::AAAA(AAAA(*address)),
                };
                answer.add_answer(Record::from_rdata(name.clone(), seconds(ttl), data));
            }
        })
    }

    /// A service binding that leads to us and nowhere else.
    pub(super) fn service(
        &self,
        service: &SteeredService,
        addresses: &[IpAddr],
        ttl: Duration,
    ) -> Option<Vec<u8>> {
        let name = self.name()?;
        let mut params = Vec::new();
        if !service.alpn.is_empty() {
            let alpn = service.alpn.iter().map(ToString::to_string).collect();
            params.push((SvcParamKey::Alpn, SvcParamValue::Alpn(Alpn(alpn))));
        }
        if service.no_default_alpn {
            params.push((SvcParamKey::NoDefaultAlpn, SvcParamValue::NoDefaultAlpn));
        }
        let v4: Vec<A> = addresses.iter().filter_map(|address| v4_of(*address).map(A)).collect();
        if service.has_v4_hint && !v4.is_empty() {
            params.push((SvcParamKey::Ipv4Hint, SvcParamValue::Ipv4Hint(IpHint(v4))));
        }
        let v6: Vec<AAAA> = addresses.iter().filter_map(|address| v6_of(*address).map(AAAA)).collect();
        if service.has_v6_hint && !v6.is_empty() {
            params.push((SvcParamKey::Ipv6Hint, SvcParamValue::Ipv6Hint(IpHint(v6))));
        }
        let binding = SVCB::new(1, Name::root(), params);
        let data = match self.question.kind {
            TYPE_HTTPS => RData::HTTPS(HTTPS(binding)),
            _ => RData::SVCB(binding),
        };
        self.write(0, |answer| {
            answer.add_answer(Record::from_rdata(name, seconds(ttl), data));
        })
    }

    /// That the name exists without records of this type, and how long that may be kept: without the SOA record whoever
    /// keeps answers asks again each time (RFC 2308 §5). The name itself is as good an owner of it as its zone.
    pub(super) fn nothing(&self, ttl: Duration) -> Option<Vec<u8>> {
        let name = self.name()?;
        let keeper = Name::from_ascii(KEEPER).ok()?;
        let ttl = seconds(ttl);
        let soa = SOA::new(name.clone(), keeper, 1, REFRESH, RETRY, EXPIRE, ttl);
        self.write(0, |answer| {
            answer.add_authority(Record::from_rdata(name, ttl, RData::SOA(soa)));
        })
    }

    /// An answer without records.
    pub(super) fn empty(&self, code: u16) -> Option<Vec<u8>> {
        self.write(code, |_| {})
    }

    /// The minimal answer to ANY (RFC 8482 §4.2).
    pub(super) fn minimal_any(&self) -> Option<Vec<u8>> {
        let name = self.name()?;
        let data = RData::HINFO(HINFO::new("RFC8482".to_owned(), String::new()));
        self.write(0, |answer| {
            answer.add_answer(Record::from_rdata(name, ANY_TTL, data));
        })
    }

    /// The question and that nothing fits beside it (RFC 1035 §4.1.1, TC): never longer than the query.
    pub(super) fn truncated(&self) -> Option<Vec<u8>> {
        let mut answer = self.query.get(..self.question.section.end)?.to_vec();
        let [_, _, flags, more, _, _, counts @ ..] = answer.first_chunk_mut::<HEADER_BYTES>()?;
        *flags = QR | *flags & REPEATED | TC;
        *more = RA | *more & CD;
        counts.fill(0);
        self.add_opt(&mut answer, &[]);
        Some(answer)
    }

    /// The name asked for, as the library has names.
    fn name(&self) -> Option<Name> {
        let mut name = Name::from_labels(self.question.name.labels()).ok()?;
        name.set_fqdn(true);
        Some(name)
    }

    /// An answer, filled by `fill`, with the question exactly as the client wrote it.
    fn write(&self, code: u16, fill: impl FnOnce(&mut Message)) -> Option<Vec<u8>> {
        let mut answer = Message::response(self.question.id, OpCode::Query);
        answer.metadata.recursion_desired = self.question.recursion_desired;
        answer.metadata.recursion_available = true;
        answer.metadata.checking_disabled = layout::checking_disabled(self.query);
        answer.metadata.response_code = ResponseCode::from(high(code), low(code));
        let mut question = Query::query(self.name()?, RecordType::from(self.question.kind));
        question.set_query_class(DNSClass::from(self.question.class));
        answer.add_query(question);
        fill(&mut answer);
        if let Some(edns) = self.edns {
            let mut ours = Edns::new();
            ours.set_max_payload(u16::try_from(self.udp_bytes_max).unwrap_or(u16::MAX));
            ours.set_dnssec_ok(edns.dnssec_ok);
            answer.set_edns(ours);
        }
        let mut bytes = answer.to_vec().ok()?;
        let written = self.query.get(self.question.section.clone())?;
        bytes.get_mut(self.question.section.clone())?.copy_from_slice(written);
        Some(bytes)
    }

    /// The answer itself when it fits into `bytes_max`; else its header and question, marked as cut (RFC 2181 §9).
    pub(super) fn fit<'b>(&self, answer: Cow<'b, [u8]>, bytes_max: usize) -> Cow<'b, [u8]> {
        if answer.len() <= bytes_max {
            return answer;
        }
        let mut cut = answer.into_owned();
        cut.truncate(self.question.section.end);
        for (place, byte) in cut.iter_mut().enumerate() {
            match place {
                2 => *byte |= TC,
                6..HEADER_BYTES => *byte = 0,
                _ => {}
            }
        }
        self.add_opt(&mut cut, &[]);
        Cow::Owned(cut)
    }

    /// Adds an OPT record with these options, where the query has one, to an answer without additional records.
    pub(super) fn add_opt(&self, answer: &mut Vec<u8>, options: &[u8]) {
        let Some(edns) = self.edns else { return };
        push_opt(answer, 0, edns.dnssec_ok, self.udp_bytes_max, options);
    }
}

/// A reply to what is no question, or cannot be read: its header with a code, the question where it has one, and an OPT
/// record with these options where it has one (RFC 6891 §6.1.1). Recursion is not to be had for such: RA is clear.
pub(super) fn bare(
    query: &[u8],
    question: Option<&Question>,
    code: u16,
    udp_bytes_max: usize,
    options: &[u8],
) -> Option<Vec<u8>> {
    let [id_high, id_low, flags, more, ..] = *query.first_chunk::<HEADER_BYTES>()?;
    let count = u8::from(question.is_some());
    let mut answer =
        vec![id_high, id_low, QR | flags & REPEATED, more & CD | low(code), 0, count, 0, 0, 0, 0, 0, 0];
    if let Some(question) = question {
        answer.extend(query.get(question.section.clone())?);
    }
    if let Some(edns) = layout::edns_of_any(query) {
        push_opt(&mut answer, code, edns.dnssec_ok, udp_bytes_max, options);
    }
    Some(answer)
}

/// Adds an OPT record with the high bits of a code to an answer without additional records.
fn push_opt(answer: &mut Vec<u8>, code: u16, dnssec_ok: bool, udp_bytes_max: usize, options: &[u8]) {
    let mut opt = OPT;
    let [_, _, _, size_high, size_low, code_high, _, flags, _, length @ ..] = &mut opt;
    [*size_high, *size_low] = u16::try_from(udp_bytes_max).unwrap_or(u16::MAX).to_be_bytes();
    *code_high = high(code);
    *flags = if dnssec_ok { 0x80 } else { 0 };
    *length = u16::try_from(options.len()).unwrap_or_default().to_be_bytes();
    if let Some(count) = answer.get_mut(11) {
        *count = 1;
    }
    answer.extend(opt);
    answer.extend(options);
}

/// The bits of a code that stand in the header.
fn low(code: u16) -> u8 {
    u8::try_from(code & 0xf).unwrap_or_default()
}

/// Those that stand in the OPT record (RFC 6891 §6.1.3).
fn high(code: u16) -> u8 {
    u8::try_from(code >> 4).unwrap_or_default()
}

/// The service bindings of an origin's answer, as far as steering needs them; none when it cannot be read.
pub(super) fn origin_services(answer: &[u8], facts: &dns::Facts) -> Vec<OriginService> {
    let owner = facts.found.chain.last().unwrap_or(&facts.question.name);
    let Ok(read) = Message::from_vec(answer) else { return Vec::new() };
    let owned = read.answers.iter().filter(|record| {
        record.dns_class == DNSClass::IN
            && dns::Name::from_labels(record.name.iter()).is_some_and(|name| name == *owner)
    });
    let bindings = owned.filter_map(|record| match &record.data {
        RData::HTTPS(binding) if facts.question.kind == TYPE_HTTPS => Some(&binding.0),
        RData::SVCB(binding) if facts.question.kind == TYPE_SVCB => Some(binding),
        _ => None,
    });
    bindings.map(origin_service).collect()
}

/// One of them.
fn origin_service(binding: &SVCB) -> OriginService {
    let mut service = OriginService { priority: binding.svc_priority, ..OriginService::default() };
    for (_, value) in &binding.svc_params {
        match value {
            SvcParamValue::Alpn(alpn) => {
                service.alpn = alpn.0.iter().map(|name| name.as_bytes().to_vec()).collect();
            }
            SvcParamValue::NoDefaultAlpn => service.no_default_alpn = true,
            SvcParamValue::Port(port) => service.port = Some(*port),
            SvcParamValue::Ipv4Hint(_) => service.has_v4_hint = true,
            SvcParamValue::Ipv6Hint(_) => service.has_v6_hint = true,
            SvcParamValue::Mandatory(_) | SvcParamValue::EchConfigList(_) | SvcParamValue::Unknown(_) => {}
        }
    }
    service
}

/// Whole seconds.
fn seconds(ttl: Duration) -> u32 {
    u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX)
}

/// An IPv4 address as one.
fn v4_of(address: IpAddr) -> Option<std::net::Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

/// An IPv6 address as one.
fn v6_of(address: IpAddr) -> Option<std::net::Ipv6Addr> {
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Some(address),
    }
}

//! `[[sink]]` of kind `tdf`: what is agreed with the receiver of charging records (TS 32.297, TS 32.298).

use crate::allowance::zone_of;
use crate::node::is_id;
use crate::problem::quoted;
use crate::rating_group::SERVICE_ID_CHARS_MAX;
use crate::reader::{Mismatch, Reader, describe};
use crate::section::{Found, Section, read_set};
use crate::value::{count_of, word_of};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use toml::de::DeValue;

/// The keys that a sink of another kind does not have.
pub(super) const NAMES: [&str; 12] = [
    "header",
    "release",
    "version",
    "zone",
    "node_name",
    "address",
    "pgw_address",
    "classes",
    "msisdn_nature",
    "service_identifiers",
    "sponsor",
    "extension_oid",
];

/// The release of the records when nothing is said.
pub(crate) const RELEASE_DEFAULT: u8 = 16;
/// Range of `release`: an earlier one does not stand in the octet that is written.
pub(crate) const RELEASE_RANGE: RangeInclusive<u8> = 10..=99;
/// The version of the release when nothing is said.
pub(crate) const VERSION_DEFAULT: u8 = 11;
/// Range of `version`: five bits.
pub(crate) const VERSION_RANGE: RangeInclusive<u8> = 0..=31;
/// Where times are local when nothing is said.
pub(crate) const ZONE_DEFAULT: &str = "UTC";
/// Longest name in files: with a hyphen and the epoch it goes into a NodeID of 20 octets (TS 32.298).
pub(super) const NODE_NAME_CHARS_MAX: usize = 14;
/// Longest sponsor identity in bytes.
pub(crate) const SPONSOR_BYTES_MAX: usize = 64;
/// The extension when nothing is said: an arc for examples (RFC 5612).
pub(crate) const EXTENSION_OID_DEFAULT: &str = "1.3.6.1.4.1.32473.1";
/// Most arcs of an object identifier.
const OID_ARCS_MAX: usize = 32;
/// The last second arc below 0 and 1 (X.660 §7.6), and of all such arcs, for the first two are written as one number.
const SECOND_ARC_MAX: u32 = 39;
/// The first number of an object identifier that begins with 2.
const SECOND_ARC_OFFSET: u32 = 80;

/// The classes as written.
const CLASSES: [(&str, TdfClass); 2] = [("exempt", TdfClass::Exempt), ("charged", TdfClass::Charged)];
/// What classes look like, for messages.
const CLASSES_FORM: &str = "an array of \"exempt\", \"charged\" or both";
/// What a name looks like, for messages.
const NAME_FORM: &str =
    "1 to 14 of a-z, 0-9 and - in quotes: with the epoch it goes into a NodeID of 20 octets";
/// What an address looks like, for messages.
const ADDRESS_FORM: &str = "an address without port in quotes, such as \"192.0.2.1\"";
/// What numbers of services look like, for messages.
const SERVICES_FORM: &str = "a table of numbers by service id, such as { bilimland = 7 }";
/// What an object identifier looks like, for messages.
const OID_FORM: &str = "an object identifier in quotes, such as \"1.3.6.1.4.1.32473.1\"";

/// What is agreed with the receiver of charging records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tdf {
    /// Layout of file headers.
    pub header: HeaderLayout,
    /// Release of the records.
    pub release: u8,
    /// Its version.
    pub version: u8,
    /// Time zone of their times, as written; whoever has the database reports its faults at the key `zone`.
    pub zone: String,
    /// Name in files and records: 1 to 14 characters.
    pub node_name: String,
    /// Address of this gateway.
    pub address: IpAddr,
    /// Address of the core's gateway where a session does not say.
    pub pgw_address: IpAddr,
    /// Exempt rows become records.
    pub exempt: bool,
    /// Charged rows do.
    pub charged: bool,
    /// 0x91 stands before telephone numbers.
    pub msisdn_nature: bool,
    /// The core's numbers of services, by service id.
    pub service_identifiers: BTreeMap<String, u32>,
    /// Who pays.
    pub sponsor: Option<String>,
    /// The extension, in dotted form.
    pub extension_oid: String,
}

/// Layout of file headers, by their octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderLayout {
    /// With the length of a private extension.
    Octets54,
    /// Without.
    Octets52,
}

/// A class of rows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TdfClass {
    Exempt,
    Charged,
}

/// Reads the keys of one sink; what is required is missed only where the sink is of this kind.
pub(super) fn read<'t>(
    reader: &mut Reader<'t>,
    section: &Section<'t>,
    node_id: Option<&str>,
    is_of_this_kind: bool,
) -> Option<Tdf> {
    let found = section.read(reader, "header", header_of);
    let header = section.defaulted(found, HeaderLayout::Octets54).value;
    let release = section.count(reader, "release", RELEASE_DEFAULT, RELEASE_RANGE).value;
    let version = section.count(reader, "version", VERSION_DEFAULT, VERSION_RANGE).value;
    let found = section.read(reader, "zone", zone_of);
    let zone = section.defaulted(found, ZONE_DEFAULT.to_owned()).value;
    let node_name = node_name(reader, section, node_id, is_of_this_kind);
    let found = section.read(reader, "address", address_of);
    let address = match found {
        Found::Absent if !is_of_this_kind => None,
        found => section.required(reader, "address", found, ADDRESS_FORM),
    };
    let found = section.read(reader, "pgw_address", address_of);
    let pgw_address = section.defaulted(found, IpAddr::V4(Ipv4Addr::UNSPECIFIED)).value;
    let classes = classes(reader, section);
    let msisdn_nature = section.boolean(reader, "msisdn_nature", true).value;
    let service_identifiers = service_identifiers(reader, section);
    let found = section.read(reader, "sponsor", sponsor_of);
    let sponsor = section.defaulted(found.map(Some), None).value;
    let found = section.read(reader, "extension_oid", oid_of);
    let extension_oid = section.defaulted(found, EXTENSION_OID_DEFAULT.to_owned()).value;
    Some(Tdf {
        header,
        release,
        version,
        zone,
        node_name: node_name?,
        address: address?.0,
        pgw_address,
        exempt: classes.contains(&TdfClass::Exempt),
        charged: classes.contains(&TdfClass::Charged),
        msisdn_nature,
        service_identifiers,
        sponsor,
        extension_oid,
    })
}

/// The name in files: stated, or the node's, where that is short enough.
fn node_name(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    node_id: Option<&str>,
    is_of_this_kind: bool,
) -> Option<String> {
    match section.read(reader, "node_name", name_of) {
        Found::Is(name, _) => Some(name),
        Found::Wrong(_) => None,
        Found::Absent => {
            let id = node_id?;
            if is_of_this_kind && !is_id(id, NODE_NAME_CHARS_MAX) {
                let found = format!("nothing, and node.id {} of {} characters", quoted(id), id.len());
                let fault = Mismatch::new(found, NAME_FORM);
                let remedy = "add `node_name = …` to this section: a shorter name for these files";
                reader.missing(section.key("node_name"), section.at, fault.remedy(remedy));
            }
            Some(id.to_owned())
        }
    }
}

/// The classes whose rows become records.
fn classes(reader: &mut Reader<'_>, section: &Section<'_>) -> Vec<TdfClass> {
    let Some((value, at)) = section.value("classes") else { return vec![TdfClass::Exempt] };
    if value.as_array().is_some_and(|array| array.is_empty()) {
        let fault = Mismatch::new("no class", CLASSES_FORM);
        reader.wrong(section.key("classes"), at, fault.remedy("without records leave the sink out"));
    }
    let of = |value: &DeValue<'_>| word_of(value, &CLASSES);
    read_set(reader, section, "classes", CLASSES_FORM, CLASSES.len(), of).unwrap_or_default()
}

/// The core's numbers of services.
fn service_identifiers(reader: &mut Reader<'_>, section: &Section<'_>) -> BTreeMap<String, u32> {
    let mut identifiers = BTreeMap::new();
    let Some((value, at)) = section.value("service_identifiers") else { return identifiers };
    let key = section.key("service_identifiers");
    let Some(table) = value.as_table() else {
        reader.wrong(key, at, Mismatch::new(describe(value), SERVICES_FORM));
        return identifiers;
    };
    for (service, number) in table {
        let service_id: &str = service.get_ref();
        let here = format!("{key}.{service_id}");
        if !is_id(service_id, SERVICE_ID_CHARS_MAX) {
            let fault =
                Mismatch::new(quoted(service_id), "a service id on the left: 1 to 40 of a-z, 0-9 and -");
            reader.wrong(&key, service.span().start, fault);
        }
        match count_of(number.get_ref(), &(0..=u32::MAX)) {
            Ok(number) => {
                identifiers.insert(service_id.to_owned(), number);
            }
            Err(fault) => reader.wrong(here, number.span().start, fault),
        }
    }
    identifiers
}

/// A layout.
fn header_of(value: &DeValue<'_>) -> Result<HeaderLayout, Mismatch> {
    let wanted = "54 or 52 without quotes, as the receiver reads file headers";
    match count_of(value, &(52..=54_u8)) {
        Ok(54) => Ok(HeaderLayout::Octets54),
        Ok(52) => Ok(HeaderLayout::Octets52),
        Ok(other) => Err(Mismatch::new(other.to_string(), wanted)),
        Err(fault) => Err(Mismatch { wanted: wanted.to_owned(), ..fault }),
    }
}

/// A name in files.
fn name_of(value: &DeValue<'_>) -> Result<String, Mismatch> {
    match value.as_str() {
        Some(text) if is_id(text, NODE_NAME_CHARS_MAX) => Ok(text.to_owned()),
        Some(text) => Err(Mismatch::new(quoted(text), NAME_FORM)),
        None => Err(Mismatch::new(describe(value), NAME_FORM)),
    }
}

/// An address without a port.
fn address_of(value: &DeValue<'_>) -> Result<IpAddr, Mismatch> {
    let text = value.as_str().ok_or_else(|| Mismatch::new(describe(value), ADDRESS_FORM))?;
    text.parse().map_err(|_| Mismatch::new(quoted(text), ADDRESS_FORM))
}

/// Who pays.
fn sponsor_of(value: &DeValue<'_>) -> Result<String, Mismatch> {
    let wanted = "1 to 64 bytes in quotes, without control characters";
    match value.as_str() {
        Some(text)
            if (1..=SPONSOR_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control) =>
        {
            Ok(text.to_owned())
        }
        Some(text) => Err(Mismatch::new(quoted(text), wanted)),
        None => Err(Mismatch::new(describe(value), wanted)),
    }
}

/// An object identifier.
fn oid_of(value: &DeValue<'_>) -> Result<String, Mismatch> {
    let text = value.as_str().ok_or_else(|| Mismatch::new(describe(value), OID_FORM))?;
    let arc = |word: &str| word.parse::<u32>().ok().filter(|arc| arc.to_string() == word);
    let arcs: Option<Vec<u32>> = text.split('.').map(arc).collect();
    let is_one = arcs.is_some_and(|arcs| {
        arcs.len() <= OID_ARCS_MAX
            && match *arcs.as_slice() {
                [0 | 1, second, ..] => second <= SECOND_ARC_MAX,
                [2, second, ..] => second <= u32::MAX.saturating_sub(SECOND_ARC_OFFSET),
                _ => false,
            }
    });
    if is_one { Ok(text.to_owned()) } else { Err(Mismatch::new(quoted(text), OID_FORM)) }
}

//! `[[radius.client]]`: who sends accounting, and what its attributes mean there.

use crate::key::Key;
use crate::node::is_id;
use crate::problem::quoted;
use crate::reader::{Mismatch, Reader, describe};
use crate::section::{Section, read_set};
use crate::value::prefix_of;
use ipnet::IpNet;
use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;
use toml::de::DeValue;

/// The keys of `[[radius.client]]`.
pub(super) const KEYS: &[Key] = &[
    Key::required("radius.client", "name"),
    Key::required("radius.client", "prefix"),
    Key::required("radius.client", "secret_file"),
    Key::defaulted("radius.client", "realm"),
    Key::defaulted("radius.client", "kind"),
    Key::defaulted("radius.client", "side"),
    Key::defaulted("radius.client", "subscriber"),
    Key::defaulted("radius.client", "interim"),
    Key::defaulted("radius.client", "session_max"),
    Key::defaulted("radius.client", "routes"),
    Key::defaulted("radius.client", "octets"),
];

/// Longest name and realm.
pub(crate) const NAME_CHARS_MAX: usize = 32;
/// The realm when nothing is said.
pub(crate) const REALM_DEFAULT: &str = "default";
/// Where the subscriber stands when nothing is said, in the order of preference.
pub(crate) const SUBSCRIBER_DEFAULT: [&str; 3] =
    ["3gpp-imsi:imsi", "calling-station-id:msisdn", "user-name:account"];
/// Most words for it.
pub(crate) const SUBSCRIBER_WORDS_MAX: usize = 8;
/// How often an access server tells of a session that goes on, when nothing is said.
pub(crate) const INTERIM_DEFAULT: Duration = Duration::from_secs(600);
/// Range of `interim`; RFC 2869 §5.16 has 60 s for the least.
pub(crate) const INTERIM_RANGE: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(86_400);
/// How long a session may be silent where there are no interims.
pub(crate) const SESSION_MAX_DEFAULT: Duration = Duration::from_secs(86_400);
/// Range of `session_max`.
pub(crate) const SESSION_MAX_RANGE: RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(90 * 86_400);

/// Attributes that may name a subscriber, as written; `vsa-VENDOR-TYPE` stands for any other.
const ATTRIBUTES: [&str; 6] =
    ["3gpp-imsi", "calling-station-id", "user-name", "class", "chargeable-user-identity", "alc-subsc-id-str"];
/// Kinds of subscribers, as written.
const KINDS: [&str; 3] = ["imsi", "msisdn", "account"];
/// The kinds of accounting, as written.
const ACCOUNTINGS: [(&str, AccountingKind); 2] =
    [("access", AccountingKind::Access), ("nat", AccountingKind::Nat)];
/// The sides of a translator, as written.
const SIDES: [(&str, Side); 2] = [("inside", Side::Inside), ("outside", Side::Outside)];
/// The meanings of octet counts, as written.
const OCTETS: [(&str, Octets); 2] = [("rfc", Octets::Rfc), ("swapped", Octets::Swapped)];

/// What a name looks like, for messages.
const NAME_FORM: &str = "1 to 32 of a-z, 0-9 and - in quotes";
/// What words for the subscriber look like, for messages.
const WORDS_FORM: &str = "an array of ATTRIBUTE:KIND, such as [\"3gpp-imsi:imsi\", \"user-name:account\"]";

/// `[[radius.client]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RadiusClient {
    /// Name in metrics and messages.
    pub name: String,
    /// Addresses that it sends from.
    pub prefix: IpNet,
    /// File of the shared secret (RFC 2865 §3), 16 to 128 octets.
    pub secret_file: PathBuf,
    /// Space of NAS and session ids: relays that pass on the same access servers share one.
    pub realm: String,
    /// What it accounts for.
    pub kind: AccountingKind,
    /// Which addresses of its subscribers this gateway sees.
    pub side: Side,
    /// Where the subscriber stands, as `ATTRIBUTE:KIND`, in the order of preference; each is one of the known words.
    pub subscriber: Vec<String>,
    /// How often it tells of a session that goes on; none: never.
    pub interim: Option<Duration>,
    /// How long a session may be silent where there are no interims.
    pub session_max: Duration,
    /// Framed-Route and Framed-IPv6-Route are the subscriber's addresses too.
    pub routes: bool,
    /// What the octet counts mean.
    pub octets: Octets,
}

/// What a client accounts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountingKind {
    /// Sessions of subscribers.
    Access,
    /// Blocks of a translator that knows inside addresses only.
    Nat,
}

/// Which addresses the gateway sees, where the operator translates them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The subscribers' own.
    Inside,
    /// Those of the translator.
    Outside,
}

/// What Acct-Input-Octets are (RFC 2866 §5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Octets {
    /// From the subscriber, as the RFC says.
    Rfc,
    /// Towards him.
    Swapped,
}

/// Reads the clients and compares them with each other.
pub(super) fn read<'t>(reader: &mut Reader<'t>, sections: &[Section<'t>]) -> Vec<RadiusClient> {
    let mut taken = Taken::default();
    sections.iter().filter_map(|section| read_client(reader, section, &mut taken)).collect()
}

/// What earlier clients have taken, with its place.
#[derive(Default)]
struct Taken {
    names: HashMap<String, String>,
    prefixes: HashMap<IpNet, String>,
}

/// Reads one client.
fn read_client<'t>(
    reader: &mut Reader<'t>,
    section: &Section<'t>,
    taken: &mut Taken,
) -> Option<RadiusClient> {
    let found = section.read(reader, "name", name_of);
    let name = section.required(reader, "name", found, NAME_FORM);
    if let Some((name, at)) = &name
        && let Some(first) = taken.names.insert(name.clone(), section.key("name"))
    {
        let fault = Mismatch::new(format!("\"{name}\", which {first} already has"), "a name of its own");
        reader.wrong(section.key("name"), *at, fault);
    }
    let found = section.read(reader, "prefix", prefix_of);
    let prefix = section.required(reader, "prefix", found, "a prefix, such as \"10.0.0.0/24\"");
    if let Some((prefix, at)) = &prefix
        && let Some(first) = taken.prefixes.insert(*prefix, section.key("prefix"))
    {
        let fault = Mismatch::new(format!("\"{prefix}\", which {first} already has"), "a prefix of its own");
        reader.wrong(section.key("prefix"), *at, fault);
    }
    let secret_file = section.required_path(reader, "secret_file");
    let found = section.read(reader, "realm", name_of);
    let realm = section.defaulted(found, REALM_DEFAULT.to_owned()).value;
    let kind = section.word(reader, "kind", &ACCOUNTINGS, AccountingKind::Access).value;
    let side = section.word(reader, "side", &SIDES, Side::Inside).value;
    let subscriber = subscriber(reader, section);
    let interim = interim(reader, section);
    let session_max = section.duration(reader, "session_max", SESSION_MAX_DEFAULT, SESSION_MAX_RANGE).value;
    let routes = section.boolean(reader, "routes", false).value;
    let octets = section.word(reader, "octets", &OCTETS, Octets::Rfc).value;
    let ((name, _), (prefix, _), (secret_file, _)) = (name?, prefix?, secret_file?);
    Some(RadiusClient {
        name,
        prefix,
        secret_file,
        realm,
        kind,
        side,
        subscriber,
        interim,
        session_max,
        routes,
        octets,
    })
}

/// Where the subscriber stands.
fn subscriber(reader: &mut Reader<'_>, section: &Section<'_>) -> Vec<String> {
    let Some((value, at)) = section.value("subscriber") else {
        return SUBSCRIBER_DEFAULT.map(ToOwned::to_owned).to_vec();
    };
    if value.as_array().is_some_and(|array| array.is_empty()) {
        reader.wrong(section.key("subscriber"), at, Mismatch::new("no word", WORDS_FORM));
    }
    read_set(reader, section, "subscriber", WORDS_FORM, SUBSCRIBER_WORDS_MAX, word_of).unwrap_or_default()
}

/// How often the client tells of a session that goes on: `"none"`, or a duration within the range.
fn interim<'t>(reader: &mut Reader<'t>, section: &Section<'t>) -> Option<Duration> {
    let is_none = section.value("interim").is_some_and(|(value, _)| value.as_str() == Some("none"));
    let stated =
        |reader: &mut Reader<'t>| section.duration(reader, "interim", INTERIM_DEFAULT, INTERIM_RANGE).value;
    (!is_none).then(|| stated(reader))
}

/// A name or a realm.
fn name_of(value: &DeValue<'_>) -> Result<String, Mismatch> {
    match value.as_str() {
        Some(text) if is_id(text, NAME_CHARS_MAX) => Ok(text.to_owned()),
        Some(text) => Err(Mismatch::new(quoted(text), NAME_FORM)),
        None => Err(Mismatch::new(describe(value), NAME_FORM)),
    }
}

/// A word that says where the subscriber stands.
fn word_of(value: &DeValue<'_>) -> Result<String, Mismatch> {
    let wanted = || {
        format!(
            "ATTRIBUTE:KIND; attributes are {} and vsa-VENDOR-TYPE, kinds {}",
            ATTRIBUTES.join(", "),
            KINDS.join(", ")
        )
    };
    let text = value.as_str().ok_or_else(|| Mismatch::new(describe(value), wanted()))?;
    let is_word = text.split_once(':').is_some_and(|(attribute, kind)| {
        KINDS.contains(&kind) && (ATTRIBUTES.contains(&attribute) || is_vsa(attribute))
    });
    if is_word { Ok(text.to_owned()) } else { Err(Mismatch::new(quoted(text), wanted())) }
}

/// `vsa-VENDOR-TYPE`: a vendor's number (RFC 2865 §5.26) and the type of its attribute.
fn is_vsa(attribute: &str) -> bool {
    let numbers = attribute.strip_prefix("vsa-").and_then(|rest| rest.split_once('-'));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    numbers.is_some_and(|(vendor, kind)| {
        is_number(vendor)
            && is_number(kind)
            && vendor.parse::<u32>().is_ok_and(|vendor| (1..=0x00ff_ffff).contains(&vendor))
            && kind.parse::<u8>().is_ok_and(|kind| kind > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::is_vsa;

    #[test]
    fn a_vendor_and_a_type_are_numbers_of_their_ranges() {
        for good in ["vsa-1-1", "vsa-16777215-255", "vsa-10415-1"] {
            assert!(is_vsa(good), "{good}");
        }
        for bad in
            ["vsa-0-1", "vsa-1-0", "vsa-16777216-1", "vsa-1-256", "vsa-1", "vsa--1", "vsa-+1-1", "vs-1-1"]
        {
            assert!(!is_vsa(bad), "{bad}");
        }
    }
}

//! What is agreed with the receiver of the files: layouts, names and numbers. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use jiff::tz::TimeZone;
use rasn::types::ObjectIdentifier;

use super::error::ProfileError;
use super::header::{FIRST_EXTENDED, Layout, Release};
use crate::class::Class;

/// Longest name of a node: NodeID has 20 octets (TS 32.298), and `-` and the epoch follow the name.
const NODE_NAME_LEN_MAX: usize = 14;
/// The highest release that is taken for one.
const RELEASE_MAX: u8 = 99;
/// The highest version: five bits.
const VERSION_MAX: u8 = 31;
/// Longest sponsor identity in octets.
const SPONSOR_LEN_MAX: usize = 64;
/// Most arcs of an object identifier.
const OID_ARCS_MAX: usize = 32;
/// Where the arcs below 0 and 1 end (X.660 §7.6).
const SECOND_ARC_MAX: u32 = 39;

/// What is agreed with the receiver of the files. Two renderings of the same records by equal profiles are equal.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// Layout of file headers.
    pub layout: Layout,
    /// Release and version of the records.
    pub release: Release,
    /// Where the times are local.
    pub zone: TimeZone,
    /// Name in file names and records.
    pub node_name: NodeName,
    /// Address of this gateway.
    pub address: IpAddr,
    /// Address of the core's gateway where the session does not say.
    pub pgw_address: IpAddr,
    /// Which rows become records.
    pub classes: Classes,
    /// Whether 0x91 (international, ISDN numbering) stands before telephone numbers.
    pub msisdn_nature: bool,
    /// The core's numbers of services, by service id.
    pub service_identifiers: BTreeMap<String, u32>,
    /// Who pays; none where nobody is named.
    pub sponsor: Option<Sponsor>,
    /// What tells our extension from others.
    pub extension_oid: ExtensionOid,
}

/// A release that its octets can hold.
///
/// # Errors
/// A release below 10 or above 99, a version above 31.
pub fn release(release: u8, version: u8) -> Result<Release, ProfileError> {
    if !(FIRST_EXTENDED..=RELEASE_MAX).contains(&release) {
        return Err(ProfileError { key: "release", found: release.to_string(), wanted: "10 to 99" });
    }
    if version > VERSION_MAX {
        return Err(ProfileError { key: "version", found: version.to_string(), wanted: "0 to 31" });
    }
    Ok(Release { release, version })
}

/// Which rows become records. Rows of nobody never do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Classes {
    /// Exempt ones.
    pub exempt: bool,
    /// Charged ones.
    pub charged: bool,
}

impl Classes {
    /// Whether rows of this class do.
    pub(super) fn has(self, class: Class) -> bool {
        match class {
            Class::Exempt => self.exempt,
            Class::Charged => self.charged,
            Class::Unattributed => false,
        }
    }
}

/// Name of the node in files: 1 to 14 of a-z, 0-9 and hyphen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeName(Box<str>);

impl FromStr for NodeName {
    type Err = ProfileError;

    fn from_str(text: &str) -> Result<NodeName, ProfileError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=NODE_NAME_LEN_MAX).contains(&text.len()) && text.bytes().all(plain) {
            return Ok(NodeName(text.into()));
        }
        Err(ProfileError {
            key: "node_name",
            found: shown(text),
            wanted: "1 to 14 of a-z, 0-9 and '-': with the epoch it has to go into a NodeID of 20 octets",
        })
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Identity of a sponsor: 1 to 64 octets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sponsor(Box<str>);

impl Sponsor {
    /// Its octets.
    pub(super) fn octets(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl FromStr for Sponsor {
    type Err = ProfileError;

    fn from_str(text: &str) -> Result<Sponsor, ProfileError> {
        if (1..=SPONSOR_LEN_MAX).contains(&text.len()) && !text.chars().any(char::is_control) {
            return Ok(Sponsor(text.into()));
        }
        let wanted = "1 to 64 bytes without control characters";
        Err(ProfileError { key: "sponsor", found: shown(text), wanted })
    }
}

/// An object identifier, in dotted form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtensionOid(ObjectIdentifier);

impl ExtensionOid {
    /// As the encoder takes it.
    pub(super) fn identifier(&self) -> ObjectIdentifier {
        self.0.clone()
    }
}

impl FromStr for ExtensionOid {
    type Err = ProfileError;

    fn from_str(text: &str) -> Result<ExtensionOid, ProfileError> {
        let arc = |word: &str| word.parse::<u32>().ok().filter(|arc| arc.to_string() == word);
        let arcs: Option<Vec<u32>> = text.split('.').map(arc).collect();
        let fits = |arcs: &Vec<u32>| match *arcs.as_slice() {
            [0 | 1, second, ..] => second <= SECOND_ARC_MAX,
            // The first two are written as one number.
            [2, second, ..] => second.checked_add(80).is_some(),
            _ => false,
        };
        arcs.filter(|arcs| arcs.len() <= OID_ARCS_MAX && fits(arcs))
            .and_then(ObjectIdentifier::new)
            .map(ExtensionOid)
            .ok_or_else(|| ProfileError {
                key: "extension_oid",
                found: shown(text),
                wanted: "an object identifier in dotted form, as 1.3.6.1.4.1.32473.1",
            })
    }
}

/// A text in a message, cut to a readable length.
fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(64).collect::<String>())
}

/// What the session of a row says besides: what the access network's accounting told of it. The ledger keeps none of it, so
/// where nobody fills it in, every field has what the profile says for that case.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct SessionFacts {
    /// SIM identity: digits.
    pub imsi: Option<String>,
    /// Telephone number: digits.
    pub msisdn: Option<String>,
    /// Account.
    pub account: Option<String>,
    /// 3GPP-GGSN-Address (vendor 10415, type 7).
    pub ggsn_address: Option<IpAddr>,
    /// NAS-IP-Address.
    pub nas_ip_address: Option<IpAddr>,
    /// 3GPP-SGSN-Address (type 6).
    pub sgsn_address: Option<IpAddr>,
    /// 3GPP-Charging-Characteristics (type 13), its four hexadecimal digits as two octets.
    pub charging_characteristics: Option<[u8; 2]>,
    /// 3GPP-Charging-ID (type 2).
    pub charging_id: Option<u32>,
}

impl fmt::Debug for SessionFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionFacts(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_releases_and_identifiers_at_the_limit_and_one_over() {
        assert!("a".repeat(14).parse::<NodeName>().is_ok());
        for text in ["", &"a".repeat(15), "Node", "a_b", "ä"] {
            assert!(
                text.parse::<NodeName>().unwrap_err().to_string().contains("NodeID of 20 octets"),
                "{text:?}"
            );
        }
        assert!("a".repeat(64).parse::<Sponsor>().is_ok() && "Байқоңыр".parse::<Sponsor>().is_ok());
        assert!(["", &"a".repeat(65), "a\n"].iter().all(|text| text.parse::<Sponsor>().is_err()));
        for (text, good) in [
            ("1.3.6.1.4.1.32473.1", true),
            ("2.999", true),
            ("2.4294967215", true),
            ("2.4294967216", false),
            ("1.39", true),
            ("1.40", false),
            ("3.1", false),
            ("1", false),
            ("", false),
            ("1..3", false),
            ("1.03", false),
            ("1.3.4294967296", false),
            (&["1"; 32].join("."), true),
            (&["1"; 33].join("."), false),
        ] {
            assert_eq!(text.parse::<ExtensionOid>().is_ok(), good, "{text}");
        }
        for (number, version, good) in
            [(10, 0, true), (9, 0, false), (99, 31, true), (100, 0, false), (16, 32, false)]
        {
            assert_eq!(release(number, version).is_ok(), good, "{number}.{version}");
        }
    }
}

//! A charging record that was read, in words: what [`super::Reader`] gives, and what a JSON line says of it. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rasn::types::OctetString;
use serde::{Serialize, Serializer};

use super::asn1::{
    ChangeOfServiceCondition, IpAddress, RECORD_CLOSURE, RECORD_TYPE, SubscriptionIdType, TdfRecord,
};
use super::bcd::{from_tbcd, from_time_stamp};
use super::record::NODE_ID_LEN_MAX;
use super::time::LocalTime;
use crate::manifest::decimal;

/// Nature of address of an international number: stands before the digits where it was agreed.
const INTERNATIONAL: u8 = 0x91;

/// A `TDFRecord`. The keys of its JSON are the field names of TS 32.298.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TdfCdr {
    /// Octets before its header in the file.
    #[serde(with = "decimal")]
    pub offset: u64,
    /// Its release and version, as 16.11.
    pub release: String,
    /// 92.
    pub record_type: u32,
    /// SIM identity.
    #[serde(rename = "servedIMSI")]
    pub served_imsi: Option<String>,
    /// Telephone number, after a `+` where the first octet says that it is international: one without nature of address that
    /// begins with 19 looks the same.
    #[serde(rename = "servedMSISDN")]
    pub served_msisdn: Option<String>,
    /// Its octets in hexadecimal digits.
    #[serde(rename = "servedMSISDNOctets")]
    pub served_msisdn_octets: Option<String>,
    /// Who is no number.
    #[serde(rename = "servedMNNAI")]
    pub served_mnnai: Option<Mnnai>,
    /// The core's gateway.
    #[serde(rename = "p-GWAddress")]
    pub p_gw_address: IpAddr,
    /// What serves the subscriber.
    pub serving_node_address: Vec<IpAddr>,
    /// Of which kind each is.
    pub serving_node_type: Vec<&'static str>,
    /// Two octets in hexadecimal digits.
    pub charging_characteristics: String,
    /// The core's number of the session.
    #[serde(rename = "pDNConnectionChargingID")]
    pub pdn_connection_charging_id: u32,
    /// Who counted.
    #[serde(rename = "tDFAddress")]
    pub tdf_address: IpAddr,
    /// First instant.
    #[serde(serialize_with = "text")]
    pub record_opening_time: LocalTime,
    /// Whole seconds.
    #[serde(with = "decimal")]
    pub duration: u64,
    /// Why it was closed.
    pub cause_for_rec_closing: u32,
    /// Name and epoch.
    #[serde(rename = "nodeID")]
    pub node_id: Option<String>,
    /// Its number.
    pub local_sequence_number: Option<u32>,
    /// What it says besides.
    pub record_extensions: Vec<Extension>,
    /// The bytes.
    pub list_of_service_data: Vec<ServiceData>,
}

/// Who is no number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mnnai {
    /// Of which kind.
    #[serde(rename = "subscriptionIDType")]
    pub kind: &'static str,
    /// The id.
    #[serde(rename = "subscriptionIDData")]
    pub data: String,
}

/// One extension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Extension {
    /// Which.
    pub identifier: String,
    /// Its text.
    pub information: String,
}

/// The bytes of one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceData {
    /// The core's rating group.
    pub rating_group: u32,
    /// The core's number of the service.
    pub service_identifier: Option<u32>,
    /// First instant.
    #[serde(serialize_with = "text_or_null")]
    pub time_of_first_usage: Option<LocalTime>,
    /// First instant after.
    #[serde(serialize_with = "text_or_null")]
    pub time_of_last_usage: Option<LocalTime>,
    /// When it was told.
    #[serde(serialize_with = "text")]
    pub time_of_report: LocalTime,
    /// `recordClosure`, and the places of others.
    pub service_condition_change: Vec<String>,
    /// Bytes from the subscriber.
    #[serde(rename = "datavolumeFBCUplink", serialize_with = "number_or_null")]
    pub uplink: Option<u64>,
    /// Bytes to the subscriber.
    #[serde(rename = "datavolumeFBCDownlink", serialize_with = "number_or_null")]
    pub downlink: Option<u64>,
    /// List and serial.
    #[serde(rename = "aDCRuleBaseName")]
    pub adc_rule_base_name: Option<String>,
    /// Who pays.
    pub sponsor_identity: Option<String>,
}

/// Which value is not what the field may hold: field, what was found, what was wanted.
pub(super) type Wrong = (&'static str, String, &'static str);

impl TdfCdr {
    /// The words of a record.
    pub(super) fn of(record: TdfRecord, offset: u64, release: String) -> Result<TdfCdr, Wrong> {
        if record.record_type != RECORD_TYPE {
            return Err(("recordType", record.record_type.to_string(), "92, as of a tDFRecord"));
        }
        let node_id = record.node_id.map(String::from);
        if node_id.as_ref().is_some_and(|id| !(1..=NODE_ID_LEN_MAX).contains(&id.len())) {
            return Err(("nodeID", format!("{node_id:?}"), "1 to 20 characters"));
        }
        let characteristics = record.charging_characteristics;
        if characteristics.len() != 2 {
            return Err(("chargingCharacteristics", hex(&characteristics), "two octets"));
        }
        let served_msisdn = record.served_msisdn;
        Ok(TdfCdr {
            offset,
            release,
            record_type: record.record_type,
            served_imsi: record.served_imsi.map(|imsi| digits("servedIMSI", &imsi, &imsi)).transpose()?,
            served_msisdn: served_msisdn.as_deref().map(msisdn).transpose()?,
            served_msisdn_octets: served_msisdn.as_deref().map(hex),
            served_mnnai: record.served_mnnai.map(|id| Mnnai { kind: kind_of(id.kind), data: id.data }),
            p_gw_address: address("p-GWAddress", &record.p_gw_address)?,
            serving_node_address: record
                .serving_node_address
                .iter()
                .map(|one| address("servingNodeAddress", one))
                .collect::<Result<_, _>>()?,
            serving_node_type: record.serving_node_type.iter().map(|_| "gTPSGW").collect(),
            charging_characteristics: hex(&characteristics),
            pdn_connection_charging_id: record.pdn_connection_charging_id,
            tdf_address: address("tDFAddress", &record.tdf_address)?,
            record_opening_time: time("recordOpeningTime", &record.record_opening_time)?,
            duration: record.duration,
            cause_for_rec_closing: record.cause_for_rec_closing,
            node_id,
            local_sequence_number: record.local_sequence_number,
            record_extensions: record
                .record_extensions
                .unwrap_or_default()
                .into_iter()
                .map(|one| Extension { identifier: one.identifier.to_string(), information: one.information })
                .collect(),
            list_of_service_data: record
                .list_of_service_data
                .unwrap_or_default()
                .into_iter()
                .map(ServiceData::of)
                .collect::<Result<_, _>>()?,
        })
    }
}

impl ServiceData {
    /// The words of the bytes of one service.
    fn of(data: ChangeOfServiceCondition) -> Result<ServiceData, Wrong> {
        let optional =
            |field, octets: Option<OctetString>| octets.map(|octets| time(field, &octets)).transpose();
        let bits = data.service_condition_change.iter_ones();
        Ok(ServiceData {
            rating_group: data.rating_group,
            service_identifier: data.service_identifier,
            time_of_first_usage: optional("timeOfFirstUsage", data.time_of_first_usage)?,
            time_of_last_usage: optional("timeOfLastUsage", data.time_of_last_usage)?,
            time_of_report: time("timeOfReport", &data.time_of_report)?,
            service_condition_change: bits
                .map(|bit| if bit == RECORD_CLOSURE { "recordClosure".to_owned() } else { bit.to_string() })
                .collect(),
            uplink: data.datavolume_fbc_uplink,
            downlink: data.datavolume_fbc_downlink,
            adc_rule_base_name: data.adc_rule_base_name.map(String::from),
            sponsor_identity: data
                .sponsor_identity
                .map(|octets| String::from_utf8_lossy(&octets).into_owned()),
        })
    }
}

/// The digits of a field's number, of which `octets` are the digits.
fn digits(field: &'static str, whole: &[u8], octets: &[u8]) -> Result<String, Wrong> {
    from_tbcd(octets).ok_or_else(|| (field, hex(whole), "digits in TBCD"))
}

/// A telephone number.
fn msisdn(octets: &[u8]) -> Result<String, Wrong> {
    match octets.split_first() {
        Some((&INTERNATIONAL, rest)) => Ok(format!("+{}", digits("servedMSISDN", octets, rest)?)),
        _ => digits("servedMSISDN", octets, octets),
    }
}

/// The address of a field.
fn address(field: &'static str, address: &IpAddress) -> Result<IpAddr, Wrong> {
    let (octets, found) = match address {
        IpAddress::V4(octets) => {
            (octets, <[u8; 4]>::try_from(&**octets).ok().map(|ip| Ipv4Addr::from(ip).into()))
        }
        IpAddress::V6(octets) => {
            (octets, <[u8; 16]>::try_from(&**octets).ok().map(|ip| Ipv6Addr::from(ip).into()))
        }
    };
    found.ok_or_else(|| (field, hex(octets), "4 octets of an IPv4 address or 16 of an IPv6 address"))
}

/// The time of a field.
fn time(field: &'static str, octets: &[u8]) -> Result<LocalTime, Wrong> {
    from_time_stamp(octets).ok_or_else(|| (field, hex(octets), "9 octets: BCD YYMMDDhhmmss, sign, BCD hhmm"))
}

/// Longest value repeated in a message or line, in octets.
const HEX_LEN_MAX: usize = 64;

/// Octets as hexadecimal digits.
pub(super) fn hex(octets: &[u8]) -> String {
    octets.iter().take(HEX_LEN_MAX).map(|octet| format!("{octet:02x}")).collect()
}

/// The word of TS 32.298.
fn kind_of(kind: SubscriptionIdType) -> &'static str {
    match kind {
        SubscriptionIdType::EndUserE164 => "END-USER-E164",
        SubscriptionIdType::EndUserImsi => "END-USER-IMSI",
        SubscriptionIdType::EndUserSipUri => "END-USER-SIP-URI",
        SubscriptionIdType::EndUserNai => "END-USER-NAI",
        SubscriptionIdType::EndUserPrivate => "END-USER-PRIVATE",
    }
}

/// A time as RFC 3339.
fn text<S: Serializer>(time: &LocalTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

/// A time that may be missing.
fn text_or_null<S: Serializer>(time: &Option<LocalTime>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.to_string()).serialize(serializer)
}

/// A number of bytes that may be missing, as a string: no reader rounds it.
fn number_or_null<S: Serializer>(number: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    number.map(|number| number.to_string()).serialize(serializer)
}

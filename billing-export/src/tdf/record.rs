//! A row of usage as a `GPRSRecord.tDFRecord` in BER. Pure.

use std::net::{IpAddr, Ipv4Addr};

use jiff::Timestamp;
use rasn::types::{BitString, Ia5String, OctetString};

use super::asn1::{
    ChangeOfServiceCondition, GprsRecord, IpAddress, ManagementExtension, RECORD_CLOSURE, RECORD_TYPE,
    ServingNodeType, SubscriptionId, SubscriptionIdType, TdfRecord,
};
use super::bcd::{tbcd, time_stamp};
use super::error::RecordError;
use super::profile::{Profile, SessionFacts};
use super::time::LocalTime;
use crate::account::{Account, Entry};
use crate::codec::account::AccountWords;
use crate::record::{Body, Record};
use crate::subscriber::SubscriberType;
use crate::unit::{Cause, Flag, Flags, Volume};

/// Octets of a NodeID at most (TS 32.298).
pub(super) const NODE_ID_LEN_MAX: usize = 20;
/// 3GPP-Charging-Characteristics of a session that does not say: normal charging (TS 32.251 annex A).
const CHARGING_CHARACTERISTICS: [u8; 2] = [0x08, 0x00];
/// Digits of an IMSI: what the identity of a SIM has at least and at most.
const IMSI_DIGITS: std::ops::RangeInclusive<usize> = 6..=15;
/// Digits of a telephone number, at most those of E.164.
const MSISDN_DIGITS: std::ops::RangeInclusive<usize> = 5..=15;
/// Nature of address: international number, ISDN numbering plan (TS 29.002, AddressString).
const INTERNATIONAL: u8 = 0x91;
/// What stands in the place of a character that IA5 does not have.
const NOT_IA5: char = '?';

/// The row of a record that becomes a charging record by this profile; none otherwise.
pub(super) fn chosen<'r>(profile: &Profile, record: &'r Record) -> Option<(&'r Account, Volume)> {
    match &record.body {
        Body::Usage { account, volume, .. } => {
            let of_somebody = account.session.subscriber_type() != SubscriberType::None;
            (of_somebody && profile.classes.has(account.entry.class())).then_some((account, *volume))
        }
        Body::Adjust { .. } | Body::Heartbeat | Body::Gap => None,
    }
}

/// The name of the node in records of an epoch.
///
/// # Errors
/// Name and epoch do not go into a NodeID.
pub(super) fn node_id(profile: &Profile, epoch: u32) -> Result<String, RecordError> {
    let node_id = format!("{}-{epoch}", profile.node_name);
    if node_id.len() > NODE_ID_LEN_MAX {
        return Err(RecordError::NodeId { epoch, node_id, max: NODE_ID_LEN_MAX });
    }
    Ok(node_id)
}

/// The octets of a row, without the header before them. `local` is its number among the sink's records of the epoch, from 1.
///
/// # Errors
/// The row cannot be written by this profile.
pub(super) fn encode(
    profile: &Profile,
    facts: &SessionFacts,
    record: &Record,
    (account, volume): (&Account, Volume),
    local: u64,
) -> Result<Vec<u8>, RecordError> {
    let record_of = GprsRecord::TdfRecord(tdf_record(profile, facts, record, (account, volume), local)?);
    let (epoch, seq) = (record.epoch, record.seq);
    let octets = rasn::ber::encode(&record_of).map_err(|error| RecordError::Ber {
        epoch,
        seq,
        why: error.to_string(),
    })?;
    if u16::try_from(octets.len()).is_err() {
        return Err(RecordError::Length { epoch, seq, length: octets.len() });
    }
    Ok(octets)
}

/// The record of a row.
fn tdf_record(
    profile: &Profile,
    facts: &SessionFacts,
    record: &Record,
    (account, volume): (&Account, Volume),
    local: u64,
) -> Result<TdfRecord, RecordError> {
    let (epoch, seq) = (record.epoch, record.seq);
    let cause = record.cause.ok_or(RecordError::NoCause { epoch, seq })?;
    let served = Served::of(account, facts, profile.msisdn_nature);
    let (start, end) = (record.window.start(), record.window.end());
    let milliseconds = end.as_millisecond().saturating_sub(start.as_millisecond());
    let gateway = facts.ggsn_address.or(facts.nas_ip_address).unwrap_or(profile.pgw_address);
    let characteristics = facts.charging_characteristics.unwrap_or(CHARGING_CHARACTERISTICS);
    Ok(TdfRecord {
        record_type: RECORD_TYPE,
        served_imsi: served.imsi,
        p_gw_address: address(gateway),
        serving_node_address: vec![address(facts.sgsn_address.unwrap_or(Ipv4Addr::UNSPECIFIED.into()))],
        record_opening_time: local_time(start, profile),
        duration: u64::try_from(milliseconds).unwrap_or(0).checked_div(1_000).unwrap_or(0),
        cause_for_rec_closing: closing(cause, record.flags),
        node_id: Some(ia5(&node_id(profile, epoch)?)),
        record_extensions: Some(vec![ManagementExtension {
            identifier: profile.extension_oid.identifier(),
            significance: false,
            information: extension(record, account),
        }]),
        local_sequence_number: Some(low_32(local)),
        served_msisdn: served.msisdn,
        charging_characteristics: octets(&characteristics),
        list_of_service_data: Some(vec![service_data(profile, account, volume, (start, end))]),
        serving_node_type: vec![ServingNodeType::GtpSgw],
        served_mnnai: served.mnnai,
        pdn_connection_charging_id: facts.charging_id.unwrap_or(0),
        tdf_address: address(profile.address),
    })
}

/// The bytes of a row, and for what.
fn service_data(
    profile: &Profile,
    account: &Account,
    volume: Volume,
    (start, end): (Timestamp, Timestamp),
) -> ChangeOfServiceCondition {
    let (rating_group, service) = match &account.entry {
        Entry::Exempt { rating_group, service, .. } => (*rating_group, Some(service)),
        Entry::Charged(_) | Entry::Unattributed(_) => (0, None),
    };
    let list = account.list.as_ref();
    let mut change = BitString::repeat(false, RECORD_CLOSURE);
    change.push(true);
    ChangeOfServiceCondition {
        rating_group,
        time_of_first_usage: Some(local_time(start, profile)),
        time_of_last_usage: Some(local_time(end, profile)),
        service_condition_change: change,
        datavolume_fbc_uplink: Some(volume.up),
        datavolume_fbc_downlink: Some(volume.down),
        time_of_report: local_time(end, profile),
        service_identifier: service.and_then(|id| profile.service_identifiers.get(&**id).copied()),
        sponsor_identity: profile.sponsor.as_ref().map(|sponsor| octets(sponsor.octets())),
        adc_rule_base_name: list.map(|list| ia5(&format!("{}:{}", list.id, list.serial))),
    }
}

/// Who is served, in the three fields there are.
struct Served {
    /// SIM identity.
    imsi: Option<OctetString>,
    /// Telephone number.
    msisdn: Option<OctetString>,
    /// Who is no number.
    mnnai: Option<SubscriptionId>,
}

impl Served {
    /// Who a row is of, and what else its session knows of them. An id that is no number of its kind is still somebody's.
    fn of(account: &Account, facts: &SessionFacts, nature: bool) -> Served {
        let id = account.session.subscriber_id();
        let kind = account.session.subscriber_type();
        let named = |of: SubscriberType, told: &'_ Option<String>| {
            if kind == of { Some(id.to_owned()) } else { told.clone() }
        };
        let imsi = named(SubscriberType::Imsi, &facts.imsi).and_then(|id| imsi(&id));
        let msisdn = named(SubscriberType::Msisdn, &facts.msisdn).and_then(|id| msisdn(&id, nature));
        let is_written = match kind {
            SubscriberType::Imsi => imsi.is_some(),
            SubscriberType::Msisdn => msisdn.is_some(),
            SubscriberType::Account | SubscriberType::None => false,
        };
        let data = if is_written { facts.account.clone() } else { Some(id.to_owned()) };
        let mnnai = data.map(|data| SubscriptionId { kind: SubscriptionIdType::EndUserPrivate, data });
        Served { imsi, msisdn, mnnai }
    }
}

/// A SIM identity; none where it is none.
fn imsi(id: &str) -> Option<OctetString> {
    let digits = tbcd(id).filter(|_| IMSI_DIGITS.contains(&id.len()))?;
    Some(octets(&digits))
}

/// A telephone number; none where it is none.
fn msisdn(id: &str, nature: bool) -> Option<OctetString> {
    let id = id.strip_prefix('+').unwrap_or(id);
    let digits = tbcd(id).filter(|_| MSISDN_DIGITS.contains(&id.len()))?;
    let mut number = if nature { vec![INTERNATIONAL] } else { Vec::new() };
    number.extend(digits);
    Some(octets(&number))
}

/// CauseForRecClosing: 0 normalRelease, 4 abnormalRelease, 16 volumeLimit, 17 timeLimit, 20 managementIntervention.
fn closing(cause: Cause, flags: Flags) -> u32 {
    match cause {
        Cause::SessionEnd if flags.contains(Flag::StopLost) => 4,
        Cause::SessionEnd => 0,
        Cause::Recovered => 4,
        Cause::Cap | Cause::Volume => 16,
        Cause::Period => 17,
        Cause::ListChange | Cause::Shutdown => 20,
    }
}

/// What the row says that has no field: words of the usage file. Flags stand last, for they are joined by the same sign.
fn extension(record: &Record, account: &Account) -> String {
    let words = AccountWords::of(account);
    let serial = words.list_serial.map(|serial| serial.to_string()).unwrap_or_default();
    format!(
        "epoch={};record_seq={};class={};reason={};list_id={};list_serial={serial};byte_basis={};disposition={};cause={};flags={}",
        record.epoch,
        record.seq,
        words.class,
        words.reason.unwrap_or(""),
        words.list_id.unwrap_or(""),
        record.byte_basis.label(),
        words.disposition.unwrap_or(""),
        record.cause.map_or("", Cause::label),
        record.flags,
    )
}

/// A number modulo 2³²: it begins again at 0 after the greatest.
pub(super) fn low_32(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

/// An address by its version.
fn address(address: IpAddr) -> IpAddress {
    match address {
        IpAddr::V4(address) => IpAddress::V4(octets(&address.octets())),
        IpAddr::V6(address) => IpAddress::V6(octets(&address.octets())),
    }
}

/// An instant as the profile's zone shows it.
fn local_time(at: Timestamp, profile: &Profile) -> OctetString {
    octets(&time_stamp(LocalTime::at(at, &profile.zone)))
}

/// Octets as the encoder takes them.
fn octets(octets: &[u8]) -> OctetString {
    OctetString::from_slice(octets)
}

/// A text in IA5; the few characters of an id that it does not have stand whole in the extension.
fn ia5(text: &str) -> Ia5String {
    let plain: String = text.chars().map(|char| if char.is_ascii() { char } else { NOT_IA5 }).collect();
    // Nothing is left that it does not have.
    Ia5String::from_iso646_bytes(plain.as_bytes()).unwrap_or_default()
}

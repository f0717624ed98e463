//! The part of TS 32.298 V16.11 that is written and read: `GPRSRecord.tDFRecord` with the fields that hold something here.
//!
//! The names are those of the specification's ASN.1. Its module has implicit tags; a CHOICE or an open type under a tag is
//! explicit all the same (X.680 §31.2.7). `SET OF` under an implicit tag is on the wire what `SEQUENCE OF` is. Pure.

use rasn::types::{BitString, Ia5String, ObjectIdentifier, OctetString, Utf8String};
use rasn::{AsnType, Decode, Decoder, Encode, Encoder};

/// The one choice that is written here; a record of another is refused.
#[derive(AsnType, Clone, Debug, Decode, Encode, PartialEq, Eq)]
#[rasn(choice)]
pub(super) enum GprsRecord {
    /// Of a traffic detection function.
    #[rasn(tag(92))]
    TdfRecord(TdfRecord),
}

/// `TDFRecord`. A field that is not here is refused when read.
#[derive(AsnType, Clone, Debug, Decode, Encode, PartialEq, Eq)]
#[rasn(set)]
pub(super) struct TdfRecord {
    /// [`RECORD_TYPE`].
    #[rasn(tag(0))]
    pub(super) record_type: u32,
    /// TBCD.
    #[rasn(tag(3))]
    pub(super) served_imsi: Option<OctetString>,
    /// Of the gateway of the core.
    #[rasn(tag(explicit(4)))]
    pub(super) p_gw_address: IpAddress,
    /// Of what serves the subscriber.
    #[rasn(tag(6))]
    pub(super) serving_node_address: Vec<IpAddress>,
    /// Local time.
    #[rasn(tag(13))]
    pub(super) record_opening_time: OctetString,
    /// Whole seconds.
    #[rasn(tag(14))]
    pub(super) duration: u64,
    /// Why it was closed.
    #[rasn(tag(15))]
    pub(super) cause_for_rec_closing: u32,
    /// Who wrote it: 1 to 20 characters.
    #[rasn(tag(18))]
    pub(super) node_id: Option<Ia5String>,
    /// What the row says besides.
    #[rasn(tag(19))]
    pub(super) record_extensions: Option<Vec<ManagementExtension>>,
    /// Rises by one with every record of a node.
    #[rasn(tag(20))]
    pub(super) local_sequence_number: Option<u32>,
    /// Nature of address, if so configured, and TBCD.
    #[rasn(tag(22))]
    pub(super) served_msisdn: Option<OctetString>,
    /// Two octets.
    #[rasn(tag(23))]
    pub(super) charging_characteristics: OctetString,
    /// The bytes.
    #[rasn(tag(34))]
    pub(super) list_of_service_data: Option<Vec<ChangeOfServiceCondition>>,
    /// One for each serving node.
    #[rasn(tag(35))]
    pub(super) serving_node_type: Vec<ServingNodeType>,
    /// Who is no number.
    #[rasn(tag(36))]
    pub(super) served_mnnai: Option<SubscriptionId>,
    /// The core's number for the session.
    #[rasn(tag(41))]
    pub(super) pdn_connection_charging_id: u32,
    /// Ours.
    #[rasn(tag(explicit(53)))]
    pub(super) tdf_address: IpAddress,
}

/// `recordType` of a `TDFRecord`.
pub(super) const RECORD_TYPE: u32 = 92;

/// `IPAddress`, with `IPBinaryAddress` in it: choices without a tag of their own.
#[derive(AsnType, Clone, Debug, Decode, Encode, PartialEq, Eq)]
#[rasn(choice)]
pub(super) enum IpAddress {
    /// `iPBinV4Address`: 4 octets.
    #[rasn(tag(0))]
    V4(OctetString),
    /// `iPBinV6Address`: 16 octets.
    #[rasn(tag(1))]
    V6(OctetString),
}

/// `ManagementExtension` (X.721): `significance` is FALSE by default.
#[derive(AsnType, Clone, Debug, Decode, Encode, PartialEq, Eq)]
pub(super) struct ManagementExtension {
    /// Which extension.
    pub(super) identifier: ObjectIdentifier,
    /// Whether a reader that does not know it must refuse the record.
    #[rasn(tag(1), default)]
    pub(super) significance: bool,
    /// Its value; of ours, a text.
    #[rasn(tag(explicit(2)))]
    pub(super) information: Utf8String,
}

/// `ServingNodeType`.
#[derive(AsnType, Clone, Copy, Debug, Decode, Encode, PartialEq, Eq)]
#[rasn(enumerated)]
pub(super) enum ServingNodeType {
    /// A serving gateway that speaks GTP.
    GtpSgw = 2,
}

/// `SubscriptionID`.
#[derive(AsnType, Clone, Debug, Decode, Encode, PartialEq, Eq)]
#[rasn(set)]
pub(super) struct SubscriptionId {
    /// Of which kind.
    #[rasn(tag(0))]
    pub(super) kind: SubscriptionIdType,
    /// The id.
    #[rasn(tag(1))]
    pub(super) data: Utf8String,
}

/// `SubscriptionIDType`.
#[derive(AsnType, Clone, Copy, Debug, Decode, Encode, PartialEq, Eq)]
#[rasn(enumerated)]
pub(super) enum SubscriptionIdType {
    /// Telephone number.
    EndUserE164 = 0,
    /// SIM identity.
    EndUserImsi = 1,
    /// Address of the session initiation protocol.
    EndUserSipUri = 2,
    /// Network access identifier.
    EndUserNai = 3,
    /// Of the operator's own.
    EndUserPrivate = 4,
}

/// `ChangeOfServiceCondition`.
#[derive(AsnType, Clone, Debug, Decode, Encode, PartialEq, Eq)]
pub(super) struct ChangeOfServiceCondition {
    /// The core's rating group.
    #[rasn(tag(1))]
    pub(super) rating_group: u32,
    /// Local time.
    #[rasn(tag(5))]
    pub(super) time_of_first_usage: Option<OctetString>,
    /// Local time.
    #[rasn(tag(6))]
    pub(super) time_of_last_usage: Option<OctetString>,
    /// Bit [`RECORD_CLOSURE`] and no other.
    #[rasn(tag(8))]
    pub(super) service_condition_change: BitString,
    /// Bytes from the subscriber.
    #[rasn(tag(12))]
    pub(super) datavolume_fbc_uplink: Option<u64>,
    /// Bytes to the subscriber.
    #[rasn(tag(13))]
    pub(super) datavolume_fbc_downlink: Option<u64>,
    /// Local time.
    #[rasn(tag(14))]
    pub(super) time_of_report: OctetString,
    /// The core's number for the service.
    #[rasn(tag(17))]
    pub(super) service_identifier: Option<u32>,
    /// Who pays.
    #[rasn(tag(25))]
    pub(super) sponsor_identity: Option<OctetString>,
    /// Which rules.
    #[rasn(tag(27))]
    pub(super) adc_rule_base_name: Option<Ia5String>,
}

/// Place of `recordClosure` in `ServiceConditionChange`.
pub(super) const RECORD_CLOSURE: usize = 24;

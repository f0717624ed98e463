//! What an accounting request says.
//!
//! An attribute that may stand once and stands twice counts the first time. A value of a wrong length for its type is
//! passed over, as if it were not there; so is an attribute nobody here knows.

use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};

use super::address::{AddressKind, Addresses, host, ipv6};
use super::attribute::{Name, Values, integer, number, string};
use super::authenticator::Request;
use super::block::{BLOCKS_MAX, Blocks, Column, NO_BLOCKS, PortBlock};
use super::bounded::Bounded;
use super::subscriber::vendor;

/// What an accounting request says.
#[derive(Clone)]
pub struct Facts<'a> {
    /// What happened.
    pub status: Status,
    /// Acct-Session-Id, 1 to 253 octets; unique within the NAS until it boots again.
    pub acct_session_id: Option<&'a [u8]>,
    /// Who says so.
    pub nas: Nas<'a>,
    /// Event-Timestamp, seconds since 1970 (UTC), by the clock of the NAS.
    pub event_timestamp_s: Option<u32>,
    /// Acct-Delay-Time: how long the NAS has been trying to tell.
    pub delay_s: Option<u32>,
    /// Acct-Session-Time: how long the session has been there.
    pub session_s: Option<u32>,
    /// The addresses of the session.
    pub addresses: Addresses,
    /// Acct-Input-Octets with their Gigawords; from the subscriber (RFC 2866 §5.3), though some NAS count otherwise.
    pub input_octets: Option<u64>,
    /// Acct-Output-Octets with their Gigawords.
    pub output_octets: Option<u64>,
    /// What a mobile network adds.
    pub mobile: Mobile<'a>,
    /// Class, as some server gave it to the NAS.
    pub class: Option<&'a [u8]>,
    /// User-Name.
    pub user_name: Option<&'a [u8]>,
    /// Calling-Station-Id.
    pub calling_station_id: Option<&'a [u8]>,
    /// Chargeable-User-Identity.
    pub chargeable_user_identity: Option<&'a [u8]>,
    /// Alc-Subsc-ID-Str (Nokia 6527-11).
    pub alc_subsc_id_str: Option<&'a [u8]>,
    /// Whether the packet tells of a translator, in words that were understood or not. Then its Framed-IP-Address is an
    /// inside address, which others may have too.
    pub is_translated: bool,
    /// Outside addresses and blocks of their ports.
    blocks: Bounded<PortBlock, BLOCKS_MAX>,
    /// Whether addresses or blocks found no room.
    is_over: bool,
    /// All values of the packet, for [`Facts::subscriber`].
    pub(super) values: Values<'a>,
}

/// Acct-Status-Type (RFC 2866 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// A session begins (1).
    Start,
    /// A session ends (2).
    Stop,
    /// A session goes on (3).
    Interim,
    /// The NAS begins to account (7).
    On,
    /// The NAS ends to account (8).
    Off,
    /// Something else; 0, which is assigned to nothing, where the packet does not say.
    Other(u32),
}

/// Attributes by which a NAS names itself, as far as they are present. An address of zeros names nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Nas<'a> {
    /// NAS-IP-Address.
    pub ip: Option<Ipv4Addr>,
    /// NAS-IPv6-Address.
    pub ipv6: Option<Ipv6Addr>,
    /// NAS-Identifier, 1 to 253 octets.
    pub identifier: Option<&'a [u8]>,
}

/// Attributes of 3GPP (vendor 10415, TS 29.061 §16.4.7).
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Mobile<'a> {
    /// 3GPP-IMSI, digits.
    pub imsi: Option<&'a [u8]>,
    /// 3GPP-Charging-Id: of one bearer, so that a session of accounting is one bearer too.
    pub charging_id: Option<u32>,
    /// 3GPP-SGSN-Address: the serving node.
    pub sgsn_address: Option<Ipv4Addr>,
    /// 3GPP-GGSN-Address: the packet gateway.
    pub ggsn_address: Option<Ipv4Addr>,
    /// 3GPP-Charging-Characteristics, four hexadecimal digits as text.
    pub charging_characteristics: Option<&'a [u8]>,
}

impl<'a> Facts<'a> {
    /// Reads what the request says.
    pub fn of(request: &Request<'a>) -> Self {
        let mut reading = Reading::new(request.packet().values());
        for (name, value) in request.packet().values() {
            match name {
                Name::Standard(kind) => reading.standard(kind, value),
                Name::Vendor { vendor, kind } => reading.vendor(vendor, kind, value),
                Name::Extended { kind, extended } => {
                    if (kind, extended) == IP_PORT_RANGE {
                        reading.blocks.take_ip_port_range(value);
                    }
                }
            }
        }
        reading.finish()
    }

    /// Outside addresses and blocks of their ports, each once, in their order within a form.
    pub fn blocks(&self) -> &[PortBlock] {
        &self.blocks
    }

    /// Whether the packet has more addresses of a kind or more blocks than are kept.
    pub const fn is_over(&self) -> bool {
        self.is_over
    }
}

impl fmt::Debug for Facts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Facts")
            .field("status", &self.status)
            .field("event_timestamp_s", &self.event_timestamp_s)
            .field("blocks", &self.blocks.len())
            .finish_non_exhaustive()
    }
}

impl From<u32> for Status {
    fn from(number: u32) -> Self {
        match number {
            1 => Self::Start,
            2 => Self::Stop,
            3 => Self::Interim,
            7 => Self::On,
            8 => Self::Off,
            other => Self::Other(other),
        }
    }
}

/// Type and extended type of IP-Port-Range (RFC 8045 §3.1.2).
const IP_PORT_RANGE: (u8, u8) = (number::EXTENDED_TYPE_1, 6);

/// Facts while the attributes are read.
struct Reading<'a> {
    /// What is known.
    facts: Facts<'a>,
    /// The status, if it was said.
    status: Option<u32>,
    /// Octets and Gigawords, input first.
    octets: [(Option<u32>, Option<u32>); 2],
    /// Blocks of ports.
    blocks: Blocks,
}

impl<'a> Reading<'a> {
    /// Nothing is known.
    fn new(values: Values<'a>) -> Self {
        let facts = Facts {
            status: Status::Other(0),
            acct_session_id: None,
            nas: Nas::default(),
            event_timestamp_s: None,
            delay_s: None,
            session_s: None,
            addresses: Addresses::none(),
            input_octets: None,
            output_octets: None,
            mobile: Mobile::default(),
            class: None,
            user_name: None,
            calling_station_id: None,
            chargeable_user_identity: None,
            alc_subsc_id_str: None,
            is_translated: false,
            blocks: NO_BLOCKS,
            is_over: false,
            values,
        };
        Self { facts, status: None, octets: [(None, None); 2], blocks: Blocks::NONE }
    }

    /// Takes an attribute.
    fn standard(&mut self, kind: u8, value: &'a [u8]) {
        let Self { facts, status, octets: [input, output], .. } = self;
        match kind {
            number::ACCT_STATUS_TYPE => first(status, integer(value)),
            number::ACCT_SESSION_ID => first(&mut facts.acct_session_id, string(value)),
            number::NAS_IP_ADDRESS => first(&mut facts.nas.ip, host(value)),
            number::NAS_IPV6_ADDRESS => first(&mut facts.nas.ipv6, ipv6(value)),
            number::NAS_IDENTIFIER => first(&mut facts.nas.identifier, string(value)),
            number::EVENT_TIMESTAMP => first(&mut facts.event_timestamp_s, integer(value)),
            number::ACCT_DELAY_TIME => first(&mut facts.delay_s, integer(value)),
            number::ACCT_SESSION_TIME => first(&mut facts.session_s, integer(value)),
            number::ACCT_INPUT_OCTETS => first(&mut input.0, integer(value)),
            number::ACCT_INPUT_GIGAWORDS => first(&mut input.1, integer(value)),
            number::ACCT_OUTPUT_OCTETS => first(&mut output.0, integer(value)),
            number::ACCT_OUTPUT_GIGAWORDS => first(&mut output.1, integer(value)),
            number::CLASS => first(&mut facts.class, string(value)),
            number::USER_NAME => first(&mut facts.user_name, string(value)),
            number::CALLING_STATION_ID => first(&mut facts.calling_station_id, string(value)),
            number::CHARGEABLE_USER_IDENTITY => first(&mut facts.chargeable_user_identity, string(value)),
            number::FRAMED_IP_ADDRESS => facts.addresses.take(AddressKind::FramedIp, value),
            number::FRAMED_IPV6_ADDRESS => facts.addresses.take(AddressKind::FramedIpv6, value),
            number::FRAMED_IPV6_PREFIX => facts.addresses.take(AddressKind::FramedIpv6Prefix, value),
            number::DELEGATED_IPV6_PREFIX => facts.addresses.take(AddressKind::DelegatedIpv6Prefix, value),
            number::FRAMED_ROUTE => facts.addresses.take(AddressKind::FramedRoute, value),
            number::FRAMED_IPV6_ROUTE => facts.addresses.take(AddressKind::FramedIpv6Route, value),
            _ => {}
        }
    }

    /// Takes a vendor's sub-attribute.
    fn vendor(&mut self, number: u32, kind: u8, value: &'a [u8]) {
        let Self { facts: Facts { mobile, addresses, alc_subsc_id_str, .. }, blocks, .. } = self;
        match (number, kind) {
            vendor::IMSI => first(&mut mobile.imsi, string(value)),
            (vendor::TGPP, 2) => first(&mut mobile.charging_id, integer(value)),
            (vendor::TGPP, 6) => first(&mut mobile.sgsn_address, host(value)),
            (vendor::TGPP, 7) => first(&mut mobile.ggsn_address, host(value)),
            (vendor::TGPP, 13) => first(&mut mobile.charging_characteristics, string(value)),
            vendor::ALC_SUBSC_ID_STR => first(alc_subsc_id_str, string(value)),
            (vendor::NOKIA, 99) => addresses.take(AddressKind::FramedIpv6, value),
            (vendor::NOKIA, 121) => blocks.take_nokia(value),
            (vendor::NOKIA, 141) | (vendor::VAS_EXPERTS, 21) => blocks.take_whole(value),
            (vendor::HUAWEI, 161) => blocks.take_huawei(Column::Address, value),
            (vendor::HUAWEI, 162) => blocks.take_huawei(Column::First, value),
            (vendor::HUAWEI, 163) => blocks.take_huawei(Column::Last, value),
            (vendor::HUAWEI, 165) => blocks.take_huawei(Column::Change, value),
            (vendor::H3C, 32) => blocks.take_h3c(Column::Address, value),
            (vendor::H3C, 33) => blocks.take_h3c(Column::First, value),
            (vendor::H3C, 34) => blocks.take_h3c(Column::Last, value),
            _ => {}
        }
    }

    /// What is known when all attributes are read.
    fn finish(self) -> Facts<'a> {
        let octets = |(octets, gigawords): (Option<u32>, Option<u32>)| {
            octets.map(|octets| u64::from(gigawords.unwrap_or(0)) << 32 | u64::from(octets))
        };
        let [input, output] = self.octets;
        let (blocks, is_over, is_translated) = self.blocks.finish();
        Facts {
            status: Status::from(self.status.unwrap_or(0)),
            input_octets: octets(input),
            output_octets: octets(output),
            is_translated,
            is_over: is_over || self.facts.addresses.is_over(),
            blocks,
            ..self.facts
        }
    }
}

/// Takes a value where none was taken.
fn first<T>(place: &mut Option<T>, value: Option<T>) {
    if place.is_none() {
        *place = value;
    }
}

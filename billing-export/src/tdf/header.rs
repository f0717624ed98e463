//! The header of a file and of each record in it (TS 32.297 §6.1). Pure.
//!
//! **Two lengths.** Of the octets after the routeing filter implementations make two things: most write a length of a private
//! extension, which is 0, before the two release extensions, and the header has 54 octets; some leave it out where there is no
//! such extension, and it has 52. A reader of one makes nothing of the other.

use std::net::{IpAddr, Ipv6Addr};

use jiff::civil;

use super::time::LocalTime;

/// Octets of a file header up to and with the length of the routeing filter.
pub(super) const FIXED_LEN: usize = 50;
/// The release identifier which says that an extension octet holds the release.
pub(super) const EXTENDED: u8 = 7;
/// The first release that stands in an extension octet.
pub(super) const FIRST_EXTENDED: u8 = 10;
/// `File length` of a file that is longer than the field can say.
pub const LENGTH_UNKNOWN: u32 = u32::MAX;
/// Octets of a record's header from Release 10 on.
pub(super) const CDR_HEADER_LEN: usize = 5;
/// Data record format: BER.
pub(super) const FORMAT_BER: u8 = 1;
/// TS number: 32.251.
pub(super) const TS_32_251: u8 = 7;
/// What stands before the 16 octets of a node address.
const ADDRESS_PREFIX: [u8; 4] = [0xff; 4];

/// Whether the length of a private extension stands in the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// It does: 54 octets.
    #[default]
    Octets54,
    /// It does not: 52 octets.
    Octets52,
}

impl Layout {
    /// Whether the length of a private extension stands in it.
    pub(super) fn has_extension_length(self) -> bool {
        self == Layout::Octets54
    }

    /// Octets of the header.
    pub fn length(self) -> u32 {
        match self {
            Layout::Octets54 => 54,
            Layout::Octets52 => 52,
        }
    }
}

/// Why a file was closed, as far as it is written here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closure {
    /// Normal.
    Normal,
    /// The time of the file was over.
    TimeLimit,
}

impl Closure {
    /// The octet.
    pub fn octet(self) -> u8 {
        match self {
            Closure::Normal => 0,
            Closure::TimeLimit => 2,
        }
    }
}

/// A release and its version, such as 16.11.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Release {
    /// From 10 on.
    pub release: u8,
    /// 0 to 31.
    pub version: u8,
}

impl Release {
    /// The octet with identifier and version.
    pub(super) fn octet(self) -> u8 {
        EXTENDED << 5 | self.version & 0x1f
    }

    /// The extension octet.
    pub(super) fn extension(self) -> u8 {
        self.release.saturating_sub(FIRST_EXTENDED)
    }
}

/// A time as a file header has it: without year and seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderTime {
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// West of UTC.
    pub negative: bool,
    /// Hours from UTC.
    pub offset_hours: u8,
    /// And minutes.
    pub offset_minutes: u8,
}

impl HeaderTime {
    /// What is left of a local time.
    pub(super) fn of(time: LocalTime) -> HeaderTime {
        let civil = time.civil();
        let (negative, offset_hours, offset_minutes) = time.offset_parts();
        HeaderTime {
            month: civil.month().unsigned_abs(),
            day: civil.day().unsigned_abs(),
            hour: civil.hour().unsigned_abs(),
            minute: civil.minute().unsigned_abs(),
            negative,
            offset_hours,
            offset_minutes,
        }
    }

    /// Month 4 bits, day 5, hour 5, minute 6, sign 1 (1 is +), hours 5, minutes 6.
    pub(super) fn octets(self) -> [u8; 4] {
        let parts = [
            (u32::from(self.month), 28),
            (u32::from(self.day), 23),
            (u32::from(self.hour), 18),
            (u32::from(self.minute), 12),
            (u32::from(!self.negative), 11),
            (u32::from(self.offset_hours), 6),
            (u32::from(self.offset_minutes), 0),
        ];
        parts.iter().fold(0_u32, |word, (part, place)| word | part << place).to_be_bytes()
    }

    /// The time of four octets; `None` where they are none.
    pub(super) fn of_octets(octets: [u8; 4]) -> Option<HeaderTime> {
        let word = u32::from_be_bytes(octets);
        let part = |place: u32, bits: u32| {
            let mask = (1_u32 << bits).saturating_sub(1);
            u8::try_from(word >> place & mask).unwrap_or(u8::MAX)
        };
        let time = HeaderTime {
            month: part(28, 4),
            day: part(23, 5),
            hour: part(18, 5),
            minute: part(12, 6),
            negative: part(11, 1) == 0,
            offset_hours: part(6, 5),
            offset_minutes: part(0, 6),
        };
        // A leap day is one, for no year says that it is none.
        let signed = |number: u8| i8::try_from(number).ok();
        civil::Date::new(2000, signed(time.month)?, signed(time.day)?).ok()?;
        let is_of_a_clock =
            time.hour < 24 && time.minute < 60 && time.offset_hours < 24 && time.offset_minutes < 60;
        is_of_a_clock.then_some(time)
    }
}

/// The header of a file, as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileHeader {
    /// Octets of the file, its header among them; [`LENGTH_UNKNOWN`] where the field cannot say.
    pub file_length: u32,
    /// Octets of the header.
    pub header_length: u32,
    /// The highest release of a record.
    pub high: Release,
    /// The lowest.
    pub low: Release,
    /// When the file was opened.
    pub opening: HeaderTime,
    /// When the last record was added.
    pub last_append: HeaderTime,
    /// Records.
    pub cdrs: u32,
    /// Rises by one with every file.
    pub sequence: u32,
    /// Why it was closed.
    pub closure: u8,
    /// Who wrote it.
    pub node_address: IpAddr,
    /// 0: no record is missing; 128: one at least is, and it is not known how many.
    pub lost: u8,
    /// What the records were picked by; none is picked here.
    pub routeing_filter: Vec<u8>,
    /// A private extension; none where the header has no length of one.
    pub private_extension: Option<Vec<u8>>,
}

impl FileHeader {
    /// The octets.
    pub(super) fn octets(&self) -> Vec<u8> {
        let mut octets = Vec::with_capacity(FIXED_LEN.saturating_add(4));
        octets.extend(self.file_length.to_be_bytes());
        octets.extend(self.header_length.to_be_bytes());
        octets.extend([self.high.octet(), self.low.octet()]);
        octets.extend(self.opening.octets());
        octets.extend(self.last_append.octets());
        octets.extend(self.cdrs.to_be_bytes());
        octets.extend(self.sequence.to_be_bytes());
        octets.push(self.closure);
        octets.extend(node_address(self.node_address));
        octets.push(self.lost);
        for part in [Some(&self.routeing_filter), self.private_extension.as_ref()].into_iter().flatten() {
            // Neither is written here but empty; one that was read had a length of 16 bits.
            octets.extend(u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
            octets.extend(part);
        }
        octets.extend([self.high.extension(), self.low.extension()]);
        octets
    }
}

/// A node address: four octets of ones, and an address of version 6, in which one of version 4 is mapped.
fn node_address(address: IpAddr) -> [u8; 20] {
    let mut octets = [0; 20];
    let address = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    for (place, octet) in octets.iter_mut().zip(ADDRESS_PREFIX.into_iter().chain(address.octets())) {
        *place = octet;
    }
    octets
}

/// The address of 20 octets. What stands before it says nothing to us.
pub(super) fn of_node_address(octets: [u8; 20]) -> IpAddr {
    let mut address = [0; 16];
    for (place, octet) in address.iter_mut().zip(octets.iter().skip(ADDRESS_PREFIX.len())) {
        *place = *octet;
    }
    Ipv6Addr::from(address).to_canonical()
}

/// The header of a record of this many octets.
pub(super) fn cdr_header(length: u16, release: Release) -> [u8; CDR_HEADER_LEN] {
    let [high, low] = length.to_be_bytes();
    [high, low, release.octet(), FORMAT_BER << 5 | TS_32_251, release.extension()]
}

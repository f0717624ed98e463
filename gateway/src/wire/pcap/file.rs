//! Capture files: pcap and pcapng, fed in pieces, packets out one at a time.
//!
//! Formats: draft-ietf-opsawg-pcap (micro- and nanosecond magic, both byte orders, and the modified records of
//! `0xa1b2cd34`) and draft-ietf-opsawg-pcapng (sections of either byte order, interfaces with their own link type,
//! snap length and time resolution; Enhanced, Simple and the obsolete Packet Block; every other block is skipped
//! without being held). Decompression is the caller's.
//!
//! `pcap-parser` does not do here: it must hold a block of any kind whole, gives `Incomplete` for a complete block whose
//! packet length overruns it (a reader of a stream then waits for ever), refuses binary time resolutions and the
//! big-endian modified magic, and does not know the Packet Block.

mod packet;

use self::packet::{enhanced_packet, low_half, obsolete_packet, simple_packet};
use super::array_at;

/// The longest record or packet block that is read: 256 KiB of packet (`MAXIMUM_SNAPLEN` of libpcap) and its options.
pub const RECORD_BYTES_MAX: usize = 512 * 1024;
/// The longest packet of a classic record: `MAXIMUM_SNAPLEN` of libpcap. More is a damaged length.
pub const PACKET_BYTES_MAX: u32 = 262_144;
/// Interfaces of one pcapng section; captures of all interfaces of a machine have some tens.
pub const INTERFACES_MAX: usize = 4_096;

/// Bytes of the header of a classic file.
const FILE_HEADER_BYTES: usize = 24;
/// Bytes in front of a classic record's packet.
const RECORD_HEADER_BYTES: usize = 16;
/// The same in the modified format: interface index, protocol, packet type and padding more.
const RECORD_HEADER_MODIFIED_BYTES: usize = 24;
/// Bytes of a pcapng block without its body: type, length, and length again.
const BLOCK_FRAME_BYTES: usize = 12;
/// pcapng Section Header Block.
const BLOCK_SECTION: u32 = 0x0a0d_0d0a;
/// pcapng Interface Description Block.
const BLOCK_INTERFACE: u32 = 1;
/// pcapng Packet Block, obsolete.
const BLOCK_PACKET: u32 = 2;
/// pcapng Simple Packet Block.
const BLOCK_SIMPLE: u32 = 3;
/// pcapng Enhanced Packet Block.
const BLOCK_ENHANCED: u32 = 6;
/// pcapng byte-order magic of a Section Header Block.
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
/// Option `if_tsresol`.
const OPTION_RESOLUTION: u16 = 9;
/// Option `if_tsoffset`.
const OPTION_OFFSET: u16 = 14;
/// Nanoseconds of a second.
const NANOS: u64 = 1_000_000_000;

/// A link type as the registry numbers it (`LINKTYPE_…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkType(pub u16);

/// One packet of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured<'a> {
    /// How the bytes start; `None` when the file names an interface that it never described.
    pub link: Option<LinkType>,
    /// What was captured, from the link header on.
    pub bytes: &'a [u8],
    /// How long the packet was on the wire, link header included; never less than what was captured.
    pub wire_bytes: usize,
    /// When, in nanoseconds since 1970; `None` in a Simple Packet Block.
    pub unix_nanos: Option<u64>,
}

/// What the decoder can say with the bytes it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// The next packet.
    Packet(Captured<'a>),
    /// The next packet needs more bytes of the file.
    NeedMore,
}

/// Why reading stops before the end of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// The file is in no format that is read here.
    #[error(
        "found {found:02x?} at the start, wanted a pcap or pcapng file (plain or gzip); convert it, for example with `editcap -F pcapng`"
    )]
    NotACapture {
        /// The first four bytes.
        found: [u8; 4],
    },
    /// A length or structure that cannot be right; what follows cannot be found.
    #[error("damaged at byte {at}: found {field} {found}, wanted {wanted}; what follows is not read")]
    Damaged {
        /// Offset of the record or block in the (decompressed) file.
        at: u64,
        /// Which field.
        field: &'static str,
        /// Its value.
        found: u64,
        /// What it may be.
        wanted: &'static str,
    },
    /// The file ends inside a header, record or block.
    #[error("cut short: ends at byte {at}, inside {inside}")]
    Truncated {
        /// Length of the (decompressed) file.
        at: u64,
        /// What it ends in.
        inside: &'static str,
    },
}

/// Byte order of a file or section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

impl Order {
    /// The 16-bit number at `offset`.
    fn u16_at(self, bytes: &[u8], offset: usize) -> Option<u16> {
        let raw = array_at(bytes, offset)?;
        Some(match self {
            Self::Little => u16::from_le_bytes(raw),
            Self::Big => u16::from_be_bytes(raw),
        })
    }

    /// The 32-bit number at `offset`.
    fn u32_at(self, bytes: &[u8], offset: usize) -> Option<u32> {
        let raw = array_at(bytes, offset)?;
        Some(match self {
            Self::Little => u32::from_le_bytes(raw),
            Self::Big => u32::from_be_bytes(raw),
        })
    }

    /// The signed 64-bit number at `offset`.
    fn i64_at(self, bytes: &[u8], offset: usize) -> Option<i64> {
        let raw = array_at(bytes, offset)?;
        Some(match self {
            Self::Little => i64::from_le_bytes(raw),
            Self::Big => i64::from_be_bytes(raw),
        })
    }
}

/// What a classic file's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Classic {
    /// Byte order of all headers.
    order: Order,
    /// The second time field counts nanoseconds, not microseconds.
    nanos: bool,
    /// Bytes in front of each packet.
    record_header_bytes: usize,
    /// Files before version 2.3 have the two lengths of a record swapped; 2.3 has them either way.
    version_minor: u16,
    /// One link type for all.
    link: LinkType,
}

/// An interface of a pcapng section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Interface {
    /// Link type of its packets.
    link: LinkType,
    /// Captured bytes of a packet at most; 0 is no limit. Simple Packet Blocks need it.
    snap_bytes: u32,
    /// Time units per second; `None` when they do not fit.
    units_per_second: Option<u64>,
    /// Seconds to add to each time.
    offset_seconds: i64,
}

/// Which format the file is in, as far as known.
#[derive(Debug)]
enum Format {
    /// Fewer bytes than tell.
    Unknown,
    /// pcap.
    Classic(Classic),
    /// pcapng: byte order and interfaces of the current section.
    Sections(Order, Vec<Interface>),
}

/// Decodes one capture file that is fed to it in pieces of any size.
///
/// Holds at most one unfinished record ([`RECORD_BYTES_MAX`]) beside what was fed last.
#[derive(Debug)]
pub struct Decoder {
    /// What the file is.
    format: Format,
    /// Bytes fed and not yet read.
    buffer: Vec<u8>,
    /// How many of them are read.
    read: usize,
    /// Offset in the file of `buffer[0]`.
    base: u64,
    /// Bytes of a block without interest that are still to come.
    skip: u64,
    /// The error after which nothing is read.
    broken: Option<FileError>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder at the first byte of a file.
    pub fn new() -> Self {
        Self { format: Format::Unknown, buffer: Vec::new(), read: 0, base: 0, skip: 0, broken: None }
    }

    /// Takes the next bytes of the file. Call [`Decoder::step`] until it wants more before feeding again.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.read);
        self.base = self.base.saturating_add(self.read as u64);
        self.read = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next packet of what was fed, or that more is needed.
    ///
    /// # Errors
    /// [`FileError::NotACapture`] and [`FileError::Damaged`]; the same again on each later call.
    pub fn step(&mut self) -> Result<Step<'_>, FileError> {
        loop {
            if let Some(error) = self.broken {
                return Err(error);
            }
            match self.advance() {
                Ok(Advance::Packet { link, offset, bytes, wire_bytes, unix_nanos }) => {
                    let bytes = self.buffer.get(offset..offset.saturating_add(bytes)).unwrap_or_default();
                    let wire_bytes = usize::try_from(wire_bytes).unwrap_or(usize::MAX).max(bytes.len());
                    return Ok(Step::Packet(Captured { link, bytes, wire_bytes, unix_nanos }));
                }
                Ok(Advance::Other) => {}
                Ok(Advance::NeedMore) => return Ok(Step::NeedMore),
                Err(error) => self.broken = Some(error),
            }
        }
    }

    /// Judges the end of the file: whether it came between two records.
    ///
    /// # Errors
    /// [`FileError::Truncated`] with what the file ends in, an empty file included; or the error found before.
    pub fn end(&self) -> Result<(), FileError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let left = self.buffer.len().saturating_sub(self.read);
        let at = self.base.saturating_add(self.buffer.len() as u64);
        match &self.format {
            Format::Unknown => Err(FileError::Truncated { at, inside: "the file header" }),
            Format::Classic(_) if left > 0 => Err(FileError::Truncated { at, inside: "a packet record" }),
            Format::Sections(..) if left > 0 || self.skip > 0 => {
                Err(FileError::Truncated { at, inside: "a block" })
            }
            Format::Classic(_) | Format::Sections(..) => Ok(()),
        }
    }

    /// Whether the file's format has been recognised.
    pub fn is_recognised(&self) -> bool {
        !matches!(self.format, Format::Unknown)
    }

    /// One header, record or block.
    fn advance(&mut self) -> Result<Advance, FileError> {
        if self.skip > 0 {
            let left = self.buffer.len().saturating_sub(self.read);
            let now = usize::try_from(self.skip).unwrap_or(usize::MAX).min(left);
            self.read = self.read.saturating_add(now);
            self.skip = self.skip.saturating_sub(now as u64);
            return Ok(if self.skip > 0 { Advance::NeedMore } else { Advance::Other });
        }
        let place = Place {
            bytes: self.buffer.get(self.read..).unwrap_or_default(),
            at: self.base.saturating_add(self.read as u64),
        };
        let (taken, advance) = match &mut self.format {
            Format::Unknown => {
                let Some((taken, format)) = place.format()? else { return Ok(Advance::NeedMore) };
                self.format = format;
                (taken, Advance::Other)
            }
            Format::Classic(classic) => match place.record(classic)? {
                Some(found) => found,
                None => return Ok(Advance::NeedMore),
            },
            Format::Sections(order, interfaces) => match place.block(order, interfaces)? {
                Some(Block::Whole(taken, advance)) => (taken, advance),
                Some(Block::Skip(length)) => {
                    self.skip = length;
                    (0, Advance::Other)
                }
                None => return Ok(Advance::NeedMore),
            },
        };
        let start = self.read;
        self.read = self.read.saturating_add(taken);
        Ok(advance.shifted(start))
    }
}

/// What one step over the buffer found.
#[derive(Clone, Copy, Debug)]
enum Advance {
    /// A packet: its place in the buffer and what the file says of it.
    Packet { link: Option<LinkType>, offset: usize, bytes: usize, wire_bytes: u32, unix_nanos: Option<u64> },
    /// Something else was read.
    Other,
    /// Nothing whole is left.
    NeedMore,
}

impl Advance {
    /// The same with a packet's offset counted from `start` bytes earlier.
    fn shifted(self, start: usize) -> Self {
        match self {
            Self::Packet { link, offset, bytes, wire_bytes, unix_nanos } => {
                Self::Packet { link, offset: offset.saturating_add(start), bytes, wire_bytes, unix_nanos }
            }
            Self::Other | Self::NeedMore => self,
        }
    }
}

/// A pcapng block.
enum Block {
    /// Read, so many bytes of it.
    Whole(usize, Advance),
    /// So many bytes without interest, not necessarily fed yet.
    Skip(u64),
}

/// The unread bytes and where in the file they stand.
struct Place<'a> {
    bytes: &'a [u8],
    at: u64,
}

impl Place<'_> {
    /// A [`FileError::Damaged`] at this place.
    fn damaged(&self, field: &'static str, found: u64, wanted: &'static str) -> FileError {
        FileError::Damaged { at: self.at, field, found, wanted }
    }

    /// The file's format and the bytes of its header; `None` when more bytes are needed.
    fn format(&self) -> Result<Option<(usize, Format)>, FileError> {
        let Some(magic) = array_at::<4>(self.bytes, 0) else { return Ok(None) };
        let (order, nanos, record_header_bytes) = match magic {
            [0xd4, 0xc3, 0xb2, 0xa1] => (Order::Little, false, RECORD_HEADER_BYTES),
            [0xa1, 0xb2, 0xc3, 0xd4] => (Order::Big, false, RECORD_HEADER_BYTES),
            [0x4d, 0x3c, 0xb2, 0xa1] => (Order::Little, true, RECORD_HEADER_BYTES),
            [0xa1, 0xb2, 0x3c, 0x4d] => (Order::Big, true, RECORD_HEADER_BYTES),
            [0x34, 0xcd, 0xb2, 0xa1] => (Order::Little, false, RECORD_HEADER_MODIFIED_BYTES),
            [0xa1, 0xb2, 0xcd, 0x34] => (Order::Big, false, RECORD_HEADER_MODIFIED_BYTES),
            [0x0a, 0x0d, 0x0d, 0x0a] => return Ok(Some((0, Format::Sections(Order::Little, Vec::new())))),
            found => return Err(FileError::NotACapture { found }),
        };
        if self.bytes.len() < FILE_HEADER_BYTES {
            return Ok(None);
        }
        let version_minor = order.u16_at(self.bytes, 6).unwrap_or_default();
        // The upper half of the field tells about frame check sequences.
        let link = LinkType(low_half(order.u32_at(self.bytes, 20).unwrap_or_default()));
        let classic = Classic { order, nanos, record_header_bytes, version_minor, link };
        Ok(Some((FILE_HEADER_BYTES, Format::Classic(classic))))
    }

    /// A record of a classic file.
    fn record(&self, classic: &Classic) -> Result<Option<(usize, Advance)>, FileError> {
        let number = |offset| classic.order.u32_at(self.bytes, offset).unwrap_or_default();
        if self.bytes.len() < classic.record_header_bytes {
            return Ok(None);
        }
        let (mut captured, mut wire_bytes) = (number(8), number(12));
        if classic.version_minor < 3 || (classic.version_minor == 3 && captured > wire_bytes) {
            (captured, wire_bytes) = (wire_bytes, captured);
        }
        if captured > PACKET_BYTES_MAX {
            return Err(self.damaged("captured length", captured.into(), "at most 262144"));
        }
        let bytes = captured as usize;
        let offset = classic.record_header_bytes;
        let total = offset.saturating_add(bytes);
        if self.bytes.len() < total {
            return Ok(None);
        }
        let unit = if classic.nanos { 1 } else { 1_000 };
        let nanos = u64::from(number(4)).saturating_mul(unit);
        let unix_nanos = Some(u64::from(number(0)).saturating_mul(NANOS).saturating_add(nanos));
        let link = Some(classic.link);
        Ok(Some((total, Advance::Packet { link, offset, bytes, wire_bytes, unix_nanos })))
    }

    /// A pcapng block; a Section Header Block changes byte order and empties the interfaces.
    fn block(&self, order: &mut Order, interfaces: &mut Vec<Interface>) -> Result<Option<Block>, FileError> {
        if self.bytes.len() < BLOCK_FRAME_BYTES {
            return Ok(None);
        }
        let mut section = false;
        if array_at(self.bytes, 0) == Some(BLOCK_SECTION.to_be_bytes()) {
            section = true;
            *order = match array_at::<4>(self.bytes, 8) {
                Some(magic) if magic == BYTE_ORDER_MAGIC.to_le_bytes() => Order::Little,
                Some(magic) if magic == BYTE_ORDER_MAGIC.to_be_bytes() => Order::Big,
                Some(magic) => {
                    let found = u32::from_be_bytes(magic).into();
                    return Err(self.damaged("byte-order magic", found, "0x1a2b3c4d in either order"));
                }
                None => return Ok(None),
            };
        }
        let kind = order.u32_at(self.bytes, 0).unwrap_or_default();
        let length = order.u32_at(self.bytes, 4).unwrap_or_default();
        if (length as usize) < BLOCK_FRAME_BYTES || !length.is_multiple_of(4) {
            return Err(self.damaged("block length", length.into(), "a multiple of 4, at least 12"));
        }
        let total = length as usize;
        let wanted =
            section || matches!(kind, BLOCK_INTERFACE | BLOCK_PACKET | BLOCK_SIMPLE | BLOCK_ENHANCED);
        // No network packet is so long; those of other buses may be, and a damaged length leads past the end.
        if !wanted || total > RECORD_BYTES_MAX {
            return Ok(Some(Block::Skip(length.into())));
        }
        let Some(body) = self.bytes.get(8..total.saturating_sub(4)) else { return Ok(None) };
        let Some(again) = order.u32_at(self.bytes, total.saturating_sub(4)) else { return Ok(None) };
        if again != length {
            return Err(self.damaged("second block length", again.into(), "the same as the first"));
        }
        let advance = match kind {
            BLOCK_INTERFACE => self.interface(*order, body, interfaces)?,
            BLOCK_PACKET => obsolete_packet(*order, body, interfaces),
            BLOCK_SIMPLE => simple_packet(*order, body, interfaces),
            BLOCK_ENHANCED => enhanced_packet(*order, body, interfaces),
            // Only a section header is left.
            _ => {
                interfaces.clear();
                Some(Advance::Other)
            }
        };
        let advance =
            advance.ok_or_else(|| self.damaged("block length", length.into(), "room for its fields"))?;
        // Offsets of packets count from the body.
        Ok(Some(Block::Whole(total, advance.shifted(8))))
    }

    /// An Interface Description Block.
    fn interface(
        &self,
        order: Order,
        body: &[u8],
        interfaces: &mut Vec<Interface>,
    ) -> Result<Option<Advance>, FileError> {
        let (Some(link), Some(snap_bytes)) = (order.u16_at(body, 0), order.u32_at(body, 4)) else {
            return Ok(None);
        };
        if interfaces.len() >= INTERFACES_MAX {
            let found = interfaces.len().saturating_add(1) as u64;
            return Err(self.damaged("interface number", found, "at most 4096 in a section"));
        }
        let mut interface = Interface {
            link: LinkType(link),
            snap_bytes,
            units_per_second: Some(1_000_000),
            offset_seconds: 0,
        };
        interface.options(order, body.get(8..).unwrap_or_default());
        interfaces.push(interface);
        Ok(Some(Advance::Other))
    }
}

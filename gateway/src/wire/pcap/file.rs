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

mod classic;
mod order;
mod packet;
mod place;
mod sections;

use self::classic::Classic;
use self::order::Order;
use self::place::{Advance, Unread};
use self::sections::{Block, Interface};

/// The longest record or packet block that is read: 256 KiB of packet (`MAXIMUM_SNAPLEN` of libpcap) and its options.
pub const RECORD_BYTES_MAX: usize = 512 * 1024;
/// The longest packet of a classic record: `MAXIMUM_SNAPLEN` of libpcap. More is a damaged length.
pub const PACKET_BYTES_MAX: u32 = 262_144;
/// Interfaces of one pcapng section; captures of all interfaces of a machine have some tens.
pub const INTERFACES_MAX: usize = 4_096;

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
        let place = Unread {
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

//! A file of charging records read: record by record, each bounded by its header, every fault with its offset. Pure.

use std::io::Read;

use super::asn1::GprsRecord;
use super::cdr::{TdfCdr, hex};
use super::error::ReadError;
use super::header::{
    EXTENDED, FIRST_EXTENDED, FIXED_LEN, FORMAT_BER, FileHeader, HeaderTime, LENGTH_UNKNOWN, Release,
    TS_32_251, of_node_address,
};

/// Reads a file of charging records. Memory is that of one record, at most 64 KiB, however long the file is; a length that
/// the file claims is never taken for one that it has.
#[derive(Debug)]
pub struct Reader<R> {
    /// The file.
    source: Source<R>,
    /// Its header.
    header: FileHeader,
    /// Records read.
    cdrs: u64,
    /// Nothing more is read.
    is_over: bool,
}

/// The file, with the place in it.
#[derive(Debug)]
struct Source<R> {
    /// The file.
    inner: R,
    /// Octets read.
    offset: u64,
}

impl<R: Read> Source<R> {
    /// The next octets, as many as `buffer` has; fewer at the end of the file.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, ReadError> {
        let mut filled = 0_usize;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.inner.read(rest) {
                Ok(0) => break,
                Ok(read) => filled = filled.saturating_add(read),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.offset = self.offset.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX));
        Ok(filled)
    }

    /// Fills `buffer` with a part of the file.
    fn exact(&mut self, what: &'static str, buffer: &mut [u8]) -> Result<(), ReadError> {
        let offset = self.offset;
        let filled = self.fill(buffer)?;
        if filled == buffer.len() {
            return Ok(());
        }
        let found = format!("the end of the file after {filled} octets");
        Err(ReadError::at(offset, what, found, format!("{} octets", buffer.len())))
    }

    /// A part of so many octets.
    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], ReadError> {
        let mut octets = [0; N];
        self.exact(what, &mut octets)?;
        Ok(octets)
    }

    /// A part of a length of 16 bits.
    fn part(&mut self, what: &'static str, length: u16) -> Result<Vec<u8>, ReadError> {
        let mut octets = vec![0; usize::from(length)];
        self.exact(what, &mut octets)?;
        Ok(octets)
    }

    /// A number of 32 bits.
    fn word(&mut self, what: &'static str) -> Result<u32, ReadError> {
        Ok(u32::from_be_bytes(self.array(what)?))
    }

    /// A number of 16 bits.
    fn half(&mut self, what: &'static str) -> Result<u16, ReadError> {
        Ok(u16::from_be_bytes(self.array(what)?))
    }

    /// An octet.
    fn octet(&mut self, what: &'static str) -> Result<u8, ReadError> {
        let [octet] = self.array(what)?;
        Ok(octet)
    }

    /// A time of a file header.
    fn time(&mut self, what: &'static str) -> Result<HeaderTime, ReadError> {
        let offset = self.offset;
        let octets = self.array(what)?;
        HeaderTime::of_octets(octets).ok_or_else(|| {
            ReadError::at(offset, what, hex(&octets), "month, day, hour, minute and offset of a local time")
        })
    }

    /// The header of a file.
    fn header(&mut self) -> Result<FileHeader, ReadError> {
        let file_length = self.word("file length")?;
        let header_length = self.word("file header length")?;
        let [high, low] = self.array("release and version")?;
        let opening = self.time("file opening time")?;
        let last_append = self.time("time of the last CDR")?;
        let cdrs = self.word("number of CDRs")?;
        let sequence = self.word("file sequence number")?;
        let closure = self.octet("file closure reason")?;
        let node_address = of_node_address(self.array("node address")?);
        let lost = self.octet("lost CDR indicator")?;
        let filter_length = self.half("length of the routeing filter")?;
        let routeing_filter = self.part("routeing filter", filter_length)?;
        let extensions =
            u64::from(identifier(high) == EXTENDED).saturating_add(u64::from(identifier(low) == EXTENDED));
        let before = u64::try_from(FIXED_LEN).unwrap_or(0).saturating_add(filter_length.into());
        let private_extension = match u64::from(header_length).checked_sub(before.saturating_add(extensions))
        {
            Some(0) => None,
            Some(_) => {
                let length = self.half("length of the private extension")?;
                Some(self.part("private extension", length)?)
            }
            None => return Err(wrong_header_length(header_length, before.saturating_add(extensions))),
        };
        let high = self.release(high, "release extension")?;
        let low = self.release(low, "release extension")?;
        if self.offset != u64::from(header_length) {
            return Err(wrong_header_length(header_length, self.offset));
        }
        Ok(FileHeader {
            file_length,
            header_length,
            high,
            low,
            opening,
            last_append,
            cdrs,
            sequence,
            closure,
            node_address,
            lost,
            routeing_filter,
            private_extension,
        })
    }

    /// The release of an octet, with the extension octet that follows here where the release is in it.
    fn release(&mut self, octet: u8, what: &'static str) -> Result<Release, ReadError> {
        let version = octet & 0x1f;
        let release = match identifier(octet) {
            // Release 99, and 4 to 9.
            0 => 99,
            EXTENDED => self.octet(what)?.saturating_add(FIRST_EXTENDED),
            other => other.saturating_add(3),
        };
        Ok(Release { release, version })
    }

    /// The next record; none at the end of the file.
    fn cdr(&mut self) -> Result<Option<TdfCdr>, ReadError> {
        let start = self.offset;
        let mut length = [0; 2];
        match self.fill(&mut length)? {
            0 => return Ok(None),
            2 => {}
            filled => {
                let found = format!("the end of the file after {filled} octets");
                return Err(ReadError::at(start, "CDR length", found, "2 octets"));
            }
        }
        let [version, format] = self.array("CDR header")?;
        let release = self.release(version, "release extension of a CDR")?;
        if (format >> 5, format & 0x1f) != (FORMAT_BER, TS_32_251) {
            let found = format!("format {} of TS number {}", format >> 5, format & 0x1f);
            return Err(ReadError::at(start, "CDR header", found, "BER (1) of TS 32.251 (7)"));
        }
        let offset = self.offset;
        let octets = self.part("CDR", u16::from_be_bytes(length))?;
        let (GprsRecord::TdfRecord(record), rest) =
            rasn::ber::decode_with_remainder(&octets).map_err(|error| {
                let text = error.to_string();
                let first = text.lines().next().unwrap_or_default().chars().take(200).collect::<String>();
                ReadError::at(
                    offset,
                    "CDR",
                    first,
                    "a GPRSRecord.tDFRecord in BER, with the fields that are written here",
                )
            })?;
        if !rest.is_empty() {
            let found = format!("{} octets after the record", rest.len());
            return Err(ReadError::at(offset, "CDR", found, "a record as long as its header says"));
        }
        let release = format!("{}.{}", release.release, release.version);
        TdfCdr::of(record, start, release)
            .map(Some)
            .map_err(|(field, found, wanted)| ReadError::at(offset, field, found, wanted))
    }
}

/// The release identifier of an octet.
fn identifier(octet: u8) -> u8 {
    octet >> 5
}

/// The error for a header length that is not that of the header.
fn wrong_header_length(found: u32, wanted: u64) -> ReadError {
    ReadError::at(
        4,
        "file header length",
        found,
        format!("{wanted}, or with a private extension's length 2 more, as the header is"),
    )
}

impl<R: Read> Reader<R> {
    /// Reads the header of a file.
    ///
    /// # Errors
    /// The system's; what is no header, with the offset.
    pub fn new(inner: R) -> Result<Reader<R>, ReadError> {
        let mut source = Source { inner, offset: 0 };
        let header = source.header()?;
        Ok(Reader { source, header, cdrs: 0, is_over: false })
    }

    /// The header.
    pub fn header(&self) -> &FileHeader {
        &self.header
    }

    /// The next record; none at the end, when the file is as long and has as many records as its header says.
    ///
    /// # Errors
    /// The system's; what is no record, with the offset. Nothing is read after an error.
    pub fn read(&mut self) -> Result<Option<TdfCdr>, ReadError> {
        if self.is_over {
            return Ok(None);
        }
        self.is_over = true;
        let Some(cdr) = self.source.cdr()? else {
            let (offset, header) = (self.source.offset, &self.header);
            if header.file_length != LENGTH_UNKNOWN && u64::from(header.file_length) != offset {
                return Err(ReadError::at(
                    0,
                    "file length",
                    header.file_length,
                    format!("{offset}, as the file has"),
                ));
            }
            if u64::from(header.cdrs) != self.cdrs {
                return Err(ReadError::at(
                    18,
                    "number of CDRs",
                    header.cdrs,
                    format!("{}, as the file has", self.cdrs),
                ));
            }
            return Ok(None);
        };
        self.cdrs = self.cdrs.saturating_add(1);
        self.is_over = false;
        Ok(Some(cdr))
    }
}

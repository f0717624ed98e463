//! Reads one capture: decompresses it, feeds it to the decoder, and prints its flows.
//!
//! Works on any input; opening files and telling the messages is the command's.

use std::io::{self, BufRead, Read, Write};

use flate2::bufread::MultiGzDecoder;

use super::answers::Answers;
use super::flows::{FLOWS_MAX, HELD_BYTES_MAX, Tracker};
use super::report::{Judge, Printer};
use crate::wire::pcap::file::{Decoder, FileError, LinkType, Step};
use crate::wire::pcap::link::NoDatagram;

/// Bytes read from a file at a time.
pub(super) const CHUNK_BYTES: usize = 256 * 1024;
/// First bytes of a gzip member (RFC 1952 §2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Link types that are named in messages; more are counted together.
const UNREAD_LINKS_MAX: usize = 8;

/// What is to be told about a capture that has been read.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What was passed over, or cut short: the flows printed are those that could be read.
    pub warnings: Vec<String>,
    /// Why it could not be read at all, or not to its end for a fault of the input.
    pub error: Option<String>,
}

/// Why reading stopped.
#[derive(Debug, thiserror::Error)]
enum Stop {
    /// The operating system refused.
    #[error("cannot be read: {0}; check the path and its permissions")]
    Read(io::Error),
    /// The compressed data breaks off or is damaged.
    #[error("compressed data ends early or is damaged: {0}; what was read before it is shown")]
    Compressed(io::Error),
    /// The format is broken or unknown.
    #[error("{0}")]
    File(#[from] FileError),
    /// The lines could not be printed.
    #[error("{0}")]
    Print(#[from] io::Error),
}

/// Reads a capture, plain or gzip, and prints its flows under `name`.
///
/// # Errors
/// Those of printing only; what is wrong with the input stands in the outcome.
pub fn read_capture<W: Write>(
    name: &str,
    input: impl BufRead,
    judge: &Judge,
    printer: &mut Printer<W>,
) -> io::Result<Outcome> {
    let mut reading = Reading::new(name, judge, printer);
    let stop = read_input(input, &mut reading).err();
    let recognised = reading.decoder.is_recognised();
    let mut outcome = Outcome { warnings: reading.finish()?, error: None };
    match stop {
        None => {}
        Some(Stop::Print(error)) => return Err(error),
        Some(stop @ Stop::File(FileError::Damaged { .. } | FileError::Truncated { .. })) => {
            outcome.warnings.push(stop.to_string());
        }
        Some(stop @ Stop::Compressed(_)) if recognised => outcome.warnings.push(stop.to_string()),
        Some(stop) => outcome.error = Some(stop.to_string()),
    }
    Ok(outcome)
}

/// Feeds the input to the decoder, decompressed if it says so in its first bytes.
fn read_input<W: Write>(mut input: impl BufRead, reading: &mut Reading<'_, W>) -> Result<(), Stop> {
    if input.fill_buf().map_err(Stop::Read)?.starts_with(&GZIP_MAGIC) {
        read_all(MultiGzDecoder::new(input), reading, |error| match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                Stop::Compressed(error)
            }
            _ => Stop::Read(error),
        })
    } else {
        read_all(input, reading, Stop::Read)
    }
}

/// Feeds all of `input` to the decoder, piece by piece.
fn read_all<W: Write>(
    mut input: impl Read,
    reading: &mut Reading<'_, W>,
    fault: impl Fn(io::Error) -> Stop,
) -> Result<(), Stop> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let length = match input.read(&mut chunk) {
            Ok(0) => return Ok(reading.decoder.end()?),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(fault(error)),
        };
        reading.decoder.feed(chunk.get(..length).unwrap_or_default());
        reading.packets()?;
    }
}

/// Packets that were passed over because their link type is not read.
#[derive(Default)]
struct Unread {
    /// By link type; `None` for interfaces that the file does not describe.
    counts: Vec<(Option<LinkType>, u64)>,
    /// Of further link types.
    others: u64,
}

impl Unread {
    /// Counts a packet.
    fn add(&mut self, link: Option<LinkType>) {
        let room = self.counts.len() < UNREAD_LINKS_MAX;
        if let Some((_, count)) = self.counts.iter_mut().find(|(known, _)| *known == link) {
            *count = count.saturating_add(1);
        } else if room {
            self.counts.push((link, 1));
        } else {
            self.others = self.others.saturating_add(1);
        }
    }

    /// What to tell about them.
    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for (link, count) in &self.counts {
            warnings.push(match link {
                Some(LinkType(number)) => format!(
                    "{count} packets of link type {number} not read; wanted Ethernet, raw IP, Linux cooked, PPP or loopback"
                ),
                None => format!("{count} packets of an interface that the file does not describe, not read"),
            });
        }
        if self.others > 0 {
            warnings.push(format!("{} packets of further link types not read", self.others));
        }
        warnings
    }
}

/// One capture while it is read.
struct Reading<'a, W: Write> {
    name: &'a str,
    judge: &'a Judge,
    printer: &'a mut Printer<W>,
    decoder: Decoder,
    flows: Tracker<'a>,
    unread: Unread,
    /// Flows that were given out before the end for want of room.
    early: u64,
}

impl<'a, W: Write> Reading<'a, W> {
    /// Nothing read yet.
    fn new(name: &'a str, judge: &'a Judge, printer: &'a mut Printer<W>) -> Self {
        let flows = Tracker::new(FLOWS_MAX, HELD_BYTES_MAX);
        let flows = if judge.names_only { flows } else { flows.learning(Answers::new(judge)) };
        Self { name, judge, printer, decoder: Decoder::new(), flows, unread: Unread::default(), early: 0 }
    }

    /// Takes the packets that the decoder has.
    fn packets(&mut self) -> Result<(), Stop> {
        loop {
            let packet = match self.decoder.step()? {
                Step::NeedMore => return Ok(()),
                Step::Packet(packet) => packet,
            };
            match self.flows.packet(&packet) {
                Ok(None) | Err(NoDatagram::NotIp) => {}
                Ok(Some(oldest)) => {
                    self.early = self.early.saturating_add(1);
                    let line = self.judge.line(self.name, &oldest);
                    self.printer.line(&line)?;
                }
                Err(NoDatagram::UnknownLink) => self.unread.add(packet.link),
            }
        }
    }

    /// Prints the flows that are left; gives the warnings about what was not read.
    fn finish(mut self) -> io::Result<Vec<String>> {
        while let Some(flow) = self.flows.pop() {
            let line = self.judge.line(self.name, &flow);
            self.printer.line(&line)?;
        }
        let mut warnings = self.unread.warnings();
        if self.early > 0 {
            warnings.push(format!(
                "more than {FLOWS_MAX} flows: the oldest {} were printed before the end, and packets they had later are flows of their own; split the capture, for example with `editcap -i 3600`",
                self.early
            ));
        }
        Ok(warnings)
    }
}

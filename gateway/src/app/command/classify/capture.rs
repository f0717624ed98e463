//! Reads one capture: decompresses it, feeds it to the decoder, and prints its flows.
//!
//! Works on any input; opening files and telling the messages is the command's.

use std::io::{self, BufRead, Read, Write};

use flate2::bufread::MultiGzDecoder;

use super::answers::Answers;
use super::report::{Judge, Printer};
use crate::flow::packets::tracker::{FLOWS_MAX, HELD_BYTES_MAX, Tracker};
use crate::wire::pcap::file::{Decoder, FileError, LinkType, Step};
use crate::wire::pcap::layers::PassedOver;
use crate::wire::pcap::link::NoDatagram;

/// Bytes read from a file at a time.
pub(super) const CHUNK_BYTES: usize = 256 * 1024;
/// First bytes of a gzip member (RFC 1952 §2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Link types, and kinds of packets, that are named in messages; more are counted together.
const UNREAD_KINDS_MAX: usize = 8;
/// First bytes of compressed files that are not read, and what turns them into captures.
const COMPRESSED: [(&[u8], &str); 4] = [
    (&[0x28, 0xb5, 0x2f, 0xfd], "zstd -dc"),
    (&[0xfd, b'7', b'z', b'X', b'Z', 0x00], "xz -dc"),
    (b"BZh", "bzip2 -dc"),
    (&[0x04, 0x22, 0x4d, 0x18], "lz4 -dc"),
];

/// What is to be told about a capture that has been read.
#[derive(Debug, Default)]
pub struct CaptureRead {
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
    /// Compressed in a way that is not read.
    #[error("compressed in a way that is not read here; `{0} FILE | gateway classify -` reads it")]
    Packed(&'static str),
    /// The format is broken or unknown.
    #[error("{0}")]
    File(#[from] FileError),
    /// The lines could not be printed.
    #[error("{0}")]
    Print(#[from] io::Error),
}

/// When flows are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// In the order of their first packets, once the capture has been read.
    ByFirstPacket,
    /// As they end, for a capture that is still being made.
    AsTheyEnd,
}

/// Reads a capture, plain or gzip, and prints its flows under `name`.
///
/// # Errors
/// Those of printing only; what is wrong with the input stands in the outcome.
pub fn read_capture<W: Write>(
    name: &str,
    input: impl BufRead,
    order: Order,
    judge: &Judge,
    printer: &mut Printer<W>,
) -> io::Result<CaptureRead> {
    let mut reading = Reading::new(name, order, judge, printer);
    let stop = read_input(input, &mut reading).err();
    let recognised = reading.decoder.is_recognised();
    let mut outcome = CaptureRead { warnings: reading.finish()?, error: None };
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
    let first = input.fill_buf().map_err(Stop::Read)?;
    if let Some((_, tool)) = COMPRESSED.iter().find(|(magic, _)| first.starts_with(magic)) {
        return Err(Stop::Packed(tool));
    }
    if first.starts_with(&GZIP_MAGIC) {
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
        reading.give_ended()?;
    }
}

/// How many packets were passed over, by kind.
struct Tally<K> {
    counts: Vec<(K, u64)>,
    /// Of further kinds.
    others: u64,
}

impl<K: Copy + PartialEq> Tally<K> {
    /// None.
    const fn new() -> Self {
        Self { counts: Vec::new(), others: 0 }
    }

    /// Counts a packet.
    fn add(&mut self, kind: K) {
        let room = self.counts.len() < UNREAD_KINDS_MAX;
        if let Some((_, count)) = self.counts.iter_mut().find(|(known, _)| *known == kind) {
            *count = count.saturating_add(1);
        } else if room {
            self.counts.push((kind, 1));
        } else {
            self.others = self.others.saturating_add(1);
        }
    }
}

/// What to tell of link types that are not read; none for interfaces that the file does not describe.
fn unread_links(links: &Tally<Option<LinkType>>) -> Vec<String> {
    let mut warnings = Vec::new();
    for (link, count) in &links.counts {
        warnings.push(match link {
            Some(LinkType(number)) => format!(
                "{count} packets of link type {number} not read; wanted Ethernet, raw IP, Linux cooked, PPP or loopback"
            ),
            None => format!("{count} packets of an interface that the file does not describe, not read"),
        });
    }
    if links.others > 0 {
        warnings.push(format!("{} packets of further link types not read", links.others));
    }
    warnings
}

/// One line on the packets that belong to no flow, most frequent kind first; none when there are none.
fn passed_over(mut packets: Tally<PassedOver>) -> Option<String> {
    packets.counts.sort_by_key(|(_, count)| core::cmp::Reverse(*count));
    let all = packets.counts.iter().fold(packets.others, |sum, (_, count)| sum.saturating_add(*count));
    let mut kinds: Vec<String> =
        packets.counts.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    if packets.others > 0 {
        kinds.push(format!("others {}", packets.others));
    }
    let what = if all == 1 { "packet" } else { "packets" };
    (all > 0).then(|| format!("{all} {what} neither TCP nor UDP: {}", kinds.join(", ")))
}

/// One capture while it is read.
struct Reading<'a, W: Write> {
    name: &'a str,
    judge: &'a Judge,
    printer: &'a mut Printer<W>,
    decoder: Decoder,
    flows: Tracker<Option<Answers<'a>>>,
    order: Order,
    unread: Tally<Option<LinkType>>,
    passed: Tally<PassedOver>,
    /// Capture time of the newest packet.
    newest: u64,
    /// Second of capture time at which flows were last asked whether they are over.
    asked: u64,
    /// Flows that were given out before the end for want of room.
    early: u64,
}

impl<'a, W: Write> Reading<'a, W> {
    /// Nothing read yet.
    fn new(name: &'a str, order: Order, judge: &'a Judge, printer: &'a mut Printer<W>) -> Self {
        let answers = (!judge.names_only).then(|| Answers::new(judge));
        let flows = Tracker::new(FLOWS_MAX, HELD_BYTES_MAX, answers);
        Self {
            name,
            judge,
            printer,
            decoder: Decoder::new(),
            flows,
            order,
            unread: Tally::new(),
            passed: Tally::new(),
            newest: 0,
            asked: 0,
            early: 0,
        }
    }

    /// Takes the packets that the decoder has.
    fn packets(&mut self) -> Result<(), Stop> {
        loop {
            let packet = match self.decoder.step()? {
                Step::NeedMore => return Ok(()),
                Step::Packet(packet) => packet,
            };
            self.newest = self.newest.max(packet.unix_nanos.unwrap_or(0));
            match self.flows.packet(&packet) {
                Ok(None) => {}
                Err(NoDatagram::NotIp(what)) => self.passed.add(what),
                Ok(Some(oldest)) => {
                    self.early = self.early.saturating_add(1);
                    let line = self.judge.line(self.name, &oldest);
                    self.printer.line(&line)?;
                }
                Err(NoDatagram::UnknownLink) => self.unread.add(packet.link),
            }
        }
    }

    /// Prints the flows that are over, at most once in a second of capture time, when somebody reads along.
    fn give_ended(&mut self) -> Result<(), Stop> {
        let second = self.newest / 1_000_000_000;
        if self.order == Order::ByFirstPacket || second == self.asked {
            return Ok(());
        }
        self.asked = second;
        let ended = self.flows.take_ended(self.newest);
        for flow in &ended {
            self.printer.line(&self.judge.line(self.name, flow))?;
        }
        if !ended.is_empty() {
            self.printer.flush()?;
        }
        Ok(())
    }

    /// Prints the flows that are left; gives the warnings about what was not read.
    fn finish(mut self) -> io::Result<Vec<String>> {
        while let Some(flow) = self.flows.pop() {
            let line = self.judge.line(self.name, &flow);
            self.printer.line(&line)?;
        }
        let mut warnings = unread_links(&self.unread);
        if self.early > 0 {
            warnings.push(format!(
                "more than {FLOWS_MAX} flows: the oldest {} were printed before the end, and packets they had later are flows of their own; split the capture, for example with `editcap -i 3600`",
                self.early
            ));
        }
        warnings.extend(passed_over(self.passed));
        Ok(warnings)
    }
}

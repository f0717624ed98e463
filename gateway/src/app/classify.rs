//! `gateway classify`: what the gateway would have made of each flow of a capture.
//!
//! Opens files, prints lines and messages; which packet belongs to which flow is [`flows`], the decision is that of the
//! daemon ([`crate::flow::decide`]). A capture is read as a stream: memory grows with its flows, not with its length.

mod flows;
mod report;

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use allowlist::{Document, KZ_EDUCATION_2020, Matcher};
use flate2::bufread::MultiGzDecoder;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;

use self::flows::{FLOWS_MAX, HELD_BYTES_MAX, Tracker};
use self::report::{Judge, Printer};
use crate::wire::pcap::file::{Decoder, FileError, LinkType, Step};
use crate::wire::pcap::link::NoDatagram;

pub use self::report::Format;

/// Exit code for input and output errors (`EX_IOERR`).
const EXIT_IO: u8 = 74;
/// Exit code for faults of the list (`EX_CONFIG`).
const EXIT_CONFIG: u8 = 78;
/// Bytes read from a file at a time.
const CHUNK_BYTES: usize = 256 * 1024;
/// First bytes of a gzip member (RFC 1952 §2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Captures that are shorter in all need no progress bar.
const PROGRESS_BYTES_MIN: u64 = 32 * 1024 * 1024;
/// Link types that are named in messages; more are counted together.
const UNREAD_LINKS_MAX: usize = 8;

/// Shown below the options.
const EXAMPLES: &str = "\
Examples:
  gateway classify capture.pcapng
  gateway classify --names-only --format jsonl monday.pcap.gz tuesday.pcap.gz
  gateway classify --list list.toml --at 2020-05-01T00:00:00+06:00 --format csv capture.pcap

Exit codes: 0 done (also when a capture is cut short or has packets that are not read: see the warnings),
2 wrong use, 74 a capture cannot be read, 78 the list has problems.";

/// Says of each TCP and UDP flow in a capture whether it would be free, and why.
///
/// Reads pcap and pcapng, plain or gzip. Captures show no answers of a trusted resolver here: a listed name is
/// `address_mismatch` unless --names-only takes every address as vouched for.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// List document to judge by; without it the memorandum list of 2020 that is shipped
    #[arg(long, value_name = "FILE")]
    pub list: Option<PathBuf>,
    /// Take every address as vouched for: show what the names alone would give
    #[arg(long)]
    pub names_only: bool,
    /// Compare the dates of list and rules with this time (RFC 3339); without it every date counts as met
    #[arg(long, value_name = "TIME")]
    pub at: Option<Timestamp>,
    /// How to print the flows
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Captures to read, in this order
    #[arg(value_name = "CAPTURE", required = true)]
    pub captures: Vec<PathBuf>,
}

/// Why a capture could not be read to its end.
#[derive(Debug, thiserror::Error)]
enum CaptureError {
    /// The operating system refused.
    #[error("cannot be read: {0}; check the path and its permissions")]
    Read(io::Error),
    /// The compressed data breaks off or is damaged.
    #[error("compressed data ends early or is damaged: {0}; what was read before it is shown")]
    Compressed(io::Error),
    /// The format is broken or unknown.
    #[error("{0}")]
    File(FileError),
    /// The lines could not be printed.
    #[error("cannot print: {0}")]
    Print(io::Error),
}

/// Runs the command: lines on standard output, messages on standard error.
pub fn run(args: Args) -> ExitCode {
    let list = match load_list(args.list.as_deref()) {
        Ok(list) => list,
        Err(code) => return code,
    };
    let judge = Judge { list, names_only: args.names_only, at: args.at };
    let progress = progress_bar(&args.captures);
    let out = BufWriter::with_capacity(CHUNK_BYTES, io::stdout().lock());
    let outcome = Printer::new(out, args.format).map_err(CaptureError::Print).and_then(|mut printer| {
        let mut all_read = true;
        for path in &args.captures {
            all_read &= classify_file(path, &judge, &mut printer, &progress)?;
        }
        printer.finish().map_err(CaptureError::Print)?;
        Ok(all_read)
    });
    progress.finish_and_clear();
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_IO),
        Err(error) => {
            // Who reads no further (`| head`) knows.
            let quiet =
                matches!(&error, CaptureError::Print(cause) if cause.kind() == io::ErrorKind::BrokenPipe);
            if !quiet {
                eprintln!("classify: {error}");
            }
            ExitCode::from(EXIT_IO)
        }
    }
}

/// The list to judge by, or the exit code after its problems have been told.
fn load_list(path: Option<&Path>) -> Result<Matcher, ExitCode> {
    let (name, text) = match path {
        None => ("kz-education-2020.toml".to_owned(), KZ_EDUCATION_2020.to_owned()),
        Some(path) => match std::fs::read_to_string(path) {
            Ok(text) => (path.display().to_string(), text),
            Err(error) => {
                eprintln!("{}: cannot be read: {error}; give the path of a list document", path.display());
                return Err(ExitCode::from(EXIT_IO));
            }
        },
    };
    match Document::parse(&text) {
        Ok(document) => Ok(Matcher::new(&document)),
        Err(problems) => {
            for problem in &problems {
                eprintln!("{name}:{problem}");
            }
            Err(ExitCode::from(EXIT_CONFIG))
        }
    }
}

/// A bar over the bytes of all captures; hidden when they are few or nobody watches.
fn progress_bar(captures: &[PathBuf]) -> ProgressBar {
    let bytes = captures.iter().filter_map(|path| path.metadata().ok()).map(|found| found.len());
    let total = bytes.fold(0_u64, u64::saturating_add);
    if total < PROGRESS_BYTES_MIN || !io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {eta} {msg}") {
        bar.set_style(style);
    }
    bar
}

/// Prints the flows of one capture; `false` when it could not be read at all.
fn classify_file<W: Write>(
    path: &Path,
    judge: &Judge,
    printer: &mut Printer<W>,
    progress: &ProgressBar,
) -> Result<bool, CaptureError> {
    let name = path.display().to_string();
    progress.set_message(name.clone());
    let mut reading = Reading::new(&name, judge, printer);
    let outcome = read_file(path, progress, &mut reading);
    let recognised = reading.decoder.is_recognised();
    let unread = reading.finish()?;
    for message in unread {
        progress.suspend(|| eprintln!("{name}: warning: {message}"));
    }
    match outcome {
        Ok(()) => Ok(true),
        Err(error @ CaptureError::Print(_)) => Err(error),
        Err(error) => {
            let part = match &error {
                CaptureError::Read(_) | CaptureError::Print(_) => false,
                CaptureError::Compressed(_) => recognised,
                CaptureError::File(FileError::NotACapture { .. }) => false,
                CaptureError::File(FileError::Damaged { .. } | FileError::Truncated { .. }) => true,
            };
            let kind = if part { "warning: " } else { "" };
            progress.suspend(|| eprintln!("{name}: {kind}{error}"));
            Ok(part)
        }
    }
}

/// Reads a file to its end, decompressing it if it says so in its first bytes.
fn read_file<W: Write>(
    path: &Path,
    progress: &ProgressBar,
    reading: &mut Reading<'_, W>,
) -> Result<(), CaptureError> {
    let file = File::open(path).map_err(CaptureError::Read)?;
    let mut file = BufReader::with_capacity(CHUNK_BYTES, progress.wrap_read(file));
    let compressed = file.fill_buf().map_err(CaptureError::Read)?.starts_with(&GZIP_MAGIC);
    if compressed {
        read_all(MultiGzDecoder::new(file), reading, |error| {
            let damaged = matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput
            );
            if damaged { CaptureError::Compressed(error) } else { CaptureError::Read(error) }
        })
    } else {
        read_all(file, reading, CaptureError::Read)
    }
}

/// Feeds all of `input` to the decoder, piece by piece.
fn read_all<W: Write>(
    mut input: impl Read,
    reading: &mut Reading<'_, W>,
    fault: impl Fn(io::Error) -> CaptureError,
) -> Result<(), CaptureError> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let length = match input.read(&mut chunk) {
            Ok(0) => return reading.decoder.end().map_err(CaptureError::File),
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
    flows: Tracker,
    unread: Unread,
    /// Flows that were given out before the end for want of room.
    early: u64,
}

impl<'a, W: Write> Reading<'a, W> {
    /// Nothing read yet.
    fn new(name: &'a str, judge: &'a Judge, printer: &'a mut Printer<W>) -> Self {
        Self {
            name,
            judge,
            printer,
            decoder: Decoder::new(),
            flows: Tracker::new(FLOWS_MAX, HELD_BYTES_MAX),
            unread: Unread::default(),
            early: 0,
        }
    }

    /// Takes the packets that the decoder has.
    fn packets(&mut self) -> Result<(), CaptureError> {
        loop {
            let packet = match self.decoder.step().map_err(CaptureError::File)? {
                Step::NeedMore => return Ok(()),
                Step::Packet(packet) => packet,
            };
            match self.flows.packet(&packet) {
                Ok(None) | Err(NoDatagram::NotIp) => {}
                Ok(Some(oldest)) => {
                    self.early = self.early.saturating_add(1);
                    let line = self.judge.line(self.name, &oldest);
                    self.printer.line(&line).map_err(CaptureError::Print)?;
                }
                Err(NoDatagram::UnknownLink) => self.unread.add(packet.link),
            }
        }
    }

    /// Prints the flows that are left; gives the warnings about what was not read.
    fn finish(mut self) -> Result<Vec<String>, CaptureError> {
        while let Some(flow) = self.flows.pop() {
            let line = self.judge.line(self.name, &flow);
            self.printer.line(&line).map_err(CaptureError::Print)?;
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

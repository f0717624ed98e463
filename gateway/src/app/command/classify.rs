//! `gateway classify`: what the gateway would have made of each flow of a capture.
//!
//! Opens files, prints lines and messages; which packet belongs to which flow is [`crate::flow::packets`], the decision is that of the
//! daemon ([`crate::flow::decide`]). A capture is read as a stream: memory grows with its flows, not with its length.

mod answers;
mod capture;
mod report;

use std::fs::File;
use std::io::{self, BufReader, BufWriter, IsTerminal, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use allowlist::{Document, KZ_EDUCATION_2020, Matcher};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;

use self::capture::CHUNK_BYTES;
pub use self::capture::{CaptureRead, Order, read_capture};
pub use self::report::{Format, Judge, Printer};
use crate::app::node::input::InputFault;
use crate::app::node::lists::read_by_itself;
use crate::app::{EXIT_CONFIG, EXIT_IO};

/// Captures that are shorter in all need no progress bar.
const PROGRESS_BYTES_MIN: u64 = 32 * 1024 * 1024;
/// The path that means standard input.
const STANDARD_INPUT: &str = "-";
/// Shown below the options.
const EXAMPLES: &str = "\
Examples:
  gateway classify capture.pcapng
  gateway classify --resolver 10.0.0.53 --resolver 2001:db8::53 capture.pcapng
  gateway classify --names-only --format jsonl monday.pcap.gz tuesday.pcap.gz
  gateway classify --list list.toml --at 2020-05-01T00:00:00+06:00 --format csv capture.pcap
  tcpdump -U -i eth0 -w - | gateway classify --format jsonl -    # a line for each flow as it ends
  zstd -dc capture.pcap.zst | gateway classify -

Exit codes: 0 done (also when a capture is cut short or has packets that are not read: see the warnings),
2 wrong use, 74 a capture cannot be read, 78 the list has problems.";

/// Says of each TCP and UDP flow in a capture whether it would be free, and why.
///
/// Reads pcap and pcapng, plain or gzip; of packets in tunnels (GTP-U, GRE, L2TP, PPPoE, VXLAN …) the inner ones. A listed name is exempt where an answer in the same capture, in front of it,
/// gave the server's address for it; else it is `address_mismatch`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// List document to judge by; without it the memorandum list of 2020 that is shipped
    #[arg(long, value_name = "FILE")]
    pub list: Option<PathBuf>,
    /// Trust answers of this resolver only; may be repeated. Without it: of any server on port 53
    #[arg(long = "resolver", value_name = "IP")]
    pub resolvers: Vec<IpAddr>,
    /// Learn answers in private address space too: for captures made in a laboratory
    #[arg(long)]
    pub allow_private: bool,
    /// Take every address as vouched for: show what the names alone would give
    #[arg(long)]
    pub names_only: bool,
    /// Compare the dates of list and rules with this time (RFC 3339); without it every date counts as met
    #[arg(long, value_name = "TIME")]
    pub at: Option<Timestamp>,
    /// How to print the flows
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Captures to read, in this order; `-` is standard input, whose flows are printed as they end
    #[arg(value_name = "CAPTURE", required = true)]
    pub captures: Vec<PathBuf>,
}

/// Runs the command: lines on standard output, messages on standard error.
pub fn run(args: Args) -> ExitCode {
    let list = match load_list(args.list.as_deref()) {
        Ok(list) => list,
        Err(code) => return code,
    };
    let judge = Judge {
        list,
        names_only: args.names_only,
        at: args.at,
        resolvers: args.resolvers,
        allow_private: args.allow_private,
    };
    let progress = progress_bar(&args.captures);
    let out = BufWriter::with_capacity(CHUNK_BYTES, io::stdout().lock());
    let outcome = Printer::new(out, args.format).and_then(|mut printer| {
        let mut all_read = true;
        for path in &args.captures {
            all_read &= classify_file(path, &judge, &mut printer, &progress)?;
        }
        progress.finish_and_clear();
        printer.finish()?;
        Ok(all_read)
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_IO),
        Err(error) => {
            // Who reads no further (`| head`) knows.
            if error.kind() != io::ErrorKind::BrokenPipe {
                eprintln!("standard output: cannot print: {error}; check where it leads and its free space");
            }
            ExitCode::from(EXIT_IO)
        }
    }
}

/// The list to judge by, or the exit code after its problems have been told; errors of one that can be read are told.
fn load_list(path: Option<&Path>) -> Result<Matcher, ExitCode> {
    let read = match path {
        Some(path) => read_by_itself(path).map(|list| {
            list.notes.iter().for_each(|note| eprintln!("warning: {note}"));
            list.document
        }),
        None => Document::parse(KZ_EDUCATION_2020).map_err(|problems| {
            let lines = problems.iter().map(|problem| format!("kz-education-2020.toml:{problem}")).collect();
            InputFault { lines, unreadable: false }
        }),
    };
    read.map(|document| Matcher::new(&document)).map_err(|fault| {
        fault.lines.iter().for_each(|line| eprintln!("{line}"));
        ExitCode::from(if fault.unreadable { EXIT_IO } else { EXIT_CONFIG })
    })
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

/// Prints the flows of one capture and tells what is wrong with it; `false` when it could not be read.
///
/// # Errors
/// Those of printing.
fn classify_file<W: Write>(
    path: &Path,
    judge: &Judge,
    printer: &mut Printer<W>,
    progress: &ProgressBar,
) -> io::Result<bool> {
    let name = path.display().to_string();
    progress.set_message(name.clone());
    let outcome = match File::open(path) {
        _ if path == Path::new(STANDARD_INPUT) => {
            let input = BufReader::with_capacity(CHUNK_BYTES, io::stdin().lock());
            read_capture(&name, input, Order::AsTheyEnd, judge, printer)?
        }
        Ok(file) => {
            let input = BufReader::with_capacity(CHUNK_BYTES, progress.wrap_read(file));
            read_capture(&name, input, Order::ByFirstPacket, judge, printer)?
        }
        Err(error) => {
            let error = Some(format!("cannot be opened: {error}; check the path and its permissions"));
            CaptureRead { warnings: Vec::new(), error }
        }
    };
    progress.suspend(|| {
        for warning in &outcome.warnings {
            eprintln!("{name}: warning: {warning}");
        }
        if let Some(error) = &outcome.error {
            eprintln!("{name}: {error}");
        }
    });
    Ok(outcome.error.is_none())
}

//! `billing-export adjust`.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use billing_export::correction::{Adjusted, Amount, Correction, Refusal};
use billing_export::record::{Change, Reference};
use billing_export::{Adjusting, Request, Timestamp, adjust};
use clap::{ArgGroup, Args};
use serde::Serialize;

use super::Failure;

/// How long a running gateway has for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// How long it has where it took the request up, and did not answer by then.
const TAKEN_LIMIT: Duration = Duration::from_secs(20);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// What to correct.
#[derive(Debug, Args)]
#[group(skip)]
#[command(group = ArgGroup::new("amount").required(true).args(["up", "void"]), after_help = "\
A sealed record is never changed: a record of kind adjust that names it carries the difference, in the node's own sequence. A
running gateway makes it within 10 seconds; where none runs, this command does. Printed is the correction as JSON. Exit code 1,
and nothing is written, where there is no such usage or adjust record, or where less than 0 bytes would be left of it.

Examples:
  billing-export adjust --state /var/lib/gateway --epoch 1 --seq 42 --up -1200 --down 0 --note 'counted twice, ticket 77'
  billing-export adjust --state /var/lib/gateway --epoch 1 --seq 42 --void --note 'test traffic of our own'")]
pub(crate) struct Arguments {
    /// State directory of the node
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// Epoch of the record to correct
    #[arg(long, value_name = "E")]
    epoch: u32,
    /// Number of the record to correct
    #[arg(long, value_name = "S")]
    seq: u64,
    /// Bytes upward to add, with a sign
    #[arg(
        long,
        value_name = "N",
        allow_hyphen_values = true,
        requires = "down",
        value_parser = change
    )]
    up: Option<Change>,
    /// Bytes downward to add, with a sign
    #[arg(
        long,
        value_name = "N",
        allow_hyphen_values = true,
        requires = "up",
        value_parser = change
    )]
    down: Option<Change>,
    /// The record never should have been: take away what is left of it
    #[arg(long)]
    void: bool,
    /// Why; it stays in the state
    #[arg(long, value_name = "TEXT")]
    note: String,
}

/// A correction as it is printed.
#[derive(Serialize)]
struct Printed<'a> {
    node_id: &'a str,
    epoch: u32,
    record_seq: String,
    ref_epoch: u32,
    ref_seq: String,
    up_bytes: String,
    down_bytes: String,
}

/// Bytes with a sign.
fn change(text: &str) -> Result<Change, String> {
    let bytes = text.parse::<i128>().ok().and_then(Change::new);
    bytes.ok_or_else(|| {
        format!("found {text:?}, wanted a whole number of bytes with a sign, as -1200 or +1200")
    })
}

/// Makes the correction, or has it made, and prints it.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let amount = match (arguments.void, arguments.up, arguments.down) {
        (false, Some(up), Some(down)) => Amount::By(up, down),
        _ => Amount::Void,
    };
    let reference = Reference { epoch: arguments.epoch, seq: arguments.seq };
    let correction = Correction::new(reference, amount, &arguments.note)
        .map_err(|refusal| Failure::usage(refusal.to_string()))?;
    let request = random().map_err(|error| Failure::usage(format!("drawing a random number: {error}")))?;
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
    let boot_id = boot_id.map(|id| id.trim().to_owned());
    let made = match adjust(&arguments.state, &correction, request, Timestamp::now(), boot_id)? {
        Adjusting::Here(made) => made.map_err(|refusal| refused(&refusal)),
        Adjusting::Asked(request) => wait(&request),
    }?;
    print(&made).map_err(|error| Failure::writing(&error))?;
    Ok(ExitCode::SUCCESS)
}

/// Waits for a running gateway.
fn wait(request: &Request) -> Result<Adjusted, Failure> {
    let begun = Instant::now();
    let mut taken = false;
    loop {
        match request.outcome()? {
            Some(Ok(adjusted)) => return Ok(adjusted),
            Some(Err(refusal)) => return Err(Failure::no(refusal)),
            None => {}
        }
        if !taken && begun.elapsed() > ANSWER_LIMIT {
            if request.withdraw()? {
                return Err(Failure::waiting(
                    "found no answer of the running gateway within 10 seconds, wanted the correction; nothing was written. \
                     Look at its log, or ask again when it has stopped"
                        .into(),
                ));
            }
            taken = true;
        }
        if begun.elapsed() > TAKEN_LIMIT {
            return Err(Failure::waiting(
                "the running gateway has taken the request up and has not answered: look into table adjust of the ledger \
                 before you ask again"
                    .into(),
            ));
        }
        std::thread::sleep(LOOK);
    }
}

/// The failure of a refused correction.
fn refused(refusal: &Refusal) -> Failure {
    Failure::no(refusal.to_string())
}

/// Prints a correction.
fn print(made: &Adjusted) -> io::Result<()> {
    let printed = Printed {
        node_id: made.node_id.as_str(),
        epoch: made.epoch,
        record_seq: made.seq.to_string(),
        ref_epoch: made.reference.epoch,
        ref_seq: made.reference.seq.to_string(),
        up_bytes: made.up.bytes().to_string(),
        down_bytes: made.down.bytes().to_string(),
    };
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, &printed)?;
    out.write_all(b"\n")
}

/// A random value.
fn random() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    let drawn = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    if drawn == bytes.len() { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

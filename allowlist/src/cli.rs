//! What the subcommands share: reading the list, writing the answer, exit codes.

pub(crate) mod lint;
pub(crate) mod show;

use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;

use allowlist::{LIST_BYTES_MAX, LIST_ENTRIES_MAX, Limits, Problem};
use clap::ValueEnum;

/// Input or output failed (sysexits `EX_IOERR`).
const EXIT_INPUT_OUTPUT: u8 = 74;

/// The list cannot be read as a list (sysexits `EX_CONFIG`).
const EXIT_CONFIGURATION: u8 = 78;

/// How data is printed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Plain,
    /// For programs
    Json,
}

/// How a subcommand ended when it could do its work.
pub(crate) enum Answer {
    /// Done, or yes.
    Yes,
    /// No.
    No,
}

/// Why a subcommand could not do its work.
pub(crate) enum Failure {
    /// A file could not be read, or the output not written.
    InputOutput(String),
    /// The list is no list.
    List(String),
}

/// Turns the outcome into messages and an exit code.
pub(crate) fn exit(outcome: Result<Answer, Failure>) -> ExitCode {
    let (message, code) = match outcome {
        Ok(Answer::Yes) => return ExitCode::SUCCESS,
        Ok(Answer::No) => return ExitCode::FAILURE,
        Err(Failure::InputOutput(message)) => (message, EXIT_INPUT_OUTPUT),
        Err(Failure::List(message)) => (message, EXIT_CONFIGURATION),
    };
    // Nobody is left to tell when standard error is closed too.
    let _ = writeln!(std::io::stderr(), "{message}");
    ExitCode::from(code)
}

/// The list argument and its limits.
#[derive(clap::Args)]
pub(crate) struct ListArguments {
    /// The list document; `-` reads standard input
    #[arg(value_name = "LIST")]
    list: std::path::PathBuf,
    /// Largest list text in bytes
    #[arg(long, value_name = "BYTES", default_value_t = LIST_BYTES_MAX)]
    bytes_max: usize,
}

impl ListArguments {
    /// The list's name in messages.
    pub(crate) fn shown(&self) -> String {
        if self.is_standard_input() { "standard input".to_owned() } else { self.list.display().to_string() }
    }

    /// The limits to read it with.
    pub(crate) fn limits(&self) -> Limits {
        Limits { bytes_max: self.bytes_max, entries_max: LIST_ENTRIES_MAX }
    }

    /// Reads the list's text; never more than one byte over the limit.
    pub(crate) fn read(&self) -> Result<String, Failure> {
        let failed = |error: std::io::Error| {
            Failure::InputOutput(format!(
                "{}: cannot be read: {error}; check the path and its permissions",
                self.shown()
            ))
        };
        let bytes = if self.is_standard_input() {
            read_bounded(std::io::stdin().lock(), self.bytes_max).map_err(failed)?
        } else {
            read_bounded(std::fs::File::open(Path::new(&self.list)).map_err(failed)?, self.bytes_max)
                .map_err(failed)?
        };
        String::from_utf8(bytes).map_err(|error| {
            let good = error.utf8_error().valid_up_to();
            let before = error.as_bytes().get(..good).unwrap_or(&[]);
            let line = before.iter().filter(|byte| **byte == b'\n').count().saturating_add(1);
            let in_line = before.rsplit(|byte| *byte == b'\n').next().unwrap_or(&[]);
            let column = String::from_utf8_lossy(in_line).chars().count().saturating_add(1);
            Failure::List(format!(
                "{}:{line}:{column}: found a byte that is not UTF-8, wanted UTF-8 text; save the file as UTF-8",
                self.shown()
            ))
        })
    }

    /// Whether the list comes from standard input.
    fn is_standard_input(&self) -> bool {
        self.list.as_os_str() == "-"
    }
}

/// Reads all, or one byte more than the limit, which the reader of the list then refuses.
fn read_bounded(source: impl Read, bytes_max: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    source.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes data to standard output.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut output = std::io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        // `allowlist show LIST | head` is no failure.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::InputOutput(format!("standard output: cannot be written: {error}"))),
        Ok(()) => Ok(()),
    }
}

/// Every problem of a list, one a line, each with the file's name.
pub(crate) fn problems(list: &str, problems: &[Problem]) -> Failure {
    let mut lines: Vec<String> = problems.iter().map(|problem| format!("{list}:{problem}")).collect();
    if matches!(problems, [one] if one.is_of_no_list()) {
        lines.push(how_to_begin());
    }
    Failure::List(lines.join("\n"))
}

/// What makes a list of what is none: the command that does, as soon as this tool has it.
pub(crate) fn how_to_begin() -> String {
    let makes_one = <crate::Arguments as clap::CommandFactory>::command().find_subcommand("import").is_some();
    if makes_one {
        "`allowlist import FILE --out LIST` makes a list of pasted addresses, of text, and of spreadsheets"
            .to_owned()
    } else {
        "to make a list: copy one, such as allowlist/lists/kz-education-2020.toml, write each host as a [[service.rule]], and ask `allowlist lint LIST` again".to_owned()
    }
}

/// A value as indented JSON with a final line end.
pub(crate) fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::InputOutput(format!("the answer cannot be written as JSON: {error}")))?;
    text.push('\n');
    Ok(text)
}

//! The `allowlist` command: the ministry's tool.
//!
//! Exit codes: 0 done, 1 the answer is no (findings of weight error), 2 wrong use, 74 input or output failed, 78 the list
//! cannot be read as a list. Data goes to standard output, messages to standard error.

mod cli;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Checks and shows the list of names and addresses whose traffic is not charged.
#[derive(Parser)]
#[command(name = "allowlist", version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// One subcommand per file of `cli/`.
#[derive(Subcommand)]
enum Command {
    /// Find what is wrong with a list, and say what to do
    Lint(cli::lint::Arguments),
    /// Show a list in words, as JSON, or in canonical form
    Show(cli::show::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Lint(arguments) => cli::lint::run(&arguments),
        Command::Show(arguments) => cli::show::run(&arguments),
    };
    cli::exit(outcome)
}

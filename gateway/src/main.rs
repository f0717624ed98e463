//! The `gateway` command.

use std::process::ExitCode;

use clap::Parser;

/// Command line of the gateway.
#[derive(clap::Parser)]
#[command(name = "gateway", version, about)]
enum Command {
    /// Says of each flow in a capture whether it would be free, and why
    Classify(gateway::app::classify::Args),
}

/// Runs the command that was asked for.
fn main() -> ExitCode {
    match Command::parse() {
        Command::Classify(args) => gateway::app::classify::run(args),
    }
}

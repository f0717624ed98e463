//! The `gateway` command: a table of contents. Exit codes: 0 done, 1 the answer is no, 2 wrong use, 74 input or output,
//! 78 configuration or list.

use std::process::ExitCode;

use clap::Parser;
use gateway::app::command::{check, classify, explain, nft, session};
#[cfg(feature = "lab")]
use gateway::app::lab::{conformance, demo};
use gateway::app::node::start;

/// Shown below the commands.
fn examples() -> String {
    let demo = if cfg!(feature = "lab") { "\n  gateway demo" } else { "" };
    format!(
        "Examples:{demo}
  gateway check --config gateway.toml && gateway run --config gateway.toml
  gateway classify --names-only capture.pcap
  gateway explain bilimland.kz --list list.toml

Each command has its own --help."
    )
}

/// Zero-rating network gateway: study sites without data charges, with records that can be trusted
#[derive(Parser)]
#[command(name = "gateway", version, after_help = examples())]
enum Command {
    /// Run the daemon
    Run(start::Args),
    /// Say everything that is wrong with configuration, list and subscribers
    Check(check::Args),
    /// Show the whole at work on this machine: sites, subscribers, a forger, records, their verification
    #[cfg(feature = "lab")]
    Demo(demo::Args),
    /// Say of each flow in a capture whether it would be free, and why
    Classify(classify::Args),
    /// Show, apply or remove the kernel's rules for transparent listeners
    Nft(nft::Args),
    /// Say whether a name would be free, and why
    Explain(explain::Args),
    /// Say who has an address, by the gateway that runs
    Session(session::Args),
    /// Audit zero-rating in network namespaces as a regulator would: who is exempt, and who must not be (root)
    #[cfg(feature = "lab")]
    Conformance(conformance::Args),
}

/// Runs the command that was asked for.
fn main() -> ExitCode {
    match Command::parse() {
        Command::Run(args) => start::run(&args),
        Command::Check(args) => check::run(&args),
        #[cfg(feature = "lab")]
        Command::Demo(args) => demo::run(&args),
        Command::Classify(args) => classify::run(args),
        Command::Nft(args) => nft::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Session(args) => session::run(&args),
        #[cfg(feature = "lab")]
        Command::Conformance(args) => conformance::run(&args),
    }
}

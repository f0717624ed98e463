//! `gateway nft`: the rules that lead flows to transparent listeners, printed, put in force, taken back.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::app::node::reload::load;
use crate::app::node::start::edge::plan;
use crate::app::{EXIT_CONFIG, EXIT_IO, EXIT_USAGE};
use crate::net::edge::nft::Plan;

/// Shown below the options.
const EXAMPLES: &str = "\
Examples:
  gateway nft print --config gateway.toml
  gateway nft apply --config gateway.toml && gateway run --config gateway.toml
  gateway nft remove --config gateway.toml

`apply` leads nothing anywhere by itself: flows reach the gateway only while it runs and renews the set `alive`.
Forwarding (net.ipv4.ip_forward, net.ipv6.conf.all.forwarding) is the machine's own affair and must be on.
Exit codes: 0 done, 2 no transparent listener in the configuration, 74 nft or ip said no, 78 the configuration has problems.";

/// The kernel's rules for transparent listeners.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    action: Action,
}

/// What to do with the rules.
#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Show them: a script for `sh` that does what apply does
    Print(Target),
    /// Put them in force, replacing those of an earlier time (root)
    Apply(Target),
    /// Take them back without a trace (root)
    Remove(Target),
}

/// Whose rules.
#[derive(Debug, clap::Args)]
struct Target {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    let (Action::Print(target) | Action::Apply(target) | Action::Remove(target)) = &args.action;
    let config = match load(&target.config) {
        Ok(config) => config,
        Err(fault) => {
            fault.lines.iter().for_each(|line| eprintln!("{line}"));
            return ExitCode::from(if fault.unreadable { EXIT_IO } else { EXIT_CONFIG });
        }
    };
    let plan = plan(&config);
    if plan.taps.is_empty() && !matches!(args.action, Action::Remove(_)) {
        eprintln!(
            "{}: no listener of mode \"transparent\": found none, wanted at least one to lead flows to",
            target.config.display()
        );
        return ExitCode::from(EXIT_USAGE);
    }
    let outcome = match &args.action {
        Action::Print(_) => {
            print!("{}", script(&plan, &target.config));
            Ok(())
        }
        Action::Apply(_) => plan.apply(),
        Action::Remove(_) => plan.remove(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", target.config.display());
            ExitCode::from(EXIT_IO)
        }
    }
}

/// What apply does, for `sh`.
fn script(plan: &Plan, config: &Path) -> String {
    let mut text = format!("#!/bin/sh\n# gateway nft print --config {}\nset -e\n", config.display());
    for command in plan.unrouting() {
        text += &format!("{command} 2>/dev/null || true\n");
    }
    for command in plan.routing() {
        text += &format!("{command}\n");
    }
    text + "nft -f - <<'RULES'\n" + &plan.ruleset() + "RULES\n"
}

//! `gateway nft`: what the kernel holds for transparent listeners, printed, put in force, taken back: rules that lead flows to
//! them, or with interception "kernel" the programs that count and mark.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::app::node::reload::load;
use crate::app::node::start::edge::{kernel_plan, plan};
use crate::app::{EXIT_CONFIG, EXIT_IO, EXIT_USAGE};
use crate::net::edge::nft::Plan;
use crate::net::kernel::load::{self, Kernel, LoadError};

/// Shown below the options.
const EXAMPLES: &str = "\
Examples:
  gateway nft print --config gateway.toml
  gateway nft apply --config gateway.toml && gateway run --config gateway.toml
  gateway nft remove --config gateway.toml

`apply` leads nothing anywhere by itself: flows reach the gateway only while it runs and renews the set `alive`.
With interception \"kernel\" it loads the programs that count and mark, which `run` does by itself; they stay when the gateway
ends, and what they count is exported by the next one. `remove` while a gateway runs ends its counts.
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
    if let Some(plan) = kernel_plan(&config) {
        return run_kernel(&args.action, plan, &target.config);
    }
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

/// The same where the kernel keeps the packets.
fn run_kernel(action: &Action, plan: load::Plan, config: &Path) -> ExitCode {
    let outcome = match action {
        Action::Print(_) => {
            print!("{}", described(&plan));
            Ok(())
        }
        Action::Apply(_) => Kernel::load(plan).map(|_| ()),
        Action::Remove(_) => Kernel::remove(&plan.folder),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", config.display());
            let is_unbuilt = matches!(error, LoadError::NotBuilt);
            ExitCode::from(if is_unbuilt { EXIT_CONFIG } else { EXIT_IO })
        }
    }
}

/// What apply has the kernel hold, and what it holds.
fn described(plan: &load::Plan) -> String {
    let ports = |ports: &[u16]| ports.iter().map(u16::to_string).collect::<Vec<_>>().join(" ");
    let mut text = format!(
        "# Programs of gateway/bpf/flow.bpf.c, first at ingress and last at egress of: {}\n\
         # and of drops.bpf.c, which the kernel tells of packets that it drops behind them (kfree_skb).\n\
         # They forward everything, count it in {} slots ({} of one subscriber's address), tell apart flows of\n\
         #   TCP ports {}\n#   UDP ports {}\n\
         # and copy first bytes into a ring of {} bytes. All of it is kept in the folder below: with it everything goes.\n\
         {}\n",
        plan.interfaces.join(" "),
        plan.slots,
        plan.share,
        ports(&plan.tcp_ports),
        ports(&plan.udp_ports),
        plan.ring_bytes,
        plan.folder.display(),
    );
    let mut pins: Vec<String> = std::fs::read_dir(&plan.folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    pins.sort();
    if pins.is_empty() {
        text += "# Nothing is there at the moment.\n";
    }
    pins.into_iter().fold(text, |text, pin| text + "  " + &pin + "\n")
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

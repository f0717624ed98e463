//! `gateway demo`: the whole on one machine. Real sites, subscribers and a forger on loopback, a real node between them,
//! and its records compared with what the clients counted themselves.
//!
//! The node is the daemon's, from a configuration file, in this process; nothing of it is replaced. Of the exported side
//! only published files are read.

mod browse;
pub(in crate::app) mod counting;
mod dns;
pub(in crate::app) mod exported;
pub(in crate::app) mod http3;
mod inputs;
pub(in crate::app) mod origins;
mod report;
mod world;

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use self::browse::{Network, Tally};
use self::exported::Exported;
use self::inputs::Ports;
use super::folder::{Folder, FolderError};
use crate::app::node::log;
use crate::app::node::reload::load;
use crate::app::node::start::{Node, StartError};
use crate::app::{EXIT_CONFIG, EXIT_IO};

/// Exit code when a figure is not as expected.
const EXIT_NO: u8 = 1;
/// Exit code after Ctrl-C, as shells have it: 128 and the number of SIGINT.
const EXIT_INTERRUPTED: u8 = 130;
/// Most flows of one run.
const FLOWS_MAX: u64 = 100_000;
/// The folder's part that billing picks up.
const USAGE: &str = "usage";
/// What the clients counted.
const EXPECTED: &str = "expected.csv";
/// Longest wait for a file of a whole period before the node is stopped.
const PUBLISH_WAIT: Duration = Duration::from_secs(10);
/// Longest wait for open flows to end.
const DRAIN_WAIT: Duration = Duration::from_secs(60);
/// A flow that carried nothing for so long, when all clients have finished, has ended: QUIC says so to its ends alone.
const ENDED_IDLE: Duration = Duration::from_secs(1);
/// How often either is looked at.
const POLL: Duration = Duration::from_millis(50);

/// Shown below the options.
const EXAMPLES: &str = "\
Examples:
  gateway demo
  gateway demo --dir /tmp/demo && billing-export totals /tmp/demo/usage --by service
  gateway demo --flows 100000

Needs no root and no network beyond loopback.
Exit codes: 0 every figure is as expected, 1 one is not (each is named), 2 wrong use,
74 a folder, port or file cannot be used, 78 the machine's limits are too low, 130 interrupted.";

/// Shows the whole at work: sites, subscribers, a forger, records and their verification.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Folder to work in, empty or new; it is kept. Without it a temporary one that is removed
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Connections to make
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=FLOWS_MAX))]
    pub flows: u64,
}

/// Why the demonstration came to no result.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    /// There is no folder to work in.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The system refused.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// Its word.
        source: io::Error,
    },
    /// The exported files cannot be read.
    #[error("{0}")]
    Exported(String),
    /// The written configuration is not accepted.
    #[error("{}", .0.join("\n"))]
    Config(Vec<String>),
    /// The node does not start.
    #[error(transparent)]
    Start(StartError),
    /// Ctrl-C or SIGTERM.
    #[error("interrupted; the node was stopped")]
    Interrupted,
}

impl DemoError {
    /// The system's refusal of `what`.
    fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::System { what, source }
    }

    /// The process's exit code.
    const fn exit_code(&self) -> u8 {
        match self {
            Self::Folder(error) => error.exit_code(),
            Self::System { .. } | Self::Exported(_) | Self::Start(_) => EXIT_IO,
            Self::Config(_) => EXIT_CONFIG,
            Self::Interrupted => EXIT_INTERRUPTED,
        }
    }
}

/// Runs the command: the report on standard output, messages on standard error.
pub fn run(args: &Args) -> ExitCode {
    log::install("warn", log::Shape::Text);
    match demonstrate(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_NO),
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// Everything from the folder to the report; whether every figure is as expected.
fn demonstrate(args: &Args) -> Result<bool, DemoError> {
    let folder = Folder::prepare(args.dir.as_deref(), "gateway-demo-")?;
    let runtime = Runtime::new().map_err(DemoError::system("start the event loop"))?;
    let stop = runtime.block_on(async { Stop::listen() }).map_err(DemoError::system("receive signals"))?;
    let origins = runtime.block_on(origins::start()).map_err(DemoError::system("start the sites"))?;
    let dns = runtime.block_on(dns::start()).map_err(DemoError::system("start the DNS stub"))?;
    let ports = Ports { tls: origins.tls, http: origins.http, dns };
    write_inputs(folder.path(), ports)?;
    let config = load(&folder.path().join("gateway.toml")).map_err(|fault| DemoError::Config(fault.lines))?;
    let node = Node::start(&config).map_err(|error| match error {
        StartError::Config(message) => DemoError::Config(vec![format!("gateway.toml:{message}")]),
        StartError::Clients { lines } => DemoError::Config(lines),
        StartError::Listen { .. }
        | StartError::Socket { .. }
        | StartError::TakeOver(_)
        | StartError::Inherited(_)
        | StartError::Kernel(_)
        | StartError::System { .. } => DemoError::Start(error),
    })?;
    let browsed = browse_all(&node, &runtime, &stop, origins.trust, ports, args.flows);
    if browsed.is_ok() {
        await_file(&folder.path().join(USAGE), &stop);
    }
    close(node);
    let tally = browsed?;
    stop.check()?;
    write(&folder.path().join(EXPECTED), &report::expected_csv(&tally))?;
    let exported = exported::read(&folder.path().join(USAGE)).map_err(DemoError::Exported)?;
    tell(&tally, &exported, folder.kept())
}

/// Prints the report; whether every figure is as expected.
fn tell(tally: &Tally, exported: &Exported, kept: Option<&Path>) -> Result<bool, DemoError> {
    let checks = report::checks(tally, exported);
    print(&format!(
        "\n{}\n{}\n{}\n{}\n{}",
        report::subscribers(exported),
        report::files(exported),
        report::verification(exported),
        report::check_list(&checks),
        report::ending(&checks, kept)
    ))?;
    let differences: Vec<String> = checks.iter().filter_map(report::Check::difference).collect();
    differences.iter().for_each(|difference| eprintln!("demo: {difference}"));
    tally.failures.iter().for_each(|failure| eprintln!("demo: failed: {failure}"));
    Ok(differences.is_empty())
}

/// Prints to standard output.
fn print(text: &str) -> Result<(), DemoError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Who reads no further (`| head`) knows.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed.map_err(DemoError::system("standard output")),
    }
}

/// Writes list, subscriber table and configuration.
fn write_inputs(folder: &Path, ports: Ports) -> Result<(), DemoError> {
    write(&folder.join("list.toml"), &inputs::list(Timestamp::now()))?;
    write(&folder.join("subscribers.csv"), &inputs::subscribers())?;
    write(&folder.join("gateway.toml"), &inputs::configuration(ports))
}

/// Writes one file.
fn write(path: &Path, text: &str) -> Result<(), DemoError> {
    fs::write(path, text).map_err(|source| DemoError::System { what: path.display().to_string(), source })
}

/// Whether somebody asked to end: Ctrl-C or SIGTERM.
struct Stop {
    /// Set at the first signal.
    asked: Arc<AtomicBool>,
    /// Wakes who waits.
    wake: Arc<Notify>,
}

impl Stop {
    /// Takes the signals over, so that the node is stopped and a temporary folder removed. Needs an event loop.
    fn listen() -> io::Result<Self> {
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let stop = Self { asked: Arc::default(), wake: Arc::default() };
        let (asked, wake) = (Arc::clone(&stop.asked), Arc::clone(&stop.wake));
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            asked.store(true, Ordering::Relaxed);
            wake.notify_one();
        });
        Ok(stop)
    }

    /// An error once somebody asked.
    fn check(&self) -> Result<(), DemoError> {
        if self.asked.load(Ordering::Relaxed) { Err(DemoError::Interrupted) } else { Ok(()) }
    }
}

/// Tells what is set up, then lets the subscribers browse.
fn browse_all(
    node: &Node,
    runtime: &Runtime,
    stop: &Stop,
    trust: rustls::RootCertStore,
    ports: Ports,
    flows: u64,
) -> Result<Tally, DemoError> {
    let &[steered, proxied] = node.listeners.as_slice() else {
        return Err(DemoError::Config(vec!["gateway.toml: wanted two listeners".to_owned()]));
    };
    print(&report::set_up(steered, proxied, ports, flows))?;
    let network = Network::new(steered, proxied, trust).map_err(DemoError::system("set up TLS clients"))?;
    let bar = progress_bar(flows);
    let tally = runtime.block_on(async {
        tokio::select! {
            tally = browse::browse(&network, flows, &bar) => Ok(tally),
            () = stop.wake.notified() => Err(DemoError::Interrupted),
        }
    });
    bar.finish_and_clear();
    tally
}

/// A bar over the flows; hidden when nobody watches.
fn progress_bar(flows: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let bar = ProgressBar::with_draw_target(Some(flows), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} flows, {eta} left") {
        bar.set_style(style);
    }
    bar
}

/// Waits until a period has ended and its file is published, so that also a short run shows more than one file.
fn await_file(usage: &Path, stop: &Stop) {
    let begun = Instant::now();
    while exported::published(usage) == 0 && begun.elapsed() < PUBLISH_WAIT && stop.check().is_ok() {
        std::thread::sleep(POLL);
    }
}

/// Drains and stops the node, as the daemon does at SIGTERM.
fn close(node: Node) {
    node.drain();
    let begun = Instant::now();
    while node.connections() > 0 && begun.elapsed() < DRAIN_WAIT {
        std::thread::sleep(POLL);
        node.cut_idle(ENDED_IDLE);
    }
    node.cut_idle(Duration::ZERO);
    node.stop();
}

//! `gateway conformance`: the zero-rating audit of MobileAtlas (validate, CheckSni, CheckIp,
//! zero-balance) against this program, in network namespaces of its own.
//!
//! The node is the daemon, a process of its own that knows nothing of the audit; the sites are real TLS and QUIC servers.
//! An answer is read from the exported usage files alone: which probes were exempt follows from one total.
//! Nothing of the machine's own network is touched.

mod client;
mod decode;
mod judge;
mod network;
mod node;
mod packets;
mod plan;
mod report;
mod sites;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::{self, ExitCode};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::client::{Client, Seen};
use self::judge::Judgement;
use self::network::{Network, Zone};
use self::node::{ListedBy, RunningNode, USAGE};
use self::plan::{Probe, Protocol, Wanted};
use self::sites::Sites;
use super::demo::exported;
use super::folder::{Folder, FolderError};
use crate::app::node::log;
use crate::app::{EXIT_IO, EXIT_USAGE};

/// Exit code when a probe got another answer than it must.
const EXIT_NO: u8 = 1;
/// Exit code after Ctrl-C, as shells have it: 128 and the number of SIGINT.
const EXIT_INTERRUPTED: u8 = 130;

/// Shown below the options.
const EXAMPLES: &str = "\
Examples:
  gateway conformance
  gateway conformance --interception kernel
  gateway conformance --format json | jq '.probes[] | select(.ok | not)'
  gateway conformance --by-address     (CheckIp finds what is wrong with such a list)
  gateway conformance --keep --dir /tmp/audit

Needs root, ip (iproute2) and nft (nftables); the machine's own network is not touched.
Exit codes: 0 every probe got the answer it must, 1 one did not (each is named), 2 wrong use or not root,
74 a namespace, folder or file cannot be used, 130 interrupted.";

/// Audits zero-rating as a regulator would: a listed site is exempt, and nobody who borrows its name or address is.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// How the outcome is shown
    #[arg(long, value_enum, default_value = "plain")]
    pub format: Format,
    /// How the gateway under audit sees flows: nft tproxy, or programs in the kernel
    #[arg(long, value_name = "WAY", value_enum, default_value = "tproxy")]
    pub interception: Audited,
    /// Probe over these only; may be repeated. Without it over all
    #[arg(long, value_name = "PROTOCOL", value_enum)]
    pub protocol: Vec<Protocol>,
    /// Folder to work in, empty or new; it is kept. Without it a temporary one that is removed
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Leave namespaces and folder as they are at the end, and say where
    #[arg(long)]
    pub keep: bool,
    /// Let the list name the site by its address instead of its name, which an audit must find wanting
    #[arg(long)]
    pub by_address: bool,
}

/// How the gateway under audit sees flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Audited {
    /// It ends and makes connections, which the kernel leads to it.
    Tproxy,
    /// The kernel forwards, counts and marks.
    Kernel,
}

/// How the outcome is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Plain,
    /// One JSON object.
    Json,
}

/// Why the audit came to no result.
#[derive(Debug, thiserror::Error)]
enum ConformanceError {
    /// Only root makes network namespaces.
    #[error("found user id {0}, wanted root: network namespaces and packet rules are made; try it with sudo")]
    NotRoot(u32),
    /// There is no folder to work in.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The system refused.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Its word.
        source: io::Error,
    },
    /// The exported files cannot be read.
    #[error("{0}")]
    Exported(String),
    /// Ctrl-C, SIGTERM, or the terminal is gone.
    #[error("interrupted; everything was removed")]
    Interrupted,
}

impl ConformanceError {
    /// The system's refusal of `what`.
    fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }

    /// The process's exit code.
    const fn exit_code(&self) -> u8 {
        match self {
            Self::NotRoot(_) => EXIT_USAGE,
            Self::Folder(error) => error.exit_code(),
            Self::System { .. } | Self::Exported(_) => EXIT_IO,
            Self::Interrupted => EXIT_INTERRUPTED,
        }
    }
}

/// Runs the command: the outcome on standard output, messages on standard error.
pub fn run(args: &Args) -> ExitCode {
    log::install("warn", log::Shape::Text);
    match audit(args).and_then(|outcome| tell(args.format, &outcome)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_NO),
        Err(error) => {
            eprintln!("conformance: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// Everything from the namespaces to the answers.
fn audit(args: &Args) -> Result<Judgement, ConformanceError> {
    let user = rustix::process::geteuid();
    if !user.is_root() {
        return Err(ConformanceError::NotRoot(user.as_raw()));
    }
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(ConformanceError::system("start the event loop"))?;
    let stop = Stop::listen(&runtime).map_err(ConformanceError::system("receive signals"))?;
    let mut folder = Folder::prepare(args.dir.as_deref(), "gateway-conformance-")?;
    if args.keep {
        folder = folder.keep();
    }
    let folder_path =
        std::path::absolute(folder.path()).map_err(ConformanceError::system("find the folder"))?;
    let network = Network::make(process::id(), args.keep)
        .map_err(ConformanceError::system("make network namespaces"))?;
    if args.keep {
        eprintln!(
            "conformance: kept: namespaces {}, {}, {} (ip netns delete NAME), folder {}",
            network.name(Zone::Subscriber),
            network.name(Zone::Gateway),
            network.name(Zone::Internet),
            folder_path.display()
        );
    }
    let sites = Sites::start(&network).map_err(ConformanceError::system("start the sites"))?;
    let listed = if args.by_address { ListedBy::Address } else { ListedBy::Name };
    let node = RunningNode::start(&network, &folder_path, (listed, args.interception), &stop);
    stop.check()?;
    let node = node.map_err(ConformanceError::system("start the node"))?;
    let protocols = match args.protocol.as_slice() {
        [] => &[Protocol::Quic, Protocol::Tcp],
        chosen => chosen,
    };
    let mut seen = ask(&network, &sites, plan::probes(protocols), &stop)?;
    if args.interception == Audited::Kernel {
        let packets = network.packets().map_err(ConformanceError::system("count the devices' packets"))?;
        packets.tell(&mut seen);
    }
    node.stop().map_err(ConformanceError::system("stop the node"))?;
    let exported = exported::read(&folder_path.join(USAGE)).map_err(ConformanceError::Exported)?;
    Ok(judge::judge(seen, &exported))
}

/// Makes the probes, one after the other, in the subscriber's namespace.
fn ask(
    network: &Network,
    sites: &Sites,
    probes: Vec<Probe>,
    stop: &Stop,
) -> Result<Vec<(Probe, Seen)>, ConformanceError> {
    let client = Client::new(&sites.trust).map_err(ConformanceError::system("set up TLS clients"))?;
    let wanted = probes.len();
    let bar = progress_bar(wanted);
    let mut asked = stop.asked.clone();
    let shown = bar.clone();
    let thread = network
        .run(Zone::Subscriber, move |runtime| {
            runtime.block_on(async {
                let all = make(&client, &probes, &shown);
                tokio::select! {
                    seen = all => Some(seen),
                    _ = asked.wait_for(|asked| *asked) => None,
                }
            })
        })
        .map_err(ConformanceError::system("start the devices"))?;
    let ended = thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread of the devices panicked")));
    bar.finish_and_clear();
    let seen =
        ended.map_err(ConformanceError::system("run the devices"))?.ok_or(ConformanceError::Interrupted)?;
    if seen.len() == wanted {
        return Ok(seen);
    }
    let source = io::Error::other(format!("found {} answers, wanted {wanted}", seen.len()));
    Err(ConformanceError::System { what: "run the devices", source })
}

/// Makes every probe, in order; those that nothing may come of at once and beside the others. One whose task failed is missing.
async fn make(client: &Client, probes: &[Probe], bar: &ProgressBar) -> Vec<(Probe, Seen)> {
    let mut waiting = JoinSet::new();
    for (place, probe) in probes.iter().copied().enumerate() {
        if probe.wanted == Wanted::CutOff {
            let client = client.clone();
            waiting.spawn(async move { (place, client.probe(&probe).await) });
        }
    }
    let mut seen = BTreeMap::new();
    for (place, probe) in probes.iter().enumerate() {
        if probe.wanted != Wanted::CutOff {
            bar.set_message(format!("{} over {}", probe.audit.label(), probe.protocol.label()));
            seen.insert(place, client.probe(probe).await);
            bar.inc(1);
        }
    }
    while let Some(joined) = waiting.join_next().await {
        seen.extend(joined);
        bar.inc(1);
    }
    probes.iter().enumerate().filter_map(|(place, probe)| Some((*probe, seen.remove(&place)?))).collect()
}

/// A bar over the probes; hidden when nobody watches.
fn progress_bar(probes: usize) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let bar = ProgressBar::with_draw_target(u64::try_from(probes).ok(), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} probes, {msg}") {
        bar.set_style(style);
    }
    bar
}

/// Prints the outcome; whether every probe got the answer it must.
fn tell(format: Format, outcome: &Judgement) -> Result<bool, ConformanceError> {
    let text = match format {
        Format::Plain => report::plain(outcome),
        Format::Json => {
            report::json(outcome).map_err(|error| ConformanceError::Exported(error.to_string()))?
        }
    };
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Who reads no further (`| head`) knows.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        printed => printed.map_err(ConformanceError::system("standard output"))?,
    }
    report::differences(outcome).iter().for_each(|difference| eprintln!("conformance: {difference}"));
    Ok(outcome.is_good())
}

/// Whether somebody asked to end: Ctrl-C or SIGTERM.
struct Stop {
    /// Turns true at the first signal.
    asked: watch::Receiver<bool>,
}

impl Stop {
    /// Takes the signals over, so that namespaces are removed.
    fn listen(runtime: &Runtime) -> io::Result<Self> {
        let _context = runtime.enter();
        let (mut interrupt, mut terminate, mut hangup) = (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        );
        let (tell, asked) = watch::channel(false);
        runtime.spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
            let _ = tell.send(true);
            // Who waits for a change after this one must find a sender.
            std::future::pending::<()>().await;
        });
        Ok(Self { asked })
    }

    /// Whether somebody asked.
    fn asked(&self) -> bool {
        *self.asked.borrow()
    }

    /// An error once somebody asked.
    fn check(&self) -> Result<(), ConformanceError> {
        if self.asked() { Err(ConformanceError::Interrupted) } else { Ok(()) }
    }
}

//! The workers' threads: started with their sockets, asked for reports, drained and stopped.

mod sockets;

use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc as reports;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::report::{Report, ReportSource};
use super::settings::{DatagramHeaders, Listener, Mode, Peers};
use super::shared::Shared;
use super::worker::Worker;
use crate::net::dns;
use crate::net::ingress::accept::Acceptor;
use crate::net::ingress::local;
use crate::net::kernel::claims::Claims;
use crate::net::kernel::load::Kernel;
use crate::net::kernel::part::Part;
use crate::net::sys::batch::Batch;
use crate::net::udp::Relay;
use crate::net::udp::undecided::Undecided;

/// Commands that wait for a worker at once; more means that it hangs.
const COMMANDS_MAX: usize = 16;

/// Tries to find a port that is free for both transports, when the system is to choose it.
const PORT_TRIES_MAX: usize = 16;

/// What a worker is told.
enum Command {
    /// Hand over what was counted.
    Report,
    /// The same, with what has no verdict as nobody's.
    ReportSettled,
    /// Accept nothing more.
    Drain,
    /// Another process is about to take over: UDP flows get sockets of their own; or it is not.
    KeepFlows(bool),
    /// Another process serves the listening sockets: take nothing more from them, DNS included.
    HandOver,
    /// End flows that were idle for so long.
    CutIdle(Duration),
    /// Judge what is open by what is known, hand over, and end.
    Stop,
}

/// One worker's thread.
pub struct WorkerHandle {
    commands: mpsc::Sender<Command>,
    reports: reports::Receiver<Report>,
    thread: JoinHandle<()>,
    /// Reports asked for and not yet received.
    outstanding: bool,
}

/// The sockets of one listener at one worker.
struct Bound {
    listener: Listener,
    connections: Option<TcpListener>,
    datagrams: Option<UdpSocket>,
}

/// The sockets of one worker.
struct OfWorker {
    bound: Vec<Bound>,
    /// Those of balancers on this machine, and the type of the TLV that names a flow's subscriber.
    local: Vec<(TcpListener, Option<u8>)>,
}

/// A Unix socket of balancers on this machine.
struct LocalListener {
    path: PathBuf,
    listener: UnixListener,
    subscriber_tlv: Option<u8>,
}

/// The listening sockets of all workers, bound before any thread starts so that a port in use is an error at once.
pub struct Sockets {
    by_worker: Vec<Vec<Bound>>,
    /// Unix sockets of balancers on this machine, which all workers share.
    local: Vec<LocalListener>,
    /// The addresses bound, in the order of the listeners; a port 0 is what the system chose.
    pub addresses: Vec<SocketAddr>,
}

impl Sockets {
    /// Starts one thread for each worker, which also serves its part of the DNS plane where there is one.
    ///
    /// # Errors
    /// The system's word when a thread or its event loop cannot be made.
    pub fn start(
        self,
        shared: &Arc<Shared>,
        dns: Vec<dns::Part>,
        kernel: Option<(Kernel, Claims)>,
    ) -> io::Result<Vec<WorkerHandle>> {
        let (mut dns, mut kernel) = (dns.into_iter(), kernel);
        let mut handles = Vec::new();
        for (index, bound) in self.by_worker.into_iter().enumerate() {
            let local = self.local.iter().map(|own| Ok((local::share(&own.listener)?, own.subscriber_tlv)));
            let sockets = OfWorker { bound, local: local.collect::<io::Result<_>>()? };
            // What the kernel counts is one worker's: it costs a few microseconds a flow.
            handles.push(start_worker(index, Arc::clone(shared), sockets, dns.next(), kernel.take())?);
        }
        Ok(handles)
    }
}

/// Orders to all workers that need no answer, whatever the export task is doing.
#[derive(Clone)]
pub struct Remote {
    commands: Vec<mpsc::Sender<Command>>,
}

impl Remote {
    /// The remote of these workers.
    pub fn new(workers: &[WorkerHandle]) -> Self {
        Self { commands: workers.iter().map(|worker| worker.commands.clone()).collect() }
    }

    /// Accept nothing more; open flows go on.
    pub fn drain(&self) {
        self.tell(|| Command::Drain);
    }

    /// Another process is about to take over, or it is not: open UDP flows are to stay here.
    pub fn keep_flows(&self, keep: bool) {
        self.tell(|| Command::KeepFlows(keep));
    }

    /// Another process serves the listening sockets; open flows go on.
    pub fn hand_over(&self) {
        self.tell(|| Command::HandOver);
    }

    /// Ends flows idle for at least `idle`; zero ends all.
    pub fn cut_idle(&self, idle: Duration) {
        self.tell(|| Command::CutIdle(idle));
    }

    /// Tells every worker; one that takes no commands is stopped by the end of the process.
    fn tell(&self, command: impl Fn() -> Command) {
        for commands in &self.commands {
            let _ = commands.try_send(command());
        }
    }
}

impl ReportSource for WorkerHandle {
    fn ask(&mut self) {
        if !self.outstanding {
            self.outstanding = self.commands.try_send(Command::Report).is_ok();
        }
    }

    fn ask_settled(&mut self) {
        if !self.outstanding {
            self.outstanding = self.commands.try_send(Command::ReportSettled).is_ok();
        }
    }

    fn receive(&mut self, limit: Duration) -> Option<Report> {
        if !self.outstanding {
            return None;
        }
        let report = self.reports.recv_timeout(limit).ok()?;
        self.outstanding = false;
        Some(report)
    }

    fn stop(self: Box<Self>, limit: Duration) -> Vec<Report> {
        let _ = self.commands.try_send(Command::Stop);
        let mut last = Vec::new();
        // The worker drops its end of the channel when it is done.
        while let Ok(report) = self.reports.recv_timeout(limit) {
            last.push(report);
        }
        if self.thread.is_finished() {
            let _ = self.thread.join();
        }
        last
    }
}

/// Starts one worker's thread.
fn start_worker(
    index: usize,
    shared: Arc<Shared>,
    sockets: OfWorker,
    dns: Option<dns::Part>,
    kernel: Option<(Kernel, Claims)>,
) -> io::Result<WorkerHandle> {
    let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
    let (outbox, reports) = reports::channel();
    // The event loop belongs to its thread, which says whether there is one, and that its listeners are looked after.
    let (begun, start) = reports::sync_channel(1);
    let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
        let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
            Ok(runtime) => runtime,
            Err(error) => {
                let _ = begun.send(Err(error));
                return;
            }
        };
        runtime.block_on(async move {
            let dns = dns.map_or_else(Vec::new, |part| part.start(&shared));
            let worker = Worker::new(shared, index);
            tokio::task::spawn_local(Rc::clone(&worker).keep_house());
            let relays = serve(&worker, sockets);
            let kernel = kernel.map(|(kernel, claims)| Part::start(&worker, kernel, claims)).transpose();
            let kernel = match kernel {
                Ok(kernel) => kernel,
                Err(error) => {
                    let _ = begun.send(Err(error));
                    return;
                }
            };
            // Not before: whoever is told that the node is ready, and connects, is counted in full.
            let _ = begun.send(Ok(()));
            Running { relays, worker, kernel, dns, outbox }.obey(inbox).await;
        });
    })?;
    start.recv().map_err(|_| io::Error::other("the thread ended before it began"))??;
    Ok(WorkerHandle { commands, reports, thread, outstanding: false })
}

/// What runs on one worker's event loop.
struct Running {
    /// The relays of listeners that take datagrams.
    relays: Vec<Rc<Relay>>,
    worker: Rc<Worker>,
    /// The flows of the kernel's slots, where it has them.
    kernel: Option<Rc<Part>>,
    /// The tasks of its part of the DNS plane.
    dns: Vec<AbortHandle>,
    /// Where reports go.
    outbox: reports::Sender<Report>,
}

impl Running {
    /// Does what it is told until it is told to stop, or nobody is left to tell it anything.
    async fn obey(self, mut inbox: mpsc::Receiver<Command>) {
        let Self { outbox, dns, worker, kernel, relays } = self;
        let sweep = || kernel.iter().for_each(|kernel| kernel.sweep());
        while let Some(command) = inbox.recv().await {
            match command {
                Command::Report => {
                    sweep();
                    let _ = outbox.send(worker.report());
                }
                Command::ReportSettled => {
                    sweep();
                    let _ = outbox.send(worker.report_settled());
                    // The ledger is another process's from here on, and so are the kernel's counts.
                    kernel.iter().for_each(|kernel| kernel.leave());
                }
                Command::KeepFlows(keep) => {
                    worker.observe_headers(!keep);
                    if !keep {
                        kernel.iter().for_each(|kernel| kernel.return_to());
                    }
                    relays.iter().for_each(|relay| relay.keep_flows(keep));
                }
                Command::HandOver => {
                    worker.draining.notify_waiters();
                    dns.iter().for_each(AbortHandle::abort);
                    relays.iter().for_each(|relay| relay.hand_over());
                }
                Command::Drain => {
                    worker.draining.notify_waiters();
                    relays.iter().for_each(|relay| relay.drain());
                }
                Command::CutIdle(idle) => {
                    worker.cut_idle(idle);
                    relays.iter().for_each(|relay| relay.cut_idle(idle));
                }
                Command::Stop => {
                    sweep();
                    worker.settle();
                    let _ = outbox.send(worker.last_report());
                    // What the kernel counts from here on is for the process that starts next.
                    kernel.iter().for_each(|kernel| kernel.leave());
                    return;
                }
            }
        }
    }
}

/// Serves the listeners on the worker's event loop; gives back those that take datagrams.
fn serve(worker: &Rc<Worker>, sockets: OfWorker) -> Vec<Rc<Relay>> {
    for (socket, subscriber_tlv) in sockets.local {
        // The mode and group of the socket say who may write the header.
        let (peers, datagrams) = (Peers::ThisMachine, DatagramHeaders::Each);
        let balancers = Mode::ProxyProtocol { peers, datagrams, subscriber_tlv };
        let acceptor = Acceptor::new(Rc::clone(worker), socket, balancers);
        tokio::task::spawn_local(async move {
            if let Err(error) = acceptor.run().await {
                tracing::error!(%error, "listener at a socket lost; restart the gateway");
            }
        });
    }
    let mut relays = Vec::new();
    let batch = Rc::new(RefCell::new(Batch::default()));
    let undecided = Undecided::new(worker.shared.limits.undecided_per_worker_max);
    for Bound { listener, connections, datagrams } in sockets.bound {
        let address = listener.address;
        if let Some(socket) = datagrams {
            let (batch, undecided) = (Rc::clone(&batch), Rc::clone(&undecided));
            match Relay::new(Rc::clone(worker), socket, &listener, batch, undecided) {
                Ok(relay) => {
                    tokio::task::spawn_local(Rc::clone(&relay).run());
                    relays.push(relay);
                }
                Err(error) => tracing::error!(%address, %error, "no datagrams taken; restart the gateway"),
            }
        }
        if let Some(socket) = connections {
            let acceptor = Acceptor::new(Rc::clone(worker), socket, listener.mode);
            tokio::task::spawn_local(async move {
                if let Err(error) = acceptor.run().await {
                    tracing::error!(%address, %error, "listener lost; restart the gateway");
                }
            });
        }
    }
    relays
}

//! The workers' threads: started with their sockets, asked for reports, drained and stopped.

use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc as reports;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::LocalSet;

use super::datagram::Relay;
use super::datagram::batch::Batch;
use super::datagram::undecided::Undecided;
use super::report::Report;
use super::settings::Listener;
use super::shared::Shared;
use super::worker::Worker;
use super::{accept, dns, socket};

/// Commands that wait for a worker at once; more means that it hangs.
const COMMANDS_MAX: usize = 16;

/// Tries to find a port that is free for both transports, when the system is to choose it.
const PORT_TRIES_MAX: usize = 16;

/// What a worker is told.
enum Command {
    /// Hand over what was counted.
    Report,
    /// Accept nothing more.
    Drain,
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

/// The listening sockets of all workers, bound before any thread starts so that a port in use is an error at once.
pub struct Sockets {
    by_worker: Vec<Vec<Bound>>,
    /// The addresses bound, in the order of the listeners; a port 0 is what the system chose.
    pub addresses: Vec<SocketAddr>,
}

impl Sockets {
    /// Binds every listener once for each worker.
    ///
    /// # Errors
    /// The listener's address and what the system says.
    pub fn bind(listeners: &[Listener], workers: usize) -> Result<Self, (SocketAddr, io::Error)> {
        let mut by_worker: Vec<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
        let mut addresses = Vec::new();
        for listener in listeners {
            let (address, bound) =
                bind_listener(listener, workers).map_err(|error| (listener.address, error))?;
            for (sockets, bound) in by_worker.iter_mut().zip(bound) {
                sockets.push(bound);
            }
            addresses.push(address);
        }
        Ok(Self { by_worker, addresses })
    }

    /// Starts one thread for each worker, which also serves its part of the DNS plane where there is one.
    ///
    /// # Errors
    /// The system's word when a thread or its event loop cannot be made.
    pub fn start(self, shared: &Arc<Shared>, dns: Vec<dns::Part>) -> io::Result<Vec<WorkerHandle>> {
        let mut dns = dns.into_iter();
        self.by_worker
            .into_iter()
            .enumerate()
            .map(|(index, sockets)| start_worker(index, Arc::clone(shared), sockets, dns.next()))
            .collect()
    }
}

/// Binds one listener for every worker; where the system chooses the port, one that both transports can have.
fn bind_listener(listener: &Listener, workers: usize) -> io::Result<(SocketAddr, Vec<Bound>)> {
    let wanted = listener.address;
    if wanted.port() != 0 {
        if listener.serves_tcp {
            socket::probe_exclusive(wanted)?;
        }
        if listener.serves_udp {
            socket::probe_exclusive_datagrams(wanted)?;
        }
        return bind_at(listener, wanted, workers);
    }
    let mut outcome = bind_at(listener, wanted, workers);
    for _ in 1..PORT_TRIES_MAX {
        match &outcome {
            // The port TCP was given is taken for UDP.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                outcome = bind_at(listener, wanted, workers);
            }
            Ok(_) | Err(_) => break,
        }
    }
    outcome
}

/// Binds one listener at `wanted` for every worker; UDP takes the port that TCP has.
fn bind_at(listener: &Listener, wanted: SocketAddr, workers: usize) -> io::Result<(SocketAddr, Vec<Bound>)> {
    let mut address = wanted;
    let mut all = Vec::new();
    for _ in 0..workers {
        let mut bound = Bound { listener: listener.clone(), connections: None, datagrams: None };
        if listener.serves_tcp {
            let socket = socket::listen(address)?;
            address = socket.local_addr()?;
            bound.connections = Some(socket);
        }
        if listener.serves_udp {
            if wanted.port() == 0 && all.is_empty() && address.port() != 0 {
                // Somebody else's socket may share the port with us without a word.
                socket::probe_exclusive_datagrams(address)?;
            }
            let socket = socket::listen_datagrams(address)?;
            address = socket.local_addr()?;
            bound.datagrams = Some(socket);
        }
        all.push(bound);
    }
    Ok((address, all))
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

impl WorkerHandle {
    /// Asks for a report, unless one is already asked for.
    pub fn ask(&mut self) {
        if !self.outstanding {
            self.outstanding = self.commands.try_send(Command::Report).is_ok();
        }
    }

    /// Waits for the report asked for; none when the worker does not answer in time. A late report comes with the next call.
    pub fn receive(&mut self, limit: Duration) -> Option<Report> {
        if !self.outstanding {
            return None;
        }
        let report = self.reports.recv_timeout(limit).ok()?;
        self.outstanding = false;
        Some(report)
    }

    /// Takes the reports that are left and waits for the thread, at most `limit`.
    pub fn stop(self, limit: Duration) -> Vec<Report> {
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
    sockets: Vec<Bound>,
    dns: Option<dns::Part>,
) -> io::Result<WorkerHandle> {
    let (commands, mut inbox) = mpsc::channel(COMMANDS_MAX);
    let (outbox, reports) = reports::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
        let local = LocalSet::new();
        local.block_on(&runtime, async move {
            if let Some(part) = dns {
                part.start(&shared);
            }
            let worker = Worker::new(shared);
            tokio::task::spawn_local(Rc::clone(&worker).keep_house());
            let relays = serve(&worker, sockets);
            while let Some(command) = inbox.recv().await {
                match command {
                    Command::Report => {
                        let _ = outbox.send(worker.report());
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
                        worker.settle();
                        let _ = outbox.send(worker.report());
                        return;
                    }
                }
            }
        });
    })?;
    Ok(WorkerHandle { commands, reports, thread, outstanding: false })
}

/// Serves the listeners on the worker's event loop; gives back those that take datagrams.
fn serve(worker: &Rc<Worker>, sockets: Vec<Bound>) -> Vec<Rc<Relay>> {
    let mut relays = Vec::new();
    let batch = Rc::new(RefCell::new(Batch::default()));
    let undecided = Undecided::new(worker.shared.limits.undecided_per_worker_max);
    for Bound { listener, connections, datagrams } in sockets {
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
            let worker = Rc::clone(worker);
            tokio::task::spawn_local(async move {
                if let Err(error) = accept::run(worker, socket, listener).await {
                    tracing::error!(%address, %error, "listener lost; restart the gateway");
                }
            });
        }
    }
    relays
}

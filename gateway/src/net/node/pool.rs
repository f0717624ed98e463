//! The workers' threads: started with their sockets, asked for reports, drained and stopped.

use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
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
use super::settings::{Interception, Listener, Mode};
use super::shared::Shared;
use super::worker::Worker;
use crate::net::dns;
use crate::net::ingress::inherited::{Inherited, Offered, complete_connections, complete_datagrams};
use crate::net::ingress::local::{LocalPlace, Standing};
use crate::net::ingress::{accept, local};
use crate::net::sys::batch::Batch;
use crate::net::sys::socket;
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
    local: Vec<TcpListener>,
}

/// The listening sockets of all workers, bound before any thread starts so that a port in use is an error at once.
pub struct Sockets {
    by_worker: Vec<Vec<Bound>>,
    /// Unix sockets of balancers on this machine, which all workers share.
    local: Vec<(PathBuf, UnixListener)>,
    /// The addresses bound, in the order of the listeners; a port 0 is what the system chose.
    pub addresses: Vec<SocketAddr>,
}

impl Sockets {
    /// Binds every listener once for each worker, and takes those from `inherited` that are open already.
    ///
    /// # Errors
    /// The listener's address and what the system says.
    pub fn bind(
        listeners: &[Listener],
        workers: usize,
        inherited: &mut Inherited,
    ) -> Result<Self, (SocketAddr, io::Error)> {
        let mut by_worker: Vec<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
        let mut addresses = Vec::new();
        for listener in listeners {
            let passed = Given::take(listener, inherited);
            let (address, bound) = if passed.is_empty() {
                bind_listener(listener, workers, inherited.is_exclusive())
                    .map(|(address, bound)| (address, bound.into_iter().map(|bound| vec![bound]).collect()))
            } else {
                passed.complete(listener, workers, inherited.is_exclusive())
            }
            .map_err(|error| (listener.address, error))?;
            for (sockets, bound) in by_worker.iter_mut().zip(bound) {
                sockets.extend(bound);
            }
            addresses.push(address);
        }
        Ok(Self { by_worker, local: Vec::new(), addresses })
    }

    /// Binds a Unix socket for balancers on this machine, or takes it from `inherited`.
    ///
    /// # Errors
    /// As [`LocalPlace::listen`].
    pub fn bind_local(&mut self, place: LocalPlace, inherited: &mut Inherited) -> io::Result<()> {
        let listener = match inherited.take_local(&place.path) {
            Some(listener) => listener,
            None => place.listen(Standing::Respected)?,
        };
        self.local.push((place.path, listener));
        Ok(())
    }

    /// A second descriptor of each socket, for the process that takes over from this one.
    ///
    /// # Errors
    /// When descriptors ran out.
    pub fn offers(&self) -> io::Result<Vec<Offered>> {
        let mut offers = Vec::new();
        for bound in self.by_worker.iter().flatten() {
            let wanted = bound.listener.address;
            for socket in
                bound.connections.iter().map(AsFd::as_fd).chain(bound.datagrams.iter().map(AsFd::as_fd))
            {
                offers.push(Offered::new(wanted, socket)?);
            }
        }
        for (path, listener) in &self.local {
            offers.push(Offered::local(path.clone(), listener.as_fd())?);
        }
        Ok(offers)
    }

    /// Starts one thread for each worker, which also serves its part of the DNS plane where there is one.
    ///
    /// # Errors
    /// The system's word when a thread or its event loop cannot be made.
    pub fn start(self, shared: &Arc<Shared>, dns: Vec<dns::Part>) -> io::Result<Vec<WorkerHandle>> {
        let mut dns = dns.into_iter();
        let mut handles = Vec::new();
        for (index, bound) in self.by_worker.into_iter().enumerate() {
            let local = self.local.iter().map(|(_, listener)| local::share(listener));
            let sockets = OfWorker { bound, local: local.collect::<io::Result<_>>()? };
            handles.push(start_worker(index, Arc::clone(shared), sockets, dns.next())?);
        }
        Ok(handles)
    }
}

/// The sockets of one listener that were open before this process.
struct Given {
    connections: Vec<TcpListener>,
    datagrams: Vec<UdpSocket>,
}

impl Given {
    /// Takes what is there for `listener`.
    fn take(listener: &Listener, inherited: &mut Inherited) -> Self {
        let wanted = listener.address;
        Self {
            connections: if listener.serves_tcp { inherited.take_connections(wanted) } else { Vec::new() },
            datagrams: if listener.serves_udp { inherited.take_datagrams(wanted) } else { Vec::new() },
        }
    }

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.connections.is_empty() && self.datagrams.is_empty()
    }

    /// Binds what is missing: of a transport that has none, and for workers that have none.
    fn complete(
        self,
        listener: &Listener,
        workers: usize,
        exclusive: bool,
    ) -> io::Result<(SocketAddr, Vec<Vec<Bound>>)> {
        let address = match (self.connections.first(), self.datagrams.first()) {
            (Some(socket), _) => socket.local_addr()?,
            (None, Some(socket)) => socket.local_addr()?,
            (None, None) => listener.address,
        };
        let connections = if listener.serves_tcp && self.connections.is_empty() {
            if exclusive {
                socket::probe_exclusive(address)?;
            }
            vec![listen_as(listener, address)?]
        } else {
            self.connections.iter().try_for_each(|socket| adapt(listener, socket))?;
            self.connections
        };
        let datagrams = if listener.serves_udp && self.datagrams.is_empty() {
            if exclusive {
                socket::probe_exclusive_datagrams(address)?;
            }
            vec![listen_datagrams_as(listener, address)?]
        } else {
            self.datagrams.iter().try_for_each(|socket| adapt(listener, socket))?;
            self.datagrams
        };
        let connections = complete_connections(connections, workers, |address| listen_as(listener, address))?;
        let datagrams =
            complete_datagrams(datagrams, workers, |address| listen_datagrams_as(listener, address))?;
        let bound = |connections, datagrams| Bound { listener: listener.clone(), connections, datagrams };
        let of_worker = |(connections, datagrams): (Vec<TcpListener>, Vec<UdpSocket>)| {
            let connections = connections.into_iter().map(|socket| bound(Some(socket), None));
            connections.chain(datagrams.into_iter().map(|socket| bound(None, Some(socket)))).collect()
        };
        Ok((address, connections.into_iter().zip(datagrams).map(of_worker).collect()))
    }
}

/// Binds one listener for every worker; where the system chooses the port, one that both transports can have.
fn bind_listener(
    listener: &Listener,
    workers: usize,
    exclusive: bool,
) -> io::Result<(SocketAddr, Vec<Bound>)> {
    let wanted = listener.address;
    if wanted.port() != 0 {
        if listener.serves_tcp && exclusive {
            socket::probe_exclusive(wanted)?;
        }
        if listener.serves_udp && exclusive {
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

/// A listening socket at `address` of the kind that the listener's mode wants.
fn listen_as(listener: &Listener, address: SocketAddr) -> io::Result<TcpListener> {
    match listener.mode {
        Mode::Transparent { interception: Interception::Tproxy, .. } => socket::listen_transparent(address),
        Mode::Steered { .. } | Mode::ProxyProtocol { .. } | Mode::Transparent { .. } => {
            socket::listen(address)
        }
    }
}

/// A UDP socket at `address` of the kind that the listener's mode wants.
fn listen_datagrams_as(listener: &Listener, address: SocketAddr) -> io::Result<UdpSocket> {
    match listener.mode {
        Mode::Transparent { interception: Interception::Tproxy, .. } => {
            socket::listen_datagrams_transparent(address)
        }
        Mode::Steered { .. } | Mode::ProxyProtocol { .. } | Mode::Transparent { .. } => {
            socket::listen_datagrams(address)
        }
    }
}

/// The same of one that is open already.
fn adapt(listener: &Listener, socket: &impl AsFd) -> io::Result<()> {
    match listener.mode {
        Mode::Transparent { interception: Interception::Tproxy, .. } => {
            socket::make_transparent(socket, listener.address)
        }
        Mode::Steered { .. } | Mode::ProxyProtocol { .. } | Mode::Transparent { .. } => Ok(()),
    }
}

/// Binds one listener at `wanted` for every worker; UDP takes the port that TCP has.
fn bind_at(listener: &Listener, wanted: SocketAddr, workers: usize) -> io::Result<(SocketAddr, Vec<Bound>)> {
    let mut address = wanted;
    let mut all = Vec::new();
    for _ in 0..workers {
        let mut bound = Bound { listener: listener.clone(), connections: None, datagrams: None };
        if listener.serves_tcp {
            let socket = listen_as(listener, address)?;
            address = socket.local_addr()?;
            bound.connections = Some(socket);
        }
        if listener.serves_udp {
            if wanted.port() == 0 && all.is_empty() && address.port() != 0 {
                // Somebody else's socket may share the port with us without a word.
                socket::probe_exclusive_datagrams(address)?;
            }
            let socket = listen_datagrams_as(listener, address)?;
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
) -> io::Result<WorkerHandle> {
    let (commands, mut inbox) = mpsc::channel(COMMANDS_MAX);
    let (outbox, reports) = reports::channel();
    // The event loop belongs to its thread, which says whether there is one.
    let (begun, start) = reports::sync_channel(1);
    let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
        let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
            Ok(runtime) => runtime,
            Err(error) => {
                let _ = begun.send(Err(error));
                return;
            }
        };
        let _ = begun.send(Ok(()));
        runtime.block_on(async move {
            let dns = dns.map_or_else(Vec::new, |part| part.start(&shared));
            let worker = Worker::new(shared, index);
            tokio::task::spawn_local(Rc::clone(&worker).keep_house());
            let relays = serve(&worker, sockets);
            while let Some(command) = inbox.recv().await {
                match command {
                    Command::Report => {
                        let _ = outbox.send(worker.report());
                    }
                    Command::ReportSettled => {
                        let _ = outbox.send(worker.report_settled());
                    }
                    Command::KeepFlows(keep) => {
                        worker.observe_headers(!keep);
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
                        worker.settle();
                        let _ = outbox.send(worker.last_report());
                        return;
                    }
                }
            }
        });
    })?;
    start.recv().map_err(|_| io::Error::other("the thread ended before it began"))??;
    Ok(WorkerHandle { commands, reports, thread, outstanding: false })
}

/// Serves the listeners on the worker's event loop; gives back those that take datagrams.
fn serve(worker: &Rc<Worker>, sockets: OfWorker) -> Vec<Rc<Relay>> {
    for socket in sockets.local {
        let worker = Rc::clone(worker);
        tokio::task::spawn_local(async move {
            if let Err(error) = accept::run_local(worker, socket).await {
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

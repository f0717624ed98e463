//! The thread that hears accounting: reads, decides, commits, changes the table, answers. In this order.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use billing_export::Session;
use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::clients::Client;
use super::control::{Control, Mode};
use super::figures::{Figures, Result as Became};
use super::port::{Port, Way};
use super::repeats::{Repeats, RequestId};
use super::{ClientsCell, Kept, Plan, Shelf, ShelfError, hear};
use crate::flow::session::accounting::{Away, Decision, Holder, Registry, RowChange};
use crate::flow::session::{Begun, Block, Change, Event, SessionState, Sessions};
use crate::flow::time::Moment;
use crate::net::sys::attention::Attention;
use crate::net::sys::batch::Batch as Received;
use crate::net::sys::clock::Clock;
use crate::wire::radius::{Facts, Packet, Request, RequestKind, Status, answer, authentic};

/// Requests of one commit: some milliseconds of work, and of waiting for whoever was first.
const BATCH_MAX: usize = 1_024;
/// How often time that passes is looked at, and a disk that took nothing is tried again.
const TICK: Duration = Duration::from_secs(1);
/// Ticks between two counts of the sessions by their state.
const STATES_TICKS: u32 = 5;
/// How soon the thread hears that it is wanted elsewhere.
const LOOK: Duration = Duration::from_millis(100);

/// What others may ask of accounting while the thread is at it.
pub struct Accounting {
    registry: Mutex<Registry>,
    control: Control,
    clock: Clock,
    trust_gap: Duration,
    /// What is counted.
    pub figures: Figures,
    /// Who may send.
    pub clients: ClientsCell,
}

impl Accounting {
    /// Who has an address, or a port of it.
    pub fn find(&self, address: IpAddr, port: Option<u16>) -> Option<Holder> {
        self.registry().find(address, port)
    }

    /// What wants attention: of the disk, and of each client.
    pub fn attention(&self) -> Vec<Attention> {
        let now_ms = self.clock.monotonic().as_millis();
        let clients = self.clients.load();
        let of_clients = clients.iter().flat_map(|client| client.attention(now_ms));
        self.figures.attention().into_iter().chain(of_clients).collect()
    }

    /// Hears nothing and writes nothing from here on, for another process; whether what it was at is done.
    pub fn rest(&self) -> bool {
        self.control.want(Mode::Rests)
    }

    /// Ends, for another process hears from here on. Its sockets are closed by then.
    pub fn end(&self) {
        self.control.want(Mode::Ends);
    }

    /// How long sessions are believed of which nobody hears.
    pub const fn trust_gap(&self) -> Duration {
        self.trust_gap
    }

    /// Goes on, for the other process has not come.
    pub fn go_on(&self) {
        self.control.want(Mode::Hears);
    }

    /// The sessions; a panic elsewhere does not make them unusable.
    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread.
pub struct Service {
    /// What others may ask.
    pub accounting: Arc<Accounting>,
    thread: JoinHandle<()>,
}

/// What the thread works with.
struct Server {
    accounting: Arc<Accounting>,
    ports: Vec<Port>,
    shelf: Box<dyn Shelf>,
    sessions: Arc<Sessions>,
    clock: Clock,
    repeats: Repeats,
    batch: Batch,
    /// Ticks so far.
    ticks: u32,
}

/// What follows from the requests of one commit.
#[derive(Default)]
struct Batch {
    rows: Vec<RowChange>,
    changes: Vec<Change>,
    begun: HashMap<Block, Begun>,
    lost: Vec<Session>,
    answers: Vec<(usize, Way, Vec<u8>)>,
}

impl Service {
    /// Restores what was kept, has the table say so, and begins to hear. `took_over`: another process heard until this moment.
    ///
    /// # Errors
    /// There is no thread, or what the system says of a socket.
    pub fn start(
        sockets: Vec<UdpSocket>,
        plan: &Plan,
        (clients, sessions): (ClientsCell, Arc<Sessions>),
        mut shelf: Box<dyn Shelf>,
        took_over: bool,
        clock: Clock,
    ) -> io::Result<Self> {
        let ports: Vec<Port> = sockets.into_iter().map(Port::new).collect::<Result<_, _>>()?;
        let now = clock.now();
        let mut registry = Registry::new(plan.limits, now);
        let figures = Figures::default();
        // Traffic flows without them: who is told of again is known again, when what is told can be kept.
        let kept = shelf.load().unwrap_or_else(|error| {
            figures.set_stuck();
            tracing::error!(%error, "sessions of accounting cannot be read: none is known, and nobody is answered (radius_unsaved)");
            Kept::default()
        });
        let away = away(&kept, plan, took_over, now.wall);
        let (rows, strange) = (kept.memory.rows.len(), kept.strange);
        let restored = registry.restore(kept.memory, away, now);
        tracing::info!(kept = rows, sessions = registry.open(), "sessions of accounting restored");
        if strange > 0 {
            tracing::warn!(
                strange,
                "sessions of accounting that nobody here understands stay where they are kept"
            );
        }
        let accounting = Arc::new(Accounting {
            registry: Mutex::new(registry),
            control: Control::default(),
            clock,
            trust_gap: plan.trust_gap,
            figures,
            clients,
        });
        let mut server = Server {
            accounting: Arc::clone(&accounting),
            ports,
            shelf,
            sessions,
            clock,
            repeats: Repeats::default(),
            batch: Batch::default(),
            ticks: 0,
        };
        server.take(restored);
        // Before anybody is served: a flow that begins now finds whose it is. What the disk does not take is tried again.
        server.apply();
        server.count_states();
        let thread = std::thread::Builder::new().name("radius".to_owned()).spawn(move || server.live())?;
        Ok(Self { accounting, thread })
    }

    /// Ends the thread when what it is at is done. Who was not answered asks again, and the next process answers.
    pub fn stop(self) {
        self.accounting.control.want(Mode::Ends);
        let _ = self.thread.join();
    }
}

/// How long nobody has listened.
fn away(kept: &Kept, plan: &Plan, took_over: bool, now: Timestamp) -> Away {
    if took_over {
        return Away::TookOver;
    }
    let gap = kept.alive.map(|alive| now.duration_since(alive));
    // A clock that was set back says nothing of how long it was.
    let gap = gap.and_then(|gap| Duration::try_from(gap).ok()).unwrap_or(Duration::MAX);
    Away::For { gap, trust_gap: plan.trust_gap }
}

impl Server {
    /// Hears until it is told to stop, or until it panics. Then its ports are closed, so that access servers turn elsewhere, and its
    /// sessions are stale.
    fn live(self) {
        let (accounting, sessions) = (Arc::clone(&self.accounting), Arc::clone(&self.sessions));
        if catch_unwind(AssertUnwindSafe(|| self.run())).is_ok() {
            return;
        }
        accounting.figures.set_ended();
        sessions.doubt_accounting(SessionState::Stale);
        tracing::error!("nobody hears accounting any more (radius_ended)");
        accounting.control.reach(Mode::Ends);
    }

    /// Hears until it is told to stop.
    fn run(mut self) {
        let (mut ticked, mut received) = (Instant::now(), Received::default());
        // What was restored, and that we hear.
        let mut is_saved = self.commit();
        loop {
            match self.accounting.control.wanted() {
                Mode::Hears => {}
                Mode::Rests => {
                    self.shelf.close();
                    self.accounting.control.reach(Mode::Rests);
                    continue;
                }
                Mode::Ends => break,
            }
            let left = TICK.saturating_sub(ticked.elapsed());
            if is_saved {
                self.wait(left.min(LOOK));
                self.read(&mut received);
            } else {
                std::thread::sleep(left.min(LOOK));
            }
            if ticked.elapsed() >= TICK {
                ticked = Instant::now();
                self.tick();
                if !is_saved {
                    self.apply_silence();
                }
                is_saved = self.commit();
            } else if is_saved && !self.batch.is_empty() {
                is_saved = self.commit();
            }
        }
        self.shelf.close();
        self.accounting.control.reach(Mode::Ends);
    }

    /// Waits until something comes, at most so long.
    fn wait(&self, limit: Duration) {
        let mut ports: Vec<PollFd<'_>> =
            self.ports.iter().map(|port| PollFd::from_borrowed_fd(port.as_fd(), PollFlags::IN)).collect();
        let limit = Timespec::try_from(limit).ok();
        let _ = poll(&mut ports, limit.as_ref());
    }

    /// Reads what waits, as much as one commit takes: of each socket its share.
    fn read(&mut self, received: &mut Received) {
        let clients = self.accounting.clients.load_full();
        let share = BATCH_MAX.checked_div(self.ports.len()).unwrap_or(0).max(1);
        let ports = std::mem::take(&mut self.ports);
        for (number, port) in ports.iter().enumerate() {
            port.read(received, share, |way, datagram| match clients.find(way.source.ip()) {
                Some(client) => self.hear(client, number, way, datagram),
                None => self.accounting.figures.count_unknown(),
            });
        }
        self.ports = ports;
    }

    /// One datagram of a client.
    fn hear(&mut self, client: &Client, port: usize, way: Way, datagram: &[u8]) {
        let now = self.clock.now();
        let now_ms = now.monotonic.as_millis();
        let packet = match Packet::parse(datagram) {
            Ok(packet) => packet,
            Err(fault) => {
                tracing::debug!(client = &*client.name, %fault, "accounting that breaks the format");
                return client.heard.count(Status::Other(0), Became::Malformed, now_ms);
            }
        };
        let request = match authentic(packet, client.secret.octets()) {
            Ok(request) => request,
            Err(fault) => {
                tracing::debug!(client = &*client.name, %fault, "accounting that is not the client's");
                return client.heard.count(Status::Other(0), Became::BadAuthenticator, now_ms);
            }
        };
        client.heard.note(now_ms);
        if request.kind() == RequestKind::Accounting {
            self.decide(client, port, way.source, &request, now);
        }
        let mut octets = Vec::new();
        answer(&request, client.secret.octets(), &mut octets);
        self.batch.answers.push((port, way, octets));
    }

    /// One Accounting-Request.
    fn decide(
        &mut self,
        client: &Client,
        socket: usize,
        source: SocketAddr,
        request: &Request<'_>,
        now: Moment,
    ) {
        let facts = Facts::of(request);
        let packet = request.packet();
        let id = RequestId {
            source,
            socket,
            identifier: packet.identifier(),
            authenticator: *packet.authenticator(),
        };
        let now_ms = now.monotonic.as_millis();
        if self.repeats.note(id, now.monotonic) {
            return client.heard.count(facts.status, Became::Repeated, now_ms);
        }
        let report = hear::report(client, &facts, source.ip());
        let decision = self.accounting.registry().decide(&report, now);
        client.heard.count(facts.status, Became::Decided(decision.outcome), now_ms);
        if decision.clock_doubt {
            client.heard.doubt(now_ms);
        }
        decision.takeovers.iter().for_each(|kind| self.accounting.figures.count_takeover(*kind));
        self.take(decision);
    }

    /// What follows from time that has passed.
    fn tick(&mut self) {
        let decision = self.accounting.registry().tick(self.clock.now());
        self.take(decision);
        self.count_dropped();
        self.ticks = self.ticks.wrapping_add(1);
        if self.ticks.is_multiple_of(STATES_TICKS) {
            self.count_states();
        }
    }

    /// Has the table say at once which sessions nothing was heard of for too long: that takes nothing from anybody, and waits for no
    /// disk. It is said again in its turn.
    fn apply_silence(&self) {
        let is_silence = |change: &&Change| change.event == Event::SetState(SessionState::Stale);
        let silent: Vec<Change> = self.batch.changes.iter().filter(is_silence).cloned().collect();
        self.sessions.apply(silent);
    }

    /// Counts what found no room at the sockets.
    fn count_dropped(&mut self) {
        let dropped = self.ports.iter_mut().map(Port::take_dropped).fold(0, u32::saturating_add);
        self.accounting.figures.count_dropped(dropped);
    }

    /// Counts the sessions by their state.
    fn count_states(&self) {
        let states = self.accounting.registry().states();
        self.accounting.figures.set_states(states);
    }

    /// Adds what was decided to what is to be committed.
    fn take(&mut self, decision: Decision) {
        let Decision { changes, rows, bound, ended, .. } = decision;
        self.batch.lost.extend(ended.into_iter().filter(|ended| ended.stop_lost).map(|ended| ended.session));
        self.batch.changes.extend(changes);
        self.batch.begun.extend(
            bound
                .into_iter()
                .map(|bound| (bound.block, Begun { start: bound.start, free_since: bound.free_since })),
        );
        self.batch.rows.extend(rows);
    }

    /// Has the disk take what was decided, then everybody know it, then whoever said it; whether the disk did.
    fn commit(&mut self) -> bool {
        let began = Instant::now();
        match self.shelf.commit(&self.batch.rows, self.clock.now().wall) {
            Ok(()) => self.accounting.figures.count_commit(began.elapsed()),
            Err(error) => {
                if !self.accounting.figures.set_stuck() {
                    tracing::error!(%error, "what accounting changes cannot be saved: nobody is answered (radius_unsaved)");
                }
                if matches!(error, ShelfError::Gone) {
                    // What waits to be kept is among it.
                    self.batch.rows = self.accounting.registry().rows();
                }
                return false;
            }
        }
        self.batch.rows.clear();
        self.apply();
        for (number, way, octets) in self.batch.answers.drain(..) {
            if let Some(port) = self.ports.get(number) {
                port.answer(way, &octets);
            }
        }
        true
    }

    /// Changes the table of sessions. A block that changes hands twice does so in two writes: a flow must not find it in the hands
    /// that it was in, and take it that nothing happened.
    fn apply(&mut self) {
        // Before they end there.
        self.sessions.note_lost(self.batch.lost.drain(..));
        let begun = std::mem::take(&mut self.batch.begun);
        let mut touched: HashSet<Block> = HashSet::new();
        let (mut write, mut full) = (Vec::new(), 0_usize);
        for change in self.batch.changes.drain(..) {
            // Another state of a session is no change of hands.
            let is_new = matches!(change.event, Event::SetState(_)) || touched.insert(change.block);
            if !is_new {
                full = full.saturating_add(apply_to(&self.sessions, &mut write, &begun));
                touched.clear();
                touched.insert(change.block);
            }
            write.push(change);
        }
        full = full.saturating_add(apply_to(&self.sessions, &mut write, &begun));
        if full > 0 {
            self.accounting.figures.set_full();
        }
    }
}

/// Makes one write of these changes; how many of them found no room.
fn apply_to(sessions: &Sessions, write: &mut Vec<Change>, begun: &HashMap<Block, Begun>) -> usize {
    if write.is_empty() {
        return 0;
    }
    let own = write.iter().filter_map(|change| Some((change.block, *begun.get(&change.block)?))).collect();
    sessions.apply_begun(write.drain(..), own).full
}

impl Batch {
    /// Whether nothing follows and nobody waits.
    fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.changes.is_empty() && self.answers.is_empty()
    }
}

#[cfg(test)]
mod tests;

//! The process that holds sockets and ledger: gives them to a new one, and takes the counts of those before it.

use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;
use std::{fs, io};

use tokio::sync::watch;

use super::remainder::Remainder;
use super::words::{Answer, Delta, FromNew, FromOld, Request, Terms};
use super::{frame, peer_process};
use crate::app::export::orders::{Fate, MeetingPlace, Order};
use crate::app::node::snapshot::Snapshot;
use crate::net::ingress::inherited::{Offered, Served};
use crate::net::ingress::local::{LocalPlace, MODE_OWN, Standing};
use crate::net::node::pool::Remote;
use crate::net::radius::Accounting;

/// Connections at once: a new process, and processes that drain.
const CONNECTIONS_MAX: usize = 32;
/// How long a process that connects may take to say what it wants.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// How long a new process may take to read configuration, list and answers.
const PREPARE_LIMIT: Duration = Duration::from_secs(300);
/// How long our own export may take to save and close.
const RELEASE_LIMIT: Duration = Duration::from_secs(60);
/// Pause after an error of accept(2).
const BACK_OFF: Duration = Duration::from_secs(1);

/// What is handed over, and who is told.
pub struct Incumbent {
    /// Where the socket stands.
    pub path: PathBuf,
    /// What a process that connects must agree on.
    pub terms: Terms,
    /// Second descriptors of the listening sockets; none once this process accepts nothing more.
    pub offers: Mutex<Vec<Offered>>,
    /// Trusted answers, which the new process reads.
    pub snapshot: Snapshot,
    /// The export task.
    pub orders: mpsc::Sender<Order>,
    /// What hears accounting, if anything does.
    pub accounting: Option<Arc<Accounting>>,
    /// The workers.
    pub workers: Remote,
    /// Set to the new process's id when it accepts.
    pub successor: watch::Sender<Option<u32>>,
    /// A new process is at it.
    pub busy: AtomicBool,
    /// This process drains and has taken the ledger back, because the one that took over has ended: the ledger is all that
    /// it can give.
    pub returned: AtomicBool,
    /// Inode of the socket that was bound last; 0 before.
    pub bound: AtomicU64,
}

/// Binds the socket; it takes the place of one that a process before left behind.
///
/// # Errors
/// What the system says; a path that is too long for a socket.
fn bind(path: &Path) -> io::Result<(UnixListener, u64)> {
    let place = LocalPlace { path: path.to_path_buf(), mode: MODE_OWN, group: None };
    let (listener, inode) = place.listen_known(Standing::Replaced)?;
    listener.set_nonblocking(false)?;
    Ok((listener, inode))
}

impl Incumbent {
    /// Takes the socket's place and serves it; without it the node runs all the same.
    pub fn listen(self: &Arc<Self>) {
        let served = bind(&self.path).and_then(|(listener, inode)| {
            self.bound.store(inode, Ordering::Release);
            Arc::clone(self).serve(listener)
        });
        if let Err(error) = served {
            tracing::warn!(%error, "{}: a restart without a gap is not possible", self.path.display());
        }
    }

    /// Serves connections, each on a thread of its own, until the process ends.
    ///
    /// # Errors
    /// When there is no thread.
    fn serve(self: Arc<Self>, listener: UnixListener) -> io::Result<()> {
        let open = Arc::new(AtomicUsize::new(0));
        std::thread::Builder::new()
            .name("restart".to_owned())
            .spawn(move || {
                for stream in listener.incoming() {
                    let Ok(stream) = stream else {
                        std::thread::sleep(BACK_OFF);
                        continue;
                    };
                    let place = Permit(Arc::clone(&open));
                    if open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
                        continue;
                    }
                    let incumbent = Arc::clone(&self);
                    let _ = std::thread::Builder::new().name("restart".to_owned()).spawn(move || {
                        let _place = place;
                        incumbent.talk(&stream);
                    });
                }
            })
            .map(|_| ())
    }

    /// Whether the socket is this process's.
    fn has_place(&self) -> bool {
        let bound = self.bound.load(Ordering::Acquire);
        bound != 0 && fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == bound)
    }

    /// Takes the socket away, unless another process has its place.
    pub fn leave(&self) {
        if self.has_place() {
            let _ = fs::remove_file(&self.path);
        }
    }

    /// Offers nothing any more: this process stops by itself.
    pub fn withdraw(&self) {
        self.offers().clear();
    }

    /// One connection.
    fn talk(self: &Arc<Self>, stream: &UnixStream) {
        let told = peer_process(stream).and_then(|process| {
            let (request, _) = frame::receive::<Request>(stream, Some(REQUEST_LIMIT))?;
            if *request.terms() != self.terms {
                let why = format!("found {:?}, wanted {:?}", request.terms(), self.terms);
                return frame::send(stream, &FromOld::Refused { why }, None);
            }
            match request {
                Request::TakeOver(_) => self.hand_over(stream, process),
                Request::Remainder(_) => self.take_counts(stream),
            }
        });
        if let Err(error) = told
            && error.kind() != io::ErrorKind::UnexpectedEof
        {
            tracing::warn!(%error, "restart socket: a connection failed");
        }
    }

    /// Gives everything to a new process, or goes on as if nothing had happened.
    fn hand_over(self: &Arc<Self>, stream: &UnixStream, process: u32) -> io::Result<()> {
        let refuse = |why: &str| {
            tracing::warn!(process, "a new process may not take over: {why}");
            frame::send(stream, &FromOld::Refused { why: why.to_owned() }, None)
        };
        if self.busy.swap(true, Ordering::AcqRel) {
            return refuse("another process is taking over");
        }
        let free = Free(&self.busy);
        if self.returned.load(Ordering::Acquire) {
            return self.hand_ledger(stream, process, free);
        }
        if self.offers().is_empty() {
            return refuse("this process is ending");
        }
        tracing::info!(process, "a new process takes over");
        self.snapshot.write();
        for offer in self.offers().iter() {
            let message = match offer.wanted.clone() {
                Served::Address(wanted) => FromOld::Socket { wanted },
                Served::Path(wanted) => FromOld::LocalSocket { wanted },
            };
            frame::send(stream, &message, Some(offer.socket.as_fd()))?;
        }
        frame::send(stream, &FromOld::NoMoreSockets, None)?;
        match frame::receive::<FromNew>(stream, Some(PREPARE_LIMIT)) {
            Ok((FromNew::Prepared, _)) => {}
            Ok((FromNew::Accepting, _)) => return refuse("it said something out of turn"),
            Err(error) => {
                tracing::error!(process, %error, "the new process did not start: this one goes on");
                return Ok(());
            }
        }
        self.snapshot.hold(true);
        self.workers.keep_flows(true);
        if let Err(why) = self.release() {
            self.take_back();
            return refuse(&why);
        }
        let accepting = frame::send(stream, &FromOld::Released, None)
            // Only its end can say that it will not: until then the ledger is its own.
            .and_then(|()| frame::receive::<FromNew>(stream, None));
        match accepting {
            Ok((FromNew::Accepting, _)) => {
                // Whoever comes now belongs to the new process.
                std::mem::forget(free);
                self.withdraw();
                let _ = self.orders.send(Order::HandOn(Arc::<Self>::clone(self)));
                self.successor.send_replace(Some(process));
                Ok(())
            }
            Ok((FromNew::Prepared, _)) | Err(_) => {
                self.take_back();
                tracing::error!(process, "the new process ended before it accepted: this one goes on");
                Ok(())
            }
        }
    }

    /// Gives the ledger, which this draining process had taken back, to a new process; there are no sockets to give.
    fn hand_ledger(self: &Arc<Self>, stream: &UnixStream, process: u32, free: Free<'_>) -> io::Result<()> {
        tracing::info!(process, "a new process takes the ledger over from this one, which drains");
        frame::send(stream, &FromOld::NoMoreSockets, None)?;
        match frame::receive::<FromNew>(stream, Some(PREPARE_LIMIT)) {
            Ok((FromNew::Prepared, _)) => {}
            Ok((FromNew::Accepting, _)) | Err(_) => return Ok(()),
        }
        if let Err(why) = self.release() {
            let _ = self.orders.send(Order::Resume);
            return frame::send(stream, &FromOld::Refused { why }, None);
        }
        let accepting = frame::send(stream, &FromOld::Released, None)
            .and_then(|()| frame::receive::<FromNew>(stream, None));
        match accepting {
            Ok((FromNew::Accepting, _)) => {
                std::mem::forget(free);
                self.give_place();
                let _ = self.orders.send(Order::HandOn(Arc::<Self>::clone(self)));
            }
            Ok((FromNew::Prepared, _)) | Err(_) => {
                let _ = self.orders.send(Order::Resume);
                self.listen();
                tracing::error!(process, "the new process ended before it accepted: this one goes on");
            }
        }
        Ok(())
    }

    /// Has the export save what was counted and close the ledger.
    fn release(&self) -> Result<(), String> {
        if self.accounting.as_ref().is_some_and(|accounting| !accounting.rest()) {
            return Err("accounting does not come to rest".to_owned());
        }
        let (answer, released) = mpsc::channel();
        let _ = self.orders.send(Order::Release(answer));
        released.recv_timeout(RELEASE_LIMIT).map_err(|_| "the ledger does not answer".to_owned())?
    }

    /// The ledger is ours again, and so is the place of the socket, which the new process may have taken.
    fn take_back(self: &Arc<Self>) {
        let _ = self.orders.send(Order::Resume);
        if let Some(accounting) = &self.accounting {
            accounting.go_on();
        }
        self.snapshot.hold(false);
        self.workers.keep_flows(false);
        self.listen();
    }

    /// Takes the counts of a draining process, one delta at a time.
    fn take_counts(&self, stream: &UnixStream) -> io::Result<()> {
        frame::send(stream, &Answer::Welcome, None)?;
        loop {
            let (delta, _) = frame::receive::<Delta>(stream, None)?;
            let (answer, fate) = mpsc::channel();
            let fate = match self.orders.send(Order::Take(Box::new(delta), answer)) {
                // Without an answer nobody knows.
                Ok(()) => fate.recv().map_err(|_| io::ErrorKind::UnexpectedEof)?,
                Err(_) => Fate::NotTaken,
            };
            match fate {
                Fate::Saved => frame::send(stream, &Answer::Saved, None)?,
                Fate::NotTaken => return frame::send(stream, &Answer::NotTaken, None),
            }
        }
    }

    /// The sockets; a panic elsewhere does not make them unusable.
    fn offers(&self) -> MutexGuard<'_, Vec<Offered>> {
        self.offers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among the connections.
struct Permit(Arc<AtomicUsize>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A new process is no longer at it.
struct Free<'b>(&'b AtomicBool);

impl Drop for Free<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl MeetingPlace for Incumbent {
    fn remainder(&self) -> Box<Remainder> {
        Box::new(Remainder::new(self.path.clone(), self.terms.clone()))
    }

    fn take_place(self: Arc<Self>) {
        self.returned.store(true, Ordering::Release);
        self.busy.store(false, Ordering::Release);
        self.listen();
    }

    fn has_newcomer(&self) -> bool {
        !self.has_place() && UnixStream::connect(&self.path).is_ok()
    }

    fn give_place(&self) {
        self.returned.store(false, Ordering::Release);
    }
}

//! Restarts without a gap in which the old process is killed alone: the new one has its sockets, and serves.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

#[allow(dead_code, unused_imports, reason = "each test uses a part of it")]
#[path = "crash/mod.rs"]
mod crash;

use std::fs::{self, File};
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use crash::node::Daemon;
use crash::{Books, Bytes, Kind, Lab, PATIENCE, PIECE, Row, Shape, Visit, sum_where, wait_for};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

/// Flows that end are of this kind: all of their bytes must be in the records.
const WHOLE: Kind = Kind::FirstListed;
/// The one that is open when the old process is killed is of this kind.
const CUT: Kind = Kind::SecondListed;
/// Bytes of a short answer.
const SHORT: u64 = 700;

/// A node with an old process that has counted both kinds of flows.
struct Before<'b> {
    old: Daemon,
    /// Its answer does not end.
    open: Visit<'b>,
}

impl<'b> Before<'b> {
    fn new(lab: &Lab, books: &'b Books) -> Self {
        let old = lab.start(None);
        let mut open = Visit::open(lab, books, CUT).unwrap();
        let request = open.request(10_000 * PIECE as u64, Some(20));
        open.send(request.as_bytes()).unwrap();
        assert!(open.read(&mut [0; 64]).unwrap() > 0);
        visit(lab, books);
        wait_for("the counts on the disk", || {
            assert!(open.read(&mut [0; 4096]).unwrap() > 0);
            let sums = lab.ledger().sums;
            let is_there = sums.get(&WHOLE.row()) == Some(&books.carried(WHOLE));
            (is_there && sums.contains_key(&CUT.row())).then_some(())
        });
        Self { old, open }
    }

    /// SIGKILL; the open flow ends with it.
    fn kill(mut self) {
        self.old.kill();
        let mut block = [0; 4096];
        while matches!(self.open.read(&mut block), Ok(1..)) {}
    }
}

/// A whole flow.
fn visit(lab: &Lab, books: &Books) {
    let mut visit = Visit::open(lab, books, WHOLE).unwrap();
    visit.exchange(SHORT, Duration::ZERO).unwrap();
    visit.end().unwrap();
}

/// The new process serves: whoever connected while nobody accepted, then whoever comes. Then it ends in order, and the
/// records hold every byte of the flows that ended, and at most those of the one that was cut.
fn assert_served(lab: &Lab, books: &Books, mut new: Daemon, mut waiting: Visit<'_>) {
    wait_for("the new process", || {
        assert!(new.ended().is_none(), "{}", lab.log());
        (lab.log().matches("gateway runs").count() == 2).then_some(())
    });
    waiting.exchange(SHORT, Duration::ZERO).unwrap();
    waiting.end().unwrap();
    visit(lab, books);
    lab.wait_ready();
    // It is the next one's predecessor like any other.
    let third = lab.spawn_successor();
    wait_for("a third process to take over", || lab.log().contains("another process accepts").then_some(()));
    visit(lab, books);
    assert!(new.wait().success(), "{}", lab.log());
    third.stop(lab);
    lab.verify();
    let totals = lab.totals();
    assert_eq!(totals.get(&WHOLE.row()), Some(&books.carried(WHOLE)), "{totals:?}\n{}", lab.log());
    let sent = books.carried(CUT);
    let offered = books.at_most(&lab.origin, CUT);
    let cut = sum_where(&totals, |row| *row == CUT.row() || *row == Row::orphaned());
    assert!(cut != Bytes::default() && cut.at_most(offered), "{cut:?} of {sent:?} {offered:?}");
    let all = sum_where(&totals, |_| true);
    assert_eq!(all, cut.plus(books.carried(WHOLE)), "{totals:?}");
    lab.render_again();
}

/// It reads the subscribers from a pipe, and until somebody writes there it has the sockets and has not said that it is
/// prepared.
#[test]
fn s_an_old_process_killed_while_the_new_one_prepares_leaves_it_to_serve() {
    let lab = Lab::new(&Shape::default());
    let books = Books::default();
    let before = Before::new(&lab, &books);
    let path = lab.folder().join("subscribers.csv");
    let table = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let new = lab.spawn_successor();
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap();
    // Without a reader at the other end it does not open.
    let mut pipe = wait_for("the new process to prepare", || {
        File::options().write(true).custom_flags(nonblocking).open(&path).ok()
    });
    assert!(lab.log().contains("a new process takes over"), "{}", lab.log());
    before.kill();
    let waiting = Visit::open(&lab, &books, WHOLE).expect("nobody is refused");
    pipe.write_all(&table).unwrap();
    drop(pipe);
    // The third process reads it again.
    fs::remove_file(&path).unwrap();
    fs::write(&path, &table).unwrap();
    assert_served(&lab, &books, new, waiting);
}

/// One message of the restart protocol, with its descriptor.
fn hear(from: &UnixStream) -> (Vec<u8>, Option<OwnedFd>) {
    let mut message = vec![0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let length = recvmsg(from, &mut [IoSliceMut::new(&mut message)], &mut control, RecvFlags::CMSG_CLOEXEC);
    assert_eq!(length.unwrap().bytes, 4);
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    let length = u32::from_be_bytes(message[..].try_into().unwrap()) as usize;
    message.resize(4 + length, 0);
    let mut from = from;
    from.read_exact(&mut message[4..]).unwrap();
    (message, descriptor)
}

/// Passes it on.
fn say(mut to: &UnixStream, (message, descriptor): &(Vec<u8>, Option<OwnedFd>)) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = descriptor.as_ref().map(|descriptor| [descriptor.as_fd()]);
    if let Some(descriptors) = &descriptors {
        assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
    }
    let sent = sendmsg(to, &[IoSlice::new(message)], &mut control, SendFlags::NOSIGNAL).unwrap();
    to.write_all(&message[sent..]).unwrap();
}

/// Whether a message says this and nothing else.
fn is(message: &[u8], word: &str) -> bool {
    message[4..] == *format!("\"{word}\"").as_bytes()
}

/// A stranger between an old process and a new one, so that the moment is his to choose.
struct Between {
    to_old: UnixStream,
    to_new: UnixStream,
    new: Daemon,
}

impl Between {
    /// Passes on what each says until the new process has the sockets.
    fn new(lab: &Lab) -> Self {
        let path = lab.state.join("restart.sock");
        let aside = lab.state.join("restart.aside");
        wait_for("the restart socket", || fs::rename(&path, &aside).ok());
        let listener = UnixListener::bind(&path).unwrap();
        let to_old = UnixStream::connect(&aside).unwrap();
        let new = lab.spawn_successor();
        let (to_new, _) = listener.accept().unwrap();
        for stream in [&to_old, &to_new] {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        say(&to_old, &hear(&to_new));
        loop {
            let message = hear(&to_old);
            say(&to_new, &message);
            if is(&message.0, "NoMoreSockets") {
                return Self { to_old, to_new, new };
            }
            assert!(message.1.is_some(), "{:?}", String::from_utf8_lossy(&message.0));
        }
    }
}

#[test]
fn s_an_old_process_killed_before_it_releases_the_ledger_leaves_the_new_one_to_serve() {
    let lab = Lab::new(&Shape::default());
    let books = Books::default();
    let before = Before::new(&lab, &books);
    let Between { to_old, to_new, new } = Between::new(&lab);
    assert!(is(&hear(&to_new).0, "Prepared"));
    before.kill();
    let waiting = Visit::open(&lab, &books, WHOLE).expect("nobody is refused");
    drop((to_old, to_new));
    assert_served(&lab, &books, new, waiting);
}

#[test]
fn s_an_old_process_killed_when_it_has_released_the_ledger_leaves_the_new_one_to_serve() {
    let lab = Lab::new(&Shape::default());
    let books = Books::default();
    let before = Before::new(&lab, &books);
    let Between { to_old, to_new, new } = Between::new(&lab);
    let prepared = hear(&to_new);
    assert!(is(&prepared.0, "Prepared"));
    say(&to_old, &prepared);
    let released = hear(&to_old);
    assert!(is(&released.0, "Released"), "{:?}", String::from_utf8_lossy(&released.0));
    before.kill();
    let waiting = Visit::open(&lab, &books, WHOLE).expect("nobody is refused");
    // As the system does: what was said is heard, then the end.
    say(&to_new, &released);
    drop((to_old, to_new));
    assert_served(&lab, &books, new, waiting);
}

/// The end of a connection is not the end of a process: one that goes on has the ledger's lock, and serves alone.
#[test]
fn s_a_new_process_that_the_old_one_lets_go_of_does_not_serve_beside_it() {
    let lab = Lab::new(&Shape::default());
    let books = Books::default();
    let Before { old, open } = Before::new(&lab, &books);
    let Between { to_old, to_new, mut new } = Between::new(&lab);
    assert!(is(&hear(&to_new).0, "Prepared"));
    drop((to_old, to_new));
    assert_eq!(new.wait().code(), Some(74), "{}", lab.log());
    assert_eq!(lab.log().matches("gateway runs").count(), 1, "{}", lab.log());
    visit(&lab, &books);
    lab.origin.hurry();
    open.end().unwrap();
    old.stop(&lab);
    lab.verify();
    assert_eq!(lab.totals(), books.rows());
}

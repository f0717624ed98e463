//! Restarts without a gap: nobody is refused, no flow is cut, every byte is in the records once.

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

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crash::node::Daemon;
use crash::{Books, Bytes, Kind, Lab, PATIENCE, PIECE, Row, Shape, Visit, sum_where, wait_for};
use rustix::process::Signal;

/// Restarts of the long test.
const RESTARTS: usize = 20;
/// New flows a second that the load aims at.
const FLOWS_PER_SECOND: u64 = 1_000;
/// Subscribers' threads.
const THREADS: usize = 8;
/// New flows between two restarts at least.
const FLOWS_PER_RESTART: u64 = 300;
/// Bytes of a long answer: minutes, unless the origin hurries.
const LONG: u64 = 10_000 * PIECE as u64;
/// Bytes of a short answer.
const SHORT: u64 = 700;

/// A node whose flows may take long to drain.
fn patient() -> Shape {
    Shape { drain: "120 s", drain_hard: "120 s", ..Shape::default() }
}

/// How often the log says `text`.
fn said(lab: &Lab, text: &str) -> usize {
    lab.log().matches(text).count()
}

/// Starts a process that takes over, and waits until the one before drains.
fn take_over(lab: &Lab) -> Daemon {
    let before = said(lab, "another process accepts");
    let mut daemon = lab.spawn_successor();
    wait_for("the new process to take over", || {
        assert!(daemon.ended().is_none(), "{}", lab.log());
        (said(lab, "another process accepts") > before).then_some(())
    });
    daemon
}

/// An open flow whose answer of so many bytes comes in pieces; its first bytes are read.
fn slow<'b>(lab: &Lab, books: &'b Books, kind: Kind, length: u64, pause_ms: u64) -> Visit<'b> {
    let mut visit = Visit::open(lab, books, kind).unwrap();
    let request = visit.request(length, Some(pause_ms));
    visit.send(request.as_bytes()).unwrap();
    assert!(visit.read(&mut [0; 64]).unwrap() > 0);
    visit
}

/// New flows at an even rate until told to stop; what failed and how.
struct Stream<'a> {
    lab: &'a Lab,
    books: &'a Books,
    stop: AtomicBool,
    done: AtomicU64,
    faults: Mutex<Vec<String>>,
}

impl Stream<'_> {
    /// One thread of it.
    fn run(&self, number: usize) {
        let begun = Instant::now();
        let pause = Duration::from_micros(1_000_000 * THREADS as u64 / FLOWS_PER_SECOND);
        let mut due = Duration::ZERO;
        for count in 0.. {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let kind = Kind::ALL[(number + count) % Kind::ALL.len()];
            if let Err(error) = self.flow(kind) {
                self.faults.lock().unwrap().push(format!("{kind:?}: {:?} {error}", error.kind()));
            }
            self.done.fetch_add(1, Ordering::Relaxed);
            // A machine that cannot keep up is not asked to catch up.
            due += pause;
            if let Some(early) = due.checked_sub(begun.elapsed()) {
                std::thread::sleep(early);
            }
        }
    }

    /// One short flow from its beginning to its end.
    fn flow(&self, kind: Kind) -> io::Result<()> {
        let mut visit = Visit::open(self.lab, self.books, kind)?;
        visit.exchange(SHORT, Duration::ZERO)?;
        visit.end()
    }
}

/// Everything in the records, whoever's.
fn recorded(lab: &Lab) -> Bytes {
    sum_where(&lab.totals(), |_| true)
}

/// Everything that the subscribers sent and read.
fn carried(books: &Books) -> Bytes {
    Kind::ALL.into_iter().fold(Bytes::default(), |sum, kind| sum.plus(books.carried(kind)))
}

/// All bytes are in the records once: each row has at most what was carried of its kind, and what a restart found
/// without a verdict makes up the rest.
fn assert_counted_once(lab: &Lab, books: &Books) {
    lab.verify();
    let totals = lab.totals();
    for (row, found) in totals.iter().filter(|(row, _)| **row != Row::orphaned()) {
        let kind = Kind::ALL.into_iter().find(|kind| kind.row() == *row);
        let kind = kind.unwrap_or_else(|| panic!("{row:?} {found:?}\n{}", lab.log()));
        assert!(found.at_most(books.carried(kind)), "{row:?} {found:?} {:?}", books.carried(kind));
    }
    assert_eq!(recorded(lab), carried(books), "{totals:?}\n{}", lab.log());
    // Hellos of a moment, not flows.
    let orphaned = totals.get(&Row::orphaned()).copied().unwrap_or_default();
    println!("without a verdict at a restart: {orphaned:?} of {:?}", carried(books));
    assert!(orphaned.up * 10 <= carried(books).up, "{orphaned:?}");
}

#[test]
fn s_twenty_restarts_under_load_refuse_nobody_and_count_every_byte_once() {
    let lab = Lab::new(&patient());
    let books = Books::default();
    let mut daemons = vec![lab.start(None)];
    let stream = Stream {
        lab: &lab,
        books: &books,
        stop: AtomicBool::new(false),
        done: AtomicU64::new(0),
        faults: Mutex::default(),
    };
    let (begun, took) = std::thread::scope(|scope| {
        for number in 0..THREADS {
            let stream = &stream;
            scope.spawn(move || stream.run(number));
        }
        // Open from before the first restart to after the last one.
        let mut open: Vec<_> = Kind::ALL.into_iter().map(|kind| slow(&lab, &books, kind, LONG, 30)).collect();
        let begun = Instant::now();
        for _ in 0..RESTARTS {
            let flows = stream.done.load(Ordering::Relaxed);
            daemons.push(take_over(&lab));
            let more = || stream.done.load(Ordering::Relaxed) >= flows + FLOWS_PER_RESTART;
            wait_for("new flows", || more().then_some(()));
            for visit in open.iter_mut().take(Kind::ALL.len()) {
                assert!(visit.read(&mut [0; 4096]).unwrap() > 0, "{}", lab.log());
            }
            // One that begins under this process and outlives it.
            open.push(slow(&lab, &books, Kind::FirstListed, 30 * PIECE as u64, 30));
            if open.len() > 10 {
                open.remove(5).end().unwrap();
            }
        }
        let took = begun.elapsed();
        stream.stop.store(true, Ordering::Relaxed);
        lab.origin.hurry();
        for visit in open {
            visit.end().unwrap();
        }
        (begun, took)
    });
    let flows = stream.done.load(Ordering::Relaxed);
    println!("{RESTARTS} restarts in {took:?}, {flows} flows in {:?}", begun.elapsed());
    let faults = stream.faults.lock().unwrap();
    assert!(
        faults.is_empty(),
        "{} of {flows}: {:?}\n{}",
        faults.len(),
        &faults[..faults.len().min(5)],
        lab.log()
    );
    let last = daemons.pop().unwrap();
    for daemon in &mut daemons {
        assert!(daemon.wait().success(), "{}", lab.log());
    }
    last.stop(&lab);
    assert_eq!(said(&lab, "may be in no record"), 0, "{}", lab.log());
    assert_counted_once(&lab, &books);
    lab.render_again();
}

#[test]
fn s_a_flow_goes_on_over_a_restart_to_its_end_and_is_whole_in_the_records() {
    let lab = Lab::new(&patient());
    let books = Books::default();
    let mut old = lab.start(None);
    let length = 60 * PIECE as u64;
    let mut visit = slow(&lab, &books, Kind::SecondListed, length, 20);
    let new = take_over(&lab);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").len() as u64;
    let mut block = [0; 4096];
    while books.carried(Kind::SecondListed).down < head + length {
        assert!(visit.read(&mut block).unwrap() > 0, "{}", lab.log());
    }
    visit.end().unwrap();
    assert!(old.wait().success(), "{}", lab.log());
    new.stop(&lab);
    assert_counted_once(&lab, &books);
    // Its verdict stood before the restart.
    assert_eq!(lab.totals(), books.rows());
}

/// The ledger changes hands in the middle of a request: its first half is nobody's, the rest has its verdict.
#[test]
fn s_bytes_without_a_verdict_at_a_restart_are_nobodys_and_counted_once() {
    let lab = Lab::new(&patient());
    let books = Books::default();
    let mut old = lab.start(None);
    let mut visit = Visit::open(&lab, &books, Kind::FirstListed).unwrap();
    let request = visit.request(SHORT, None);
    let (first, second) = request.as_bytes().split_at(request.len() / 2);
    visit.send(first).unwrap();
    wait_for("them to be pending", || (lab.ledger().pending.up == first.len() as u64).then_some(()));
    let new = take_over(&lab);
    visit.send(second).unwrap();
    visit.read_answer(SHORT).unwrap();
    visit.end().unwrap();
    assert!(old.wait().success(), "{}", lab.log());
    new.stop(&lab);
    lab.verify();
    let totals = lab.totals();
    assert_eq!(totals[&Row::orphaned()], Bytes { up: first.len() as u64, down: 0 });
    let carried = books.carried(Kind::FirstListed);
    let rest = Bytes { up: second.len() as u64, down: carried.down };
    assert_eq!(totals[&Kind::FirstListed.row()], rest);
}

#[test]
fn s_by_signal_the_gateway_starts_itself_anew() {
    let lab = Lab::new(&patient());
    let books = Books::default();
    let mut old = lab.start(None);
    old.signal(Signal::USR2);
    wait_for("the new process", || (said(&lab, "another process accepts") == 1).then_some(()));
    let mut visit = Visit::open(&lab, &books, Kind::FirstListed).unwrap();
    visit.exchange(SHORT, Duration::ZERO).unwrap();
    visit.end().unwrap();
    assert!(old.wait().success(), "{}", lab.log());
    // The process id stands in the old one's word of it.
    let log = lab.log();
    let line = log.lines().find(|line| line.contains("another process accepts")).unwrap();
    let process = line.split("process=").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap();
    let process = rustix::process::Pid::from_raw(process.parse().unwrap()).unwrap();
    rustix::process::kill_process(process, Signal::TERM).unwrap();
    wait_for("its end", || said(&lab, "stopped: what was counted is sealed").ge(&2).then_some(()));
    lab.verify();
    assert_eq!(lab.totals(), books.rows());
}

#[test]
fn s_a_new_process_with_a_bad_configuration_leaves_the_old_one_as_it_was() {
    let lab = Lab::new(&patient());
    let books = Books::default();
    let old = lab.start(None);
    let good = fs::read_to_string(lab.folder().join("gateway.toml")).unwrap();
    let mut visit = slow(&lab, &books, Kind::FirstListed, LONG, 20);
    // It does not read; it cannot have its address, which it learns when the sockets are already in its hands.
    for (bad, code) in [
        (good.replace("period = ", "periode = "), 78),
        (
            good.replacen(
                "[[listener]]",
                "[[listener]]\nmode = \"proxy_protocol\"\naddress = \"192.0.2.1:7\"\n[[listener]]",
                1,
            ),
            74,
        ),
    ] {
        fs::write(lab.folder().join("gateway.toml"), bad).unwrap();
        assert_eq!(lab.spawn_successor().wait().code(), Some(code), "{}", lab.log());
        let mut short = Visit::open(&lab, &books, Kind::SecondListed).unwrap();
        short.exchange(SHORT, Duration::ZERO).unwrap();
        short.end().unwrap();
        assert!(visit.read(&mut [0; 4096]).unwrap() > 0);
    }
    fs::write(lab.folder().join("gateway.toml"), good).unwrap();
    lab.origin.hurry();
    visit.end().unwrap();
    lab.wait_ready();
    old.stop(&lab);
    assert_counted_once(&lab, &books);
}

/// The restart protocol as a process of our own speaks it.
struct Stranger(UnixStream);

impl Stranger {
    fn new(lab: &Lab) -> Stranger {
        let path = lab.state.join("restart.sock");
        let stream = wait_for("the restart socket", || UnixStream::connect(&path).ok());
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Stranger(stream)
    }

    fn say(&mut self, message: &str) {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        self.0.write_all(&[&length[..], message.as_bytes()].concat()).unwrap();
    }

    fn hear(&mut self) -> String {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).unwrap();
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut body).unwrap();
        String::from_utf8(body).unwrap()
    }

    /// Listens until something else than a socket comes; without room for a descriptor the system closes it.
    fn hear_sockets(&mut self) -> usize {
        let mut count = 0;
        while self.hear().contains("Socket\":") {
            count += 1;
        }
        count
    }
}

/// What a new process says first.
const TAKE_OVER: &str = r#"{"TakeOver":{"version":3,"node_id":"crash-1","byte_basis":"payload"}}"#;

#[test]
fn s_a_new_process_that_ends_before_it_accepts_is_as_if_it_had_never_been() {
    let lab = Lab::new(&patient());
    let books = Books::default();
    let old = lab.start(None);
    let mut visit = slow(&lab, &books, Kind::FirstListed, LONG, 20);
    // With nothing said, with the sockets in its hands, and with the ledger free for it.
    drop(Stranger::new(&lab));
    let mut stranger = Stranger::new(&lab);
    stranger.say(TAKE_OVER);
    // Two workers' listeners of both transports and the admin endpoint.
    assert_eq!(stranger.hear_sockets(), 5, "{}", lab.log());
    drop(stranger);
    wait_for("the end to be told", || (said(&lab, "did not start: this one goes on") == 1).then_some(()));
    let mut stranger = Stranger::new(&lab);
    stranger.say(TAKE_OVER);
    stranger.hear_sockets();
    stranger.say("\"Prepared\"");
    assert_eq!(stranger.hear(), "\"Released\"", "{}", lab.log());
    // Traffic goes on meanwhile, and is counted later.
    let mut short = Visit::open(&lab, &books, Kind::SecondListed).unwrap();
    short.exchange(SHORT, Duration::ZERO).unwrap();
    short.end().unwrap();
    // Nobody else may come in between.
    let mut second = Stranger::new(&lab);
    second.say(TAKE_OVER);
    assert!(second.hear().contains("another process is taking over"));
    drop(stranger);
    wait_for("the old one to go on", || {
        (said(&lab, "ended before it accepted: this one goes on") == 1).then_some(())
    });
    lab.wait_ready();
    assert!(visit.read(&mut [0; 4096]).unwrap() > 0);
    // And the next one may take over.
    let mut old = old;
    let new = take_over(&lab);
    lab.origin.hurry();
    visit.end().unwrap();
    assert!(old.wait().success(), "{}", lab.log());
    new.stop(&lab);
    assert_counted_once(&lab, &books);
}

#[test]
fn s_a_new_process_killed_while_the_old_one_drains_costs_no_doubled_byte() {
    let lab = Lab::new(&patient());
    let books = Books::default();
    let mut old = lab.start(None);
    let mut visit = slow(&lab, &books, Kind::FirstListed, LONG, 20);
    let new = take_over(&lab);
    let counted = || lab.ledger().sums.get(&Kind::FirstListed.row()).copied().unwrap_or_default();
    let before = counted();
    wait_for("the old one's counts in the new one's ledger", || {
        assert!(visit.read(&mut [0; 4096]).unwrap() > 0);
        (counted().down > before.down).then_some(())
    });
    new.kill();
    assert!(visit.read(&mut [0; 4096]).unwrap() > 0, "the flow is cut\n{}", lab.log());
    // A third one is started as the service manager does after any crash.
    let third = lab.spawn_successor();
    wait_for("the third", || (said(&lab, "gateway runs") == 3).then_some(()));
    let before = counted();
    wait_for("the counts to go to the third", || {
        assert!(visit.read(&mut [0; 4096]).unwrap() > 0);
        (counted().down > before.down).then_some(())
    });
    lab.origin.hurry();
    visit.end().unwrap();
    assert!(old.wait().success(), "{}", lab.log());
    third.stop(&lab);
    lab.verify();
    for (row, found) in lab.totals() {
        let kind = Kind::ALL.into_iter().find(|kind| kind.row() == row);
        let limit = kind.map_or_else(|| carried(&books), |kind| books.carried(kind));
        assert!(found.at_most(limit), "{row:?} {found:?} {limit:?}");
    }
    assert!(recorded(&lab).at_most(carried(&books)));
}

/// Bytes that the log says may be in no record.
fn told_lost(lab: &Lab) -> u64 {
    let log = lab.log();
    let lines = log.lines().filter(|line| line.contains("may be in no record"));
    lines.map(|line| number_after(line, "up=") + number_after(line, "down=")).sum()
}

/// The number behind `key` in a line of the log.
fn number_after(line: &str, key: &str) -> u64 {
    let rest = line.split(key).nth(1).unwrap_or_else(|| panic!("{key} in {line}"));
    rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

/// How a process comes after one that was killed while the one before it drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// It takes over.
    TakesOver,
    /// It is started as if nothing ran.
    Starts,
    /// There is none: the old one ends by itself.
    None,
}

#[test]
fn f67_a_draining_process_whose_successor_is_killed_saves_its_own_counts() {
    for next in [Next::TakesOver, Next::Starts, Next::None] {
        println!("{next:?}");
        let lab = Lab::new(&patient());
        let books = Books::default();
        let mut old = lab.start(None);
        let mut visit = slow(&lab, &books, Kind::FirstListed, LONG, 20);
        let new = take_over(&lab);
        let counted = || lab.ledger().sums.get(&Kind::FirstListed.row()).copied().unwrap_or_default();
        let mut wait_for_more = |what: &str| {
            let before = counted();
            wait_for(what, || {
                assert!(visit.read(&mut [0; 4096]).unwrap() > 0, "the flow is cut\n{}", lab.log());
                (counted().down > before.down).then_some(())
            });
        };
        wait_for_more("the old one's counts in the new one's ledger");
        new.kill();
        wait_for_more("the old one's counts in its own ledger");
        assert_eq!(said(&lab, "this one saves what its open flows carry"), 1, "{}", lab.log());
        let third = match next {
            Next::TakesOver => Some(lab.spawn_successor()),
            Next::Starts => Some(lab.start(None)),
            Next::None => None,
        };
        if third.is_some() {
            lab.wait_ready();
            wait_for_more("the old one's counts in the third one's ledger");
            // New flows of the third are counted beside them.
            let mut short = Visit::open(&lab, &books, Kind::FirstListed).unwrap();
            short.exchange(SHORT, Duration::ZERO).unwrap();
            short.end().unwrap();
        }
        lab.origin.hurry();
        visit.end().unwrap();
        assert!(old.wait().success(), "{}", lab.log());
        if let Some(third) = third {
            third.stop(&lab);
        }
        lab.verify();
        for (row, found) in lab.totals() {
            let kind = Kind::ALL.into_iter().find(|kind| kind.row() == row);
            let limit = kind.map_or_else(|| carried(&books), |kind| books.carried(kind));
            assert!(found.at_most(limit), "{row:?} {found:?} {limit:?}");
        }
        let (all, recorded) = (carried(&books), recorded(&lab));
        assert!(recorded.at_most(all), "{recorded:?} {all:?}");
        let missing = all.up + all.down - recorded.up - recorded.down;
        assert!(missing <= told_lost(&lab), "{missing} bytes are in no record\n{}", lab.log());
        assert!(!lab.pickup().keys().any(|file| file.contains("_00002_")), "one epoch");
        assert!(!lab.state.join("restart.sock").exists(), "the socket goes with the last process");
    }
}

/// Two processes drain when the third is killed: one of them takes the ledger back, the other hands its counts to it.
#[test]
fn f67_two_draining_processes_share_the_ledger_that_came_back() {
    let lab = Lab::new(&patient());
    let books = Books::default();
    let mut first = lab.start(None);
    let mut of_first = slow(&lab, &books, Kind::FirstListed, LONG, 20);
    let mut second = take_over(&lab);
    let mut of_second = slow(&lab, &books, Kind::SecondListed, LONG, 20);
    let third = take_over(&lab);
    let counted = |kind: Kind| lab.ledger().sums.get(&kind.row()).copied().unwrap_or_default().down;
    let mut wait_for_more = |what: &str| {
        let before = [Kind::FirstListed, Kind::SecondListed].map(counted);
        wait_for(what, || {
            assert!(
                of_first.read(&mut [0; 4096]).unwrap() > 0 && of_second.read(&mut [0; 4096]).unwrap() > 0
            );
            let more = [Kind::FirstListed, Kind::SecondListed].map(counted);
            (more[0] > before[0] && more[1] > before[1]).then_some(())
        });
    };
    wait_for_more("the counts of both in the third one's ledger");
    third.kill();
    wait_for_more("the counts of both in the ledger that came back");
    assert_eq!(said(&lab, "this one saves what its open flows carry"), 1, "{}", lab.log());
    lab.origin.hurry();
    of_first.end().unwrap();
    of_second.end().unwrap();
    assert!(first.wait().success() && second.wait().success(), "{}", lab.log());
    // Whichever ended last: a start afterwards finds everything sealed.
    lab.start(None).stop(&lab);
    lab.verify();
    let (all, recorded) = (carried(&books), recorded(&lab));
    assert!(recorded.at_most(all), "{recorded:?} {all:?}");
    let missing = all.up + all.down - recorded.up - recorded.down;
    assert!(missing <= told_lost(&lab), "{missing} bytes are in no record\n{}", lab.log());
}

#[test]
fn s_the_restart_socket_is_its_users_alone_and_refuses_what_does_not_fit() {
    let lab = Lab::new(&patient());
    let books = Books::default();
    let daemon = lab.start(None);
    let socket = wait_for("the socket", || fs::metadata(lab.state.join("restart.sock")).ok());
    let mode = socket.permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for (strange, wanted) in [
        (r#"{"TakeOver":{"version":2,"node_id":"crash-1","byte_basis":"payload"}}"#, "version: 2"),
        (r#"{"TakeOver":{"version":3,"node_id":"another","byte_basis":"payload"}}"#, "another"),
        (r#"{"TakeOver":{"version":3,"node_id":"crash-1","byte_basis":"ip"}}"#, "ip"),
    ] {
        let mut stranger = Stranger::new(&lab);
        stranger.say(strange);
        let answer = stranger.hear();
        assert!(answer.contains("Refused") && answer.contains(wanted), "{answer}");
    }
    // Nonsense, and a message that never ends, cost the connection alone.
    let mut stranger = Stranger::new(&lab);
    stranger.say("{}");
    assert_eq!(stranger.0.read(&mut [0]).unwrap(), 0);
    let mut endless = Stranger::new(&lab);
    endless.0.write_all(&[0, 0]).unwrap();
    let mut counts = Stranger::new(&lab);
    counts.say(r#"{"Remainder":{"version":3,"node_id":"crash-1","byte_basis":"payload"}}"#);
    assert_eq!(counts.hear(), "\"Welcome\"");
    counts.say(r#"{"seen_up":1,"seen_down":1,"rows":[{"kind":"pager","subscriber":"1","session":"1","list":null,"class":"charged","reason":"port","exempt":null,"flags":"","up":1,"down":1}]}"#);
    assert_eq!(counts.hear(), "\"NotTaken\"");
    let mut visit = Visit::open(&lab, &books, Kind::FirstListed).unwrap();
    visit.exchange(SHORT, Duration::ZERO).unwrap();
    visit.end().unwrap();
    assert_eq!(endless.0.read(&mut [0]).unwrap(), 0, "it is given up");
    daemon.stop(&lab);
    assert_eq!(lab.totals(), books.rows());
}

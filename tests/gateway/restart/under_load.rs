//! Many restarts under load: nobody is refused, and every byte is counted once.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::crash::{Books, Kind, Lab, PIECE, Visit, wait_for};
use super::{LONG, SHORT, assert_counted_once, patient, said, slow, take_over};

/// Restarts of the long test.
const RESTARTS: usize = 20;
/// New flows a second that the load aims at.
const FLOWS_PER_SECOND: u64 = 1_000;
/// Subscribers' threads.
const THREADS: usize = 8;
/// New flows between two restarts at least.
const FLOWS_PER_RESTART: u64 = 300;

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

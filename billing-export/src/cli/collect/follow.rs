//! `billing-export collect` without `--once`: follows the folders until SIGTERM or SIGINT.
//!
//! The main thread collects. A second one has an event loop, for signals and the admin address. The file at hand is finished
//! before the end.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use billing_export::collect::admin::{Board, serve};
use billing_export::collect::config::Config;
use billing_export::collect::{CollectError, Collector, Look, Summary};
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use super::say_dropped;
use super::told::Told;
use crate::cli::{EXIT_IO, Failure};

/// First pause after a ledger or source was not reached; twice as long after each that follows.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How often a folder is looked through whole, beside what changed in it.
const WHOLE_EVERY: Duration = Duration::from_secs(600);
/// How often old partitions are looked for.
const DROP_EVERY: Duration = Duration::from_secs(3600);
/// How far the clock of a file system may be behind ours.
const SLACK_SECONDS: i64 = 2;

/// One source and when it is looked at.
struct Course {
    /// When it is looked at next.
    due: Instant,
    /// When it was last looked through whole; none if that is due.
    whole: Option<Instant>,
    /// The second at which the look before began.
    since: i64,
    /// Whether a file was refused that may be taken once others are there.
    held: bool,
}

/// The stop that signals ask for.
#[derive(Default)]
struct Stop {
    /// Whether it was asked for.
    asked: Arc<AtomicBool>,
    /// Wakes the admin address.
    ended: Notify,
}

/// Follows the folders. Returns what became of all files.
pub(super) fn run(config: Config) -> Result<Summary, Failure> {
    let failed = |what: &str, error: std::io::Error| Failure {
        code: EXIT_IO,
        message: Some(format!("{what}: {error}")),
    };
    let listener = match config.admin {
        None => None,
        Some(address) => {
            let listener = TcpListener::bind(address);
            Some(listener.map_err(|error| failed(&format!("admin.address {address}"), error))?)
        }
    };
    let board = Arc::new(Board::new());
    let stop = Arc::new(Stop::default());
    let main = thread::current();
    let events = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let events = events.map_err(|error| failed("event loop", error))?;
    // Before anything is waited for: a signal that comes early ends the process in order too.
    let (terminate, interrupt) = {
        let _inside = events.enter();
        let listen = |kind| signal(kind).map_err(|error| failed("signals", error));
        (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?)
    };
    let (beside, figures) = (Arc::clone(&stop), Arc::clone(&board));
    let second = thread::Builder::new().name("admin".to_owned()).spawn(move || {
        events.block_on(async move {
            let ended = Arc::clone(&beside);
            if let Some(listener) = listener {
                tokio::spawn(async move {
                    let over = async move { ended.ended.notified().await };
                    if let Err(error) = serve(listener, figures, over).await {
                        eprintln!("billing-export: admin.address: {error}");
                    }
                });
            }
            let (mut terminate, mut interrupt) = (terminate, interrupt);
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                () = beside.ended.notified() => {}
            }
            beside.asked.store(true, Ordering::Relaxed);
            beside.ended.notify_waiters();
            main.unpark();
        });
    });
    let second = second.map_err(|error| failed("starting a thread", error))?;
    let outcome = follow(config, &board, &stop.asked);
    stop.ended.notify_waiters();
    stop.ended.notify_one();
    // It ends with this process where it hangs.
    drop(second);
    outcome.map_err(Failure::from)
}

/// Looks at every source when it is due, until it is asked to stop.
fn follow(config: Config, board: &Arc<Board>, stop: &Arc<AtomicBool>) -> Result<Summary, CollectError> {
    let polls: Vec<Duration> = config.sources.iter().map(|source| source.poll).collect();
    let begin = Instant::now();
    let mut courses: Vec<Course> =
        polls.iter().map(|_| Course { due: begin, whole: None, since: 0, held: false }).collect();
    let mut collector = Collector::new(config);
    let mut told = Told::new(Some((Arc::clone(board), Arc::clone(stop))), true);
    let mut sum = Summary::default();
    let (mut pause, mut dropped) = (PAUSE_MIN, None::<Instant>);
    while !stop.load(Ordering::Relaxed) {
        let rounded =
            round(&mut collector, &mut courses, &polls, board, &mut told, &mut sum).and_then(|()| {
                if dropped.is_none_or(|at| at.elapsed() >= DROP_EVERY) {
                    say_dropped(&collector.drop_old(Timestamp::now())?);
                    dropped = Some(Instant::now());
                }
                Ok(())
            });
        match rounded {
            Ok(()) => {
                pause = PAUSE_MIN;
                // What is refused over and over is said once.
                told.repeats = false;
                let due = courses.iter().map(|course| course.due).min().unwrap_or_else(Instant::now);
                wait(stop, due.saturating_duration_since(Instant::now()));
            }
            Err(error @ CollectError::Config(_)) => return Err(error),
            Err(CollectError::Away(text)) => {
                board.stand(vec!["ledger_or_source_away"]);
                eprintln!("billing-export: {text}; trying again in {pause:?}");
                wait(stop, pause);
                pause = pause.saturating_mul(2).min(PAUSE_MAX);
            }
        }
    }
    Ok(sum)
}

/// Looks at the sources that are due, and adds what became of their files.
fn round(
    collector: &mut Collector,
    courses: &mut [Course],
    polls: &[Duration],
    board: &Board,
    told: &mut Told,
    sum: &mut Summary,
) -> Result<(), CollectError> {
    if let Some(watermarks) = collector.connect()? {
        watermarks.iter().for_each(|watermark| board.reached(watermark));
        courses.iter_mut().for_each(|course| course.whole = None);
    }
    let mut away = None;
    for (number, (course, poll)) in courses.iter_mut().zip(polls).enumerate() {
        let now = Instant::now();
        if course.due > now {
            continue;
        }
        let begins = Timestamp::now().as_second().saturating_sub(SLACK_SECONDS);
        let whole = course.whole.is_none_or(|at| at.elapsed() >= WHOLE_EVERY);
        let look = if whole { Look::Whole } else { Look::Since(course.since) };
        let summary = match collector.sweep(number, look, told) {
            Ok(summary) => summary,
            Err(error @ CollectError::Config(_)) => return Err(error),
            Err(error) => {
                // One source that cannot be read keeps none of the others out.
                collector.connect()?;
                away = away.or(Some(error));
                continue;
            }
        };
        if whole {
            (course.whole, course.held) = (Some(now), false);
        }
        course.held |= summary.may_pass;
        // What others that came since may have made acceptable is looked at again.
        if course.held && summary.taken > 0 {
            course.whole = None;
        }
        course.since = begins;
        course.due = now.checked_add(*poll).unwrap_or(now);
        *sum = sum.and(summary);
    }
    match away {
        Some(error) => Err(error),
        None => {
            board.stand(Vec::new());
            Ok(())
        }
    }
}

/// Waits, but not beyond a stop.
fn wait(stop: &AtomicBool, time: Duration) {
    let begin = Instant::now();
    loop {
        let left = time.saturating_sub(begin.elapsed());
        if left.is_zero() || stop.load(Ordering::Relaxed) {
            return;
        }
        thread::park_timeout(left);
    }
}

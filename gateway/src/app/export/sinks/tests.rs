//! The threads of the sinks with a sink that does as it is told.

use std::sync::mpsc::{Receiver, Sender, channel};

use billing_export::sink::{Phase, Progress, SealedFile, Since, Sink};
use billing_export::{
    Account, ByteBasis, Entry, Flags, NoFault, Reason, Session, Settings, SharedSteps, SubscriberType, Tick,
    Usage, Volume,
};
use jiff::SignedDuration;
use tempfile::TempDir;

use super::*;

/// What the sink does with the next file.
#[derive(Clone, Copy)]
enum Answer {
    Take,
    Fail,
    Panic,
}

/// Asks before each file.
struct Asking(Receiver<Answer>);

impl Sink for Asking {
    fn id(&self) -> &str {
        "asking"
    }

    fn advance(&mut self, _: &SealedFile<'_>, _: Phase, _: &SharedSteps) -> Result<Progress, ExportError> {
        match self.0.recv() {
            Ok(Answer::Take) => Ok(Phase::Published.into()),
            Ok(Answer::Panic) => panic!("a fault of ours"),
            Ok(Answer::Fail) | Err(_) => Err(ExportError::Settings("the broker said no".to_owned())),
        }
    }
}

/// A ledger, and one asking sink that carries for it.
struct World {
    exporter: Exporter,
    sinks: Sinks,
    answers: Sender<Answer>,
    periods: u32,
    _folder: TempDir,
}

impl World {
    fn new(delivery_max: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [state, pickup, staging] = ["state", "pickup", "staging"].map(|name| folder.path().join(name));
        let settings = Settings::new("zrgw-01".parse().unwrap(), state, pickup, staging, ByteBasis::Payload);
        let mut exporter = Exporter::open(settings, noon(), [1; 16], Box::new(NoFault)).unwrap();
        let (answers, asked) = channel();
        let courier = exporter.courier_to(Box::new(Asking(asked)), Since::Next).unwrap();
        let mut sinks = Sinks::new(Duration::from_secs(3_600), delivery_max, Clock::new());
        sinks.begin(vec![courier]).unwrap();
        // The round of the start: whatever it met would be another round's.
        wait_for(|| sinks.threads.iter().all(|sink| sink.bell.state().done > 0));
        Self { exporter, sinks, answers, periods: 0, _folder: folder }
    }

    /// Seals another file.
    fn seal(&mut self) {
        let from = noon() + SignedDuration::from_mins(15) * i32::try_from(self.periods).unwrap();
        self.periods += 1;
        let session = Session::new(SubscriberType::Msisdn, "1", "s-1").unwrap();
        let account = Account { session, list: None, entry: Entry::because(Reason::NotListed) };
        let volume = Volume { up: 1, down: 2 };
        let tick = Tick {
            sequence: u64::from(self.periods),
            from,
            at: from + SignedDuration::from_secs(1),
            seen: volume,
            pending_after: Volume::ZERO,
            usage: vec![Usage { account, flags: Flags::NONE, volume }],
            capped: Vec::new(),
            spent: Vec::new(),
            stepped: false,
        };
        self.exporter.checkpoint(&tick).unwrap();
        self.exporter.seal_due(from + SignedDuration::from_mins(15)).unwrap();
    }

    fn answer(&self, answers: &[Answer]) {
        answers.iter().for_each(|answer| self.answers.send(*answer).unwrap());
    }

    fn state(&self) -> SinkState {
        let mut states = self.sinks.states(Some(&self.exporter));
        assert_eq!(states.len(), 1);
        states.pop().unwrap()
    }

    /// What it has, rounds that failed, and whether that wants attention.
    fn standing(&self) -> (u64, u64, bool) {
        let state = self.state();
        (state.standing.unwrap().watermark, state.errors, state.attention.is_some())
    }
}

fn noon() -> Timestamp {
    "2020-04-06T12:00:00Z".parse().unwrap()
}

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

/// Waits for a state.
fn wait_for(reached: impl Fn() -> bool) {
    let begun = Instant::now();
    while !reached() {
        assert!(begun.elapsed() < LONG, "not reached");
        std::thread::sleep(POLL);
    }
}

#[test]
fn a_panic_of_a_sink_is_its_fault_and_it_goes_on() {
    let mut world = World::new(LONG);
    world.seal();
    world.answer(&[Answer::Panic]);
    assert_eq!(world.sinks.wait(LONG), Waited::Failed);
    assert_eq!(world.standing(), (0, 1, true));
    assert!(world.state().attention.unwrap().text.contains("it panicked"));
    world.answer(&[Answer::Take]);
    assert_eq!(world.sinks.wait(LONG), Waited::Delivered);
    assert_eq!(world.standing(), (1, 1, false));
    assert!(world.state().last_success.is_some());
}

#[test]
fn who_waits_is_told_the_worst_and_errors_are_counted_through_a_restart_of_the_thread() {
    let mut world = World::new(LONG);
    world.seal();
    world.answer(&[Answer::Fail]);
    assert_eq!(world.sinks.wait(LONG), Waited::Failed);
    // In the middle of a file it is not done in time, and does not stand still yet.
    assert_eq!(world.sinks.wait(Duration::from_millis(1)), Waited::OutOfTime);
    wait_for(|| world.sinks.threads.iter().all(|sink| sink.bell.state().busy_since.is_some()));
    world.sinks.dismiss();
    assert!(!world.sinks.have_left(Duration::from_millis(1)));
    assert_eq!(world.standing(), (0, 1, true), "a sink that is leaving is still shown");
    world.answer(&[Answer::Fail]);
    assert!(world.sinks.have_left(LONG));
    let (answers, asked) = channel();
    let courier = world.exporter.courier_to(Box::new(Asking(asked)), Since::Next).unwrap();
    world.sinks.begin(vec![courier]).unwrap();
    world.answers = answers;
    // In the round of the start.
    world.answer(&[Answer::Fail]);
    wait_for(|| world.standing().1 == 3);
}

#[test]
fn a_sink_that_was_to_end_is_taken_back_with_what_it_left() {
    let mut world = World::new(LONG);
    world.seal();
    world.seal();
    world.sinks.tell();
    wait_for(|| world.sinks.threads.iter().any(|sink| sink.bell.state().busy_since.is_some()));
    world.sinks.dismiss();
    assert!(!world.sinks.have_left(Duration::from_millis(1)), "it is at the first file");
    world.sinks.take_back();
    world.answer(&[Answer::Take, Answer::Take]);
    wait_for(|| world.standing().0 == 2);
    // One that has ended is nobody's.
    world.sinks.dismiss();
    assert!(world.sinks.have_left(LONG));
    world.sinks.take_back();
    assert!(world.sinks.threads.is_empty());
}

#[test]
fn one_that_has_stood_still_is_waited_for_no_longer() {
    let mut world = World::new(Duration::ZERO);
    world.seal();
    world.sinks.tell();
    wait_for(|| world.sinks.standing_still().is_some());
    // Not in an hour.
    assert_eq!(world.sinks.wait(Duration::from_secs(3_600)), Waited::StandsStill);
    assert!(world.state().attention.unwrap().text.contains("at one file"));
    world.answer(&[Answer::Take]);
    wait_for(|| world.standing() == (1, 0, false));
}

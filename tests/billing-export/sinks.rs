//! Sinks beside one another: each takes every sealed file once and in order, and what one does, or does not, is nothing to
//! the counting or to the others.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use billing_export::sink::folder::Folder;
use billing_export::sink::{Phase, Progress, SealedFile, Since, Sink};
use billing_export::*;
use rusqlite::Connection;
use support::*;

/// What a sink of these tests does with the next file.
enum Answer {
    /// Takes it.
    Take,
    /// Fails.
    Fail,
    /// Finds what it has made damaged: says that it is a step back.
    Damaged,
}

/// A sink that asks before each file what to do, and stands still until it is told.
struct Asking {
    /// Told of each file that stands before it.
    asked: Sender<u64>,
    /// What to do.
    answers: Receiver<Answer>,
    /// The files it took, with their rows.
    taken: Arc<Mutex<Vec<(u64, u64)>>>,
}

impl Sink for Asking {
    fn id(&self) -> &str {
        "asking"
    }

    fn advance(
        &mut self,
        file: &SealedFile<'_>,
        phase: Phase,
        _: &SharedSteps,
    ) -> Result<Progress, ExportError> {
        let file_seq = file.manifest().file_seq;
        let (mut records, mut next) = (0, Phase::Published);
        if phase != Phase::Sealed {
            return Ok(Phase::Sealed.into());
        }
        // It stands still among the records, where a query that is not closed would hurt.
        file.each_record(&mut |_| {
            if records == 0 {
                self.asked.send(file_seq).unwrap();
                match self.answers.recv().unwrap() {
                    Answer::Take => {}
                    Answer::Fail => return Err(ExportError::Settings("the broker said no".into())),
                    Answer::Damaged => next = Phase::DataReady,
                }
            }
            records += 1;
            Ok(())
        })?;
        if next == Phase::Published {
            self.taken.lock().unwrap().push((file_seq, records));
        }
        Ok(next.into())
    }
}

/// The ends of an asking sink.
struct Ends {
    asked: Receiver<u64>,
    answers: Sender<Answer>,
    taken: Arc<Mutex<Vec<(u64, u64)>>>,
}

fn asking() -> (Box<dyn Sink>, Ends) {
    let ((asked, asked_end), (answers_end, answers)) = (channel(), channel());
    let taken = Arc::default();
    let sink = Asking { asked, answers, taken: Arc::clone(&taken) };
    (Box::new(sink), Ends { asked: asked_end, answers: answers_end, taken })
}

/// Counts for one period and seals it.
fn period(exporter: &mut Exporter, number: i64) {
    let begin = number * 15 * MINUTE;
    let usage = [(exempt("1", "a"), volume(10, 20)), (charged("1", Reason::NotListed), volume(1, 2))];
    exporter.checkpoint(&tick(u64::try_from(number).unwrap() + 1, at(begin), &usage)).unwrap();
    exporter.seal_due(at(begin + 15 * MINUTE)).unwrap();
}

fn ask(node: &Node, sql: &str) -> Vec<(u64, u64, Option<String>)> {
    let ledger = Connection::open(node.settings.state_dir.join(STORE_NAME)).unwrap();
    let mut statement = ledger.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| {
        let number = |at| row.get::<_, i64>(at).map(i64::unsigned_abs);
        Ok((number(0)?, number(1)?, row.get(2)?))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

#[test]
fn a_sink_that_hangs_for_a_day_delays_neither_the_counting_nor_the_others() {
    const DAY: i64 = 96;
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    let (sink, ends) = asking();
    let mut courier = exporter.courier_to(sink, Since::Next).unwrap();
    let mut folder = exporter.courier();
    period(&mut exporter, 0);
    let carrying = thread::spawn(move || {
        let delivered = courier.deliver();
        (courier, delivered)
    });
    // From here on it stands in the middle of the first file.
    assert_eq!(ends.asked.recv().unwrap(), 1);
    for number in 1..DAY {
        period(&mut exporter, number);
        assert_eq!(folder.deliver().unwrap(), if number == 1 { 2 } else { 1 });
    }
    let standing = |exporter: &Exporter, sink| {
        let standing = exporter.sink_standing(sink).unwrap();
        (standing.watermark, standing.backlog_records)
    };
    assert_eq!(standing(&exporter, sink::FILES), (96, 0));
    assert_eq!(standing(&exporter, "asking"), (0, 2 * 96));
    assert_eq!(node.data_files().len(), 96);
    // No query of its is open: the log can be taken into the database and begun anew, and does not grow for a day.
    let ledger = Connection::open(node.settings.state_dir.join(STORE_NAME)).unwrap();
    let (busy, left): (i64, i64) = ledger
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    assert_eq!((busy, left), (0, 0));
    drop(ledger);
    // It goes on, and has everything once and in order.
    for _ in 0..DAY {
        ends.answers.send(Answer::Take).unwrap();
    }
    let (mut courier, delivered) = carrying.join().unwrap();
    assert_eq!(delivered.unwrap(), 96);
    assert_eq!(*ends.taken.lock().unwrap(), Vec::from_iter((1..=96).map(|file_seq| (file_seq, 2))));
    assert_eq!(standing(&exporter, "asking"), (96, 0));
    assert_eq!(courier.deliver().unwrap(), 0);
    node.verify();
}

#[test]
fn a_sink_that_fails_is_told_tried_again_and_gets_each_file_once() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    let (sink, ends) = asking();
    let mut courier = exporter.courier_to(sink, Since::Next).unwrap();
    period(&mut exporter, 0);
    period(&mut exporter, 1);
    for answer in [Answer::Fail, Answer::Fail, Answer::Take, Answer::Fail] {
        ends.answers.send(answer).unwrap();
    }
    for _ in 0..3 {
        assert_eq!(courier.deliver().unwrap_err().to_string(), "the broker said no");
    }
    assert_eq!(exporter.courier().deliver().unwrap(), 2, "the folder has its own");
    let told = || Some("the broker said no".to_owned());
    let noted = "SELECT file_seq, attempts, last_error FROM delivery WHERE sink = 'asking' ORDER BY file_seq";
    assert_eq!(ask(&node, noted), [(0, 0, None), (1, 3, None), (2, 1, told())]);
    ends.answers.send(Answer::Take).unwrap();
    assert_eq!(courier.deliver().unwrap(), 1);
    assert_eq!(ask(&node, noted), [(0, 0, None), (1, 3, None), (2, 2, None)]);
    assert_eq!(*ends.taken.lock().unwrap(), [(1, 2), (2, 2)]);
}

#[test]
fn what_a_sink_finds_damaged_is_made_again_once_in_a_try() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    let (sink, ends) = asking();
    let mut courier = exporter.courier_to(sink, Since::Next).unwrap();
    period(&mut exporter, 0);
    ends.answers.send(Answer::Damaged).unwrap();
    ends.answers.send(Answer::Take).unwrap();
    assert_eq!(courier.deliver().unwrap(), 1);
    period(&mut exporter, 1);
    // A disk that damages whatever is written: told, and not tried without end.
    for _ in 0..3 {
        ends.answers.send(Answer::Damaged).unwrap();
    }
    let error = courier.deliver().unwrap_err().to_string();
    assert!(error.contains("damaged and made again"), "{error}");
    assert_eq!(ends.asked.try_iter().count(), 4, "two tries for either file");
    ends.answers.send(Answer::Take).unwrap();
    // The third answer stands before it: the next try makes it again, too.
    assert_eq!(courier.deliver().unwrap(), 1);
    assert_eq!(*ends.taken.lock().unwrap(), [(1, 2), (2, 2)]);
}

#[test]
fn a_manifest_damaged_while_it_lay_there_is_written_again_though_the_ledger_could_not_note_it() {
    let mut node = Node::new();
    let steps = FailAt::once(Step::BeforePublishedMark);
    let mut exporter = node.try_open(at(0), Box::new(steps)).unwrap();
    let mut courier = exporter.courier();
    period(&mut exporter, 0);
    courier.deliver().unwrap_err();
    // The disk loses the name and gives back a part of what was in it.
    let [manifest] = &files_ending(&node.settings.pickup_dir, ".json")[..] else { panic!("one manifest") };
    let part = node.settings.staging_dir.join(manifest.with_added_extension("part").file_name().unwrap());
    std::fs::remove_file(manifest).unwrap();
    std::fs::write(&part, "{\"format\":1").unwrap();
    let ledger = Connection::open(node.settings.state_dir.join(STORE_NAME)).unwrap();
    ledger.execute_batch("BEGIN IMMEDIATE").unwrap();
    courier.deliver().unwrap_err();
    ledger.execute_batch("ROLLBACK").unwrap();
    assert_eq!(courier.deliver().unwrap(), 1);
    assert!(manifest.exists(), "billing takes no file without its manifest");
    node.verify();
}

#[test]
fn a_sinks_id_is_a_name_of_its_own() {
    struct Named(String);
    impl Sink for Named {
        fn id(&self) -> &str {
            &self.0
        }

        fn advance(
            &mut self,
            _: &SealedFile<'_>,
            _: Phase,
            _: &SharedSteps,
        ) -> Result<Progress, ExportError> {
            Ok(Phase::Published.into())
        }
    }
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    let longest = "a".repeat(32);
    let too_long = "a".repeat(33);
    for id in ["nats-2", "0", &longest] {
        exporter.courier_to(Box::new(Named(id.to_owned())), Since::Next).unwrap();
    }
    for id in ["", sink::FILES, "Nats", "na ts", "n_ts", "nät", &too_long] {
        let error = exporter.courier_to(Box::new(Named(id.to_owned())), Since::Next).unwrap_err();
        assert!(error.to_string().contains(&format!("found {id:?}")), "{error}");
    }
}

#[test]
fn a_sink_begins_where_it_was_told_and_goes_on_where_it_was_after_a_restart() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    period(&mut exporter, 0);
    period(&mut exporter, 1);
    let (sink, _hears_nothing) = asking();
    drop(exporter.courier_to(sink, Since::Next).unwrap());
    period(&mut exporter, 2);
    exporter.close().unwrap();
    let mut exporter = node.open(at(46 * MINUTE));
    let (sink, ends) = asking();
    // Known: it is not the next one any more.
    let mut courier = exporter.courier_to(sink, Since::Next).unwrap();
    ends.answers.send(Answer::Take).unwrap();
    assert_eq!(courier.deliver().unwrap(), 1);
    assert_eq!(*ends.taken.lock().unwrap(), [(3, 2)]);
    let mut other = Node::new();
    let mut exporter = other.open(at(0));
    period(&mut exporter, 0);
    let (sink, ends) = asking();
    let mut courier = exporter.courier_to(sink, Since::Oldest).unwrap();
    ends.answers.send(Answer::Take).unwrap();
    assert_eq!(courier.deliver().unwrap(), 1);
    assert_eq!(*ends.taken.lock().unwrap(), [(1, 2)]);
}

#[test]
fn a_courier_of_a_start_that_is_over_neither_carries_nor_writes() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    let (sink, ends) = asking();
    let mut courier = exporter.courier_to(sink, Since::Next).unwrap();
    period(&mut exporter, 0);
    let carrying = thread::spawn(move || {
        let delivered = courier.deliver();
        (courier, delivered)
    });
    assert_eq!(ends.asked.recv().unwrap(), 1);
    exporter.close().unwrap();
    // It hangs while another start takes the ledger, and is done when that is over.
    let exporter = node.open(at(16 * MINUTE));
    ends.answers.send(Answer::Take).unwrap();
    let (mut courier, delivered) = carrying.join().unwrap();
    assert!(delivered.unwrap_err().to_string().contains("did not start"));
    assert_eq!(exporter.sink_standing("asking").unwrap().watermark, 0, "nobody knows that it has it");
    assert!(courier.deliver().unwrap_err().to_string().contains("did not start"));
    assert_eq!(ends.taken.lock().unwrap().len(), 1, "and it is given nothing more");
}

#[test]
fn while_a_courier_makes_files_no_other_start_does() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    let courier = exporter.courier();
    period(&mut exporter, 0);
    exporter.close().unwrap();
    let error = node.try_open(at(16 * MINUTE), Box::new(NoFault)).unwrap_err();
    assert!(matches!(error, ExportError::Locked { .. }), "{error}");
    drop(courier);
    node.open(at(16 * MINUTE)).publish().unwrap();
    node.verify();
}

#[test]
fn a_further_folder_of_usage_files_has_the_same_files_and_no_witness() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    period(&mut exporter, 0);
    period(&mut exporter, 1);
    exporter.publish().unwrap();
    let (dir, staging) = (node.root.path().join("audit"), node.root.path().join("audit.staging"));
    let further = || Box::new(Folder::further("audit".to_owned(), dir.clone(), staging.clone()));
    let mut courier = exporter.courier_to(further(), Since::Oldest).unwrap();
    assert_eq!(courier.deliver().unwrap(), 2);
    let names = |folder: &Path| -> Vec<PathBuf> {
        files_ending(folder, "").iter().map(|path| path.file_name().unwrap().into()).collect()
    };
    assert_eq!(names(&dir), names(&node.settings.pickup_dir));
    for name in names(&dir) {
        let first = fs::read(node.settings.pickup_dir.join(&name)).unwrap();
        assert_eq!(fs::read(dir.join(&name)).unwrap(), first, "{}", name.display());
    }
    verified(std::slice::from_ref(&dir));
    assert_eq!(names(&staging), [PathBuf::from("audit.lock")]);
    period(&mut exporter, 2);
    let error = exporter.courier_to(further(), Since::Next).unwrap().deliver().unwrap_err();
    assert!(matches!(error, ExportError::Locked { .. }), "{error}");
    drop(courier);
    assert_eq!(exporter.courier_to(further(), Since::Next).unwrap().deliver().unwrap(), 1);
}

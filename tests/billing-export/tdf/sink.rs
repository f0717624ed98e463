//! The sink: which files there are, how they are counted over restarts, epochs and gaps, and what holds when something is in the way.

use std::fs;
use std::path::PathBuf;

use billing_export::sink::tdf::Tdf;
use billing_export::sink::{Courier, Since};
use billing_export::tdf::{Classes, FileHeader, Profile, Reader, TdfCdr};
use billing_export::*;
use rusqlite::Connection;

use super::{cdr_files, peer, profile, zone};
use crate::support::*;

/// Where the receiver finds the files of a sink.
fn dir(node: &Node, id: &str) -> PathBuf {
    node.root.path().join(id)
}

/// Where they are made.
fn staging(node: &Node, id: &str) -> PathBuf {
    node.root.path().join(format!("{id}.staging"))
}

/// A courier to a sink of this id.
fn courier_of(node: &Node, exporter: &mut Exporter, id: &str, profile: Profile, since: Since) -> Courier {
    let sink = Tdf::new(id.to_owned(), dir(node, id), staging(node, id), profile);
    exporter.courier_to(Box::new(sink), since).unwrap()
}

/// A courier to `mediation`, from the oldest file on.
fn courier(node: &Node, exporter: &mut Exporter, profile: Profile) -> Courier {
    courier_of(node, exporter, "mediation", profile, Since::Oldest)
}

/// Header and records of a file.
fn read(path: &PathBuf) -> (FileHeader, Vec<TdfCdr>) {
    let mut reader = Reader::new(fs::File::open(path).unwrap()).unwrap();
    let header = reader.header().clone();
    let mut cdrs = Vec::new();
    while let Some(cdr) = reader.read().unwrap() {
        cdrs.push(cdr);
    }
    (header, cdrs)
}

/// What a file is known by: name, running count, lost-CDR indicator, node id, local sequence numbers.
type Known = (String, u32, u8, String, Vec<u32>);

/// What the files of `mediation` are known by.
fn known(node: &Node) -> Vec<Known> {
    let files = cdr_files(&dir(node, "mediation"));
    files
        .iter()
        .map(|path| {
            let (header, cdrs) = read(path);
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let numbers = cdrs.iter().map(|cdr| cdr.local_sequence_number.unwrap()).collect();
            let node_ids: Vec<String> = cdrs.iter().map(|cdr| cdr.node_id.clone().unwrap()).collect();
            assert!(node_ids.iter().all(|id| *id == node_ids[0]));
            (name, header.sequence, header.lost, node_ids[0].clone(), numbers)
        })
        .collect()
}

/// A period in which this was carried, sealed.
fn period(exporter: &mut Exporter, sequence: u64, period: i64, usage: &[(Account, Volume)]) {
    exporter.checkpoint(&tick(sequence, at(period * 15 * MINUTE), usage)).unwrap();
    exporter.seal_due(at((period + 1) * 15 * MINUTE)).unwrap();
}

/// Two exempt rows.
fn two() -> [(Account, Volume); 2] {
    [(exempt("77010000001", "bilimland"), volume(1, 2)), (exempt("77010000002", "daryn"), volume(3, 4))]
}

#[test]
fn b27_counts_go_on_over_restarts_and_empty_files_and_begin_again_with_an_epoch() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    period(&mut exporter, 1, 0, &two());
    // Nothing, nothing of the wanted class, nobody's.
    exporter.seal_due(at(30 * MINUTE)).unwrap();
    period(&mut exporter, 2, 2, &[(charged("77010000001", Reason::NotListed), volume(9, 9))]);
    let nobody = Account { session: Session::none(), ..charged("0", Reason::NoSubscriber) };
    period(&mut exporter, 3, 3, &[(nobody, volume(9, 9))]);
    assert_eq!(courier(&node, &mut exporter, profile()).deliver().unwrap(), 4);
    exporter.close().unwrap();
    let mut exporter = node.open(at(60 * MINUTE));
    period(&mut exporter, 1, 4, &two()[..1]);
    courier(&node, &mut exporter, profile()).deliver().unwrap();
    exporter.close().unwrap();
    let copy = node.root.path().join("copy");
    copy_dir(&node.settings.state_dir, &copy);
    node.open(at(75 * MINUTE)).close().unwrap();
    restore(&copy, &node.settings.state_dir);
    let mut exporter = node.open(at(75 * MINUTE));
    assert_eq!(exporter.epoch(), 2);
    exporter.seal_due(at(90 * MINUTE)).unwrap();
    let mut courier = courier(&node, &mut exporter, profile());
    // The gap and an empty period first: it is the first file after them that says so.
    courier.deliver().unwrap();
    assert_eq!(known(&node).len(), 2);
    period(&mut exporter, 1, 6, &two());
    period(&mut exporter, 2, 7, &two());
    courier.deliver().unwrap();
    let name = |rest: &str| format!("zrgw-01_-_{rest}.cdr");
    assert_eq!(
        known(&node),
        [
            (name("1.20200406_-_1215+0000_-_1"), 1, 0, "zrgw-01-1".into(), vec![1, 2]),
            (name("2.20200406_-_1315+0000_-_1"), 2, 0, "zrgw-01-1".into(), vec![3]),
            (name("3.20200406_-_1345+0000_-_2"), 3, 128, "zrgw-01-2".into(), vec![1, 2]),
            (name("4.20200406_-_1400+0000_-_2"), 4, 0, "zrgw-01-2".into(), vec![3, 4]),
        ]
    );
    // An auditor finds the usage file of each.
    let rows: Vec<(u64, Option<String>, String)> = {
        let connection = Connection::open(node.settings.state_dir.join(STORE_NAME)).unwrap();
        let query = "SELECT file_seq, kept ->> '$.file.name', kept ->> '$.counts.files' FROM delivery
            WHERE sink = 'mediation' ORDER BY file_seq";
        let mut statement = connection.prepare(query).unwrap();
        let rows = statement
            .query_map([], |row| Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get(1)?, row.get(2)?)))
            .unwrap();
        rows.map(Result::unwrap).collect()
    };
    let counts: Vec<(u64, &str)> = rows.iter().map(|(seq, _, files)| (*seq, files.as_str())).collect();
    assert_eq!(counts[..5], [(1, "1"), (2, "1"), (3, "1"), (4, "1"), (5, "2")]);
    assert_eq!(rows[4].1.as_deref(), Some(&*name("2.20200406_-_1315+0000_-_1")));
    assert_eq!(rows[1].1, None);
    let decoded = peer::decoded("counts_go_on_over_restarts", &cdr_files(&dir(&node, "mediation")));
    let lost: Option<Vec<u64>> =
        decoded.map(|files| files.iter().map(|file| file["header"]["lost"].as_u64().unwrap()).collect());
    assert!(lost.is_none_or(|lost| lost == [0, 0, 128, 0]));
}

#[test]
fn b27_two_sinks_from_the_oldest_file_on_make_the_same_files_whenever_they_begin() {
    let mut node = Node::new();
    let local =
        Profile { zone: zone("Asia/Almaty"), classes: Classes { exempt: true, charged: true }, ..profile() };
    let mut exporter = node.open(at(0));
    let mut early = courier_of(&node, &mut exporter, "early", local.clone(), Since::Oldest);
    for number in 0..4 {
        let mut usage = two().to_vec();
        usage.push((charged("77010000001", Reason::CapReached), volume(u64::from(number > 1), 5)));
        period(&mut exporter, u64::try_from(number).unwrap() + 1, number, &usage);
        if number == 1 {
            early.deliver().unwrap();
        }
    }
    let mut next = courier_of(&node, &mut exporter, "next", local.clone(), Since::Next);
    period(&mut exporter, 5, 4, &two());
    early.deliver().unwrap();
    next.deliver().unwrap();
    courier_of(&node, &mut exporter, "late", local, Since::Oldest).deliver().unwrap();
    let files = |id: &str| -> Vec<(PathBuf, Vec<u8>)> {
        let paths = cdr_files(&dir(&node, id));
        paths.iter().map(|path| (path.file_name().unwrap().into(), fs::read(path).unwrap())).collect()
    };
    assert_eq!(files("early").len(), 5);
    assert_eq!(files("early"), files("late"));
    assert!(files("late")[0].0.to_str().unwrap().contains("_-_1815+0600_-_"));
    // One that begins with the next file counts from there.
    let (header, cdrs) = read(&cdr_files(&dir(&node, "next"))[0]);
    assert_eq!((header.sequence, cdrs[0].local_sequence_number), (1, Some(1)));
    assert_eq!(cdr_files(&dir(&node, "next")).len(), 1);
    // Rows of the charged class have group 0 and keep their reason.
    let (_, cdrs) = read(&cdr_files(&dir(&node, "late"))[0]);
    let group = |reason: &str| {
        let of = cdrs.iter().find(|cdr| cdr.record_extensions[0].information.contains(reason)).unwrap();
        of.list_of_service_data[0].rating_group
    };
    assert_eq!((group("class=charged;reason=cap_reached"), group("class=exempt;reason=;")), (0, 100));
}

#[test]
fn a_file_that_the_receiver_took_is_not_made_again_whatever_the_configuration_says_then() {
    for taken in [true, false] {
        let mut node = Node::new();
        let mut exporter = node.try_open(at(0), Box::new(FailAt::once(Step::AfterDataRename))).unwrap();
        period(&mut exporter, 1, 0, &two());
        courier(&node, &mut exporter, profile()).deliver().unwrap_err();
        let first = cdr_files(&dir(&node, "mediation"));
        assert_eq!(first.len(), 1, "it has its name, and nobody knows it");
        if taken {
            fs::remove_file(&first[0]).unwrap();
        }
        exporter.close().unwrap();
        let mut exporter = node.open(at(16 * MINUTE));
        let other = Profile { node_name: "other".parse().unwrap(), ..profile() };
        period(&mut exporter, 1, 1, &two());
        courier(&node, &mut exporter, other).deliver().unwrap();
        let names: Vec<String> = known(&node).into_iter().map(|(name, ..)| name).collect();
        let second = "other_-_2.20200406_-_1230+0000_-_1.cdr".to_owned();
        let first = "zrgw-01_-_1.20200406_-_1215+0000_-_1.cdr".to_owned();
        assert_eq!(names, if taken { vec![second] } else { vec![first, second] });
        assert!(files_ending(&staging(&node, "mediation"), ".part").is_empty());
    }
}

#[test]
fn b18_a_name_that_is_taken_waits_and_a_part_that_is_damaged_meanwhile_is_made_again() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    period(&mut exporter, 1, 0, &two());
    let name = dir(&node, "mediation").join("zrgw-01_-_1.20200406_-_1215+0000_-_1.cdr");
    fs::create_dir(dir(&node, "mediation")).unwrap();
    fs::write(&name, "somebody else's").unwrap();
    let mut first = courier(&node, &mut exporter, profile());
    let error = first.deliver().unwrap_err();
    assert!(matches!(error, ExportError::NameTaken { .. }), "{error}");
    drop(first);
    let part = staging(&node, "mediation").join("mediation.cdr.part");
    let whole = fs::read(&part).unwrap();
    // Another profile makes no other file of what is complete.
    let other = Profile { node_name: "other".parse().unwrap(), ..profile() };
    let mut second = courier(&node, &mut exporter, other);
    second.deliver().unwrap_err();
    assert_eq!(fs::read(&part).unwrap(), whole);
    drop(second);
    let mut bytes = whole.clone();
    bytes[60] ^= 1;
    fs::write(&part, &bytes).unwrap();
    fs::remove_file(&name).unwrap();
    courier(&node, &mut exporter, profile()).deliver().unwrap();
    assert_eq!(fs::read(&name).unwrap(), whole);
    assert_eq!(known(&node).len(), 1);
    let attempts: i64 = Connection::open(node.settings.state_dir.join(STORE_NAME))
        .unwrap()
        .query_row("SELECT attempts FROM delivery WHERE sink = 'mediation'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(attempts, 3);
}

#[test]
fn a_ledger_that_another_hand_changed_makes_no_file() {
    for (change, wanted) in [
        (
            "DROP TRIGGER record_is_immutable;
             UPDATE record SET up_bytes = up_bytes - 1 WHERE record_seq = 1 AND epoch = 1",
            "records of file",
        ),
        (
            "INSERT INTO delivery (sink, file_seq, phase, attempts, kept) VALUES ('mediation', 0, 'published', 0, '{}')",
            "kept for sink mediation: missing field `counts`",
        ),
        (
            "INSERT INTO delivery (sink, file_seq, phase, attempts, kept) VALUES ('mediation', 0, 'published', 0,
                '{\"counts\":{\"files\":\"1\",\"epoch\":1,\"records\":\"1\",\"gap\":false},
                  \"file\":{\"name\":\"../a.cdr\",\"sha256\":\"' || printf('%064d', 0) || '\"}}')",
            "the name \"../a.cdr\"",
        ),
    ] {
        let mut node = Node::new();
        let mut exporter = node.open(at(0));
        period(&mut exporter, 1, 0, &two());
        let ledger = node.settings.state_dir.join(STORE_NAME);
        Connection::open(ledger).unwrap().execute_batch(change).unwrap();
        let error = courier(&node, &mut exporter, profile()).deliver().unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
        assert!(cdr_files(&dir(&node, "mediation")).is_empty());
    }
}

#[test]
fn two_processes_make_no_files_in_one_staging_directory() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    period(&mut exporter, 1, 0, &two());
    let mut one = courier(&node, &mut exporter, profile());
    one.deliver().unwrap();
    period(&mut exporter, 2, 1, &two());
    let mut other = courier(&node, &mut exporter, profile());
    let error = other.deliver().unwrap_err();
    assert!(matches!(error, ExportError::Locked { .. }), "{error}");
    drop(one);
    other.deliver().unwrap();
    assert_eq!(known(&node).len(), 2);
}

#[test]
fn the_longest_name_goes_into_the_node_id_of_records() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    // 14 characters, a hyphen and the epoch's one: 16 of 20 octets.
    let longest = Profile { node_name: "abcdefghijklmn".parse().unwrap(), ..profile() };
    period(&mut exporter, 1, 0, &two());
    courier(&node, &mut exporter, longest).deliver().unwrap();
    assert_eq!(known(&node)[0].3, "abcdefghijklmn-1");
}

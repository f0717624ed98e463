//! What is refused at a start or at a file: locks, settings, foreign states, names that are taken.

use std::fs;

use billing_export::*;

use crate::support::*;

#[test]
fn two_processes_cannot_share_state_or_staging() {
    let mut node = Node::new();
    let exporter = node.open(at(0));
    let error = node.try_open(at(0), Box::new(NoFault)).unwrap_err().to_string();
    assert!(error.contains("state/lock") && error.contains("another process"), "{error}");
    let shared = node.settings.clone();
    node.settings.state_dir = node.root.path().join("other");
    let error = node.try_open(at(0), Box::new(NoFault)).unwrap_err().to_string();
    assert!(error.contains("zrgw-01.lock"), "{error}");
    node.settings = shared;
    drop(exporter);
    node.open(at(0));
}

#[test]
fn settings_and_states_that_do_not_fit_are_refused_with_a_remedy() {
    let mut node = Node::new();
    node.open(at(0)).close().unwrap();
    let good = node.settings.clone();
    let mut refused = |change: fn(&mut Settings), words: &str| {
        node.settings = good.clone();
        change(&mut node.settings);
        let error = node.try_open(at(0), Box::new(NoFault)).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    refused(|settings| settings.node_id = "other".parse().unwrap(), "Correct node.id");
    refused(|settings| settings.staging_dir = settings.pickup_dir.clone(), "two different directories");
    refused(|settings| settings.file_records_max = 0, "at least 1");
    refused(|settings| settings.state_dir = "/proc/nowhere".into(), "/proc/nowhere");
    let path = good.state_dir.join(STORE_NAME);
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 1_000).unwrap();
    refused(|_| (), "A later version of the gateway wrote it");
    fs::write(&path, b"not a database at all, but long enough to be taken for one").unwrap();
    refused(|_| (), "Move the state directory away");
}

#[test]
fn a_name_that_is_taken_is_an_error_and_then_published_once_it_is_free() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    exporter.checkpoint(&tick(1, at(0), &[(exempt("1", "a"), volume(10, 20))])).unwrap();
    exporter.seal_due(at(15 * MINUTE)).unwrap();
    let squatter = node.settings.pickup_dir.join("zrgw-01_usage_20200406T121500Z_00001_0000000001.csv");
    fs::write(&squatter, "somebody else's").unwrap();
    let error = exporter.publish().unwrap_err().to_string();
    assert!(error.contains(squatter.to_str().unwrap()) && error.contains(".csv.part"), "{error}");
    assert_eq!(fs::read_to_string(&squatter).unwrap(), "somebody else's");
    assert_eq!(exporter.backlog_records(), 1);
    fs::remove_file(&squatter).unwrap();
    assert_eq!(exporter.publish().unwrap(), 1);
    node.verify();
}

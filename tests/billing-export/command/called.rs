//! The command as it is called: wrong use, help, a reader that goes away.

use std::process::Command;

use super::{command, example};

#[test]
fn exit_codes_and_messages_of_wrong_use() {
    for (arguments, code, words) in [
        (vec!["verify"], 2, "Usage"),
        (vec!["verify", "/nonexistent"], 74, "/nonexistent: looking for files"),
        // F24: nobody is to create what was named by mistake, and no configuration has it.
        (vec!["verify", "nope"], 74, "Correct the path: a directory with usage files"),
        (vec!["totals", "nope"], 74, "Correct the path: a directory with usage files"),
        (vec!["render", "--state", "nope", "--file-seq", "1", "--out", "."], 74, "Name the state directory"),
        (vec!["verify", "/proc/version"], 74, "end in .csv or .manifest.json"),
        (vec!["show", "/nonexistent.csv"], 74, "/nonexistent.csv"),
        (vec!["totals", "/nonexistent"], 74, "/nonexistent"),
        (vec!["totals", ".", "--zone", "Asia/Nowhere"], 2, "Asia/Almaty"),
        (vec!["totals", ".", "--by", "colour"], 2, "subscriber, service, day, reason"),
        (vec!["render", "--state", "/nonexistent", "--file-seq", "1", "--out", "."], 74, "/nonexistent"),
        (vec![], 2, "Usage"),
    ] {
        let (found, out, err) = command(&arguments);
        assert_eq!(found, code, "{arguments:?}: {err}");
        assert!(out.is_empty() && err.contains(words), "{arguments:?}: {err}");
    }
    let empty = tempfile::tempdir().unwrap();
    let (code, _, err) = command(&["verify", empty.path().to_str().unwrap()]);
    assert!(code == 1 && err.contains("found no usage file"), "{err}");
}

#[test]
fn every_command_has_help_with_examples() {
    for arguments in [
        vec!["--help"],
        vec!["verify", "--help"],
        vec!["show", "--help"],
        vec!["render", "--help"],
        vec!["totals", "--help"],
    ] {
        let (code, out, _) = command(&arguments);
        assert_eq!(code, 0);
        assert!(out.contains("Examples:") && out.contains("billing-export "), "{arguments:?}: {out}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let node = example();
    let binary = env!("CARGO_BIN_EXE_billing-export");
    let script =
        format!("'{binary}' show '{}' | true; exit ${{PIPESTATUS[0]}}", node.data_files()[0].display());
    let status = Command::new("bash").args(["-c", &script]).status().unwrap();
    assert!(status.success(), "{status}");
}

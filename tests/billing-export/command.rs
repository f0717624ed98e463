//! The command: verify, show, render and totals as a script uses them.

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
use std::path::Path;
use std::process::Command;

use billing_export::*;
use jiff::SignedDuration;
use support::*;

/// Exit code, standard output, standard error.
fn command(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_billing-export")).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Three periods of two subscribers, published.
fn example() -> Node {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    for period in 0..3_u64 {
        let from = at(i64::try_from(period).unwrap() * 15 * MINUTE);
        let usage = [
            (exempt("77010000001", "bilimland"), volume(100, 2_000)),
            (exempt("77010000002", "daryn-online"), volume(10, 20)),
            (charged("77010000001", Reason::NotListed), volume(5, 6)),
            (charged("77010000002", Reason::NoSubscriber), volume(1, 1)),
        ];
        exporter.checkpoint(&tick(period + 1, from, &usage)).unwrap();
    }
    exporter.seal_due(at(45 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    exporter.close().unwrap();
    node
}

/// The pickup directory as an argument.
fn pickup(node: &Node) -> String {
    node.settings.pickup_dir.display().to_string()
}

/// Runs verify; the code and its lines of fault.
fn verify_dir(directory: &Path) -> (i32, Vec<String>) {
    let (code, out, _) = command(&["verify", directory.to_str().unwrap()]);
    (code, out.lines().filter(|line| line.starts_with("fault: ")).map(str::to_owned).collect())
}

#[test]
fn verify_accepts_whole_files_and_prints_what_it_read() {
    let node = example();
    let (code, out, err) = command(&["verify", &pickup(&node)]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(out, "3 files, 12 records, 348 bytes up, 6081 bytes down, 0 faults\n");
    let (code, out, _) = command(&["verify", "--format", "json", &pickup(&node)]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, json["up_bytes"].as_str(), json["faults"].as_array().unwrap().len()),
        (0, Some("348"), 0)
    );
}

#[test]
fn b4_every_wrong_delivery_is_named_and_changes_no_total() {
    type Harm = fn(&Path, &Path);
    // Words that the one fault or several must hold, and whether `totals` still answers as before.
    let cases: [(&str, Harm, &[&str], bool); 9] = [
        (
            "copied under a new name",
            |data, _| {
                fs::copy(data, data.with_file_name("copy.csv")).unwrap();
            },
            &["copy.csv: name", "no manifest beside it", "a second time"],
            true,
        ),
        (
            "copied with its manifest under the next free name",
            |data, manifest| {
                for path in [data, manifest] {
                    let name =
                        path.file_name().unwrap().to_str().unwrap().replace("0000000001", "0000000004");
                    fs::copy(path, path.with_file_name(name)).unwrap();
                }
            },
            &["manifest, file: found", "a second time"],
            true,
        ),
        (
            "half a file",
            |data, _| {
                let text = fs::read(data).unwrap();
                fs::write(data, &text[..text.len() / 2]).unwrap();
            },
            &["sha256: found", "number of rows: found"],
            false,
        ),
        (
            "rows shuffled",
            |data, _| {
                let text = fs::read_to_string(data).unwrap();
                let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
                lines.swap(1, 3);
                fs::write(data, lines.concat()).unwrap();
            },
            &["sha256: found", "record_seq: found 3, wanted 1"],
            false,
        ),
        (
            "one digit changed",
            |data, _| {
                let text = fs::read_to_string(data).unwrap();
                fs::write(data, text.replace(",100,2000,", ",900,2000,")).unwrap();
            },
            &[
                "sha256: found",
                "sum of up_bytes: found 916, wanted 116",
                "up_bytes_total: found 100, wanted 900",
            ],
            false,
        ),
        (
            "manifest cut",
            |_, manifest| {
                let text = fs::read(manifest).unwrap();
                fs::write(manifest, &text[..90]).unwrap();
            },
            &[".manifest.json: line 1, column"],
            false,
        ),
        (
            "manifest without data",
            |data, _| fs::remove_file(data).unwrap(),
            &["without its data file"],
            false,
        ),
        (
            "manifest flipped",
            |_, manifest| {
                let text = fs::read_to_string(manifest).unwrap();
                fs::write(manifest, text.replace(r#""seen_up_bytes":"116""#, r#""seen_up_bytes":"117""#))
                    .unwrap();
            },
            &["not conserved", "conserved: found true, wanted false", "previous_manifest_sha256: found"],
            true,
        ),
        (
            "file lost",
            |data, manifest| {
                let second = |path: &Path| {
                    let name = path.file_name().unwrap().to_str().unwrap();
                    path.with_file_name(
                        name.replace("0000000001", "0000000002").replace("T121500Z", "T123000Z"),
                    )
                };
                fs::remove_file(second(data)).unwrap();
                fs::remove_file(second(manifest)).unwrap();
            },
            &["file_seq 2 is missing", "record_seq 5 to 8 are missing"],
            true,
        ),
    ];
    for (what, harm, words, counts) in cases {
        let node = example();
        let totals = |node: &Node| command(&["totals", &pickup(node)]);
        let (_, before, _) = totals(&node);
        let data = node.data_files().remove(0);
        harm(&data, Path::new(&data.to_str().unwrap().replace(".csv", ".manifest.json")));
        let (code, faults) = verify_dir(&node.settings.pickup_dir);
        assert_eq!(code, 1, "{what}");
        for word in words {
            assert!(faults.iter().any(|fault| fault.contains(word)), "{what}: {word}: {faults:#?}");
        }
        let (code, after, errors) = totals(&node);
        assert_eq!(code == 0, counts && what != "file lost", "{what}: {errors}");
        if counts && what != "file lost" {
            assert_eq!(after, before, "{what}");
        } else if !counts {
            assert!(after.is_empty() && errors.contains("billing-export verify"), "{what}: {errors}");
        }
    }
}

/// Files that are taken away at either end are billing's own affair; one between others is a smaller sum that nobody asked for.
#[test]
fn f25_a_file_lost_between_others_is_told_beside_the_sums_of_the_rest() {
    let lose = |lost: &[usize]| {
        let node = example();
        let files = node.data_files();
        for number in lost {
            let data = files[*number].to_str().unwrap();
            fs::remove_file(data).unwrap();
            fs::remove_file(data.replace(".csv", ".manifest.json")).unwrap();
        }
        let arguments = ["totals", &pickup(&node), "--format", "json"];
        let (code, out, err) = command(&arguments);
        let sums: serde_json::Value = serde_json::from_str(&out).unwrap();
        let exempt = sums.as_array().unwrap().iter().find(|row| row["class"] == "exempt").unwrap();
        (code, exempt["down_bytes"].as_str().unwrap().to_owned(), err)
    };
    for (lost, sum) in [(&[][..], "6060"), (&[0], "4040"), (&[2], "4040"), (&[0, 1], "2020")] {
        let (code, found, err) = lose(lost);
        assert_eq!((code, found.as_str(), err.as_str()), (0, sum, ""), "{lost:?}");
    }
    let (code, found, err) = lose(&[1]);
    assert_eq!((code, found.as_str()), (1, "4040"));
    assert!(err.contains("node zrgw-01: file_seq 2: missing between others"), "{err}");
    assert!(err.contains("delivered again"), "{err}");
    // One whose manifest has not come yet is not counted: in the middle it is missing, at the end it is on its way.
    for (number, wanted) in [(1, 1), (2, 0)] {
        let node = example();
        let manifest = node.data_files()[number].to_str().unwrap().replace(".csv", ".manifest.json");
        fs::remove_file(manifest).unwrap();
        let (code, _, err) = command(&["totals", &pickup(&node)]);
        assert_eq!(code, wanted, "{err}");
        assert!(err.contains("no manifest beside it"), "{err}");
    }
}

#[test]
fn b4_the_same_directory_twice_is_counted_once() {
    let node = example();
    let second = node.root.path().join("second");
    fs::create_dir(&second).unwrap();
    for file in files_ending(&node.settings.pickup_dir, "") {
        fs::copy(&file, second.join(file.file_name().unwrap())).unwrap();
    }
    let (_, once, _) = command(&["totals", &pickup(&node)]);
    let (code, twice, err) = command(&["totals", &pickup(&node), second.to_str().unwrap()]);
    assert_eq!((code, &twice), (0, &once));
    assert!(err.contains("12 records a second time"), "{err}");
    let (code, out, _) = command(&["verify", &pickup(&node), second.to_str().unwrap()]);
    assert_eq!(code, 1);
    assert!(out.contains("file_seq 1: found it a second time"), "{out}");
}

#[test]
fn files_after_the_first_ones_were_taken_away_are_no_fault() {
    let node = example();
    let first = node.data_files().remove(0);
    fs::remove_file(first.to_str().unwrap().replace(".csv", ".manifest.json")).unwrap();
    fs::remove_file(first).unwrap();
    let (code, _, err) = command(&["verify", &pickup(&node)]);
    assert_eq!(code, 0);
    assert!(err.contains("note: ") && err.contains("were not given"), "{err}");
    let (code, out, _) = command(&["verify", node.data_files()[1].to_str().unwrap()]);
    assert_eq!((code, out.starts_with("1 files, 4 records")), (0, true));
}

#[test]
fn totals_by_each_key_are_aligned_tables_or_json() {
    let node = example();
    let plain = |by: &[&str]| {
        let directory = pickup(&node);
        let arguments: Vec<&str> = ["totals", &directory].into_iter().chain(by.iter().copied()).collect();
        let (code, out, err) = command(&arguments);
        assert_eq!((code, err.as_str()), (0, ""));
        out
    };
    assert_eq!(
        plain(&[]),
        "class         records  up_bytes  down_bytes\n\
         exempt              6       330        6060\n\
         charged             3        15          18\n\
         unattributed        3         3           3\n"
    );
    assert_eq!(
        plain(&["--by", "subscriber"]),
        "subscriber          class         records  up_bytes  down_bytes\n\
         msisdn:77010000001  exempt              3       300        6000\n\
         msisdn:77010000001  charged             3        15          18\n\
         msisdn:77010000002  exempt              3        30          60\n\
         msisdn:77010000002  unattributed        3         3           3\n"
    );
    assert_eq!(
        plain(&["--by", "service"]),
        "service       class         records  up_bytes  down_bytes\n\
         -             charged             3        15          18\n\
         -             unattributed        3         3           3\n\
         bilimland     exempt              3       300        6000\n\
         daryn-online  exempt              3        30          60\n"
    );
    assert_eq!(
        plain(&["--by", "reason"]),
        "reason         class         records  up_bytes  down_bytes\n\
         -              exempt              6       330        6060\n\
         no_subscriber  unattributed        3         3           3\n\
         not_listed     charged             3        15          18\n"
    );
    assert_eq!(
        plain(&["--by", "service", "--format", "json"]),
        "[{\"class\":\"charged\",\"down_bytes\":\"18\",\"records\":\"3\",\"service\":null,\"up_bytes\":\"15\"},\
         {\"class\":\"unattributed\",\"down_bytes\":\"3\",\"records\":\"3\",\"service\":null,\"up_bytes\":\"3\"},\
         {\"class\":\"exempt\",\"down_bytes\":\"6000\",\"records\":\"3\",\"service\":\"bilimland\",\"up_bytes\":\"300\"},\
         {\"class\":\"exempt\",\"down_bytes\":\"60\",\"records\":\"3\",\"service\":\"daryn-online\",\"up_bytes\":\"30\"}]\n"
    );
}

/// One byte in every quarter of an hour of these days; sums by local day of the zone.
fn by_day(first: &str, hours: i64, zone: &str) -> Vec<(String, u64)> {
    let mut node = Node::new();
    let first: Timestamp = first.parse().unwrap();
    let mut exporter = node.open(first);
    for quarter in 0..hours * 4 {
        let from = first + SignedDuration::from_mins(quarter * 15);
        let usage = [(exempt("1", "a"), volume(1, 1))];
        exporter.checkpoint(&tick(u64::try_from(quarter).unwrap() + 1, from, &usage)).unwrap();
        exporter.seal_due(from + SignedDuration::from_mins(15)).unwrap();
    }
    exporter.publish().unwrap();
    let (code, out, err) =
        command(&["totals", &pickup(&node), "--by", "day", "--zone", zone, "--format", "json"]);
    assert_eq!(code, 0, "{err}");
    let rows: serde_json::Value = serde_json::from_str(&out).unwrap();
    let day = |row: &serde_json::Value| {
        (row["day"].as_str().unwrap().to_owned(), row["up_bytes"].as_str().unwrap().parse().unwrap())
    };
    rows.as_array().unwrap().iter().map(day).collect()
}

#[test]
fn b10_local_days_have_92_96_or_100_quarters_of_an_hour() {
    // A local day's length in quarters, where it is whole; the days around it are cut.
    let middle = |first: &str, zone: &str| by_day(first, 72, zone)[1].clone();
    for (first, zone, day, quarters) in [
        ("2026-03-07T05:00:00Z", "America/New_York", "2026-03-08", 92),
        ("2026-10-31T04:00:00Z", "America/New_York", "2026-11-01", 100),
        ("2026-04-04T18:15:00Z", "Asia/Kathmandu", "2026-04-06", 96),
        ("2026-04-03T13:00:00Z", "Australia/Lord_Howe", "2026-04-05", 98),
        ("2026-10-02T13:30:00Z", "Australia/Lord_Howe", "2026-10-04", 94),
        ("2020-04-04T18:00:00Z", "Asia/Almaty", "2020-04-06", 96),
        ("2026-04-04T00:00:00Z", "UTC", "2026-04-05", 96),
    ] {
        assert_eq!(middle(first, zone), (day.to_owned(), quarters), "{zone}");
    }
    // Samoa left out 30 December 2011.
    let samoa: Vec<_> = by_day("2011-12-29T10:00:00Z", 48, "Pacific/Apia");
    assert_eq!(samoa, [("2011-12-29".to_owned(), 96), ("2011-12-31".to_owned(), 96)]);
}

#[test]
fn b12_show_prints_exact_numbers_as_strings() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    let bytes = (1 << 53) + 1;
    exporter.checkpoint(&tick(1, at(0), &[(exempt("1", "a"), volume(bytes, (1 << 63) - 1))])).unwrap();
    exporter.seal_due(at(15 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    let data = node.data_files().remove(0);
    let (code, out, err) = command(&["show", data.to_str().unwrap()]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(
        out,
        "{\"node_id\":\"zrgw-01\",\"epoch\":1,\"record_seq\":\"1\",\"kind\":\"usage\",\"ref_epoch\":null,\
         \"ref_seq\":null,\"class\":\"exempt\",\"reason\":null,\"subscriber_type\":\"msisdn\",\"subscriber_id\":\"1\",\
         \"session_id\":\"s-1\",\"service_id\":\"a\",\"rating_group\":100,\"list_id\":\"kz-education\",\
         \"list_serial\":\"3\",\"start_utc\":\"2020-04-06T12:00:00.000Z\",\"end_utc\":\"2020-04-06T12:15:00.000Z\",\
         \"up_bytes\":\"9007199254740993\",\"down_bytes\":\"9223372036854775807\",\
         \"up_bytes_total\":\"9007199254740993\",\"down_bytes_total\":\"9223372036854775807\",\
         \"byte_basis\":\"payload\",\"disposition\":\"reported\",\"cause\":\"period\",\"flags\":null}\n"
    );
    let manifest = data.to_str().unwrap().replace(".csv", ".manifest.json");
    let (code, out, _) = command(&["show", &manifest]);
    assert_eq!((code, out), (0, fs::read_to_string(&manifest).unwrap()));
    let (code, out, err) = command(&["totals", &pickup(&node), "--by", "subscriber"]);
    assert!(code == 0 && out.contains("9223372036854775807"), "{err}");
}

#[test]
fn show_names_line_and_column_of_what_it_cannot_read() {
    let node = example();
    let data = node.data_files().remove(0);
    let text = fs::read_to_string(&data).unwrap();
    fs::write(&data, text.replace(",not_listed,", ",because,")).unwrap();
    let (code, out, err) = command(&["show", data.to_str().unwrap()]);
    assert_eq!((code, out.lines().count()), (1, 1), "{err}");
    assert!(err.contains("line 3: reason: found \"because\", wanted one of the reasons"), "{err}");
    fs::write(&data, "a,b\n").unwrap();
    let (code, _, err) = command(&["show", data.to_str().unwrap()]);
    assert!(code == 1 && err.contains("line 1") && err.contains("columns of a usage file"), "{err}");
}

#[test]
fn render_writes_the_same_bytes_again_even_while_the_ledger_is_in_use() {
    let mut node = example();
    let exporter = node.open(at(46 * MINUTE));
    let out = node.root.path().join("again");
    let state = node.settings.state_dir.join(STORE_NAME);
    let render = |seq: &str| {
        command(&[
            "render",
            "--state",
            state.to_str().unwrap(),
            "--file-seq",
            seq,
            "--out",
            out.to_str().unwrap(),
        ])
    };
    let (code, stdout, err) = render("2");
    assert_eq!((code, stdout.lines().count()), (0, 2), "{err}");
    for path in stdout.lines().map(Path::new) {
        let first = node.settings.pickup_dir.join(path.file_name().unwrap());
        assert_eq!(fs::read(path).unwrap(), fs::read(first).unwrap());
    }
    assert_eq!(render("2").0, 0, "again is no error");
    let (code, _, err) = render("9");
    assert!(code == 1 && err.contains("wanted one from 1 to 3"), "{err}");
    let (code, _, err) = render("18446744073709551615");
    assert!(code == 1 && err.contains("wanted one from 1 to 3"), "{err}");
    fs::write(out.join(node.data_files()[0].file_name().unwrap()), "other").unwrap();
    let (code, _, err) = render("1");
    assert!(code == 1 && err.contains("found a file with sha256"), "{err}");
    drop(exporter);
}

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

//! What `verify` says of whole files and of every wrong delivery.

use std::fs;
use std::path::Path;

use super::{command, example, pickup};
use crate::support::*;

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

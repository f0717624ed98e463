//! What is refused: told with its file and reason, noted, and nothing of it taken.

use std::fs;
use std::path::Path;

use billing_export::manifest::Manifest;

use crate::forge::{Forge, manifest_of, rewrite};
use crate::oracle::{Bench, data_of};
use crate::support::*;
use crate::{deliver, delivered};

/// Wants `--once` to refuse this one file for this reason, and to say so.
fn refuses(bench: &Bench<'_>, name: &str, reason: &str) {
    let ran = bench.once();
    assert_eq!((ran.code, ran.counts[2]), (1, 1), "{reason}: {}", ran.errors);
    let line = ran.errors.lines().find(|line| line.starts_with("refused: ")).unwrap();
    assert!(line.contains(name) && line.contains(&format!(": {reason}: ")), "{reason}: {line}");
    assert!(!line.contains("7701000000"), "no subscriber is named: {line}");
    let noted = bench.sql("SELECT source, name, reason FROM zrgw.refusal ORDER BY at DESC LIMIT 1");
    assert!(noted.starts_with(&format!("{}|{name}|{reason}: ", bench.usage().display())), "{noted}");
    // Told each time, noted once.
    assert_eq!(bench.once().errors.lines().filter(|line| line.starts_with("refused: ")).count(), 1);
    assert_eq!(bench.sql(&format!("SELECT count(*) FROM zrgw.refusal WHERE name = '{name}'")), "1");
}

/// The first two files of the example and a third that is not right: nothing of it is taken, and the others are.
fn refuses_third(reason: &str, spoil: impl FnOnce(&[u8], Manifest, &Path)) {
    let (node, bench) = (delivered(), Bench::new());
    let files = node.data_files();
    files[..2].iter().for_each(|file| deliver(file, &bench.usage()));
    spoil(&fs::read(&files[2]).unwrap(), manifest_of(&files[2]), &bench.usage());
    refuses(&bench, files[2].file_name().unwrap().to_str().unwrap(), reason);
    bench.agrees_with(&files[..2]);
    assert_eq!(bench.watermark("zrgw-01")["file_seq"], "2");
    // Delivered again as it was sealed, it is taken.
    deliver(&files[2], &bench.usage());
    bench.taken();
    bench.agrees_with(&files[..3]);
}

/// A text of a file with one piece in another form.
fn edited(data: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = std::str::from_utf8(data).unwrap();
    assert!(text.contains(from), "{from} in {text}");
    text.replacen(from, to, 1).into_bytes()
}

#[test]
fn an_edited_row_is_refused_by_its_hash() {
    refuses_third("sha256", |data, manifest, folder| {
        let sha256 = manifest.sha256;
        rewrite(&edited(data, ",100,2000,", ",100,2001,"), manifest, folder, |manifest| {
            manifest.sha256 = sha256
        });
    });
}

#[test]
fn half_the_data_under_a_whole_manifest_is_refused() {
    refuses_third("sha256", |data, manifest, folder| {
        let sha256 = manifest.sha256;
        rewrite(&data[..data.len() / 2], manifest, folder, |manifest| manifest.sha256 = sha256);
    });
}

#[test]
fn an_edited_row_with_a_hash_of_its_own_is_refused_by_the_sum() {
    refuses_third("sum", |data, manifest, folder| {
        rewrite(&edited(data, ",100,2000,", ",100,2001,"), manifest, folder, |_| ());
    });
}

#[test]
fn a_manifest_that_lies_is_refused() {
    refuses_third("manifest", |data, manifest, folder| {
        rewrite(data, manifest, folder, |manifest| manifest.records += 1);
    });
    refuses_third("count", |data, manifest, folder| {
        rewrite(data, manifest, folder, |manifest| {
            (manifest.records, manifest.last_seq) = (4, manifest.last_seq + 1)
        });
    });
    refuses_third("sum", |data, manifest, folder| {
        rewrite(data, manifest, folder, |manifest| {
            manifest.up_bytes += 1;
            manifest.seen_up_bytes += 1;
        });
    });
    refuses_third("manifest", |data, manifest, folder| {
        rewrite(data, manifest, folder, |manifest| manifest.conserved = false);
    });
    refuses_third("manifest", |data, manifest, folder| {
        rewrite(data, manifest, folder, |manifest| manifest.node_id = "other".into());
    });
    refuses_third("row", |data, manifest, folder| {
        rewrite(data, manifest, folder, |manifest| manifest.byte_basis = "ip".into());
    });
}

#[test]
fn rows_and_columns_that_are_not_of_the_contract_are_refused() {
    refuses_third("columns", |data, manifest, folder| {
        rewrite(&edited(data, "node_id,epoch", "node,epoch"), manifest, folder, |_| ());
    });
    refuses_third("row", |data, manifest, folder| {
        rewrite(&edited(data, ",usage,", ",usages,"), manifest, folder, |_| ());
    });
    refuses_third("row", |data, mut manifest, folder| {
        // Two rows have changed places.
        let text = std::str::from_utf8(data).unwrap();
        let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
        lines.swap(1, 2);
        manifest.conserved = true;
        rewrite(lines.concat().as_bytes(), manifest, folder, |_| ());
    });
}

#[test]
fn more_than_a_file_may_have_is_refused_before_it_is_read() {
    refuses_third("too_large", |data, manifest, folder| {
        rewrite(data, manifest, folder, |manifest| {
            manifest.records = 20_000_000;
            manifest.last_seq = manifest.first_seq + manifest.records - 1;
        });
    });
    refuses_third("too_large", |data, manifest, folder| {
        let long = [data, &vec![b'x'; 4 * 16 * 1024][..]].concat();
        rewrite(&long, manifest, folder, |_| ());
    });
}

#[test]
fn a_manifest_without_data_and_names_of_others_are_refused() {
    let (node, bench) = (delivered(), Bench::new());
    let files = node.data_files();
    deliver(&files[0], &bench.usage());
    fs::remove_file(bench.usage().join(files[0].file_name().unwrap())).unwrap();
    refuses(&bench, files[0].file_name().unwrap().to_str().unwrap(), "data_missing");
    fs::remove_dir_all(bench.usage()).unwrap();
    fs::create_dir(bench.usage()).unwrap();
    fs::copy(&files[0], bench.usage().join("copy.csv")).unwrap();
    fs::write(bench.usage().join("copy.manifest.json"), manifest_of(&files[0]).to_text().unwrap()).unwrap();
    refuses(&bench, "copy.csv", "name");
    assert_eq!(bench.sql("SELECT count(*) FROM zrgw.record"), "0");
}

#[test]
fn a_file_that_was_changed_after_it_was_taken_is_told() {
    let (node, bench) = (delivered(), Bench::new());
    copy_dir(&node.settings.pickup_dir, &bench.usage());
    bench.taken();
    let before = bench.dump();
    let data = data_of(&bench.usage()).remove(1);
    fs::write(&data, edited(&fs::read(&data).unwrap(), "usage", "Usage")).unwrap();
    refuses(&bench, data.file_name().unwrap().to_str().unwrap(), "sha256");
    assert_eq!(bench.dump(), before);
}

#[test]
fn other_content_under_an_identity_is_refused() {
    let bench = Bench::new();
    let mut forge = Forge::new("zrgw-05");
    forge.usage("77010000001", 10, 10);
    forge.usage("77010000002", 10, 10);
    forge.write(&bench.usage());
    bench.taken();
    let before = bench.dump();
    // Another number of file and day, one record the same, one not, one new.
    let mut other = Forge::new("zrgw-05");
    other.file_seq = 2;
    other.usage("77010000001", 10, 10);
    other.usage("77010000002", 10, 11);
    other.usage("77010000003", 1, 1);
    let path = other.write(&bench.usage());
    refuses(&bench, path.file_name().unwrap().to_str().unwrap(), "identity");
    assert_eq!(bench.dump(), before);
    // The same identity on another day.
    fs::remove_file(&path).unwrap();
    fs::remove_file(path.to_str().unwrap().replace(".csv", ".manifest.json")).unwrap();
    let mut other = Forge::new("zrgw-05");
    (other.file_seq, other.start) = (2, at(50 * 24 * 60 * MINUTE));
    other.usage("77010000001", 10, 10);
    let path = other.write(&bench.usage());
    refuses(&bench, path.file_name().unwrap().to_str().unwrap(), "identity");
    assert_eq!(bench.dump(), before);
}

#[test]
fn an_overlap_of_equal_records_brings_what_is_new() {
    let bench = Bench::new();
    let mut forge = Forge::new("zrgw-05");
    forge.usage("1", 10, 10);
    forge.usage("2", 20, 20);
    let first = forge.write(&bench.usage());
    bench.taken();
    forge.seq = 2;
    forge.usage("2", 20, 20);
    forge.usage("3", 30, 30);
    let second = forge.write(&bench.usage());
    assert_eq!(bench.taken().counts, [1, 1, 0, 0, 1]);
    bench.agrees_with(&[first, second]);
    assert_eq!(bench.node("zrgw-05"), "2|1|3|3");
}

#[test]
fn b8_a_second_gateway_of_the_same_name_is_refused_and_the_first_stays() {
    let (first, bench) = (delivered(), Bench::new());
    copy_dir(&first.settings.pickup_dir, &bench.usage());
    bench.taken();
    let before = bench.dump();
    // Another machine of this name, by itself: the same numbers, other bytes.
    let mut second = Node::new();
    let mut exporter = second.open(at(7));
    for number in 0..8 {
        let from = at(15 * MINUTE * number + 7);
        let usage = [(exempt("77020000001", "bilimland"), volume(1, 1))];
        exporter.checkpoint(&tick(u64::try_from(number).unwrap() + 1, from, &usage)).unwrap();
        exporter.seal_due(at(15 * MINUTE * (number + 1))).unwrap();
    }
    exporter.publish().unwrap();
    exporter.close().unwrap();
    let ours = data_of(&bench.usage()).len() as u64;
    let theirs = second.data_files();
    let folder = bench.root.path().join("usage-2");
    fs::create_dir(&folder).unwrap();
    copy_dir(&second.settings.pickup_dir, &folder);
    let mut bench = bench;
    bench.more = "[[source]]\nkind = \"files\"\ndir = \"usage-2\"\n".into();
    let ran = bench.once();
    assert_eq!((ran.code, ran.counts), (1, [0, ours, theirs.len() as u64, 0, 0]), "{}", ran.errors);
    assert_eq!(bench.dump(), before);
    assert!(
        ran.errors.contains(": identity: ") && ran.errors.contains("give one of them another name"),
        "{}",
        ran.errors
    );
}

#[test]
fn b8_a_file_that_does_not_continue_the_chain_is_refused() {
    let bench = Bench::new();
    let mut forge = Forge::new("zrgw-05");
    for _ in 0..2 {
        forge.usage("1", 10, 10);
        forge.write(&bench.usage());
    }
    bench.taken();
    let before = bench.dump();
    // New numbers, but behind another past.
    let mut other = Forge::new("zrgw-05");
    other.usage("9", 1, 1);
    let elsewhere = tempfile::tempdir().unwrap();
    other.write(elsewhere.path());
    (other.seq, other.file_seq) = (3, 3);
    other.usage("9", 1, 1);
    let path = other.write(&bench.usage());
    refuses(&bench, path.file_name().unwrap().to_str().unwrap(), "chain");
    assert_eq!(bench.dump(), before);
    // New numbers in a file whose number is taken.
    let (mut other, name) = (Forge::new("zrgw-05"), path);
    fs::remove_file(name.to_str().unwrap().replace(".csv", ".manifest.json")).unwrap();
    fs::remove_file(name).unwrap();
    (other.seq, other.file_seq, other.previous) = (3, 2, forge.previous);
    other.start = at(20 * MINUTE);
    other.usage("9", 1, 1);
    let path = other.write(&bench.usage());
    refuses(&bench, path.file_name().unwrap().to_str().unwrap(), "chain");
    assert_eq!(bench.dump(), before);
    // The first gateway goes on.
    fs::remove_file(path.to_str().unwrap().replace(".csv", ".manifest.json")).unwrap();
    fs::remove_file(path).unwrap();
    forge.usage("1", 5, 5);
    forge.write(&bench.usage());
    bench.taken();
    assert_eq!(bench.node("zrgw-05"), "3|1|3|3");
}

#[test]
fn epochs_that_fall_are_refused() {
    let bench = Bench::new();
    let mut forge = Forge::new("zrgw-05");
    (forge.epoch, forge.file_seq) = (2, 5);
    forge.usage("1", 10, 10);
    forge.write(&bench.usage());
    bench.taken();
    let mut other = Forge::new("zrgw-05");
    (other.epoch, other.file_seq) = (1, 9);
    other.usage("1", 10, 10);
    let path = other.write(&bench.usage());
    refuses(&bench, path.file_name().unwrap().to_str().unwrap(), "chain");
}

#[test]
fn b12_numbers_at_the_edge_of_what_the_ledger_keeps() {
    let most = i64::MAX.unsigned_abs() - 1;
    let bench = Bench::new();
    let mut forge = Forge::new("zrgw-05");
    // Behind a hole that no manifest has.
    forge.previous = Some(billing_export::manifest::Hash::of(b"lost"));
    (forge.seq, forge.file_seq) = (most, most);
    forge.usage("1", 1, 1);
    let path = forge.write(&bench.usage());
    bench.taken();
    bench.agrees_with(&[path]);
    assert_eq!(bench.node("zrgw-05"), format!("0|0|0|{most}"));
    (forge.seq, forge.file_seq) = (most + 1, most);
    forge.usage("1", 1, 1);
    let path = forge.write(&bench.usage());
    refuses(&bench, path.file_name().unwrap().to_str().unwrap(), "too_large");
}

#[test]
fn what_is_no_file_is_refused_and_not_waited_for() {
    let (node, bench) = (delivered(), Bench::new());
    let files = node.data_files();
    deliver(&files[0], &bench.usage());
    deliver(&files[1], &bench.usage());
    let pipe = |path: &Path| {
        fs::remove_file(path).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
            .unwrap();
    };
    pipe(&bench.usage().join(files[0].file_name().unwrap()));
    pipe(Path::new(
        &bench
            .usage()
            .join(files[1].file_name().unwrap())
            .to_str()
            .unwrap()
            .replace(".csv", ".manifest.json"),
    ));
    let ran = bench.once();
    assert_eq!((ran.code, ran.counts[2]), (1, 2), "{}", ran.errors);
    assert_eq!(ran.errors.matches("no file").count(), 2, "{}", ran.errors);
}

#[test]
fn b8_a_second_gateway_that_goes_on_longer_is_refused_to_its_end() {
    let bench = Bench::new();
    let mut first = Forge::new("zrgw-05");
    for _ in 0..3 {
        first.usage("1", 10, 10);
        first.write(&bench.usage());
    }
    bench.taken();
    let before = bench.dump();
    let folder = bench.root.path().join("usage-2");
    fs::create_dir(&folder).unwrap();
    let mut second = Forge::new("zrgw-05");
    for _ in 0..7 {
        second.usage("2", 1, 1);
        second.write(&folder);
    }
    let mut bench = bench;
    bench.more = "[[source]]\nkind = \"files\"\ndir = \"usage-2\"\n".into();
    for _ in 0..2 {
        let ran = bench.once();
        assert_eq!((ran.code, ran.counts), (1, [0, 3, 7, 0, 0]), "{}", ran.errors);
        assert_eq!(bench.dump(), before);
    }
    assert!(bench.once().errors.contains("which is of a file that was refused"));
    // The first goes on, over a hole that is filled later.
    first.usage("1", 10, 10);
    let (data, manifest) = first.render();
    first.write(folder.parent().unwrap());
    first.usage("1", 10, 10);
    first.write(&bench.usage());
    assert_eq!(bench.once().counts[0], 1);
    rewrite(&data, manifest, &bench.usage(), |_| ());
    assert_eq!(bench.once().counts[0], 1);
    assert_eq!(bench.node("zrgw-05"), "5|1|5|5");
    assert_eq!(bench.sql("SELECT subscriber_id, up_bytes FROM zrgw.total"), "1|50");
}

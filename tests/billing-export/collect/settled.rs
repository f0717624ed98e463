//! What becomes of files that are taken.

use std::fs;

use crate::oracle::{Bench, data_of};
use crate::support::*;
use crate::{deliver, delivered};

/// Names in a folder.
fn names(folder: &std::path::Path) -> Vec<String> {
    files_ending(folder, "")
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect()
}

#[test]
fn taken_files_are_deleted_and_refused_ones_stay() {
    let (node, mut bench) = (delivered(), Bench::new());
    bench.done = "delete".into();
    copy_dir(&node.settings.pickup_dir, &bench.usage());
    let spoilt = bench.usage().join(node.data_files()[1].file_name().unwrap());
    fs::write(&spoilt, "").unwrap();
    assert_eq!(bench.once().code, 1);
    let left = names(&bench.usage());
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left.iter().all(|name| name.contains("_0000000002.")), "{left:?}");
}

#[test]
fn taken_files_are_moved_with_their_manifests() {
    let (node, mut bench) = (delivered(), Bench::new());
    bench.done = "taken/2020".into();
    copy_dir(&node.settings.pickup_dir, &bench.usage());
    bench.taken();
    assert!(names(&bench.usage()).is_empty());
    let taken = bench.root.path().join("taken/2020");
    assert_eq!(names(&taken), names(&node.settings.pickup_dir));
    bench.agrees_with(&data_of(&taken));
    // Delivered a second time: known, and the copy goes.
    deliver(&node.data_files()[0], &bench.usage());
    assert_eq!(bench.taken().counts, [0, 1, 0, 0, 0]);
    assert!(names(&bench.usage()).is_empty());
}

#[test]
fn files_are_moved_over_file_systems() {
    let memory = std::path::Path::new("/dev/shm");
    let (node, mut bench) = (delivered(), Bench::new());
    if !memory.is_dir() {
        println!("SKIPPED: /dev/shm is no second file system here");
        return;
    }
    let there = tempfile::tempdir_in(memory).unwrap();
    bench.done = there.path().display().to_string();
    copy_dir(&node.settings.pickup_dir, &bench.usage());
    bench.taken();
    assert!(names(&bench.usage()).is_empty());
    assert_eq!(names(there.path()), names(&node.settings.pickup_dir));
    bench.agrees_with(&data_of(there.path()));
}

#[test]
fn a_stop_between_commit_and_move_is_mended_by_the_next_look() {
    let (node, mut bench) = (delivered(), Bench::new());
    copy_dir(&node.settings.pickup_dir, &bench.usage());
    // Taken, and not moved: as after a kill behind the commit.
    bench.taken();
    let before = bench.dump();
    fs::remove_file(bench.root.path().join("watermarks/zrgw-01.json")).unwrap();
    // The first one's data went already.
    let taken = bench.root.path().join("taken");
    fs::create_dir(&taken).unwrap();
    let first = data_of(&bench.usage()).remove(0);
    fs::rename(&first, taken.join(first.file_name().unwrap())).unwrap();
    bench.done = "taken".into();
    bench.taken();
    assert!(names(&bench.usage()).is_empty());
    assert_eq!(names(&taken), names(&node.settings.pickup_dir));
    assert_eq!(bench.dump(), before);
    assert_eq!(bench.watermark("zrgw-01")["file_seq"], data_of(&taken).len().to_string());
}

#[test]
fn a_file_that_cannot_be_moved_is_told_and_keeps_none_of_the_others() {
    let (node, mut bench) = (delivered(), Bench::new());
    bench.done = "taken".into();
    copy_dir(&node.settings.pickup_dir, &bench.usage());
    let files = node.data_files();
    let taken = bench.root.path().join("taken");
    fs::create_dir(&taken).unwrap();
    let there = taken.join(files[0].file_name().unwrap());
    fs::write(&there, "of somebody else").unwrap();
    let ran = bench.once();
    assert_eq!(ran.code, 74, "{}", ran.errors);
    assert!(ran.errors.contains("another content has this name there"), "{}", ran.errors);
    assert_eq!(fs::read_to_string(&there).unwrap(), "of somebody else");
    bench.agrees_with(&files);
    assert_eq!(names(&bench.usage()).len(), 2, "the first and its manifest");
    fs::remove_file(&there).unwrap();
    assert_eq!(bench.taken().counts, [0, 1, 0, 0, 0]);
    assert!(names(&bench.usage()).is_empty());
}

//! Disks that fail: errors at every point (B17), full (B16), closed (B18), and two where one is needed.

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
use std::process::Command;

use billing_export::*;
use support::*;

#[test]
fn b17_after_an_error_at_any_point_the_state_is_read_again_and_nothing_is_lost_or_doubled() {
    for step in Step::ALL {
        let mut node = Node::new();
        let mut exporter = node.try_open(at(0), Box::new(FailAt::once(step))).unwrap();
        let mut errors = 0;
        for sequence in 1..=20 {
            let from = at(i64::try_from(sequence).unwrap() * 2 * MINUTE);
            let one = tick(
                sequence,
                from,
                &[(exempt("1", "a"), volume(10, 20)), (charged("1", Reason::Port), volume(1, 2))],
            );
            while let Err(error) = exporter.checkpoint(&one) {
                assert!(error.to_string().contains("kept") || error.to_string().contains("again"), "{error}");
                errors += 1;
            }
            while exporter.seal_due(one.at).is_err() {
                errors += 1;
            }
            while exporter.publish().is_err() {
                errors += 1;
            }
        }
        exporter.seal_now(at(60 * MINUTE), Cause::Shutdown).unwrap();
        exporter.publish().unwrap();
        assert_eq!(errors, 1, "{step}");
        let report = node.verify();
        assert_eq!((report.up_bytes, report.down_bytes), (220, 440), "{step}");
        node.render_all_again();
    }
}

/// Mounts a small file system; none where this process may not (printed and counted by the caller).
struct Mount(PathBuf);

impl Mount {
    fn tmpfs(path: &Path, options: &str) -> Option<Mount> {
        fs::create_dir_all(path).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "none"]).arg(path).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Mount(path.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// Says that a test needs root.
fn skipped(test: &str) {
    println!("SKIPPED: {test}: needs the right to mount (root)");
}

/// Ticks of many subscribers until something fails; the error.
fn fill(exporter: &mut Exporter, sequence: &mut u64) -> ExportError {
    for _ in 0..2_000 {
        *sequence += 1;
        if let Err(error) = exporter.checkpoint(&wide_tick(*sequence)) {
            return error;
        }
        if sequence.is_multiple_of(20)
            && let Err(error) = exporter.seal_now(at(MINUTE), Cause::Volume)
        {
            return error;
        }
    }
    panic!("the file system never filled");
}

/// A tick of fifty subscribers with one byte each.
fn wide_tick(sequence: u64) -> Tick {
    let usage: Vec<_> = (0..50)
        .map(|subscriber| (exempt(&format!("{}{subscriber:03}", sequence % 20), "bilimland"), volume(1, 1)))
        .collect();
    tick(sequence, at(0), &usage)
}

#[test]
fn b16_a_full_disk_at_checkpoint_and_seal_loses_nothing_once_it_is_freed() {
    let mut node = Node::new();
    let state = node.settings.state_dir.clone();
    let Some(_mount) = Mount::tmpfs(&state, "size=1M") else { return skipped("b16 checkpoint and seal") };
    let mut exporter = node.open(at(0));
    let mut sequence = 0;
    let error = fill(&mut exporter, &mut sequence).to_string();
    assert!(error.contains("full") && error.contains("Free space"), "{error}");
    let grown = Command::new("mount").args(["-o", "remount,size=32M"]).arg(&state).status().unwrap();
    assert!(grown.success());
    exporter.checkpoint(&wide_tick(sequence)).unwrap();
    exporter.seal_now(at(2 * MINUTE), Cause::Shutdown).unwrap();
    exporter.publish().unwrap();
    assert_eq!(node.verify().up_bytes, i128::from(sequence) * 50, "each tick once, the failed one too");
    drop(exporter);
}

#[test]
fn b16_a_full_disk_at_the_file_shows_nothing_and_is_finished_once_it_is_freed() {
    let mut node = Node::new();
    let out = node.root.path().join("out");
    let Some(_mount) = Mount::tmpfs(&out, "size=64k") else { return skipped("b16 file") };
    node.settings.pickup_dir = out.join("pickup");
    node.settings.staging_dir = out.join("staging");
    let mut exporter = node.open(at(0));
    for sequence in 1..=20 {
        exporter.checkpoint(&wide_tick(sequence)).unwrap();
    }
    exporter.seal_due(at(15 * MINUTE)).unwrap();
    let error = exporter.publish().unwrap_err().to_string();
    assert!(error.contains("Free space"), "{error}");
    assert!(files_ending(&node.settings.pickup_dir, "").is_empty(), "nothing incomplete is visible");
    exporter
        .checkpoint(&{
            let mut late = wide_tick(21);
            late.from = at(15 * MINUTE);
            late.at = at(16 * MINUTE);
            late
        })
        .unwrap();
    let grown = Command::new("mount").args(["-o", "remount,size=8M"]).arg(&out).status().unwrap();
    assert!(grown.success());
    assert_eq!(exporter.publish().unwrap(), 1);
    assert_eq!(node.verify().up_bytes, 1_000);
    node.render_all_again();
    drop(exporter);
}

/// What is agreed with a receiver of charging records.
fn profile() -> tdf::Profile {
    tdf::Profile {
        layout: tdf::Layout::Octets54,
        release: tdf::release(16, 11).unwrap(),
        zone: jiff::tz::TimeZone::UTC,
        node_name: "zrgw-01".parse().unwrap(),
        address: [192, 0, 2, 1].into(),
        pgw_address: [0, 0, 0, 0].into(),
        classes: tdf::Classes { exempt: true, charged: false },
        msisdn_nature: true,
        service_identifiers: [].into(),
        sponsor: None,
        extension_oid: "1.3.6.1.4.1.32473.1".parse().unwrap(),
    }
}

#[test]
fn b16_a_full_disk_at_charging_records_shows_nothing_and_they_come_once_it_is_freed() {
    let mut node = Node::new();
    let out = node.root.path().join("out");
    let Some(_mount) = Mount::tmpfs(&out, "size=64k") else { return skipped("b16 charging records") };
    let mut exporter = node.open(at(0));
    for sequence in 1..=20 {
        exporter.checkpoint(&wide_tick(sequence)).unwrap();
    }
    exporter.seal_due(at(15 * MINUTE)).unwrap();
    let dir = out.join("cdr");
    let sink = sink::tdf::Tdf::new("mediation".to_owned(), dir.clone(), out.join("staging"), profile());
    let mut courier = exporter.courier_to(Box::new(sink), sink::Since::Oldest).unwrap();
    let error = courier.deliver().unwrap_err().to_string();
    assert!(error.contains("Free space"), "{error}");
    assert!(files_ending(&dir, "").is_empty(), "nothing incomplete is visible");
    let grown = Command::new("mount").args(["-o", "remount,size=8M"]).arg(&out).status().unwrap();
    assert!(grown.success());
    assert_eq!(courier.deliver().unwrap(), 1);
    let file = fs::File::open(&files_ending(&dir, ".cdr")[0]).unwrap();
    let mut reader = tdf::Reader::new(std::io::BufReader::new(file)).unwrap();
    assert_eq!((reader.header().sequence, reader.header().cdrs), (1, 1_000));
    let mut up = 0;
    while let Some(cdr) = reader.read().unwrap() {
        up += cdr.list_of_service_data[0].uplink.unwrap();
    }
    assert_eq!(up, 1_000);
    drop(courier);
}

#[test]
fn b18_a_pickup_directory_that_takes_no_file_is_named_and_retried() {
    let mut node = Node::new();
    let root = tempfile::tempdir().unwrap();
    node.settings.pickup_dir = root.path().join("pickup");
    node.settings.staging_dir = root.path().join("staging");
    let mut exporter = node.open(at(0));
    exporter.checkpoint(&tick(1, at(0), &[(exempt("1", "a"), volume(10, 20))])).unwrap();
    exporter.seal_due(at(15 * MINUTE)).unwrap();
    // Not even root may write into an immutable directory.
    let immutable = |option: &str| {
        let done = Command::new("chattr").arg(option).arg(&node.settings.pickup_dir).output();
        done.is_ok_and(|output| output.status.success())
    };
    if !immutable("+i") {
        return skipped("b18");
    }
    let outcome = exporter.publish();
    assert!(immutable("-i"));
    let error = outcome.unwrap_err().to_string();
    assert!(error.contains("pickup") && error.contains("read and write permission"), "{error}");
    assert_eq!(exporter.backlog_records(), 1);
    assert_eq!(exporter.publish().unwrap(), 1);
    node.verify();
}

#[test]
fn staging_on_another_file_system_is_named_with_the_remedy() {
    let mut node = Node::new();
    let out = node.root.path().join("out");
    let Some(_mount) = Mount::tmpfs(&out, "size=8M") else {
        return skipped("staging on another file system");
    };
    node.settings.pickup_dir = out.join("pickup");
    let mut exporter = node.open(at(0));
    exporter.checkpoint(&tick(1, at(0), &[(exempt("1", "a"), volume(10, 20))])).unwrap();
    exporter.seal_due(at(15 * MINUTE)).unwrap();
    let error = exporter.publish().unwrap_err().to_string();
    assert!(error.contains("Put export.staging_dir on the file system of export.dir"), "{error}");
    assert!(files_ending(&node.settings.pickup_dir, "").is_empty());
    drop(exporter);
}

//! `gateway classify`: capture files of every kind, whole, cut short, damaged and foreign; formats and exit codes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    unreachable_pub,
    reason = "tests may panic"
)]

#[path = "classify_files/decoder.rs"]
mod decoder;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use support::capture::*;

/// The bytes that the classic formats are written with.
fn number(value: u32, little: bool) -> [u8; 4] {
    if little { value.to_le_bytes() } else { value.to_be_bytes() }
}

/// A section header.
fn section(little: bool) -> Vec<u8> {
    let version = if little { [1, 0, 0, 0] } else { [0, 1, 0, 0] };
    block(0x0a0d_0d0a, &[&number(0x1a2b_3c4d, little)[..], &version, &[0xff; 8]].concat(), little)
}

/// An interface description with options as they are.
fn interface(link: u16, snap: u32, options: &[u8], little: bool) -> Vec<u8> {
    let link = if little { link.to_le_bytes() } else { link.to_be_bytes() };
    block(1, &[&link[..], &[0, 0], &number(snap, little), options].concat(), little)
}

/// An Enhanced Packet Block.
fn enhanced(interface: u32, time: u64, data: &[u8], wire: u32, little: bool) -> Vec<u8> {
    let n = |value| number(value, little);
    let (high, low) = ((time >> 32) as u32, time as u32);
    block(6, &[&n(interface)[..], &n(high), &n(low), &n(data.len() as u32), &n(wire), data].concat(), little)
}

/// A directory with a file of the given content.
fn file(content: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.pcap");
    std::fs::write(&path, content).unwrap();
    (directory, path)
}

/// A gzip member.
fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn gzip_is_known_by_its_first_bytes_in_one_member_or_more() {
    let plain = pcap(1, &Talk::from_port(1).whole(&hello("www.listed.example"), 60));
    let (half, rest) = plain.split_at(plain.len() / 2);
    for content in [gzip(&plain), [gzip(half), gzip(rest)].concat()] {
        let (_directory, path) = file(&content);
        let output = classify(&["--format", "jsonl"], &[&path]);
        assert_eq!(lines(&output)[0]["name"], "www.listed.example");
        assert_eq!((output.status.code(), output.stderr.is_empty()), (Some(0), true));
    }
}

#[test]
fn t39_cut_short_empty_and_damaged_captures_give_what_was_read() {
    let plain = pcap(1, &Talk::from_port(1).whole(&hello("www.listed.example"), 1460));
    let packed = gzip(&plain);
    let mut corrupt = gzip(&[&plain[..], &vec![0; 300_000]].concat());
    let middle = corrupt.len() - 20;
    corrupt[middle..].fill(0xff);
    let mut damaged = plain.clone();
    damaged.extend([0xff; 16]);
    let cases: [(&str, &[u8], usize); 6] = [
        ("cut short", &plain[..plain.len() - 3], 1),
        ("cut short", b"", 0),
        ("cut short", &plain[..10], 0),
        ("compressed data ends early", &packed[..packed.len() - 12], 1),
        ("warning", &corrupt, 1),
        ("damaged at byte", &damaged, 1),
    ];
    for (message, content, flows) in cases {
        let (_directory, path) = file(content);
        let output = classify(&["--format", "jsonl"], &[&path]);
        let told = String::from_utf8(output.stderr.clone()).unwrap();
        assert_eq!(output.status.code(), Some(0), "{told}");
        assert!(
            told.starts_with(&format!("{}: warning: ", path.display())) && told.contains(message),
            "{told}"
        );
        assert_eq!(lines(&output).len(), flows, "{told}");
    }
}

#[test]
fn unreadable_files_are_74_and_the_others_are_still_read() {
    let (_directory, good) = file(&pcap(1, &Talk::from_port(1).whole(&hello("www.listed.example"), 1460)));
    let (_directory_2, foreign) = file(b"this is text, not a capture");
    let (_directory_3, packed_text) = file(&gzip(b"this is text, not a capture"));
    let missing = good.with_file_name("missing.pcap");
    for bad in [&foreign, &packed_text, &missing, &good.parent().unwrap().to_path_buf()] {
        let output = classify(&["--format", "jsonl"], &[bad, &good]);
        assert_eq!(output.status.code(), Some(74));
        assert_eq!(lines(&output).len(), 1);
        assert!(String::from_utf8(output.stderr).unwrap().starts_with(&format!("{}: ", bad.display())));
    }
}

#[test]
fn an_unknown_link_type_is_told_once_and_the_rest_is_read() {
    let packets = Talk::from_port(1).whole(&hello("www.listed.example"), 1460);
    let mut content = [section(true), interface(105, 0, b"", true), interface(1, 0, b"", true)].concat();
    for packet in &packets {
        content.extend(enhanced(0, 0, b"wireless", 8, true));
        content.extend(enhanced(1, 0, packet, packet.len() as u32, true));
    }
    let (_directory, path) = file(&content);
    let output = classify(&["--format", "jsonl"], &[&path]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(lines(&output)[0]["name"], "www.listed.example");
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(told.lines().count(), 1);
    assert!(told.contains(&format!("{} packets of link type 105 not read", packets.len())), "{told}");
}

#[test]
fn packets_cut_by_a_snap_length_count_whole_and_hide_what_is_missing() {
    let packets = Talk::from_port(1).whole(&hello("www.listed.example"), 1460);
    let bytes: usize = packets.iter().map(|packet| packet.len() - 14).sum();
    let mut content = [section(true), interface(1, 60, b"", true)].concat();
    for packet in &packets {
        let kept = &packet[..packet.len().min(60)];
        content.extend(enhanced(0, 0, kept, packet.len() as u32, true));
    }
    let (_directory, path) = file(&content);
    let line = &lines(&classify(&["--format", "jsonl"], &[&path]))[0];
    assert_eq!((&line["name"], &line["reason"]), (&json!(null), &json!("undecided")));
    assert_eq!(line["up_bytes"].as_u64().unwrap() + line["down_bytes"].as_u64().unwrap(), bytes as u64);
}

#[test]
fn output_in_every_format_is_as_agreed() {
    let zoom =
        ethernet(&ip("10.0.0.2".parse().unwrap(), "203.0.113.5".parse().unwrap(), 17, &udp(9, 8801, b"x")));
    let mut packets = Talk::from_port(1).whole(&hello("www.listed.example"), 1460);
    packets.extend(Talk::from_port(2).whole(&request("ads.listed.example"), 1460));
    packets.extend(Talk::from_port(3).whole(&hello("other.example"), 1460));
    packets.push(zoom);
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a b,\"c\".pcap"), pcap(1, &packets)).unwrap();
    for format in ["table", "jsonl", "csv"] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_gateway"))
            .current_dir(directory.path())
            .args(["classify", "--names-only", "--format", format, "--list"])
            .arg(list())
            .arg("a b,\"c\".pcap")
            .output()
            .unwrap();
        let golden =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/gateway/golden/classify.{format}"));
        if std::env::var_os("GOLDEN_WRITE").is_some() {
            std::fs::write(&golden, &output.stdout).unwrap();
        }
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            std::fs::read_to_string(&golden).unwrap(),
            "{format}"
        );
    }
}

#[test]
fn dates_count_only_when_a_time_is_given() {
    let (_directory, path) = file(&pcap(1, &Talk::from_port(1).whole(&hello("www.listed.example"), 1460)));
    let reason = |arguments: &[&str]| {
        let arguments = [&["--names-only", "--format", "jsonl"], arguments].concat();
        lines(&classify(&arguments, &[&path]))[0]["reason"].clone()
    };
    assert_eq!(reason(&[]), json!(null));
    assert_eq!(reason(&["--at", "2020-05-01T00:00:00+06:00"]), json!(null));
    assert_eq!(reason(&["--at", "2020-04-05T18:00:00Z"]), json!(null), "the instant it comes into force");
    assert_eq!(reason(&["--at", "2020-04-05T17:59:59Z"]), "rule_not_in_force");
    assert_eq!(reason(&["--at", "2021-01-01T00:00:00Z"]), "list_expired");
}

#[test]
fn problems_of_the_list_have_a_place_and_end_in_78_and_wrong_use_in_2() {
    let (_directory, capture) = file(&pcap(1, &[]));
    let bad = capture.with_file_name("bad.toml");
    std::fs::write(&bad, "format = 1\nserial = \"x\"\nnonsense = 1\n").unwrap();
    let run = |arguments: &[&std::ffi::OsStr]| {
        std::process::Command::new(env!("CARGO_BIN_EXE_gateway"))
            .arg("classify")
            .args(arguments)
            .output()
            .unwrap()
    };
    let output = run(&["--list".as_ref(), bad.as_os_str(), capture.as_os_str()]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(told.lines().count() >= 2, "{told}");
    for line in told.lines() {
        let place = line.strip_prefix(&format!("{}:", bad.display())).unwrap();
        let mut numbers = place.split(':');
        assert!(
            numbers.next().unwrap().parse::<u32>().is_ok() && numbers.next().unwrap().parse::<u32>().is_ok(),
            "{line}"
        );
    }
    assert_eq!(
        run(&["--list".as_ref(), "nowhere.toml".as_ref(), capture.as_os_str()]).status.code(),
        Some(74)
    );
    assert_eq!(run(&[]).status.code(), Some(2));
    assert_eq!(run(&["--at".as_ref(), "yesterday".as_ref(), capture.as_os_str()]).status.code(), Some(2));
    let help = run(&["--help".as_ref()]);
    assert!(String::from_utf8(help.stdout).unwrap().contains("Examples:"));
}

#[test]
fn a_capture_without_packets_is_no_problem() {
    for content in [pcap(1, &[]), section(false)] {
        let (_directory, path) = file(&content);
        let output = classify(&["--format", "jsonl"], &[&path]);
        assert_eq!((output.status.code(), output.stdout.len(), output.stderr.len()), (Some(0), 0, 0));
    }
}

//! Captures that are still being made, on standard input, and those in a compression that is not read.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use serde_json::json;
use support::capture::*;

use super::{NAME, outer_udp};

#[test]
fn f51_flows_on_standard_input_are_printed_as_they_end() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_gateway"))
        .args(["classify", "--list"])
        .arg(list())
        .args(["--names-only", "--format", "jsonl", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = Talk::from_port(1).whole(&hello(NAME), 1_000);
    input.write_all(&pcap(ETHERNET, &first)).unwrap();
    // A packet of another flow, three seconds later: the first flow is over, and told while the capture goes on.
    let later = ethernet(&outer_udp(5, 6, b"x"));
    let record = [1_600_000_003_u32, 0, later.len() as u32, later.len() as u32];
    input.write_all(&record.map(u32::to_le_bytes).concat()).unwrap();
    input.write_all(&later).unwrap();
    input.flush().unwrap();
    let line: serde_json::Value = serde_json::from_str(&output.next().unwrap().unwrap()).unwrap();
    assert_eq!((&line["name"], &line["file"]), (&json!(NAME), &json!("-")));
    drop(input);
    let line: serde_json::Value = serde_json::from_str(&output.next().unwrap().unwrap()).unwrap();
    assert_eq!(line["protocol"], "udp");
    assert!(output.next().is_none());
    assert!(child.wait().unwrap().success());
}

#[test]
fn f51_other_compressions_are_named_with_what_reads_them() {
    let plain = pcap(ETHERNET, &Talk::from_port(1).whole(&hello(NAME), 1_000));
    let directory = tempfile::tempdir().unwrap();
    for (packer, remedy) in
        [("xz", "xz -dc"), ("bzip2", "bzip2 -dc"), ("zstd", "zstd -dc"), ("lz4", "lz4 -dc")]
    {
        let packed = Command::new(packer)
            .args(["-q", "-c", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()
            .map(|mut child| {
                child.stdin.take().unwrap().write_all(&plain).unwrap();
                child.wait_with_output().unwrap().stdout
            });
        // Not every machine has all four; the first bytes are those of the formats.
        let magic = match packer {
            "xz" => b"\xfd7zXZ\0".to_vec(),
            "bzip2" => b"BZh9".to_vec(),
            "zstd" => b"\x28\xb5\x2f\xfd".to_vec(),
            _ => b"\x04\x22\x4d\x18".to_vec(),
        };
        let content = packed.filter(|packed| !packed.is_empty()).unwrap_or(magic);
        let path = directory.path().join(packer);
        std::fs::write(&path, content).unwrap();
        let output = classify(&["--format", "jsonl"], &[&path]);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(74), "{told}");
        assert!(told.contains(remedy) && told.contains("gateway classify -"), "{told}");
    }
}

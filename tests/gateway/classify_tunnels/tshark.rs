//! The second reader: tshark finds the same hello in every encapsulation of the tests.

use std::process::Command;

use support::capture::*;

use super::{FRAMES, NAME, PACKETS, packets};

/// The names that tshark reads in hellos of a capture, in order. What is below a label nobody announces: it is told to guess.
fn names_by_tshark(link: u16, frames: &[Vec<u8>]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.pcap");
    std::fs::write(&path, pcap(link, frames)).unwrap();
    let output = Command::new("tshark")
        .args(["-d", "mpls.label==32,pwethheuristic"])
        .args(["-n", "-T", "fields", "-e", "tls.handshake.extensions_server_name", "-Y", "tls", "-r"])
        .arg(&path)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Whether tshark is here.
fn has_tshark() -> bool {
    let found = Command::new("tshark").arg("--version").output().is_ok();
    if !found {
        println!("SKIPPED: needs tshark");
    }
    found
}

#[test]
fn f50_tshark_reads_the_same_name_in_every_tunnel() {
    if !has_tshark() {
        return;
    }
    let (packets, _) = packets(false);
    for (title, _, wrap) in PACKETS {
        let frames: Vec<_> = packets.iter().map(|packet| wrap(packet)).collect();
        assert!(names_by_tshark(101, &frames).contains(NAME), "{title}");
    }
    for (title, _, wrap) in FRAMES {
        let frames: Vec<_> = packets.iter().map(|packet| wrap(packet)).collect();
        assert!(names_by_tshark(ETHERNET, &frames).contains(NAME), "{title}");
    }
}

//! The real peers: pycrate, which has the whole ASN.1 of TS 32.298, and tshark.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

/// What is installed, and from then on used: the release that the note of its trial names.
const PYCRATE: &str = "pycrate==0.8.1";
/// The reader around it.
const DECODE: &str = include_str!("decode.py");

/// The folder with pycrate in it, installed once into the folder of the target for what tests leave; none without a network.
fn pycrate() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOUND
        .get_or_init(|| {
            let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pycrate-0.8.1");
            if place.is_dir() {
                return Some(place);
            }
            let begun = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            let part = begun.path().join("part");
            let options =
                ["-m", "pip", "install", "-q", "--no-input", "--disable-pip-version-check", "--target"];
            let by_pip = Command::new("python3").args(options).arg(&part).arg(PYCRATE).output();
            if !by_pip.is_ok_and(|output| output.status.success()) {
                // A Python without pip may have it in a virtual environment.
                let environment = begun.path().join("environment");
                let made = Command::new("python3").args(["-m", "venv"]).arg(&environment).output().ok()?;
                let python = environment.join("bin/python3");
                let installed = made
                    .status
                    .success()
                    .then(|| Command::new(python).args(options).arg(&part).arg(PYCRATE).output())?;
                installed.ok().filter(|output| output.status.success())?;
            }
            // Another test program may have been first.
            let _ = fs::rename(&part, &place);
            place.is_dir().then_some(place)
        })
        .as_deref()
}

/// What pycrate makes of files; none where it cannot be had, which is said.
pub fn decoded(test: &str, files: &[PathBuf]) -> Option<Vec<Value>> {
    let Some(pycrate) = pycrate() else {
        println!("SKIPPED: {test}: python3 with {PYCRATE} is not to be had here (no network, or no pip)");
        return None;
    };
    let output =
        Command::new("python3").env("PYTHONPATH", pycrate).args(["-c", DECODE]).args(files).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    let values: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(values.len(), files.len(), "{errors}");
    Some(values)
}

/// What tshark says of records in a packet as they go from a gateway to a charging function (GTP', TS 32.295 §6.2.4); none
/// where it is not there, which is said.
pub fn dissected(test: &str, folder: &Path, records: &[&[u8]]) -> Option<String> {
    let capture = folder.join("gtp-prime.pcap");
    fs::write(&capture, pcap(records)).unwrap();
    let output = Command::new("tshark").args(["-V", "-r"]).arg(&capture).output();
    let Ok(output) = output else {
        println!("SKIPPED: {test}: tshark is not installed");
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

/// A capture of one packet without a link header (LINKTYPE_RAW): IPv4, UDP port 3386, GTP'.
fn pcap(records: &[&[u8]]) -> Vec<u8> {
    let sixteen = |length: usize| u16::try_from(length).unwrap().to_be_bytes();
    // One record after another, BER, application 1, release 10 or later.
    let mut data = vec![u8::try_from(records.len()).unwrap(), 1, 0x1a, 11];
    for record in records {
        data.extend(sixteen(record.len()));
        data.extend(*record);
    }
    let mut elements = vec![126, 1, 252];
    elements.extend(sixteen(data.len()));
    elements.extend(data);
    let mut gtp = vec![0x4e, 240];
    gtp.extend(sixteen(elements.len()));
    gtp.extend([0, 1]);
    gtp.extend(elements);
    let mut packet = vec![0x45, 0];
    packet.extend(sixteen(gtp.len() + 28));
    packet.extend([0, 1, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    packet.extend([3386_u16, 3386].iter().flat_map(|port| port.to_be_bytes()));
    packet.extend(sixteen(gtp.len() + 8));
    packet.extend([0, 0]);
    packet.extend(gtp);
    let thirty_two = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
    let mut capture = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    capture.extend(thirty_two(65_535));
    capture.extend(thirty_two(101));
    capture.extend([0; 8]);
    capture.extend(thirty_two(packet.len()));
    capture.extend(thirty_two(packet.len()));
    capture.extend(packet);
    capture
}

//! What a node hands to billing, and what its ledger holds: read, added up, and held against each other.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Bytes, Lab, Ledger, Row, Sums};

impl Lab {
    /// The content of the pickup folder by name; no incomplete file may be among it.
    pub(crate) fn pickup(&self) -> HashMap<String, Vec<u8>> {
        let Ok(entries) = fs::read_dir(&self.usage) else { return HashMap::new() };
        entries
            .map(|entry| {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                assert!(
                    name.ends_with(".csv") || name.ends_with(".manifest.json"),
                    "visible to billing: {name}"
                );
                (name, fs::read(entry.path()).unwrap())
            })
            .collect()
    }

    /// Sums of the usage files, whose rows must be contiguous in each epoch, none twice, every manifest conserved.
    pub(crate) fn totals(&self) -> Sums {
        let mut files: Vec<_> = self.pickup().into_iter().collect();
        files.sort();
        let mut sums = Sums::new();
        let mut sequences: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        for (name, content) in &files {
            if name.ends_with(".manifest.json") {
                let manifest: serde_json::Value = serde_json::from_slice(content).unwrap();
                assert_eq!(manifest["conserved"], true, "{name}: {manifest}");
                continue;
            }
            let mut reader = csv::Reader::from_reader(content.as_slice());
            let header = reader.headers().unwrap().clone();
            for record in reader.records() {
                let record = record.unwrap();
                let field = |name: &str| {
                    record.get(header.iter().position(|column| column == name).unwrap()).unwrap().to_owned()
                };
                sequences
                    .entry(field("epoch").parse().unwrap())
                    .or_default()
                    .push(field("record_seq").parse().unwrap());
                if field("kind") != "usage" {
                    continue;
                }
                let row = Row {
                    subscriber: field("subscriber_id"),
                    class: field("class"),
                    service: field("service_id"),
                    reason: field("reason"),
                };
                if row == Row::orphaned() {
                    assert!(
                        field("flags").split(';').any(|flag| flag == "recovered"),
                        "bytes nobody decided about, without a remark why: {record:?}"
                    );
                }
                let bytes = Bytes {
                    up: field("up_bytes").parse().unwrap(),
                    down: field("down_bytes").parse().unwrap(),
                };
                sums.entry(row).or_default().add(bytes);
            }
        }
        for (epoch, mut found) in sequences {
            found.sort_unstable();
            let wanted: Vec<u64> = (1..=found.len() as u64).collect();
            assert_eq!(found, wanted, "record_seq of epoch {epoch}");
        }
        sums
    }

    /// `billing-export verify` says that nothing is wrong.
    pub(crate) fn verify(&self) {
        let output = billing_export(&["verify".as_ref(), self.usage.as_os_str()]);
        assert!(
            output.status.success(),
            "{}{}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
            self.log()
        );
    }

    /// Every published file rendered again from the ledger has the same bytes.
    pub(crate) fn render_again(&self) {
        let again = tempfile::tempdir().unwrap();
        let pickup = self.pickup();
        let manifests = pickup.iter().filter(|(name, _)| name.ends_with(".manifest.json"));
        let numbers: Vec<String> = manifests
            .map(|(_, content)| {
                let manifest: serde_json::Value = serde_json::from_slice(content).unwrap();
                manifest["file_seq"].as_str().unwrap().to_owned()
            })
            .collect();
        assert!(!numbers.is_empty());
        for number in numbers {
            let output = billing_export(&[
                "render".as_ref(),
                "--state".as_ref(),
                self.state.as_os_str(),
                "--file-seq".as_ref(),
                number.as_ref(),
                "--out".as_ref(),
                again.path().as_os_str(),
            ]);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        for (name, content) in &pickup {
            assert_eq!(fs::read(again.path().join(name)).unwrap(), *content, "{name} rendered again");
        }
    }

    /// What the ledger holds, read from a copy: nothing of the node's own is touched.
    pub(crate) fn ledger(&self) -> Ledger {
        let copy = tempfile::tempdir().unwrap();
        for name in ["ledger.db", "ledger.db-wal"] {
            match fs::copy(self.state.join(name), copy.path().join(name)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => panic!("{name}: {error}"),
            }
        }
        Ledger::read(&copy.path().join("ledger.db"))
    }
}

/// Runs `billing-export`, which stands beside the gateway's binary.
pub(crate) fn billing_export(arguments: &[&std::ffi::OsStr]) -> std::process::Output {
    let command = Path::new(env!("CARGO_BIN_EXE_gateway")).with_file_name("billing-export");
    assert!(
        command.exists(),
        "{}: not there; build it first with `cargo build -p billing-export`",
        command.display()
    );
    Command::new(command).args(arguments).stdin(Stdio::null()).output().unwrap()
}

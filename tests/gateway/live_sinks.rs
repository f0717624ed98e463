//! Further ways out of a running gateway (`[[sink]]`): charging records and usage files of the same bytes, over a restart; and what
//! `check` and the start say of sinks that cannot be.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use billing_export::tdf::{FileHeader, Reader, TdfCdr};
use support::client::finish;
use support::hellos::{self, Hello};
use support::origin::Origin;
use support::usage::Usage;
use support::world::World;
use support::{Setup, eventually, verify};

const LISTED: &str = "www.listed.example";
const SINKS: &str = r#"
[[sink]]
id = "mediation"
kind = "tdf"
dir = "cdr"
address = "192.0.2.1"
zone = "Asia/Almaty"
header = 52
classes = ["exempt", "charged"]
[[sink]]
id = "audit"
kind = "file"
from = "oldest"
dir = "audit"
"#;

/// A visit to a name at the echoing origin.
fn visit(mut stream: TcpStream, name: &str) {
    let said = [Hello::named(name).wire(), hellos::record(23, &[1; 50])].concat();
    stream.write_all(&said).unwrap();
    let mut echoed = vec![0; said.len()];
    stream.read_exact(&mut echoed).unwrap();
    assert_eq!(echoed, said);
    assert_eq!(finish(stream), b"");
}

/// The files of a folder in the order of their running counts.
fn cdr_files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let count = |path: &PathBuf| -> u64 {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.split("_-_").nth(1).unwrap().split('.').next().unwrap().parse().unwrap()
    };
    files.sort_by_key(count);
    files
}

/// Header and records of a file.
fn read(path: &Path) -> (FileHeader, Vec<TdfCdr>) {
    let mut reader = Reader::new(fs::File::open(path).unwrap()).unwrap();
    let header = reader.header().clone();
    let mut cdrs = Vec::new();
    while let Some(cdr) = reader.read().unwrap() {
        cdrs.push(cdr);
    }
    (header, cdrs)
}

/// Whose, as what, up and down.
type Said = (String, bool, u64, u64);

/// What charging records say.
fn said(cdr: &TdfCdr) -> Said {
    let data = &cdr.list_of_service_data[0];
    let exempt = cdr.record_extensions[0].information.contains(";class=exempt;");
    (cdr.served_mnnai.clone().unwrap().data, exempt, data.uplink.unwrap(), data.downlink.unwrap())
}

/// What the rows that become charging records say.
fn rows(usage: &Usage) -> Vec<Said> {
    let wanted = usage
        .rows
        .iter()
        .filter(|row| row["kind"] == "usage" && ["exempt", "charged"].contains(&&*row["class"]));
    let number = |text: &str| text.parse::<u64>().unwrap();
    wanted
        .map(|row| {
            let (up, down) = (number(&row["up_bytes"]), number(&row["down_bytes"]));
            (row["subscriber_id"].clone(), row["class"] == "exempt", up, down)
        })
        .collect()
}

#[test]
fn b27_charging_records_of_a_running_gateway_say_what_its_usage_files_say_over_a_restart() {
    let world = World::with(Origin::echo(), |setup| setup.raw(SINKS));
    visit(world.proxied(1), LISTED);
    visit(world.proxied(2), "www.other.example");
    world.gateway.await_flows_closed();
    let gateway = world.gateway.stop().start();
    let stream = support::client::connect_proxied(
        3,
        gateway.listener(1),
        SocketAddr::new(world.origin.address.ip(), 443),
    );
    visit(stream, LISTED);
    gateway.await_flows_closed();
    let told = |metric: &str, sink: &str| gateway.metric(&format!("{metric}{{sink=\"{sink}\"}}"));
    assert!(eventually(|| told("zrgw_sink_watermark", "mediation") >= 1), "{}", gateway.log());
    assert_eq!(told("zrgw_sink_errors_total", "mediation") + told("zrgw_sink_errors_total", "audit"), 0);
    let setup = gateway.stop();
    let usage = setup.usage();
    assert!(usage.conserved);
    let files = cdr_files(&setup.path("cdr"));
    let read: Vec<(FileHeader, Vec<TdfCdr>)> = files.iter().map(|path| read(path)).collect();
    let records: Vec<Said> = read.iter().flat_map(|(_, cdrs)| cdrs).map(said).collect();
    assert_eq!(records, rows(&usage));
    assert!(records.iter().filter(|(_, exempt, ..)| *exempt).count() >= 2, "{records:?}");
    assert!(records.iter().any(|(who, exempt, ..)| who == "s2" && !exempt), "{records:?}");
    for (number, ((header, cdrs), path)) in (1..).zip(read.iter().zip(&files)) {
        assert_eq!((header.sequence, header.header_length, header.lost), (number, 52, 0));
        assert_eq!(cdrs[0].node_id.as_deref(), Some("test-node-1"));
        let name = path.file_name().unwrap().to_str().unwrap();
        let ends = |zone: &str| name.ends_with(&format!("{zone}_-_1.cdr"));
        assert!(
            name.starts_with(&format!("test-node_-_{number}.")) && (ends("+0500") || ends("+0600")),
            "{name}"
        );
    }
    let local: Vec<u32> =
        read.iter().flat_map(|(_, cdrs)| cdrs).map(|cdr| cdr.local_sequence_number.unwrap()).collect();
    assert_eq!(local, (1..=u32::try_from(records.len()).unwrap()).collect::<Vec<_>>());
    // The other folder has every usage file, byte for byte.
    assert!(verify(&setup.path("audit")).0);
    for name in &usage.files {
        let bytes = |folder: &str| fs::read(setup.path(folder).join(name)).unwrap();
        assert_eq!(bytes("audit"), bytes("usage"), "{name}");
    }
}

/// Exit code and problems of `gateway check`.
fn check(setup: &Setup) -> (i32, Vec<String>) {
    setup.write_configuration();
    let output = Command::new(support::gateway())
        .args(["check", "--config", "gateway.toml", "--format", "json"])
        .current_dir(setup.path(""))
        .env_remove("INVOCATION_ID")
        .output()
        .unwrap();
    let answer: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let problems = answer["problems"].as_array().unwrap().iter();
    (output.status.code().unwrap(), problems.map(|line| line.as_str().unwrap().to_owned()).collect())
}

#[test]
fn check_judges_the_folders_and_the_zone_of_a_sink() {
    let with = |from: &str, to: &str| {
        assert!(SINKS.contains(from));
        Setup::new().proxied().raw(&SINKS.replace(from, to))
    };
    assert_eq!(check(&with("audit", "audit")), (0, Vec::new()));
    let found = |setup: &Setup, words: [&str; 2]| {
        let (code, problems) = check(setup);
        assert_eq!((code, problems.len()), (78, 1), "{problems:?}");
        assert!(words.iter().all(|word| problems[0].contains(word)), "{problems:?}");
    };
    found(&with("Asia/Almaty", "Asia/Atlantis"), ["sink[0].zone: found \"Asia/Atlantis\"", "gateway.toml:"]);
    found(&with("id = \"audit\"", "id = \"files\""), ["sink[1].id: found \"files\"", "gateway.toml:"]);
    found(
        &with("zone =", "node_name = \"fifteen-letters\"\nzone ="),
        ["sink[0].node_name: found \"fifteen-letters\"", "NodeID of 20 octets"],
    );
    let setup = with("audit", "audit");
    setup.write("cdr", "a file");
    found(&setup, ["sink[0].dir: found a file at", "wanted a folder"]);
    if Path::new("/dev/shm").is_dir() {
        use std::os::unix::fs::MetadataExt as _;
        let other = tempfile::tempdir_in("/dev/shm").unwrap();
        let staging = format!("dir = \"cdr\"\nstaging_dir = \"{}/staging\"", other.path().display());
        let setup = with("dir = \"cdr\"", &staging);
        let device = |path: &Path| fs::metadata(path).unwrap().dev();
        if device(other.path()) == device(&setup.path("")) {
            println!("SKIPPED: temporary files are on the file system of /dev/shm");
            return;
        }
        found(&setup, ["sink[0].staging_dir: found ", "on another file system than sink[0].dir"]);
    }
}

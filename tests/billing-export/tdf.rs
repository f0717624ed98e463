//! Files of charging records (TS 32.297, TS 32.298): what another decoder makes of them, what the sink makes of sealed files over
//! restarts and kills, and what `show` makes of those that are damaged.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "tests may panic"
)]

mod support;

#[path = "tdf/fields.rs"]
mod fields;
#[path = "tdf/kills.rs"]
mod kills;
#[path = "tdf/peer.rs"]
mod peer;
#[path = "tdf/shown.rs"]
mod shown;
#[path = "tdf/sink.rs"]
mod sink;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use billing_export::tdf::{Classes, Layout, Profile, release};

/// A profile as it is by default.
fn profile() -> Profile {
    Profile {
        layout: Layout::Octets54,
        release: release(16, 11).unwrap(),
        zone: jiff::tz::TimeZone::UTC,
        node_name: "zrgw-01".parse().unwrap(),
        address: IpAddr::from([192, 0, 2, 1]),
        pgw_address: IpAddr::from([0, 0, 0, 0]),
        classes: Classes { exempt: true, charged: false },
        msisdn_nature: true,
        service_identifiers: [].into(),
        sponsor: None,
        extension_oid: "1.3.6.1.4.1.32473.1".parse().unwrap(),
    }
}

/// A zone by its name.
fn zone(name: &str) -> jiff::tz::TimeZone {
    jiff::tz::TimeZone::get(name).unwrap()
}

/// The receiver's files in the order of their running counts.
fn cdr_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = if dir.is_dir() { support::files_ending(dir, ".cdr") } else { Vec::new() };
    files.sort_by_key(|path| running_count(path));
    files
}

/// The running count in a file's name.
fn running_count(path: &Path) -> u64 {
    let name = path.file_name().unwrap().to_str().unwrap();
    name.split("_-_").nth(1).unwrap().split('.').next().unwrap().parse().unwrap()
}

//! A gateway of its own for each test: started as a process from a configuration made to order, with resolver, origins
//! and clients around it on loopback, and its usage files read by another CSV reader.
//!
//! Addresses: listeners on 127.0.0.1 at ports the system chose, origins on 127.0.2.0/24, subscribers on 127.0.1.0/24
//! (steered) and 10.7.0.0/24 (in PROXY headers). `sN` is the subscriber of both 127.0.1.N and 10.7.0.N, N from 1 to 9.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

pub mod ask;
pub mod bind;
pub mod capture;
pub mod client;
pub mod datagrams;
pub mod dns;
pub mod dnstap;
pub mod edge;
pub mod held;
pub mod hellos;
pub mod http3;
pub mod link;
pub mod messages;
pub mod metered;
pub mod origin;
pub mod plane;
pub mod quic;
pub mod quic_pages;
pub mod quic_told;
pub mod quinn_peers;
pub mod radius;
#[path = "../../fuzz/targets/radius/encode.rs"]
pub mod radius_packets;
pub mod raw_tcp;
pub mod scripted;
pub mod successor;
pub mod udp_world;
pub mod unbound;
pub mod usage;
pub mod world;
pub mod zone;

mod running;
mod setup;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub use running::Gateway;
pub use setup::{LIST, Setup};

/// The longest a behaviour without a deadline of its own is waited for.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for a child to end, at most [`PATIENCE`].
pub fn wait(child: &mut Child) -> Option<ExitStatus> {
    let mut status = None;
    eventually(|| {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status
}

/// A process that ends with the test.
pub struct Ended(pub Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether `condition` becomes true within [`PATIENCE`].
pub fn eventually(mut condition: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if begun.elapsed() > PATIENCE {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A port that nobody listens at, below those the system gives to connections (32,768 to 60,999 unless changed): one of
/// them would be taken again before the gateway starts.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id().wrapping_mul(37).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 12_000 + u16::try_from(number % 20_000).unwrap();
        if TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return port;
        }
    }
}

/// The gateway's command, which cargo builds for its tests and benches.
pub fn gateway() -> PathBuf {
    sibling("gateway")
}

/// A command of the workspace (`tests/run` builds them all): beside the folder of the program that asks.
pub fn sibling(name: &str) -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let path = program.ancestors().nth(2).unwrap().join(name);
    assert!(path.exists(), "{} is not built: cargo build --workspace --bins", path.display());
    path
}

/// `billing-export verify` on a folder: whether it found nothing wrong, and what it said.
pub fn verify(folder: &Path) -> (bool, String) {
    let output = Command::new(sibling("billing-export")).arg("verify").arg(folder).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// Whether a peer's command is there; says `SKIPPED:` when not.
pub fn has(command: &str) -> bool {
    let there = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path)
            .chain(["/usr/sbin".into(), "/sbin".into()])
            .any(|folder| folder.join(command).exists())
    });
    if !there {
        println!("SKIPPED: {command} is not installed");
    }
    there
}

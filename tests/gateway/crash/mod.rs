//! What the crash tests share: a node in folders of its own, subscribers who load it, and the books of what they carried.
//!
//! Everything is on loopback. Each node has addresses of its own in 127/8, so that nodes run side by side on fixed ports and
//! a restart takes the very same ones.

pub(crate) mod billing;
pub(crate) mod books;
pub(crate) mod load;
pub(crate) mod node;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub(crate) use books::{Bytes, Kind, Ledger, Row, Sums, sum_where};
pub(crate) use load::{Books, Load, PIECE, Visit};
pub(crate) use node::{Lab, Shape};

/// The longest any wait of these tests lasts.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// The listed name and one that is not.
pub(crate) const LISTED: &str = "study.example.kz";
pub(crate) const UNLISTED: &str = "shop.example.com";

/// A small generator of random numbers (splitmix64): the same seed gives the same run.
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `low` to `high - 1`.
    pub(crate) fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low)
    }
}

/// The seed of this run: `ZRGW_TEST_SEED`, else the time. Printed, so that a failure can be repeated.
pub(crate) fn seed() -> u64 {
    let seed = std::env::var("ZRGW_TEST_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| u64::try_from(micros_now()).unwrap());
    println!("seed: ZRGW_TEST_SEED={seed}");
    seed
}

/// Wall clock in microseconds, as the ledger's times.
pub(crate) fn micros_now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
}

/// Waits until `done` gives something; fails loudly after [`PATIENCE`].
pub(crate) fn wait_for<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = done() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// The file system of a folder filled to the last byte; dropped, the space is free again.
pub(crate) struct Filler(PathBuf);

impl Filler {
    pub(crate) fn fill(folder: &Path) -> Filler {
        let path = folder.join("filler");
        let mut file = File::create(&path).unwrap();
        for length in [64 * 1024, 4096, 1] {
            let block = vec![0_u8; length];
            while file.write_all(&block).is_ok() {}
        }
        Filler(path)
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

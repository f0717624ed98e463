//! DNS through the fuzz targets: every file of both corpora, and real messages with bytes changed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "tests may panic"
)]

#[path = "../fuzz/targets/dns_acceptance.rs"]
mod acceptance;
#[path = "../fuzz/targets/dns_message.rs"]
mod message;

use std::path::{Path, PathBuf};

/// Files of a corpus.
fn files(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Replays a corpus, each file whole and 2,000 times with a few bytes changed.
fn replay(target: &str, run: fn(&[u8])) {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x5eed_u64);
    println!("SEED={seed}");
    let mut state = seed;
    let mut random = |below: usize| {
        // xorshift64*: repeatable, and good enough to pick places.
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        usize::try_from(state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % below
    };
    let files = files(target);
    assert!(files.len() >= 5, "{target}");
    for file in files {
        let whole = std::fs::read(&file).unwrap();
        run(&whole);
        for _ in 0..2_000 {
            let mut changed = whole.clone();
            for _ in 0..=random(4) {
                let at = random(changed.len());
                match random(3) {
                    0 => changed[at] = u8::try_from(random(256)).unwrap(),
                    1 => changed[at] ^= 1 << random(8),
                    _ => {
                        let end = (at + random(6)).min(changed.len());
                        changed.drain(at..end);
                    }
                }
                if changed.is_empty() {
                    break;
                }
            }
            run(&changed);
        }
    }
}

#[test]
fn n4_t20_messages_are_replayed() {
    replay("dns_message", message::run);
}

#[test]
fn t17_n2_conversations_are_replayed() {
    replay("dns_acceptance", acceptance::run);
}

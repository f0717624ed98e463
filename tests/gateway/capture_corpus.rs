//! Captures: every file of the corpus, every real capture, each also cut short and changed, through the fuzz target.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "tests may panic"
)]

#[path = "../fuzz/targets/capture.rs"]
mod target;

use std::path::{Path, PathBuf};

/// Files of a folder of `tests/`.
fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests").join(folder);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn corpus_is_replayed() {
    let files = files("corpus/capture");
    assert!(!files.is_empty());
    for file in files {
        target::run(&std::fs::read(file).unwrap());
    }
}

#[test]
fn t39_truncation_at_every_byte_of_a_small_capture() {
    for name in ["openssl-no-name.pcap", "starttls-smtp.pcap"] {
        let path = files("captures").into_iter().find(|path| path.ends_with(name)).unwrap();
        let file = std::fs::read(path).unwrap();
        for length in 0..file.len() {
            target::run(&file[..length]);
        }
    }
}

#[test]
fn changed_bytes_of_real_captures_never_panic() {
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
    for path in files("captures").iter().filter(|path| path.extension().is_some_and(|kind| kind != "toml")) {
        let file = std::fs::read(path).unwrap();
        for _ in 0..60 {
            let mut changed = file.clone();
            for _ in 0..=random(12) {
                let at = random(changed.len());
                match random(4) {
                    0 => changed[at] = u8::try_from(random(256)).unwrap(),
                    1 => changed[at] ^= 1 << random(8),
                    2 => drop(changed.drain(at..(at + random(40)).min(changed.len()))),
                    _ => {
                        let part = changed[at..(at + random(200)).min(changed.len())].to_vec();
                        let to = random(changed.len());
                        changed.splice(to..to, part);
                    }
                }
                if changed.is_empty() {
                    break;
                }
            }
            target::run(&changed);
        }
    }
}

//! Replays what fuzzing and people have found, through the same bodies that are fuzzed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "tests may panic"
)]

#[path = "../fuzz/targets/list.rs"]
mod list;
#[path = "../fuzz/targets/name.rs"]
mod name;
#[path = "support/random.rs"]
mod random;

use random::Random;

/// Runs every file of a corpus, and says which one it was that failed.
fn replay(folder: &str, run: fn(&[u8])) {
    let folder = format!("{}/../tests/corpus/{folder}", env!("CARGO_MANIFEST_DIR"));
    let mut files = 0;
    for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder}: {error}")) {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        run(&std::fs::read(&path).unwrap());
        files += 1;
    }
    assert!(files > 0, "{folder} is empty");
}

#[test]
fn t39_fuzz_corpus_of_lists_replays() {
    replay("list", list::run);
}

#[test]
fn t6_m1_fuzz_corpus_of_names_replays() {
    replay("name", name::run);
}

#[test]
fn t39_mutated_lists_keep_the_reader_s_word() {
    let seed = 39;
    println!("seed {seed}");
    let mut random = Random(seed);
    let sources = [include_str!("golden/contract.toml"), include_str!("golden/broken.toml")];
    let pieces = [
        "\n",
        "[[service]]\n",
        "[[service.rule]]\n",
        "=",
        "\"",
        "ж",
        "[",
        "host = \"a.kz\"\n",
        "\u{0}",
        "#",
        "1",
    ];
    for _ in 0..3_000 {
        let mut text = random.one_of(&sources).to_owned();
        for _ in 0..=random.below(4) {
            let mut place = random.below(text.len() + 1);
            while !text.is_char_boundary(place) {
                place -= 1;
            }
            if random.below(3) == 0 {
                text.truncate(place);
            } else {
                text.insert_str(place, random.one_of(&pieces));
            }
        }
        list::run(text.as_bytes());
    }
}

#[test]
fn t6_m1_random_bytes_keep_the_name_reader_s_word() {
    let seed = 6;
    println!("seed {seed}");
    let mut random = Random(seed);
    let alphabet = b"ab.-_019:[]%xAZ\0\xff";
    for round in 0..20_000 {
        let length = random.below(if round % 10 == 0 { 300 } else { 40 });
        let bytes: Vec<u8> = if round % 2 == 0 {
            (0..length).map(|_| random.one_of(alphabet)).collect()
        } else {
            (0..length).map(|_| random.next().to_le_bytes()[0]).collect()
        };
        name::run(&bytes);
    }
}

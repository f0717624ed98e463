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

/// Reads a text as it is, and as a whole: the remark keeps it from being cut into its tables. What is read is shown with its
/// places.
fn both_ways(text: &str) -> [Result<String, Vec<allowlist::Problem>>; 2] {
    [text.to_owned(), format!("{text}\n# '''")].map(|text| {
        let limits = allowlist::Limits { bytes_max: 1 << 20, entries_max: 60 };
        allowlist::Document::parse_within(&text, &limits).map(|document| format!("{document:?}"))
    })
}

#[test]
fn f18_a_list_read_table_by_table_is_the_list_read_as_a_whole() {
    let seed = 18;
    println!("seed {seed}");
    let mut random = Random(seed);
    let (mut read, mut refused) = (0, 0);
    for round in 0..6_000 {
        let mut text = match round % 4 {
            0 => include_str!("golden/contract.toml").to_owned(),
            1 => include_str!("golden/suspicious.toml").to_owned(),
            _ => random::list(&mut random, 70, round % 2 == 0),
        };
        // Lines changed, repeated, moved and left out.
        for _ in 0..random.below(4) {
            let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
            let (at, other) = (random.below(lines.len()), random.below(lines.len()));
            match random.below(6) {
                0 => drop(lines.remove(at)),
                1 => lines.insert(at, lines[other]),
                2 => lines.swap(at, other),
                _ => lines.insert(
                    at,
                    random.one_of(&[
                        "scope = \"tree\"\n",
                        "host = \"*.kz\"\n",
                        "host = \"xn--p1ai.kz\"\n",
                        "host = \"A.B.kz.\"\n",
                        "reason = \"a \\\"word\\\"\"\n",
                        "reason = \"\u{85}\"\n",
                        "reason = 'plain'\n",
                        "dns_only = yes\n",
                        "dns_only = true # remark\n",
                        "  note = \"indented\"\r\n",
                        "evidence = \"heard\"\n",
                        "colour = 1\n",
                        "prefix = \"203.0.113.0/24\"\n",
                        "rule = []\n",
                        "deny = []\n",
                        "[[deny]]\n",
                        "[[service.rule]]\n",
                        "[[service]]\nid = \"s1\"\n",
                        "[[not_separable]]\nname = \"YouTube\"\n",
                        "[service]\n",
                        "# remark\n",
                    ]),
                ),
            }
            text = lines.concat();
        }
        let [by_table, as_a_whole] = both_ways(&text);
        match (by_table, as_a_whole) {
            (Ok(by_table), Ok(as_a_whole)) => {
                assert_eq!(by_table, as_a_whole, "{text}");
                read += 1;
            }
            (Err(by_table), Err(_)) => {
                assert!(!by_table.is_empty());
                refused += 1;
            }
            (by_table, as_a_whole) => panic!("{by_table:?}\n{as_a_whole:?}\n{text}"),
        }
    }
    println!("{read} read, {refused} refused");
    assert!(read > 1_500 && refused > 1_500, "{read} read, {refused} refused");
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

//! The corpora of the DNS fuzz targets, and both targets on seeded changes of ordinary answers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    unreachable_pub,
    reason = "tests may panic"
)]

use support::hellos;
use support::messages;

#[path = "../fuzz/targets/dns_acceptance.rs"]
mod acceptance;
#[path = "../fuzz/targets/dns_message.rs"]
mod message;

use std::path::{Path, PathBuf};

use hellos::Random;
use hickory_proto::rr::RecordType;
use messages::{address, answer, cname, https};

/// Changed inputs of each target.
const CHANGES: usize = 20_000;

/// Every file of a corpus.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/corpus").join(target);
    let files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    assert!(!files.is_empty(), "{}", folder.display());
    files
}

/// Answers as resolvers give them.
fn ordinary() -> Vec<Vec<u8>> {
    let name = "www.listed.example";
    let chain = vec![
        cname(name, 30, "edge.cdn.example"),
        cname("edge.cdn.example", 20, "a.cdn.example"),
        address("a.cdn.example", 60, "9.9.9.9"),
        address("a.cdn.example", 60, "9.9.9.10"),
    ];
    let bound = vec![https(name, 1, "", &["9.9.9.11", "2606:4700::1"], None)];
    [
        answer(name, RecordType::A, vec![address(name, 300, "9.9.9.1"), address(name, 300, "10.0.0.1")]),
        answer(
            name,
            RecordType::AAAA,
            vec![address(name, 0, "2606:4700::1"), address(name, 0, "64:ff9b::808:808")],
        ),
        answer(name, RecordType::A, chain),
        answer(name, RecordType::HTTPS, bound),
        answer("unlisted.example", RecordType::A, vec![address("unlisted.example", 300, "9.9.9.1")]),
        answer("other.listed.example", RecordType::A, vec![address(name, 300, "9.9.9.1")]),
    ]
    .iter()
    .map(|message| message.to_vec().unwrap())
    .collect()
}

/// The messages one behind the other, as the acceptance target cuts them.
fn joined(messages: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for message in messages {
        bytes.push(message.len().div_ceil(8) as u8);
        bytes.extend(message);
        bytes.resize(bytes.len() + message.len().next_multiple_of(8) - message.len(), 0);
    }
    bytes
}

/// Changes a few bytes, or cuts the end off.
fn changed(random: &mut Random, bytes: &[u8]) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    for _ in 0..1 + random.below(4) {
        let place = random.below(changed.len());
        match random.below(3) {
            0 => changed[place] ^= 1 << random.below(8),
            1 => changed[place] = random.below(256) as u8,
            _ => changed.truncate(place + 1),
        }
    }
    changed
}

#[test]
fn n2_n5_corpus_of_messages_replays_and_changed_answers_hang_together() {
    for (path, bytes) in corpus("dns_message") {
        println!("{}", path.display());
        message::run(&bytes);
    }
    let (mut random, ordinary) = (Random::seeded(20), ordinary());
    for number in 0..CHANGES {
        message::run(&changed(&mut random, &ordinary[number % ordinary.len()]));
    }
}

#[test]
fn t17_n11_corpus_of_acceptance_replays_and_changed_answers_teach_nothing_else() {
    for (path, bytes) in corpus("dns_acceptance") {
        println!("{}", path.display());
        acceptance::run(&bytes);
    }
    let (mut random, all) = (Random::seeded(21), joined(&ordinary()));
    acceptance::run(&all);
    // Of the listed name three of six public addresses, the limit; the private and the foreign ones never.
    let (learnt, ..) = acceptance::learn(&all);
    assert_eq!((learnt.pairs(), learnt.names().count()), (3, 1));
    for _ in 0..CHANGES {
        acceptance::run(&changed(&mut random, &all));
    }
}

/// Writes the ordinary answers as the first inputs of both corpora: `DNS_CORPUS=write cargo test --test dns_corpus seeds`.
#[test]
fn seeds_of_both_corpora_are_what_is_made_here() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/corpus");
    let names = ["two-addresses", "nat64", "cname-chain", "https-hints", "unlisted", "foreign-owner"];
    let mut seeds: Vec<(PathBuf, Vec<u8>)> = names
        .iter()
        .zip(ordinary())
        .map(|(name, bytes)| (root.join("dns_message").join(name), bytes))
        .collect();
    let mut counts = ordinary()[0].clone();
    counts[4..12].fill(0xff);
    let mut pointer = ordinary()[0].clone();
    let end = pointer.len();
    pointer[end - 16..end - 14].copy_from_slice(&[0xc0, (end - 16) as u8]);
    seeds.push((root.join("dns_message/counts-65535"), counts));
    seeds.push((root.join("dns_message/pointer-to-itself"), pointer));
    seeds.push((
        root.join("dns_message/query"),
        messages::query("www.listed.example", RecordType::A).to_vec().unwrap(),
    ));
    seeds.push((root.join("dns_acceptance/all"), joined(&ordinary())));
    seeds.push((root.join("dns_acceptance/again"), joined(&[ordinary(), ordinary()].concat())));
    for (path, bytes) in seeds {
        if std::env::var_os("DNS_CORPUS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &bytes).unwrap();
        }
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "{}", path.display());
    }
}

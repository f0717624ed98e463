//! A capture file through `gateway classify`: the cutting of the file makes no difference, lines are well-formed, and
//! nothing is exempt without a listed name or an address rule.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a fuzz target may panic, and is a module of a test as well as of a program"
)]

use std::io::{BufReader, Read, Result};
use std::sync::LazyLock;

use allowlist::{Document, Matcher};
use gateway::app::command::classify::{Format, Judge, Order, Printer, read_capture};

/// The list of the tests: `listed.example` and what is below it, and one address rule.
static JUDGE: LazyLock<Judge> = LazyLock::new(|| {
    let document = Document::parse(include_str!("../../captures/list.toml")).unwrap();
    Judge {
        list: Matcher::new(&document),
        names_only: true,
        at: None,
        resolvers: Vec::new(),
        allow_private: false,
    }
});

/// Gives at most `size` bytes at a time.
struct Pieces<'a> {
    rest: &'a [u8],
    size: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let room = buffer.len().min(self.size);
        self.rest.read(buffer.get_mut(..room).unwrap())
    }
}

/// The lines and messages for a file read in pieces of `size` bytes.
fn classified(data: &[u8], size: usize) -> (String, Vec<String>, Option<String>) {
    let mut out = Vec::new();
    let mut printer = Printer::new(&mut out, Format::Jsonl).unwrap();
    let input = BufReader::with_capacity(size.clamp(2, 65_536), Pieces { rest: data, size });
    let outcome = read_capture("f", input, Order::ByFirstPacket, &JUDGE, &mut printer).unwrap();
    printer.finish().unwrap();
    (String::from_utf8(out).unwrap(), outcome.warnings, outcome.error)
}

/// Whether `line` has this key with a value that starts so.
fn has(line: &str, key: &str, value: &str) -> bool {
    line.contains(&format!("\"{key}\":{value}"))
}

/// `data` is the file.
pub fn run(data: &[u8]) {
    let whole = classified(data, usize::MAX);
    assert_eq!(whole, classified(data, 13), "pieces of 13 bytes");
    for line in whole.0.lines() {
        assert!(line.starts_with("{\"file\":\"f\",\"protocol\":\"") && line.ends_with('}'), "{line}");
        assert_eq!(has(line, "name", "null"), has(line, "seen_in", "null"), "{line}");
        assert_ne!(has(line, "reason", "null"), has(line, "basis", "null"), "{line}");
        assert_ne!(has(line, "class", "\"exempt\""), has(line, "class", "\"charged\""), "{line}");
        if has(line, "class", "\"exempt\"") {
            let listed =
                line.contains("listed.example\",\"class\"") && has(line, "rule", "\"school/listed.example\"");
            assert!(listed || has(line, "basis", "\"address_rule\""), "{line}");
        }
    }
}

//! Time and memory of lists: reading, the gate's errors, the whole linter, compiling, and a second edition beside the first.
//! 990,000 entries in canonical form, as a publisher writes them.
//!
//! `cargo bench -p allowlist --bench lists -- [ENTRIES]`

#![allow(clippy::panic, missing_docs, reason = "a benchmark that cannot be set up must stop")]

use std::fmt::Write as _;
use std::hint::black_box;

use allowlist::{Document, Limits, Matcher, Routes, lint, sha256};

/// Entries without an argument.
const ENTRIES: usize = 990_000;
/// Bytes of a page, as `/proc/self/statm` counts.
const PAGE_BYTES: usize = 4_096;

/// A list: three scopes in turn.
fn list(entries: usize, serial: u64) -> String {
    let mut text = format!(
        "format = 1\nlist_id = \"bench\"\nserial = {serial}\nissued = 2020-01-01T00:00:00Z\n\
         effective_from = 2020-01-01T00:00:00Z\nexpires = 2099-01-01T00:00:00Z\n\n[[service]]\nid = \"s\"\n\
         name = \"S\"\nowner = \"S\"\nreference = \"S\"\n"
    );
    for entry in 0..entries {
        let scope = ["exact", "subtree", "one-label"].get(entry % 3).copied().unwrap_or_default();
        let _ = write!(
            text,
            "\n[[service.rule]]\nhost = \"school-{entry}.obl{}.kz\"\nscope = \"{scope}\"\nreason = \"lessons\"\n\
             evidence = \"seen\"\ndns_only = false\n",
            entry % 17
        );
    }
    text
}

/// Memory of this process in MB.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: usize = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages.saturating_mul(PAGE_BYTES) / 1_000_000
}

/// The most memory this process ever had, in MB.
fn peak() -> usize {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap_or(0) / 1_000
}

/// Time on a processor so far, in ms: other programs of a busy machine do not count.
fn cpu() -> u64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|nanoseconds| nanoseconds.parse().ok()).unwrap_or(0_u64) / 1_000_000
}

/// Does something and says how long it took, and the memory behind it.
fn step<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let begin = cpu();
    let made = work();
    let taken = cpu().saturating_sub(begin);
    println!("{what:36} {taken:6} ms   {:5} MB, at most {:5} MB", resident(), peak());
    made
}

/// A list read as a node reads it; the text is dropped with everything else but the matcher.
fn take(entries: usize, serial: u64) -> Matcher {
    let text = step("text made", || list(entries, serial));
    let _ = step("SHA-256", || sha256(text.as_bytes()));
    let limits = Limits { bytes_max: 1 << 30, entries_max: 2_000_000 };
    let document = step("read", || Document::parse_within(&text, &limits))
        .unwrap_or_else(|problems| panic!("{problems:?}"));
    let errors = step("errors of the gate", || lint::errors(&document, &[], 20));
    assert!(errors.refusing.is_empty(), "{errors:?}");
    let matcher = step("compiled", || Matcher::new(&document));
    step("document and text dropped", || drop((document, text)));
    matcher
}

fn main() {
    let entries = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(ENTRIES);
    println!("{entries} entries, {} MB before", resident());
    let first = take(entries, 1);
    let second = take(entries, 2);
    let (routes, _) = step("names of the first beside the second", || {
        Routes::default().after(&first, Some(&second), entries)
    });
    println!("{} names of the first are not in the second", routes.len());
    step("first dropped", || drop(first));
    let (routes, _) = step("names of the second alone", || Routes::default().after(&second, None, entries));
    println!("{} names", routes.len());
    black_box((second, routes));
    let text = list(entries, 3);
    let limits = Limits { bytes_max: 1 << 30, entries_max: 2_000_000 };
    let findings = step("read and linted in full", || lint::text(&text, &limits, None));
    println!("{} findings", findings.len());
}

//! The request head reader: the cutting makes no difference, work is linear, memory bounded.

#![allow(
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    unreachable_pub,
    reason = "a fuzz target may panic, and is a module of a test as well as of a program"
)]

use gateway::wire::http1::{HeadLimits, HeadReader, Outcome};

/// Small enough that the fuzzer meets the caps.
const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 2048, headers_max: 8 };

/// Feeds `bytes` in pieces of these sizes, over and over; what it comes to in the end, and whether it looked like HTTP.
fn said(bytes: &[u8], sizes: &[u8]) -> (String, bool) {
    let mut reader = HeadReader::new(LIMITS);
    let mut sizes = sizes.iter().cycle();
    let mut rest = bytes;
    while !rest.is_empty() {
        let size = sizes.next().map_or(usize::MAX, |size| usize::from(*size).max(1)).min(rest.len());
        let (piece, after) = rest.split_at(size);
        rest = after;
        let outcome = match reader.push(piece) {
            Outcome::NeedMore => None,
            Outcome::Request(facts) => {
                assert_ne!(facts.name, Some(&[][..]), "a name is never empty");
                if let Some(name) = facts.name {
                    assert!(!name.contains(&b'@') && !name.contains(&b':'), "a host without the rest");
                    let folded = bytes.windows(name.len()).any(|window| window == name);
                    assert!(folded, "the name stands in the bytes");
                }
                Some(format!("{facts:?}"))
            }
            outcome => Some(format!("{outcome:?}")),
        };
        assert!(reader.buffer_bytes() <= LIMITS.head_bytes_max);
        assert!(reader.examined_bytes() <= 4 * (bytes.len() as u64), "work is linear");
        if let Some(outcome) = outcome {
            return (outcome, reader.looks_like_http());
        }
    }
    (format!("{:?}", reader.cut_short()), reader.looks_like_http())
}

/// The first byte says how many of the next give the cutting; the others are the client's.
pub fn run(data: &[u8]) {
    let Some((count, data)) = data.split_first() else { return };
    let (sizes, bytes) = data.split_at(usize::from(*count % 8).min(data.len()));
    let whole = said(bytes, &[]);
    assert_eq!(whole, said(bytes, &[1]), "one byte at a time");
    assert_eq!(whole, said(bytes, if sizes.is_empty() { &[2, 3] } else { sizes }), "pieces of {sizes:?}");
}

//! The hello reader: cutting, records, caps, the table of notes §1.1, what a hello may lack and what it may not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

#[path = "hello/caps.rs"]
mod caps;
#[path = "hello/cutting.rs"]
mod cutting;
#[path = "hello/odd.rs"]
mod odd;
#[path = "hello/second.rs"]
mod second;

use gateway::wire::tls::{Ech, HelloLimits, HelloStream, Outcome};
use support::hellos::records;

const LIMITS: HelloLimits = HelloLimits { handshake_bytes_max: 16 * 1024, wire_bytes_max: 32 * 1024 };

/// One thing that a stream said, owned.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Hello(Option<Vec<u8>>, Option<Ech>),
    Ended,
    Malformed(&'static str),
    Ambiguous,
    Oversize,
    NotTls,
}

/// Feeds pieces; what was said, and how many bytes were copied.
fn drive_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Said>, u64) {
    let mut stream = HelloStream::new(LIMITS);
    let mut said = Vec::new();
    for piece in pieces {
        let mut rest = piece;
        loop {
            let step = stream.push(rest);
            let consumed = step.consumed;
            let last = match step.outcome {
                Outcome::NeedMore => {
                    assert_eq!(consumed, rest.len());
                    break;
                }
                Outcome::Hello(facts) => {
                    said.push(Said::Hello(facts.name.map(<[u8]>::to_vec), facts.ech));
                    rest = &rest[consumed..];
                    continue;
                }
                Outcome::Ended => Said::Ended,
                Outcome::Malformed { field } => Said::Malformed(field),
                Outcome::Ambiguous => Said::Ambiguous,
                Outcome::Oversize => Said::Oversize,
                Outcome::NotTls => Said::NotTls,
            };
            said.push(last);
            assert_eq!(stream.buffer_bytes(), 0, "a final outcome frees the buffer");
            return (said, stream.copied_bytes());
        }
        assert!(stream.buffer_bytes() <= LIMITS.handshake_bytes_max);
    }
    (said, stream.copied_bytes())
}

fn drive(bytes: &[u8]) -> Vec<Said> {
    drive_pieces([bytes]).0
}

fn drive_segments(bytes: &[u8], size: usize) -> Vec<Said> {
    drive_pieces(bytes.chunks(size)).0
}

fn name(name: &str) -> Said {
    Said::Hello(Some(name.as_bytes().to_vec()), None)
}

/// The same bytes in many cuttings say the same.
fn same_in_every_cutting(bytes: &[u8], said: &[Said]) {
    for size in [1, 2, 3, 5, 7, 536, 1460, usize::MAX] {
        assert_eq!(drive_segments(bytes, size.min(bytes.len().max(1))), said, "segments of {size}");
    }
}

/// A handshake message in all record and segment sizes of I-T1 says the same.
fn same_in_every_record_size(message: &[u8], said: &[Said]) {
    for size in [1, 7, 100, 16384] {
        let wire = records(message, size);
        if wire.len() > LIMITS.wire_bytes_max {
            continue;
        }
        for segment in [1, 7, 536, 1460] {
            assert_eq!(drive_segments(&wire, segment), said, "records of {size}, segments of {segment}");
        }
        assert_eq!(drive(&wire), said, "records of {size}, one segment");
    }
}

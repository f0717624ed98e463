//! The hello reader: the cutting makes no difference, memory is bounded, and rustls reads no other name.

#![allow(
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    unreachable_pub,
    reason = "a fuzz target may panic, and is a module of a test as well as of a program"
)]

use std::io::Cursor;

use gateway::wire::tls::{HelloLimits, HelloStream, Outcome};

/// Small enough that the fuzzer meets the caps.
const LIMITS: HelloLimits = HelloLimits { handshake_bytes_max: 1024, wire_bytes_max: 2048 };

/// One thing that a stream said.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    /// A hello with this name.
    Hello(Option<Vec<u8>>),
    /// A final outcome, in words.
    Final(String),
}

/// Feeds `bytes` in pieces of these sizes, over and over.
fn said(bytes: &[u8], sizes: &[u8]) -> Vec<Said> {
    let mut stream = HelloStream::new(LIMITS);
    let mut said = Vec::new();
    let mut sizes = sizes.iter().cycle();
    let mut rest = bytes;
    while !rest.is_empty() {
        let size = sizes.next().map_or(usize::MAX, |size| usize::from(*size).max(1)).min(rest.len());
        let (mut piece, after) = rest.split_at(size);
        rest = after;
        loop {
            let step = stream.push(piece);
            assert!(step.consumed <= piece.len());
            let consumed = step.consumed;
            match step.outcome {
                Outcome::NeedMore => {
                    assert_eq!(consumed, piece.len(), "all is taken unless a hello is given out");
                    break;
                }
                Outcome::Hello(facts) => {
                    assert_ne!(facts.name, Some(&[][..]), "a name is never empty");
                    said.push(Said::Hello(facts.name.map(<[u8]>::to_vec)));
                }
                outcome => {
                    said.push(Said::Final(format!("{outcome:?}")));
                    assert_eq!(stream.buffer_bytes(), 0, "a final outcome frees the buffer");
                    return said;
                }
            }
            piece = &piece[consumed..];
        }
        assert!(stream.buffer_bytes() <= LIMITS.handshake_bytes_max);
        assert!(stream.copied_bytes() <= bytes.len() as u64, "each byte is copied at most once");
    }
    said
}

/// The name that rustls reads, if it takes the hello.
pub fn rustls_name(bytes: &[u8]) -> Option<String> {
    let mut acceptor = rustls::server::Acceptor::default();
    let mut cursor = Cursor::new(bytes);
    while acceptor.read_tls(&mut cursor).ok()? > 0 {
        match acceptor.accept() {
            Ok(Some(accepted)) => return accepted.client_hello().server_name().map(str::to_owned),
            Ok(None) => {}
            Err(_) => return None,
        }
    }
    None
}

/// The first byte says how many of the next give the cutting; the others are the client's.
pub fn run(data: &[u8]) {
    let Some((count, data)) = data.split_first() else { return };
    let (sizes, bytes) = data.split_at(usize::from(*count % 8).min(data.len()));
    let whole = said(bytes, &[]);
    assert_eq!(whole, said(bytes, &[1]), "one byte at a time");
    assert_eq!(whole, said(bytes, if sizes.is_empty() { &[2, 3] } else { sizes }), "pieces of {sizes:?}");

    let Some(theirs) = rustls_name(bytes) else { return };
    match whole.first() {
        Some(Said::Hello(ours)) => {
            let ours = String::from_utf8_lossy(ours.as_deref().unwrap_or_default()).to_ascii_lowercase();
            assert_eq!(ours, theirs.to_ascii_lowercase());
        }
        // rustls stops at a strange name type, this reader looks for a second name behind it; and it has no such caps.
        Some(Said::Final(reason)) => {
            assert!(reason == "Ambiguous" || reason == "Oversize", "{reason}: {theirs}")
        }
        None => panic!("rustls reads {theirs}, this reader wants more"),
    }
}

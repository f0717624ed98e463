//! Allocations and memory of the readers, counted by the allocator itself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

#[path = "support/hellos.rs"]
mod hellos;

use allocation_counter::{AllocationInfo, measure};
use gateway::flow::identify::{Identifier, IdentifyLimits, Progress};
use gateway::wire::http1::{HeadLimits, HeadReader};
use gateway::wire::tls::{HelloLimits, HelloStream, Outcome, hello_message};
use hellos::{Hello, change_cipher_spec, record, records};

const LIMITS: HelloLimits = HelloLimits { handshake_bytes_max: 16 * 1024, wire_bytes_max: 32 * 1024 };

fn count(run: impl FnOnce()) -> AllocationInfo {
    let info = measure(run);
    println!("{info:?}");
    info
}

#[test]
fn a_whole_hello_allocates_nothing() {
    let hello = Hello::post_quantum("listed.edu");
    let (message, wire) = (hello.message(), hello.wire());
    let mut named = 0;
    let info = count(|| {
        for _ in 0..100 {
            named += usize::from(
                matches!(hello_message(&message, 16384), Outcome::Hello(facts) if facts.name.is_some()),
            );
            let mut stream = HelloStream::new(LIMITS);
            named += usize::from(matches!(stream.push(&wire).outcome, Outcome::Hello(_)));
        }
    });
    assert_eq!((named, info.count_total), (200, 0));
}

#[test]
fn the_watch_for_a_second_hello_allocates_nothing() {
    let wire = [Hello::named("listed.edu").wire(), change_cipher_spec(), record(23, &[0; 999])].concat();
    let mut ended = false;
    let info = count(|| {
        let mut stream = HelloStream::new(LIMITS);
        let step = stream.push(&wire);
        let consumed = step.consumed;
        ended = stream.push(&wire[consumed..]).outcome == Outcome::Ended;
    });
    assert!(ended);
    assert_eq!(info.count_total, 0);
}

#[test]
fn a_whole_request_head_allocates_nothing() {
    let head = b"GET /a HTTP/1.1\r\nHost: listed.edu\r\nAccept: */*\r\n\r\n";
    let info = count(|| {
        HeadReader::new(HeadLimits { head_bytes_max: 16384, headers_max: 100 }).push(head);
    });
    assert_eq!(info.count_total, 0);
}

#[test]
fn t4_an_undecided_flow_holds_at_most_20_kib() {
    let never = records(&Hello::named("listed.edu").padded_to(16384).message()[..16_383], 16384);
    let head = [&b"GET / HTTP/1.1\r\nX: "[..], &[b'x'; 16_000]].concat();
    for bytes in [never, head] {
        for size in [1, 100, 1460, bytes.len()] {
            let mut identifier = Identifier::new(&IdentifyLimits::default());
            let info = count(|| {
                for piece in bytes.chunks(size) {
                    assert_eq!(identifier.observe(piece), Progress::Undecided);
                }
            });
            let held = usize::try_from(info.bytes_current).unwrap() + size_of::<Identifier>();
            assert!(held <= 20 * 1024, "{held} bytes held in pieces of {size}");
            let freed = count(|| assert_eq!(identifier.deadline(), Progress::Settled));
            assert_eq!(freed.bytes_current, -info.bytes_current, "all is freed when settled");
        }
    }
}

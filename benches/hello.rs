//! Cost of reading a hello and a request head, with rustls's Acceptor beside it in the same run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a bench may panic"
)]

use support::hellos;

use std::hint::black_box;
use std::io::Cursor;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use gateway::flow::identify::{Identifier, IdentifyLimits, Progress};
use gateway::wire::http1::{HeadLimits, HeadReader};
use gateway::wire::tls::{HelloLimits, HelloStream, hello_message};
use hellos::records;

const LIMITS: HelloLimits = HelloLimits { handshake_bytes_max: 16 * 1024, wire_bytes_max: 32 * 1024 };

fn hello(criterion: &mut Criterion) {
    let (_, wire, _) = hellos::captured()
        .into_iter()
        .find(|(file, ..)| file.starts_with("chromium"))
        .expect("a captured hello");
    let message = wire[5..].to_vec();
    let two_records = records(&message, 1000);

    let mut group = criterion.benchmark_group("hello of chromium 156, 1,928 bytes");
    group.bench_function("parse alone", |bench| bench.iter(|| hello_message(black_box(&message), 16384)));
    let mut stream = |name: &str, wire: &[u8], size: usize| {
        group.bench_function(name, |bench| {
            bench.iter(|| {
                let mut stream = HelloStream::new(LIMITS);
                for piece in black_box(wire).chunks(size) {
                    black_box(stream.push(piece));
                }
            });
        });
    };
    stream("one segment, one record", &wire, usize::MAX);
    stream("two segments of 1,460", &wire, 1460);
    stream("one segment, two records", &two_records, usize::MAX);
    stream("pieces of one byte", &wire, 1);
    group.bench_function("identified: name folded and owned", |bench| {
        bench.iter(|| {
            let mut identifier = Identifier::new(&IdentifyLimits::default());
            assert_eq!(identifier.observe(black_box(&wire)), Progress::Identified);
            identifier
        });
    });
    group.bench_function("rustls Acceptor, one segment", |bench| {
        bench.iter_batched(
            || Cursor::new(&wire[..]),
            |mut cursor| {
                let mut acceptor = rustls::server::Acceptor::default();
                acceptor.read_tls(&mut cursor).unwrap();
                acceptor.accept().unwrap_or_else(|_| panic!("a hello")).expect("a whole hello")
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn head(criterion: &mut Criterion) {
    let head = b"GET /lesson/7?lang=kk HTTP/1.1\r\nHost: daryn.online\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n\
        Accept: text/html,application/xhtml+xml\r\nAccept-Language: kk,ru;q=0.8\r\nAccept-Encoding: gzip, deflate\r\n\
        Connection: keep-alive\r\n\r\n";
    let limits = HeadLimits { head_bytes_max: 16384, headers_max: 100 };
    let mut group = criterion.benchmark_group("request head of 230 bytes");
    let mut read = |name: &str, size: usize| {
        group.bench_function(name, |bench| {
            bench.iter(|| {
                let mut reader = HeadReader::new(limits);
                for piece in black_box(&head[..]).chunks(size) {
                    black_box(reader.push(piece));
                }
            });
        });
    };
    read("one segment", usize::MAX);
    read("pieces of one byte", 1);
    group.finish();
}

criterion_group!(benches, hello, head);
criterion_main!(benches);

//! The usage file reader: what it reads is written again and read again equal, in a canonical form that stays the same.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    unreachable_pub,
    reason = "a fuzz target may panic, and is a module of a test as well as of a program"
)]

use billing_export::codec::csv::{Reader, Writer};
use billing_export::codec::{Format, jsonl};
use billing_export::record::Record;

/// All rows that can be read, up to the first that cannot; and whether there was one.
fn read(bytes: &[u8]) -> (Vec<Record>, bool) {
    let mut records = Vec::new();
    let Ok(mut reader) = Reader::new(bytes) else { return (records, false) };
    loop {
        match reader.read() {
            Ok(Some(record)) => records.push(record),
            Ok(None) => return (records, true),
            Err(error) => {
                assert!(error.to_string().len() < 1_000, "a message does not repeat the file");
                return (records, false);
            }
        }
    }
}

/// The rows as a file.
fn write(records: &[Record]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), Format::NEWEST).unwrap();
    for record in records {
        writer.write(record).unwrap();
    }
    writer.finish().unwrap()
}

/// Reads a file, and the same bytes below a right header, so that the fuzzer need not find it.
pub fn run(data: &[u8]) {
    let header: Vec<_> = Format::NEWEST.columns().collect();
    let mut headed = header.join(",").into_bytes();
    headed.extend_from_slice(b"\r\n");
    headed.extend_from_slice(data);
    for bytes in [data, &headed] {
        let (records, _) = read(bytes);
        let written = write(&records);
        let (again, whole) = read(&written);
        assert!(whole, "what is written is read to its end");
        assert_eq!(again, records);
        assert_eq!(write(&again), written);
        for record in &records {
            assert!(record.window.start() <= record.window.end());
            let mut line = Vec::new();
            jsonl::write(&mut line, Format::NEWEST, record).unwrap();
            assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1, "one line for one record");
        }
    }
}

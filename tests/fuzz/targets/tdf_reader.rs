//! The reader of files of charging records: whatever stands in them, it ends, says where it could not go on, and what it has
//! read is one line of JSON each.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    unreachable_pub,
    reason = "a fuzz target may panic, and is a module of a test as well as of a program"
)]

use billing_export::tdf::{ReadError, Reader, write_header, write_record};

/// Reads a file to its end, or to where it cannot be read on.
fn read(data: &[u8]) -> Result<(), ReadError> {
    let mut reader = Reader::new(data)?;
    let mut lines = Vec::new();
    write_header(&mut lines, reader.header()).unwrap();
    let mut cdrs = 1;
    while let Some(cdr) = reader.read()? {
        assert!(cdr.offset < data.len() as u64);
        write_record(&mut lines, &cdr).unwrap();
        cdrs += 1;
    }
    assert_eq!(lines.iter().filter(|byte| **byte == b'\n').count(), cdrs, "one line for one record");
    assert!(reader.read()?.is_none(), "what has ended has ended");
    Ok(())
}

/// Reads a file.
pub fn run(data: &[u8]) {
    if let Err(error) = read(data) {
        let ReadError::Format { offset, .. } = &error else { panic!("{error}") };
        assert!(*offset <= data.len() as u64, "{error}");
        assert!(error.to_string().len() < 1_000, "a message does not repeat the file");
    }
}

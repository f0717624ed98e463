//! A file of charging records as JSON lines: its header, then each record. Names are those of the specifications; numbers that
//! may pass 2⁵³ are strings, so that no reader rounds them. Pure.

use std::io::{self, Write};

use serde_json::json;

use super::cdr::{TdfCdr, hex};
use super::header::{FileHeader, HeaderTime, Release};

/// Writes the header as one line.
///
/// # Errors
/// Those of the writer.
pub fn write_header(mut writer: impl Write, header: &FileHeader) -> io::Result<()> {
    let line = json!({
        "fileLength": header.file_length,
        "headerLength": header.header_length,
        "highRelease": release(header.high),
        "lowRelease": release(header.low),
        "fileOpening": time(header.opening),
        "lastCdrAppend": time(header.last_append),
        "cdrs": header.cdrs,
        "fileSequenceNumber": header.sequence,
        "fileClosureReason": header.closure,
        "nodeAddress": header.node_address,
        "lostCdrIndicator": header.lost,
        "routeingFilter": hex(&header.routeing_filter),
        "privateExtension": header.private_extension.as_deref().map(hex),
    });
    serde_json::to_writer(&mut writer, &line)?;
    writer.write_all(b"\n")
}

/// Writes a record as one line.
///
/// # Errors
/// Those of the writer.
pub fn write_record(mut writer: impl Write, cdr: &TdfCdr) -> io::Result<()> {
    serde_json::to_writer(&mut writer, cdr)?;
    writer.write_all(b"\n")
}

/// Release and version, as 16.11.
fn release(release: Release) -> String {
    format!("{}.{}", release.release, release.version)
}

/// A time without year and seconds, as ISO 8601 writes it: `--04-06T18:15+06:00`.
fn time(time: HeaderTime) -> String {
    format!(
        "--{:02}-{:02}T{:02}:{:02}{}{:02}:{:02}",
        time.month,
        time.day,
        time.hour,
        time.minute,
        if time.negative { '-' } else { '+' },
        time.offset_hours,
        time.offset_minutes
    )
}

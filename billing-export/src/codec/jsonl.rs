//! Records as JSON lines: keys are the columns of the usage file, in order; empty values are `null`; numbers of records
//! and bytes are strings, so that no reader rounds them; `epoch`, `ref_epoch` and `rating_group` are plain numbers.

use std::io::{self, Write};

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::codec::columns::Format;
use crate::record::Record;

/// Columns whose values fit 32 bits and are plain numbers.
const PLAIN_NUMBERS: [&str; 3] = ["epoch", "ref_epoch", "rating_group"];

/// A record on its way into JSON.
struct Line<'a>(&'a Record, Format);

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Line(record, format) = *self;
        let mut map = serializer.serialize_map(Some(format.columns().len()))?;
        format.write(record, &mut |column, value| match value.parse::<u32>() {
            _ if value.is_empty() => map.serialize_entry(column, &None::<&str>),
            Ok(number) if PLAIN_NUMBERS.contains(&column) => map.serialize_entry(column, &number),
            Ok(_) | Err(_) => map.serialize_entry(column, value),
        })?;
        map.end()
    }
}

/// Writes one record as one line, with the columns of this version.
///
/// # Errors
/// Those of the writer.
pub fn write(mut writer: impl Write, format: Format, record: &Record) -> io::Result<()> {
    serde_json::to_writer(&mut writer, &Line(record, format))?;
    writer.write_all(b"\n")
}

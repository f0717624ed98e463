//! The names of usage files: `{node_id}_{stream}_{YYYYMMDDThhmmssZ}_{epoch:05}_{file_seq:010}.csv`. Pure.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

use crate::error::UnknownLabel;
use crate::period::format_compact;
use crate::unit::NodeId;

/// The one stream of usage records.
pub const STREAM_USAGE: &str = "usage";
/// Ending of a data file.
pub const DATA_ENDING: &str = ".csv";
/// Ending of a manifest.
pub const MANIFEST_ENDING: &str = ".manifest.json";

/// The name of one usage file, without its ending.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FileName {
    /// The gateway.
    node_id: NodeId,
    /// End of the last record, to the second, as written.
    end: Box<str>,
    /// The epoch of the records.
    epoch: u32,
    /// Rises over all epochs.
    file_seq: u64,
}

impl FileName {
    /// The name of the file whose last record ends at `end`.
    pub fn new(node_id: NodeId, end: Timestamp, epoch: u32, file_seq: u64) -> FileName {
        FileName { node_id, end: format_compact(end).into(), epoch, file_seq }
    }

    /// The gateway.
    pub fn node_id(&self) -> &NodeId {
        &self.node_id
    }

    /// The epoch of the records.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The file's number.
    pub fn file_seq(&self) -> u64 {
        self.file_seq
    }

    /// End of the last record, to the second, as written in the name.
    pub fn end(&self) -> &str {
        &self.end
    }

    /// Name of the data file.
    pub fn data(&self) -> String {
        format!("{self}{DATA_ENDING}")
    }

    /// Name of the manifest.
    pub fn manifest(&self) -> String {
        format!("{self}{MANIFEST_ENDING}")
    }

    /// The name of a data file or manifest read back.
    ///
    /// # Errors
    /// The text is not exactly what [`FileName::data`] or [`FileName::manifest`] writes.
    pub fn of_file(text: &str) -> Result<FileName, UnknownLabel> {
        text.strip_suffix(DATA_ENDING)
            .or_else(|| text.strip_suffix(MANIFEST_ENDING))
            .unwrap_or("")
            .parse()
            .map_err(|_| {
                UnknownLabel::new(
                    "file name",
                    text,
                    "{node_id}_usage_{YYYYMMDDThhmmssZ}_{epoch:05}_{file_seq:010}.csv or .manifest.json",
                )
            })
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{STREAM_USAGE}_{}_{:05}_{:010}", self.node_id, self.end, self.epoch, self.file_seq)
    }
}

impl FromStr for FileName {
    type Err = UnknownLabel;

    /// Reads the stem of a name.
    fn from_str(text: &str) -> Result<FileName, UnknownLabel> {
        let refused =
            || UnknownLabel::new("file name", text, "{node_id}_usage_{time}_{epoch:05}_{file_seq:010}");
        let mut words = text.split('_');
        let node_id = words.next().and_then(|word| word.parse().ok()).ok_or_else(refused)?;
        let _stream = words.next();
        let end = words.next().ok_or_else(refused)?;
        let dated = end.len() == "YYYYMMDDThhmmssZ".len()
            && end.char_indices().all(|(at, c)| match at {
                8 => c == 'T',
                15 => c == 'Z',
                _ => c.is_ascii_digit(),
            });
        let epoch = words.next().and_then(|word| word.parse().ok()).ok_or_else(refused)?;
        let file_seq = words.next().and_then(|word| word.parse().ok()).ok_or_else(refused)?;
        let name = FileName { node_id, end: end.into(), epoch, file_seq };
        if !dated || name.to_string() != text {
            return Err(refused());
        }
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_near_misses_are_refused() {
        let end = "2026-04-06T00:15:00.999Z".parse().unwrap();
        let name = FileName::new("zrgw-01".parse().unwrap(), end, 1, 7);
        assert_eq!(name.data(), "zrgw-01_usage_20260406T001500Z_00001_0000000007.csv");
        assert_eq!(FileName::of_file(&name.data()).unwrap(), name);
        assert_eq!(FileName::of_file(&name.manifest()).unwrap(), name);
        let big = FileName::new("n".parse().unwrap(), end, u32::MAX, u64::MAX);
        assert_eq!(FileName::of_file(&big.data()).unwrap(), big);
        for text in [
            "zrgw-01_usage_20260406T001500Z_00001_0000000007.csv.part",
            "zrgw-01_usage_20260406T001500Z_1_0000000007.csv",
            "zrgw-01_other_20260406T001500Z_00001_0000000007.csv",
            "zrgw-01_usage_20260406X001500Z_00001_0000000007.csv",
            "zrgw-01_usage_20260406T001500Z_00001_0000000007_1.csv",
            "zrgw-01_usage_20260406T001500Z_00001_+000000007.csv",
            "copy.csv",
            ".csv",
        ] {
            assert!(FileName::of_file(text).is_err(), "{text}");
        }
    }
}

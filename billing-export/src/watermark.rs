//! How far billing's ledger has a node's records: what alone lets them leave the node's state (decision 18). Pure.

use serde::{Deserialize, Serialize};

use crate::unit::NodeId;

/// Longest text of a watermark; a real one has about 120 bytes.
pub(crate) const WATERMARK_LEN_MAX: usize = 4_096;
/// The version of the form.
const FORMAT: u32 = 1;

/// The last file of the unbroken run of a node's files that billing's ledger has, and its last record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watermark {
    /// The node.
    pub node_id: NodeId,
    /// Epoch of the record.
    pub epoch: u32,
    /// Number of the record.
    pub record_seq: u64,
    /// Number of the file.
    pub file_seq: u64,
}

/// The watermark as it is written: `{"format":1,"node_id":…,"epoch":…,"record_seq":"…","file_seq":"…"}`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: u32,
    node_id: String,
    epoch: u32,
    record_seq: String,
    file_seq: String,
}

impl Watermark {
    /// Reads one.
    ///
    /// # Errors
    /// What was found and what was wanted, for a message behind its path.
    pub fn parse(text: &str) -> Result<Watermark, String> {
        if text.len() > WATERMARK_LEN_MAX {
            return Err(format!("found more than {WATERMARK_LEN_MAX} bytes, wanted one JSON object"));
        }
        let written: Written = serde_json::from_str(text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            format!("line {line}, column {column}: found {error}, wanted a watermark as `collect` writes it")
        })?;
        if written.format != FORMAT {
            return Err(format!("format: found {}, wanted {FORMAT}", written.format));
        }
        let number = |key: &str, text: &str| {
            let number = text.parse::<u64>().ok().filter(|number| number.to_string() == text);
            number.ok_or_else(|| format!("{key}: found {text:?}, wanted a decimal number"))
        };
        Ok(Watermark {
            node_id: written.node_id.parse().map_err(|error| format!("node_id: {error}"))?,
            epoch: written.epoch,
            record_seq: number("record_seq", &written.record_seq)?,
            file_seq: number("file_seq", &written.file_seq)?,
        })
    }

    /// Its text, one line.
    ///
    /// # Errors
    /// The JSON library's.
    pub fn to_text(&self) -> Result<String, serde_json::Error> {
        let written = Written {
            format: FORMAT,
            node_id: self.node_id.to_string(),
            epoch: self.epoch,
            record_seq: self.record_seq.to_string(),
            file_seq: self.file_seq.to_string(),
        };
        Ok(serde_json::to_string(&written)? + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watermark_reads_back_as_it_was_written() {
        let mark =
            Watermark { node_id: "zrgw-01".parse().unwrap(), epoch: 2, record_seq: u64::MAX, file_seq: 7 };
        let text = mark.to_text().unwrap();
        assert_eq!(
            text,
            "{\"format\":1,\"node_id\":\"zrgw-01\",\"epoch\":2,\"record_seq\":\"18446744073709551615\",\"file_seq\":\"7\"}\n"
        );
        assert_eq!(Watermark::parse(&text), Ok(mark));
    }

    #[test]
    fn what_is_no_watermark_is_refused_with_its_place() {
        let with = |from: &str, to: &str| {
            let text = r#"{"format":1,"node_id":"n","epoch":1,"record_seq":"1","file_seq":"1"}"#;
            Watermark::parse(&text.replace(from, to)).unwrap_err()
        };
        for (from, to, wanted) in [
            ("\"format\":1", "\"format\":2", "format: found 2"),
            ("\"n\"", "\"N\"", "node_id"),
            ("\"record_seq\":\"1\"", "\"record_seq\":\"01\"", "record_seq: found \"01\""),
            ("\"file_seq\":\"1\"", "\"file_seq\":\"-1\"", "file_seq: found \"-1\""),
            ("\"file_seq\":\"1\"", "\"file_seq\":1", "line 1"),
            ("{", "{\"more\":1,", "line 1"),
            ("{", "", "line 1"),
        ] {
            let said = with(from, to);
            assert!(said.contains(wanted), "{said}, wanted {wanted}");
        }
        assert!(Watermark::parse(&" ".repeat(WATERMARK_LEN_MAX + 1)).unwrap_err().contains("4096 bytes"));
    }
}

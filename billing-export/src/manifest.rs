//! The manifest beside each usage file: one line of JSON, its numbers of records and bytes as strings so that no reader
//! rounds them. Its appearance is the signal that the data file is complete. Pure.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

use crate::audit::Figures;
use crate::codec::Format;
use crate::error::UnknownLabel;
use crate::unit::Volume;

/// Longest manifest read; a real one has about 900 bytes.
pub const MANIFEST_LEN_MAX: u64 = 16 * 1024;

/// A SHA-256 value, written as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash([u8; 32]);

impl Hash {
    /// The hash of these bytes.
    pub fn of(bytes: &[u8]) -> Hash {
        Hash(Sha256::digest(bytes).into())
    }

    /// The hash of what a hasher has taken in.
    pub fn finish(hasher: Sha256) -> Hash {
        Hash(hasher.finalize().into())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Hash {
    type Err = UnknownLabel;

    fn from_str(text: &str) -> Result<Hash, UnknownLabel> {
        let refused = || UnknownLabel::new("sha256", text, "64 lower-case hex digits");
        let mut bytes = [0_u8; 32];
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != bytes.len() || !rest.is_empty() {
            return Err(refused());
        }
        for (byte, pair) in bytes.iter_mut().zip(pairs) {
            let pair = std::str::from_utf8(pair).map_err(|_| refused())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| refused())?;
        }
        let hash = Hash(bytes);
        if hash.to_string() != text {
            return Err(refused());
        }
        Ok(hash)
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Hash, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A `u64` written as a JSON string, in its one decimal form.
pub(crate) mod decimal {
    use serde::{Deserialize, Deserializer, Serializer, de};

    /// Writes the number as a string.
    pub(crate) fn serialize<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }

    /// Reads the number from a string.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = text.parse::<u64>().ok().filter(|number| number.to_string() == text);
        number.ok_or_else(|| {
            de::Error::invalid_value(de::Unexpected::Str(&text), &"a decimal number in a string")
        })
    }
}

/// The manifest of one usage file, keys in the order of the contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the data file's columns, and of this manifest's keys ([`Format`]).
    pub format: u32,
    /// Name of the data file.
    pub file: String,
    /// The gateway.
    pub node_id: String,
    /// The epoch of the records.
    pub epoch: u32,
    /// The file's number over all epochs.
    #[serde(with = "decimal")]
    pub file_seq: u64,
    /// The stream.
    pub stream: String,
    /// Number of rows.
    #[serde(with = "decimal")]
    pub records: u64,
    /// Number of the first record.
    #[serde(with = "decimal")]
    pub first_seq: u64,
    /// Number of the last record.
    #[serde(with = "decimal")]
    pub last_seq: u64,
    /// Sum of the usage rows, upward.
    #[serde(with = "decimal")]
    pub up_bytes: u64,
    /// Sum of the usage rows, downward.
    #[serde(with = "decimal")]
    pub down_bytes: u64,
    /// Hash of the data file.
    pub sha256: Hash,
    /// Hash of the manifest before; null in the first file of an epoch.
    #[serde(deserialize_with = "Option::deserialize")]
    pub previous_manifest_sha256: Option<Hash>,
    /// What the bytes count.
    pub byte_basis: String,
    /// Counted at the sockets, upward.
    #[serde(with = "decimal")]
    pub seen_up_bytes: u64,
    /// Counted at the sockets, downward.
    #[serde(with = "decimal")]
    pub seen_down_bytes: u64,
    /// Without a verdict before, upward.
    #[serde(with = "decimal")]
    pub pending_before_up_bytes: u64,
    /// Without a verdict before, downward.
    #[serde(with = "decimal")]
    pub pending_before_down_bytes: u64,
    /// Without a verdict after, upward.
    #[serde(with = "decimal")]
    pub pending_after_up_bytes: u64,
    /// Without a verdict after, downward.
    #[serde(with = "decimal")]
    pub pending_after_down_bytes: u64,
    /// Whether seen + pending before = usage rows + pending after, in both directions.
    pub conserved: bool,
}

impl Manifest {
    /// The sum of the usage rows.
    pub fn rows(&self) -> Volume {
        Volume { up: self.up_bytes, down: self.down_bytes }
    }

    /// The conservation figures.
    pub fn figures(&self) -> Figures {
        Figures {
            seen: Volume { up: self.seen_up_bytes, down: self.seen_down_bytes },
            pending_before: Volume { up: self.pending_before_up_bytes, down: self.pending_before_down_bytes },
            pending_after: Volume { up: self.pending_after_up_bytes, down: self.pending_after_down_bytes },
        }
    }

    /// The manifest's text: one line of JSON with a line end.
    ///
    /// # Errors
    /// None for values of this type; the JSON writer's signature has one.
    pub fn to_text(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self).map(|text| text + "\n")
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// Not JSON, a key missing or unknown, a number not in its one written form, another format; with line and column.
    pub fn parse(text: &str) -> Result<Manifest, serde_json::Error> {
        let manifest: Manifest = serde_json::from_str(text)?;
        if Format::of_number(manifest.format).is_none() {
            let (found, known) = (manifest.format, Format::NEWEST.number());
            return Err(de::Error::custom(format!(
                "format: found {found}, wanted at most {known}; a later version of the gateway wrote it, which its \
                 billing-export reads"
            )));
        }
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A manifest with the largest numbers.
    fn example() -> Manifest {
        Manifest {
            format: 1,
            file: "n_usage_20260406T001500Z_00001_0000000001.csv".into(),
            node_id: "n".into(),
            epoch: 1,
            file_seq: 1,
            stream: "usage".into(),
            records: 1,
            first_seq: 1,
            last_seq: 1,
            up_bytes: u64::MAX,
            down_bytes: (1 << 53) + 1,
            sha256: Hash::of(b""),
            previous_manifest_sha256: None,
            byte_basis: "payload".into(),
            seen_up_bytes: u64::MAX,
            seen_down_bytes: (1 << 53) + 1,
            pending_before_up_bytes: 0,
            pending_before_down_bytes: 0,
            pending_after_up_bytes: 0,
            pending_after_down_bytes: 0,
            conserved: true,
        }
    }

    #[test]
    fn b12_numbers_are_strings_and_exact() {
        let text = example().to_text().unwrap();
        assert!(
            text.contains(r#""up_bytes":"18446744073709551615","down_bytes":"9007199254740993""#),
            "{text}"
        );
        assert_eq!(Manifest::parse(&text).unwrap(), example());
    }

    #[test]
    fn b29_other_forms_are_refused() {
        let text = example().to_text().unwrap();
        for (from, to) in [
            (r#""records":"1""#, r#""records":1"#),
            (r#""records":"1""#, r#""records":"01""#),
            (r#""records":"1""#, r#""records":"-1""#),
            (r#""records":"1","#, ""),
            (r#""format":1"#, r#""format":2"#),
            (r#""previous_manifest_sha256":null,"#, ""),
            (r#""conserved":true"#, r#""conserved":true,"more":1"#),
            ("e3b0c442", "E3B0C442"),
        ] {
            assert_ne!(text.replace(from, to), text);
            assert!(Manifest::parse(&text.replace(from, to)).is_err(), "{to}");
        }
        for cut in 0..text.len().saturating_sub(1) {
            assert!(Manifest::parse(&text[..cut]).is_err(), "{cut}");
        }
    }
}

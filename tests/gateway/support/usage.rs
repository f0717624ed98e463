//! What usage files say, read with the csv and JSON libraries alone: a second opinion on the writer.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// One row: column → text.
pub type Row = BTreeMap<String, String>;

/// Everything in a pickup folder.
#[derive(Debug, Default)]
pub struct Usage {
    /// Rows of all files in the order of file names.
    pub rows: Vec<Row>,
    /// Whether every manifest says that its bytes are conserved.
    pub conserved: bool,
    /// Names of the files.
    pub files: Vec<String>,
}

/// Up and down.
pub type Bytes = (u64, u64);

impl Usage {
    /// Reads every CSV with a manifest.
    pub fn read(folder: &Path) -> Self {
        let mut usage = Self { conserved: true, ..Self::default() };
        let Ok(entries) = fs::read_dir(folder) else { return usage };
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "csv")) {
            let manifest = path.with_extension("manifest.json");
            let Ok(text) = fs::read_to_string(&manifest) else { continue };
            let manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
            usage.conserved &= manifest["conserved"] == true;
            usage.files.push(path.file_name().unwrap().to_str().unwrap().to_owned());
            usage.rows.extend(csv::Reader::from_path(path).unwrap().deserialize().map(|row| row.unwrap()));
        }
        usage
    }

    /// Sum of the usage rows that `fits`.
    pub fn sum(&self, fits: impl Fn(&Row) -> bool) -> Bytes {
        let rows = self.rows.iter().filter(|row| row["kind"] == "usage" && fits(row));
        rows.fold((0, 0), |(up, down), row| {
            (up + row["up_bytes"].parse::<u64>().unwrap(), down + row["down_bytes"].parse::<u64>().unwrap())
        })
    }

    /// Whether any usage row says that it may be too low.
    pub fn has_lower_bounds(&self) -> bool {
        self.rows
            .iter()
            .any(|row| row["kind"] == "usage" && row["flags"].split(';').any(|flag| flag == "lower_bound"))
    }

    /// All bytes of a subscriber.
    pub fn of(&self, subscriber: &str) -> Bytes {
        self.sum(|row| row["subscriber_id"] == subscriber)
    }

    /// Exempt bytes of a subscriber.
    pub fn exempt(&self, subscriber: &str) -> Bytes {
        self.sum(|row| row["subscriber_id"] == subscriber && row["class"] == "exempt")
    }

    /// Exempt bytes of a subscriber for a service.
    pub fn exempt_for(&self, subscriber: &str, service: &str) -> Bytes {
        self.sum(|row| {
            row["subscriber_id"] == subscriber && row["class"] == "exempt" && row["service_id"] == service
        })
    }

    /// Charged bytes of a subscriber for a reason.
    pub fn charged(&self, subscriber: &str, reason: &str) -> Bytes {
        self.sum(|row| {
            row["subscriber_id"] == subscriber && row["class"] == "charged" && row["reason"] == reason
        })
    }

    /// Unattributed bytes for a reason.
    pub fn unattributed(&self, reason: &str) -> Bytes {
        self.sum(|row| row["class"] == "unattributed" && row["reason"] == reason)
    }

    /// Everything.
    pub fn total(&self) -> Bytes {
        self.sum(|_| true)
    }

    /// The distinct reasons of a subscriber's charged rows.
    pub fn reasons(&self, subscriber: &str) -> Vec<String> {
        let mut reasons: Vec<_> = self
            .rows
            .iter()
            .filter(|row| row["subscriber_id"] == subscriber && row["class"] == "charged")
            .map(|row| row["reason"].clone())
            .collect();
        reasons.sort();
        reasons.dedup();
        reasons
    }
}

/// Every byte that passed, but for the end of a connection or two that the kernel said once more when their sockets were closed: where
/// an answer to it is late, its bare segment and the answer's (52 bytes, 72 of IPv6) are in nobody's count.
pub fn assert_every_byte(exported: Bytes, passed: Bytes) {
    for (exported, passed) in [(exported.0, passed.0), (exported.1, passed.1)] {
        let missing = passed.checked_sub(exported);
        let is_of_ends = |missing: u64| [0, 52, 72, 104, 124, 144].contains(&missing);
        assert!(missing.is_some_and(is_of_ends), "{exported} exported, {passed} passed");
    }
}

//! Collects the faults of one file, so that a file full of them does not bury the others.

use std::fmt;
use std::path::{Path, PathBuf};

use super::{Fault, Report};

/// Most faults listed of one file; the rest are counted.
const FAULTS_PER_FILE_MAX: usize = 20;

/// Collects the faults of one file, at most [`FAULTS_PER_FILE_MAX`] of them.
pub(super) struct Faults<'r> {
    /// The file.
    pub(super) file: PathBuf,
    /// Where they go.
    pub(super) report: &'r mut Report,
    /// How many there were.
    pub(super) count: usize,
}

impl Faults<'_> {
    /// Adds a fault.
    pub(super) fn add(&mut self, text: String) {
        let file = self.file.clone();
        self.add_at(&file, text);
    }

    /// Adds a fault whose place is in `file`, one of the pair.
    pub(super) fn add_at(&mut self, file: &Path, text: String) {
        self.count = self.count.saturating_add(1);
        if self.count <= FAULTS_PER_FILE_MAX {
            self.report.faults.push(Fault { file: file.to_owned(), text });
        }
    }

    /// Adds a fault unless the two are equal.
    pub(super) fn compare<T: PartialEq + fmt::Display>(
        &mut self,
        what: &str,
        found: T,
        wanted: T,
        where_wanted: &str,
    ) {
        if found != wanted {
            self.add(format!("{what}: found {found}, wanted {wanted}, as {where_wanted}"));
        }
    }

    /// Says how many were not listed.
    pub(super) fn finish(self) -> usize {
        let more = self.count.saturating_sub(FAULTS_PER_FILE_MAX);
        if more > 0 {
            let text = format!("and {more} more of this file");
            self.report.faults.push(Fault { file: self.file, text });
        }
        self.count
    }
}

//! What is said of files while they are collected: refusals, a moving line on a terminal, figures for the admin address.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, IsTerminal as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use billing_export::collect::admin::Board;
use billing_export::collect::{Refusal, Watch, Watermark};
use billing_export::name::{DATA_ENDING, MANIFEST_ENDING};
use indicatif::{ProgressBar, ProgressStyle};

/// Most refused files remembered, at about 300 bytes each; those beyond are read again at each whole look.
const REFUSED_MAX: usize = 10_000;

/// When data file and manifest last changed, in seconds and nanoseconds of the system's clock; none for one that is not there.
type Changed = [Option<(i64, i64)>; 2];

/// When a data file and its manifest last changed.
fn changed(file: &Path) -> Changed {
    let of = |path: &Path| fs::metadata(path).ok().map(|metadata| (metadata.ctime(), metadata.ctime_nsec()));
    let manifest = file.to_str().and_then(|file| file.strip_suffix(DATA_ENDING));
    let manifest = manifest.map(|stem| PathBuf::from(format!("{stem}{MANIFEST_ENDING}")));
    [of(file), manifest.as_deref().and_then(of)]
}

/// Says on standard error what becomes of files.
pub(super) struct Told {
    /// The figures, and whether to stop, where the collector follows.
    following: Option<(Arc<Board>, Arc<AtomicBool>)>,
    /// Whether refusals that the ledger has noted before are said again.
    pub(super) repeats: bool,
    /// The line on a terminal.
    bar: ProgressBar,
    /// Files that were refused for good while following, as they were then.
    refused: BTreeMap<PathBuf, Changed>,
    /// When the file at hand had last changed.
    looked_at: Changed,
    /// Files looked at.
    files: u64,
    /// Records taken.
    records: u64,
}

impl Told {
    /// Nothing said yet.
    pub(super) fn new(following: Option<(Arc<Board>, Arc<AtomicBool>)>, repeats: bool) -> Told {
        let bar = if following.is_none() && io::stderr().is_terminal() {
            let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}");
            ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
        } else {
            ProgressBar::hidden()
        };
        Told { following, repeats, bar, refused: BTreeMap::new(), looked_at: [None; 2], files: 0, records: 0 }
    }

    /// Clears the line.
    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }

    /// One file more.
    fn pass(&mut self, records: u64) {
        self.files = self.files.saturating_add(1);
        self.records = self.records.saturating_add(records);
        self.bar.set_message(format!("{} files, {} records taken", self.files, self.records));
        self.bar.tick();
    }
}

impl Watch for Told {
    fn taken(&mut self, _: &Path, records: u64, watermark: &Watermark) {
        self.pass(records);
        if let Some((board, _)) = &self.following {
            board.taken(records, watermark);
        }
    }

    fn known(&mut self, _: &Path) {
        self.pass(0);
    }

    fn refused(&mut self, file: &Path, refusal: &Refusal, is_new: bool) {
        self.pass(0);
        self.refused.remove(file);
        let room = self.following.is_some() && self.refused.len() < REFUSED_MAX;
        if room && !refusal.reason.may_pass() {
            self.refused.insert(file.to_owned(), self.looked_at);
        }
        if !is_new && !self.repeats {
            return;
        }
        self.bar.suspend(|| eprintln!("refused: {}: {refusal}", file.display()));
        if let Some((board, _)) = &self.following {
            board.refused(refusal.reason);
        }
    }

    fn stuck(&mut self, file: &Path, text: &str) {
        self.bar.suspend(|| eprintln!("billing-export: {}: {text}", file.display()));
    }

    fn passes_over(&mut self, file: &Path) -> bool {
        if self.following.is_none() {
            return false;
        }
        // Before it is read: what changes behind this is looked at again.
        self.looked_at = changed(file);
        self.refused.get(file).is_some_and(|before| *before == self.looked_at)
    }

    fn is_stopping(&self) -> bool {
        self.following.as_ref().is_some_and(|(_, stop)| stop.load(Ordering::Relaxed))
    }
}

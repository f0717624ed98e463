//! What is said of files while they are collected: refusals, a moving line on a terminal, figures for the admin address.

use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use billing_export::collect::admin::Board;
use billing_export::collect::{Refusal, Watch, Watermark};
use indicatif::{ProgressBar, ProgressStyle};

/// Says on standard error what becomes of files.
pub(super) struct Told {
    /// The figures, and whether to stop, where the collector follows.
    following: Option<(Arc<Board>, Arc<AtomicBool>)>,
    /// Whether refusals that the ledger has noted before are said again.
    pub(super) repeats: bool,
    /// The line on a terminal.
    bar: ProgressBar,
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
        Told { following, repeats, bar, files: 0, records: 0 }
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

    fn is_stopping(&self) -> bool {
        self.following.as_ref().is_some_and(|(_, stop)| stop.load(Ordering::Relaxed))
    }
}

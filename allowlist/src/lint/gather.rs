//! Gathers findings: all of them, or the errors alone and at most so many.
//!
//! A node asks for errors at every start and reload. Its memory does not grow with their number.

use super::{Code, Finding, Severity};
use crate::document::Place;

/// Gathers findings: all of them, or errors only and at most so many.
pub(super) struct Findings<'c> {
    /// What was found and is not accepted.
    pub(super) kept: Vec<Finding>,
    /// Errors of accepted codes.
    pub(super) accepted: Vec<Finding>,
    /// What is wanted of them.
    wanted: Wanted<'c>,
    /// Errors that were not kept for want of room.
    pub(super) kept_left_out: usize,
    /// Accepted errors that were not kept for want of room.
    pub(super) accepted_left_out: usize,
}

/// Which findings are gathered.
#[derive(Clone, Copy)]
enum Wanted<'c> {
    /// All.
    All,
    /// Errors, those of accepted codes apart; at most so many of each sort.
    Errors { accepted: &'c [Code], shown_max: usize },
}

impl<'c> Findings<'c> {
    /// Gathers all.
    pub(super) fn all() -> Findings<'c> {
        Findings::of(Wanted::All)
    }

    /// Gathers errors only.
    pub(super) fn errors_only(accepted: &'c [Code], shown_max: usize) -> Findings<'c> {
        Findings::of(Wanted::Errors { accepted, shown_max })
    }

    /// Nothing found yet.
    fn of(wanted: Wanted<'c>) -> Findings<'c> {
        Findings { kept: Vec::new(), accepted: Vec::new(), wanted, kept_left_out: 0, accepted_left_out: 0 }
    }

    /// Adds one finding; its words, reason and remedy, are made only when it is kept.
    pub(super) fn add<R: Into<String>>(
        &mut self,
        place: Place,
        code: Code,
        words: impl FnOnce() -> (String, R),
    ) {
        let (kept, left_out, max) = match self.wanted {
            Wanted::All => (&mut self.kept, &mut self.kept_left_out, usize::MAX),
            Wanted::Errors { .. } if code.severity() != Severity::Error => return,
            Wanted::Errors { accepted, shown_max } if accepted.contains(&code) => {
                (&mut self.accepted, &mut self.accepted_left_out, shown_max)
            }
            Wanted::Errors { shown_max, .. } => (&mut self.kept, &mut self.kept_left_out, shown_max),
        };
        if kept.len() < max {
            let (reason, remedy) = words();
            kept.push(Finding { place, code, reason, remedy: remedy.into() });
        } else {
            *left_out = left_out.saturating_add(1);
        }
    }
}

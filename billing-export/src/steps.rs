//! The named points of the export cycle, where crash tests kill the process or let an operation fail.

use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{ExportError, UnknownLabel};

/// Told of every named point as it is reached. Production passes [`NoFault`].
pub trait Steps: Send {
    /// Called at the point; an error is treated as if the operation at that point had failed with it.
    ///
    /// # Errors
    /// Whatever the test wants to inject.
    fn at(&mut self, step: Step) -> io::Result<()>;
}

/// The steps of one start, for whoever of its threads comes to a point.
#[derive(Clone)]
pub struct SharedSteps(Arc<Mutex<Box<dyn Steps>>>);

impl SharedSteps {
    /// These steps, shared.
    pub(crate) fn new(steps: Box<dyn Steps>) -> SharedSteps {
        SharedSteps(Arc::new(Mutex::new(steps)))
    }

    /// Reaches a point in work on `path`.
    pub(crate) fn reach(&self, step: Step, path: &Path) -> Result<(), ExportError> {
        self.clone().at(step).map_err(|source| ExportError::io(path, step.label(), source))
    }
}

impl Steps for SharedSteps {
    fn at(&mut self, step: Step) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).at(step)
    }
}

impl fmt::Debug for SharedSteps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedSteps").finish_non_exhaustive()
    }
}

/// Nothing is injected.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFault;

impl Steps for NoFault {
    fn at(&mut self, _step: Step) -> io::Result<()> {
        Ok(())
    }
}

/// The points in the order a byte passes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// All counters of a tick are written, nothing is committed.
    BeforeCheckpointCommit,
    /// The tick is committed, the caller does not know it yet.
    AfterCheckpointCommit,
    /// Half of the records of a seal are written, nothing is committed.
    MidSeal,
    /// The seal is committed, the caller does not know it yet.
    AfterSeal,
    /// Half of the data file's rows are written under its staging name.
    DuringPart,
    /// The data file is complete and synced under its staging name.
    AfterPartSync,
    /// The data file has its name, the directories are not synced.
    AfterDataRename,
    /// The data file is in place, the manifest is not begun.
    AfterData,
    /// Half of the manifest is written under its staging name.
    DuringManifestPart,
    /// The manifest has its name, the directories are not synced.
    AfterManifestRename,
    /// Both files are in place, the store does not know it.
    BeforePublishedMark,
    /// The store knows that the file is published.
    AfterPublishedMark,
}

impl Step {
    /// All points in order.
    pub const ALL: [Step; 12] = [
        Step::BeforeCheckpointCommit,
        Step::AfterCheckpointCommit,
        Step::MidSeal,
        Step::AfterSeal,
        Step::DuringPart,
        Step::AfterPartSync,
        Step::AfterDataRename,
        Step::AfterData,
        Step::DuringManifestPart,
        Step::AfterManifestRename,
        Step::BeforePublishedMark,
        Step::AfterPublishedMark,
    ];

    /// The point's name in test scripts.
    pub fn label(self) -> &'static str {
        match self {
            Step::BeforeCheckpointCommit => "before_checkpoint_commit",
            Step::AfterCheckpointCommit => "after_checkpoint_commit",
            Step::MidSeal => "mid_seal",
            Step::AfterSeal => "after_seal",
            Step::DuringPart => "during_part",
            Step::AfterPartSync => "after_part_sync",
            Step::AfterDataRename => "after_data_rename",
            Step::AfterData => "after_data",
            Step::DuringManifestPart => "during_manifest_part",
            Step::AfterManifestRename => "after_manifest_rename",
            Step::BeforePublishedMark => "before_published_mark",
            Step::AfterPublishedMark => "after_published_mark",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

impl FromStr for Step {
    type Err = UnknownLabel;

    fn from_str(text: &str) -> Result<Step, UnknownLabel> {
        Step::ALL
            .into_iter()
            .find(|step| step.label() == text)
            .ok_or_else(|| UnknownLabel::new("step", text, "a point of the export cycle, such as mid_seal"))
    }
}

//! What the export task is told, and what it answers.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use billing_export::ByteBasis;
use billing_export::tdf::Profile;

use crate::app::node::takeover::remainder::Remainder;
use crate::app::node::takeover::words::Delta;

/// What the export task is told once.
pub struct Plan {
    /// The node's name in records and files.
    pub node_id: String,
    /// Where the ledger is kept.
    pub state_dir: PathBuf,
    /// Where billing finds the files.
    pub pickup_dir: PathBuf,
    /// Where files are made, on the file system of `pickup_dir`.
    pub staging_dir: PathBuf,
    /// What is counted.
    pub byte_basis: ByteBasis,
    /// Length of a billing period.
    pub period: Duration,
    /// Counters open at once.
    pub accounts_max: usize,
    /// Rows of one file.
    pub file_records_max: u32,
    /// Length of a tick.
    pub checkpoint: Duration,
    /// The longest pause between two tries of a sink that fails.
    pub retry_max: Duration,
    /// How long one file may take at a sink before that is told.
    pub delivery_max: Duration,
    /// Where billing's ledger says how far it is; none: records stay in the state for ever.
    pub watermark_file: Option<PathBuf>,
    /// How long they stay at least.
    pub retention: Duration,
    /// Further ways out, beside the folder of usage files.
    pub sinks: Vec<SinkPlan>,
    /// Test switch: where to kill the process or fail, `step[:count][:error]`.
    pub fault: Option<String>,
}

/// One further way out.
#[derive(Clone, Debug)]
pub struct SinkPlan {
    /// Its id in the ledger and in metrics.
    pub id: String,
    /// When the ledger has not heard of it, it begins with the oldest file, not with the next.
    pub from_oldest: bool,
    /// Where its files are complete.
    pub dir: PathBuf,
    /// Where they are made, on the file system of `dir`.
    pub staging_dir: PathBuf,
    /// What they are.
    pub form: SinkForm,
}

/// What the files of a way out are.
#[derive(Clone, Debug)]
pub enum SinkForm {
    /// Usage files and manifests.
    Usage,
    /// Charging records, by this profile.
    Tdf(Box<Profile>),
}

/// What the export task is told.
pub enum Order {
    /// Take the last counts, seal, publish, end, all by this time.
    Stop(Instant),
    /// Save what is counted and close the ledger; the answer says whether it is.
    Release(Sender<Result<(), String>>),
    /// The ledger is ours again.
    Resume,
    /// Another process holds the ledger: what is counted goes there, by way of this place.
    HandOn(Arc<dyn MeetingPlace>),
    /// Add what a draining process counted; the answer comes when it is on the disk.
    Take(Box<Delta>, Sender<Fate>),
}

/// What became of a draining process's counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// They are on the disk.
    Saved,
    /// They are in no record and will not be.
    NotTaken,
}

/// What became of everything that was counted, at the end of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It is sealed and published.
    Sealed,
    /// It is in the ledger; the next start seals or publishes what is left.
    Kept,
    /// Another process has it.
    HandedOn,
    /// Some of it is in no record and will not be, or nobody knows: the ledger cannot be used.
    Lost,
}

/// Where the processes of this node meet, as far as the ledger goes from one to another there.
pub trait MeetingPlace: Send + Sync {
    /// Where the counts of this process go while another one holds the ledger.
    fn remainder(&self) -> Box<Remainder>;

    /// This process has the ledger again: others that drain find it here, and so does the next one that takes over.
    fn take_place(self: Arc<Self>);

    /// Whether another process listens where this one did.
    fn has_newcomer(&self) -> bool;

    /// The ledger goes to another process again.
    fn give_place(&self);
}

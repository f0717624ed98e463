//! Whether the state at a start is the one this node wrote last (decision 16). Pure.
//!
//! Each start draws a random id and writes it to the database as *pending*, to the witness file, and to the database
//! for good, in this order. A database that agrees with the witness, or whose pending start was cut short, goes on in
//! its epoch. Any other was created or restored: its records would repeat numbers that billing has seen, so a new epoch
//! begins above everything known, and a `gap` record says so.
//!
//! A copy taken and restored within one run of the process carries the same id as the witness; it shows because the
//! witness, and the names in the pickup directory, know later files.
//!
//! A copy of the whole disk brings the witness with it. Within one boot of the machine a second witness, in memory, is not
//! among what is copied. Over a boot nothing on the disk can tell an ordinary start of the machine from one after its disk
//! was put back: with another boot id a new epoch begins, and no record can have the name of another.

/// The random id of one start.
pub(crate) type StartId = [u8; 16];

/// The id in hex, as database and witness write it.
pub(crate) fn hex(id: &StartId) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// In the place of a start's id: rows of the ledger were changed by another hand, and its numbers cannot go on.
pub(crate) const CHANGED: &str = "changed";

/// Why an epoch begins where the ledger is dated into a future that was none.
pub(crate) const CLOCK_WAS_WRONG: &str =
    "the ledger's times are more than a day ahead of the clock: it was wrong";

/// What the database says about its writer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Id of the last start that was completed, in hex; none before the first.
    pub(crate) start_id: Option<String>,
    /// Id of a start that was begun, and what the witness said at that time.
    pub(crate) pending: Option<(String, String)>,
    /// Epoch of its records.
    pub(crate) epoch: u32,
    /// Highest sealed file; 0 for none.
    pub(crate) file_seq: u64,
    /// Boot id of the machine at the last start; none where it was not known.
    pub(crate) boot_id: Option<String>,
}

/// The witness file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Witness {
    /// There is none.
    Absent,
    /// There is one that cannot be read.
    Unreadable,
    /// What it says.
    Says {
        /// Id of the last start, in hex.
        start_id: String,
        /// The epoch then.
        epoch: u32,
        /// Highest file whose publication was begun; 0 for none.
        file_seq: u64,
    },
}

impl Witness {
    /// A short text that tells this witness from an earlier one, kept beside a pending start.
    pub(crate) fn summary(&self) -> String {
        match self {
            Witness::Absent => "absent".into(),
            Witness::Unreadable => "unreadable".into(),
            Witness::Says { start_id, .. } => start_id.clone(),
        }
    }

    /// The epoch and the highest file that it knows.
    fn known(&self) -> (u32, u64) {
        match self {
            Witness::Absent | Witness::Unreadable => (0, 0),
            Witness::Says { epoch, file_seq, .. } => (*epoch, *file_seq),
        }
    }
}

/// What vouches for a ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Witnesses {
    /// The one on the disk, outside the state.
    pub(crate) disk: Witness,
    /// The one in the machine's memory: written in this boot, or absent. It may always be absent.
    pub(crate) memory: Witness,
}

/// Stands between the summaries of both witnesses.
const BETWEEN: char = '/';

impl Witnesses {
    /// A short text that tells these witnesses from earlier ones, kept beside a pending start.
    pub(crate) fn summary(&self) -> String {
        format!("{}{BETWEEN}{}", self.disk.summary(), self.memory.summary())
    }

    /// The highest epoch and file that they know.
    pub(crate) fn highest(&self) -> (u32, u64) {
        let (epoch, file_seq) = self.disk.known();
        let (memory_epoch, memory_file) = self.memory.known();
        (epoch.max(memory_epoch), file_seq.max(memory_file))
    }
}

/// Highest epoch and file number among the names in the pickup directory; zeros for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Names {
    /// Highest epoch.
    pub(crate) epoch: u32,
    /// Highest file number.
    pub(crate) file_seq: u64,
}

/// How a start goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Course {
    /// The first start of this node: epoch 1, file 1, no gap.
    First,
    /// The same state as before.
    Same,
    /// The state was created or restored.
    New {
        /// Above every epoch known.
        epoch: u32,
        /// Highest file number known.
        file_seq: u64,
        /// What gave it away.
        why: &'static str,
        /// What becomes of the counters that are open in it.
        open: Open,
    },
}

/// What becomes of the open counters of a state whose epoch ends at a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Open {
    /// Nothing shows a file beyond the ledger, so nobody has been told of them: they are sealed in their own epoch. Were
    /// the ledger an old copy all the same, their records would repeat names that billing has seen, and be refused there.
    Seal,
    /// Files beyond the ledger are known: the counters may have been exported, so they come into no record.
    SetAside,
}

/// Epochs are at most this, for the file name and mediation systems take 32 bits.
const EPOCH_MAX: u32 = u32::MAX;

/// Compares database, witnesses, names and the machine's boot. `None` if no epoch is left.
pub(crate) fn course(
    mark: Option<&Mark>,
    witnesses: &Witnesses,
    names: Names,
    boot_id: Option<&str>,
) -> Option<Course> {
    let nobody =
        witnesses.highest() == (0, 0) && witnesses.disk == Witness::Absent && names == Names::default();
    let (mark_epoch, mark_file) = mark.map_or((0, 0), |mark| (mark.epoch, mark.file_seq));
    let why = match mark {
        None if nobody => return Some(Course::First),
        None => Some("the ledger is gone, its witness or its files are there"),
        Some(mark) => doubt(mark, witnesses, names).or_else(|| rebooted(mark, boot_id)),
    };
    let Some(why) = why else { return Some(Course::Same) };
    let (witness_epoch, witness_file) = witnesses.highest();
    let highest = mark_epoch.max(witness_epoch).max(names.epoch);
    let epoch = highest.checked_add(1).filter(|_| highest < EPOCH_MAX)?;
    let file_seq = mark_file.max(witness_file).max(names.file_seq);
    let open = if file_seq > mark_file || highest > mark_epoch { Open::SetAside } else { Open::Seal };
    Some(Course::New { epoch, file_seq, why, open })
}

/// What speaks against the database being the one written last.
fn doubt(mark: &Mark, witnesses: &Witnesses, names: Names) -> Option<&'static str> {
    if names.file_seq > mark.file_seq || names.epoch > mark.epoch {
        return Some("the pickup directory holds files the ledger does not know");
    }
    if mark.start_id.as_deref() == Some(CHANGED) {
        return Some("rows of the ledger were changed by another hand");
    }
    let then = mark.pending.as_ref().map(|(_, then)| then.split_once(BETWEEN).unwrap_or((then, "")));
    let (disk_then, memory_then) = then.unzip();
    match &witnesses.memory {
        Witness::Says { epoch, file_seq, .. } if *file_seq > mark.file_seq || *epoch > mark.epoch => {
            return Some("the witness in memory knows files the ledger does not know: both were put back");
        }
        Witness::Says { start_id, .. } if !is_of(mark, start_id, memory_then) => {
            return Some("ledger and witness in memory were written by different starts: both were put back");
        }
        // Memory forgets by itself.
        Witness::Says { .. } | Witness::Absent | Witness::Unreadable => {}
    }
    let interrupted = disk_then.is_some_and(|then| *then == witnesses.disk.summary());
    match &witnesses.disk {
        Witness::Says { file_seq, epoch, .. } if *file_seq > mark.file_seq || *epoch > mark.epoch => {
            Some("the witness knows files the ledger does not know")
        }
        Witness::Says { start_id, .. } => (!is_of(mark, start_id, disk_then))
            .then_some("ledger and witness were written by different starts"),
        Witness::Absent | Witness::Unreadable if interrupted => None,
        Witness::Absent => Some("the witness is gone"),
        Witness::Unreadable => Some("the witness cannot be read"),
    }
}

/// Whether a witness's start is the last one of the ledger, one that was begun, or what was there when that was begun.
fn is_of(mark: &Mark, start_id: &str, then: Option<&str>) -> bool {
    mark.start_id.as_deref() == Some(start_id)
        || mark.pending.as_ref().is_some_and(|(pending, _)| pending == start_id)
        || then == Some(start_id)
}

/// Whether the machine was started since; a boot that is not known is none.
fn rebooted(mark: &Mark, boot_id: Option<&str>) -> Option<&'static str> {
    let other = mark.boot_id.as_deref().zip(boot_id).is_some_and(|(then, now)| then != now);
    other.then_some(
        "the machine was started anew, and nothing on its disk can say that the disk was not put back",
    )
}

#[cfg(test)]
mod tests;

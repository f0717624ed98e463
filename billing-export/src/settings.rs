//! What an exporter is told once, when it is opened.

use std::path::PathBuf;

use crate::codec::Format;
use crate::period::Period;
use crate::unit::{ByteBasis, NodeId};

/// Most counters open at once, by default. One open counter costs about 400 bytes with its key.
pub const ACCOUNTS_MAX_DEFAULT: usize = 1_000_000;
/// Most rows in one usage file, by default.
pub const FILE_RECORDS_MAX_DEFAULT: u32 = 1_000_000;

/// What an exporter is told once, when it is opened.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The gateway's name; a state directory belongs to one node for ever.
    pub node_id: NodeId,
    /// Where the ledger is kept. One process at a time.
    pub state_dir: PathBuf,
    /// Where billing finds the files.
    pub pickup_dir: PathBuf,
    /// Where files are written before they are complete, and where the witness stands. On the file system of
    /// `pickup_dir`, and not in `state_dir`: the witness must not travel with a copy of the state.
    pub staging_dir: PathBuf,
    /// Where the second witness stands, in memory (`/run`): it is not among what a copy of the disk brings back. None where
    /// there is no such place; then a copy of state and staging together is told within one boot by nobody but the receiver.
    pub memory_dir: Option<PathBuf>,
    /// The machine's boot; none where it is not known.
    pub boot_id: Option<String>,
    /// Length of a billing period.
    pub period: Period,
    /// What the byte counts count.
    pub byte_basis: ByteBasis,
    /// What files are sealed in from here on; what is sealed keeps its own.
    pub format: Format,
    /// Most rows in one usage file, at least 1. A seal with more makes several files.
    pub file_records_max: u32,
    /// Most counters open at once (configuration key `export.accounts_max`). At about 400 bytes each this bounds the
    /// ledger's memory; a tick that needs more is refused whole.
    pub accounts_max: usize,
}

impl Settings {
    /// Settings with the default period and limits.
    pub fn new(
        node_id: NodeId,
        state_dir: PathBuf,
        pickup_dir: PathBuf,
        staging_dir: PathBuf,
        byte_basis: ByteBasis,
    ) -> Settings {
        Settings {
            node_id,
            state_dir,
            pickup_dir,
            staging_dir,
            memory_dir: None,
            boot_id: None,
            period: Period::default(),
            byte_basis,
            format: Format::NEWEST,
            file_records_max: FILE_RECORDS_MAX_DEFAULT,
            accounts_max: ACCOUNTS_MAX_DEFAULT,
        }
    }
}

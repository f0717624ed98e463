//! What can be wrong with a profile, a record that is to be written, or a file that is read. Pure.

use std::fmt;
use std::io;

/// A value that no file can carry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: found {found}, wanted {wanted}")]
pub struct ProfileError {
    /// The configuration key.
    pub key: &'static str,
    /// What stands there.
    pub found: String,
    /// What would be right.
    pub wanted: &'static str,
}

/// A record that cannot be written by a profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The node id of the files is too long in this epoch.
    #[error(
        "epoch {epoch}: found node id {node_id:?} of {} octets, wanted at most {max} (TS 32.298, NodeID): shorten \
         node_name of the sink",
        node_id.len()
    )]
    NodeId {
        /// Of the record.
        epoch: u32,
        /// Name and epoch.
        node_id: String,
        /// The most octets.
        max: usize,
    },
    /// It says nothing of why it was closed.
    #[error("record {seq} of epoch {epoch}: found no cause, wanted one in a row of usage")]
    NoCause {
        /// Of the record.
        epoch: u32,
        /// Of the record.
        seq: u64,
    },
    /// It is longer than its header can say.
    #[error("record {seq} of epoch {epoch}: found {length} octets, wanted at most 65535 (TS 32.297 §6.1.2)")]
    Length {
        /// Of the record.
        epoch: u32,
        /// Of the record.
        seq: u64,
        /// Its octets.
        length: usize,
    },
    /// The encoder refused it.
    #[error(
        "record {seq} of epoch {epoch}: found a value that BER cannot hold ({why}), wanted one that it can"
    )]
    Ber {
        /// Of the record.
        epoch: u32,
        /// Of the record.
        seq: u64,
        /// The encoder's words.
        why: String,
    },
}

/// Why a file cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system's word.
    #[error("reading a file: {0}")]
    Io(#[from] io::Error),
    /// What stands at a place is not what the formats say.
    #[error("offset {offset}: {what}: found {found}, wanted {wanted}")]
    Format {
        /// Octets before it in the file.
        offset: u64,
        /// Which part.
        what: &'static str,
        /// What stands there.
        found: String,
        /// What would be right.
        wanted: String,
    },
}

impl ReadError {
    /// The error for a part at an offset.
    pub(super) fn at(
        offset: u64,
        what: &'static str,
        found: impl fmt::Display,
        wanted: impl fmt::Display,
    ) -> ReadError {
        ReadError::Format { offset, what, found: found.to_string(), wanted: wanted.to_string() }
    }
}

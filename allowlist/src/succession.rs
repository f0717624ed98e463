//! Whether one edition of a list may take the place of another.
//!
//! A list cut off at a table boundary is still a well-formed list, only a smaller one, and a lost `[[deny]]` would exempt
//! more. Since a serial number belongs to one content only, an edition with the serial of the list in force and other
//! content is refused: a cut-off copy never replaces the whole one.
//!
//! Editions form a chain: each states the SHA-256 of the one before. A stated hash that is false proves that the two do not
//! belong to one chain; one that is absent proves nothing, and is for the linter to tell.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::document::Document;

/// Why an edition may not take the place of the one in force.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SuccessionError {
    /// Another list.
    #[error(
        "found list_id \"{found}\", wanted \"{wanted}\": a node follows one list; configure the other list's file to change it"
    )]
    OtherList {
        /// The list offered.
        found: String,
        /// The list in force.
        wanted: String,
    },
    /// An older edition.
    #[error("found serial {found}, wanted at least {wanted}: this edition is older than the one in force")]
    Older {
        /// Serial offered.
        found: u64,
        /// Serial in force.
        wanted: u64,
    },
    /// The serial in force, with other content: cut off in transfer, or changed without a new serial.
    #[error(
        "found other content under serial {serial}, wanted the content in force: the file is cut off, or was changed without raising the serial"
    )]
    SameSerialOtherContent {
        /// The serial.
        serial: u64,
    },
    /// The edition that follows the accepted one says that it follows another.
    #[error(
        "found previous_sha256 {found}, wanted {wanted}, which is the edition accepted before (serial {serial}): one of the two is not of this list's chain"
    )]
    PreviousHash {
        /// The hash stated.
        found: String,
        /// The hash of the edition accepted before.
        wanted: String,
        /// Its serial.
        serial: u64,
    },
}

/// SHA-256 as `previous_sha256` states it: 64 lower-case hexadecimal digits.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        // A String accepts every write.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// An edition that was accepted: what the next one is measured by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edition {
    /// Name of the list.
    pub list_id: String,
    /// Serial number.
    pub serial: u64,
    /// SHA-256 of its exact bytes, as [`sha256`] writes it.
    pub sha256: String,
}

/// What is known of the chain between an accepted edition and one that may follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chain {
    /// The serial of the accepted one: the contents have to be compared.
    SameSerial,
    /// The hash stated is that of the accepted edition.
    Proven,
    /// No hash is stated.
    NotStated,
    /// Editions lie between the two that were never seen: the hash stated can be that of the last of them.
    NotKnown,
}

impl Edition {
    /// Whether `next` may follow this edition, the newest accepted. `in_force` is the hash of the edition in force where that
    /// is an older one: an edition that takes the place of one still to come may name either.
    ///
    /// # Errors
    /// What speaks against it.
    pub fn may_be_followed_by(
        &self,
        next: &Document,
        in_force: Option<&str>,
    ) -> Result<Chain, SuccessionError> {
        if next.list_id != self.list_id {
            let (found, wanted) = (next.list_id.clone(), self.list_id.clone());
            return Err(SuccessionError::OtherList { found, wanted });
        }
        if next.serial < self.serial {
            return Err(SuccessionError::Older { found: next.serial, wanted: self.serial });
        }
        if next.serial == self.serial {
            return Ok(Chain::SameSerial);
        }
        let Some(found) = next.previous_sha256() else { return Ok(Chain::NotStated) };
        if found == self.sha256 || in_force == Some(found) {
            return Ok(Chain::Proven);
        }
        if self.serial.checked_add(1) != Some(next.serial) {
            return Ok(Chain::NotKnown);
        }
        let (found, wanted) = (found.to_owned(), self.sha256.clone());
        Err(SuccessionError::PreviousHash { found, wanted, serial: self.serial })
    }
}

impl Document {
    /// Whether this edition may take the place of `in_force`: same list, serial not lower, same serial only with the same
    /// content.
    ///
    /// # Errors
    /// What speaks against it.
    pub fn may_follow(&self, in_force: &Document) -> Result<(), SuccessionError> {
        if self.list_id != in_force.list_id {
            return Err(SuccessionError::OtherList {
                found: self.list_id.clone(),
                wanted: in_force.list_id.clone(),
            });
        }
        if self.serial < in_force.serial {
            return Err(SuccessionError::Older { found: self.serial, wanted: in_force.serial });
        }
        if self.serial == in_force.serial && self != in_force {
            return Err(SuccessionError::SameSerialOtherContent { serial: self.serial });
        }
        Ok(())
    }
}

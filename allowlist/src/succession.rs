//! Whether one edition of a list may take the place of another.
//!
//! A list cut off at a table boundary is still a well-formed list, only a smaller one, and a lost `[[deny]]` would exempt
//! more. Since a serial number belongs to one content only, an edition with the serial of the list in force and other
//! content is refused: a cut-off copy never replaces the whole one.

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

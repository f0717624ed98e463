//! The folder that a command works in: a temporary one, or a given one that is empty or new.

use std::path::{Path, PathBuf};
use std::{fs, io};

use tempfile::TempDir;

use crate::app::{EXIT_IO, EXIT_USAGE};

/// Why there is no folder to work in.
#[derive(Debug, thiserror::Error)]
pub(in crate::app) enum FolderError {
    /// The folder has something in it.
    #[error("{}: found {found:?} in it, wanted an empty or new folder: choose another one, or remove it", .folder.display())]
    NotEmpty {
        /// The folder.
        folder: PathBuf,
        /// One thing in it.
        found: String,
    },
    /// The system refused the given one.
    #[error("{} cannot be used, choose a folder that can be written: {source}", .folder.display())]
    Given {
        /// The folder.
        folder: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The system refused a temporary one.
    #[error("make a temporary folder: {0}")]
    Temporary(io::Error),
}

impl FolderError {
    /// The process's exit code.
    pub(in crate::app) const fn exit_code(&self) -> u8 {
        match self {
            Self::NotEmpty { .. } => EXIT_USAGE,
            Self::Given { .. } | Self::Temporary(_) => EXIT_IO,
        }
    }
}

/// The folder of the run.
pub(in crate::app) enum Folder {
    /// Removed at the end.
    Temporary(TempDir),
    /// Given, and kept.
    Kept(PathBuf),
}

impl Folder {
    /// A temporary folder whose name begins with `prefix`, or the given one if it is empty or new.
    ///
    /// # Errors
    /// It has something in it, or the system refuses.
    pub(in crate::app) fn prepare(wanted: Option<&Path>, prefix: &str) -> Result<Self, FolderError> {
        let Some(folder) = wanted else {
            let made = tempfile::Builder::new().prefix(prefix).tempdir();
            return made.map(Self::Temporary).map_err(FolderError::Temporary);
        };
        let refused = |source| FolderError::Given { folder: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(refused)?;
        match fs::read_dir(folder).map_err(refused)?.next() {
            None => Ok(Self::Kept(folder.to_owned())),
            Some(entry) => {
                let found = entry.map_err(refused)?.file_name().to_string_lossy().into_owned();
                Err(FolderError::NotEmpty { folder: folder.to_owned(), found })
            }
        }
    }

    /// The same folder, which stays.
    pub(in crate::app) fn keep(self) -> Self {
        match self {
            Self::Temporary(folder) => Self::Kept(folder.keep()),
            Self::Kept(folder) => Self::Kept(folder),
        }
    }

    /// Where it is.
    pub(in crate::app) fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(folder) => folder,
        }
    }

    /// Where it is, if it stays.
    pub(in crate::app) fn kept(&self) -> Option<&Path> {
        match self {
            Self::Temporary(_) => None,
            Self::Kept(folder) => Some(folder),
        }
    }
}

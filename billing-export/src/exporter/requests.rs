//! Corrections that are asked for while another process has the ledger: files in the state directory.
//!
//! Whoever asks writes `adjust-ID.request` under another name and renames it. Whoever has the ledger renames it to
//! `adjust-ID.taken`, seals the correction with its id, which is made once however often it is taken, and removes the file; or
//! it says why not in `adjust-ID.refused`, which whoever asked reads and removes. A request that is still `.request` can be
//! withdrawn: from there on it cannot be taken.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::correction::{Amount, Correction, NOTE_LEN_MAX, Refusal};
use crate::error::ExportError;
use crate::record::{Change, Reference};
use crate::sink::file::{PART_ENDING, remove_if_there, sync_directory, write_part};

/// Begin of the names.
const BEGIN: &str = "adjust-";
/// Endings of the names.
const REQUEST: &str = ".request";
const TAKEN: &str = ".taken";
const REFUSED: &str = ".refused";
/// A note may name people: the owner writes, the group reads.
const REQUEST_MODE: u32 = 0o640;
/// Characters of an id: 16 random bytes in hex.
pub(super) const ID_LEN: usize = 32;
/// Longest request read: a note whose every byte is escaped, and the rest.
const REQUEST_LEN_MAX: u64 = 6 * NOTE_LEN_MAX as u64 + 1_000;
/// Longest answer read.
const REFUSED_LEN_MAX: u64 = 4_096;
/// How old a request may be: whoever asks waits for ten seconds.
const AGE_MAX_MS: u64 = 15_000;
/// Most requests seen at one look; the others wait for the next.
const AT_ONCE: usize = 100;

/// A request as it is written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: u32,
    /// When it was asked, in Unix milliseconds.
    asked_ms: i64,
    ref_epoch: u32,
    ref_seq: u64,
    /// Signed bytes, or nothing where the record is void.
    change: Option<(String, String)>,
    note: String,
}

/// The version of the form.
const FORMAT: u32 = 1;

impl Written {
    fn of(correction: &Correction, now: Timestamp) -> Written {
        let Reference { epoch, seq } = correction.reference();
        let change = match correction.amount() {
            Amount::Void => None,
            Amount::By(up, down) => Some((up.bytes().to_string(), down.bytes().to_string())),
        };
        Written {
            format: FORMAT,
            asked_ms: now.as_millisecond(),
            ref_epoch: epoch,
            ref_seq: seq,
            change,
            note: correction.note().to_owned(),
        }
    }

    fn correction(self, now: Timestamp) -> Result<Correction, Refusal> {
        let age = now.as_millisecond().saturating_sub(self.asked_ms).unsigned_abs();
        if age > AGE_MAX_MS {
            // Whoever asked has gone, and may have asked again: nothing is made twice.
            return Err(Refusal::Unreadable(format!(
                "found a request of {age} ms, wanted one of at most {AGE_MAX_MS}: nothing was written, ask again"
            )));
        }
        if self.format != FORMAT {
            return Err(Refusal::Unreadable(format!("format: found {}, wanted {FORMAT}", self.format)));
        }
        let bytes = |text: String| {
            let change = text.parse().ok().and_then(Change::new);
            change.ok_or_else(|| {
                Refusal::Unreadable(format!("change: found {text:?}, wanted bytes with a sign"))
            })
        };
        let amount = match self.change {
            None => Amount::Void,
            Some((up, down)) => Amount::By(bytes(up)?, bytes(down)?),
        };
        Correction::new(Reference { epoch: self.ref_epoch, seq: self.ref_seq }, amount, &self.note)
    }
}

/// The file of a request in a state directory.
fn file(state_dir: &Path, id: &str, ending: &str) -> PathBuf {
    state_dir.join(format!("{BEGIN}{id}{ending}"))
}

/// Asks for a correction.
pub(super) fn place(
    state_dir: &Path,
    id: &str,
    correction: &Correction,
    now: Timestamp,
) -> Result<(), ExportError> {
    let path = file(state_dir, id, REQUEST);
    let part = file(state_dir, id, PART_ENDING);
    let text = serde_json::to_string(&Written::of(correction, now))
        .map_err(|error| ExportError::io(&part, "writing a request", error.into()))?;
    let written = write_for_owner(state_dir, &part, &text).and_then(|()| fs::rename(&part, &path));
    if let Err(source) = written {
        remove_if_there(&part)?;
        return Err(ExportError::io(&path, "writing a request", source));
    }
    sync_directory(state_dir)
}

/// Writes a file that was not there, through no link, and gives it to whom the directory belongs, where that is somebody else: the
/// gateway is to read and remove it.
fn write_for_owner(state_dir: &Path, path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(REQUEST_MODE).open(path)?;
    let (owner, own) = (fs::metadata(state_dir)?, file.metadata()?);
    if (owner.uid(), owner.gid()) != (own.uid(), own.gid()) {
        fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Ids of the requests that wait, and of those that were taken before an interruption; at most so many as are seen at once.
pub(super) fn waiting(state_dir: &Path) -> Result<Vec<String>, ExportError> {
    let failed = |source| ExportError::io(state_dir, "looking for requests", source);
    let mut ids = Vec::new();
    for entry in fs::read_dir(state_dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let id = name.to_str().and_then(|name| name.strip_prefix(BEGIN));
        let id = id.and_then(|rest| rest.strip_suffix(REQUEST).or_else(|| rest.strip_suffix(TAKEN)));
        let is_id = |id: &&str| id.len() == ID_LEN && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        ids.extend(id.filter(is_id).map(str::to_owned));
    }
    ids.sort_unstable();
    ids.dedup();
    ids.truncate(AT_ONCE);
    Ok(ids)
}

/// Takes a request: none where it was withdrawn meanwhile.
pub(super) fn take(
    state_dir: &Path,
    id: &str,
    now: Timestamp,
) -> Result<Option<Result<Correction, Refusal>>, ExportError> {
    let (request, taken) = (file(state_dir, id, REQUEST), file(state_dir, id, TAKEN));
    match fs::rename(&request, &taken) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(ExportError::io(&request, "taking a request", error));
        }
        Ok(()) | Err(_) => {}
    }
    let Some(text) = read(&taken, REQUEST_LEN_MAX)? else { return Ok(None) };
    let written = serde_json::from_str::<Written>(&text)
        .map_err(|error| Refusal::Unreadable(format!("{}: {error}", request.display())));
    Ok(Some(written.and_then(|written| written.correction(now))))
}

/// Removes a request that is done with; a refusal is said first.
pub(super) fn done(state_dir: &Path, id: &str, refusal: Option<&Refusal>) -> Result<(), ExportError> {
    if let Some(refusal) = refusal {
        let (path, part) = (file(state_dir, id, REFUSED), file(state_dir, id, PART_ENDING));
        write_part(&part, |writer| {
            writer
                .write_all(refusal.to_string().as_bytes())
                .map_err(|source| ExportError::io(&part, "writing a refusal", source))
        })?;
        fs::rename(&part, &path)
            .map_err(|source| ExportError::io(&path, "renaming a complete file into place", source))?;
    }
    remove_if_there(&file(state_dir, id, TAKEN))?;
    sync_directory(state_dir)
}

/// Why a request was refused; none where it was not, or not yet. It is not said again.
pub(super) fn refused(state_dir: &Path, id: &str) -> Result<Option<String>, ExportError> {
    let path = file(state_dir, id, REFUSED);
    let text = read(&path, REFUSED_LEN_MAX)?;
    if text.is_some() {
        remove_if_there(&path)?;
    }
    Ok(text)
}

/// Withdraws a request; false where it is not there any more, because it was taken.
pub(super) fn withdraw(state_dir: &Path, id: &str) -> Result<bool, ExportError> {
    let request = file(state_dir, id, REQUEST);
    match fs::remove_file(&request) {
        // What was said to be withdrawn does not come back with a power cut.
        Ok(()) => sync_directory(state_dir).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(ExportError::io(&request, "withdrawing a request", error)),
    }
}

/// The text of a small file; none where there is no such file. One that is too long or no text reads as far as it is text.
fn read(path: &Path, len_max: u64) -> Result<Option<String>, ExportError> {
    let mut bytes = Vec::new();
    let outcome = fs::File::open(path).and_then(|file| file.take(len_max).read_to_end(&mut bytes));
    match outcome {
        Ok(_) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ExportError::io(path, "reading a file", error)),
    }
}

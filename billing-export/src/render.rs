//! A sealed file written again from the ledger, byte for byte as it was published.

use std::path::{Path, PathBuf};

use crate::error::ExportError;
use crate::manifest::Hash;
use crate::sink::SealedFile;
use crate::sink::file::{PART_ENDING, create_directory, place, sync_directory, write_part};
use crate::store::{STORE_NAME, Store};

/// Writes data file and manifest of `file_seq` into `out`; returns their paths.
///
/// `state` is the ledger, or the state directory it stands in; it is only read, and may be in use. Names that exist in
/// `out` with the same content are left as they are.
///
/// # Errors
/// No such ledger or file, records that are not what was sealed, a name in `out` with another content, the system's.
pub fn render(state: &Path, file_seq: u64, out: &Path) -> Result<[PathBuf; 2], ExportError> {
    let ledger = if state.is_dir() { state.join(STORE_NAME) } else { state.to_owned() };
    let store = Store::open_to_read(&ledger)?;
    let row = store.file(file_seq)?;
    if let Some(at) = store.released_at(file_seq)? {
        return Err(ExportError::NoSuchFile {
            path: ledger,
            file_seq,
            wanted: format!(
                "one whose records are here: those of this file have left the state at {at}, billing's ledger has them"
            ),
        });
    }
    let file = SealedFile::new(&store, &row);
    let manifest_text = file.manifest_text()?;
    create_directory(out)?;
    let data = out.join(file.name().data());
    let part = out.join(file.name().data() + PART_ENDING);
    let hash = write_part(&part, |writer| file.render(&part, writer, &mut |_| Ok(())))?;
    file.check_hash(hash)?;
    place(&part, &data, hash)?;
    let manifest = out.join(file.name().manifest());
    let part = out.join(file.name().manifest() + PART_ENDING);
    let hash = write_part(&part, |writer| {
        writer
            .write_all(manifest_text.as_bytes())
            .map_err(|source| ExportError::io(&part, "writing a manifest", source))
    })?;
    debug_assert_eq!(hash, Hash::of(manifest_text.as_bytes()));
    place(&part, &manifest, hash)?;
    sync_directory(out)?;
    Ok([data, manifest])
}

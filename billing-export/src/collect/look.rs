//! Looks through one folder: each file is judged, taken or refused, told, and settled.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

use super::check::{judge_length, judge_manifest};
use super::config::{Done, Source};
use super::ledger::{Candidate, Fault, Ledger, Loaded, Waiting};
use super::refusal::{Reason, Refusal};
use super::sweep::Found;
use super::{CollectError, Summary, Watch, done, sweep, watermark};
use crate::error::ExportError;
use crate::manifest::{Hash, Manifest};
use crate::name::{DATA_ENDING, FileName, MANIFEST_ENDING};
use crate::pickup::read_manifest;
use crate::sink::file::hash_file;

/// One folder being looked through.
pub(super) struct Sweep<'s> {
    /// The folder.
    pub(super) source: &'s Source,
    /// The folder as the table `refusal` names it.
    pub(super) dir: String,
    /// Whether the data of known files is hashed again.
    pub(super) thorough: bool,
    /// Where watermarks are written.
    pub(super) watermark_dir: Option<&'s Path>,
    /// Who is told.
    pub(super) watch: &'s mut dyn Watch,
}

impl Sweep<'_> {
    /// Looks through the folder, a bounded number of names at a time.
    pub(super) fn run(&mut self, ledger: &mut Ledger, since: Option<i64>) -> Result<Summary, CollectError> {
        let dir = &self.source.dir;
        let reading = |error: io::Error| {
            CollectError::Away(format!("{}: reading the names in the source: {error}", dir.display()))
        };
        if let Done::Move(folder) = &self.source.done {
            fs::create_dir_all(folder).map_err(|error| {
                CollectError::Away(format!("{}: creating the folder: {error}", folder.display()))
            })?;
        }
        let mut summary = Summary::default();
        let mut after = None;
        loop {
            let batch = sweep::next(dir, after.as_ref(), since).map_err(reading)?;
            summary.incomplete = summary.incomplete.saturating_add(batch.incomplete);
            let asked: Vec<_> = batch
                .found
                .iter()
                .filter_map(|found| found.name.as_ref())
                .map(|name| (name.node_id().to_string(), name.file_seq()))
                .collect();
            let known = if asked.is_empty() { HashMap::new() } else { ledger.known(&asked)? };
            for found in &batch.found {
                if self.watch.is_stopping() {
                    return Ok(summary);
                }
                let one = self.look_at(ledger, found, &known)?;
                summary = summary.and(one);
            }
            match batch.after {
                Some(place) => after = Some(place),
                None => return Ok(summary),
            }
        }
    }

    /// Looks at one file, and tells what became of it.
    fn look_at(
        &mut self,
        ledger: &mut Ledger,
        found: &Found,
        known: &HashMap<(String, u64), String>,
    ) -> Result<Summary, CollectError> {
        let names = [format!("{}{DATA_ENDING}", found.stem), format!("{}{MANIFEST_ENDING}", found.stem)];
        let [data, manifest] = names.each_ref().map(|name| self.source.dir.join(name));
        let [data_name, manifest_name] = &names;
        let nothing = Summary::default();
        if self.watch.passes_over(&data) {
            return Ok(nothing);
        }
        let mut summary = match self.judge(ledger, found, &data, &manifest, known) {
            Ok(Loaded::Taken { records, watermark, waiting }) => {
                if let Some(dir) = self.watermark_dir {
                    watermark::write(dir, &watermark)?;
                }
                let refused = u64::try_from(waiting.len()).unwrap_or(u64::MAX);
                for Waiting { source, name, refusal } in waiting {
                    let is_new = ledger.note_refusal(&source, &name, &refusal)?;
                    self.watch.refused(&Path::new(&source).join(&name), &refusal, is_new);
                }
                self.watch.taken(&data, records, &watermark);
                Summary { taken: 1, records, refused, ..nothing }
            }
            Ok(Loaded::Known) => {
                self.watch.known(&data);
                Summary { known: 1, ..nothing }
            }
            Err(_) if !manifest.exists() => return Ok(nothing),
            Err(Fault::Refused(refusal)) => {
                let is_new = ledger.note_refusal(&self.dir, data_name, &refusal)?;
                self.watch.refused(&data, &refusal, is_new);
                return Ok(Summary { refused: 1, may_pass: refusal.reason.may_pass(), ..nothing });
            }
            Err(Fault::File(error)) => {
                self.watch.stuck(&data, &error.to_string());
                return Ok(Summary { stuck: 1, ..nothing });
            }
            Err(fault) => return Err(fault.into()),
        };
        if let Err(error) = done::settle(&self.source.done, &self.source.dir, data_name, manifest_name) {
            self.watch.stuck(&data, &error.to_string());
            summary.stuck = 1;
        }
        Ok(summary)
    }

    /// Judges one file, and takes it in if the ledger does not have it.
    fn judge(
        &self,
        ledger: &mut Ledger,
        found: &Found,
        data: &Path,
        manifest: &Path,
        known: &HashMap<(String, u64), String>,
    ) -> Result<Loaded, Fault> {
        let (manifest, hash) = read_and_judge(found.name.as_ref(), manifest).map_err(Fault::Refused)?;
        let key = (manifest.node_id.clone(), manifest.file_seq);
        if known.get(&key).is_some_and(|known| *known == hash.to_string()) {
            self.look_again(data, &manifest)?;
            return Ok(Loaded::Known);
        }
        match take(ledger, &Candidate { source: &self.dir, data, manifest: &manifest, hash }) {
            Err(Fault::Refused(refusal)) if refusal.reason == Reason::DataMissing => {
                // Another collector may have taken it, and its data away, since the ledger was asked.
                let known = ledger.known(std::slice::from_ref(&key))?;
                let is_known = known.get(&key).is_some_and(|known| *known == hash.to_string());
                if is_known { Ok(Loaded::Known) } else { Err(Fault::Refused(refusal)) }
            }
            taken => taken,
        }
    }

    /// Whether the data of a file that the ledger has is still what was taken. It may be gone: it goes before its manifest.
    fn look_again(&self, data: &Path, manifest: &Manifest) -> Result<(), Fault> {
        if !self.thorough {
            return Ok(());
        }
        match hash_file(data)? {
            Some(found) if found != manifest.sha256 => {
                let text = format!(
                    "found {found}, wanted {}, as the manifest says and as the ledger has it: the file was changed after it was \
                     taken. Remove both files, or have them delivered again",
                    manifest.sha256
                );
                Err(Fault::Refused(Refusal::new(Reason::Sha256, text)))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Reads a manifest and judges it by itself.
fn read_and_judge(name: Option<&FileName>, path: &Path) -> Result<(Manifest, Hash), Refusal> {
    let Some(name) = name else {
        let text = "found another name, wanted {node_id}_usage_{YYYYMMDDThhmmssZ}_{epoch:05}_{file_seq:010}.manifest.json";
        return Err(Refusal::new(Reason::Name, text));
    };
    // Anything else, a pipe say, might never end.
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(Refusal::new(Reason::Manifest, "found something that is no file, wanted one"));
    }
    let (manifest, hash) = read_manifest(path).map_err(|text| Refusal::new(Reason::Manifest, text))?;
    judge_manifest(name, &manifest)?;
    Ok((manifest, hash))
}

/// Takes a file that the ledger does not have.
fn take(ledger: &mut Ledger, file: &Candidate<'_>) -> Result<Loaded, Fault> {
    let metadata = fs::metadata(file.data).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            let text = "found a manifest without its data file, wanted both";
            Fault::Refused(Refusal::new(Reason::DataMissing, text))
        }
        _ => Fault::File(ExportError::reading(file.data, "reading a usage file", error)),
    })?;
    if !metadata.is_file() {
        return Err(Fault::Refused(Refusal::new(Reason::Row, "found something that is no file, wanted one")));
    }
    judge_length(metadata.len(), file.manifest).map_err(Fault::Refused)?;
    ledger.take(file)
}

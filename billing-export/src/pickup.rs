//! What lies in a pickup directory: data files and manifests, paired by name, and how one data file is read.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::codec::Format;
use crate::codec::csv::{CsvError, Reader};
use crate::error::ExportError;
use crate::manifest::{Hash, MANIFEST_LEN_MAX, Manifest};
use crate::name::{DATA_ENDING, FileName, MANIFEST_ENDING};
use crate::record::Record;
use crate::watermark::{WATERMARK_LEN_MAX, Watermark};

/// A data file and its manifest, either of which may be missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The name read from the file names; none if it is not one of ours.
    pub name: Option<FileName>,
    /// The data file, if there is one.
    pub data: Option<PathBuf>,
    /// The manifest, if there is one.
    pub manifest: Option<PathBuf>,
}

impl Pair {
    /// The file to name in messages: the data file where there is one.
    pub fn path(&self) -> &Path {
        self.data.as_deref().or(self.manifest.as_deref()).unwrap_or(Path::new(""))
    }

    /// Size of the data file in bytes; 0 if there is none.
    pub fn data_len(&self) -> u64 {
        self.data.as_deref().and_then(|path| fs::metadata(path).ok()).map_or(0, |metadata| metadata.len())
    }

    /// The pair of a path without its ending.
    fn of(stem: &str, directory: &Path) -> Option<Pair> {
        let existing =
            |ending: &str| Some(directory.join(format!("{stem}{ending}"))).filter(|path| path.exists());
        let pair = Pair {
            name: stem.parse().ok(),
            data: existing(DATA_ENDING),
            manifest: existing(MANIFEST_ENDING),
        };
        (pair.data.is_some() || pair.manifest.is_some()).then_some(pair)
    }
}

/// The pairs in directories and of single files, each once; by node and file number, foreign names last.
///
/// # Errors
/// A path that does not exist or cannot be read, or a single file that ends neither in `.csv` nor `.manifest.json`.
pub fn pairs(paths: &[PathBuf]) -> Result<Vec<Pair>, ExportError> {
    let mut pairs = Vec::new();
    for path in paths {
        let metadata =
            fs::metadata(path).map_err(|source| ExportError::reading(path, "looking for files", source))?;
        let names = if metadata.is_dir() {
            let failed = |source| ExportError::reading(path, "reading the names in the directory", source);
            let mut names = Vec::new();
            for entry in fs::read_dir(path).map_err(failed)? {
                names.push(entry.map_err(failed)?.path());
            }
            names
        } else {
            vec![path.clone()]
        };
        for file in names {
            let directory = file.parent().unwrap_or(Path::new(""));
            let name = file.file_name().and_then(|name| name.to_str()).unwrap_or("");
            let stem = name.strip_suffix(MANIFEST_ENDING).or_else(|| name.strip_suffix(DATA_ENDING));
            match stem {
                Some(stem) => pairs.extend(Pair::of(stem, directory)),
                None if metadata.is_dir() => {}
                None => {
                    let source = io::Error::new(io::ErrorKind::InvalidInput, "not a usage file or manifest");
                    return Err(ExportError::Io {
                        path: file,
                        action: "looking for files",
                        source,
                        remedy: "Give a directory, or files that end in .csv or .manifest.json",
                    });
                }
            }
        }
    }
    pairs.sort_by(|a, b| order(a).cmp(&order(b)));
    pairs.dedup();
    Ok(pairs)
}

/// What pairs are sorted by.
fn order(pair: &Pair) -> (bool, Option<(&crate::unit::NodeId, u64, u32)>, &Path) {
    let name = pair.name.as_ref().map(|name| (name.node_id(), name.file_seq(), name.epoch()));
    (name.is_none(), name, pair.path())
}

/// Reads a manifest and its hash, at most [`MANIFEST_LEN_MAX`] bytes.
///
/// # Errors
/// What is wrong with it, for a message after its path.
pub fn read_manifest(path: &Path) -> Result<(Manifest, Hash), String> {
    let mut text = String::new();
    let limit = MANIFEST_LEN_MAX.saturating_add(1);
    let read = File::open(path).and_then(|file| file.take(limit).read_to_string(&mut text));
    match read {
        Err(error) => Err(format!("reading the manifest: {error}")),
        Ok(length) if u64::try_from(length).is_ok_and(|length| length > MANIFEST_LEN_MAX) => {
            Err(format!("found a manifest over {MANIFEST_LEN_MAX} bytes, wanted one line of JSON"))
        }
        Ok(_) => match Manifest::parse(&text) {
            Ok(manifest) => Ok((manifest, Hash::of(text.as_bytes()))),
            Err(error) => Err(format!(
                "line {}, column {}: found a manifest with {error}, wanted that of the contract",
                error.line(),
                error.column()
            )),
        },
    }
}

/// Reads the word of billing's ledger on how far it has a node's files; within, what is wrong with it, for a message after its path.
///
/// # Errors
/// The system's: that there is none, among others.
pub fn read_watermark(path: &Path) -> io::Result<Result<Watermark, String>> {
    let limit = u64::try_from(WATERMARK_LEN_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let mut text = String::new();
    File::open(path)?.take(limit).read_to_string(&mut text)?;
    Ok(Watermark::parse(&text))
}

/// Hashes what is read through it.
struct HashingReader<R> {
    /// The file.
    inner: R,
    /// What was read.
    hasher: Sha256,
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}

/// Calls `each` for every row of a data file, with what is wrong where a row cannot be read; then returns the hash of
/// the whole file, and the version of its columns where the header has one. A row that cannot be read does not end the reading, a broken header or an over-long line does.
///
/// # Errors
/// The file cannot be opened or read.
pub fn read_data(
    path: &Path,
    each: &mut dyn FnMut(Result<Record, CsvError>),
) -> Result<(Hash, Option<Format>), ExportError> {
    let failed = |source| ExportError::reading(path, "reading a usage file", source);
    let file = File::open(path).map_err(failed)?;
    let mut source = HashingReader { inner: BufReader::new(file), hasher: Sha256::new() };
    let mut format = None;
    match Reader::new(&mut source) {
        Err(error) => each(Err(error)),
        Ok(mut reader) => loop {
            format = Some(reader.format());
            match reader.read() {
                Ok(Some(record)) => each(Ok(record)),
                Ok(None) => break,
                Err(error @ CsvError::Io { .. }) => {
                    each(Err(error));
                    break;
                }
                Err(error) => each(Err(error)),
            }
        },
    }
    io::copy(&mut source, &mut io::sink()).map_err(failed)?;
    Ok((Hash::finish(source.hasher), format))
}

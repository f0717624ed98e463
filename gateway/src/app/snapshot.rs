//! The snapshot of the trusted answers in the state directory: a restart does not forget where listed names live.
//!
//! Written whole or not at all, every few minutes and at the stop; one that cannot be read is told and ignored, for
//! look-ups fill the map again. What stands in it is [`crate::flow::binding`]'s: listed names and their addresses.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::net::answers::Answers;

/// Name of the snapshot in the state directory.
const FILE: &str = "answers.snapshot";
/// Most bytes that one pair takes: name, address, times, and counts.
const PAIR_BYTES_MAX: u64 = 300;
/// What a snapshot takes beside its pairs.
const FRAME_BYTES_MAX: u64 = 64;

/// Where the snapshot stands.
#[derive(Clone, Debug)]
pub struct Snapshot {
    path: PathBuf,
    bytes_max: u64,
}

impl Snapshot {
    /// The snapshot of a node that holds at most so many pairs.
    pub fn new(state_dir: &Path, pairs_max: usize) -> Self {
        let pairs_max = u64::try_from(pairs_max).unwrap_or(u64::MAX);
        let bytes_max = pairs_max.saturating_mul(PAIR_BYTES_MAX).saturating_add(FRAME_BYTES_MAX);
        Self { path: state_dir.join(FILE), bytes_max }
    }

    /// Takes up the snapshot of the last run, if there is one that can be read.
    pub fn restore(&self, answers: &Answers) {
        let path = self.path.display();
        match self.read() {
            Ok(Some(bytes)) => match answers.restore(&bytes) {
                Ok(restored) => {
                    tracing::info!(
                        pairs = restored.pairs,
                        dropped = restored.dropped,
                        "trusted answers restored"
                    );
                }
                Err(error) => tracing::warn!("{path}: not taken up: {error}; look-ups begin anew"),
            },
            Ok(None) => {}
            Err(error) => tracing::warn!("{path}: cannot be read: {error}; look-ups begin anew"),
        }
    }

    /// The bytes of the snapshot; `None` when there is none.
    fn read(&self) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(self.bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > self.bytes_max {
            return Err(io::Error::other(format!(
                "found more than {} bytes, wanted at most that; raise trusted_answers.pairs_max",
                self.bytes_max
            )));
        }
        Ok(Some(bytes))
    }

    /// Writes a snapshot every `interval` until the event loop ends.
    pub async fn follow(self, answers: Arc<Answers>, interval: Duration) {
        let mut tick = tokio::time::interval(interval);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // The first tick is at once: nothing is worth writing yet.
        tick.tick().await;
        loop {
            tick.tick().await;
            let (snapshot, answers) = (self.clone(), Arc::clone(&answers));
            // A disk that hangs must not hang the look-ups.
            let _ = tokio::task::spawn_blocking(move || snapshot.write(&answers)).await;
        }
    }

    /// Writes a snapshot; a failure is told, and costs only look-ups after the next start.
    pub fn write(&self, answers: &Answers) {
        if let Err(error) = self.try_write(&answers.snapshot()) {
            tracing::warn!("{}: cannot be written: {error}", self.path.display());
        }
    }

    /// Writes the file beside its place, then moves it there.
    fn try_write(&self, bytes: &[u8]) -> io::Result<()> {
        let part = self.path.with_extension("snapshot.part");
        let mut file = File::create(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, &self.path)?;
        match self.path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }
}

//! Trusted answers, and the addresses at which names were last found, over a restart: copies in the state folder, written
//! now and then and at the end, read at the start.
//!
//! One writing at a time, and a stopping node waits for the last one only so long: a disk that hangs costs the copy, never
//! the seal.
//!
//! They hold listed names and their addresses, nothing of subscribers. A copy that cannot be read is told and left aside:
//! answers are learnt again, and until then an unknown address is looked up (decision 1).

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use super::whole_file;
use crate::net::lookup::Lookups;

/// Names in the state folder.
const ANSWERS: &str = "answers.snapshot";
const KNOWN: &str = "known.snapshot";
/// Longest file that is read: 64 million pairs need less.
const BYTES_MAX: u64 = 4 << 30;

/// How long a stopping node waits for its last copy.
const LAST_LIMIT: Duration = Duration::from_secs(5);

/// Where the copies stand, and what is copied.
#[derive(Clone)]
pub struct Snapshot {
    /// Of the trusted answers.
    path: PathBuf,
    /// Of the addresses at which names were last found.
    known: PathBuf,
    lookups: Arc<Lookups>,
    /// Held while a copy is written: two at once would write into one file.
    turn: Arc<Mutex<()>>,
    /// Another process writes the copy.
    held: Arc<AtomicBool>,
}

impl Snapshot {
    /// The copies of `lookups` and their trusted answers in `state_dir`.
    pub fn new(state_dir: &Path, lookups: Arc<Lookups>) -> Self {
        Self {
            path: state_dir.join(ANSWERS),
            known: state_dir.join(KNOWN),
            lookups,
            turn: Arc::default(),
            held: Arc::default(),
        }
    }

    /// Takes the copies back, if there are any.
    pub fn restore(&self) {
        self.restore_answers();
        let restored = match read(&self.known) {
            Ok(None) => return,
            Ok(Some(bytes)) => self.lookups.restore_known(&bytes).map_err(|error| error.to_string()),
            Err(error) => Err(format!("cannot be read: {error}")),
        };
        match restored {
            Ok(names) => tracing::info!(names, "names with the addresses of the run before"),
            Err(fault) => {
                tracing::warn!("{}: {fault}; it is left aside and written anew", self.known.display());
            }
        }
    }

    /// Takes the trusted answers back.
    fn restore_answers(&self) {
        match read(&self.path) {
            Ok(None) => {}
            Ok(Some(bytes)) => match self.lookups.answers().restore(&bytes) {
                Ok(restored) => tracing::info!(?restored, "trusted answers of the run before"),
                Err(error) => tracing::warn!(
                    "{}: {error}; it is left aside and written anew, answers are learnt again",
                    self.path.display()
                ),
            },
            Err(error) => {
                tracing::warn!("{}: cannot be read: {error}; answers are learnt again", self.path.display())
            }
        }
    }

    /// Writes the copies again and again, until the event loop ends.
    pub async fn keep(self, interval: Duration) {
        let mut tick = tokio::time::interval(interval);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // The first tick comes at once, when there is nothing new.
        tick.tick().await;
        loop {
            tick.tick().await;
            let snapshot = self.clone();
            // A disk that hangs must not hold the event loop.
            let _ = tokio::task::spawn_blocking(move || snapshot.write()).await;
        }
    }

    /// Writes the copies for the last time, and waits for it at most five seconds.
    pub fn write_last(&self) {
        let (done, written) = mpsc::channel();
        let snapshot = self.clone();
        let writing = std::thread::Builder::new().name("snapshot".to_owned()).spawn(move || {
            snapshot.write();
            let _ = done.send(());
        });
        if writing.is_err() || written.recv_timeout(LAST_LIMIT).is_err() {
            tracing::warn!(
                "{}: not written in time; the next start goes on from the copy before",
                self.path.display()
            );
        }
    }

    /// Leaves the copies to another process, or takes it up again.
    pub fn hold(&self, held: bool) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.held.store(held, Ordering::Relaxed);
    }

    /// Writes the copies: each whole, or the one before stays.
    pub fn write(&self) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if self.held.load(Ordering::Relaxed) {
            return;
        }
        let answers = whole_file::write(&self.path, &self.lookups.answers().snapshot());
        let known = whole_file::write(&self.known, &self.lookups.copy_known());
        for (path, written) in [(&self.path, answers), (&self.known, known)] {
            if let Err(error) = written {
                tracing::warn!(
                    "{}: cannot be written: {error}; free space or mend the folder, else a restart begins without answers",
                    path.display()
                );
            }
        }
    }
}

/// A copy's bytes; none when there is no copy.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

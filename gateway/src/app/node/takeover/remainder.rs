//! What a draining process still counts, handed to the process that holds the ledger: each delta at most once.

use std::collections::VecDeque;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use billing_export::{Usage, Volume};

use super::words::{Answer, Delta, Request, Terms};
use super::{frame, peer_process};

/// How long the other side may take to say that it takes counts.
const WELCOME_LIMIT: Duration = Duration::from_secs(2);

/// Deltas on their way to whoever holds the ledger.
pub struct Remainder {
    path: PathBuf,
    terms: Terms,
    connection: Option<UnixStream>,
    /// In the order of counting.
    queue: VecDeque<Delta>,
    /// The first of them was sent and not answered.
    is_sent: bool,
}

/// How far the deltas are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// All are saved, or lost.
    Done,
    /// Some wait.
    Waiting,
    /// Some wait, and nobody listens: the process that held the ledger has ended.
    Nobody,
}

impl Remainder {
    /// Nothing to hand over yet; it will go to whoever listens at `path` on these terms.
    pub fn new(path: PathBuf, terms: Terms) -> Self {
        Self { path, terms, connection: None, queue: VecDeque::new(), is_sent: false }
    }

    /// Takes counts to hand over.
    pub fn push(&mut self, usage: &[Usage], seen: Volume) {
        self.queue.extend(Delta::of(usage, seen));
    }

    /// Hands over what can be, and waits for each answer at most `limit`.
    pub fn advance(&mut self, limit: Duration) -> Progress {
        while let Some(delta) = self.queue.front() {
            let connection = match self.connection.take().map_or_else(|| self.connect(), Ok) {
                Ok(connection) => connection,
                Err(error) => {
                    tracing::debug!(%error, "nobody takes the counts of the draining flows yet");
                    let kinds = [io::ErrorKind::ConnectionRefused, io::ErrorKind::NotFound];
                    let nobody = kinds.contains(&error.kind()) && !self.is_sent;
                    return if nobody { Progress::Nobody } else { Progress::Waiting };
                }
            };
            if !self.is_sent {
                // A message that was not written whole is never taken.
                if let Err(error) = frame::send(&connection, delta, None) {
                    tracing::debug!(%error, "the counts of the draining flows are offered again");
                    return Progress::Waiting;
                }
                self.is_sent = true;
            }
            match frame::receive::<Answer>(&connection, Some(limit)) {
                Ok((Answer::Saved, _)) => {
                    self.queue.pop_front();
                    self.is_sent = false;
                    self.connection = Some(connection);
                }
                Ok((Answer::NotTaken, _)) => {
                    self.is_sent = false;
                    return Progress::Waiting;
                }
                Err(error) if frame::is_silence(&error) => {
                    self.connection = Some(connection);
                    return Progress::Waiting;
                }
                Ok((Answer::Welcome, _)) | Err(_) => self.lose(),
            }
        }
        Progress::Done
    }

    /// What was never sent, for whoever can save it; what was sent without an answer is lost.
    pub fn into_unsent(mut self) -> Vec<Delta> {
        if self.is_sent {
            self.lose();
        }
        self.queue.into()
    }

    /// Gives up the delta of which nobody knows whether it was saved.
    fn lose(&mut self) {
        self.is_sent = false;
        if let Some(lost) = self.queue.pop_front() {
            let Volume { up, down } = lost.seen();
            tracing::error!(
                up,
                down,
                "the process that holds the ledger ended before it answered: these bytes may be in no record"
            );
        }
    }

    /// Connects to whoever holds the ledger.
    fn connect(&self) -> io::Result<UnixStream> {
        let stream = UnixStream::connect(&self.path)?;
        peer_process(&stream)?;
        frame::send(&stream, &Request::Remainder(self.terms.clone()), None)?;
        match frame::receive::<Answer>(&stream, Some(WELCOME_LIMIT))? {
            (Answer::Welcome, _) => Ok(stream),
            (Answer::Saved | Answer::NotTaken, _) => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

//! The new process: asks the running one for its sockets and its ledger.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::words::{FromNew, FromOld, Request, Terms};
use super::{frame, peer_process};
use crate::net::ingress::inherited::Inherited;

/// How long the running process may take for its copy of the trusted answers and for each socket.
const SOCKETS_LIMIT: Duration = Duration::from_secs(60);
/// How long it may take to save and close its ledger.
const RELEASE_LIMIT: Duration = Duration::from_secs(90);

/// The process that this one takes over from. Dropped before [`Predecessor::accepting`], it goes on by itself.
pub struct Predecessor {
    stream: UnixStream,
}

/// What is found in the state folder.
pub enum Found {
    /// A process, and its listening sockets.
    Running(Predecessor, Inherited),
    /// One that has ended without a word; those that drain since they were taken over from may still do so.
    Traces,
    /// Nothing.
    Nobody,
}

/// How the ledger of the running process is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freed {
    /// It has saved what it counted, and closed it.
    Released,
    /// It has ended without that, or is about to: a process that goes on still has the ledger's lock.
    Left,
}

/// Why the running process cannot be taken over from.
#[derive(Debug, thiserror::Error)]
#[error("cannot take over from the running process: {0}; it goes on, an ordinary restart is always possible")]
pub struct TakeOverError(String);

impl TakeOverError {
    /// From the system's word.
    fn of(what: &str, error: &io::Error) -> Self {
        Self(format!("{what}: {error}"))
    }
}

impl Predecessor {
    /// Finds the process that listens at `path`, and gets its listening sockets.
    ///
    /// # Errors
    /// Another user's process, one of another version or node, one that refuses.
    pub fn find(path: &Path, terms: Terms) -> Result<Found, TakeOverError> {
        let stream = match UnixStream::connect(path) {
            Ok(stream) => stream,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nobody),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(Found::Traces),
            Err(error) => return Err(TakeOverError::of(&path.display().to_string(), &error)),
        };
        peer_process(&stream).map_err(|error| TakeOverError::of(&path.display().to_string(), &error))?;
        let request = Request::TakeOver(terms);
        frame::send(&stream, &request, None).map_err(|error| TakeOverError::of("asking", &error))?;
        let mut inherited = Inherited::default();
        let predecessor = Self { stream };
        loop {
            match predecessor.hear(SOCKETS_LIMIT)? {
                (FromOld::Socket { wanted }, Some(socket)) => inherited
                    .add(socket, Some(wanted), format!("socket of the running process for {wanted}"))
                    .map_err(|error| TakeOverError(error.to_string()))?,
                (FromOld::LocalSocket { wanted }, Some(socket)) => {
                    let origin = format!("socket of the running process at {}", wanted.display());
                    inherited
                        .add_local(socket, wanted, origin)
                        .map_err(|error| TakeOverError(error.to_string()))?;
                }
                (FromOld::NoMoreSockets, _) => return Ok(Found::Running(predecessor, inherited)),
                (FromOld::Refused { why }, _) => return Err(TakeOverError(why)),
                (FromOld::Socket { .. } | FromOld::LocalSocket { .. }, None) | (FromOld::Released, _) => {
                    return Err(out_of_turn());
                }
            }
        }
    }

    /// Says that everything else is there, and waits until the ledger is free.
    ///
    /// # Errors
    /// When the running process refuses or does not answer.
    pub fn release(&self) -> Result<Freed, TakeOverError> {
        let answer = frame::send(&self.stream, &FromNew::Prepared, None)
            .and_then(|()| frame::receive(&self.stream, Some(RELEASE_LIMIT)));
        match answer {
            Ok((FromOld::Released, _)) => Ok(Freed::Released),
            Ok((FromOld::Refused { why }, _)) => Err(TakeOverError(why)),
            Ok((FromOld::Socket { .. } | FromOld::LocalSocket { .. } | FromOld::NoMoreSockets, _)) => {
                Err(out_of_turn())
            }
            Err(error) if is_end(&error) => Ok(Freed::Left),
            Err(error) => Err(TakeOverError::of("its answer", &error)),
        }
    }

    /// Says that this process accepts: the other one drains.
    ///
    /// # Errors
    /// When it has ended meanwhile; then there is nothing left to take over.
    pub fn accepting(self) -> io::Result<()> {
        frame::send(&self.stream, &FromNew::Accepting, None)
    }

    /// Waits for a message.
    fn hear(&self, limit: Duration) -> Result<(FromOld, Option<std::os::fd::OwnedFd>), TakeOverError> {
        frame::receive(&self.stream, Some(limit)).map_err(|error| TakeOverError::of("its answer", &error))
    }
}

/// Whether the other side has let go of the connection.
fn is_end(error: &io::Error) -> bool {
    // By what it had read of ours when it ended.
    [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset, io::ErrorKind::UnexpectedEof]
        .contains(&error.kind())
}

/// A message that does not fit.
fn out_of_turn() -> TakeOverError {
    TakeOverError("it said something out of turn".to_owned())
}

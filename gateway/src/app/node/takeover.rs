//! Restart without a gap: a new process takes over from a running one while subscribers' flows go on.
//!
//! They talk over a Unix socket in the state folder, which the same user alone may use (mode 0600, `SO_PEERCRED`).
//! In this order, so that at each moment one process accepts and one holds the ledger:
//!
//! ```text
//!  new  TakeOver ────────────────►  old   writes the trusted answers
//!       ◄──────── Socket, Socket …        its listening sockets (SCM_RIGHTS): what waits in them waits on
//!       reads configuration, list, answers; Prepared ──►
//!       ◄──────────────── Released        saved what it counted, what had no verdict is unattributed; ledger closed
//!       opens the ledger, accepts; Accepting ──►
//!                                         accepts nothing more, drains its flows, ends when they have
//!       ◄──────────── Remainder, Delta, Delta …   what it counts meanwhile; each is answered when it is on the disk
//! ```
//!
//! **Nothing is doubled.** The old process forgets a delta when it is answered `Saved`, keeps it when it is answered
//! `NotTaken`, and counts it as lost when the connection ends without a word: at most once, so a record never claims
//! more than was carried. A delta stands alone: bytes seen are those of its accounts, bytes without a verdict wait in
//! the process that carries them. **Nothing is interrupted.** When the new process ends before it accepts, whatever the
//! cause, the old one opens its ledger again and goes on. When the old one ends before the new one accepts, the new one opens
//! the ledger as after any crash, and accepts: connections that waited in the sockets are served. Several old processes may
//! drain into one new one; when that is taken over from in turn, they find the newest at the same path. When it is killed, one
//! of them takes the ledger back and listens there, until the next process takes over, or an ordinary start has its place.
//!
//! Versions that speak otherwise, and configurations that count otherwise, refuse each other, and then an ordinary restart is
//! the way.

mod frame;
pub mod incumbent;
pub mod remainder;
pub mod successor;
pub mod words;

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use billing_export::ByteBasis;

use self::words::Terms;

/// What is spoken here; raised when a message changes, or the ledger: who lets go of it must be able to take it back.
const VERSION: u32 = 4;
/// The ledger that it was last raised for.
const _: () = assert!(
    billing_export::LEDGER_VERSION == 5,
    "raise VERSION: the process before could not take the ledger back"
);
/// The terms of this node's processes.
pub fn terms(node_id: &str, byte_basis: ByteBasis) -> Terms {
    Terms { version: VERSION, node_id: node_id.to_owned(), byte_basis: byte_basis.label().to_owned() }
}

/// Name of the socket in the state folder.
const FILE: &str = "restart.sock";

/// Where the process that holds the state folder listens.
pub fn path_in(state_dir: &Path) -> PathBuf {
    state_dir.join(FILE)
}

/// Starts this program anew, to take over from this process; told in the log when it does not come to that.
pub fn start_successor(config: &Path) {
    // The name it was started by, not the file: that may have been replaced, which is the point.
    let Some(program) = std::env::args_os().next() else { return };
    let mut command = std::process::Command::new(&program);
    command.args(["run", "--take-over", "--config"]).arg(config);
    // These are for this process alone (sd_listen_fds(3), sd_watchdog_enabled(3)).
    for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"] {
        command.env_remove(name);
    }
    let waiting = command.spawn().and_then(|mut child| {
        std::thread::Builder::new().name("successor".to_owned()).spawn(move || match child.wait() {
            Ok(status) if status.success() => {}
            Ok(status) => tracing::error!(%status, "the process that was to take over has ended"),
            Err(error) => tracing::error!(%error, "the process that was to take over is lost"),
        })
    });
    match waiting {
        Ok(_) => tracing::info!("starting anew: the new process takes over when it is ready"),
        Err(error) => tracing::error!(
            %error,
            "{}: cannot be started, this process goes on",
            Path::new(&program).display()
        ),
    }
}

/// The other side's process, if it belongs to our user.
///
/// # Errors
/// Another user's process, or the system's word.
fn peer_process(stream: &UnixStream) -> io::Result<u32> {
    let peer = rustix::net::sockopt::socket_peercred(stream)?;
    if peer.uid != rustix::process::geteuid() {
        let message = format!("found a process of user {}, wanted our own user", peer.uid.as_raw());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    Ok(peer.pid.as_raw_nonzero().get().unsigned_abs())
}

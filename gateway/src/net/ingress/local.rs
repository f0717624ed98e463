//! Listening Unix sockets for programs on the same machine. Whoever may connect is trusted with all that is said there, so
//! mode and group are right before anybody can: the socket listens, and stands under its name, only then, whatever the umask.
//!
//! Connections of a balancer are carried by the relay of TCP: what it asks of a subscriber's socket there (read, write,
//! `splice`, half-close, `SO_ERROR`, `SIOCOUTQ`) Unix streams answer too, so their descriptors go under the type of TCP's.
//! What only TCP answers is asked of subscribers' own connections alone: `TCP_INFO` (byte basis `ip`, which is refused behind
//! a balancer) and marks. `SIOCOUTQ` says more than is queued here (memory, not payload), which under-counts until the
//! balancer has read all; then it says 0.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::{fs, io};

use nix::unistd::Group;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::net::sys::socket::BACKLOG;

/// Mode of a socket for another program: owner and group.
pub const MODE_SHARED: u32 = 0o660;
/// Mode of a socket for our own processes.
pub const MODE_OWN: u32 = 0o600;
/// Under this name, behind the socket's own, it is made ready.
const UNREADY: &str = ".part";

/// Where a socket stands, and who may connect to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalPlace {
    /// The path.
    pub path: PathBuf,
    /// Its mode.
    pub mode: u32,
    /// Name or number of its group; none: our own.
    pub group: Option<String>,
}

/// What stands in a socket's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A socket that somebody serves is left alone.
    Respected,
    /// It is the process's that this one takes over from.
    Replaced,
}

impl LocalPlace {
    /// A listening socket there; one that a process of ours left behind is replaced.
    ///
    /// # Errors
    /// What the system says: no right to the folder, a group that is none or not ours to give; a file that is no socket and a
    /// socket that somebody serves are left alone.
    pub fn listen(&self, standing: Standing) -> io::Result<UnixListener> {
        self.listen_known(standing).map(|(listener, _)| listener)
    }

    /// The same with the number of its file, by which it is known from another process's in its place.
    ///
    /// # Errors
    /// As [`LocalPlace::listen`].
    pub fn listen_known(&self, standing: Standing) -> io::Result<(UnixListener, u64)> {
        self.make_room(standing)?;
        let unready = beside(&self.path);
        match fs::remove_file(&unready) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(&unready)?)?;
        let ready = self.admit(&unready).and_then(|()| socket.listen(BACKLOG));
        let known = ready.and_then(|()| fs::symlink_metadata(&unready));
        let moved = known.and_then(|known| fs::rename(&unready, &self.path).map(|()| known.ino()));
        let inode = moved.inspect_err(|_| {
            let _ = fs::remove_file(&unready);
        })?;
        socket.set_nonblocking(true)?;
        Ok((OwnedFd::from(socket).into(), inode))
    }

    /// Looks at what stands there.
    fn make_room(&self, standing: Standing) -> io::Result<()> {
        let Ok(found) = fs::symlink_metadata(&self.path) else { return Ok(()) };
        if !found.file_type().is_socket() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        match standing {
            Standing::Respected if UnixStream::connect(&self.path).is_ok() => {
                Err(io::ErrorKind::AddrInUse.into())
            }
            Standing::Respected | Standing::Replaced => Ok(()),
        }
    }

    /// Gives the socket its mode and group; nobody can connect to it yet.
    fn admit(&self, socket: &Path) -> io::Result<()> {
        if let Some(name) = &self.group {
            chown(socket, None, Some(group_id(name)?))?;
        }
        fs::set_permissions(socket, fs::Permissions::from_mode(self.mode))
    }
}

/// The name under which a socket is made ready.
fn beside(path: &Path) -> PathBuf {
    let mut unready = path.to_path_buf();
    unready.as_mut_os_string().push(UNREADY);
    unready
}

/// The number of a group by its name or number.
fn group_id(name: &str) -> io::Result<u32> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let found = Group::from_name(name)?;
    let none = || io::Error::new(io::ErrorKind::NotFound, format!("this machine has no group {name:?}"));
    Ok(found.ok_or_else(none)?.gid.as_raw())
}

/// A second descriptor of a listening socket, under the type that the accepting of TCP takes.
///
/// # Errors
/// When descriptors ran out.
pub fn share(listener: &UnixListener) -> io::Result<TcpListener> {
    Ok(OwnedFd::from(listener.try_clone()?).into())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    fn place(folder: &tempfile::TempDir) -> LocalPlace {
        LocalPlace { path: folder.path().join("s.sock"), mode: MODE_SHARED, group: None }
    }

    #[test]
    fn f16_a_socket_has_its_mode_and_group_and_no_other_name() {
        let folder = tempfile::tempdir().unwrap();
        let own = fs::metadata(folder.path()).unwrap().gid();
        for (mode, group) in [(MODE_SHARED, None), (MODE_OWN, Some(own.to_string()))] {
            let place = LocalPlace { mode, group, ..place(&folder) };
            let listener = place.listen(Standing::Respected).unwrap();
            let made = fs::metadata(&place.path).unwrap();
            assert_eq!((made.mode() & 0o777, made.gid()), (mode, own));
            let names: Vec<_> =
                fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
            assert_eq!(names, ["s.sock"]);
            drop(listener);
        }
    }

    #[test]
    fn f16_a_socket_that_is_served_stays_and_one_that_was_left_behind_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let place = place(&folder);
        let first = place.listen(Standing::Respected).unwrap();
        let refused = place.listen(Standing::Respected).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        let _successor = place.listen(Standing::Replaced).unwrap();
        drop(first);
        drop(_successor);
        place.listen(Standing::Respected).unwrap();
        let file = LocalPlace { path: folder.path().join("file"), ..place.clone() };
        fs::write(&file.path, "mine").unwrap();
        for standing in [Standing::Respected, Standing::Replaced] {
            assert_eq!(file.listen(standing).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        }
        assert_eq!(fs::read(&file.path).unwrap(), b"mine");
        let nobody = LocalPlace { group: Some("no-such-group".to_owned()), ..place };
        assert!(nobody.listen(Standing::Replaced).unwrap_err().to_string().contains("no group"));
    }

    /// What the relay asks of a balancer's stream: what is there to read, FIN, and that everything was read.
    #[tokio::test]
    async fn f16_a_unix_stream_does_what_the_relay_asks_of_a_stream() {
        use crate::net::sys::socket;

        let folder = tempfile::tempdir().unwrap();
        let place = place(&folder);
        let listener = place.listen(Standing::Respected).unwrap();
        let shared = share(&listener).unwrap();
        assert_eq!(socket::accept(&shared).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let mut near = UnixStream::connect(&place.path).unwrap();
        let (stream, peer) = socket::accept(&shared).unwrap();
        assert_eq!(peer, None);
        let stream = tokio::net::TcpStream::from_std(stream).unwrap();
        near.write_all(b"hello").unwrap();
        stream.readable().await.unwrap();
        let mut buffer = [0; 16];
        assert_eq!(stream.try_read(&mut buffer).unwrap(), 5);
        stream.writable().await.unwrap();
        assert_eq!(stream.try_write(b"answer").unwrap(), 6);
        assert!(socket::unacknowledged(&stream).unwrap() >= 6);
        socket::shutdown_write(&stream).unwrap();
        assert!(stream.take_error().unwrap().is_none());
        let mut answer = Vec::new();
        near.read_to_end(&mut answer).unwrap();
        assert_eq!((answer.as_slice(), socket::unacknowledged(&stream).unwrap()), (&b"answer"[..], 0));
    }
}

//! The running gateway and the service manager: passed sockets, what it is told and when, and the shipped units.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use support::held::Held;
use support::hellos::Hello;
use support::{PATIENCE, Setup, eventually, free_port, has, wait};

/// Fatal alert `unrecognized_name`: how a steered listener answers for a name that is not listed.
const REFUSED: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
/// The time after which the service manager gives the node up, in microseconds.
const WATCHDOG_MICROS: u32 = 400_000;
/// The line that keeps it from that.
const SIGN_OF_LIFE: &str = "WATCHDOG=1";
/// Signs of life of a healthy node in a row; as long nothing comes of one that is not.
const SIGNS: u32 = 5;

/// A gateway that gets two descriptors as a service manager passes them; killed when dropped.
struct Passed(Child);

impl Passed {
    /// Starts it with `first` as descriptor 3 and `second` as descriptor 4.
    fn start(setup: &Setup, first: OwnedFd, second: OwnedFd) -> Self {
        setup.write_configuration();
        let script = "exec 3<&0 4<&1 0</dev/null 1>/dev/null
             LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=web:other exec \"$0\" run --config gateway.toml";
        let log = File::options().create(true).append(true).open(setup.path("log.txt")).unwrap();
        let child = Command::new("sh")
            .args(["-c", script, env!("CARGO_BIN_EXE_gateway")])
            .current_dir(setup.path(""))
            .stdin(Stdio::from(first))
            .stdout(Stdio::from(second))
            .stderr(log)
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Passed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Connects and says a name that is not listed.
fn unlisted(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&Hello::named("unlisted.example").wire()).unwrap();
    stream
}

/// Whether the gateway answered as for such a name.
fn is_served(stream: &mut TcpStream) -> bool {
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).is_ok() && answer == REFUSED
}

/// A steered listener at `address`, two workers.
fn steered(address: SocketAddr) -> Setup {
    Setup::new()
        .listener(&format!("mode = \"steered\"\naddress = \"{address}\"\n"))
        .set("node", "workers = 2")
        // Never asked: no name here is listed.
        .set("upstream", "resolvers = [\"127.0.0.1:1\"]")
        .set("admin", &format!("address = \"127.0.0.1:{}\"", free_port()))
}

#[test]
fn s_connections_that_wait_in_a_passed_socket_are_served() {
    let listener = TcpListener::bind(("127.0.0.1", free_port())).unwrap();
    let stray = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let stray_address = stray.local_addr().unwrap();
    // They came before there was a gateway.
    let mut waiting: Vec<_> = (0..5).map(|_| unlisted(address)).collect();
    let setup = steered(address);
    let gateway = Passed::start(&setup, listener.into(), stray.into());
    for stream in &mut waiting {
        assert!(is_served(stream), "{}", setup.log());
    }
    assert!(eventually(|| setup.log().contains("gateway runs")), "{}", setup.log());
    let log = setup.log();
    let told = |text: &str| log.lines().any(|line| line.contains("descriptor 4") && line.contains(text));
    assert!(told("the socket is closed") && log.contains(&stray_address.to_string()), "{log}");
    assert!(TcpStream::connect(stray_address).is_err(), "nobody serves it");
    assert!((0..20).all(|_| is_served(&mut unlisted(address))), "{}", setup.log());
    drop(gateway);
}

#[test]
fn s_a_passed_descriptor_that_cannot_serve_ends_with_74_which_and_what_to_do() {
    let listener = TcpListener::bind(("127.0.0.1", free_port())).unwrap();
    let address = listener.local_addr().unwrap();
    let client = TcpStream::connect(address).unwrap();
    let setup = steered(address);
    let mut gateway = Passed::start(&setup, listener.into(), client.into());
    let status = wait(&mut gateway.0).unwrap();
    assert_eq!(status.code(), Some(74), "{}", setup.log());
    for wanted in ["gateway.toml", "descriptor 4 (\"other\")", "does not listen", "ListenStream="] {
        assert!(setup.log().contains(wanted), "{wanted} is missing in {}", setup.log());
    }
}

/// Whoever sets the variables and passes nothing names descriptors that become ours: none is taken, none is closed.
#[test]
fn f27_variables_that_lie_take_no_descriptor_of_ours() {
    for (three, wanted) in [
        ("3<&-", "LISTEN_FDS: found Bad file descriptor"),
        ("3</dev/null", "LISTEN_FDS: descriptor 3 (\"unknown\"): found Socket operation on non-socket"),
    ] {
        let setup = steered(SocketAddr::from(([127, 0, 0, 1], free_port())));
        setup.write_configuration();
        let script =
            format!("exec {three}; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" run --config gateway.toml");
        let output = Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_gateway")])
            .current_dir(setup.path(""))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(74), "{said}");
        assert!(said.contains(wanted), "{said}");
    }
}

#[test]
fn s_the_first_connection_starts_the_gateway_and_is_served() {
    if !has("systemd-socket-activate") {
        return;
    }
    let (port, admin) = (free_port(), free_port());
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let (listen, listen_admin) = (format!("--listen={address}"), format!("--listen=127.0.0.1:{admin}"));
    let first = std::thread::spawn(move || {
        let mut stream = None;
        assert!(eventually(|| {
            stream = TcpStream::connect(address).ok();
            stream.is_some()
        }));
        let mut stream = stream.unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&Hello::named("unlisted.example").wire()).unwrap();
        is_served(&mut stream)
    });
    let gateway = steered(address)
        .set("admin", &format!("address = \"127.0.0.1:{admin}\""))
        .started_by(&["systemd-socket-activate", &listen, &listen_admin])
        .start();
    assert!(first.join().unwrap(), "{}", gateway.log());
    gateway.stop();
}

/// Waits for a message of the gateway with this line; the lines of all before it are put into `seen`.
fn await_line(socket: &UnixDatagram, wanted: &str, seen: &mut Vec<String>) {
    let mut buffer = [0; 1_024];
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    loop {
        let count = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("{wanted}: {error}, {seen:?}"));
        let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
        seen.extend(text.lines().map(str::to_owned));
        if text.lines().any(|line| line == wanted) {
            return;
        }
    }
}

#[test]
fn s_the_service_manager_is_told_what_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let gateway = Setup::new()
        .proxied()
        .environment("NOTIFY_SOCKET", path.to_str().unwrap())
        .environment("WATCHDOG_USEC", &WATCHDOG_MICROS.to_string())
        .start();
    let mut seen = Vec::new();
    await_line(&manager, "READY=1", &mut seen);
    assert!(seen.iter().any(|line| line.starts_with("STATUS=accepting")), "{seen:?}");
    // Several in a row: the workers run.
    for _ in 0..3 {
        await_line(&manager, SIGN_OF_LIFE, &mut seen);
    }
    seen.clear();
    gateway.signal(Signal::HUP);
    await_line(&manager, "RELOADING=1", &mut seen);
    assert!(seen.iter().any(|line| line.starts_with("MONOTONIC_USEC=")), "{seen:?}");
    await_line(&manager, "READY=1", &mut seen);
    gateway.signal(Signal::TERM);
    await_line(&manager, "STOPPING=1", &mut seen);
    assert!(gateway.wait().0.success());
}

/// Whether a sign of life is among what was sent until here and comes within `wait`.
fn is_alive_within(socket: &UnixDatagram, wait: Duration) -> bool {
    let mut buffer = [0; 1_024];
    socket.set_read_timeout(Some(wait)).unwrap();
    while let Ok(count) = socket.recv(&mut buffer) {
        if String::from_utf8_lossy(&buffer[..count]).lines().any(|line| line == SIGN_OF_LIFE) {
            return true;
        }
    }
    false
}

/// The service manager ends a node of which one worker stands still, whichever it is: the others do not speak for it.
#[test]
fn t41_one_worker_of_two_that_hangs_ends_the_signs_of_life() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let gateway = Setup::new()
        .proxied()
        .set("node", "workers = 2")
        .environment("NOTIFY_SOCKET", path.to_str().unwrap())
        .environment("WATCHDOG_USEC", &WATCHDOG_MICROS.to_string())
        .start();
    let told = || gateway.log().matches("a worker does not answer").count();
    for worker in ["worker-0", "worker-1"] {
        for _ in 0..SIGNS {
            await_line(&manager, SIGN_OF_LIFE, &mut Vec::new());
        }
        let before = told();
        let Some(held) = Held::thread(gateway.pid(), worker) else { return };
        // A loaded machine may have had the log say so of a worker that was only late: one of these is this one's.
        assert!(eventually(|| told() > before), "{worker}\n{}", gateway.log());
        let silence = SIGNS * Duration::from_micros(u64::from(WATCHDOG_MICROS));
        assert!(eventually(|| !is_alive_within(&manager, silence)), "{worker}: it is said to be alive");
        drop(held);
        // All of it was its doing.
        await_line(&manager, SIGN_OF_LIFE, &mut Vec::new());
    }
    gateway.stop();
}

#[test]
fn s_a_service_manager_that_does_not_answer_is_no_reason_to_end() {
    let gateway = Setup::new().proxied().environment("NOTIFY_SOCKET", "/nonexistent/notify").start();
    assert!(eventually(|| gateway.log().contains("NOTIFY_SOCKET")), "{}", gateway.log());
    gateway.reload();
    assert_eq!(gateway.log().matches("NOTIFY_SOCKET").count(), 1, "{}", gateway.log());
    gateway.stop();
}

/// The shipped units as systemd reads them.
#[test]
fn s_the_shipped_units_are_right() {
    if !has("systemd-analyze") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/examples");
    for name in ["gateway.service", "gateway.socket"] {
        let text = std::fs::read_to_string(examples.join(name)).unwrap();
        // The program stands elsewhere here.
        let text = text.replace("/usr/bin/gateway", env!("CARGO_BIN_EXE_gateway"));
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--recursive-errors=no", "gateway.service", "gateway.socket"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<_> = said.lines().filter(|line| line.contains("gateway.")).collect();
    assert!(output.status.success() && ours.is_empty(), "{said}");
}

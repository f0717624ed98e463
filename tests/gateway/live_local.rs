//! Programs on the same machine: a balancer that speaks over a Unix socket, and accounts that may not.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};

use support::client::{connect_from, finish, proxied_subscriber, proxy_v2, read_exactly, subscriber};
use support::hellos::Hello;
use support::origin::Origin;
use support::successor::Successor;
use support::world::World;
use support::{Ended, PATIENCE, Setup, eventually, free_port, has};

const LISTED: &str = "www.listed.example";
/// A listener at a socket beside the configuration.
const LISTENER: &str = "mode = \"proxy_protocol\"\nsocket = \"proxy.sock\"\n";
/// An account without rights.
const NOBODY: u32 = 65_534;

/// A gateway that a balancer of this machine speaks to over a socket.
fn world() -> World {
    World::with(Origin::echo(), |setup| setup.listener(LISTENER))
}

/// Subscriber `sN` on the way to the origin, behind a header over the socket; his hello was echoed.
fn visit(socket: &Path, number: u8, destination: SocketAddr) -> (UnixStream, usize) {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // A record behind the hello: from there on no second one can follow, and the verdict stands.
    let hello = [Hello::named(LISTED).wire(), vec![23, 3, 3, 0, 1, 0]].concat();
    stream.write_all(&proxy_v2(proxied_subscriber(number), destination)).unwrap();
    stream.write_all(&hello).unwrap();
    let mut echoed = vec![0; hello.len()];
    stream.read_exact(&mut echoed).unwrap();
    assert_eq!(echoed, hello);
    (stream, hello.len())
}

/// Ends a visit in order.
fn end((mut stream, _): (UnixStream, usize)) {
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap(), 0);
}

#[test]
fn f16_haproxy_speaks_over_a_unix_socket_and_every_byte_is_counted() {
    const BYTES: usize = 3_000_000;
    if !has("haproxy") {
        return;
    }
    let world = world();
    let setup = world.gateway.setup();
    let front = free_port();
    let text = format!(
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n\
         listen front\n bind 127.0.0.1:{front}\n tcp-request connection set-dst ipv4({})\n tcp-request connection set-dst-port int(443)\n \
         server gw unix@{} send-proxy-v2\n",
        world.origin.address.ip(),
        setup.path("proxy.sock").display()
    );
    setup.write("haproxy.cfg", &text);
    let _haproxy = Ended(
        Command::new("haproxy")
            .args(["-db", "-q", "-f"])
            .arg(setup.path("haproxy.cfg"))
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .spawn()
            .unwrap(),
    );
    assert!(eventually(|| TcpStream::connect(("127.0.0.1", front)).is_ok()), "{text}");
    let hello = Hello::named(LISTED).wire();
    for number in [1, 2] {
        let mut stream = connect_from(subscriber(number), SocketAddr::from(([127, 0, 0, 1], front)));
        stream.write_all(&hello).unwrap();
        assert_eq!(read_exactly(&mut stream, hello.len()), hello);
        // More than any buffer on the way: it moves inside the kernel, in both directions at once.
        let mut writer = stream.try_clone().unwrap();
        let body: Vec<u8> = (0..BYTES).map(|byte| (byte % 251) as u8).collect();
        let sent = body.clone();
        let sender = std::thread::spawn(move || writer.write_all(&sent).unwrap());
        assert!(read_exactly(&mut stream, BYTES) == body);
        sender.join().unwrap();
        assert_eq!(finish(stream), b"");
    }
    world.gateway.await_flows_closed();
    assert!(world.gateway.metric("zrgw_spliced_bytes_total") > 0);
    let bytes = (hello.len() + BYTES) as u64;
    let usage = world.gateway.stop_and_count();
    for who in ["s1", "s2"] {
        assert_eq!(usage.exempt(who), (bytes, bytes), "{usage:?}");
    }
}

/// Whether the account of this number and this group alone may connect.
fn may_connect(socket: &Path, group: u32) -> bool {
    let status = Command::new("setpriv")
        .args([&format!("--reuid={NOBODY}"), &format!("--regid={group}"), "--clear-groups", "curl", "-s"])
        .args(["-m", "30", "--unix-socket"])
        .arg(socket)
        .arg("http://x/")
        .stdout(Stdio::null())
        .status()
        .unwrap();
    // curl: 7 could not connect; else whatever becomes of a request that is no PROXY header.
    status.code() != Some(7)
}

#[test]
fn f16_sockets_admit_their_group_alone_whatever_the_umask() {
    const GROUP: u32 = 64_321;
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: only root has other accounts");
        return;
    }
    for umask in ["000", "077"] {
        let setup = Setup::new()
            .proxied()
            .listener(&format!("{LISTENER}group = \"{GROUP}\"\n"))
            .resolver("127.0.0.1:53".parse().unwrap())
            .set("dns", "dnstap_socket = \"dnstap.sock\"")
            .set("dns", &format!("dnstap_group = \"{GROUP}\""))
            .started_by(&["sh", "-c", &format!("umask {umask}; exec \"$@\""), "sh"]);
        fs::set_permissions(setup.path(""), fs::Permissions::from_mode(0o755)).unwrap();
        let gateway = setup.start();
        for name in ["proxy.sock", "dnstap.sock"] {
            let socket = gateway.setup().path(name);
            let found = fs::metadata(&socket).unwrap();
            assert_eq!((found.mode() & 0o777, found.gid()), (0o660, GROUP), "{name} under umask {umask}");
            assert!(may_connect(&socket, GROUP) && !may_connect(&socket, NOBODY), "{name}");
        }
        let restart = fs::metadata(gateway.setup().path("state/restart.sock")).unwrap();
        assert_eq!(restart.mode() & 0o777, 0o600);
        gateway.stop();
    }
}

#[test]
fn f16_a_process_that_takes_over_goes_on_at_its_sockets_and_the_last_one_removes_the_balancers() {
    let world = World::with(Origin::echo(), |setup| {
        setup.listener(LISTENER).set("dns", "dnstap_socket = \"dnstap.sock\"")
    });
    let destination = world.destination(443);
    let socket = world.gateway.setup().path("proxy.sock");
    let before = visit(&socket, 1, destination);
    let successor = Successor::take_over(world.gateway.setup());
    let after = visit(&socket, 2, destination);
    let log = world.gateway.log();
    assert!(!log.contains("dnstap is not taken"), "{log}");
    UnixStream::connect(world.gateway.setup().path("dnstap.sock")).unwrap();
    let bytes = before.1 as u64;
    end(before);
    end(after);
    let (status, setup) = world.gateway.wait();
    assert!(status.success() && socket.exists(), "{}", setup.log());
    successor.stop();
    assert!(!socket.exists());
    let usage = setup.usage();
    assert!(usage.conserved);
    for who in ["s1", "s2"] {
        assert_eq!(usage.exempt(who), (bytes, bytes), "{usage:?}");
    }
}

#[test]
fn f16_a_socket_left_behind_is_replaced_and_one_that_is_served_is_told() {
    let world = world();
    let socket = world.gateway.setup().path("proxy.sock");
    end(visit(&socket, 1, world.destination(443)));
    let setup = world.gateway.kill();
    assert!(fs::metadata(&socket).unwrap().file_type().is_socket());
    let gateway = setup.start();
    end(visit(&socket, 1, world.origin.address));
    let setup = gateway.stop();
    let _other = UnixListener::bind(&socket).unwrap();
    let (code, said) = setup.run_to_end();
    assert_eq!(code, 74, "{said}");
    assert!(said.contains("listener.socket: cannot listen at") && said.contains("proxy.sock"), "{said}");
}

#[test]
fn f16_peers_that_nobody_has_stated_are_told_by_check_and_start() {
    let setup = Setup::new()
        .proxied()
        .listener("mode = \"proxy_protocol\"\naddress = \"127.0.0.1:0\"\npeers = [\"127.0.0.1/32\"]\n");
    setup.write_configuration();
    let output = setup.command(&["check", "--config", "gateway.toml"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let gateway = setup.start();
    for told in [said, gateway.log()] {
        assert_eq!(told.matches("local_peers").count(), 1, "{told}");
        assert!(told.contains("listener[0].peers: not stated"), "{told}");
    }
}

/// An ordinary account runs it: its memory is not that account's to read, and no crash leaves it on the disk.
#[test]
fn f16_memory_stays_the_processs_own() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: only root has other accounts");
        return;
    }
    for (line, owner, limit) in [("core_dumps = false", 0, "0"), ("core_dumps = true", NOBODY, "1024")] {
        let number = NOBODY.to_string();
        let setup = Setup::new().proxied().set("node", line).started_by(&[
            "prlimit",
            "--core=1024:1024",
            "setpriv",
            "--reuid",
            &number,
            "--regid",
            &number,
            "--clear-groups",
        ]);
        chown(setup.path(""), Some(NOBODY), Some(NOBODY)).unwrap();
        let gateway = setup.start();
        let process = format!("/proc/{}", gateway.pid());
        assert_eq!(fs::metadata(format!("{process}/status")).unwrap().uid(), owner, "{line}");
        let limits = fs::read_to_string(format!("{process}/limits")).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().nth(4), Some(limit), "{core}");
        assert_eq!(gateway.ask("/metrics").unwrap().0, 200);
        gateway.stop();
    }
}

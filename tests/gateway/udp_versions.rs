//! Versions of QUIC that the gateway does not read (RFC 9000 §6): a steered listener is the server that the client meets and
//! answers; elsewhere the origin does.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

use std::net::UdpSocket;
use std::process::Command;
use std::time::Instant;

use support::client::subscriber;
use support::datagrams::{Header, socket};
use support::hellos::Hello;
use support::quic::{Initial, long_header};
use support::udp_world::{LISTED, UdpWorld};
use support::{Ended, PATIENCE, eventually, has};

/// A version that nobody knows.
const UNKNOWN: u32 = 0x5a6a_7a8b;
const CLIENT: [u8; 5] = *b"clien";
const SERVER: [u8; 8] = *b"chosen-1";

/// A client's first datagram of a version, of so many bytes.
fn first(version: u32, length: usize) -> Vec<u8> {
    let mut datagram = long_header(version, 0, &SERVER, &CLIENT);
    datagram.resize(length, 0x77);
    datagram
}

/// What comes to a socket while it may.
fn answer(client: &UdpSocket) -> Option<Vec<u8>> {
    let mut buffer = [0; 2_000];
    client.recv(&mut buffer).ok().map(|length| buffer[..length].to_vec())
}

#[test]
fn f45_a_steered_listener_negotiates_the_version_and_the_client_goes_on() {
    let server = socket([127, 0, 2, 1]);
    let world = UdpWorld::new(server.local_addr().unwrap().port());
    let client = socket(subscriber(1));
    client.connect(world.gateway.listener(0)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send(&first(UNKNOWN, 1_200)).unwrap();
    let negotiation = answer(&client).expect("an answer");
    let ids = [&[5][..], &CLIENT, &[8], &SERVER].concat();
    assert_eq!(negotiation, [&[0xc0, 0, 0, 0, 0][..], &ids, &1_u32.to_be_bytes()].concat());
    // From the same port it goes on in a version that is read; what was answered goes nowhere.
    let hello = Initial::of(&Hello::named(LISTED).message()).seal();
    client.send(&hello).unwrap();
    let mut buffer = [0; 2_000];
    let mut come = None;
    assert!(eventually(|| {
        come = server.recv_from(&mut buffer).ok();
        come.is_some()
    }));
    let (length, from) = come.unwrap();
    assert!(buffer[..length] == hello);
    server.send_to(b"an answer", from).unwrap();
    assert_eq!(answer(&client).unwrap(), b"an answer");
    world.await_judged("quic", "exempt", "", 1);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), (1_200 + hello.len() as u64, 9 + negotiation.len() as u64));
}

#[test]
fn f45_nothing_else_is_answered() {
    let server = socket([127, 0, 2, 1]);
    let world = UdpWorld::new(server.local_addr().unwrap().port());
    let client = socket(subscriber(1));
    client.connect(world.gateway.listener(0)).unwrap();
    // Too short; a negotiation; a version that is read; not even QUIC.
    for datagram in [first(UNKNOWN, 1_199), first(0, 1_200), first(1, 1_200), vec![0x17; 1_200]] {
        client.send(&datagram).unwrap();
    }
    world.await_refused("not_routed", 1);
    assert_eq!(answer(&client), None);
    let usage = world.gateway.stop_and_count();
    let sent = 1_199 + 3 * 1_200;
    assert_eq!(usage.total(), (sent, 0));
}

#[test]
fn f45_nobody_gains_by_forging_a_source() {
    let server = socket([127, 0, 2, 1]);
    let world = UdpWorld::with(server.local_addr().unwrap().port(), |setup| setup.set("node", "workers = 1"));
    let to = world.gateway.listener(0);
    // Ids may be of any length.
    let mut longest = long_header(UNKNOWN, 0, &[1; 255], &[2; 255]);
    longest.resize(1_200, 0);
    let begun = Instant::now();
    let flood: Vec<UdpSocket> = (0..100).map(|_| socket(subscriber(2))).collect();
    for one in &flood {
        one.send_to(&longest, to).unwrap();
    }
    // When this one is through, all of them are.
    socket(subscriber(1)).send_to(&Initial::of(&Hello::named(LISTED).message()).seal(), to).unwrap();
    assert!(eventually(|| server.recv(&mut [0; 2_000]).is_ok()));
    let seconds = begun.elapsed().as_secs() + 2;
    let answers: Vec<Vec<u8>> = flood
        .iter()
        .filter_map(|one| {
            one.set_nonblocking(true).unwrap();
            answer(one)
        })
        .collect();
    assert!(answers.iter().all(|answer| answer.len() < 600), "less than half of what was sent");
    assert!((1..=16 * seconds).contains(&(answers.len() as u64)), "{} in {seconds} s", answers.len());
    let usage = world.gateway.stop_and_count();
    let down: u64 = answers.iter().map(|answer| answer.len() as u64).sum();
    assert_eq!(usage.unattributed("undecided").1, down, "nobody's, for no server answered");
}

#[test]
fn f45_elsewhere_the_origin_is_asked() {
    let server = socket([127, 0, 2, 1]);
    let world = UdpWorld::new(server.local_addr().unwrap().port());
    let access = world.proxied(1, Header::Each);
    access.inject(&first(UNKNOWN, 1_200));
    let mut buffer = [0; 2_000];
    assert!(eventually(|| server.recv(&mut buffer).is_ok_and(|length| length == 1_200)));
    assert!(buffer[..1_200] == first(UNKNOWN, 1_200));
    assert_eq!(access.carried().1, 0);
}

/// A client that begins in a version of its own finds to the one that all speak.
#[test]
fn f45_ngtcp2_loads_a_page_after_the_version_was_negotiated() {
    if !has("gtlsserver") || !has("gtlsclient") || !rustix::process::geteuid().is_root() {
        println!("SKIPPED: no gtlsserver, no gtlsclient or no right to mount");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir_all(path("htdocs")).unwrap();
    std::fs::create_dir_all(path("got")).unwrap();
    std::fs::write(path("htdocs/page"), vec![b'x'; 300_000]).unwrap();
    let certified = rcgen::generate_simple_self_signed([LISTED.to_owned()]).unwrap();
    std::fs::write(path("key.pem"), certified.signing_key.serialize_pem()).unwrap();
    std::fs::write(path("cert.pem"), certified.cert.pem()).unwrap();
    let port = socket([127, 0, 2, 1]).local_addr().unwrap().port();
    let world = UdpWorld::new(port);
    let log = std::fs::File::create(path("server.log")).unwrap();
    let mut server = Command::new("gtlsserver");
    server.arg("-q").arg("-d").arg(path("htdocs")).arg("127.0.2.1").arg(port.to_string());
    server.arg(path("key.pem")).arg(path("cert.pem")).stdout(log.try_clone().unwrap()).stderr(log);
    let _server = Ended(server.spawn().unwrap());
    let gateway = world.gateway.listener(0);
    std::fs::write(path("hosts"), format!("{} {LISTED}\n", gateway.ip())).unwrap();
    let mut said = String::new();
    let loaded = eventually(|| {
        // Its name resolves to the gateway in a mount namespace of the client's own.
        let mut client = Command::new("unshare");
        client.args([
            "--mount",
            "sh",
            "-c",
            "mount --bind \"$0\" /etc/hosts && exec timeout 20 gtlsclient \"$@\"",
        ]);
        client.arg(path("hosts")).args(["-q", "--exit-on-all-streams-close", "--version=0x5a6a7a8b"]);
        client.arg("--preferred-versions=v1").arg(format!("--download={}", path("got").display()));
        client.arg(LISTED).arg(gateway.port().to_string()).arg(format!("https://{LISTED}/page"));
        // The server may not listen yet.
        let output = client.output().unwrap();
        said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        output.status.success()
            && std::fs::read(path("got").join("page")).is_ok_and(|page| page.len() == 300_000)
    });
    assert!(loaded, "{said}");
}

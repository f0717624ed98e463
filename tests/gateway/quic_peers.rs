//! The name in the Initials of real clients: quinn through a relay that takes notes, ngtcp2 and Chromium; each time it
//! is the name that the server read.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

use support::quinn_peers as peers;

use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gateway::flow::identify::{Identity, Progress, QuicIdentifier};
use gateway::wire::quic::{QuicLimits, server_connection_id, short_header_starts_with};
use peers::{From, PATIENCE, client, echo, long_alpn, of_client, relay, server};

const ASKED: &str = "captured.example.edu";
const V1: u32 = 1;

/// What the client's datagrams come to; how many it took.
fn identify(datagrams: &[Vec<u8>]) -> (Identity, usize) {
    let mut identifier = QuicIdentifier::new(&QuicLimits::default());
    let mut taken = 1;
    for datagram in datagrams {
        taken += usize::from(identifier.observe(datagram) == Progress::Undecided);
        assert!(identifier.buffer_bytes() <= 20 * 1024);
    }
    identifier.finish();
    (identifier.identity().unwrap().clone(), taken)
}

fn assert_named(datagrams: &[Vec<u8>], name: &str) {
    let (identity, _) = identify(datagrams);
    assert_eq!((identity.name.as_ref().map(|name| name.as_str()), identity.gave_up), (Some(name), None));
}

/// One event loop for a test, with an end.
fn within(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("in time") });
    runtime.shutdown_background();
}

const NEVER: fn(usize) -> bool = |_| false;
const ALWAYS: fn(usize) -> bool = |_| true;

#[test]
fn q14_quinn_in_version_1_and_the_drafts_it_speaks() {
    within(async {
        let (address, certificate, read) = server(&[ASKED], false);
        for version in [V1, 0xff00_001d, 0xff00_0020, 0xff00_0021, 0xff00_0022] {
            let (front, notes) = relay(address, NEVER, ALWAYS).await;
            let endpoint = client(&certificate, &[], version);
            let connection = endpoint.connect(front, ASKED).unwrap().await.unwrap();
            echo(&connection).await;
            assert_named(&of_client(&notes, 0), ASKED);
            assert_eq!(read.lock().unwrap().pop().flatten().as_deref(), Some(ASKED), "{version:#x}");
        }
    });
}

#[test]
fn q14_i_t2_quinn_with_a_hello_over_two_datagrams_and_one_of_them_lost() {
    within(async {
        let (address, certificate, read) = server(&[ASKED], false);
        for lost in [NEVER, |number| number == 0, |number| number == 1, |number| number < 2] {
            for noted in [ALWAYS, |number| number != 0, |number| number != 1, |number| number > 1] {
                let (front, notes) = relay(address, lost, noted).await;
                let endpoint = client(&certificate, &long_alpn(), V1);
                let connection = endpoint.connect(front, ASKED).unwrap().await.unwrap();
                echo(&connection).await;
                let datagrams = of_client(&notes, 0);
                let (identity, taken) = identify(&datagrams);
                let name = identity.name.as_ref().map(|name| name.as_str());
                println!("{} datagrams, {taken} taken, {name:?} {:?}", datagrams.len(), identity.gave_up);
                if (0..2).all(noted) {
                    assert_eq!((name, identity.gave_up), (Some(ASKED), None));
                    assert!(taken >= 2, "the hello is longer than a datagram");
                } else {
                    // What was not noted may come again or not; another name never comes.
                    assert!(name.is_none_or(|name| name == ASKED));
                }
                assert_eq!(read.lock().unwrap().pop().flatten().as_deref(), Some(ASKED));
            }
        }
    });
}

#[test]
fn q14_q4_quinn_after_a_retry_and_an_observer_who_comes_then() {
    within(async {
        let (address, certificate, read) = server(&[ASKED], true);
        for alpn in [Vec::new(), long_alpn()] {
            let (front, notes) = relay(address, NEVER, ALWAYS).await;
            let connection = client(&certificate, &alpn, V1).connect(front, ASKED).unwrap().await.unwrap();
            echo(&connection).await;
            assert_named(&of_client(&notes, 0), ASKED);
            let retry =
                |(from, datagram): &(From, Vec<u8>)| *from == From::Server && datagram[0] >> 4 & 3 == 3;
            let at = notes.lock().unwrap().iter().position(retry).expect("a Retry");
            assert_named(&of_client(&notes, at), ASKED);
            assert_eq!(read.lock().unwrap().pop().flatten().as_deref(), Some(ASKED));
        }
    });
}

#[test]
fn q14_q5_q6_quinn_resumed_with_early_data_and_the_fixed_bit_cleared() {
    within(async {
        let (address, certificate, _) = server(&[ASKED], false);
        let (front, notes) = relay(address, NEVER, ALWAYS).await;
        let endpoint = client(&certificate, &[], V1);
        let connection = endpoint.connect(front, ASKED).unwrap().await.unwrap();
        echo(&connection).await;
        connection.close(0_u32.into(), b"");
        let (mut early, mut cleared) = (0, 0);
        // Whether the bit is cleared is a throw of quinn's dice: 40 throws miss once in 10^12.
        for _ in 0..40 {
            let before = notes.lock().unwrap().len();
            let connecting = endpoint.connect(front, ASKED).unwrap();
            let Ok((connection, accepted)) = connecting.into_0rtt() else { panic!("a ticket is there") };
            echo(&connection).await;
            assert!(accepted.await, "early data is accepted");
            let datagrams = of_client(&notes, before);
            // What the connection before said last comes first.
            let first = datagrams.iter().position(|datagram| datagram[0] & 0xb0 == 0x80).expect("an Initial");
            early += usize::from(datagrams.iter().any(|datagram| datagram[0] & 0xb0 == 0x90));
            cleared += usize::from(datagrams[first][0] & 0x40 == 0);
            assert_named(&datagrams[first..], ASKED);
            connection.close(0_u32.into(), b"");
            if cleared > 0 && early > 0 {
                break;
            }
        }
        assert!(cleared > 0, "an Initial without the fixed bit");
    });
}

#[test]
fn q12_the_connection_id_of_the_server_stands_in_short_headers_of_the_client() {
    within(async {
        let (address, certificate, _) = server(&[ASKED], false);
        let (front, notes) = relay(address, NEVER, ALWAYS).await;
        let connection = client(&certificate, &[], V1).connect(front, ASKED).unwrap().await.unwrap();
        echo(&connection).await;
        let notes = notes.lock().unwrap();
        let id = notes.iter().find_map(|(from, datagram)| match from {
            From::Server => server_connection_id(datagram),
            From::Client => None,
        });
        let id = id.expect("the server chose one");
        let short: Vec<_> = notes
            .iter()
            .filter(|(from, datagram)| *from == From::Client && datagram[0] & 0x80 == 0)
            .collect();
        assert!(short.len() > 2);
        assert!(short.iter().all(|(_, datagram)| short_header_starts_with(datagram, &id)));
        assert!(
            notes
                .iter()
                .filter(|(from, _)| *from == From::Server)
                .all(|(_, datagram)| { !short_header_starts_with(datagram, &id) })
        );
    });
}

#[test]
fn t16_two_connections_of_quinn_from_one_port_to_two_names() {
    within(async {
        let (address, certificate, _) = server(&[ASKED, "other.example"], false);
        let (front, notes) = relay(address, NEVER, ALWAYS).await;
        let endpoint = client(&certificate, &[], V1);
        echo(&endpoint.connect(front, ASKED).unwrap().await.unwrap()).await;
        echo(&endpoint.connect(front, ASKED).unwrap().await.unwrap()).await;
        assert_named(&of_client(&notes, 0), ASKED);
        echo(&endpoint.connect(front, "other.example").unwrap().await.unwrap()).await;
        let (identity, _) = identify(&of_client(&notes, 0));
        assert_eq!(identity.name.unwrap().as_str(), ASKED);
        assert_eq!(identity.gave_up, Some(billing_export::Reason::SecondName));
    });
}

/// Ends a client when the test is done with it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a client sends to a socket of ours that never answers, until its name is known.
fn datagrams_of(program: &str, arguments: &[&str]) -> Vec<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let port = socket.local_addr().unwrap().port().to_string();
    let client = Command::new(program)
        .args(arguments.iter().map(|argument| argument.replace("{port}", &port)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}; tests/run installs the clients these tests use"));
    let _running = Running(client);
    let mut identifier = QuicIdentifier::new(&QuicLimits::default());
    let (mut datagrams, mut buffer, started) = (Vec::new(), vec![0; 65_536], Instant::now());
    let mut first = None;
    while started.elapsed() < Duration::from_secs(60) {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        // A browser may try several connections; each port is a flow of its own.
        if *first.get_or_insert(from) != from {
            continue;
        }
        datagrams.push(buffer[..length].to_vec());
        if identifier.observe(&buffer[..length]) != Progress::Undecided {
            return datagrams;
        }
    }
    panic!("{program} said {} datagrams and no name", datagrams.len());
}

#[test]
fn q7_t12_the_shuffled_hello_of_chromium_over_two_datagrams() {
    let profile = tempfile::tempdir().unwrap();
    let profile = format!("--user-data-dir={}", profile.path().display());
    let map = format!("--host-resolver-rules=MAP {ASKED} 127.0.0.1:{{port}}, MAP * ~NOTFOUND");
    let force = format!("--origin-to-force-quic-on={ASKED}:443");
    let url = format!("https://{ASKED}/");
    let arguments = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--enable-quic",
        "--no-first-run",
        &force,
        &profile,
        &map,
        &url,
    ];
    let datagrams = datagrams_of("chromium", &arguments);
    assert_named(&datagrams, ASKED);
    assert!(datagrams.len() >= 2, "a post-quantum hello takes more than a datagram");
    let (identity, _) = identify(&datagrams);
    assert!(identity.ech.is_some_and(|ech| ech.config_id.is_some()), "chromium sends GREASE ECH");
}

#[test]
fn the_hello_of_ngtcp2() {
    // It asks for localhost when it is given an address.
    let arguments = ["-q", "127.0.0.1", "{port}", "https://localhost/"];
    assert_named(&datagrams_of("gtlsclient", &arguments), "localhost");
}

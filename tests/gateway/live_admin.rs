//! The admin endpoint under other people's hands: whoever watches the node is served, and no web page reads it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::{Gateway, PATIENCE, Setup};

/// More than the places there are.
const MANY: usize = 45;

/// Connections that send `first` and then nothing.
fn silent(gateway: &Gateway, first: &[u8]) -> Vec<TcpStream> {
    let connect = |_| {
        let mut stream = TcpStream::connect(gateway.admin()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(first).unwrap();
        stream
    };
    (0..MANY).map(connect).collect()
}

/// curl as a client of another make: code and body.
fn curl(gateway: &Gateway, host: &str, more: &[&str]) -> (String, String) {
    let (port, limit) = (gateway.admin().port(), PATIENCE.as_secs().to_string());
    let output = Command::new("curl")
        .args(["-s", "-m", &limit, "-w", "\n%{http_code}"])
        .args(more)
        .arg(format!("http://{host}:{port}/healthz"))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let (body, code) = said.rsplit_once('\n').unwrap();
    (code.to_owned(), body.to_owned())
}

#[test]
fn f16_connections_that_say_nothing_or_drip_keep_nobody_else_out() {
    let gateway = Setup::new().proxied().start();
    let _nothing = silent(&gateway, b"");
    assert_eq!(gateway.ask("/healthz").unwrap().0, 200);
    let _begun = silent(&gateway, b"GET /metrics HTTP/1.1\r\nHost: local");
    assert_eq!(gateway.ask("/metrics").unwrap().0, 200);
    let _kept = silent(&gateway, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(gateway.ask("/readyz").unwrap().0, 200);
    let ended = Arc::new(AtomicBool::new(false));
    let drip = {
        let (mut all, ended) = (silent(&gateway, b"GET / HTTP/1.1\r\nX: "), Arc::clone(&ended));
        std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                all.iter_mut().for_each(|stream| drop(stream.write(b"x")));
                std::thread::sleep(Duration::from_millis(50));
            }
        })
    };
    for _ in 0..20 {
        assert_eq!(gateway.ask("/healthz").unwrap().0, 200);
    }
    ended.store(true, Ordering::Relaxed);
    drip.join().unwrap();
}

/// The behaviour has a deadline of its own: 5 s for a request, however its bytes come.
#[test]
fn f16_a_request_that_drips_is_ended_though_there_is_room() {
    let gateway = Setup::new().proxied().start();
    let mut stream = TcpStream::connect(gateway.admin()).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nX: ").unwrap();
    let (began, mut buffer) = (Instant::now(), [0; 256]);
    loop {
        assert!(began.elapsed() < PATIENCE, "still open");
        let dripped = stream.write_all(b"x");
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && dripped.is_ok() => {}
            Err(_) => break,
        }
    }
    assert!(began.elapsed() >= Duration::from_secs(4), "{:?}", began.elapsed());
}

/// A connection that is used goes on, and what it asks is answered each time.
#[test]
fn f16_a_connection_is_used_again() {
    let gateway = Setup::new().proxied().start();
    let mut stream = TcpStream::connect(gateway.admin()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    for _ in 0..3 {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"ok\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"));
    }
}

#[test]
fn f16_the_endpoint_is_asked_by_address_localhost_and_stated_names_alone() {
    let gateway = Setup::new().proxied().set("admin", "hosts = [\"gw1.example.net\"]").start();
    let resolved = |name: &str| format!("{name}:{}:127.0.0.1", gateway.admin().port());
    for (host, more) in [
        ("127.0.0.1", vec![]),
        ("localhost", vec!["-4"]),
        ("127.0.0.1", vec!["-0"]),
        ("127.0.0.1", vec!["-0", "-H", "Host:"]),
        ("127.0.0.1", vec!["-H", "Host: [::1]:9464"]),
        ("gw1.example.net", vec!["--resolve", &resolved("gw1.example.net")]),
    ] {
        assert_eq!(curl(&gateway, host, &more), ("200".to_owned(), "ok\n".to_owned()), "{host} {more:?}");
    }
    let (code, said) = curl(&gateway, "evil.example", &["--resolve", &resolved("evil.example")]);
    assert_eq!(code, "421");
    assert!(said.contains("admin.hosts"), "{said}");
}

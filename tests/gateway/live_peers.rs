//! The running gateway among programs of other makes: tcpdump and tshark count what it exports; curl, openssl, nc, haproxy
//! and chromium speak through it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::client::*;
use support::origin;
use support::usage::Usage;
use support::world::World;
use support::{Gateway, PATIENCE, eventually, free_port, has, wait};

const LISTED: &str = "www.listed.example";

/// A capture of everything to and from a port of loopback.
struct Capture {
    process: Child,
    file: std::path::PathBuf,
}

impl Capture {
    fn start(gateway: &Gateway, port: u16) -> Self {
        let file = gateway.setup().path("subscriber.pcap");
        let mut process = Command::new("tcpdump")
            .args([
                "-i",
                "lo",
                "-n",
                "--immediate-mode",
                "-U",
                "-Z",
                "root",
                "-s",
                "128",
                "-B",
                "16384",
                "-w",
            ])
            .arg(&file)
            .arg(format!("tcp port {port}"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let mut stderr = process.stderr.take().unwrap();
        let mut byte = [0];
        while !said.contains("listening on") {
            assert_eq!(stderr.read(&mut byte).unwrap(), 1, "tcpdump: {said}");
            said.push(char::from(byte[0]));
        }
        std::thread::spawn(move || stderr.read_to_end(&mut Vec::new()));
        Self { process, file }
    }

    /// TCP payload up and down as tshark reads it, repeats of the same sequence number left out.
    fn payload(mut self, port: u16) -> (u64, u64) {
        // What was sent last is written when the capture file, which begins with 24 bytes of header, stops growing.
        let mut size = 0;
        eventually(|| {
            std::thread::sleep(Duration::from_millis(300));
            let before = std::mem::replace(&mut size, std::fs::metadata(&self.file).unwrap().len());
            before == size && size > 24
        });
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.process.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        assert!(wait(&mut self.process).is_some());
        let output = Command::new("tshark")
            .arg("-r")
            .arg(&self.file)
            .args(["-Y", "tcp.len > 0 && !tcp.analysis.retransmission"])
            .args(["-T", "fields", "-e", "tcp.dstport", "-e", "tcp.len"])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (mut up, mut down) = (0, 0);
        for line in text.lines() {
            let (to, length) = line.split_once('\t').unwrap();
            let sum = if to == port.to_string() { &mut up } else { &mut down };
            *sum += length.parse::<u64>().unwrap();
        }
        (up, down)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn t26_t27_exported_bytes_are_those_of_a_capture_of_the_subscribers_side() {
    const SIZE: usize = 10_000_000;
    if !has("tcpdump") || !has("tshark") || !has("curl") {
        return;
    }
    let world = World::new(origin::https(SocketAddr::from(([127, 0, 2, 1], 0)), &[LISTED]));
    let port = world.gateway.listener(0).port();
    let capture = Capture::start(&world.gateway, port);
    let output = curl(1, world.gateway.listener(0), &format!("https://{LISTED}/{SIZE}"), &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stdout.len(), SIZE);
    // Unlisted: refused by an alert, and that is counted too.
    let output = curl(2, world.gateway.listener(0), "https://unlisted.example/1", &[]);
    assert!(!output.status.success());
    let captured = capture.payload(port);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.total(), captured);
    let (up, down) = usage.exempt_for("s1", "school");
    assert!(down > SIZE as u64 && up > 200, "{up} {down}");
    // T27: handshake and all.
    assert_eq!(usage.of("s1"), (up, down), "nothing of it is charged");
    assert_eq!(usage.exempt("s2"), (0, 0));
    assert_eq!(usage.charged("s2", "not_listed"), (captured.0 - up, captured.1 - down));
}

/// What several clients fetched is exempt and nothing else was counted.
fn assert_all_exempt(usage: &Usage, subscriber: &str, least: u64) {
    let (_, down) = usage.exempt_for(subscriber, "school");
    assert!(down >= least, "{subscriber}: {down}");
    assert_eq!(usage.of(subscriber), usage.exempt(subscriber), "{subscriber}");
}

#[test]
fn openssl_s_client_with_a_hello_retry_and_with_tls_1_2() {
    if !has("openssl") {
        return;
    }
    let world = World::new(origin::https(SocketAddr::from(([127, 0, 2, 1], 0)), &[LISTED]));
    let to = world.gateway.listener(0).to_string();
    // The origin has no P-521: it asks for another group, and the second hello names the same site (T5).
    for (number, options) in [(1, "-groups P-521:X25519"), (2, "-tls1_2")] {
        let mut child = Command::new("openssl")
            .args(["s_client", "-quiet", "-bind", &format!("127.0.1.{number}:0")])
            .args(["-connect", &to, "-servername", LISTED])
            .args(options.split(' '))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        write!(stdin, "GET /20000 HTTP/1.1\r\nHost: {LISTED}\r\nConnection: close\r\n\r\n").unwrap();
        let mut page = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut page).unwrap();
        drop(stdin);
        assert!(wait(&mut child).is_some());
        assert!(page.len() > 20_000, "{options}: {}", String::from_utf8_lossy(&page));
    }
    let usage = world.gateway.stop_and_count();
    assert_all_exempt(&usage, "s1", 20_000);
    assert_all_exempt(&usage, "s2", 20_000);
}

#[test]
fn openssl_s_server_and_nc_as_peers() {
    if !has("openssl") || !has("curl") || !has("nc") {
        return;
    }
    let world = World::new(origin::http(SocketAddr::from(([127, 0, 2, 1], 0))));
    // s_server stands where the name's second address points: the same port, another address.
    world.resolver.add("secure.listed.example", [127, 0, 2, 5]);
    let certified = rcgen::generate_simple_self_signed(["secure.listed.example".to_owned()]).unwrap();
    let setup = world.gateway.setup();
    setup.write("cert.pem", certified.cert.pem());
    setup.write("key.pem", certified.signing_key.serialize_pem());
    let address = SocketAddr::from(([127, 0, 2, 5], world.origin.port()));
    let mut server = Command::new("openssl")
        .args(["s_server", "-www", "-accept", &address.to_string(), "-cert"])
        .arg(setup.path("cert.pem"))
        .arg("-key")
        .arg(setup.path("key.pem"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    assert!(eventually(|| TcpStream::connect_timeout(&address, PATIENCE).is_ok()));
    let output = curl(1, world.gateway.listener(0), "https://secure.listed.example/", &[]);
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("Ciphers supported"));
    let to = world.gateway.listener(0);
    let mut nc = Command::new("nc")
        .args(["-N", "-s", "127.0.1.2", "127.0.0.1", &to.port().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let request = format!("GET /3000 HTTP/1.1\r\nHost: {LISTED}\r\n\r\n");
    nc.stdin.take().unwrap().write_all(request.as_bytes()).unwrap();
    let mut page = Vec::new();
    nc.stdout.take().unwrap().read_to_end(&mut page).unwrap();
    assert!(wait(&mut nc).is_some());
    assert!(page.ends_with(&[b'x'; 3_000]));
    let usage = world.gateway.stop_and_count();
    assert_all_exempt(&usage, "s1", 1_000);
    assert_eq!(usage.exempt("s2"), (request.len() as u64, page.len() as u64));
}

#[test]
fn haproxy_sends_proxy_headers_of_both_versions() {
    if !has("haproxy") || !has("curl") {
        return;
    }
    let world = World::new(origin::https(SocketAddr::from(([127, 0, 2, 1], 0)), &[LISTED]));
    let setup = world.gateway.setup();
    // The balancer names clients 127.0.1.N; those are in the table as well.
    let fronts: Vec<u16> = (0..2).map(|_| free_port()).collect();
    let mut text =
        String::from("defaults\n mode tcp\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n");
    for (front, header) in fronts.iter().zip(["send-proxy", "send-proxy-v2"]) {
        text += &format!(
            "listen l{front}\n bind 127.0.0.1:{front}\n tcp-request connection set-dst ipv4({})\n tcp-request connection set-dst-port int(443)\n server gw {} {header}\n",
            world.origin.address.ip(),
            world.gateway.listener(1)
        );
    }
    setup.write("haproxy.cfg", &text);
    let mut haproxy = Command::new("haproxy")
        .args(["-db", "-q", "-f"])
        .arg(setup.path("haproxy.cfg"))
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .spawn()
        .unwrap();
    let up = eventually(|| fronts.iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok()));
    let mut pages = Vec::new();
    for (front, number) in fronts.iter().zip([1, 2]) {
        let to = SocketAddr::from(([127, 0, 0, 1], *front));
        pages.push(curl(number, to, &format!("https://{LISTED}/40000"), &[]));
    }
    haproxy.kill().unwrap();
    haproxy.wait().unwrap();
    assert!(up, "haproxy does not start:\n{text}");
    for page in pages {
        assert_eq!(page.stdout.len(), 40_000, "{}", String::from_utf8_lossy(&page.stderr));
    }
    let usage = world.gateway.stop_and_count();
    assert_all_exempt(&usage, "s1", 40_000);
    assert_all_exempt(&usage, "s2", 40_000);
}

#[test]
fn chromium_loads_a_page_through_a_steered_listener() {
    if !has("chromium") {
        return;
    }
    let world = World::with(origin::https(SocketAddr::from(([127, 0, 2, 1], 0)), &[LISTED]), |setup| {
        setup
            .write("subscribers.csv", "prefix,subscriber_type,subscriber_id\n127.0.0.1/32,account,browser\n");
        setup
    });
    let profile = world.gateway.setup().path("profile");
    let mut browser = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--ignore-certificate-errors",
            "--no-first-run",
        ])
        .args(["--disable-background-networking", "--disable-dev-shm-usage"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("--host-resolver-rules=MAP * {}", world.gateway.listener(0)))
        .args(["--dump-dom", &format!("https://{LISTED}/5000")])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut output = browser.stdout.take().unwrap();
    let page = std::thread::spawn(move || {
        let mut page = Vec::new();
        output.read_to_end(&mut page).map(|_| page)
    });
    let ended = wait(&mut browser);
    let _ = browser.kill();
    let _ = browser.wait();
    assert!(ended.is_some(), "chromium did not end");
    let page = String::from_utf8(page.join().unwrap().unwrap()).unwrap();
    assert!(page.contains(&"x".repeat(5_000)), "{page}");
    let usage = world.gateway.stop_and_count();
    let (_, down) = usage.exempt_for("browser", "school");
    assert!(down > 5_000, "{usage:?}");
    assert_eq!(usage.exempt("browser"), usage.exempt_for("browser", "school"));
}

//! Chromium loads a page over HTTP/3 through the steered listener: its hello in QUIC names the site, and the bytes are
//! exempt.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

use std::io::Read as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use support::dns::Resolver;
use support::http3::Http3Origin;
use support::{Setup, has, wait};

const LISTED: &str = "www.listed.example";
/// Size of the page: larger than what Chromium says of itself, so that the direction cannot be mistaken.
const PAGE_BYTES: usize = 200_000;

/// The page as Chromium has it, asked for over QUIC at `address`.
fn browse(folder: &std::path::Path, address: SocketAddr, key_hash: &str) -> String {
    let mut browser = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--enable-quic", &format!("--origin-to-force-quic-on={LISTED}:443")])
        .arg(format!("--ignore-certificate-errors-spki-list={key_hash}"))
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .arg(format!("--host-resolver-rules=MAP {LISTED} {address}, MAP * ~NOTFOUND"))
        .args(["--dump-dom", &format!("https://{LISTED}/{PAGE_BYTES}")])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut output = browser.stdout.take().unwrap();
    let page = std::thread::spawn(move || {
        let mut page = String::new();
        output.read_to_string(&mut page).map(|_| page)
    });
    let ended = wait(&mut browser);
    let _ = browser.kill();
    let _ = browser.wait();
    assert!(ended.is_some(), "chromium did not end");
    page.join().unwrap().unwrap()
}

#[test]
fn q14_chromium_loads_a_page_over_http3_through_a_steered_listener() {
    if !has("chromium") || !has("openssl") {
        return;
    }
    let origin = Http3Origin::at(SocketAddr::from(([127, 0, 2, 1], 0)), &[LISTED]);
    let resolver = Resolver::new(&[(LISTED, [127, 0, 2, 1])]);
    let setup = Setup::new().steered().resolver(resolver.address).port_map(&[(443, origin.address.port())]);
    setup.write("subscribers.csv", "prefix,subscriber_type,subscriber_id\n127.0.0.1/32,account,browser\n");
    let gateway = setup.start();
    let page = browse(gateway.setup().path("").as_path(), gateway.listener(0), &origin.key_hash);
    assert!(page.contains(&"x".repeat(PAGE_BYTES)), "{} bytes: {}", page.len(), gateway.log());
    assert!(origin.requests() >= 1);
    let usage = gateway.stop_and_count();
    let (up, down) = usage.exempt_for("browser", "school");
    assert!(down > PAGE_BYTES as u64 && up > 1_000, "{usage:?}");
    assert_eq!(usage.exempt("browser"), (up, down));
}

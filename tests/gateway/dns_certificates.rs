//! The certificate of DNS over TLS: read again at SIGHUP, never lost to a bad file, and judged by `gateway check`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use rcgen::{CertificateParams, KeyPair, SerialNumber, date_time_ymd};
use support::ask::{kdig, plane};
use support::plane::{knows_every_name, with_plane};
use support::scripted::Scripted;
use support::unbound::LISTED;
use support::{Gateway, Setup, has};

/// A certificate of this serial number, good from one year's beginning to another's, and its key.
fn certificate(serial: u64, from: i32, to: i32) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["dns.example".to_owned()]).unwrap();
    params.serial_number = Some(SerialNumber::from(serial));
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(to, 1, 1);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// Writes a certificate and its key where the configuration says.
fn lay(setup: &Setup, (certificate, key): &(String, String)) {
    setup.write("dns.crt", certificate);
    setup.write("dns.key", key);
}

/// A node with DNS over TLS whose files are not there yet.
fn setup(upstream: &Scripted) -> Setup {
    with_plane(Setup::new().proxied(), &[upstream.address])
        .set("dns", "tls_listen = [\"127.0.0.1:0\"]")
        .set("dns", "tls_certificate = \"dns.crt\"")
        .set("dns", "tls_key = \"dns.key\"")
        .set("dns", "clients = [\"subscribers\", \"127.0.0.0/8\"]")
}

/// Where a gateway serves DNS over TLS.
fn over_tls(gateway: &Gateway) -> SocketAddr {
    plane(gateway)[1]
}

/// The serial number of the certificate that a new handshake of OpenSSL is shown; none when there is none.
fn shown(address: SocketAddr) -> Option<u64> {
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &address.to_string(), "-servername", "dns.example"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let begin = said.find("-----BEGIN CERTIFICATE-----")?;
    let end = said.find("-----END CERTIFICATE-----")? + "-----END CERTIFICATE-----\n".len();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shown.pem");
    std::fs::write(&file, &said[begin..end]).unwrap();
    let output =
        Command::new("openssl").args(["x509", "-noout", "-serial", "-in"]).arg(&file).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    u64::from_str_radix(text.trim().strip_prefix("serial=")?, 16).ok()
}

#[test]
fn t41_a_reload_shows_new_clients_the_new_certificate_and_a_bad_file_keeps_the_old() {
    if !has("openssl") || !has("kdig") {
        return;
    }
    let upstream = knows_every_name();
    let setup = setup(&upstream);
    let first = certificate(0x11, 2020, 2099);
    lay(&setup, &first);
    let gateway = setup.start();
    let address = over_tls(&gateway);
    assert_eq!(shown(address), Some(0x11));
    let second = certificate(0x22, 2020, 2099);
    lay(gateway.setup(), &second);
    assert_eq!(shown(address), Some(0x11), "not before SIGHUP");
    gateway.reload();
    assert_eq!(shown(address), Some(0x22));
    let said = kdig(address, &["+tls", LISTED, "A"]);
    assert!(said.contains("127.0.2.1"), "{said}");
    let other = certificate(0x33, 2020, 2099);
    let bad = [
        ("another's key", (second.0.clone(), other.1.clone()), "not of the certificate"),
        ("no certificate", (String::new(), second.1.clone()), "dns.crt"),
        ("half a file", (second.0[..second.0.len() / 2].to_owned(), second.1.clone()), "dns.crt"),
        ("no key", (second.0.clone(), String::new()), "dns.key"),
        ("expired", certificate(0x44, 2020, 2021), "expired at 2021-01-01"),
        ("not yet", certificate(0x55, 2098, 2099), "not valid before 2098-01-01"),
    ];
    for (what, files, said) in &bad {
        lay(gateway.setup(), files);
        gateway.reload();
        gateway.await_readiness(|code, body| {
            code == 200 && body.contains("goes on with the certificate it has") && body.contains(said)
        });
        assert_eq!(shown(address), Some(0x22), "{what}");
    }
    // F24: with the key that names the file.
    let text = std::fs::read_to_string(gateway.setup().path("gateway.toml")).unwrap();
    for key in ["tls_certificate", "tls_key"] {
        let line = 1 + text.lines().position(|line| line.starts_with(&format!("{key} = "))).unwrap();
        let place = format!("gateway.toml:{line}:{}: dns.{key}: ", key.len() + 4);
        assert!(gateway.log().contains(&place), "{place}\n{}", gateway.log());
    }
    assert_eq!(gateway.log().matches("ERROR DNS over TLS goes on").count(), bad.len(), "{}", gateway.log());
    std::fs::remove_file(gateway.setup().path("dns.crt")).unwrap();
    gateway.reload();
    assert_eq!(shown(address), Some(0x22), "no file at all");
    lay(gateway.setup(), &other);
    gateway.reload();
    gateway.await_readiness(|_, body| !body.contains("DNS over TLS"));
    assert_eq!(shown(address), Some(0x33));
    gateway.stop();
}

#[test]
fn t41_a_node_that_began_without_a_certificate_serves_it_once_it_is_there() {
    if !has("openssl") {
        return;
    }
    let upstream = knows_every_name();
    let gateway = setup(&upstream).start();
    let address = over_tls(&gateway);
    gateway.await_readiness(|code, body| code == 200 && body.contains("DNS over TLS is not served"));
    assert_eq!(shown(address), None);
    // Another place of the files is taken over too; what cannot be followed is told.
    let (certificate, key) = certificate(0x66, 2020, 2099);
    let setup = gateway.setup();
    setup.write("elsewhere.crt", certificate);
    setup.write("elsewhere.key", key);
    let text = setup.configuration().replace("\"dns.crt\"", "\"elsewhere.crt\"");
    setup.write("gateway.toml", text.replace("\"dns.key\"", "\"elsewhere.key\""));
    gateway.reload();
    gateway.await_readiness(|_, body| !body.contains("DNS over TLS"));
    assert_eq!(shown(address), Some(0x66));
    assert!(!gateway.log().contains("take effect at the next start"), "{}", gateway.log());
    let changed = setup.configuration().replace("[dns]\n", "[dns]\ntries = 3\n");
    setup.write("gateway.toml", changed);
    gateway.reload();
    let log = gateway.log();
    let told = log.lines().find(|line| line.contains("take effect at the next start")).expect("not told");
    assert!(told.contains("dns"), "{told}");
    gateway.stop();
}

#[test]
fn check_reads_certificates_and_keys_and_says_what_is_wrong_with_each() {
    let upstream = knows_every_name();
    let good = certificate(1, 2020, 2099);
    let other = certificate(2, 2020, 2099);
    let cases = [
        (good.clone(), Vec::new()),
        ((String::new(), good.1.clone()), vec!["dns.tls_certificate: "]),
        ((good.0.clone(), "none".to_owned()), vec!["dns.tls_key: "]),
        ((good.0.clone(), other.1), vec!["dns.tls_key: ", "found a key that is not of the certificate"]),
        (certificate(3, 2020, 2021), vec!["dns.tls_certificate: ", "expired at 2021-01-01T00:00:00Z"]),
        (certificate(4, 2098, 2099), vec!["dns.tls_certificate: ", "not valid before 2098-01-01T00:00:00Z"]),
    ];
    let setup = setup(&upstream);
    let check = |setup: &Setup| {
        setup.write_configuration();
        let output = setup.command(&["check", "--config", "gateway.toml"]);
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (files, wanted) in cases {
        lay(&setup, &files);
        let (code, said) = check(&setup);
        assert_eq!(code, if wanted.is_empty() { 0 } else { 78 }, "{wanted:?}: {said}");
        assert!(wanted.iter().all(|part| said.contains(part)), "{wanted:?}: {said}");
        if let Some(key) = wanted.first() {
            let key = key.trim_end_matches(": ").trim_start_matches("dns.");
            let line = 1 + setup.configuration().lines().position(|line| line.starts_with(key)).unwrap();
            assert!(said.contains(&format!("gateway.toml:{line}:")), "{said}");
        }
    }
    // Missing files, and authorities for servers that are asked over TLS.
    lay(&setup, &good);
    std::fs::remove_file(setup.path("dns.key")).unwrap();
    let (code, said) = check(&setup);
    assert!(code == 78 && said.contains("dns.tls_key: ") && said.contains("cannot be read"), "{said}");
    lay(&setup, &good);
    let setup = setup
        .set("dns", "upstream = [\"tls://127.0.0.1:853#dns.example\"]")
        .set("dns", "upstream_roots = \"roots.pem\"");
    let (code, said) = check(&setup);
    assert!(code == 78 && said.contains("dns.upstream_roots: "), "{said}");
    setup.write("roots.pem", &good.0);
    assert_eq!(check(&setup).0, 0);
}

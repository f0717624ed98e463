//! Health checks of a real HAProxy at each kind of listener: which of them find the gateway up. The table stands in
//! `gateway/docs/operating.md`.

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
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use support::client::{connect_from, proxied_subscriber, proxy_v1, read_to_end};
use support::origin::{Origin, https};
use support::world::World;
use support::{Ended, eventually, has};

/// A server's state as HAProxy tells it: `UP` or not, and by which check.
fn state(socket: &Path, backend: &str) -> Option<(bool, String)> {
    let mut asked = UnixStream::connect(socket).ok()?;
    asked.write_all(b"show stat\n").ok()?;
    let mut told = String::new();
    asked.read_to_string(&mut told).ok()?;
    let mut lines = told.lines();
    let names: Vec<&str> = lines.next()?.trim_start_matches("# ").split(',').collect();
    let column = |name: &str| names.iter().position(|one| *one == name);
    let server = lines
        .map(|line| line.split(',').collect::<Vec<_>>())
        .find(|fields| fields[0] == backend && fields[1] == "gateway")?;
    let check = server[column("check_status")?].trim_start_matches("* ").to_owned();
    Some((server[column("status")?].starts_with("UP"), check))
}

#[test]
fn f38_checks_of_haproxy_find_the_gateway_as_the_readme_says() {
    if !has("haproxy") {
        return;
    }
    let world = World::new(https(SocketAddr::from(([127, 0, 2, 1], 0)), &["www.listed.example"]));
    let proxied = world.gateway.listener(1);
    let steered = world.gateway.listener(0);
    // Name, address, options of the backend, options of the server; whether it is up, and what the check says.
    let cases = [
        ("p_l4", proxied, "", "send-proxy-v2", true, "L4OK"),
        ("p_l4_v1", proxied, "", "send-proxy", true, "L4OK"),
        ("p_l4_bare", proxied, "", "", true, "L4OK"),
        ("p_hello", proxied, "option ssl-hello-chk", "send-proxy-v2", true, "L6OK"),
        ("p_hello_v1", proxied, "option ssl-hello-chk", "send-proxy", true, "L6OK"),
        ("p_http", proxied, "option httpchk", "send-proxy-v2", true, "L7OK"),
        ("p_http_v1", proxied, "option httpchk GET /health", "send-proxy", true, "L7OK"),
        ("p_http_own", proxied, "option httpchk", "check-send-proxy", true, "L7OK"),
        // Reset, and seen as that at one moment or another.
        ("p_http_bare", proxied, "option httpchk", "", false, ""),
        ("p_tls", proxied, "", "check-ssl verify none send-proxy-v2", false, "L6RSP"),
        ("s_l4", steered, "", "", true, "L4OK"),
        ("s_hello", steered, "option ssl-hello-chk", "", true, "L6OK"),
        ("s_http", steered, "option httpchk", "", false, "L7STS"),
        ("s_http_421", steered, "option httpchk\n http-check expect status 421", "", true, "L7OK"),
        ("s_tls", steered, "", "check-ssl verify none", false, "L6RSP"),
        ("s_tls_named", steered, "", "check-ssl verify none check-sni www.listed.example", true, "L6OK"),
    ];
    let setup = world.gateway.setup();
    let socket = setup.path("haproxy.sock");
    let mut text = format!(
        "global\n stats socket {} level admin\ndefaults\n mode tcp\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n timeout check 5s\n default-server inter 300ms fall 1 rise 1\nfrontend none\n bind unix@{}\n",
        socket.display(),
        setup.path("none.sock").display()
    );
    for (name, address, backend, server, ..) in &cases {
        text += &format!("backend {name}\n {backend}\n server gateway {address} check {server}\n");
    }
    setup.write("haproxy.cfg", &text);
    let log = std::fs::File::create(setup.path("haproxy.log")).unwrap();
    let mut haproxy = Command::new("haproxy");
    haproxy.args(["-db", "-f"]).arg(setup.path("haproxy.cfg"));
    haproxy.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let _haproxy = Ended(haproxy.spawn().unwrap());
    for (name, .., up, check) in cases {
        let is_told = |(found, told): (bool, String)| found == up && (told == check || check.is_empty());
        let found = eventually(|| state(&socket, name).is_some_and(is_told));
        let said = std::fs::read_to_string(setup.path("haproxy.log")).unwrap();
        assert!(found, "{name}: {:?}, not {up} {check}\n{said}", state(&socket, name));
    }
    // A check is nobody's traffic.
    let refused = world.gateway.metric("zrgw_refused_total{reason=\"proxy_header\"}");
    assert!(refused > 0, "the bare request alone");
    assert_eq!(world.gateway.stop_and_count().of("s1"), (0, 0));
}

#[test]
fn f38_a_check_is_answered_and_ended_in_order_and_carried_nowhere() {
    let world = World::new(Origin::echo());
    let check = |said: &[u8]| {
        let mut stream = connect_from(Ipv4Addr::LOCALHOST, world.gateway.listener(1));
        stream.write_all(said).unwrap();
        stream
    };
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    for header in [&local[..], b"PROXY UNKNOWN\r\n"] {
        // In one piece, and in two.
        let mut whole = check(&[header, b"OPTIONS / HTTP/1.0\r\n\r\n"].concat());
        assert_eq!(read_to_end(&mut whole).unwrap(), ok);
        let mut parts = check(header);
        parts.write_all(b"OPTIONS / HT").unwrap();
        parts.write_all(b"TP/1.0\r\n\r\n").unwrap();
        assert_eq!(read_to_end(&mut parts).unwrap(), ok);
        // Silence and strange words are heard to their end, without a reset.
        for words in [&b""[..], b"PING\n", &[7; 4_000]] {
            let mut silent = check(&[header, words].concat());
            silent.shutdown(Shutdown::Write).unwrap();
            assert_eq!(read_to_end(&mut silent).unwrap(), b"");
        }
        // Who never ends is left alone after limits.proxy_header_deadline.
        let mut waiting = check(header);
        assert_eq!(read_to_end(&mut waiting).unwrap(), b"");
        // And who says more than a check does.
        let mut endless = check(&[header, &[7; 6_000]].concat());
        let _ = read_to_end(&mut endless);
    }
    // An ordinary header is somebody's, whatever stands behind it.
    let header = proxy_v1(proxied_subscriber(1), world.destination(443));
    let mut flow = check(&[&header[..], b"OPTIONS / HTTP/1.0\r\n\r\n"].concat());
    flow.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut flow).unwrap(), b"OPTIONS / HTTP/1.0\r\n\r\n");
    assert_eq!(world.origin.visits(), 1);
    assert_eq!(world.gateway.metric("zrgw_refused_total{reason=\"proxy_header\"}"), 0);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.total(), (22, 22));
}

//! What the gateway must not tell: names and addresses in any file or page, control characters in its log.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;

use support::client::*;
use support::hellos::{self, Hello};
use support::origin::{self, Origin};
use support::world::World;

use super::{visit_of, whole};

/// Every file below a folder.
fn files_below(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, found);
        } else {
            found.push(path);
        }
    }
}

#[test]
fn canary_names_and_addresses_appear_nowhere() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new(origin::http(SocketAddr::from(([127, 0, 2, 1], 0))));
    let canaries =
        ["canary-sni.example", "canary-host.example", "canary-sub.listed.example", "10.7.0.", "127.0.1."];
    for client in [world.proxied(1), world.steered(1)] {
        let mut client = client;
        client.write_all(&visit_of(canaries[0])).unwrap();
        reset(client);
    }
    let host = format!("GET /10?canary-path HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", canaries[1]);
    for mut client in [world.proxied_to(2, world.destination(80)), world.steered(2)] {
        client.write_all(host.as_bytes()).unwrap();
        let _ = read_to_end(&mut client);
    }
    // Listed by a subtree rule: the visited name below it is nobody's business either.
    for mut client in [world.proxied(3), world.steered(3)] {
        client.write_all(&visit_of(canaries[2])).unwrap();
        let _ = client.shutdown(std::net::Shutdown::Write);
        let _ = read_to_end(&mut client);
    }
    let mut client = connect_from([127, 0, 0, 1].into(), world.gateway.listener(1));
    client.write_all(b"GET /canary-header HTTP/1.1\r\n\r\n").unwrap();
    let _ = read_to_end(&mut client);
    world.gateway.await_flows_closed();
    let mut pages = String::new();
    for path in ["/metrics", "/readyz", "/api/v1/status"] {
        pages += &world.gateway.ask(path).unwrap().1;
    }
    let setup = world.gateway.stop();
    let mut files = Vec::new();
    files_below(&setup.path("state"), &mut files);
    files_below(&setup.path("usage"), &mut files);
    files.push(setup.path("log.txt"));
    assert!(files.len() > 3, "{files:?}");
    for path in ["state", "state/lists", "state/ledger.db", "usage"] {
        let mode = std::fs::metadata(setup.path(path)).unwrap().permissions().mode();
        assert_eq!(mode & 0o007, 0, "{path} is open to others: {mode:o}");
    }
    for canary in canaries.into_iter().chain(["canary-path", "canary-header"]) {
        // The log names listeners and the resolver's absence, on 127.0.0.1 alone.
        assert!(!pages.contains(canary), "{canary} in {pages}");
        for file in &files {
            let bytes = std::fs::read(file).unwrap();
            let found = bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
            assert!(!found, "{canary} in {}", file.display());
        }
    }
    assert!(setup.usage().total().0 > 0);
}

#[test]
fn s_control_characters_in_a_name_do_not_reach_the_log() {
    let world = World::with(Origin::echo(), |setup| setup.set("log", "level = \"debug\""));
    let names: [&[u8]; 4] =
        [b"a\x1b[2Jb.listed.example", b"a\nFAKE line.listed.example", &[0xff; 255], b"a\x00b.listed.example"];
    for name in names {
        let hello = Hello::bare().with(hellos::SERVER_NAME, hellos::server_name(name)).modern().wire();
        whole(world.proxied(1), &hello);
        let host = [b"GET / HTTP/1.1\r\nHost: ", name, b"\r\n\r\n"].concat();
        whole(world.proxied_to(1, world.destination(80)), &host);
        let mut client = world.steered(1);
        client.write_all(&hello).unwrap();
        let _ = read_to_end(&mut client);
    }
    let setup = world.gateway.stop();
    let log = std::fs::read(setup.path("log.txt")).unwrap();
    let bad = log.iter().any(|byte| *byte != b'\n' && (*byte < 0x20 || *byte >= 0x7f));
    assert!(!bad, "{}", String::from_utf8_lossy(&log));
    assert!(!String::from_utf8_lossy(&log).lines().any(|line| line.starts_with("FAKE")));
    assert_eq!(setup.usage().exempt("s1"), (0, 0));
}

//! The running gateway when something is wrong: broken lists and tables, a resolver that is down, a state folder that
//! cannot be used; its reload and its end; and what it must not tell.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use support::client::*;
use support::hellos::{self, Hello};
use support::origin::{self, Origin};
use support::world::World;
use support::{LIST, eventually, verify};

const LISTED: &str = "www.listed.example";

/// A hello for this name, with application data behind it that settles the verdict.
fn visit_of(name: &str) -> Vec<u8> {
    [Hello::named(name).wire(), hellos::record(23, &[1; 50])].concat()
}

/// Sends `bytes` and reads them back.
fn exchange(client: &mut TcpStream, bytes: &[u8]) {
    client.write_all(bytes).unwrap();
    assert_eq!(read_exactly(client, bytes.len()), bytes);
}

/// A visit to an echoing origin from its beginning to its end.
fn whole(mut client: TcpStream, bytes: &[u8]) {
    exchange(&mut client, bytes);
    assert_eq!(finish(client), b"");
}

#[test]
fn t39_a_bad_list_leaves_the_last_good_one_and_says_so() {
    let world = World::new(Origin::echo());
    let visit = visit_of(LISTED);
    let mut open = world.proxied(1);
    exchange(&mut open, &visit);
    world.gateway.await_readiness(|code, body| code == 200 && body.contains("\"ready\":true"));
    let older = LIST.replace("serial = 3", "serial = 2");
    let cases: [(&str, String, &str); 5] = [
        ("truncated", LIST[..LIST.len() / 2].to_owned(), "list.toml"),
        ("empty", String::new(), "list.toml"),
        ("malformed", LIST.replacen("scope = \"subtree\"", "scope = \"tree\"", 1), "list.toml:16:"),
        ("bad UTF-8", String::new(), "UTF-8"),
        ("older", older, "serial"),
    ];
    for (what, text, said) in &cases {
        let bytes = if *what == "bad UTF-8" { vec![0xff, 0xfe, 0] } else { text.clone().into_bytes() };
        world.gateway.setup().write("list.toml", bytes);
        world.gateway.reload();
        world.gateway.await_readiness(|code, body| {
            code == 200
                && body.contains("list_not_taken: ")
                && body.contains("serial 3 stays")
                && body.contains(said)
        });
        assert_eq!(world.gateway.metric("zrgw_list_serial"), 3, "{what}");
        exchange(&mut open, &[9; 1_000]);
        whole(world.steered(2), &visit);
    }
    std::fs::remove_file(world.gateway.setup().path("list.toml")).unwrap();
    world.gateway.reload();
    world.gateway.await_readiness(|code, body| code == 200 && body.contains("cannot be read"));
    whole(world.proxied(3), &visit);
    // A good one again.
    world.gateway.setup().write("list.toml", LIST.replace("serial = 3", "serial = 4"));
    world.gateway.reload();
    world.gateway.await_readiness(|code, body| code == 200 && body.contains("\"attention\":[]"));
    assert_eq!(finish(open), b"");
    let usage = world.gateway.stop_and_count();
    let length = visit.len() as u64;
    assert_eq!(usage.exempt("s1"), (length + 5_000, length + 5_000));
    assert_eq!(usage.exempt("s2"), (5 * length, 5 * length));
    assert_eq!(usage.exempt("s3"), (length, length));
    assert_eq!(usage.total(), usage.sum(|row| row["class"] == "exempt"));
}

#[test]
fn t39_a_restart_with_a_broken_list_uses_the_kept_copy_and_without_one_all_is_charged() {
    let World { gateway, resolver: _resolver, origin } = World::new(Origin::echo());
    let visit = visit_of(LISTED);
    let destination = SocketAddr::new(origin.address.ip(), 443);
    whole(connect_proxied(1, gateway.listener(1), destination), &visit);
    let setup = gateway.stop();
    setup.write("list.toml", "format = 1\nlist_id = \n");
    let gateway = setup.start();
    gateway.await_readiness(|code, body| code == 200 && body.contains("serial 3 stays"));
    whole(connect_proxied(1, gateway.listener(1), destination), &visit);
    let setup = gateway.stop();
    let length = visit.len() as u64;
    assert_eq!(setup.usage().exempt("s1"), (2 * length, 2 * length));
    // The kept copies gone as well: traffic flows, all of it charged.
    std::fs::remove_dir_all(setup.path("state").join("lists")).unwrap();
    let gateway = setup.start();
    gateway.await_readiness(|code, body| code == 503 && body.contains("no list"));
    whole(connect_proxied(2, gateway.listener(1), destination), &visit);
    let setup = gateway.stop();
    let usage = setup.usage();
    assert_eq!(usage.charged("s2", "no_list"), (length, length));
    let (good, said) = verify(&setup.path("usage"));
    assert!(good, "{said}");
}

#[test]
fn t39_names_of_an_expired_list_are_still_carried_and_charged() {
    let world = World::with(Origin::echo(), |setup| {
        setup.write("list.toml", LIST.replace("expires = 2099-07-06", "expires = 2020-07-06"));
        setup
    });
    world.gateway.await_readiness(|code, body| code == 503 && body.contains("expired"));
    let visit = visit_of(LISTED);
    whole(world.steered(1), &visit);
    whole(world.proxied(2), &visit);
    let usage = world.gateway.stop_and_count();
    let length = visit.len() as u64;
    for (subscriber, flags) in [("s1", "free_in_core"), ("s2", "")] {
        assert_eq!(usage.charged(subscriber, "list_expired"), (length, length), "{subscriber}");
        assert_eq!(usage.exempt(subscriber), (0, 0), "{subscriber}");
        let row = usage.rows.iter().find(|row| row["subscriber_id"] == subscriber).unwrap();
        assert_eq!(row["flags"], flags, "{subscriber}");
    }
}

#[test]
fn t39_f22_a_bad_table_or_configuration_leaves_the_old_and_wants_attention_while_the_node_stays_ready() {
    let world = World::new(Origin::echo());
    let visit = visit_of(LISTED);
    let setup = world.gateway.setup();
    setup.write("subscribers.csv", "prefix,subscriber_type,subscriber_id\n10.7.0.1/32,account\n");
    world.gateway.reload();
    world.gateway.await_readiness(|code, body| {
        code == 200
            && body.contains("subscribers_not_taken: subscribers not renewed")
            && body.contains("subscribers.csv:2:")
    });
    assert_eq!(world.gateway.metric("zrgw_attention{reason=\"subscribers_not_taken\"}"), 1);
    assert_eq!(world.gateway.metric("zrgw_attention{reason=\"list_not_taken\"}"), 0);
    assert_eq!(world.gateway.metric("zrgw_ready"), 1);
    whole(world.proxied(1), &visit);
    let good = std::fs::read_to_string(setup.path("gateway.toml")).unwrap();
    setup.write("gateway.toml", good.replace("[limits]", "[limits]\nno_such_key = 1"));
    world.gateway.reload();
    assert!(world.gateway.log().contains("configuration not taken, the old one stays"));
    assert!(world.gateway.log().contains("no_such_key"));
    whole(world.proxied(1), &visit);
    let usage = world.gateway.stop_and_count();
    let length = visit.len() as u64;
    assert_eq!(usage.exempt("s1"), (2 * length, 2 * length));
}

#[test]
fn b19_bytes_after_an_address_changed_hands_belong_to_nobody() {
    let world = World::with(Origin::echo(), |setup| setup.set("subscribers", "hold_removed_percent = 100"));
    let visit = visit_of(LISTED);
    let length = visit.len() as u64;
    let mut open = world.proxied(1);
    exchange(&mut open, &visit);
    world
        .gateway
        .await_metric("zrgw_bytes_total{direction=\"down\",class=\"exempt\",service=\"school\"}", length);
    let table = "prefix,subscriber_type,subscriber_id\n10.7.0.1/32,account,newcomer\n";
    world.gateway.setup().write("subscribers.csv", table);
    world.gateway.reload();
    // Ten times the interval at which open flows are judged again.
    std::thread::sleep(Duration::from_secs(1));
    exchange(&mut open, &[7; 3_000]);
    whole(world.proxied(1), &visit);
    assert_eq!(finish(open), b"");
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.of("s1"), (length, length));
    assert_eq!(usage.of("newcomer"), (length, length));
    assert_eq!(usage.unattributed("session_ended"), (3_000, 3_000));
}

#[test]
fn sigterm_drains_open_flows_takes_no_new_ones_and_cuts_what_does_not_end() {
    let world = World::with(Origin::echo(), |setup| {
        setup.set("limits", "drain = \"3 s\"").set("limits", "drain_hard = \"4 s\"")
    });
    let visit = visit_of(LISTED);
    let length = visit.len() as u64;
    let (mut ends, mut stays) = (world.proxied(1), world.proxied(2));
    exchange(&mut ends, &visit);
    exchange(&mut stays, &visit);
    world.gateway.signal(rustix::process::Signal::TERM);
    world.gateway.await_readiness(|code, body| code == 503 && body.contains("draining"));
    let refused = eventually(|| try_connect_from(subscriber(3), world.gateway.listener(0)).is_err());
    assert!(refused, "still accepts");
    exchange(&mut ends, &[8; 2_000]);
    assert_eq!(finish(ends), b"");
    exchange(&mut stays, &[8; 500]);
    let (status, setup) = world.gateway.wait();
    assert!(status.success(), "{}", setup.log());
    let usage = setup.usage();
    assert!(usage.conserved);
    assert_eq!(usage.exempt("s1"), (length + 2_000, length + 2_000));
    assert_eq!(usage.exempt("s2"), (length + 500, length + 500));
    let (good, said) = verify(&setup.path("usage"));
    assert!(good, "{said}");
}

#[test]
fn a_second_sigterm_ends_the_drain_at_once() {
    let world = World::with(Origin::echo(), |setup| {
        setup.set("limits", "drain = \"600 s\"").set("limits", "drain_hard = \"900 s\"")
    });
    let visit = visit_of(LISTED);
    let mut stays = world.proxied(1);
    exchange(&mut stays, &visit);
    world.gateway.signal(rustix::process::Signal::TERM);
    world.gateway.await_readiness(|_, body| body.contains("draining"));
    exchange(&mut stays, &[8; 500]);
    world.gateway.signal(rustix::process::Signal::TERM);
    let (status, setup) = world.gateway.wait();
    assert!(status.success(), "{}", setup.log());
    let all = visit.len() as u64 + 500;
    assert_eq!(setup.usage().exempt("s1"), (all, all));
}

#[test]
fn t41_with_the_resolver_down_traffic_flows_and_known_addresses_are_exempt() {
    let origin = Origin::echo();
    let address = origin.address.ip();
    let world = World::with(origin, |setup| {
        setup.set("lookup", "try_timeout = \"200 ms\"").set("lookup", "total_timeout = \"400 ms\"").raw(
            &format!(
                "[[trusted_answers.static]]\nname = \"pinned.listed.example\"\naddresses = [\"{address}\"]\n"
            ),
        )
    });
    whole(world.steered(1), &visit_of(LISTED));
    whole(world.proxied(1), &visit_of(LISTED));
    world.resolver.set_silent(true);
    // Learnt before, stated in the configuration, unknown.
    whole(world.proxied(2), &visit_of(LISTED));
    whole(world.steered(2), &visit_of(LISTED));
    whole(world.proxied(2), &visit_of("pinned.listed.example"));
    whole(world.proxied(3), &visit_of("new.listed.example"));
    let mut client = world.steered(4);
    client.write_all(&visit_of("new.listed.example")).unwrap();
    assert_eq!(read_to_end(&mut client).unwrap(), [21, 3, 3, 0, 2, 2, 80], "alert internal_error");
    drop(client);
    assert_eq!(world.gateway.ask("/healthz").unwrap().0, 200);
    assert!(eventually(|| world.gateway.metric("zrgw_lookups_total{outcome=\"failed\"}") >= 1));
    let status = world.gateway.ask("/api/v1/status").unwrap();
    assert_eq!(status.0, 200);
    assert!(serde_json::from_str::<serde_json::Value>(&status.1).unwrap()["list"]["serial"] == 3);
    let usage = world.gateway.stop_and_count();
    let (known, pinned, new) = (
        visit_of(LISTED).len() as u64,
        visit_of("pinned.listed.example").len() as u64,
        visit_of("new.listed.example").len() as u64,
    );
    assert_eq!(usage.exempt("s2"), (2 * known + pinned, 2 * known + pinned));
    assert_eq!(usage.of("s2"), usage.exempt("s2"));
    assert_eq!(usage.charged("s3", "address_mismatch"), (new, new));
    assert_eq!(usage.exempt("s3"), (0, 0));
}

#[test]
fn t41_a_resolver_that_never_answers_for_aaaa_costs_time_not_traffic() {
    let world = World::with(Origin::echo(), |setup| {
        setup.set("lookup", "try_timeout = \"200 ms\"").set("lookup", "total_timeout = \"400 ms\"")
    });
    world.resolver.ignore_aaaa();
    world.resolver.set_delay(Duration::from_millis(50));
    let visit = visit_of(LISTED);
    whole(world.steered(1), &visit);
    whole(world.proxied(2), &visit);
    let usage = world.gateway.stop_and_count();
    let length = visit.len() as u64;
    assert_eq!(usage.exempt("s1"), (length, length));
    assert_eq!(usage.exempt("s2"), (length, length));
}

#[test]
fn t41_a_state_folder_that_cannot_be_used_charges_everything_until_it_can() {
    let world = World::with(Origin::echo(), |setup| {
        // A file where the folder should be: permission bits do not bind root.
        setup.write("state", "in the way");
        setup.set("export", "unsaved_max = \"1 s\"")
    });
    let state = world.gateway.setup().path("state");
    world.gateway.await_readiness(|code, body| code == 503 && body.contains("export: "));
    let (_, body) = world.gateway.ask("/readyz").unwrap();
    assert!(body.contains(state.file_name().unwrap().to_str().unwrap()), "the place is missing in {body}");
    let visit = visit_of(LISTED);
    whole(world.proxied(1), &visit);
    whole(world.steered(1), &visit);
    // Somebody makes room: the counts that waited are saved, and what comes is exempt again.
    std::fs::remove_file(&state).unwrap();
    world.gateway.await_readiness(|_, body| !body.contains("export: ") && !body.contains("overload"));
    whole(world.proxied(2), &visit);
    let usage = world.gateway.stop_and_count();
    let length = visit.len() as u64;
    assert_eq!(usage.exempt("s1"), (0, 0));
    assert_eq!(usage.charged("s1", "overload"), (2 * length, 2 * length), "{usage:?}");
    assert_eq!(usage.exempt("s2"), (length, length), "{usage:?}");
}

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
fn what_is_sealed_in_the_middle_of_a_period_for_want_of_room_is_published_at_once() {
    // Nothing ends a period within this test.
    let world = World::with(Origin::echo(), |setup| {
        setup.set("export", "period = \"24 h\"").set("export", "accounts_max = 2")
    });
    let visit = visit_of(LISTED);
    let mut clients: Vec<_> = (1..=3).map(|number| (world.proxied(number), 0)).collect();
    let published = eventually(|| {
        for (client, bytes) in &mut clients {
            exchange(client, &visit);
            *bytes += visit.len() as u64;
        }
        !world.gateway.setup().usage().rows.is_empty()
    });
    assert!(published, "{}", world.gateway.log());
    let all = clients.iter().map(|(_, bytes)| bytes).sum();
    for (client, _) in clients {
        assert_eq!(finish(client), b"");
    }
    world.gateway.await_flows_closed();
    assert_eq!(world.gateway.stop_and_count().total(), (all, all));
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

//! `gateway check` finds what a node would lose by, and a reload that would lose most of its subscribers waits (fault F23).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use serde_json::Value;
use support::hellos::Hello;
use support::origin::Origin;
use support::plane::exchange;
use support::unbound::LISTED;
use support::world::World;
use support::{Setup, free_port, has};

/// The header of every table.
const HEADER: &str = "prefix,subscriber_type,subscriber_id\n";

/// A folder with a configuration behind a balancer.
fn setup(change: impl FnOnce(Setup) -> Setup) -> Setup {
    let setup = change(Setup::new().proxied());
    setup.write_configuration();
    setup
}

/// Exit code, problems and notes of `gateway check`, started by these words.
fn check_by(setup: &Setup, words: &[&str], manager: bool) -> (i32, Vec<String>, Vec<String>) {
    let all =
        [words, &[env!("CARGO_BIN_EXE_gateway"), "check", "--config", "gateway.toml", "--format", "json"]];
    let all = all.concat();
    let mut command = Command::new(all[0]);
    command.args(&all[1..]).current_dir(setup.path("")).env_remove("INVOCATION_ID");
    if manager {
        command.env("INVOCATION_ID", "0123456789abcdef0123456789abcdef");
    }
    let output = command.output().unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let lines = |key: &str| {
        let lines = answer[key].as_array().unwrap().iter();
        lines.map(|line| line.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    (output.status.code().unwrap(), lines("problems"), lines("notes"))
}

/// The same by itself.
fn check(setup: &Setup) -> (i32, Vec<String>) {
    let (code, problems, _) = check_by(setup, &[], false);
    (code, problems)
}

/// Asserts that one problem is found, with its place and these words.
fn assert_found(setup: &Setup, place: &str, words: &[&str]) {
    let (code, problems) = check(setup);
    assert_eq!((code, problems.len()), (78, 1), "{problems:?}");
    assert!(problems[0].contains(place), "{problems:?}");
    assert!(words.iter().all(|word| problems[0].contains(word)), "{problems:?}");
}

#[test]
fn f23_a_table_without_a_row_is_no_table() {
    let setup = setup(|setup| setup);
    assert_eq!(check(&setup), (0, Vec::new()));
    setup.write("subscribers.csv", HEADER);
    assert_found(&setup, "subscribers.csv:1:1: table: ", &["no row below the header", "[subscribers]"]);
}

#[test]
fn f23_bytes_that_a_mark_is_to_take_off_the_bill_have_one() {
    let group = |keys: &str| {
        format!("[[rating_group]]\nid = 7\nservices = [\"*\"]\ndisposition = \"tagged\"\n{keys}")
    };
    let bare = setup(|setup| setup.raw(&group("")));
    let words = ["\"tagged\" without dscp and fwmark", "\"reported\""];
    assert_found(&bare, "rating_group[0].disposition: found ", &words);
    let (_, problems) = check(&bare);
    let text = fs::read_to_string(bare.path("gateway.toml")).unwrap();
    let line = 1 + text.lines().position(|line| line.starts_with("disposition")).unwrap();
    assert!(problems[0].starts_with(&format!("gateway.toml:{line}:15: ")), "{problems:?}");
    // Behind a balancer alone a mark is never seen, which is a word and no refusal.
    let (code, problems, notes) = check_by(&setup(|setup| setup.raw(&group("dscp = 10\n"))), &[], false);
    assert_eq!((code, problems), (0, Vec::new()));
    assert!(notes.iter().any(|note| note.contains("carry no mark")), "{notes:?}");
    // The core's rule for those who were led here is the gateway's address.
    let steered = Setup::new().steered().resolver(SocketAddr::from(([127, 0, 0, 1], 53))).raw(&group(""));
    steered.write_configuration();
    assert_eq!(check(&steered), (0, Vec::new()));
}

#[test]
fn f23_staging_on_another_file_system_is_found() {
    let other = tempfile::tempdir_in("/dev/shm").unwrap();
    let setup =
        setup(|setup| setup.set("export", &format!("staging_dir = \"{}/staging\"", other.path().display())));
    let device = |path: &std::path::Path| fs::metadata(path).unwrap().dev();
    if device(other.path()) == device(&setup.path("")) {
        println!("SKIPPED: temporary files are on the file system of /dev/shm");
        return;
    }
    assert_found(&setup, "export.staging_dir: found ", &["on another file system than export.dir"]);
}

#[test]
fn f23_a_state_folder_that_the_user_may_not_write_is_found() {
    if !rustix::process::geteuid().is_root() || !has("setpriv") {
        return;
    }
    let setup = setup(|setup| setup);
    fs::create_dir(setup.path("state")).unwrap();
    std::os::unix::fs::chown(setup.path("state"), Some(65_534), None).unwrap();
    // Root without the right to pass over permissions.
    let plain = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"];
    let (code, problems, _) = check_by(&setup, &plain, false);
    assert_eq!((code, problems.len()), (78, 1), "{problems:?}");
    assert!(
        problems[0].contains("node.state_dir: found ") && problems[0].contains("not writable for user 0")
    );
    // And one that could not be made there.
    let text = setup.configuration().replace("state_dir = \"state\"", "state_dir = \"state/deeper/down\"");
    setup.write("gateway.toml", text);
    let (code, problems, _) = check_by(&setup, &plain, false);
    assert_eq!(code, 78);
    assert!(problems[0].contains("state, where it would be made, not writable"), "{problems:?}");
}

#[test]
fn f23_the_ledger_of_another_node_is_found_whether_or_not_it_runs() {
    let gateway = setup(|setup| setup).start();
    let text = fs::read_to_string(gateway.setup().path("gateway.toml")).unwrap();
    let other = text.replace("id = \"test-node\"", "id = \"other-node\"");
    let words = ["the ledger of node \"test-node\"", "that of node \"other-node\"", "correct node.id"];
    gateway.setup().write("gateway.toml", &other);
    assert_found(gateway.setup(), "node.state_dir: found ", &words);
    gateway.setup().write("gateway.toml", text);
    let setup = gateway.stop();
    assert_eq!(check(&setup), (0, Vec::new()));
    setup.write("gateway.toml", other);
    assert_found(&setup, "node.state_dir: found ", &words);
    // What is no ledger is told too.
    setup.write("state/ledger.db", "not a database, but long enough to be looked at as one: ".repeat(20));
    let _ = fs::remove_file(setup.path("state/ledger.db-wal"));
    let _ = fs::remove_file(setup.path("state/ledger.db-shm"));
    assert_eq!(check(&setup).0, 78);
}

#[test]
fn f23_addresses_in_use_are_found_and_those_of_a_gateway_that_runs_here_are_its_own() {
    let (tcp, udp) = (TcpListener::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let (tcp, udp) =
        (tcp.local_addr().map(|at| (at, tcp)).unwrap(), udp.local_addr().map(|at| (at, udp)).unwrap());
    let set = |listener: SocketAddr, admin: SocketAddr| {
        let setup = Setup::new()
            .listener(&format!(
                "mode = \"proxy_protocol\"\naddress = \"{listener}\"\nprotocols = [\"tcp\", \"udp\"]\n"
            ))
            .set("admin", &format!("address = \"{admin}\""));
        setup.write_configuration();
        setup
    };
    let free = || SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let of = |at: SocketAddr, protocol: &str| format!("found {at}/{protocol} in use by another program");
    assert_found(&set(tcp.0, free()), "listener[0].address: ", &[&of(tcp.0, "tcp"), "ss -lnpt"]);
    assert_found(&set(udp.0, free()), "listener[0].address: ", &[&of(udp.0, "udp"), "ss -lnpu"]);
    let setup = set(free(), tcp.0);
    assert_found(&setup, "admin.address: ", &[&of(tcp.0, "tcp")]);
    // A service manager may hold them for the gateway.
    let (code, problems, notes) = check_by(&setup, &[], true);
    assert_eq!((code, problems), (0, Vec::new()));
    assert!(notes.iter().any(|note| note.contains("admin.address") && note.contains("service manager")));
    let gateway = set(free(), free()).start();
    let (code, problems, notes) = check_by(gateway.setup(), &[], false);
    assert_eq!((code, problems), (0, Vec::new()));
    let process = format!("(process {})", gateway.pid());
    assert!(notes.iter().any(|note| note.contains(&process)), "{notes:?}");
    let setup = gateway.stop();
    assert_eq!(check(&setup), (0, Vec::new()), "nobody holds them any more");
}

#[test]
fn f23_a_transparent_listener_without_its_right_is_found() {
    if !rustix::process::geteuid().is_root() || !has("setpriv") {
        return;
    }
    let keys =
        format!("mode = \"transparent\"\naddress = \"127.0.0.1:{}\"\nprotocols = [\"tcp\"]\n", free_port());
    let setup = Setup::new().listener(&keys);
    setup.write_configuration();
    let (code, problems, _) = check_by(&setup, &["setpriv", "--bounding-set=-net_admin"], false);
    assert_eq!((code, problems.len()), (78, 1), "{problems:?}");
    assert!(
        problems[0].contains("listener[0].mode: found \"transparent\" without CAP_NET_ADMIN"),
        "{problems:?}"
    );
}

/// A table of so many subscribers, those of the tests' addresses among them.
fn table(rows: usize) -> String {
    let row = |number: usize| match number {
        0 => "10.7.0.1/32,account,s1\n".to_owned(),
        number => format!("10.9.{}.{}/32,account,other{number}\n", number / 200, number % 200),
    };
    HEADER.to_owned() + &(0..rows).map(row).collect::<String>()
}

#[test]
fn f23_a_reload_that_loses_more_than_a_tenth_of_the_subscribers_waits_for_a_word() {
    let world = World::with(Origin::echo(), |setup| {
        setup.write("subscribers.csv", table(100));
        setup
    });
    let gateway = &world.gateway;
    let reload = |text: &str| {
        gateway.setup().write("subscribers.csv", text);
        gateway.reload();
    };
    let held = |body: &str| body.contains("subscribers_not_taken");
    // At the limit it is taken, one below it is not.
    reload(&table(90));
    gateway.await_metric("zrgw_sessions", 90);
    gateway.await_readiness(|code, body| code == 200 && !held(body));
    reload(&table(80));
    gateway.await_readiness(|code, body| {
        code == 200
            && held(body)
            && body.contains("found 80 prefixes where 90 are in force, more than 10 % fewer")
    });
    assert_eq!(gateway.metric("zrgw_sessions"), 90);
    let length = exchange(world.proxied(1), &Hello::named(LISTED));
    // A table without a row is refused, whatever is accepted.
    reload(HEADER);
    gateway.await_readiness(|code, body| code == 200 && body.contains("no row below the header"));
    assert_eq!(gateway.metric("zrgw_sessions"), 90);
    // The word is for exactly this table.
    reload(&table(50));
    let log = gateway.log();
    let (_, hash) = log.rsplit_once("accept_sha256 = [\"").expect("the log says how");
    let accept = format!("[subscribers]\naccept_sha256 = [\"{}\"]", &hash[..64]);
    let text = fs::read_to_string(gateway.setup().path("gateway.toml")).unwrap();
    gateway.setup().write("gateway.toml", text.replace("[subscribers]", &accept));
    reload(&table(40));
    assert_eq!(gateway.metric("zrgw_sessions"), 90);
    reload(&table(50));
    gateway.await_metric("zrgw_sessions", 50);
    gateway.await_readiness(|code, body| code == 200 && !held(body));
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), (length, length), "{:?}", usage.reasons("s1"));
}

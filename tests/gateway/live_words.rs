//! What the daemon says of itself, and its exit code: true, in order, with a place and the remedy that helps (fault F24).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;
use support::client::*;
use support::hellos::Hello;
use support::origin::Origin;
use support::plane::exchange;
use support::unbound::LISTED;
use support::world::World;
use support::{Gateway, LIST, Setup, eventually, free_port, has};

/// A node behind a balancer.
fn proxied() -> Setup {
    Setup::new().proxied()
}

/// Says it is to end; its exit code and what it said since then.
fn end(gateway: Gateway) -> (i32, String) {
    let before = gateway.log().len();
    gateway.signal(Signal::TERM);
    let (status, setup) = gateway.wait();
    (status.code().unwrap(), setup.log()[before..].to_owned())
}

#[test]
fn f24_with_a_ledger_that_cannot_be_used_the_end_says_so_in_words_and_exit_code() {
    let setup = proxied().start().stop();
    // Somebody else's.
    let setup = setup.set("node", "id = \"other-node\"");
    let (code, said) = end(setup.start());
    assert_eq!(code, 74, "{said}");
    assert!(
        !said.contains("is sealed") && said.contains("not all that was counted is in the ledger"),
        "{said}"
    );
    // Locked by another program, with bytes that wait for it.
    let world = World::new(Origin::echo());
    let ledger = world.gateway.setup().path("state/ledger.db");
    let connection = rusqlite::Connection::open(&ledger).unwrap();
    connection.busy_timeout(support::PATIENCE).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    exchange(world.proxied(1), &Hello::named(LISTED));
    let (code, said) = end(world.gateway);
    assert_eq!(code, 74, "{said}");
    assert!(!said.contains("is sealed") && said.contains("the last counts are lost"), "{said}");
    drop(connection);
    // And one that is as it should be.
    let (code, said) = end(proxied().start());
    assert!(code == 0 && said.contains("stopped: what was counted is sealed"), "{said}");
}

#[test]
fn f24_what_was_not_taken_is_said_before_what_is_in_force() {
    let gateway = proxied().start();
    gateway.setup().write("list.toml", LIST.replace("format = 1", "format = 1\nno_such_key = 1"));
    gateway.setup().write("subscribers.csv", "no table\n");
    let before = gateway.log().len();
    gateway.reload();
    let log = gateway.log();
    let at = |words: &str| log[before..].find(words).unwrap_or_else(|| panic!("{words}: {log}"));
    assert!(at("list not taken, the last good one stays") < at("list in force"), "{log}");
    assert!(at("subscribers not taken, the last good one stays") < at("subscribers prefixes="), "{log}");
    gateway.stop();
}

#[test]
fn f24_a_missing_file_is_told_with_the_key_that_names_it() {
    let gateway = proxied().start();
    for name in ["list.toml", "subscribers.csv"] {
        fs::remove_file(gateway.setup().path(name)).unwrap();
    }
    gateway.reload();
    let text = fs::read_to_string(gateway.setup().path("gateway.toml")).unwrap();
    let place = |section: &str| {
        let lines = || text.lines().enumerate();
        let (from, _) = lines().find(|(_, line)| *line == format!("[{section}]")).unwrap();
        let (line, _) = lines().skip(from).find(|(_, line)| line.starts_with("file = ")).unwrap();
        format!("gateway.toml:{}:8: {section}.file: ", line + 1)
    };
    let (log, (_, body)) = (gateway.log(), gateway.ask("/readyz").unwrap());
    let (_, checked) = (0, gateway.setup().command(&["check", "--config", "gateway.toml"]));
    let checked = String::from_utf8_lossy(&checked.stderr).into_owned();
    for section in ["list", "subscribers"] {
        let place = place(section);
        for said in [&log, &body, &checked] {
            let line = said.split([',', '\n']).find(|line| line.contains(&place));
            assert!(line.is_some_and(|line| line.contains("cannot be read")), "{place}\n{said}");
        }
    }
    gateway.stop();
}

/// Every line of a log as JSON; the messages.
fn messages(log: &str) -> Vec<String> {
    let parse = |line: &str| -> Value {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
    };
    let message = |value: Value| value["fields"]["message"].as_str().unwrap_or_default().to_owned();
    log.lines().map(|line| message(parse(line))).collect()
}

#[test]
fn f24_a_log_in_json_is_json_from_its_first_line() {
    let in_json = || proxied().set("log", "format = \"json\"");
    // A configuration that is no good, in several ways.
    let (code, said) = in_json().set("limits", "no_such_key = 1").set("node", "workers = 0").run_to_end();
    let told = messages(&said);
    assert_eq!((code, told.len()), (78, 2), "{said}");
    assert!(told.iter().all(|line| line.starts_with("gateway.toml:")), "{told:?}");
    // An address that is taken.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (code, said) = in_json()
        .listener(&format!("mode = \"proxy_protocol\"\naddress = \"{}\"\n", taken.local_addr().unwrap()))
        .run_to_end();
    let told = messages(&said);
    assert_eq!(code, 74, "{said}");
    assert!(told.last().unwrap().contains("listener.address: cannot listen on"), "{told:?}");
    // No list, and an ordinary life.
    let setup = in_json();
    setup.write_configuration();
    fs::remove_file(setup.path("list.toml")).unwrap();
    let (code, said) = {
        let log = fs::File::create(setup.path("log.txt")).unwrap();
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_gateway"))
            .args(["run", "--config", "gateway.toml"])
            .current_dir(setup.path(""))
            .stderr(log)
            .spawn()
            .unwrap();
        assert!(eventually(|| setup.log().contains("gateway runs")), "{}", setup.log());
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, Signal::TERM).unwrap();
        (support::wait(&mut child).unwrap().code().unwrap(), setup.log())
    };
    let told = messages(&said);
    assert_eq!(code, 0, "{said}");
    assert!(told.iter().any(|line| line.contains("list not taken")), "{told:?}");
    // Text stays text.
    let (code, said) = proxied().set("limits", "no_such_key = 1").run_to_end();
    assert!(code == 78 && said.starts_with("gateway.toml:"), "{said}");
}

/// The unit's rights, as setpriv(1) names them.
fn rights_of_the_unit() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/examples/gateway.service");
    let unit = fs::read_to_string(path).unwrap();
    let of = |key: &str| {
        let line = unit.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.split_whitespace().map(|word| word.trim_start_matches("CAP_").to_lowercase()).collect::<Vec<_>>()
    };
    let (ambient, bounding) = (of("AmbientCapabilities="), of("CapabilityBoundingSet="));
    assert_eq!(ambient, bounding);
    ambient.iter().map(|right| format!(",+{right}")).collect()
}

/// A node with a transparent listener, started with these rights alone.
fn transparent(rights: &str) -> Setup {
    let bounding = format!("--bounding-set=-all{rights}");
    Setup::new()
        .listener(&format!("mode = \"transparent\"\naddress = \"127.0.0.1:{}\"\n", free_port()))
        .started_by(&["setpriv", &bounding])
}

#[test]
fn f24_the_shipped_unit_has_the_rights_that_its_listeners_want_and_errors_name_the_right_one() {
    if !rustix::process::geteuid().is_root() || !has("setpriv") {
        return;
    }
    // Files of the test belong to whoever runs it; the right to write them is nothing to the unit.
    let gateway = transparent(&(rights_of_the_unit() + ",+dac_override")).start();
    assert!(gateway.ask("/healthz").is_some_and(|(code, _)| code == 200), "{}", gateway.log());
    gateway.stop();
    let (code, said) = transparent(",+net_bind_service,+bpf,+dac_override").run_to_end();
    assert!(code == 74 && said.contains("CAP_NET_ADMIN") && !said.contains("CAP_NET_BIND_SERVICE"), "{said}");
    let low = "mode = \"proxy_protocol\"\naddress = \"127.0.0.1:999\"\n";
    let plain = ["setpriv", "--bounding-set=-net_bind_service"];
    let (code, said) = Setup::new().listener(low).started_by(&plain).run_to_end();
    assert!(code == 74 && said.contains("CAP_NET_BIND_SERVICE") && !said.contains("CAP_NET_ADMIN"), "{said}");
}

/// The value of a field in a line of the log.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

#[test]
fn f24_at_debug_every_line_of_a_flow_has_its_number_and_names_are_written_plainly() {
    let world = World::with(Origin::echo(), |setup| {
        setup
            .set("log", "level = \"debug\"")
            .set("node", "workers = 3")
            .set("dns", "listen = [\"127.0.0.1:0\"]")
            .set("dns", "upstream = [\"127.0.0.1:9\"]")
    });
    let nowhere = SocketAddr::from(([127, 0, 2, 77], 443));
    for number in 1..=6 {
        exchange(world.proxied(number), &Hello::named(LISTED));
        exchange(world.steered(number), &Hello::named(LISTED));
        exchange(world.proxied(number), &Hello::named("unlisted.example"));
        let mut refused = world.steered(number);
        refused.write_all(&Hello::named("unlisted.example").wire()).unwrap();
        let _ = read_to_end(&mut refused);
        let _ = read_to_end(&mut world.proxied_to(number, nowhere));
    }
    world.gateway.await_flows_closed();
    let log = world.gateway.log();
    let lines = |word: &str| {
        log.lines().filter(|line| line.contains("DEBUG") && line.contains(word)).collect::<Vec<_>>()
    };
    let opened: BTreeSet<_> = lines(" opened").iter().filter_map(|line| field(line, "flow")).collect();
    assert_eq!(opened.len(), 30, "each has a number of its own, whichever worker carries it\n{log}");
    for words in [" exempt", " charged", "not carried"] {
        let lines = lines(words);
        assert!(lines.len() >= 6, "{words}: {lines:?}\n{log}");
        for line in lines {
            assert!(field(line, "flow").is_some_and(|flow| opened.contains(flow)), "{line}");
        }
    }
    assert!(!log.contains("Some(") && !log.contains("DomainName("), "{log}");
    assert!(lines(" exempt").iter().all(|line| line.contains("name=\"www.listed.example\"")), "{log}");
    // A client and a destination stand in its first line alone.
    let first = lines(" opened")[0];
    assert!(field(first, "client").is_some() && field(first, "transport") == Some("\"tcp\""), "{first}");
    world.gateway.stop();
}

//! Direction of dependencies between the gateway's floors, and purity of what is to be pure.

use crate::scan::{Path as RustPath, paths, tokens};
use crate::source::{Source, none, sample, sources};

/// The floors of the gateway, lowest first: a floor uses only itself and those below.
const FLOORS: [&str; 4] = ["wire", "flow", "net", "app"];
/// Rooms of app; its other files stand by themselves.
const APP_ROOMS: [&str; 3] = ["node", "command", "lab"];
/// Files of app that may import `config`.
const CONFIG_READERS: [&str; 4] = ["start", "reload", "check", "demo"];
/// What only app/export.rs may touch of `billing_export`.
const LEDGER_SIDE: [&str; 13] = [
    "ledger",
    "store",
    "sink",
    "exporter",
    "Exporter",
    "ExportError",
    "Settings",
    "Steps",
    "Step",
    "NoFault",
    "Bindings",
    "BindingChange",
    "BindingKey",
];
/// What further is not a word that `flow` may use.
const NO_WORDS: [&str; 3] = ["manifest", "codec", "audit"];
/// Leaf files that may touch the system, by module.
const IMPURE_MODULES: [&str; 9] =
    ["main", "cli", "collect", "store", "sink", "exporter", "pickup", "render", "witness"];
/// The three that do not know one another.
const LEAVES: [&str; 3] = ["config", "allowlist", "billing-export"];

/// Where a path of a gateway file leads: the top module of the crate, or the other crate.
fn target<'p>(source: &Source, path: &'p RustPath) -> Option<(bool, &'p [String])> {
    let words = &path.words;
    match words[0].as_str() {
        "crate" => Some((true, &words[1..])),
        "super" => {
            let supers = words.iter().take_while(|word| *word == "super").count();
            let own = matches!(source.path.rsplit('/').next(), Some("mod.rs" | "lib.rs"))
                && source.module().is_empty();
            let depth = source.module().len() + path.inline_depth;
            (!own && supers == depth).then(|| (true, &words[supers..]))
        }
        _ => Some((false, &words[..])),
    }
}

/// The rule a path of a gateway file breaks.
fn broken_floor(source: &Source, path: &RustPath) -> Option<String> {
    let module = source.module();
    let floor = FLOORS.iter().position(|floor| module.first() == Some(floor))?;
    let in_room = module.get(1).is_some_and(|room| APP_ROOMS.contains(room));
    let file = module.get(if in_room { 2 } else { 1 }).copied().unwrap_or_default();
    let (own, words) = target(source, path)?;
    let first = words.first().map_or("", String::as_str);
    if own
        && FLOORS[floor] == "app"
        && words.get(1).is_some_and(|room| room == "lab")
        && module.get(1) != Some(&"lab")
    {
        return Some("app uses its lab: packages are built without it".to_owned());
    }
    if own && FLOORS[floor] == "net" && module.get(1) == Some(&"sys") && first == "net" {
        let room = words.get(1).map_or("", String::as_str);
        if !room.is_empty() && room != "sys" {
            return Some(format!(
                "net/sys uses net/{room}: it knows the system and nobody of us; hand the value in"
            ));
        }
    }
    if own {
        let other = FLOORS.iter().position(|floor| *floor == first)?;
        return (other > floor).then(|| {
            format!(
                "{} uses {first}: a floor uses only those below; hand the value in, or move the code up",
                FLOORS[floor]
            )
        });
    }
    if path.is_member || words.len() < 2 {
        return None;
    }
    let second = words[1].as_str();
    match (FLOORS[floor], first) {
        ("wire", "allowlist" | "billing_export" | "config") => {
            Some(format!("wire uses {first}: wire knows nobody; give it values"))
        }
        ("flow" | "net", "config") => Some(
            "only start, reload, check and demo of app import config; hand in limits as values".to_owned(),
        ),
        ("app", "config") if !CONFIG_READERS.contains(&file) => Some(format!(
            "app/{file} imports config; only start, reload, check and demo do: hand in the values"
        )),
        (name, "billing_export") if LEDGER_SIDE.contains(&second) && !(name == "app" && file == "export") => {
            Some(format!(
                "{name} uses billing_export::{second}: only app/export.rs touches ledger, store and sinks"
            ))
        }
        ("flow", "billing_export") if NO_WORDS.contains(&second) => Some(format!(
            "flow uses billing_export::{second}: flow speaks its words only (class, unit, subscriber, record)"
        )),
        _ => None,
    }
}

/// Uses against the direction of the floors.
fn judge_floors(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.is_code() && source.krate() == "gateway") {
        for path in paths(&tokens(&source.text)).iter().filter(|path| !path.in_tests) {
            findings.extend(broken_floor(source, path).map(|rule| source.finding(path.line, &rule)));
        }
    }
    findings
}

#[test]
fn a_floor_uses_only_those_below() {
    let refused = |path: &str, text| judge_floors(&sample(&format!("gateway/src/{path}.rs"), text)).len();
    assert_eq!(refused("wire/tls", "use crate::{wire::reader, flow::verdict};"), 1);
    assert_eq!(refused("wire/tls", "use super::super::flow::verdict;"), 1);
    assert_eq!(refused("wire", "fn f() { super::flow::g() }"), 1);
    assert_eq!(refused("wire/tls", "use super::reader; mod a { use super::super::reader; }"), 0);
    assert_eq!(refused("wire/tls", "use billing_export::Reason;"), 1);
    assert_eq!(refused("wire/tls", "#[cfg(test)] mod tests { use crate::flow::x; }"), 0);
    assert_eq!(refused("flow/tally", "use crate::net::clock;"), 1);
    assert_eq!(refused("flow/tally", "use billing_export::{Reason, ledger::Ledger};"), 1);
    assert_eq!(
        refused("flow/tally", "use crate::wire::tls; use allowlist::Matcher; use billing_export::Reason;"),
        0
    );
    assert_eq!(refused("net/ingress/accept", "use crate::app::node::start;"), 1);
    assert_eq!(refused("net/ingress/accept", "fn f(c: &config::Limits) {}"), 1);
    assert_eq!(refused("net/sys/clock", "use crate::net::node::worker::Worker;"), 1);
    assert_eq!(refused("net/sys/clock", "use crate::net::sys::beats::Beats;"), 0);
    assert_eq!(refused("app/command/explain", "use config::Config;"), 1);
    assert_eq!(refused("app/command/explain", "use crate::app::lab::demo;"), 1);
    assert_eq!(refused("app/lab/demo", "use crate::app::lab::demo::world;"), 0);
    assert_eq!(refused("app/node/start", "use config::Config;"), 0);
    assert_eq!(refused("app/node/start/dns", "use config::Config;"), 0);
    assert_eq!(refused("app/node/start", "fn f() { billing_export::Exporter::open() }"), 1);
    assert_eq!(refused("app/export", "fn f() { billing_export::Exporter::open() }"), 0);
    assert_eq!(refused("app/command/check", "use billing_export::manifest::Manifest;"), 0);
    none(judge_floors(&sources()));
}

/// True for code that takes bytes and a time and gives a value.
fn is_pure(source: &Source) -> bool {
    let module = source.module();
    match source.krate() {
        "gateway" => matches!(module.first(), Some(&("wire" | "flow"))),
        krate => {
            LEAVES.contains(&krate) && !module.first().is_some_and(|first| IMPURE_MODULES.contains(first))
        }
    }
}

/// What makes a path impure.
fn impurity(path: &RustPath) -> Option<&'static str> {
    let words: Vec<&str> = path.words.iter().map(String::as_str).collect();
    let clock = "a clock; take the time as an argument";
    match words.as_slice() {
        ["error" | "warn" | "info" | "debug" | "trace"] if path.is_macro => Some("a log; give back a reason"),
        ["print" | "println" | "eprint" | "eprintln"] if path.is_macro => Some("output; give back text"),
        ["exists" | "canonicalize" | "is_file" | "is_dir" | "read_dir" | "symlink_metadata"]
            if path.is_member =>
        {
            Some("the file system; take the answer as an argument")
        }
        _ if path.is_member => None,
        // The type of an error is a value like others; what raises it is judged where it stands.
        [_, .., "Error" | "ErrorCode" | "ErrorKind"] => None,
        ["tracing" | "log", .., "error" | "warn" | "info" | "debug" | "trace"] => {
            Some("a log; give back a reason")
        }
        ["tracing", _, ..] => Some("a log; give back a reason"),
        ["tokio" | "hickory_resolver" | "axum" | "socket2" | "tokio_rustls", _, ..] => {
            Some("the event loop or a socket")
        }
        ["rustix" | "libc" | "rusqlite", _, ..] => Some("the operating system"),
        ["std", "fs" | "process" | "os", ..] => Some("files or processes; take bytes as an argument"),
        ["std", "thread" | "env", ..] | ["thread", "spawn" | "sleep"] => Some("threads or environment"),
        ["std", "net", kind, ..]
            if matches!(*kind, "TcpStream" | "TcpListener" | "UdpSocket" | "ToSocketAddrs") =>
        {
            Some("a socket; addresses are fine, sockets belong in gateway/src/net")
        }
        [.., "SystemTime"] | [.., "SystemTime", _] => Some(clock),
        [.., "Instant" | "Timestamp" | "Zoned", "now"] => Some(clock),
        ["async"] => Some("async code; it belongs in gateway/src/net"),
        [.., "getrandom"] | ["rand", _, ..] => Some("randomness; take it as an argument"),
        _ => None,
    }
}

/// Impure code in pure parts.
fn judge_purity(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.is_code() && is_pure(source)) {
        for path in paths(&tokens(&source.text)).iter().filter(|path| !path.in_tests) {
            if let Some(what) = impurity(path) {
                let rule = format!("`{}` in a pure part is {what}", path.words.join("::"));
                findings.push(source.finding(path.line, &rule));
            }
        }
    }
    findings
}

#[test]
fn pure_parts_touch_no_system() {
    let refused = |path: &str, text: &str| judge_purity(&sample(path, text)).len();
    for impure in [
        "use tokio::time;",
        "use std::{fs, fmt};",
        "fn f() { std::fs::read(p) }",
        "use std::net::{IpAddr, TcpStream};",
        "use std::thread;",
        "fn f() { std::env::var(x) }",
        "fn f() { Instant::now() }",
        "use std::time::SystemTime;",
        "fn f() { jiff::Timestamp::now() }",
        "async fn f() {}",
        "fn f() { tracing::info!(\"x\") }",
        "fn f() { warn!(\"x\") }",
        "fn f() { println!(\"x\") }",
        "fn f(p: &Path) { p.exists() }",
    ] {
        assert_eq!(refused("gateway/src/flow/tally.rs", impure), 1, "{impure}");
        assert_eq!(refused("config/src/node.rs", impure), 1, "{impure}");
        assert_eq!(refused("gateway/src/net/ingress/accept.rs", impure), 0, "{impure}");
        assert_eq!(refused("billing-export/src/store/sqlite.rs", impure), 0, "{impure}");
        assert_eq!(refused("allowlist/src/main.rs", impure), 0, "{impure}");
    }
    for pure in [
        "use rusqlite::Error;",
        "use std::net::IpAddr;",
        "use std::time::Duration;",
        "fn f(now: Instant) {}",
        "use crate::log::Log;",
    ] {
        assert_eq!(refused("gateway/src/wire/tls.rs", pure), 0, "{pure}");
    }
    none(judge_purity(&sources()));
}

//! The shipped examples: they load, they name every key, and what they call a default is one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

use config::{Config, Mode, Need, SECTIONS};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

const MINIMAL: &str = include_str!("../../config/examples/minimal.toml");
const FULL: &str = include_str!("../../config/examples/full.toml");

/// Parses a text that must be right.
fn load(text: &str) -> Config {
    Config::parse(text, Path::new("/etc/zrgw")).unwrap_or_else(|problems| {
        panic!("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })
}

/// The lines of a text with the section each stands in; comments and empty lines left out.
fn lines(text: &str) -> Vec<(usize, String, String)> {
    let mut section = String::new();
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']).to_owned();
        } else if let Some((key, _)) = line.split_once(" = ")
            && !line.starts_with('#')
        {
            found.push((index, section.clone(), key.to_owned()));
        }
    }
    found
}

/// `text` without the line of the given index.
fn without(text: &str, index: usize) -> String {
    text.lines().enumerate().filter(|(i, _)| *i != index).map(|(_, line)| format!("{line}\n")).collect()
}

/// The configuration without the places, which move with the lines.
fn unplaced(config: Config) -> Config {
    Config { places: Default::default(), ..config }
}

#[test]
fn minimal_loads_and_paths_stand_beside_the_file() {
    let config = load(MINIMAL);
    assert_eq!(config.node.id, "edge-1");
    assert_eq!(config.node.state_dir, Path::new("/etc/zrgw/state"));
    assert_eq!(config.list.file, Path::new("/etc/zrgw/../../allowlist/lists/kz-education-2020.toml"));
    assert_eq!(config.export.dir, Path::new("/etc/zrgw/usage"));
    assert_eq!(config.export.staging_dir, Path::new("/etc/zrgw/usage.staging"));
    assert_eq!(config.export.period, Duration::from_secs(900));
    assert_eq!(config.listeners[0].mode, Mode::ProxyProtocol);
    assert_eq!(config.listeners[0].peers.len(), 1);
    assert_eq!(config.upstream.resolvers, ["127.0.0.1:53".parse::<SocketAddr>().unwrap()]);
    assert_eq!(config.place("list.file").unwrap().to_string(), "14:8");
}

#[test]
fn full_names_every_key_and_no_other() {
    load(FULL);
    let stated: Vec<(String, String)> =
        lines(FULL).into_iter().map(|(_, section, key)| (section, key)).collect();
    for section in SECTIONS {
        for key in section.keys {
            let row = (key.section.to_owned(), key.name.to_owned());
            assert_eq!(key.section, section.name, "{key:?} stands in the table of another section");
            assert!(stated.contains(&row), "full.toml does not show {}.{}", key.section, key.name);
        }
    }
}

#[test]
fn full_comments_every_key() {
    let text: Vec<&str> = FULL.lines().collect();
    let mut explained: Vec<(String, String)> = Vec::new();
    for (index, section, key) in lines(FULL) {
        let commented = text[index - 1].starts_with('#');
        let row = (section, key);
        assert!(
            commented || explained.contains(&row),
            "no comment above line {}: {}",
            index + 1,
            text[index]
        );
        explained.push(row);
    }
}

#[test]
fn each_defaulted_key_of_full_stands_at_its_default_and_each_required_one_is_missed() {
    let whole = unplaced(load(FULL));
    let mut defaulted = 0;
    for (index, section, name) in lines(FULL) {
        let key = SECTIONS
            .iter()
            .flat_map(|section| section.keys)
            .find(|key| key.section == section && key.name == name)
            .unwrap_or_else(|| panic!("full.toml: {section}.{name} is not in the key table"));
        let cut = without(FULL, index);
        match key.need {
            // The resolvers' default is none, which a steered listener refuses: an example stands there.
            Need::Defaulted if (key.section, key.name) == ("upstream", "resolvers") => {
                let problems = Config::parse(&cut, Path::new("/etc/zrgw")).unwrap_err();
                assert!(problems[0].key == "upstream.resolvers" && problems.len() == 1, "{problems:?}");
            }
            // The three keys of DNS over TLS stand or fall together.
            Need::Optional if section == "dns" && name.starts_with("tls_") => {
                let problems = Config::parse(&cut, Path::new("/etc/zrgw")).unwrap_err();
                assert!(problems.iter().all(|problem| problem.key.starts_with("dns.tls_")), "{problems:?}");
            }
            // A socket stands in the place of an address, and its group beside it.
            Need::Optional if name == "socket" || name == "dnstap_socket" => {
                let problems = Config::parse(&cut, Path::new("/etc/zrgw")).unwrap_err();
                let told = |key: &str| problems.iter().any(|problem| problem.key.ends_with(key));
                assert!(told("group") && (name == "dnstap_socket" || told("address")), "{problems:?}");
            }
            // It follows another key where that is stated.
            Need::Defaulted if name.starts_with("original_connect_timeout") => {
                let upstream = load(&cut).upstream;
                let followed = if name.ends_with("_ipv6") {
                    (upstream.original_connect_timeout_ipv6, upstream.original_connect_timeout)
                } else {
                    (upstream.original_connect_timeout, upstream.connect_timeout)
                };
                assert_eq!(followed.0, followed.1);
                let none = FULL.lines().filter(|line| !line.contains("connect_timeout"));
                let none: String = none.map(|line| format!("{line}\n")).collect();
                assert_eq!(unplaced(load(&none)), whole, "none of the three is stated");
            }
            Need::Defaulted if (key.section, key.name) == ("limits", "https_idle_timeout") => {
                let limits = load(&cut).limits;
                assert_eq!(limits.https_idle_timeout, limits.idle_timeout);
                let neither = cut.replace("\nidle_timeout = \"15 min\"\n", "\n");
                assert_eq!(unplaced(load(&neither)), whole, "neither is stated");
            }
            Need::Defaulted => {
                defaulted += 1;
                assert_eq!(unplaced(load(&cut)), whole, "{section}.{name} does not stand at its default");
            }
            Need::Optional => assert_ne!(unplaced(load(&cut)), whole, "{section}.{name} changes nothing"),
            Need::Required => {
                let problems = Config::parse(&cut, Path::new("/etc/zrgw")).unwrap_err();
                assert_eq!(problems.len(), 1, "{section}.{name}: {problems:?}");
                assert!(problems[0].key.ends_with(&name), "{}", problems[0]);
            }
        }
    }
    assert!(defaulted > 30, "the walk saw only {defaulted} keys with defaults");
}

#[test]
fn the_keys_of_the_contract_work_verbatim() {
    let text = r#"
[node]
id = "n1"
state_dir = "/s"
[[listener]]
mode = "steered"
address = "127.0.0.1:0"
[[listener]]
mode = "proxy_protocol"
address = "[::1]:0"
[list]
file = "list.toml"
signatures = "none"
[subscribers]
file = "subscribers.csv"
[export]
dir = "/e"
period = "1 s"
[admin]
address = "127.0.0.1:0"
[upstream]
resolvers = ["127.0.0.1:5353"]
port_map = { 443 = 8443, 80 = 8080 }
allow_private = true
"#;
    let config = load(text);
    assert_eq!(config.upstream.port_map.into_iter().collect::<Vec<_>>(), [(80, 8080), (443, 8443)]);
    assert!(config.upstream.allow_private);
    assert_eq!(config.notes.len(), 3, "{:?}", config.notes);
}

#[test]
fn the_example_subscriber_table_loads() {
    let table = include_str!("../../config/examples/subscribers.csv");
    let rows = config::subscribers::parse(table, 1 << 20, 100).unwrap();
    assert!(rows.len() >= 3);
}

#[test]
fn without_subscribers_the_notes_say_so() {
    let config = load(&MINIMAL.replace("[subscribers]\nfile = \"subscribers.csv\"", ""));
    assert_eq!(config.subscribers, None);
    assert!(config.notes.iter().any(|note| note.contains("unattributed")), "{:?}", config.notes);
}

#[test]
fn steering_that_cuts_somebody_off_from_listed_names_is_noted() {
    let told = |mode: &str, listen: &str, addresses: &str| -> Vec<String> {
        let minimal = MINIMAL.replace("\"proxy_protocol\"", &format!("\"{mode}\""));
        let minimal =
            minimal.lines().filter(|line| !line.starts_with("peers")).collect::<Vec<_>>().join("\n");
        let dns = format!("[dns]\nlisten = [\"{listen}\"]\nsteer_addresses = [{addresses}]\n");
        let notes = load(&format!("{minimal}\n{dns}")).notes;
        notes.into_iter().filter(|note| note.starts_with("dns.steer_addresses")).collect()
    };
    let (v4, v6) = ("\"203.0.113.1\"", "\"2001:db8::1\"");
    let both = format!("{v4}, {v6}");
    assert!(told("steered", "192.0.2.1:53", v4).is_empty());
    assert!(told("steered", "[2001:db8::53]:53", &both).is_empty());
    assert!(told("steered", "[2001:db8::53]:53", "").is_empty(), "nothing is steered");
    for (mode, listen, addresses, wanted) in [
        ("steered", "192.0.2.1:53", v6, "without an IPv4 address"),
        ("steered", "[2001:db8::53]:53", v4, "without an IPv6 address"),
        ("proxy_protocol", "192.0.2.1:53", v4, "without a steered [[listener]]"),
    ] {
        let told = told(mode, listen, addresses);
        assert!(told.len() == 1 && told[0].contains(wanted), "{told:?}");
    }
}

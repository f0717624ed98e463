//! The files that the demonstration's node is started with: list, subscriber table, configuration. Text only.

use std::net::{Ipv4Addr, SocketAddr};

use jiff::Timestamp;

use super::world::{BALANCER, HTTP, HTTPS, OTHER_TLS, SUBSCRIBERS};

/// Name of the node.
const NODE_ID: &str = "demo";
/// Seconds of a day.
const DAY: i64 = 86_400;

/// The list, in force from a day before `now` to a day after.
pub(super) fn list(now: Timestamp) -> String {
    let at = |days: i64| {
        let second = now.as_second().saturating_add(days.saturating_mul(DAY));
        Timestamp::from_second(second).unwrap_or(now)
    };
    let (issued, expires) = (at(-1), at(1));
    let mut text = format!(
        "format = 1\nlist_id = \"demo\"\nserial = 1\nissued = {issued}\neffective_from = {issued}\nexpires = {expires}\n"
    );
    let services = [
        ("open-school", "Open School", "school.example", "subtree"),
        ("library", "National Library", "books.example", "exact"),
        ("exams", "Exams", "exams.example", "exact"),
    ];
    for (id, name, host, scope) in services {
        text.push_str(&format!(
            "\n[[service]]\nid = \"{id}\"\nname = \"{name}\"\nowner = \"demonstration\"\nreference = \"demonstration\"\n\
             \n[[service.rule]]\nhost = \"{host}\"\nscope = \"{scope}\"\nreason = \"demonstration\"\n\
             evidence = \"seen\"\ndns_only = false\n"
        ));
    }
    text.push_str("\n[[deny]]\nhost = \"ads.school.example\"\nreason = \"advertising\"\n");
    text
}

/// The subscriber table.
pub(super) fn subscribers() -> String {
    let rows = SUBSCRIBERS.iter().map(|known| format!("{},{},{}\n", known.prefix, known.kind, known.id));
    std::iter::once("prefix,subscriber_type,subscriber_id\n".to_owned()).chain(rows).collect()
}

/// Ports that the servers got.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    /// Of every TLS server.
    pub tls: u16,
    /// Of every HTTP server.
    pub http: u16,
    /// Of the DNS stub, on 127.0.0.1.
    pub dns: u16,
}

/// The configuration.
pub(super) fn configuration(ports: Ports) -> String {
    let Ports { tls, http, dns } = ports;
    format!(
        r#"# Written by `gateway demo`. The ports of `upstream` were those of its servers, which ended with it.

[node]
id = "{NODE_ID}"
state_dir = "state"

[[listener]]
mode = "steered"
address = "127.0.0.1:0"

[[listener]]
mode = "proxy_protocol"
address = "127.0.0.1:0"
peers = ["{BALANCER}/32"]

[list]
file = "list.toml"
signatures = "none"

[subscribers]
file = "subscribers.csv"

[export]
dir = "usage"
# Short, so that several files appear.
period = "1 s"
checkpoint = "250 ms"

[[rating_group]]
id = 100
services = ["*"]
disposition = "reported"

[upstream]
resolvers = ["{}"]
port_map = {{ {HTTPS} = {tls}, {OTHER_TLS} = {tls}, {HTTP} = {http} }}
allow_private = true
connect_timeout = "30 s"

# Patient, so that a busy machine changes no figure.
[lookup]
try_timeout = "10 s"
total_timeout = "30 s"

[limits]
identify_deadline = "30 s"
proxy_header_deadline = "30 s"
finish_deadline = "30 s"
# QUIC connections end without a word that a relay can read; short, so that their room is given back.
quic_idle_timeout = "5 s"

[admin]
address = "127.0.0.1:0"

[log]
level = "warn"
"#,
        SocketAddr::from((Ipv4Addr::LOCALHOST, dns))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_and_table_and_configuration_have_no_problem() {
        let list = allowlist::Document::parse(&list(Timestamp::now())).unwrap();
        assert_eq!(
            list.to_canonical(),
            allowlist::Document::parse(&list.to_canonical()).unwrap().to_canonical()
        );
        assert_eq!(config::subscribers::parse(&subscribers(), 4_096, 10).unwrap().len(), SUBSCRIBERS.len());
        let ports = Ports { tls: 1, http: 2, dns: 3 };
        let config = config::Config::parse(&configuration(ports), std::path::Path::new(".")).unwrap();
        assert_eq!(config.listeners.len(), 2);
    }
}

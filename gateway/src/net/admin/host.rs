//! Under which names the endpoint may be asked.
//!
//! A page of anybody's may have a browser on this machine resolve a name of the page's own to 127.0.0.1 and read what is
//! served there (DNS rebinding). The browser says that name in `Host`; so only names that a stranger cannot have are answered:
//! addresses, names of one label (`localhost`, a host of the operator's own network), the machine's own name, and those of
//! `admin.hosts`. RFC 9110 §7.2, §15.5.20.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// The names, in lower case and without a dot at the end.
pub(super) struct Hosts(Vec<String>);

impl Hosts {
    /// These names, and the machine's own.
    pub(super) fn new(names: Vec<String>) -> Self {
        let own = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self(names.into_iter().chain([own]).map(|name| plain(&name)).collect())
    }

    /// Whether the authority of a request (a host, perhaps with a port) is one of ours.
    fn knows(&self, authority: &str) -> bool {
        let Some(host) = host_of(authority) else { return false };
        is_address(host) || {
            let name = plain(host);
            is_one_label(&name) || self.0.contains(&name)
        }
    }

    /// Whether a request may be answered: what it names is ours, as often as it names anything. HTTP/1.0 may name nothing.
    fn admit(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        uri.authority().is_none_or(|authority| self.knows(authority.as_str()))
            && headers
                .get_all(header::HOST)
                .iter()
                .all(|host| host.to_str().is_ok_and(|host| self.knows(host)))
    }
}

/// A name as it is compared.
fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// The host in front of a port (RFC 3986 §3.2.2); none when it does not read.
fn host_of(authority: &str) -> Option<&str> {
    let (host, port) = if authority.starts_with('[') {
        let (host, rest) = authority.split_at_checked(authority.find(']')?.saturating_add(1))?;
        (host, rest.strip_prefix(':').or_else(|| rest.is_empty().then_some(""))?)
    } else {
        authority.split_once(':').unwrap_or((authority, ""))
    };
    (!host.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())).then_some(host)
}

/// Whether a name is of one label, which nobody can register in the public DNS.
fn is_one_label(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Whether a host is an address, IPv6 in brackets.
fn is_address(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(v6) => v6.parse::<Ipv6Addr>().is_ok(),
        None => host.parse::<Ipv4Addr>().is_ok(),
    }
}

/// Answers a request under a name that is not ours with 421.
pub(super) async fn judge(State(hosts): State<Arc<Hosts>>, request: Request, next: Next) -> Response {
    if hosts.admit(request.uri(), request.headers()) {
        return next.run(request).await;
    }
    let said = "not asked by that name: use the address or localhost, or add the name to admin.hosts\n";
    (StatusCode::MISDIRECTED_REQUEST, said).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f16_addresses_localhost_and_stated_names_are_ours_and_no_other() {
        let hosts = Hosts(vec!["gw1.example.net".to_owned()]);
        for ours in [
            "127.0.0.1",
            "127.0.0.1:9464",
            "10.1.2.3:80",
            "[::1]",
            "[::1]:9464",
            "[2001:db8::1]:1",
            "localhost",
            "LOCALHOST:9464",
            "localhost.:9464",
            "gw1",
            "gw1:9464",
            "gw1.example.net",
            "GW1.example.net.:9464",
        ] {
            assert!(hosts.knows(ours), "{ours}");
        }
        for foreign in [
            "",
            ":9464",
            "evil.example",
            "evil.example:9464",
            "localhost.evil.example",
            "127.0.0.1.evil.example:9464",
            "gw1.example.net.evil.example",
            "gw1.example",
            "127.0.0.1:9464@evil.example",
            "evil.example@127.0.0.1",
            "[::1",
            "[::1]evil.example",
            "[evil]",
            "::1",
            "127.1",
        ] {
            assert!(!hosts.knows(foreign), "{foreign}");
        }
    }

    #[test]
    fn f16_every_name_of_a_request_counts_and_none_is_needed() {
        let hosts = Hosts(Vec::new());
        let admitted = |uri: &str, names: &[&str]| {
            let mut headers = HeaderMap::new();
            for name in names {
                headers.append(header::HOST, name.parse().unwrap());
            }
            hosts.admit(&uri.parse().unwrap(), &headers)
        };
        assert!(admitted("/metrics", &[]));
        assert!(admitted("/metrics", &["localhost"]));
        assert!(admitted("http://127.0.0.1:9464/metrics", &["127.0.0.1:9464"]));
        assert!(!admitted("http://evil.example/metrics", &["localhost"]));
        assert!(!admitted("http://localhost/metrics", &["evil.example"]));
        assert!(!admitted("/metrics", &["localhost", "evil.example"]));
    }
}

//! Who may send accounting.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use subtle::ConstantTimeEq as _;

use super::figures::Heard;
use crate::flow::session::accounting;
use crate::net::sys::attention::{Attention, AttentionReason};
use crate::wire::radius::SubscriberWord;

/// Fewest octets of a secret: RFC 2865 §3 asks for 16.
const SECRET_OCTETS_MIN: usize = 16;
/// Most octets of a secret.
const SECRET_OCTETS_MAX: usize = 128;

/// A shared secret (RFC 2865 §3). `Debug` does not print it.
#[derive(Clone)]
pub struct Secret(Box<[u8]>);

/// Why a file has no secret. What it has is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "found {0} octets, wanted {SECRET_OCTETS_MIN} to {SECRET_OCTETS_MAX} (one line end at the end is not counted)"
)]
pub struct SecretError(pub usize);

impl Secret {
    /// Longest file: a secret and a line end.
    pub const FILE_OCTETS_MAX: usize = SECRET_OCTETS_MAX + 2;

    /// The secret of a file with these octets, without one line end at their end.
    ///
    /// # Errors
    /// It is too short, or too long.
    pub fn of(octets: &[u8]) -> Result<Self, SecretError> {
        let octets =
            octets.strip_suffix(b"\n").map_or(octets, |line| line.strip_suffix(b"\r").unwrap_or(line));
        if (SECRET_OCTETS_MIN..=SECRET_OCTETS_MAX).contains(&octets.len()) {
            Ok(Self(octets.into()))
        } else {
            Err(SecretError(octets.len()))
        }
    }

    /// The octets.
    pub fn octets(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// Who may send accounting, and what its attributes mean.
#[derive(Debug)]
pub struct Client {
    /// Name in metrics and messages.
    pub name: Arc<str>,
    /// Where it sends from.
    pub prefix: IpNet,
    /// What it shares with us.
    pub secret: Secret,
    /// Where the subscriber stands, in the order of preference.
    pub words: Vec<SubscriberWord>,
    /// What decides over its sessions.
    pub terms: accounting::Client,
    /// What was heard of it, over reloads.
    pub heard: Arc<Heard>,
}

impl Client {
    /// What wants attention of it at this time.
    pub(super) fn attention(&self, now_ms: u64) -> Vec<Attention> {
        let name = &self.name;
        let mut items = Vec::new();
        let silent = self.heard.last_ms().map(|last| now_ms.saturating_sub(last));
        let limit = self
            .terms
            .interim
            .map_or(u64::MAX, |interim| u64::try_from(interim.as_millis()).unwrap_or(u64::MAX));
        if silent.is_some_and(|silent| silent > limit) {
            let text = format!(
                "client \"{name}\" used to speak and has said nothing for longer than its interim: its sessions become stale, and nothing of them is exempt then. Remedy: look at the way from there, and at radius.client.interim"
            );
            items.push(Attention::new(AttentionReason::RadiusSilent, text));
        }
        if self.heard.is_refused_of_late(now_ms) {
            let text = format!(
                "requests from the addresses of client \"{name}\" were not made with its secret, or break the format: they get no answer. Remedy: the secret on both sides (radius.client.secret_file)"
            );
            items.push(Attention::new(AttentionReason::RadiusRefused, text));
        }
        if self.heard.is_doubted_of_late(now_ms) {
            let text = format!(
                "the clock behind client \"{name}\" is not believed: its events count from when they arrive. Remedy: NTP on the access server (radius.history)"
            );
            items.push(Attention::new(AttentionReason::RadiusClock, text));
        }
        items
    }
}

/// All clients.
#[derive(Debug, Default)]
pub struct Clients(Vec<Arc<Client>>);

impl Clients {
    /// Those of a configuration.
    pub fn new(clients: impl IntoIterator<Item = Client>) -> Self {
        let mut clients: Vec<_> = clients.into_iter().map(Arc::new).collect();
        // The longest prefix is found first.
        clients.sort_by_key(|client| std::cmp::Reverse(client.prefix.prefix_len()));
        Self(clients)
    }

    /// The client that sends from an address: that with the longest prefix. IPv4-mapped IPv6 addresses count as IPv4.
    pub fn find(&self, source: IpAddr) -> Option<&Arc<Client>> {
        let source = source.to_canonical();
        self.0.iter().find(|client| client.prefix.contains(&source))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Client>> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_what_its_file_has_without_one_line_end() {
        let octets = |octets: &[u8]| Secret::of(octets).map(|secret| secret.octets().to_vec());
        assert_eq!(octets(b"0123456789abcdef\n").unwrap(), b"0123456789abcdef");
        assert_eq!(octets(b"0123456789abcdef\r\n").unwrap(), b"0123456789abcdef");
        assert_eq!(octets(b"0123456789abcde\n\n").unwrap(), b"0123456789abcde\n");
        assert_eq!(octets(b"0123456789abcde\n"), Err(SecretError(15)));
        assert_eq!(octets(&[7; 128]).unwrap(), [7; 128]);
        assert_eq!(octets(&[7; 129]), Err(SecretError(129)));
        assert!(!format!("{:?}", Secret::of(&[b'x'; 16]).unwrap()).contains("xx"));
    }
}

//! `[radius]`: whose an address is, as the access network's RADIUS accounting (RFC 2866) says.

mod client;

pub use self::client::{AccountingKind, Octets, RadiusClient, Side};

use crate::key::Key;
use crate::reader::{Mismatch, Reader};
use crate::section::{Section, read_set};
use crate::value::socket_of;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

/// The keys of `[radius]`.
pub(crate) const KEYS: &[Key] = &[
    Key::defaulted("radius", "listen"),
    Key::defaulted("radius", "history"),
    Key::defaulted("radius", "adopt"),
    Key::defaulted("radius", "trust_gap"),
    Key::defaulted("radius", "sessions_max"),
];
/// The keys of `[[radius.client]]`.
pub(crate) const CLIENT_KEYS: &[Key] = client::KEYS;

/// Where accounting comes in when nothing is said: the port of RFC 2866 §3, on this machine alone.
pub const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1813);
/// Most addresses.
pub const LISTEN_MAX: usize = 16;
/// How old an event may be and still be believed: a relay that was down sends what it kept.
pub const HISTORY_DEFAULT: Duration = Duration::from_secs(7 * 86_400);
/// Range of `history`.
pub const HISTORY_RANGE: RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(90 * 86_400);
/// How long after its begin a flow may still get the session that it began in.
pub const ADOPT_DEFAULT: Duration = Duration::from_secs(30);
/// Range of `adopt`.
pub const ADOPT_RANGE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(600);
/// How long the gateway may have been away with sessions still believed.
pub const TRUST_GAP_DEFAULT: Duration = Duration::from_secs(30);
/// Range of `trust_gap`.
pub const TRUST_GAP_RANGE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3_600);
/// Most sessions at once, at most 512 bytes of memory each.
pub const SESSIONS_MAX_DEFAULT: usize = 1_000_000;
/// Range of `sessions_max`.
pub const SESSIONS_MAX_RANGE: RangeInclusive<usize> = 1..=100_000_000;
/// Most clients.
pub const CLIENTS_MAX: usize = 1_024;
/// What the addresses look like, for messages.
const LISTEN_FORM: &str = "an array of addresses with port, such as [\"127.0.0.1:1813\"]";

/// `[radius]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Radius {
    /// UDP addresses where accounting comes in; port 0 takes any free one.
    pub listen: Vec<SocketAddr>,
    /// How old an event may be and still be believed.
    pub history: Duration,
    /// How long after its begin a flow may still get the session that it began in.
    pub adopt: Duration,
    /// How long the gateway may have been away with sessions still believed.
    pub trust_gap: Duration,
    /// Most sessions at once.
    pub sessions_max: usize,
    /// Who may send it; the longest prefix counts.
    pub clients: Vec<RadiusClient>,
}

impl Radius {
    /// Reads `[radius]`; none when there is no such section.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Radius> {
        let section = reader.section("radius");
        if !section.stands() {
            return None;
        }
        let listen = listen(reader, &section);
        let history = section.duration(reader, "history", HISTORY_DEFAULT, HISTORY_RANGE).value;
        let adopt = section.duration(reader, "adopt", ADOPT_DEFAULT, ADOPT_RANGE).value;
        let trust_gap = section.duration(reader, "trust_gap", TRUST_GAP_DEFAULT, TRUST_GAP_RANGE).value;
        let sessions_max =
            section.count(reader, "sessions_max", SESSIONS_MAX_DEFAULT, SESSIONS_MAX_RANGE).value;
        let sections = section.below(reader, "client", "radius.client");
        if sections.is_empty() {
            let fault = Mismatch::new("no client", "one or more sections [[radius.client]]");
            let remedy = "name the access servers, or the AAA that passes their accounting on";
            reader.missing("radius.client", section.at, fault.remedy(remedy));
        }
        if let Some(over) = sections.get(CLIENTS_MAX) {
            let fault =
                Mismatch::new(format!("{} clients", sections.len()), format!("at most {CLIENTS_MAX}"));
            reader.wrong("radius.client", over.at, fault);
        }
        let clients = client::read(reader, &sections);
        Some(Radius { listen, history, adopt, trust_gap, sessions_max, clients })
    }
}

/// Where accounting comes in.
fn listen(reader: &mut Reader<'_>, section: &Section<'_>) -> Vec<SocketAddr> {
    let Some((value, at)) = section.value("listen") else { return vec![LISTEN_DEFAULT] };
    if value.as_array().is_some_and(|array| array.is_empty()) {
        let fault = Mismatch::new("no address", LISTEN_FORM);
        reader.wrong("radius.listen", at, fault.remedy("without RADIUS leave the section out"));
    }
    read_set(reader, section, "listen", LISTEN_FORM, LISTEN_MAX, socket_of).unwrap_or_default()
}

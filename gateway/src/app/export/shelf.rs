//! Sessions of accounting over a restart: how they stand in `sessions.db`.
//!
//! A row's content is JSON, so that whoever is to say what is kept of people can read it. What a later version wrote and this one
//! does not understand stays where it is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;

use billing_export::{BindingChange, BindingKey, Bindings, ExportError, SubscriberType};
use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::flow::session::accounting::{
    End, Kind, NamedSpot, Nas, Row, RowChange, RowKey, ServerRow, Spot, Subscriber,
};
use crate::flow::session::{Block, SessionState};
use crate::net::radius::{Kept, Shelf, ShelfError};

/// In front of an access server in the key of a session, and of what it said of itself.
const OF_SESSION: u8 = b's';
/// See [`OF_SESSION`].
const OF_SERVER: u8 = b'n';
/// In place of an access server: what is known of blocks that were forgotten.
const OF_BLOCKS: u8 = b'f';

/// The sessions of a node in its state folder.
pub struct SessionShelf {
    folder: PathBuf,
    node_id: String,
    /// None: it could not be opened yet, or the last change of it failed.
    bindings: Option<Bindings>,
}

/// An access server, as a part of keys.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Server {
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<Ipv4Addr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv6: Option<Ipv6Addr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identifier: Option<Vec<u8>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<IpAddr>,
}

/// A session.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    #[serde(skip_serializing_if = "Option::is_none")]
    subscriber_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscriber_id: Option<String>,
    start: u32,
    event: u32,
    heard: u32,
    silence: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<(String, u32)>,
    state: String,
    unsure: bool,
    translated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    inside: Option<Place>,
    nat: bool,
    addresses: Vec<(String, Place)>,
    /// Of these, those that another's session has, and its start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    lost: Vec<(Place, u32)>,
}

/// A block of addresses, or ports of one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Place {
    Block(IpNet),
    Ports(IpAddr, u16, u16),
}

/// What is known of an access server: its latest Accounting-On or -Off, and what of its sessions was forgotten.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    event: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    forgotten: u32,
}

/// What is known of blocks that were forgotten.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Forgotten {
    start: u32,
}

/// Whether there is nothing to say.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it so")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The words of the kinds of addresses.
const KINDS: [(Kind, &str); 8] = [
    (Kind::V4, "framed_ip"),
    (Kind::V6, "framed_ipv6"),
    (Kind::Prefix, "framed_ipv6_prefix"),
    (Kind::Delegated, "delegated_ipv6_prefix"),
    (Kind::Route, "route"),
    (Kind::Outside, "outside"),
    (Kind::Ports, "ports"),
    (Kind::Former, "former"),
];
/// The words of the states.
const STATES: [(SessionState, &str); 3] =
    [(SessionState::Active, "active"), (SessionState::Suspect, "suspect"), (SessionState::Stale, "stale")];
/// The words of the ends.
const ENDS: [(End, &str); 3] = [(End::Stopped, "stopped"), (End::Reset, "reset"), (End::Lost, "lost")];

/// The word of a value.
fn word<T: PartialEq>(words: &[(T, &'static str)], value: &T) -> String {
    words.iter().find(|(known, _)| known == value).map_or("", |(_, word)| *word).to_owned()
}

/// The value of a word.
fn meant<T: Copy>(words: &[(T, &'static str)], word: &str) -> Option<T> {
    words.iter().find(|(_, known)| *known == word).map(|(value, _)| *value)
}

impl SessionShelf {
    /// The sessions of a node in its state folder; nothing is opened yet.
    pub fn new(folder: PathBuf, node_id: String) -> Self {
        Self { folder, node_id, bindings: None }
    }

    /// The database, opened where it is not.
    fn open(&mut self) -> Result<&mut Bindings, ExportError> {
        let bindings = match self.bindings.take() {
            Some(bindings) => bindings,
            None => Bindings::open(&self.folder, &self.node_id)?,
        };
        Ok(self.bindings.insert(bindings))
    }
}

impl Shelf for SessionShelf {
    fn load(&mut self) -> Result<Kept, ShelfError> {
        let bindings = self.open().map_err(told)?;
        let mut kept = Kept::default();
        let alive_ms = bindings
            .each(&mut |key, content| {
                if take_in(&mut kept, key, content).is_none() {
                    kept.strange = kept.strange.saturating_add(1);
                }
            })
            .map_err(told)?;
        kept.alive = i64::try_from(alive_ms)
            .ok()
            .filter(|alive| *alive > 0)
            .and_then(|alive| Timestamp::from_millisecond(alive).ok());
        Ok(kept)
    }

    fn commit(&mut self, changes: &[RowChange], now: Timestamp) -> Result<(), ShelfError> {
        let written: Vec<Written> = changes.iter().map(Written::of).collect::<Result<_, _>>()?;
        let alive = u64::try_from(now.as_millisecond()).unwrap_or(0);
        let bindings = self.open().map_err(told)?;
        let outcome = bindings.commit(written.iter().map(Written::change), alive);
        let stands = bindings.stands();
        if outcome.is_err() || !stands {
            // What is on the disk is opened again before anything more is written.
            self.bindings = None;
        }
        if stands { outcome.map_err(told) } else { Err(ShelfError::Gone) }
    }

    fn close(&mut self) {
        self.bindings = None;
    }
}

/// An error of the database, in its own words.
#[expect(clippy::needless_pass_by_value, reason = "it is handed to map_err")]
fn told(error: ExportError) -> ShelfError {
    ShelfError::Failed(error.to_string())
}

/// One row as it is written.
struct Written {
    realm: Arc<str>,
    nas: Vec<u8>,
    session: Arc<[u8]>,
    content: Option<String>,
}

impl Written {
    /// The row of a change.
    fn of(change: &RowChange) -> Result<Self, ShelfError> {
        let of = |key: &RowKey, content| {
            let (realm, session) = (Arc::clone(&key.realm), Arc::clone(&key.session));
            Ok(Self { realm, nas: server_key(OF_SESSION, &key.nas)?, session, content })
        };
        match change {
            RowChange::Upsert(row) => of(&row.key, Some(json(&Content::of(row))?)),
            RowChange::Delete(key) => of(key, None),
            RowChange::Server(ServerRow { realm, nas, said, forgotten }) => Ok(Self {
                realm: Arc::clone(realm),
                nas: server_key(OF_SERVER, nas)?,
                session: Arc::default(),
                content: Some(json(&Said { event: *said, forgotten: *forgotten })?),
            }),
            RowChange::Forgotten(start) => Ok(Self {
                realm: Arc::from(""),
                nas: vec![OF_BLOCKS],
                session: Arc::default(),
                content: Some(json(&Forgotten { start: *start })?),
            }),
        }
    }

    /// The same for the database.
    fn change(&self) -> BindingChange<'_> {
        let key = BindingKey { realm: &self.realm, nas: &self.nas, session: &self.session };
        BindingChange { key, content: self.content.as_deref() }
    }
}

/// JSON of a value of ours.
fn json(value: &impl Serialize) -> Result<String, ShelfError> {
    serde_json::to_string(value).map_err(|error| ShelfError::Failed(format!("sessions.db: {error}")))
}

/// An access server in a key.
fn server_key(mark: u8, nas: &Nas) -> Result<Vec<u8>, ShelfError> {
    let server = Server {
        ip: nas.v4(),
        ipv6: nas.v6(),
        identifier: nas.identifier().map(<[u8]>::to_vec),
        source: nas.source(),
    };
    let mut key = vec![mark];
    key.extend(json(&server)?.into_bytes());
    Ok(key)
}

/// Takes in one row; none where nobody understands it.
fn take_in(kept: &mut Kept, key: BindingKey<'_>, content: &str) -> Option<()> {
    let (mark, server) = key.nas.split_first()?;
    if *mark == OF_BLOCKS && server.is_empty() {
        let Forgotten { start } = serde_json::from_str(content).ok()?;
        kept.memory.forgotten = start;
        return Some(());
    }
    let Server { ip, ipv6, identifier, source } = serde_json::from_slice(server).ok()?;
    // Where it has a name of its own its source is not asked for.
    let source = source.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let nas = Nas::new(ip, ipv6, identifier.as_deref(), source);
    let realm = Arc::from(key.realm);
    match *mark {
        OF_SESSION => {
            let content: Content = serde_json::from_str(content).ok()?;
            kept.memory.rows.push(content.row(RowKey { realm, nas, session: key.session.into() })?);
        }
        OF_SERVER => {
            let Said { event, forgotten } = serde_json::from_str(content).ok()?;
            kept.memory.servers.push(ServerRow { realm, nas, said: event, forgotten });
        }
        _ => return None,
    }
    Some(())
}

impl Content {
    /// What there is to say of a session.
    fn of(row: &Row) -> Self {
        Self {
            subscriber_type: row.subscriber.as_ref().map(|subscriber| subscriber.kind().label().to_owned()),
            subscriber_id: row.subscriber.as_ref().map(|subscriber| subscriber.id().to_owned()),
            start: row.start,
            event: row.event,
            heard: row.heard,
            silence: row.silence,
            end: row.end.map(|(end, at)| (word(&ENDS, &end), at)),
            state: word(&STATES, &row.state),
            unsure: row.unsure,
            translated: row.translated,
            inside: row.inside.map(Place::of),
            nat: row.is_nat,
            addresses: row
                .spots
                .iter()
                .map(|named| (word(&KINDS, &named.kind), Place::of(named.spot)))
                .collect(),
            lost: row
                .spots
                .iter()
                .filter(|named| named.lost > 0)
                .map(|named| (Place::of(named.spot), named.lost))
                .collect(),
        }
    }

    /// The session that it speaks of; none where it says something that no session of ours has.
    fn row(self, key: RowKey) -> Option<Row> {
        let subscriber = match (self.subscriber_type, self.subscriber_id) {
            (Some(kind), Some(id)) => Some(Subscriber::new(kind.parse::<SubscriberType>().ok()?, &id)?),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return None,
        };
        let end = match self.end {
            Some((end, at)) => Some((meant(&ENDS, &end)?, at)),
            None => None,
        };
        let inside = match self.inside {
            Some(inside) => Some(inside.spot()?),
            None => None,
        };
        let lost = self.lost.into_iter().map(|(place, start)| Some((place.spot()?, start)));
        let lost: Vec<(Spot, u32)> = lost.collect::<Option<_>>()?;
        let spots = self.addresses.into_iter().map(|(kind, place)| {
            let (kind, spot) = (meant(&KINDS, &kind)?, place.spot()?);
            let lost = lost.iter().find(|(other, _)| *other == spot).map_or(0, |(_, start)| *start);
            Some(NamedSpot { kind, spot, lost })
        });
        Some(Row {
            key,
            subscriber,
            start: self.start,
            event: self.event,
            heard: self.heard,
            silence: self.silence,
            end,
            state: meant(&STATES, &self.state)?,
            unsure: self.unsure,
            translated: self.translated,
            inside,
            is_nat: self.nat,
            spots: spots.collect::<Option<_>>()?,
        })
    }
}

impl Place {
    /// That of a spot.
    fn of(spot: Spot) -> Self {
        match spot.block() {
            Some(block) => Self::Block(block.prefix()),
            None => {
                let (first, last) = spot.range();
                Self::Ports(spot.addresses().prefix().addr(), first, last)
            }
        }
    }

    /// The spot; none where its ports are in no order.
    fn spot(self) -> Option<Spot> {
        match self {
            Self::Block(prefix) => Some(Spot::of(Block::from(prefix))),
            Self::Ports(address, first, last) => Spot::ports(address, first, last),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A session with something in every field.
    fn row() -> Row {
        let block = |text: &str| Spot::of(Block::from(text.parse::<IpNet>().unwrap()));
        Row {
            key: RowKey {
                realm: "north".into(),
                nas: Nas::new(Some([10, 0, 0, 1].into()), None, Some(b"bng\xff"), [10, 0, 0, 9].into()),
                session: b"\x00\xffid".as_slice().into(),
            },
            subscriber: Subscriber::new(SubscriberType::Imsi, "401010123456789"),
            start: 1,
            event: 2,
            heard: 3,
            silence: 4,
            end: Some((End::Lost, 5)),
            state: SessionState::Stale,
            unsure: true,
            translated: true,
            inside: Some(block("100.64.0.1/32")),
            is_nat: true,
            spots: vec![
                NamedSpot { kind: Kind::V4, spot: block("100.64.0.1/32"), lost: 0 },
                NamedSpot { kind: Kind::Delegated, spot: block("2001:db8::/56"), lost: 7 },
                NamedSpot {
                    kind: Kind::Ports,
                    spot: Spot::ports([198, 51, 100, 1].into(), 1_000, 1_999).unwrap(),
                    lost: 8,
                },
            ],
        }
    }

    #[test]
    fn what_was_removed_is_told_and_can_be_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut shelf = SessionShelf::new(folder.path().to_owned(), "edge-1".to_owned());
        let at = Timestamp::from_millisecond(1_700_000_000_123).unwrap();
        shelf.commit(&[RowChange::Upsert(row())], at).unwrap();
        for name in ["sessions.db", "sessions.db-wal", "sessions.db-shm"] {
            std::fs::remove_file(folder.path().join(name)).unwrap();
        }
        assert!(matches!(shelf.commit(&[], at), Err(ShelfError::Gone)));
        shelf.commit(&[RowChange::Upsert(row())], at).unwrap();
        drop(shelf);
        let mut after = SessionShelf::new(folder.path().to_owned(), "edge-1".to_owned());
        assert_eq!(after.load().unwrap().memory.rows, [row()]);
    }

    #[test]
    fn what_was_committed_is_loaded_as_it_was_and_a_strange_row_stays() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = || SessionShelf::new(folder.path().to_owned(), "edge-1".to_owned());
        let plain = Row {
            key: RowKey { nas: Nas::new(None, None, None, [10, 0, 0, 9].into()), ..row().key },
            subscriber: None,
            end: None,
            inside: None,
            spots: Vec::new(),
            ..row()
        };
        let server = ServerRow { realm: "north".into(), nas: row().key.nas, said: 9, forgotten: 10 };
        let at = Timestamp::from_millisecond(1_700_000_000_123).unwrap();
        let mut first = shelf();
        assert_eq!(first.load().unwrap().alive, None);
        let changes = [
            RowChange::Upsert(row()),
            RowChange::Upsert(plain.clone()),
            RowChange::Server(server.clone()),
            RowChange::Forgotten(11),
        ];
        first.commit(&changes, at).unwrap();
        drop(first);
        let mut second = shelf();
        let kept = second.load().unwrap();
        let memory = kept.memory;
        assert_eq!(memory.rows.len(), 2);
        assert!(memory.rows.contains(&row()) && memory.rows.contains(&plain), "{:?}", memory.rows);
        assert_eq!((memory.servers, memory.forgotten), (vec![server], 11));
        assert_eq!((kept.alive, kept.strange), (Some(at), 0));
        second.commit(&[RowChange::Delete(row().key)], at).unwrap();
        let strange = BindingKey { realm: "north", nas: b"x{}", session: b"" };
        let change = BindingChange { key: strange, content: Some("{}") };
        second.open().unwrap().commit([change], 1).unwrap();
        let kept = second.load().unwrap();
        assert_eq!((kept.memory.rows, kept.strange), (vec![plain], 1));
    }
}

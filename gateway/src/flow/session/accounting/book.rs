//! Every session that is known, by realm, access server and Acct-Session-Id.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use billing_export::Session;

use super::decision::{End, NamedSpot, Row, RowKey, ServerRow};
use super::report::{Kind, Nas, Subscriber};
use super::spot::Spot;
use crate::flow::session::SessionState;

/// Access servers that are told apart. Each is configured at some client; this many are a mistake.
const NAS_MAX: usize = 65_536;
/// Most that a session may name, what it had before included. A packet has room for more; no access server uses it.
pub(super) const NAMED_MAX: usize = 64;

/// Entries of a queue that are not worth tidying.
pub(super) const QUEUE_MIN: usize = 1_024;

/// What names a session here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// The access server, by its place in [`Servers`].
    pub(super) nas: u32,
    /// Acct-Session-Id.
    pub(super) id: Arc<[u8]>,
}

/// What is known of a session. Times are Unix seconds.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) key: Key,
    /// The realm, by its place in [`Servers`].
    pub(super) realm: u32,
    /// Whose it is, and the id of its records; none where nobody is known.
    pub(super) session: Option<Session>,
    /// What it named, held or not: a block that was refused is asked for again with each packet.
    pub(super) named: Vec<Named>,
    /// The inside address, of a translator's session.
    pub(super) inside: Option<Box<Spot>>,
    pub(super) start: u32,
    /// Its last event.
    pub(super) event: u32,
    /// When it was last heard of, by the clock of [`super::Registry`].
    pub(super) heard: u32,
    /// Seconds without news after which it is stale.
    pub(super) silence: u32,
    /// By what and at which event it ended; none of one that lasts.
    pub(super) end: Option<(End, u32)>,
    pub(super) state: SessionState,
    /// Two packets of one second named two subscribers: which was later nobody can tell.
    pub(super) unsure: bool,
    /// It had ports or an outside address, so its Framed-IP-Address is one of many alike (rule 7).
    pub(super) translated: bool,
    /// It is a translator's.
    pub(super) is_nat: bool,
}

/// A spot that a session named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) spot: Spot,
    pub(super) kind: Kind,
    /// 0, or another session had it, which started then: another's to whom this one lost it, or the one before under this id. It is
    /// known on the disk, for that other may be forgotten, or never have had room.
    pub(super) lost: u32,
}

/// An event so long after the start settles which of two that started together goes on (rule 8).
const SETTLED_AFTER_S: u32 = 2;

impl Known {
    /// Whether it lasts.
    pub(super) const fn is_open(&self) -> bool {
        self.end.is_none()
    }

    /// Whether it was heard of long enough after its start.
    pub(super) const fn is_settled(&self) -> bool {
        self.event >= self.start.saturating_add(SETTLED_AFTER_S)
    }

    /// Whether it began before that; not by a second, for Acct-Session-Time is cut to seconds.
    pub(super) const fn is_earlier_than(&self, begun: u32) -> bool {
        begun > self.start.saturating_add(1)
    }

    /// Notes that another's session has a spot that it named, and started at `barrier`; 0: that it has it itself. Whether that is
    /// news.
    pub(super) fn set_lost(&mut self, spot: Spot, barrier: u32) -> bool {
        let named = self.named.iter_mut().find(|named| named.spot == spot && named.lost != barrier);
        named.is_some_and(|named| {
            named.lost = barrier;
            true
        })
    }

    /// Another session begins under its id: what it named was had by one that started when it did.
    pub(super) fn leave_named(&mut self) {
        let start = self.start;
        self.named.iter_mut().for_each(|named| named.lost = named.lost.max(start));
    }

    /// What it is to hold.
    pub(super) fn wanted(&self) -> Vec<Spot> {
        self.named.iter().filter(|named| named.kind != Kind::Former).map(|named| named.spot).collect()
    }

    /// Adds a spot, or gives one that it named before another kind; says whether there is room.
    pub(super) fn name(&mut self, spot: Spot, kind: Kind) -> bool {
        if let Some(named) = self.named.iter_mut().find(|named| named.spot == spot) {
            named.kind = kind;
            return true;
        }
        if self.named.len() >= NAMED_MAX {
            let Some(oldest) = self.named.iter().position(|named| named.kind == Kind::Former) else {
                return false;
            };
            self.named.remove(oldest);
        }
        // Most sessions have one address or two, and there are millions of them: no room ahead.
        self.named.reserve_exact(1);
        self.named.push(Named { spot, kind, lost: 0 });
        true
    }
}

/// Whether two sessions are one subscriber's: in one realm, by the same kind of id and the same id.
pub(super) fn is_same(one: (u32, Option<&Session>), other: (u32, Option<&Session>)) -> bool {
    match (one, other) {
        ((realm, Some(one)), (others, Some(other))) => {
            realm == others
                && one.subscriber_type() == other.subscriber_type()
                && one.subscriber_id() == other.subscriber_id()
        }
        _ => false,
    }
}

/// Access servers and realms, each once.
#[derive(Debug, Default)]
pub(super) struct Servers {
    realms: Vec<Arc<str>>,
    all: Vec<Server>,
    index: BTreeMap<(u32, Nas), u32>,
    /// Those that said On or Off.
    said: BTreeSet<u32>,
}

/// An access server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) realm: u32,
    pub(super) nas: Nas,
    /// Event of the latest On or Off with exactly these attributes, or 0.
    pub(super) said: u32,
    /// Event of the latest that it agrees with, or 0: what began before and was not heard of since is over.
    pub(super) reset: u32,
    /// No session that ended later than this was forgotten: of a packet that is older nobody can tell whether its session has ended.
    pub(super) forgotten: u32,
}

impl Servers {
    /// The place of an access server; none where there are too many.
    pub(super) fn place(&mut self, realm: &Arc<str>, nas: &Nas) -> Option<u32> {
        let realm_place = match self.realms.iter().position(|known| known == realm) {
            Some(place) => place,
            None => {
                self.realms.push(Arc::clone(realm));
                self.realms.len().saturating_sub(1)
            }
        };
        let realm = u32::try_from(realm_place).ok()?;
        if let Some(place) = self.index.get(&(realm, nas.clone())) {
            return Some(*place);
        }
        let place = u32::try_from(self.all.len()).ok().filter(|_| self.all.len() < NAS_MAX)?;
        let said = self.said.iter().filter_map(|place| self.get(*place));
        let said = said.filter(|other| other.realm == realm && nas.agrees_with(&other.nas));
        let reset = said.map(|other| other.said).max().unwrap_or(0);
        self.all.push(Server { realm, nas: nas.clone(), said: 0, reset, forgotten: 0 });
        self.index.insert((realm, nas.clone()), place);
        Some(place)
    }

    /// The access server at a place.
    pub(super) fn get(&self, place: u32) -> Option<&Server> {
        self.all.get(usize::try_from(place).ok()?)
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, place: u32) -> Option<&mut Server> {
        self.all.get_mut(usize::try_from(place).ok()?)
    }

    /// The row of an access server.
    pub(super) fn row(&self, place: u32) -> Option<ServerRow> {
        let Server { realm, nas, said, forgotten, .. } = self.get(place)?;
        let realm = Arc::clone(self.realm(*realm)?);
        Some(ServerRow { realm, nas: nas.clone(), said: *said, forgotten: *forgotten })
    }

    /// The rows of all of which there is something to know.
    pub(super) fn rows(&self) -> impl Iterator<Item = ServerRow> {
        let places = 0..u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        places.filter_map(|place| self.row(place)).filter(|row| row.said > 0 || row.forgotten > 0)
    }

    /// The name of a realm.
    pub(super) fn realm(&self, place: u32) -> Option<&Arc<str>> {
        self.realms.get(usize::try_from(place).ok()?)
    }

    /// Notes an On or Off of the server at `place`; those that agree with it.
    pub(super) fn reset(&mut self, place: u32, event: u32) -> Vec<u32> {
        let Some(server) = self.get_mut(place) else { return Vec::new() };
        server.said = server.said.max(event);
        let (realm, nas) = (server.realm, server.nas.clone());
        self.said.insert(place);
        let mut agreeing = Vec::new();
        for (place, server) in self.all.iter_mut().enumerate() {
            if server.realm == realm && server.nas.agrees_with(&nas) {
                server.reset = server.reset.max(event);
                agreeing.extend(u32::try_from(place));
            }
        }
        agreeing
    }
}

/// The sessions.
#[derive(Debug, Default)]
pub(super) struct Book {
    slots: Vec<Option<Known>>,
    free: Vec<u32>,
    index: BTreeMap<Key, u32>,
    open: usize,
    /// Sessions that ended, the earliest first: slot, event, and when that was heard.
    pub(super) ended: VecDeque<(u32, u32, u32)>,
}

impl Book {
    /// The session with a key.
    pub(super) fn find(&self, key: &Key) -> Option<u32> {
        self.index.get(key).copied()
    }

    /// The session at a slot.
    pub(super) fn get(&self, slot: u32) -> Option<&Known> {
        self.slots.get(usize::try_from(slot).ok()?)?.as_ref()
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Known> {
        self.slots.get_mut(usize::try_from(slot).ok()?)?.as_mut()
    }

    /// Adds a session whose key is new.
    pub(super) fn add(&mut self, known: Known) -> Option<u32> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                let slot = u32::try_from(self.slots.len()).ok()?;
                self.slots.push(None);
                slot
            }
        };
        self.index.insert(known.key.clone(), slot);
        if known.is_open() {
            self.open = self.open.saturating_add(1);
        }
        *self.slots.get_mut(usize::try_from(slot).ok()?)? = Some(known);
        Some(slot)
    }

    /// Forgets a session.
    pub(super) fn remove(&mut self, slot: u32) -> Option<Known> {
        let known = self.slots.get_mut(usize::try_from(slot).ok()?)?.take()?;
        self.index.remove(&known.key);
        self.free.push(slot);
        if known.is_open() {
            self.open = self.open.saturating_sub(1);
        }
        Some(known)
    }

    /// Has a session end, or last again.
    pub(super) fn set_end(&mut self, slot: u32, end: Option<(End, u32)>, heard: u32) {
        let Some(known) = self.get_mut(slot) else { return };
        let was_open = known.is_open();
        known.end = end;
        match (was_open, end) {
            (true, Some(_)) => self.open = self.open.saturating_sub(1),
            (false, None) => self.open = self.open.saturating_add(1),
            _ => {}
        }
        if let Some((_, event)) = end {
            self.ended.push_back((slot, event, heard));
        }
    }

    /// Drops entries of the queue whose sessions have gone on since, where they are many.
    pub(super) fn tidy(&mut self) {
        let ended = self.len().saturating_sub(self.open);
        if self.ended.len() > QUEUE_MIN.max(ended.saturating_mul(2)) {
            let mut queue = std::mem::take(&mut self.ended);
            let is_it = |known: &Known, event| known.end.is_some_and(|(_, at)| at == event);
            queue.retain(|(slot, event, _)| self.get(*slot).is_some_and(|known| is_it(known, *event)));
            self.ended = queue;
        }
    }

    /// Sessions that last.
    pub(super) const fn open(&self) -> usize {
        self.open
    }

    /// All that are known, those that ended among them.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Slots, in use or not.
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The sessions of an access server.
    pub(super) fn of(&self, nas: u32) -> Vec<u32> {
        let first = Key { nas, id: Arc::from([].as_slice()) };
        self.index.range(first..).take_while(|(key, _)| key.nas == nas).map(|(_, slot)| *slot).collect()
    }

    /// The row of a session.
    pub(super) fn row(&self, slot: u32, servers: &Servers) -> Option<Row> {
        let known = self.get(slot)?;
        Some(Row {
            key: row_key(known, servers)?,
            subscriber: known.session.as_ref().and_then(Subscriber::of),
            start: known.start,
            event: known.event,
            heard: known.heard,
            silence: known.silence,
            end: known.end,
            state: known.state,
            unsure: known.unsure,
            translated: known.translated,
            inside: known.inside.as_deref().copied(),
            is_nat: known.is_nat,
            spots: known
                .named
                .iter()
                .map(|named| NamedSpot { kind: named.kind, spot: named.spot, lost: named.lost })
                .collect(),
        })
    }
}

/// What names a session on the disk.
pub(super) fn row_key(known: &Known, servers: &Servers) -> Option<RowKey> {
    let server = servers.get(known.key.nas)?;
    let realm = Arc::clone(servers.realm(server.realm)?);
    Some(RowKey { realm, nas: server.nas.clone(), session: Arc::clone(&known.key.id) })
}

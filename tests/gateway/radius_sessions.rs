//! Sessions from RADIUS accounting: what access servers really send, held against the rules one by one, against a plain model in
//! an unquiet world, and against a restart. What the registry decides is applied to the table of sessions, and that is asked too.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    missing_docs,
    reason = "tests may panic"
)]

#[path = "radius_sessions/cases.rs"]
mod cases;
#[path = "radius_sessions/chaos.rs"]
mod chaos;
#[path = "radius_sessions/clocks.rs"]
mod clocks;
#[path = "radius_sessions/limits.rs"]
mod limits;
#[path = "radius_sessions/model.rs"]
mod model;
#[path = "radius_sessions/occupied.rs"]
mod occupied;
#[path = "radius_sessions/ports.rs"]
mod ports;
#[path = "radius_sessions/restart.rs"]
mod restart;
#[path = "radius_sessions/servers.rs"]
mod servers;
#[path = "radius_sessions/world.rs"]
mod world;

use std::hash::RandomState;
use std::net::IpAddr;
use std::time::Duration;

use billing_export::SubscriberType;
use gateway::flow::session::accounting::{
    Away, Client, ClientKind, Decision, Kind, Limits, Memory, Nas, Outcome, PortChange, Ports, Registry,
    Report, RowChange, RowKey, Side, Status, Subscriber,
};
use gateway::flow::session::{Block, SessionState, Sessions};
use gateway::flow::time::{Moment, Monotonic};
use ipnet::IpNet;
use jiff::Timestamp;

/// When the tests begin, in Unix seconds.
const BEGIN: u32 = 1_700_000_000;
/// How far back events are believed, in seconds.
const HISTORY_S: u32 = 7 * 86_400;

/// So many seconds after the beginning.
fn moment(second: u32) -> Moment {
    moment_ms(u64::from(second) * 1_000)
}

fn moment_ms(ms: u64) -> Moment {
    let since = Duration::from_millis(ms);
    Moment {
        wall: Timestamp::from_millisecond(i64::from(BEGIN) * 1_000 + ms as i64).unwrap(),
        monotonic: Monotonic::new(since),
    }
}

fn ip(address: &str) -> IpAddr {
    address.parse().unwrap()
}

fn limits(sessions_max: usize) -> Limits {
    Limits { history: Duration::from_secs(HISTORY_S.into()), sessions_max }
}

fn client() -> Client {
    Client {
        realm: "default".into(),
        kind: ClientKind::Access,
        side: Side::Inside,
        interim: Some(Duration::from_secs(600)),
        session_max: Duration::from_secs(86_400),
        routes: false,
    }
}

fn account(id: &str) -> Option<Subscriber> {
    Subscriber::new(SubscriberType::Account, id)
}

/// A packet in the making.
#[derive(Clone)]
struct Packet(Report);

impl Packet {
    /// One of a session, by an access server with this address, with an Event-Timestamp so many seconds after the beginning.
    fn new(status: Status, nas: &str, id: &str, second: u32) -> Self {
        let nas = ip(nas);
        let IpAddr::V4(v4) = nas else { panic!("an IPv4 address") };
        Self(Report {
            client: client(),
            nas: Nas::new(Some(v4), None, None, nas),
            session: id.as_bytes().into(),
            status,
            event_timestamp: Some(BEGIN + second),
            delay: None,
            session_time: None,
            subscriber: None,
            addresses: Vec::new(),
            ports: Vec::new(),
        })
    }

    fn of(mut self, subscriber: &str) -> Self {
        self.0.subscriber = account(subscriber);
        self
    }

    fn at(self, kind: Kind, prefix: &str) -> Self {
        let block = prefix.parse::<IpNet>().map_or_else(|_| Block::of(ip(prefix)), Block::from);
        self.blocks(kind, vec![block])
    }

    fn blocks(mut self, kind: Kind, blocks: Vec<Block>) -> Self {
        self.0.addresses.push((kind, blocks));
        self
    }

    fn v4(self, address: &str) -> Self {
        self.at(Kind::V4, address)
    }

    fn lasting(mut self, seconds: u32) -> Self {
        self.0.session_time = Some(seconds);
        self
    }

    fn ports(mut self, address: &str, first: u16, last: u16, change: Ports) -> Self {
        self.0.ports.push(PortChange { address: ip(address), first, last, change });
        self
    }

    fn client(mut self, change: impl FnOnce(&mut Client)) -> Self {
        change(&mut self.0.client);
        self
    }

    fn nas(mut self, nas: Nas) -> Self {
        self.0.nas = nas;
        self
    }
}

/// A Start at an access server of no importance.
fn start(id: &str, subscriber: &str, second: u32) -> Packet {
    Packet::new(Status::Start, NAS, id, second).of(subscriber)
}

fn interim(id: &str, subscriber: &str, second: u32) -> Packet {
    Packet::new(Status::Interim, NAS, id, second).of(subscriber)
}

fn stop(id: &str, subscriber: &str, second: u32) -> Packet {
    Packet::new(Status::Stop, NAS, id, second).of(subscriber)
}

/// An access server.
const NAS: &str = "192.0.2.1";

/// A registry, the table of sessions, and what the disk has.
struct Desk {
    registry: Registry,
    table: Sessions,
    limits: Limits,
    memory: Memory,
    /// What arrives, arrives so many seconds after the beginning.
    now: u32,
}

impl Desk {
    fn new() -> Self {
        Self::with(limits(1_000))
    }

    fn with(limits: Limits) -> Self {
        Self {
            registry: Registry::new(limits, moment(0)),
            table: Sessions::new(100_000, RandomState::new()),
            limits,
            memory: Memory::default(),
            now: 0,
        }
    }

    /// The same after a restart, of which it knows what the disk has.
    fn restarted(&self, away: Away) -> Self {
        self.restarted_at(away, moment(self.now))
    }

    fn restarted_at(&self, away: Away, now: Moment) -> Self {
        let mut after = Self {
            registry: Registry::new(self.limits, now),
            table: Sessions::new(100_000, RandomState::new()),
            limits: self.limits,
            memory: self.memory.clone(),
            now: self.now,
        };
        let decision = after.registry.restore(self.memory.clone(), away, now);
        after.apply(&decision);
        assert!(decision.takeovers.is_empty());
        after
    }

    /// A packet arrives at the time of its event, or at `now` where that is later.
    fn hear(&mut self, packet: Packet) -> Decision {
        let event = packet.0.event_timestamp.map_or(self.now, |stamp| stamp.saturating_sub(BEGIN));
        self.now = self.now.max(event.min(self.now + HISTORY_S));
        self.hear_at(packet, self.now)
    }

    fn hear_at(&mut self, packet: Packet, second: u32) -> Decision {
        let decision = self.registry.decide(&packet.0, moment(second));
        self.apply(&decision);
        decision
    }

    fn tick(&mut self, second: u32) -> Decision {
        self.now = second;
        let decision = self.registry.tick(moment(second));
        self.apply(&decision);
        decision
    }

    /// Does what a caller does: first the disk, then the table.
    fn apply(&mut self, decision: &Decision) {
        let Memory { rows, servers, forgotten } = &mut self.memory;
        for change in &decision.rows {
            let mut without = |key: &RowKey| rows.retain(|row| row.key != *key);
            match change {
                RowChange::Upsert(row) => {
                    without(&row.key);
                    rows.push(row.clone());
                }
                RowChange::Delete(key) => without(key),
                RowChange::Server(server) => {
                    servers.retain(|known| (&known.realm, &known.nas) != (&server.realm, &server.nas));
                    servers.push(server.clone());
                }
                RowChange::Forgotten(start) => *forgotten = *start,
            }
        }
        self.table.apply(decision.changes.clone());
    }

    /// Who has an address, by the table and by the registry; empty where nobody has.
    fn who(&self, address: &str) -> String {
        let by_table = self.table.find(ip(address)).map(|holding| holding.session);
        let by_registry = self.registry.find(ip(address), None).map(|holder| holder.session);
        assert_eq!(by_table, by_registry, "{address}");
        by_table.map_or_else(String::new, |session| session.subscriber_id().to_owned())
    }

    /// The session that has an address, as records name it.
    fn session(&self, address: &str) -> String {
        self.table
            .find(ip(address))
            .map_or_else(String::new, |holding| holding.session.session_id().to_owned())
    }

    fn state(&self, address: &str) -> Option<SessionState> {
        let by_table = self.table.find(ip(address)).map(|holding| holding.state);
        assert_eq!(by_table, self.registry.find(ip(address), None).map(|holder| holder.state));
        by_table
    }

    /// Who has a port of an address.
    fn at_port(&self, address: &str, port: u16) -> String {
        let holder = self.registry.find(ip(address), Some(port));
        let by_table = self.table.find_at(ip(address), Some(port)).map(|holding| holding.session);
        assert_eq!(by_table, holder.as_ref().map(|holder| holder.session.clone()), "{address}:{port}");
        holder.map_or_else(String::new, |holder| holder.session.subscriber_id().to_owned())
    }
}

/// What became of a packet.
fn outcome(decision: &Decision) -> Outcome {
    decision.outcome
}

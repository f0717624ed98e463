//! One flow and its world: what happens to it, and what must hold whatever happened.

use std::collections::HashMap;
use std::net::SocketAddr;

use allowlist::Transport;
use billing_export::{Account, Flags, Reason, Session, Volume};
use gateway::flow::engine::{Claim, Destination, Engine, LookedUp, Observation, Standing, Start};
use gateway::flow::identify::IdentifyLimits;
use gateway::flow::mark::Mark;
use gateway::flow::sent::Queues;
use gateway::flow::session::{self, Block, Holding, SessionState};
use gateway::wire::quic::QuicLimits;

use super::capture::{hello, hello_message};
use super::carrier::Ship;
use super::quic::Initial;
use super::world::{DATA, Known, SITE, session};

/// One flow and its world.
pub struct Life {
    pub engine: Engine,
    pub known: Known,
    pub ship: Ship,
}

/// Where a flow goes.
pub fn to_site() -> Destination {
    Destination::Original(SocketAddr::new(SITE.parse().unwrap(), 443))
}

/// The flow's address in the hands of a session.
fn held(session: &Session, state: SessionState) -> Holding {
    Holding {
        session: session.clone(),
        state,
        block: Block::of("192.0.2.1".parse().unwrap()),
        since: 0,
        regained: 0,
        begun: None,
    }
}

/// Steered to the gateway.
pub const STEERED: Destination = Destination::Steered { service_port: None };

impl Life {
    pub fn new(
        transport: Transport,
        place: Destination,
        owner: Option<&Session>,
        is_over_limit: bool,
    ) -> Self {
        let network = "192.0.2.0".parse().unwrap();
        let waits_for_answer = transport == Transport::Udp;
        let start = Start { network, place, transport, waits_for_answer, is_over_limit, dns_only: None };
        let claim = match transport {
            Transport::Tcp => Claim::of_stream(&IdentifyLimits::default()),
            Transport::Udp => Claim::of_datagrams(&QuicLimits::default()),
        };
        let is_unread = is_over_limit && matches!(place, Destination::Original(_));
        let claim = if is_unread { claim.unread(Reason::Overload) } else { claim };
        let engine = Engine::new(
            start,
            Standing::at_start(owner.map(|owner| held(owner, SessionState::Active))),
            claim,
        );
        let mut life = Self { engine, known: Known::new(), ship: Ship::default() };
        if is_unread {
            life.tell(Observation::Unread);
        }
        life
    }

    /// A subscriber's TCP flow to the site.
    pub fn stream() -> Self {
        Self::new(Transport::Tcp, to_site(), Some(&session("one")), false)
    }

    /// A subscriber's UDP flow to the site.
    pub fn datagrams() -> Self {
        Self::new(Transport::Udp, to_site(), Some(&session("one")), false)
    }

    /// A subscriber's TCP flow to the site, whose name is known to be there.
    pub fn trusted() -> Self {
        let mut life = Self::stream();
        life.known.trust();
        life
    }

    /// The address is this session's from here on, in this state.
    pub fn pass_to(&mut self, state: SessionState, owner: Option<&Session>) {
        let holding = owner.map(|owner| held(owner, state));
        self.tell(Observation::Sessions(holding, session::Evidence::Since(0)));
    }

    /// It began in this session, which is heard of only now.
    pub fn adopt(&mut self, owner: &Session) {
        self.tell(Observation::Adopted(held(owner, SessionState::Active)));
    }

    pub fn tell(&mut self, observation: Observation<'_>) {
        let asked = self.ship.asked.len();
        self.engine.observe(observation, &self.known, &mut self.ship);
        if self.ship.asked.len() > asked && !self.known.may_ask {
            let refused = Observation::LookedUp(LookedUp::NotAsked);
            self.engine.observe(refused, &self.known, &mut self.ship);
        }
        self.check();
    }

    /// Bytes of a stream from the client, which are read.
    pub fn read(&mut self, bytes: &[u8]) {
        self.ship.meter.up += bytes.len() as u64;
        self.tell(Observation::Bytes(bytes));
        self.tell(Observation::Moved(bytes.len() as u64));
    }

    /// A datagram from the client.
    pub fn datagram(&mut self, bytes: &[u8]) {
        self.tell(Observation::Bytes(bytes));
        self.ship.meter.up += bytes.len() as u64;
        self.tell(Observation::Moved(bytes.len() as u64));
    }

    /// So many bytes from the client, which nobody reads.
    pub fn up(&mut self, bytes: u64) {
        self.ship.meter.up += bytes;
        self.tell(Observation::Moved(bytes));
    }

    /// So many bytes to the client; they have left after two looks.
    pub fn down(&mut self, bytes: u64) {
        self.ship.meter.sent.add(bytes, bytes.min(1_500));
        self.tell(Observation::Moved(bytes));
    }

    /// A look at the queues, which are empty and have dropped so many packets since the last; and a reading.
    pub fn look(&mut self, dropped: u64) {
        let Queues { looks, dropped: before, .. } = self.ship.queues;
        self.ship.queues = Queues { looks: looks + 1, emptied: looks + 1, dropped: before + dropped };
        self.tell(Observation::Tick);
    }

    /// Everything on its way has left.
    pub fn settle(&mut self) {
        self.look(0);
        self.look(0);
    }

    /// The sockets close.
    pub fn end(&mut self) {
        self.tell(Observation::Tick);
        self.ship.meter.sent.end(self.ship.queues);
        self.ship.meter.is_ended = true;
        self.tell(Observation::Ended);
    }

    /// Bytes by label of class or reason, in the order of labels.
    pub fn bill(&self) -> Vec<(&'static str, u64, u64)> {
        let mut sums: HashMap<&'static str, Volume> = HashMap::new();
        for (account, (_, volume)) in &self.ship.bill {
            let label = account.entry.reason().map_or("exempt", Reason::label);
            let sum = sums.entry(label).or_insert(Volume::ZERO);
            *sum = sum.checked_add(*volume).unwrap();
        }
        let mut bill: Vec<_> = sums.into_iter().map(|(label, sum)| (label, sum.up, sum.down)).collect();
        bill.sort_unstable();
        bill
    }

    /// The remarks on what has this label.
    pub fn flags(&self, label: &str) -> Flags {
        let with_label = |account: &Account| account.entry.reason().map_or("exempt", Reason::label) == label;
        let found = self.ship.bill.iter().filter(|(account, _)| with_label(account));
        found.fold(Flags::NONE, |all, (_, (flags, _))| all.union(*flags))
    }

    /// What must hold whatever happened.
    fn check(&self) {
        let attributed =
            self.ship.bill.values().fold(Volume::ZERO, |sum, (_, volume)| sum.checked_add(*volume).unwrap());
        let accounted = attributed.checked_add(self.engine.pending()).unwrap();
        assert_eq!(accounted, self.engine.carried(), "attributed and pending are what was carried");
        assert_eq!(self.engine.carried(), self.ship.seen, "and that is what was seen");
        let truth = Volume { up: self.ship.meter.up, down: self.ship.meter.sent.total() };
        assert!(accounted.up <= truth.up && accounted.down <= truth.down, "never more than passed");
        assert_eq!(self.engine.mark(), self.ship.mark, "the packets carry what the engine says");
        if self.engine.is_decided() {
            let (_, last) = self.ship.decided.last().unwrap();
            assert!(*last == "exempt" || self.ship.mark == Mark::NONE, "{last} packets are marked");
        }
        if let Some((spending, limit)) = &self.known.cap {
            assert!(spending.exempt() <= *limit, "never more exempt than allowed");
        }
    }
}

/// A datagram with the hello of a connection to this id.
pub fn initial(name: &str, id: u8) -> Vec<u8> {
    Initial::of(&hello_message(name, 0)).to(&[id; 8]).seal()
}

/// A stream whose hello for the listed name was read, and its length.
pub fn named(mut life: Life) -> (Life, u64) {
    let bytes = hello("listed.example");
    life.read(&bytes);
    (life, bytes.len() as u64)
}

/// The same after the next flight: nothing can contradict the name any more.
pub fn judged(life: Life) -> (Life, u64) {
    let (mut life, bytes) = named(life);
    life.read(&DATA);
    (life, bytes + DATA.len() as u64)
}

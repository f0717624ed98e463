//! One flow in a world that the test makes up: list, evidence, allowances, clock, and a counter whose truth is known.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use allowlist::{Document, DomainName, Matcher, Transport};
use billing_export::{Account, Class, Disposition, Flags, Reason, Session, SubscriberType, Volume};
use gateway::flow::allowance::{
    Counter as Spending, Length, NoCounter, Part, Scope, Share, Span, Subscriber,
};
use gateway::flow::engine::{
    Allowances, Carrier, Claim, Counter, Effect, Engine, Evidence, Exemption, LookedUp, Observation, Place,
    Reading, Standing, Start, Terms, Unknowable, World,
};
use gateway::flow::identify::IdentifyLimits;
use gateway::flow::mark::Mark;
use gateway::flow::rating::{RatingGroup, RatingPlan};
use gateway::flow::sent::{Queues, Sent};
use gateway::flow::session::{self, Block, Holding, SessionState, SubscriberKey};
use gateway::wire::quic::QuicLimits;
use jiff::Timestamp;
use jiff::civil::date;

/// A list with one service, in force from January to June.
const LIST: &str = r#"format = 1
list_id = "test"
serial = 4
issued = 2026-01-01T00:00:00Z
effective_from = 2026-01-02T00:00:00Z
expires = 2026-06-01T00:00:00Z

[[service]]
id = "school"
name = "School"
owner = "School"
reference = "test"

[[service.rule]]
host = "listed.example"
scope = "subtree"
reason = "test"
evidence = "seen"
"#;
/// Where the listed name is.
pub const SITE: &str = "203.0.113.9";
/// The client's first record of application data.
pub const DATA: [u8; 6] = [23, 3, 3, 0, 1, 0];
/// What exempt packets carry.
pub const MARK: Mark = Mark { dscp: 46, fwmark: 7, upstream: false };

/// The list, or one that lacks the name.
pub fn list(is_listed: bool) -> Matcher {
    let text = if is_listed { LIST.to_owned() } else { LIST.replace("listed.example", "else.example") };
    Matcher::new(&Document::parse(&text).unwrap())
}

/// A subscriber's session.
pub fn session(id: &str) -> Session {
    Session::new(SubscriberType::Account, id, "").unwrap()
}

/// What is known in this world.
pub struct Known {
    pub list: Option<Matcher>,
    pub exemption: Exemption,
    pub rating: RatingPlan,
    /// Names and where they are.
    pub trusted: HashSet<(DomainName, IpAddr)>,
    pub shared: HashSet<IpAddr>,
    /// What the subscriber has spent, and may.
    pub cap: Option<(Arc<Spending>, u64)>,
    /// Whether there is room for a counter.
    pub has_counter: bool,
    /// Whether look-ups are begun.
    pub may_ask: bool,
    pub now: Timestamp,
    /// How often a judgement asked.
    pub consulted: Cell<u64>,
}

impl Known {
    fn new() -> Self {
        let group = RatingGroup { id: 1, disposition: Disposition::Tagged, mark: MARK };
        Self {
            list: Some(list(true)),
            exemption: Exemption::Allowed,
            rating: RatingPlan::new(group, Vec::new()),
            trusted: HashSet::new(),
            shared: HashSet::new(),
            cap: None,
            has_counter: true,
            may_ask: true,
            now: "2026-03-01T00:00:00Z".parse().unwrap(),
            consulted: Cell::new(0),
        }
    }

    /// Learns that the listed name is at the site.
    pub fn trust(&mut self) {
        self.trusted.insert((DomainName::from_wire(b"listed.example").unwrap(), SITE.parse().unwrap()));
    }

    /// Limits what the subscriber may have exempt; the counter is shared by all his flows.
    pub fn limit(&mut self, bytes: u64) -> Arc<Spending> {
        let span = Span { length: Length::Day, first: date(2026, 3, 1) };
        let spending = Arc::new(Spending::new(Subscriber::of(&session("one")), Scope::Overall, span));
        self.cap = Some((Arc::clone(&spending), bytes));
        spending
    }
}

impl Evidence for Known {
    fn destination(&self, address: IpAddr) -> IpAddr {
        address
    }

    fn vouches_for(&self, _: &SubscriberKey, name: &DomainName, address: IpAddr) -> bool {
        self.trusted.contains(&(name.clone(), address))
    }

    fn is_shared_for(&self, _: &SubscriberKey, address: IpAddr) -> bool {
        self.shared.contains(&address)
    }
}

impl Allowances for Known {
    fn share(&self, _: &Session, _: &str, _: bool, _: Timestamp) -> Result<Option<Share>, NoCounter> {
        if !self.has_counter {
            return Err(NoCounter);
        }
        Ok(self
            .cap
            .as_ref()
            .map(|(counter, limit)| Share::new([Part { counter: Arc::clone(counter), limit: *limit }])))
    }
}

impl World for Known {
    fn consult<R>(&self, judge: impl FnOnce(&Terms<'_>) -> R) -> R {
        self.consulted.set(self.consulted.get() + 1);
        judge(&Terms {
            list: self.list.as_ref(),
            exemption: self.exemption,
            rating: &self.rating,
            evidence: self,
            allowances: self,
            now: self.now,
        })
    }
}

/// A counter whose truth is known: up counts as it passes, down when the queues have let it go.
#[derive(Default)]
pub struct Meter {
    carried: Volume,
    told: Volume,
    pub sent: Sent,
    pub up: u64,
    is_ended: bool,
}

impl Counter for Meter {
    fn read(&mut self, queues: Queues) -> Reading {
        if self.is_ended {
            self.sent.settle(queues);
        } else {
            self.sent.look(queues);
        }
        self.carried = Volume { up: self.up, down: self.carried.down.max(self.sent.left()) };
        let unseen = Volume { up: self.carried.up - self.told.up, down: self.carried.down - self.told.down };
        self.told = self.carried;
        let unknowable = Unknowable { dropped: self.sent.lost(), options: 0 };
        Reading { carried: self.carried, unseen, unknowable, contradicts: false }
    }

    fn sent(&self) -> Option<&Sent> {
        Some(&self.sent)
    }

    fn moving(&self) -> u64 {
        if self.is_ended { 0 } else { self.sent.moving() }
    }

    fn is_waiting(&self) -> bool {
        self.sent.is_waiting()
    }
}

/// What was asked of the carrier.
#[derive(Default)]
pub struct Ship {
    pub meter: Meter,
    pub queues: Queues,
    pub bill: HashMap<Account, (Flags, Volume)>,
    /// The sum of what the readings said.
    pub seen: Volume,
    pub asked: Vec<(String, IpAddr)>,
    /// What the packets carry.
    pub mark: Mark,
    /// Whether it is the first, and the label of class or reason.
    pub decided: Vec<(bool, &'static str)>,
    pub capped: usize,
    pub at_shared_address: u64,
    pub let_go: usize,
    pub judged_again: usize,
}

impl Ship {
    fn on(&mut self, account: &Account) -> &mut (Flags, Volume) {
        self.bill.entry(account.clone()).or_insert((Flags::NONE, Volume::ZERO))
    }
}

impl Carrier for Ship {
    fn counter(&mut self) -> Option<&mut dyn Counter> {
        (!self.meter.is_ended || self.meter.is_waiting()).then_some(&mut self.meter)
    }

    fn queues(&self) -> Queues {
        self.queues
    }

    fn carry_out(&mut self, effect: Effect<'_>) {
        match effect {
            Effect::Ask { name, address, .. } => self.asked.push((name.as_str().to_owned(), address)),
            Effect::Read(reading) => self.seen = self.seen.checked_add(reading.unseen).unwrap(),
            Effect::Attribute { account, flags, volume } => {
                assert_ne!(volume, Volume::ZERO);
                let (known, sum) = self.on(account);
                *known = known.union(flags);
                *sum = sum.checked_add(volume).unwrap();
            }
            Effect::Remark { account, flags } => {
                let (known, _) = self.on(account);
                *known = known.union(flags);
            }
            Effect::AtSharedAddress(bytes) => self.at_shared_address += bytes,
            Effect::Spent(_) => {}
            Effect::Capped(account) => {
                assert_eq!(account.entry.class(), Class::Exempt);
                self.capped += 1;
            }
            Effect::Mark { before, mark } => {
                assert_eq!(before, self.mark);
                assert_ne!(before, mark);
                self.mark = mark;
            }
            Effect::Decided(decided) => {
                let reason = decided.account.entry.reason();
                self.decided.push((decided.is_first, reason.map_or("exempt", Reason::label)));
            }
            Effect::Charged(reason) => self.decided.push((false, reason.label())),
            Effect::JudgedAgain => self.judged_again += 1,
            Effect::LetGo => self.let_go += 1,
        }
    }
}

/// One flow and its world.
pub struct Life {
    pub engine: Engine,
    pub known: Known,
    pub ship: Ship,
}

/// Where a flow goes.
pub fn to_site() -> Place {
    Place::Original(SocketAddr::new(SITE.parse().unwrap(), 443))
}

/// The flow's address in the hands of a session.
fn held(session: &Session, state: SessionState) -> Holding {
    Holding {
        session: session.clone(),
        state,
        block: Block::of("192.0.2.1".parse().unwrap()),
        since: 0,
        regained: 0,
    }
}

/// Steered to the gateway.
pub const STEERED: Place = Place::Steered { service_port: None };

impl Life {
    pub fn new(transport: Transport, place: Place, owner: Option<&Session>, is_over_limit: bool) -> Self {
        let network = "192.0.2.0".parse().unwrap();
        let start = Start { network, place, transport, is_over_limit, dns_only: None };
        let claim = match transport {
            Transport::Tcp => Claim::of_stream(&IdentifyLimits::default()),
            Transport::Udp => Claim::of_datagrams(&QuicLimits::default()),
        };
        let is_unread = is_over_limit && matches!(place, Place::Original(_));
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

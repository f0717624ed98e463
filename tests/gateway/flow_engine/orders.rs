//! Whatever is observed, in whatever order: what was seen is attributed or pending, and nothing is exempt without evidence.

use std::sync::LazyLock;

use allowlist::Transport;
use billing_export::Volume;
use gateway::flow::decide::Vouched;
use gateway::flow::engine::{Exemption, LookedUp, Observation};
use gateway::flow::session::SessionState;
use proptest::prelude::*;

use super::capture::{hello, hello_message, request};
use super::life::{Life, STEERED, to_site};
use super::quic::Initial;
use super::world::{DATA, SITE, list, session};

/// What clients send in one piece: streams first, then datagrams.
static PIECES: LazyLock<[Vec<Vec<u8>>; 2]> = LazyLock::new(|| {
    let listed = hello("listed.example");
    let streams = vec![
        listed[..30].to_vec(),
        listed[30..].to_vec(),
        listed,
        hello("other.example"),
        DATA.to_vec(),
        request("listed.example"),
        vec![0; 40],
    ];
    let initial = |name, id: u8| Initial::of(&hello_message(name, 0)).to(&[id; 8]).seal();
    let datagrams = vec![
        initial("listed.example", 1),
        initial("listed.example", 2),
        initial("other.example", 3),
        vec![0x40; 60],
        vec![0x17; 30],
    ];
    [streams, datagrams]
});

/// One thing that happens, to the flow or to its world.
#[derive(Clone, Debug)]
enum Event {
    Piece(usize),
    Up(u64),
    Down(u64),
    /// Packets dropped, and whether the queues were empty.
    Look(u64, bool),
    Tick,
    Answered,
    LookedUp(LookedUp),
    Trust(bool),
    Listed(Option<bool>),
    Suspended(bool),
    /// What may be exempt.
    Limit(Option<u64>),
    /// What other flows have spent.
    Others(u64),
    MayAsk(bool),
    /// Whose the address is.
    Renewed(u8),
    /// A session that it began in is heard of.
    Adopted,
    Dated(bool),
    Placed(bool),
    Inherits,
    Deadline,
    Finished,
    Spent,
    Overdue,
    Orphaned,
    Unwatched,
    LastCall,
    End,
}

/// Events, those that move bytes and judge more often than those that end things.
fn event() -> impl Strategy<Value = Event> {
    let answer = prop_oneof![Just(LookedUp::Found), Just(LookedUp::NotFound), Just(LookedUp::NotAsked)];
    prop_oneof![
        6 => (0..7_usize).prop_map(Event::Piece),
        6 => (1..5_000_u64).prop_map(Event::Up),
        8 => (1..5_000_u64).prop_map(Event::Down),
        6 => (prop_oneof![4 => Just(0), 1 => 1..4_u64], any::<bool>()).prop_map(|(n, e)| Event::Look(n, e)),
        4 => Just(Event::Tick),
        3 => Just(Event::Answered),
        3 => answer.prop_map(Event::LookedUp),
        3 => any::<bool>().prop_map(Event::Trust),
        2 => prop::option::of(any::<bool>()).prop_map(Event::Listed),
        1 => any::<bool>().prop_map(Event::Suspended),
        2 => prop::option::of(0..20_000_u64).prop_map(Event::Limit),
        1 => (0..20_000_u64).prop_map(Event::Others),
        1 => any::<bool>().prop_map(Event::MayAsk),
        4 => (0..3_u8).prop_map(Event::Renewed),
        2 => Just(Event::Adopted),
        1 => any::<bool>().prop_map(Event::Dated),
        2 => any::<bool>().prop_map(Event::Placed),
        1 => Just(Event::Inherits),
        2 => Just(Event::Deadline),
        1 => Just(Event::Finished),
        1 => Just(Event::Spent),
        1 => Just(Event::Overdue),
        1 => Just(Event::Orphaned),
        1 => Just(Event::Unwatched),
        1 => Just(Event::LastCall),
        1 => Just(Event::End),
    ]
}

/// A flow, and whether anything ever spoke for its address.
struct Course {
    life: Life,
    transport: Transport,
    is_vouched: bool,
    is_adopted: bool,
    has_ended: bool,
}

impl Course {
    /// Lets it happen; after the flow's end nothing moves any more.
    fn meet(&mut self, event: &Event) {
        let life = &mut self.life;
        match event {
            Event::Piece(_) | Event::Up(_) | Event::Down(_) if self.has_ended => {}
            Event::Piece(number) => match self.transport {
                Transport::Tcp => life.read(&PIECES[0][number % PIECES[0].len()]),
                Transport::Udp => life.datagram(&PIECES[1][number % PIECES[1].len()]),
            },
            Event::Up(bytes) => life.up(*bytes),
            Event::Down(bytes) => life.down(*bytes),
            Event::Look(dropped, true) => life.look(*dropped),
            Event::Look(dropped, false) => {
                life.ship.queues.looks += 1;
                life.ship.queues.dropped += dropped;
                life.tell(Observation::Tick);
            }
            Event::Tick => life.tell(Observation::Tick),
            Event::Answered => life.tell(Observation::Answered),
            Event::LookedUp(answer) => {
                self.is_vouched |= *answer == LookedUp::Found;
                life.tell(Observation::LookedUp(*answer));
            }
            Event::Trust(true) => {
                self.is_vouched = true;
                life.known.trust();
            }
            Event::Trust(false) => life.known.trusted.clear(),
            Event::Listed(is_listed) => life.known.list = is_listed.map(list),
            Event::Suspended(true) => life.known.exemption = Exemption::Suspended,
            Event::Suspended(false) => life.known.exemption = Exemption::Allowed,
            Event::Limit(Some(bytes)) => {
                life.known.limit(*bytes);
            }
            Event::Limit(None) => life.known.cap = None,
            Event::Others(bytes) => {
                if let Some((spending, limit)) = &life.known.cap {
                    spending.restore(*bytes.min(limit));
                }
            }
            Event::MayAsk(may) => life.known.may_ask = *may,
            Event::Renewed(who) => {
                let now = [None, Some(session("one")), Some(session("another"))];
                life.pass_to(SessionState::Active, now[usize::from(*who)].as_ref());
                life.tell(Observation::Renewed);
            }
            Event::Adopted => {
                self.is_adopted = true;
                life.adopt(&session("one"));
            }
            Event::Dated(is_late) => {
                let now = if *is_late { "2026-06-01T00:00:00Z" } else { "2026-03-01T00:00:00Z" };
                life.known.now = now.parse().unwrap();
                life.tell(Observation::Dated);
            }
            Event::Placed(is_reached) => {
                self.is_vouched |= *is_reached;
                let vouched = if *is_reached { Vouched::Steered } else { Vouched::No };
                let dialled = is_reached.then(|| SITE.parse().unwrap());
                life.tell(Observation::Placed { vouched, dialled });
            }
            Event::Inherits => {
                let mut other = Life::datagrams();
                other.datagram(&PIECES[1][0]);
                let identity = other.engine.claim().identity().unwrap().clone();
                life.tell(Observation::Continues(identity));
            }
            Event::Deadline => life.tell(Observation::Deadline),
            Event::Finished => life.tell(Observation::Finished),
            Event::Spent => life.tell(Observation::Spent),
            Event::Overdue => life.tell(Observation::Overdue),
            Event::Orphaned => life.tell(Observation::Orphaned),
            Event::Unwatched => life.tell(Observation::Unwatched),
            Event::LastCall => life.tell(Observation::LastCall),
            Event::End if self.has_ended => {}
            Event::End => {
                self.has_ended = true;
                life.end();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    // After every event `Life` checks that, per direction, attributed and pending bytes are those that were seen, that they are
    // never more than passed, that no charged packet bears a mark, and that no cap is passed.
    #[test]
    fn whatever_happens_all_that_was_seen_is_attributed_or_pending(
        is_stream in any::<bool>(), is_steered in any::<bool>(), is_known in any::<bool>(),
        is_over_limit in prop::bool::weighted(0.1), events in prop::collection::vec(event(), 0..80),
    ) {
        let transport = if is_stream { Transport::Tcp } else { Transport::Udp };
        let place = if is_steered { STEERED } else { to_site() };
        let owner = is_known.then(|| session("one"));
        let life = Life::new(transport, place, owner.as_ref(), is_over_limit);
        let mut course = Course { life, transport, is_vouched: false, is_adopted: false, has_ended: false };
        events.iter().for_each(|event| course.meet(event));
        course.meet(&Event::End);
        course.meet(&Event::LookedUp(LookedUp::NotFound));
        course.meet(&Event::Look(0, true));
        course.meet(&Event::Look(0, true));
        let Course { life, is_vouched, is_adopted, .. } = course;
        prop_assert!(life.engine.is_decided() && life.ship.let_go > 0);
        prop_assert_eq!(life.engine.pending(), Volume::ZERO);
        let down = life.ship.meter.sent.left();
        prop_assert_eq!(life.ship.seen, Volume { up: life.ship.meter.up, down });
        let is_exempt = life.bill().iter().any(|(label, ..)| *label == "exempt");
        prop_assert!(is_vouched || !is_exempt, "exempt without evidence");
        prop_assert!(is_known || is_adopted || !is_exempt, "exempt for nobody");
    }
}

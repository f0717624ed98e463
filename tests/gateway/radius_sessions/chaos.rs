//! The registry beside the clerk in worlds where packets are lost, doubled and late, servers reboot and addresses pass on in ten
//! milliseconds. More worlds than a change waits for: `ZRGW_RADIUS_SEEDS`; one of them again: `ZRGW_TEST_SEED`.

use std::collections::{BTreeMap, BTreeSet};

use gateway::flow::session::accounting::{Away, Kind, Nas, Outcome, Status};

use super::model::Clerk;
use super::world::{Dice, Sent, World};
use super::{BEGIN, Desk, Packet, ip, limits, moment_ms};

/// Worlds of an ordinary run.
const SEEDS: u64 = 100;
/// A start that is reckoned from Acct-Session-Time, or by our clock, is off by so many seconds at most.
const RECKONED_S: i64 = 2;

/// The worlds to be tried.
fn seeds() -> Vec<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("ZRGW_TEST_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("ZRGW_RADIUS_SEEDS").unwrap_or(SEEDS)).collect(),
    }
}

/// A packet of a world as it arrives.
fn packet(world: &World, sent: &Sent) -> Packet {
    let stamp = world.stamp(sent);
    let delay = ((sent.arrival_ms - sent.event_ms) / 1_000) as u32;
    let mut packet = Packet::new(sent.status, "192.0.2.1", &sent.id, 0).lasting(sent.session_time);
    packet.0.nas = Nas::new(None, None, Some(&[sent.server as u8]), ip("192.0.2.1"));
    packet.0.event_timestamp = Some(match stamp {
        Some(stamp) => (i64::from(BEGIN) + stamp) as u32,
        None => 1_000,
    });
    packet.0.delay = Some(delay);
    if sent.status != Status::On {
        packet = packet.of(&sent.subscriber);
    }
    for (kind, address) in [Kind::V4, Kind::Prefix].into_iter().zip(&sent.addresses) {
        let Some(address) = address else { continue };
        let bits = if kind == Kind::V4 { 32 } else { 64 };
        packet = packet.at(kind, &format!("{address}/{bits}"));
    }
    packet
}

/// A world, those who keep books of it, and what there is to know by the packets so far.
struct Run {
    seed: u64,
    world: World,
    desk: Desk,
    clerk: Clerk,
    heard: Vec<Sent>,
    /// Sessions of which a packet named an address, and those of which a Stop came.
    named: BTreeMap<String, BTreeSet<usize>>,
    stopped: BTreeSet<usize>,
    /// Addresses of sessions for which there was no room.
    unkept: BTreeSet<String>,
}

impl Run {
    fn hear(&mut self, sent: &Sent) {
        let stamp = self.world.stamp(sent);
        let delay = ((sent.arrival_ms - sent.event_ms) / 1_000) as u32;
        let arrival = sent.arrival_ms / 1_000;
        let packet = packet(&self.world, sent);
        let decision = self.desk.registry.decide(&packet.0, moment_ms(sent.arrival_ms));
        assert_eq!(decision.clock_doubt, stamp.is_none(), "seed {}", self.seed);
        self.desk.apply(&decision);
        if decision.outcome == Outcome::Full {
            self.unkept.extend(sent.addresses.iter().flatten().cloned());
        }
        let event = match stamp {
            Some(stamp) => (i64::from(BEGIN) + stamp) as u32,
            None => BEGIN + arrival as u32 - delay,
        };
        self.clerk.hear(sent, event, stamp.is_none());
        self.heard.push(sent.clone());
        for (address, truth) in sent.addresses.iter().flatten().zip(std::iter::repeat(sent.truth)) {
            self.named.entry(address.clone()).or_default().extend(truth);
        }
        if sent.status == Status::Stop {
            self.stopped.extend(sent.truth);
        }
    }

    fn places(&self) -> BTreeSet<(String, usize)> {
        let both = |truth: &super::world::Truth| [(truth.address.clone(), 0), (truth.prefix.clone(), 1)];
        self.world.truths.iter().flat_map(both).collect()
    }

    /// The registry and the table say what the clerk says, and nobody has what by the packets he cannot have.
    fn check(&self, places: &BTreeSet<(String, usize)>, at: &str) {
        for (address, kind) in places {
            let who = self.desk.who(address);
            let (seed, clerk) = (self.seed, self.clerk.who(address));
            assert_eq!(who, clerk, "{address} {at}, seed: ZRGW_TEST_SEED={seed}");
            if !who.is_empty() {
                self.check_right(address, *kind, &who, at);
            }
        }
    }

    /// Whoever has an address has a session that was not stopped, and that began no earlier than another's of which a packet told.
    fn check_right(&self, address: &str, kind: usize, who: &str, at: &str) {
        let truths = &self.world.truths;
        let told = |sent: &&Sent| sent.addresses[kind].as_deref() == Some(address);
        let named = self.named.get(address).cloned().unwrap_or_default();
        let stopped = |truth: usize| self.stopped.contains(&truth);
        let begun = |truth: usize| (truths[truth].begin_ms / 1_000) as i64;
        let others = named.iter().filter(|truth| truths[**truth].subscriber != who);
        let latest = others.map(|truth| begun(*truth)).max().unwrap_or(0);
        let right = named.iter().any(|truth| {
            let own = truths[*truth].subscriber == who;
            own && !stopped(*truth) && begun(*truth) + RECKONED_S >= latest
        });
        if !right {
            let told: Vec<_> = self.heard.iter().filter(told).collect();
            let session = self.desk.session(address);
            panic!(
                "{address} is {who}'s by {session} {at}, seed: ZRGW_TEST_SEED={}, told {told:#?}",
                self.seed
            );
        }
    }

    /// After an Interim of all that lasts each address is whose it truly is.
    fn check_truth(&self) {
        for sent in self.world.last_interims() {
            let truth = &self.world.truths[sent.truth.unwrap()];
            // An id that came again for the same subscriber, with all of the old session's end lost, is one session by rule 9.
            let again = self.world.truths.iter().any(|other| {
                let same = (other.server, &other.id, &other.subscriber)
                    == (truth.server, &truth.id, &truth.subscriber);
                same && other.begin_ms < truth.begin_ms
            });
            for address in [&truth.address, &truth.prefix] {
                let who = self.desk.who(address);
                let right = who == truth.subscriber || (again && who.is_empty());
                let seed = self.seed;
                assert!(right, "{address} is {who}'s, seed: ZRGW_TEST_SEED={seed}, in truth {truth:?}");
            }
        }
    }
}

#[test]
fn b19_b20_t34_t35_c22_in_an_unquiet_world_the_registry_says_what_the_rules_say_and_in_the_end_the_truth() {
    let (mut packets, mut held) = (0, 0);
    for seed in seeds() {
        let world = World::new(seed);
        let sent = world.packets.clone();
        let (desk, clerk) = (Desk::new(), Clerk::default());
        let (heard, named, stopped, unkept) = Default::default();
        let mut run = Run { seed, world, desk, clerk, heard, named, stopped, unkept };
        let places = run.places();
        packets += sent.len();
        for (place, sent) in sent.iter().enumerate() {
            run.hear(sent);
            run.check(&places, &format!("after packet {place}"));
        }
        for sent in run.world.last_interims() {
            run.hear(&sent);
            run.check(&places, "after a last Interim");
            held += 1;
        }
        run.check_truth();
    }
    assert!(packets > 0 && held > 0, "the worlds are not empty");
}

/// One who is restarted again and again says what the clerk says, or now and then that it is nobody. Where there is too little room
/// some are not kept and some are forgotten: nobody has what he cannot have all the same, but for what only sessions without room told
/// before a restart, which is known again when they go on.
#[test]
fn b22_b19_a_restart_at_any_time_gives_nobody_what_is_not_his() {
    let (mut restarts, mut missing, mut held) = (0, 0, 0);
    for seed in seeds() {
        let world = World::new(seed);
        let dice = &mut Dice(seed ^ 0x5eed);
        let is_narrow = seed % 2 == 0;
        let limits = limits(if is_narrow { 4 + dice.below(6) as usize } else { 1_000 });
        let sent = world.packets.iter().cloned().chain(world.last_interims());
        let sent: Vec<Sent> = sent.collect();
        let (desk, clerk) = (Desk::with(limits), Clerk::default());
        let (heard, named, stopped, unkept) = Default::default();
        let mut run = Run { seed, world, desk, clerk, heard, named, stopped, unkept };
        let (places, mut excused) = (run.places(), BTreeSet::new());
        for (place, sent) in sent.iter().enumerate() {
            if dice.percent(4) {
                run.desk = run.desk.restarted_at(Away::TookOver, moment_ms(sent.arrival_ms));
                restarts += 1;
                excused.clone_from(&run.unkept);
            }
            run.hear(sent);
            for (address, kind) in &places {
                let at = format!("after packet {place} of a restarted one");
                let (who, clerk) = (run.desk.who(address), run.clerk.who(address));
                held += usize::from(!clerk.is_empty() && !is_narrow);
                missing += usize::from(who != clerk && !is_narrow);
                if !who.is_empty() && !excused.contains(address) {
                    run.check_right(address, *kind, &who, &at);
                    assert!(is_narrow || who == clerk, "{address} {at}, seed: ZRGW_TEST_SEED={seed}");
                }
            }
        }
    }
    assert!(restarts > 0 && missing * 1_000 < held, "{missing} of {held} missing");
}

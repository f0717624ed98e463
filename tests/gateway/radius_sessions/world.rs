//! An imaginary network: who truly had which address and when, and the packets about it on a bad way.

use gateway::flow::session::accounting::Status;

/// Milliseconds from the beginning to the last regular event.
pub(crate) const END_MS: u64 = 1_200_000;
/// How often an Interim is sent.
const INTERIM_MS: u64 = 60_000;
/// Addresses of each access server. Few, so that they pass on often.
const ADDRESSES: usize = 4;
const SUBSCRIBERS: u64 = 6;

/// A seeded source of numbers (splitmix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, count: u64) -> u64 {
        self.next() % count
    }

    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// An access server.
#[derive(Clone, Copy)]
pub(crate) struct Server {
    /// How far its clock is ahead, in seconds.
    pub(crate) skew: i64,
    /// Its clock was never set.
    pub(crate) unset: bool,
}

/// A session as it was.
#[derive(Clone, Debug)]
pub(crate) struct Truth {
    pub(crate) server: usize,
    pub(crate) id: String,
    pub(crate) subscriber: String,
    pub(crate) address: String,
    pub(crate) prefix: String,
    pub(crate) begin_ms: u64,
    pub(crate) end_ms: u64,
    /// It ended in a reboot: nobody says so.
    pub(crate) died: bool,
}

/// A packet.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) server: usize,
    /// The session it is of, by its place in the world; none of an On.
    pub(crate) truth: Option<usize>,
    pub(crate) status: Status,
    pub(crate) id: String,
    pub(crate) subscriber: String,
    pub(crate) session_time: u32,
    /// The IPv4 address and the prefix, as far as it says them.
    pub(crate) addresses: [Option<String>; 2],
    pub(crate) event_ms: u64,
    pub(crate) arrival_ms: u64,
}

/// The world of a seed.
pub(crate) struct World {
    pub(crate) servers: Vec<Server>,
    pub(crate) truths: Vec<Truth>,
    pub(crate) packets: Vec<Sent>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let dice = &mut Dice(seed);
        let servers = vec![
            Server { skew: 0, unset: false },
            Server { skew: dice.below(320) as i64 - 120, unset: false },
            Server { skew: 0, unset: true },
        ];
        let mut world = Self { servers, truths: Vec::new(), packets: Vec::new() };
        for server in 0..world.servers.len() {
            let reboot = dice.percent(70).then(|| 300_000 + dice.below(600_000));
            for address in 0..ADDRESSES {
                world.live(dice, server, address, reboot);
            }
            world.name(server, reboot);
            if let Some(reboot_ms) = reboot {
                world.say_on(dice, server, reboot_ms + 500);
            }
        }
        for truth in 0..world.truths.len() {
            world.tell(dice, truth);
        }
        world.packets.sort_by_key(|sent| sent.arrival_ms);
        world
    }

    /// One address passes from hand to hand.
    fn live(&mut self, dice: &mut Dice, server: usize, address: usize, reboot: Option<u64>) {
        let mut now = dice.below(20_000) + 1_000;
        let mut holder = SUBSCRIBERS;
        while now < END_MS {
            let mut subscriber = dice.below(SUBSCRIBERS);
            if subscriber == holder {
                subscriber = (subscriber + 1) % SUBSCRIBERS;
            }
            holder = subscriber;
            let lasts = match dice.below(4) {
                0 => 20 + dice.below(2_500),
                1 => 5_000 + dice.below(60_000),
                _ => 60_000 + dice.below(300_000),
            };
            let dies = reboot.filter(|reboot| now < *reboot && now + lasts >= *reboot);
            let mut sessions = vec![(now, dies.unwrap_or(now + lasts))];
            if dice.percent(15) && lasts > 10_000 {
                // A second session of the same host.
                let begin = now + dice.below(lasts / 2);
                let end = begin + dice.below(lasts / 2);
                sessions.push((begin, dies.map_or(end, |dies| end.min(dies))));
            }
            sessions.retain(|(begin, end)| begin < end && *begin < END_MS);
            for (begin_ms, end_ms) in sessions {
                self.truths.push(Truth {
                    server,
                    id: String::new(),
                    subscriber: subscriber.to_string(),
                    address: format!("10.{server}.0.{address}"),
                    prefix: format!("2001:db8:{server}:{address}::"),
                    begin_ms,
                    end_ms,
                    died: dies == Some(end_ms),
                });
            }
            now = dies.map_or(now + lasts, |dies| dies + 5_000);
            // A server that cannot tell the time tells it by ours, late by what the way takes.
            let pause = if self.servers[server].unset { 5_000 } else { 0 };
            now += pause + if dice.percent(50) { 10 } else { dice.below(30_000) };
        }
    }

    /// Gives a server's sessions their ids, in the order in which they begin; after a reboot the same again.
    fn name(&mut self, server: usize, reboot: Option<u64>) {
        let mut own: Vec<&mut Truth> =
            self.truths.iter_mut().filter(|truth| truth.server == server).collect();
        own.sort_by_key(|truth| truth.begin_ms);
        let mut count = 0;
        let mut rebooted = false;
        for truth in own {
            if !rebooted && reboot.is_some_and(|reboot| truth.begin_ms >= reboot) {
                (count, rebooted) = (0, true);
            }
            truth.id = format!("{count:08x}");
            count += 1;
        }
    }

    fn say_on(&mut self, dice: &mut Dice, server: usize, event_ms: u64) {
        let sent = Sent {
            server,
            truth: None,
            status: Status::On,
            id: String::new(),
            subscriber: String::new(),
            session_time: 0,
            addresses: [None, None],
            event_ms,
            arrival_ms: 0,
        };
        self.send(dice, sent);
    }

    /// All packets of a session.
    fn tell(&mut self, dice: &mut Dice, truth: usize) {
        let one = self.truths[truth].clone();
        let packet = |status, event_ms, dice: &mut Dice| {
            // Some say their address only in Interims, some the prefix.
            let early = status == Status::Start;
            let says = |dice: &mut Dice| !early || !dice.percent(20);
            Sent {
                server: one.server,
                truth: Some(truth),
                status,
                id: one.id.clone(),
                subscriber: one.subscriber.clone(),
                session_time: ((event_ms - one.begin_ms) / 1_000) as u32,
                addresses: [says(dice).then(|| one.address.clone()), says(dice).then(|| one.prefix.clone())],
                event_ms,
                arrival_ms: 0,
            }
        };
        let start = packet(Status::Start, one.begin_ms, dice);
        self.send(dice, start);
        let mut now = one.begin_ms + INTERIM_MS;
        while now < one.end_ms.min(END_MS) {
            let interim = packet(Status::Interim, now, dice);
            self.send(dice, interim);
            now += INTERIM_MS;
        }
        if one.end_ms < END_MS && !one.died {
            let stop = packet(Status::Stop, one.end_ms, dice);
            self.send(dice, stop);
        }
    }

    /// Sends a packet on a way that loses, doubles and delays.
    fn send(&mut self, dice: &mut Dice, mut sent: Sent) {
        let late_ms = if self.servers[sent.server].unset { 900 } else { 15_000 };
        let way = |dice: &mut Dice| 1 + if dice.percent(20) { dice.below(late_ms) } else { dice.below(5) };
        if dice.percent(20) {
            return;
        }
        if dice.percent(20) {
            let again = sent.event_ms + way(dice) + dice.below(late_ms);
            self.packets.push(Sent { arrival_ms: again, ..sent.clone() });
        }
        sent.arrival_ms = sent.event_ms + way(dice);
        self.packets.push(sent);
    }

    /// An Interim of every session that lasts, none lost, well after the last event.
    pub(crate) fn last_interims(&self) -> Vec<Sent> {
        let event_ms = END_MS + 60_000;
        let living = self.truths.iter().enumerate().filter(|(_, truth)| truth.end_ms >= END_MS);
        let interim = |(place, truth): (usize, &Truth)| Sent {
            server: truth.server,
            truth: Some(place),
            status: Status::Interim,
            id: truth.id.clone(),
            subscriber: truth.subscriber.clone(),
            session_time: ((event_ms - truth.begin_ms) / 1_000) as u32,
            addresses: [Some(truth.address.clone()), Some(truth.prefix.clone())],
            event_ms,
            arrival_ms: event_ms,
        };
        living.map(interim).collect()
    }

    /// What a packet's stamp says, in seconds after the beginning.
    pub(crate) fn stamp(&self, sent: &Sent) -> Option<i64> {
        let server = self.servers[sent.server];
        (!server.unset).then(|| (sent.event_ms / 1_000) as i64 + server.skew)
    }
}

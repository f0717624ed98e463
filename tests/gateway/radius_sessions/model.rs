//! A clerk who goes by the rules as they are written: lists, nothing compressed, nothing forgotten, every life of a session kept.

use std::collections::BTreeMap;

use super::world::Sent;
use gateway::flow::session::accounting::Status;

/// One life of a session id.
pub(crate) struct Life {
    server: usize,
    id: String,
    pub(crate) subscriber: String,
    pub(crate) start: u32,
    heard: u32,
    end: Option<(Why, u32)>,
    /// What it has said of each kind of address.
    says: BTreeMap<usize, String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Why {
    Stop,
    Reset,
    Lost,
}

/// An address: who claims it, and who ever had it.
#[derive(Default)]
struct Address {
    claims: Vec<usize>,
    had: Vec<(String, u32)>,
}

#[derive(Default)]
pub(crate) struct Clerk {
    pub(crate) lives: Vec<Life>,
    addresses: BTreeMap<String, Address>,
    resets: BTreeMap<usize, u32>,
}

impl Clerk {
    /// Who has an address: one subscriber's sessions, or nobody can tell.
    pub(crate) fn who(&self, address: &str) -> String {
        let claims = self.addresses.get(address).map(|at| at.claims.clone()).unwrap_or_default();
        let mut who: Vec<&String> = claims.iter().map(|life| &self.lives[*life].subscriber).collect();
        who.dedup();
        if who.len() == 1 { who[0].clone() } else { String::new() }
    }

    /// A packet with the time of its event.
    pub(crate) fn hear(&mut self, sent: &Sent, event: u32, reckoned: bool) {
        match sent.status {
            Status::On => self.reset(sent.server, event),
            Status::Start | Status::Interim | Status::Stop => self.session(sent, event, u32::from(reckoned)),
            Status::Off | Status::Other => {}
        }
    }

    fn reset(&mut self, server: usize, event: u32) {
        let latest = self.resets.entry(server).or_default();
        if event <= *latest {
            return;
        }
        *latest = event;
        for life in 0..self.lives.len() {
            let one = &self.lives[life];
            let over = one.start < event && one.heard <= event;
            if one.server == server && one.end.is_none() && over {
                self.finish(life, Why::Reset, event);
            }
        }
    }

    fn session(&mut self, sent: &Sent, event: u32, late: u32) {
        let begun = match sent.status {
            Status::Start => event,
            _ => event - sent.session_time,
        };
        let reset = self.resets.get(&sent.server).copied().unwrap_or(0);
        let known = self.lives.iter().rposition(|life| life.server == sent.server && life.id == sent.id);
        let is_over = event <= reset && begun < reset;
        let life = match known.map(|life| (life, &self.lives[life])) {
            // Rule 9: before the last event of its open session.
            Some((_, one)) if one.end.is_none() && event < one.heard => return,
            Some((life, one)) if one.end.is_none() && one.subscriber == sent.subscriber => {
                if begun > one.start + 1 {
                    self.displace(&sent.subscriber, begun, sent, event);
                }
                life
            }
            // Rule 5.
            Some((life, one)) if one.end.is_none() => {
                let (heard, subscriber) = (one.heard, sent.subscriber.clone());
                assert_ne!(event, heard, "the world has no two subscribers of an id in one second");
                self.finish(life, Why::Lost, event);
                self.begin(sent, subscriber, if begun > heard { begun } else { event })
            }
            Some((life, one)) if is_over => {
                let end = one.end.unwrap().1;
                return self.testify(life, sent, event, end, begun);
            }
            None if is_over => return self.displace(&sent.subscriber, begun, sent, event),
            None => self.begin(sent, sent.subscriber.clone(), begun),
            Some((life, one)) => {
                // Reckoned by our clock it may seem a second later than it was.
                let (why, ended) = one.end.unwrap();
                let end = ended + late;
                // Only a Stop is its own end.
                let own_end = if why == Why::Stop { end } else { one.heard + late };
                // Rule 9: not after the end of its own session id. Rule 10: another one, or the minute.
                let minute = why == Why::Stop && sent.status == Status::Interim && event < ended + 60;
                let own = one.subscriber == sent.subscriber;
                if event <= end || (minute && own && begun <= end) {
                    return self.testify(life, sent, event, ended, begun);
                } else if sent.status == Status::Start || begun > own_end {
                    self.begin(sent, sent.subscriber.clone(), begun)
                } else if one.subscriber != sent.subscriber {
                    self.begin(sent, sent.subscriber.clone(), event)
                } else if sent.status == Status::Stop {
                    self.testify(life, sent, event, ended, begun);
                    self.lives[life].end = Some((Why::Stop, event));
                    return;
                } else {
                    self.lives[life].end = None;
                    if begun > self.lives[life].start + 1 {
                        self.displace(&sent.subscriber, begun, sent, event);
                    }
                    life
                }
            }
        };
        self.lives[life].heard = event;
        for (kind, address) in sent.addresses.iter().enumerate() {
            let Some(address) = address else { continue };
            if let Some(before) = self.lives[life].says.insert(kind, address.clone())
                && before != *address
            {
                self.addresses.entry(before).or_default().claims.retain(|claim| *claim != life);
            }
        }
        for address in self.lives[life].says.clone().into_values() {
            self.claim(life, &address);
        }
        if sent.status == Status::Stop {
            self.finish(life, Why::Stop, event);
        }
    }

    fn begin(&mut self, sent: &Sent, subscriber: String, start: u32) -> usize {
        let (server, id) = (sent.server, sent.id.clone());
        let says = BTreeMap::new();
        self.lives.push(Life { server, id, subscriber, start, heard: start, end: None, says });
        self.lives.len() - 1
    }

    fn finish(&mut self, life: usize, why: Why, event: u32) {
        self.addresses.values_mut().for_each(|at| at.claims.retain(|claim| *claim != life));
        self.lives[life].says.clear();
        self.lives[life].end = Some((why, event));
    }

    /// It had its addresses (rule 11): whoever began before it has them no more, though it binds nothing itself.
    fn testify(&mut self, life: usize, sent: &Sent, event: u32, ended: u32, begun: u32) {
        let one = &self.lives[life];
        let (who, start) = (one.subscriber.clone(), one.start);
        if who == sent.subscriber && event >= start && begun <= start + 1 {
            self.displace(&who, start, sent, event.max(ended));
        } else {
            // Another session under its id.
            self.displace(&sent.subscriber, begun, sent, event);
        }
    }

    fn displace(&mut self, who: &str, start: u32, sent: &Sent, event: u32) {
        for address in sent.addresses.iter().flatten() {
            let at = self.addresses.entry(address.clone()).or_default();
            let other = at.had.iter().filter(|(had, _)| *had != who).map(|(_, start)| *start).max();
            let lives = &self.lives;
            if at.claims.iter().all(|claim| lives[*claim].subscriber == who) {
                continue;
            }
            let before = at.claims.clone();
            let is_one = before.iter().all(|one| lives[*one].subscriber == lives[before[0]].subscriber);
            let other = other.unwrap_or(0);
            if start > other || is_one {
                at.had.push((who.to_owned(), start));
            }
            at.claims.retain(|claim| {
                let begun = lives[*claim].start;
                start <= other && (begun > start || (begun == start && start == other))
            });
            let lost: Vec<_> = before.into_iter().filter(|one| !at.claims.contains(one)).collect();
            for one in lost {
                if self.addresses.values().all(|at| !at.claims.contains(&one)) {
                    self.finish(one, Why::Lost, event);
                }
            }
        }
    }

    /// Rule 8, and the end of rule 9.
    fn claim(&mut self, life: usize, address: &str) {
        let (who, start) = (self.lives[life].subscriber.clone(), self.lives[life].start);
        let goes_on = self.lives[life].heard >= start + 2;
        let lives = &self.lives;
        let at = self.addresses.entry(address.to_owned()).or_default();
        let before = at.claims.clone();
        if !at.claims.contains(&life) {
            let other =
                at.had.iter().filter(|(had, _)| *had != who).map(|(_, start)| *start).max().unwrap_or(0);
            let against = at.claims.iter().any(|claim| lives[*claim].subscriber != who);
            let even =
                at.claims.iter().any(|claim| lives[*claim].subscriber != who && lives[*claim].start == start);
            let binds = start > other || (start == other && (even || goes_on));
            if binds && start == other && even {
                at.claims.retain(|claim| lives[*claim].start == start);
            } else if binds && against {
                at.claims.clear();
            } else if against {
                // He was there between the sessions of whoever has it.
                let holders: Vec<_> = at.claims.iter().map(|claim| &lives[*claim].subscriber).collect();
                if holders.iter().all(|holder| *holder == holders[0]) {
                    at.had.push((who.clone(), start));
                }
                at.claims.retain(|claim| lives[*claim].start > start);
            }
            if binds {
                at.claims.push(life);
                at.had.push((who, start));
            }
        }
        // Of several that started together the one that goes on.
        let contested = at.claims.iter().any(|one| lives[*one].subscriber != lives[at.claims[0]].subscriber);
        let mut going: Vec<&String> = at
            .claims
            .iter()
            .filter(|one| lives[**one].heard >= lives[**one].start + 2)
            .map(|one| &lives[*one].subscriber)
            .collect();
        going.dedup();
        if contested && going.len() == 1 {
            let winner = going[0].clone();
            at.claims.retain(|one| lives[*one].subscriber == winner);
        }
        let lost: Vec<_> =
            before.into_iter().filter(|one| *one != life && !at.claims.contains(one)).collect();
        let event = self.lives[life].heard;
        for one in lost {
            if self.addresses.values().all(|at| !at.claims.contains(&one)) {
                self.finish(one, Why::Lost, event);
            }
        }
    }
}

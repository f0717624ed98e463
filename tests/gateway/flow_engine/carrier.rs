//! What carries one flow: a counter whose truth is known, and a record of all that the engine asks for.

use std::collections::HashMap;
use std::net::IpAddr;

use billing_export::{Account, Class, Flags, Reason, Volume};
use gateway::flow::engine::{Carrier, Counter, Effect, Reading, Unknowable};
use gateway::flow::mark::Mark;
use gateway::flow::sent::{Queues, Sent};

/// A counter whose truth is known: up counts as it passes, down when the queues have let it go.
#[derive(Default)]
pub struct Meter {
    carried: Volume,
    told: Volume,
    pub sent: Sent,
    pub up: u64,
    /// What of the bytes down passed without the exemption, as far as it was not told.
    pub refused: u64,
    pub is_ended: bool,
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
        let refused = Volume { up: 0, down: self.refused.min(unseen.down) };
        self.refused -= refused.down;
        Reading { carried: self.carried, unseen, refused, unknowable, contradicts: false }
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

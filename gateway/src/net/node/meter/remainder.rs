//! What a flow that has ended sent last.

use billing_export::Volume;

use super::totals::Totals;
use crate::flow::engine::{Counter, Reading, Unknowable};
use crate::flow::sent::{Queues, Sent};

/// What a flow that has ended sent last: it counts when the queues have let it go.
#[derive(Debug)]
pub struct Remainder {
    totals: Totals,
    sent: Sent,
}

impl Remainder {
    /// What is not known yet of a flow that ends, with the queues like this; none when everything is.
    pub(super) fn new(totals: Totals, mut sent: Sent, queues: Queues) -> Option<Self> {
        sent.end(queues);
        sent.is_waiting().then_some(Self { totals, sent })
    }
}

impl Counter for Remainder {
    fn read(&mut self, queues: Queues) -> Reading {
        self.sent.settle(queues);
        self.totals.raise(Volume { up: 0, down: self.sent.left() });
        let unknowable = Unknowable { dropped: self.sent.lost(), options: 0 };
        self.totals.reading(unknowable, false)
    }

    fn sent(&self) -> Option<&Sent> {
        Some(&self.sent)
    }

    /// None: no limit is held for a flow that has ended.
    fn moving(&self) -> u64 {
        0
    }

    fn is_waiting(&self) -> bool {
        self.sent.is_waiting()
    }
}

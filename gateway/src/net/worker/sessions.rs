//! What sessions do to flows that are open: those of an address that changed hands are judged again, and no others.

use std::rc::Rc;

use super::Worker;
use crate::flow::engine::Observation;
use crate::flow::session::{Evidence, News, What};
use crate::net::flow_record::Flow;

impl Worker {
    /// Follows what happened to sessions since the last look.
    pub(super) fn follow_sessions(self: &Rc<Self>) {
        let seen = self.sessions_seen.get();
        if self.shared.sessions.number() == seen {
            return;
        }
        match self.shared.sessions.news(seen) {
            News::Batches(batches) => {
                for batch in &batches {
                    let number = batch.number;
                    match &batch.what {
                        What::Blocks(blocks) => blocks.iter().for_each(|changed| {
                            let flows: Vec<_> = self.flows.borrow().of(changed.block).cloned().collect();
                            flows.iter().for_each(|flow| {
                                self.stand_again(flow, Evidence::Changed(number, changed));
                            });
                        }),
                        What::Everything => self.all_stand_again(number),
                    }
                    self.sessions_seen.set(number);
                }
            }
            News::TooMany(latest) => {
                self.all_stand_again(seen);
                self.sessions_seen.set(latest);
            }
        }
    }

    /// Looks whose every flow is, where nobody says what changed after the write with this number.
    fn all_stand_again(self: &Rc<Self>, number: u64) {
        let flows: Vec<_> = self.flows.borrow().values().cloned().collect();
        flows.iter().for_each(|flow| self.stand_again(flow, Evidence::Since(number)));
    }

    /// Looks whose a flow is; it is judged again where that changed.
    fn stand_again(self: &Rc<Self>, flow: &Rc<Flow>, evidence: Evidence<'_>) {
        let holding = self.shared.sessions.find(flow.source);
        self.observe(flow, Observation::Sessions(holding, evidence));
    }
}

//! What all workers share: published policy, trusted answers, limits, and the two counts that bound open flows.
//!
//! Asked when a flow opens, is judged or closes; never for a byte.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use super::clock::Clock;
use super::lookup::Lookups;
use super::policy::PolicyCell;
use super::settings::{DialRules, Limits};

/// What all workers share.
pub struct Shared {
    /// List, subscribers, rating: taken anew for each decision.
    pub policy: Arc<PolicyCell>,
    /// Trusted answers and our own look-ups.
    pub lookups: Arc<Lookups>,
    /// Limits of the data path.
    pub limits: Limits,
    /// Where the gateway may connect to.
    pub dial: Arc<DialRules>,
    /// Room for open flows, by the process's descriptor limit.
    pub flow_permits: Arc<Semaphore>,
    /// Open flows by subscriber address or session.
    pub open_by_subscriber: Mutex<HashMap<SubscriberKey, usize>>,
    /// Accounts a worker holds between two reports.
    pub accounts_max: usize,
    /// The process's clocks.
    pub clock: Clock,
}

/// Who a flow counts against in `flows_per_subscriber_max`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SubscriberKey {
    /// A known session.
    Session(billing_export::Session),
    /// An address without one.
    Address(IpAddr),
}

impl Shared {
    /// Takes one of the subscriber's places; false when all are taken.
    pub(super) fn enter(&self, key: &SubscriberKey) -> bool {
        let mut open = self.open();
        let count = open.entry(key.clone()).or_insert(0);
        if *count >= self.limits.flows_per_subscriber_max {
            return false;
        }
        *count = count.saturating_add(1);
        true
    }

    /// Gives the place back.
    pub(super) fn leave(&self, key: &SubscriberKey) {
        let mut open = self.open();
        if let Some(count) = open.get_mut(key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.remove(key);
            }
        }
    }

    /// The counts; a panic elsewhere does not make them unusable, for every change is a single step.
    fn open(&self) -> MutexGuard<'_, HashMap<SubscriberKey, usize>> {
        self.open_by_subscriber.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

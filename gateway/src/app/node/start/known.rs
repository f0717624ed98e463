//! What a node knows before it serves: its list, its subscribers, and the answers it trusts.

use std::hash::RandomState;
use std::net::SocketAddr;
use std::sync::Arc;

use config::Config;
use tokio::runtime::Handle;

use super::StartError;
use super::lookups::lookups;
use super::settings::dial_rules;
use crate::app::node::lists::ListKeeper;
use crate::app::node::reload;
use crate::app::node::reload::outcome::Reloaded;
use crate::app::node::snapshot::Snapshot;
use crate::app::node::status::Status;
use crate::flow::allowance::AllowancePlan;
use crate::flow::session::Sessions;
use crate::net::lookup::Lookups;
use crate::net::node::policy::{Exemption, Policy, PolicyCell};
use crate::net::node::settings::DialRules;
use crate::net::sys::clock::Clock;

/// What a node knows.
pub(super) struct Known {
    /// Where it may connect to.
    pub(super) dial: Arc<DialRules>,
    /// The lists it has accepted.
    pub(super) keeper: ListKeeper,
    /// List, rating and limits, as the workers take them.
    pub(super) policy: Arc<PolicyCell>,
    /// Trusted answers and our own look-ups.
    pub(super) lookups: Arc<Lookups>,
    /// Whose an address is.
    pub(super) sessions: Arc<Sessions>,
    /// Trusted answers over a restart.
    pub(super) snapshot: Snapshot,
    /// What the node says of itself.
    pub(super) status: Arc<Status>,
}

impl Known {
    /// Reads list, subscribers and the answers kept from before, and what came of it. `own` are the node's own addresses. A list
    /// or table that cannot be used stands in the outcome; only what makes look-ups impossible is an error.
    pub(super) fn read(
        config: &Config,
        own: Vec<SocketAddr>,
        clock: Clock,
        control: &Handle,
    ) -> Result<(Self, Reloaded), StartError> {
        let system = |what| move |source| StartError::System { what, source };
        let dial = Arc::new(dial_rules(config, own).map_err(system("list this machine's addresses"))?);
        control.spawn(Arc::clone(&dial.own_addresses).follow());
        let (mut keeper, kept_faults) = ListKeeper::open(
            &config.node.state_dir,
            reload::former(config),
            &reload::gate(&config.list),
            clock.now().wall,
        );
        let policy = Arc::new(PolicyCell::new(first_policy(config)));
        let lookups = lookups(config, &policy, &dial, clock, control)?;
        let sessions = Arc::new(Sessions::new(reload::held_max(config), RandomState::new()));
        let mut outcome = reload::refresh(config, &mut keeper, (&policy, &sessions), clock.now().wall);
        outcome.notes.extend(kept_faults);
        // Behind the list: what no list speaks of is not taken back.
        let snapshot = Snapshot::new(&config.node.state_dir, Arc::clone(&lookups));
        snapshot.restore();
        control.spawn(snapshot.clone().keep(config.trusted_answers.snapshot_interval));
        control.spawn(Arc::clone(&lookups).follow_schedule());
        let status =
            Status::new(&config.node.id, clock.now().wall, (&policy, &sessions), Arc::clone(&lookups));
        Ok((Self { dial, keeper, policy, lookups, sessions, snapshot, status }, outcome))
    }
}

/// The policy before anything is read: nothing is exempt.
pub(super) fn first_policy(config: &Config) -> Policy {
    Policy {
        generation: 0,
        list: None,
        pending: Vec::new(),
        routes: Arc::default(),
        rating: Arc::new(reload::rating(config)),
        allowance: Arc::new(AllowancePlan::unlimited()),
        allowances: Arc::default(),
        exemption: Exemption::Suspended,
    }
}

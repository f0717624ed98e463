//! What the log and the status say of a reading of list and subscribers.

use allowlist::Validity;

use super::Node;
use crate::app::node::reload::outcome::Reloaded;
use crate::net::node::policy::Policy;
use crate::net::sys::clock::wall;

impl Node {
    /// Logs what a reading of list and subscribers came to, and tells the status.
    pub(super) fn tell(&self, outcome: Reloaded) {
        let policy = self.policy.load();
        self.tell_faults(&policy, &outcome);
        tell_list(&policy);
        self.tell_sessions();
        self.status.set_reload(outcome);
    }

    /// What was not taken, and what is worth a word. It comes first: what is in force says little before that.
    fn tell_faults(&self, policy: &Policy, outcome: &Reloaded) {
        let list_stays =
            if policy.list.is_some() { "the last good one stays" } else { "there is none to stay" };
        let table_stays =
            if self.shared.sessions.is_empty() { "there is none to stay" } else { "the last good one stays" };
        for (what, stays, fault) in
            [("list", list_stays, &outcome.list), ("subscribers", table_stays, &outcome.subscribers)]
        {
            for line in fault.iter().flat_map(|fault| &fault.lines) {
                tracing::error!("{what} not taken, {stays}: {line}");
            }
        }
        for line in outcome.radius.iter().flat_map(|fault| &fault.lines) {
            tracing::error!("clients of accounting not taken, those before stay: {line}");
        }
        for line in outcome.notes.iter().flat_map(|note| &note.lines) {
            tracing::warn!("{line}");
        }
    }

    /// The subscribers, and those without room.
    fn tell_sessions(&self) {
        let sessions = &self.shared.sessions;
        if sessions.unbound() > 0 {
            let (unbound, sessions_max) = (sessions.unbound(), sessions.held_max());
            tracing::error!(
                unbound,
                sessions_max,
                "prefixes of the subscriber table found no room: raise limits.sessions_max"
            );
        }
        tracing::info!(prefixes = sessions.len(), "subscribers");
    }
}

/// The list that is in force, and those still to come.
fn tell_list(policy: &Policy) {
    match &policy.list {
        Some(list) => match list.validity(wall()) {
            Validity::InForce => {
                tracing::info!(id = %list.list_id(), serial = list.serial(), "list in force")
            }
            Validity::NotYetInForce => {
                tracing::warn!(serial = list.serial(), from = %list.effective_from(), "the list is not in force yet: nothing is exempt");
            }
            Validity::Expired => {
                tracing::error!(serial = list.serial(), expired = %list.expires(), "the list has expired: everything is charged as list_expired until a new one is accepted");
            }
        },
        None => tracing::error!("no list: everything is charged as no_list"),
    }
    for pending in &policy.pending {
        tracing::warn!(
            serial = pending.serial(),
            from = %pending.effective_from(),
            "a list is accepted and pending: it comes into force at its date; a higher serial that takes effect no later withdraws it"
        );
    }
}

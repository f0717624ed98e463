//! Whose a flow is, from its start to its end.

use std::net::IpAddr;

use billing_export::{Flag, Flags, Session};

use super::SubscriberKey;
use super::news::Changed;
use super::table::{Holding, SessionState};

/// The subscriber of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The session that had the address when the flow began, and has it.
    Known(Session),
    /// The same, but nothing was heard of it since a restart: it holds, with a remark on what is counted.
    Suspect(Session),
    /// The same, but nothing was heard of it for too long: its bytes are nobody's until there is.
    Stale(Session),
    /// No session had the address when the flow began.
    Unknown,
    /// The address passed to somebody else while the flow was open; what comes after belongs to nobody (decision 15).
    Ended,
}

/// What a flow is looked at for.
#[derive(Clone, Copy, Debug)]
pub enum Evidence<'c> {
    /// A block that its address is in was changed by the write with this number.
    Changed(u64, &'c Changed),
    /// A write, or more of them than are kept, that do not say what they changed: whoever came after the write with this
    /// number, or was given an address back, may not have had it before.
    Since(u64),
}

impl Standing {
    /// The standing of a flow that begins.
    pub fn at_start(holding: Option<Holding>) -> Self {
        holding.map_or(Self::Unknown, Self::of)
    }

    /// The standing by the state of a session.
    fn of(holding: Holding) -> Self {
        match holding.state {
            SessionState::Active => Self::Known(holding.session),
            SessionState::Suspect => Self::Suspect(holding.session),
            SessionState::Stale => Self::Stale(holding.session),
        }
    }

    /// The session whose bytes they are; none of one that is stale or has ended.
    pub const fn session(&self) -> Option<&Session> {
        match self {
            Self::Known(session) | Self::Suspect(session) => Some(session),
            Self::Stale(_) | Self::Unknown | Self::Ended => None,
        }
    }

    /// Who a flow from the customer's `network` counts for.
    pub fn key(&self, network: IpAddr) -> SubscriberKey {
        match self {
            Self::Known(session) | Self::Suspect(session) | Self::Stale(session) => {
                SubscriberKey::Session(session.clone())
            }
            Self::Unknown | Self::Ended => SubscriberKey::Address(network),
        }
    }

    /// The remark on what is counted.
    pub fn remark(&self) -> Flags {
        match self {
            Self::Suspect(_) => Flags::NONE.with(Flag::StaleBinding),
            Self::Known(_) | Self::Stale(_) | Self::Unknown | Self::Ended => Flags::NONE,
        }
    }

    /// The standing after the table changed, where `holding` is what it has for the flow's address by then. Sessions of the
    /// subscriber must have held the address without a break: where he lost it and came back between two looks the flow has ended. What
    /// cannot be told apart has ended too, so that no byte is on the wrong subscriber.
    #[must_use]
    pub fn after(&self, holding: Option<Holding>, evidence: Evidence<'_>) -> Self {
        let own = match self {
            Self::Known(own) | Self::Suspect(own) | Self::Stale(own) => own,
            Self::Unknown | Self::Ended => return self.clone(),
        };
        match holding.filter(|holding| is_same_subscriber(&holding.session, own)) {
            Some(holding) if !is_broken(own, &holding, evidence) => Self::of(holding),
            Some(_) | None => Self::Ended,
        }
    }
}

/// Whether two sessions are one subscriber's: his flows go on from one to the other.
fn is_same_subscriber(one: &Session, other: &Session) -> bool {
    one.subscriber_type() == other.subscriber_type() && one.subscriber_id() == other.subscriber_id()
}

/// Whether somebody else, or nobody, had the address in between, as far as the evidence goes.
fn is_broken(own: &Session, holding: &Holding, evidence: Evidence<'_>) -> bool {
    match evidence {
        Evidence::Changed(number, changed) => {
            let hidden = holding.block.length() > changed.block.length() && holding.since <= number;
            !hidden && !changed.holder.as_ref().is_some_and(|holder| is_same_subscriber(holder, own))
        }
        Evidence::Since(number) => holding.since.max(holding.regained) > number,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::session::Block;

    #[test]
    fn a_flow_counts_for_its_session_or_its_network() {
        let network: IpAddr = "2001:db8::".parse().unwrap();
        let held = |state| Holding {
            session: Session::none(),
            state,
            block: Block::of(network),
            since: 1,
            regained: 1,
            begun: None,
        };
        for state in [SessionState::Active, SessionState::Suspect, SessionState::Stale] {
            let standing = Standing::at_start(Some(held(state)));
            assert_eq!(standing.key(network), SubscriberKey::Session(Session::none()));
        }
        for unknown in [Standing::at_start(None), Standing::Ended] {
            assert_eq!(unknown.key(network), SubscriberKey::Address(network));
        }
    }
}

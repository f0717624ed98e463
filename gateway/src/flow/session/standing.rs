//! Whose a flow is, from its start to its end.

use std::net::IpAddr;

use billing_export::{Flag, Flags, Session};

use super::SubscriberKey;
use super::news::Changed;
use super::table::{Holding, SessionState};

/// Whose a flow is by the word of whoever hands it over, which counts before what the table of sessions says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Introduction {
    /// It says nothing of it.
    #[default]
    Nothing,
    /// This subscriber's.
    Session(Session),
    /// It says something that names nobody.
    Nobody,
}

/// The subscriber of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Whoever handed it over said so; whoever has the address does not matter.
    Introduced(Session),
    /// The same, and what was said names nobody.
    Nobody,
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

    /// The same, where whoever hands it over may have said whose it is.
    pub fn introduced(introduction: Introduction, holding: impl FnOnce() -> Option<Holding>) -> Self {
        match introduction {
            Introduction::Nothing => Self::at_start(holding()),
            Introduction::Session(session) => Self::Introduced(session),
            Introduction::Nobody => Self::Nobody,
        }
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
            Self::Introduced(session) | Self::Known(session) | Self::Suspect(session) => Some(session),
            Self::Nobody | Self::Stale(_) | Self::Unknown | Self::Ended => None,
        }
    }

    /// Who a flow from the customer's `network` counts for.
    pub fn key(&self, network: IpAddr) -> SubscriberKey {
        match self {
            Self::Introduced(session)
            | Self::Known(session)
            | Self::Suspect(session)
            | Self::Stale(session) => SubscriberKey::Session(session.clone()),
            Self::Nobody | Self::Unknown | Self::Ended => SubscriberKey::Address(network),
        }
    }

    /// The remark on what is counted.
    pub fn remark(&self) -> Flags {
        match self {
            Self::Suspect(_) => Flags::NONE.with(Flag::StaleBinding),
            Self::Introduced(_)
            | Self::Nobody
            | Self::Known(_)
            | Self::Stale(_)
            | Self::Unknown
            | Self::Ended => Flags::NONE,
        }
    }

    /// The standing after the table changed, where `holding` is what it has for the flow's address by then. Sessions of the
    /// subscriber must have held the address without a break: where he lost it and came back between two looks the flow has ended. What
    /// cannot be told apart has ended too, so that no byte is on the wrong subscriber.
    #[must_use]
    pub fn after(&self, holding: Option<Holding>, evidence: Evidence<'_>) -> Self {
        let own = match self {
            Self::Known(own) | Self::Suspect(own) | Self::Stale(own) => own,
            Self::Introduced(_) | Self::Nobody | Self::Unknown | Self::Ended => return self.clone(),
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
    use billing_export::SubscriberType;

    use super::*;
    use crate::flow::session::{Begun, Block};

    #[test]
    fn c6_a_flow_is_its_subscribers_as_long_as_a_session_of_his_has_the_address_without_a_break() {
        let block = Block::of("192.0.2.1".parse().unwrap());
        let session = |who: &str, id: &str| Session::new(SubscriberType::Account, who, id).unwrap();
        let held = |session: &Session| Holding {
            session: session.clone(),
            state: SessionState::Active,
            block,
            since: 7,
            regained: 7,
            begun: None,
        };
        let (first, second, other) = (session("one", "1"), session("one", "2"), session("two", "1"));
        let flow = Standing::Known(first.clone());
        let after = |holder: Option<&Session>, now: &Session| {
            let changed = Changed { block, holder: holder.cloned() };
            flow.after(Some(held(now)), Evidence::Changed(7, &changed))
        };
        assert_eq!(after(Some(&second), &second), Standing::Known(second.clone()));
        // Nobody, or somebody else, had it in between.
        for between in [None, Some(&other)] {
            assert_eq!(after(between, &second), Standing::Ended);
        }
        assert_eq!(after(Some(&second), &other), Standing::Ended);
        assert_eq!(flow.after(Some(held(&second)), Evidence::Since(6)), Standing::Ended, "nobody says");
    }

    #[test]
    fn c30_a_flow_began_in_a_session_that_was_there_a_second_before_and_had_the_address_alone() {
        let begun = |free_since| Begun { start: 100, free_since };
        assert!(begun(None).has_flow_of(101) && !begun(None).has_flow_of(100));
        assert!(begun(Some(99)).has_flow_of(101));
        assert!(!begun(Some(100)).has_flow_of(200), "an equal second proves nothing");
    }

    #[test]
    fn b19_what_a_balancer_said_of_a_flow_holds_whatever_happens_to_its_address() {
        let network: IpAddr = "192.0.2.1".parse().unwrap();
        let session = |who: &str| Session::new(SubscriberType::Account, who, "").unwrap();
        let holding = |session| Holding {
            session,
            state: SessionState::Stale,
            block: Block::of(network),
            since: 7,
            regained: 7,
            begun: None,
        };
        let asked = || Some(holding(session("holder")));
        let own = Standing::introduced(Introduction::Session(session("own")), || unreachable!());
        let nobody = Standing::introduced(Introduction::Nobody, || unreachable!());
        assert_eq!(
            Standing::introduced(Introduction::Nothing, asked),
            Standing::Stale(session("holder")),
            "the table is asked"
        );
        assert_eq!((own.session(), nobody.session()), (Some(&session("own")), None));
        assert_eq!(own.key(network), SubscriberKey::Session(session("own")));
        assert_eq!(nobody.key(network), SubscriberKey::Address(network));
        for standing in [own, nobody] {
            assert_eq!(standing.after(asked(), Evidence::Since(0)), standing);
            assert_eq!(standing.after(None, Evidence::Since(0)), standing);
            assert_eq!(standing.remark(), Flags::NONE);
        }
    }

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

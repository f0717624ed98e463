//! Whose a flow is (decision 15).

use std::net::IpAddr;

use billing_export::Session;

use crate::flow::session::SubscriberKey;

/// The subscriber of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The session that had the address when the flow began.
    Known(Session),
    /// No session had the address when the flow began.
    Unknown,
    /// The address passed to somebody else while the flow was open; what comes after belongs to nobody (decision 15).
    Ended,
}

impl Standing {
    /// The standing of a flow that begins.
    pub fn at_start(session: Option<&Session>) -> Self {
        session.map_or(Self::Unknown, |session| Self::Known(session.clone()))
    }

    /// Who a flow from the customer's `network` counts for.
    pub fn key(&self, network: IpAddr) -> SubscriberKey {
        match self {
            Self::Known(session) => SubscriberKey::Session(session.clone()),
            Self::Unknown | Self::Ended => SubscriberKey::Address(network),
        }
    }

    /// The standing after the subscriber table changed.
    #[must_use]
    pub fn after_change(&self, session: Option<&Session>) -> Self {
        match self {
            Self::Known(own) if session == Some(own) => self.clone(),
            Self::Known(_) | Self::Ended => Self::Ended,
            Self::Unknown => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use billing_export::SubscriberType;

    use super::*;

    #[test]
    fn b24_an_address_that_comes_back_to_its_subscriber_does_not_bring_the_flow_back() {
        let session = |id| Session::new(SubscriberType::Account, id, "").unwrap();
        let (one, other) = (session("one"), session("other"));
        let flow = Standing::at_start(Some(&one));
        assert_eq!(flow.after_change(Some(&one)), flow);
        for next in [Some(&other), None] {
            let ended = flow.after_change(next);
            assert_eq!(ended, Standing::Ended);
            assert_eq!(ended.after_change(Some(&one)), Standing::Ended);
        }
        // What began without a session gets none: its first bytes were nobody's.
        assert_eq!(Standing::at_start(None).after_change(Some(&one)), Standing::Unknown);
    }

    #[test]
    fn a_flow_counts_for_its_session_or_its_network() {
        let network: IpAddr = "2001:db8::".parse().unwrap();
        let known = Standing::at_start(Some(&Session::none()));
        assert_eq!(known.key(network), SubscriberKey::Session(Session::none()));
        for unknown in [Standing::Unknown, Standing::Ended] {
            assert_eq!(unknown.key(network), SubscriberKey::Address(network));
        }
    }
}

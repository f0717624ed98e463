//! Who brings an answer, and how the list speaks of its name: what decides for whom it is kept, and how firmly.

use std::hash::{BuildHasher, RandomState};

use allowlist::Coverage;

use crate::flow::session::SubscriberKey;

/// How the lists speak of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// Not at all.
    Unlisted,
    /// By an entry whose host it is. Such names cannot be made up.
    Own,
    /// By a rule for the names below its host, which is the last so many bytes of the name.
    Below {
        /// Bytes of that host.
        host_bytes: usize,
    },
    /// By a deny.
    Denied {
        /// Bytes of its host.
        host_bytes: usize,
    },
}

impl From<bool> for Listing {
    /// Listed by an entry of its own, or not at all.
    fn from(is_listed: bool) -> Self {
        if is_listed { Self::Own } else { Self::Unlisted }
    }
}

impl From<Option<Coverage>> for Listing {
    fn from(coverage: Option<Coverage>) -> Self {
        match coverage {
            None => Self::Unlisted,
            Some(Coverage::Own) => Self::Own,
            Some(Coverage::Below { host_bytes }) => Self::Below { host_bytes },
            Some(Coverage::Denied { host_bytes }) => Self::Denied { host_bytes },
        }
    }
}

/// Who is answered.
#[derive(Clone, Copy, Debug)]
pub enum Asker<'a> {
    /// A subscriber, who asked himself.
    Subscriber(&'a SubscriberKey),
    /// Somebody of whom nothing is known.
    Stranger,
    /// The gateway, for a flow of this subscriber.
    Flow(&'a SubscriberKey),
    /// The gateway, of its own accord.
    Gateway,
}

impl<'a> From<Option<&'a SubscriberKey>> for Asker<'a> {
    /// A subscriber who asked himself, or the gateway.
    fn from(subscriber: Option<&'a SubscriberKey>) -> Self {
        subscriber.map_or(Self::Gateway, Self::Subscriber)
    }
}

impl<'a> Asker<'a> {
    /// The subscriber who asked himself, and knows the answer.
    pub(super) const fn told(self) -> Option<&'a SubscriberKey> {
        match self {
            Self::Subscriber(subscriber) => Some(subscriber),
            Self::Stranger | Self::Flow(_) | Self::Gateway => None,
        }
    }

    /// On whose account the answer is kept. A subscriber is kind and number, however many sessions he has.
    pub(super) fn bringer(self, key: &RandomState) -> Bringer {
        match self {
            Self::Subscriber(subscriber) | Self::Flow(subscriber) => Bringer::Subscriber(match subscriber {
                SubscriberKey::Session(session) => {
                    key.hash_one((session.subscriber_type(), session.subscriber_id()))
                }
                SubscriberKey::Address(address) => key.hash_one(address),
            }),
            Self::Stranger => Bringer::Stranger,
            Self::Gateway => Bringer::Gateway,
        }
    }
}

/// On whose account a name below a rule is kept: whoever had it looked up first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Bringer {
    /// A subscriber, by keyed hash.
    Subscriber(u64),
    /// Somebody of whom nothing is known.
    Stranger,
    /// The gateway's schedule, or a snapshot.
    Gateway,
}

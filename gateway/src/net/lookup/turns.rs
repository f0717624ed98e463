//! Whose look-up is next: shares of a budget, and turns for those that find none left.
//!
//! Names below a listed one can be made up without end, and the source of a datagram can be forged. So look-ups are of four
//! kinds, by whether the name is known and whether its flow's source has answered a handshake; each kind has a share that no
//! other takes, each subscriber a quarter of the kind's. Datagrams from forged addresses that name what nobody ever asked for
//! are left an eighth, whatever they claim and however many they are. Whoever finds nothing left waits: subscriber by
//! subscriber they get their turns, so that who asks much waits long and who asks once is next.

mod queue;
mod shares;

use allowlist::Transport;

pub(super) use self::queue::{Queue, QueueKey, Queued};
pub(super) use self::shares::Shares;
use crate::flow::session::SubscriberKey;

/// Who asks, and whether his address is known to be his.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Asker {
    /// Who he is.
    pub subscriber: SubscriberKey,
    /// He has answered from his address: it is not forged.
    pub proven: bool,
}

impl Asker {
    /// Whoever begins a flow of this transport: a TCP handshake proves the address, a datagram nothing (RFC 9000 §8.1).
    pub fn new(subscriber: SubscriberKey, transport: Transport) -> Self {
        Self { subscriber, proven: transport == Transport::Tcp }
    }
}

/// Kinds of look-ups, in the order in which they get what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// A name that the list has itself or that flows have reached, from a source that is proven.
    Known,
    /// Another name below a listed one, from such a source.
    New,
    /// A known name from a source that may be forged.
    KnownUnproven,
    /// Another name from such a source.
    NewUnproven,
}

impl Kind {
    /// All of them.
    pub(super) const ALL: [Self; 4] = [Self::Known, Self::New, Self::KnownUnproven, Self::NewUnproven];

    /// The kind of a look-up.
    pub(super) const fn of(asker: &Asker, is_known: bool) -> Self {
        match (asker.proven, is_known) {
            (true, true) => Self::Known,
            (true, false) => Self::New,
            (false, true) => Self::KnownUnproven,
            (false, false) => Self::NewUnproven,
        }
    }

    /// Its place in arrays.
    const fn index(self) -> usize {
        self as usize
    }

    /// How many eighths of a budget it may take at most.
    const fn most(self) -> u32 {
        match self {
            Self::Known => 6,
            Self::New => 3,
            Self::KnownUnproven => 2,
            Self::NewUnproven => 1,
        }
    }

    /// How many eighths of a budget no other kind takes from it.
    const fn least(self) -> u32 {
        match self {
            Self::Known => 2,
            Self::New | Self::KnownUnproven => 1,
            Self::NewUnproven => 0,
        }
    }
}

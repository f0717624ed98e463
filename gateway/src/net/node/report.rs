//! What a worker hands over once a tick: bytes by account, what is pending, and counts for the metrics.

use std::collections::HashMap;
use std::time::Duration;

use billing_export::{Account, Class, Entry, Flags, Reason, Session, Usage, Volume};

use super::event::Events;
pub use crate::flow::engine::ProtocolLabel;

/// Labels of `zrgw_flows_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowLabels {
    /// What carried the name.
    pub protocol: ProtocolLabel,
    /// Class of the first verdict.
    pub class: Class,
    /// Its reason; none when exempt.
    pub reason: Option<Reason>,
}

/// Why a connection was closed, or a datagram dropped, without being carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Steered: the name was never on a list, or is unreadable.
    NotRouted,
    /// Steered: the client is none of those that the listener serves (listener.clients).
    Client,
    /// The destination is private, ours, or has no address.
    Destination,
    /// It is our own, come back: the destination leads here.
    Loop,
    /// The upstream did not answer or refused.
    Connect,
    /// The PROXY header is missing, malformed, late, or from a peer that may not send it.
    ProxyHeader,
    /// UDP: the process had no room for the flow while it waited for its name.
    NoRoom,
}

impl Refusal {
    /// The label's value.
    pub const fn label(self) -> &'static str {
        match self {
            Self::NotRouted => "not_routed",
            Self::Client => "client",
            Self::Destination => "destination",
            Self::Loop => "loop",
            Self::Connect => "connect",
            Self::ProxyHeader => "proxy_header",
            Self::NoRoom => "no_room",
        }
    }
}

/// Why a datagram of an open flow, or of one that cannot begin, went no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropCause {
    /// The socket's send buffer is full: whoever sent it sends it again.
    SendBuffer,
    /// Longer than the way takes in one piece.
    TooLong,
    /// The system does not let us: CAP_NET_ADMIN is missing, or a rule of this machine rejects it.
    Forbidden,
    /// Any other failure of sending: the way is gone for the moment.
    Unreachable,
    /// The flow waits for its name or origin and holds all it may.
    Held,
    /// The gateway ends: no flow begins.
    Draining,
    /// Memory runs short: no steered flow begins.
    Overload,
    /// It came to the socket of a flow that it does not belong to.
    Stray,
}

impl DropCause {
    /// The label's value.
    pub const fn label(self) -> &'static str {
        match self {
            Self::SendBuffer => "send_buffer",
            Self::TooLong => "too_long",
            Self::Forbidden => "forbidden",
            Self::Unreachable => "unreachable",
            Self::Held => "held",
            Self::Draining => "draining",
            Self::Overload => "overload",
            Self::Stray => "stray",
        }
    }
}

/// One worker's counts since its last report.
#[derive(Debug, Default)]
pub struct Report {
    /// Bytes that passed the subscribers' sockets, counted at the calls.
    pub seen: Volume,
    /// Payload that our calls read from subscribers' TCP sockets and wrote to them, whatever the byte basis.
    pub stream_payload: Volume,
    /// Bytes carried for flows that have no verdict yet.
    pub pending_after: Volume,
    /// Bytes by account.
    pub usage: Vec<Usage>,
    /// First verdicts.
    pub flows: Vec<(FlowLabels, u64)>,
    /// Connections not carried.
    pub refusals: Vec<(Refusal, u64)>,
    /// Datagrams that went no further.
    pub dropped: Vec<(DropCause, u64)>,
    /// Flows open at the moment.
    pub flows_open: u64,
    /// Those of them that are UDP.
    pub udp_flows_open: u64,
    /// What else happened. Spliced bytes are among `seen`, exempt ones at shared addresses in `usage`.
    pub events: Events,
    /// Exempt accounts that reached a cap; at most as many as a worker holds accounts.
    pub capped: Vec<Account>,
}

/// Whoever counts and reports: a worker's thread, or what else carries bytes.
pub trait ReportSource: Send {
    /// Asks for a report, unless one is already asked for.
    fn ask(&mut self);

    /// Asks for a report after which nothing is pending, unless one is already asked for.
    fn ask_settled(&mut self);

    /// Waits for the report asked for; none when it does not come in time. A late report comes with the next call.
    fn receive(&mut self, limit: Duration) -> Option<Report>;

    /// Ends it, at most `limit` between two reports; what it still had to report.
    fn stop(self: Box<Self>, limit: Duration) -> Vec<Report>;
}

/// Bytes by account until the next report; bounded.
#[derive(Default)]
pub struct UsageMap {
    /// The counters.
    accounts: HashMap<Account, (Flags, Volume)>,
}

impl UsageMap {
    /// Adds `volume` to `account`. Over `accounts_max` accounts (the exporter has not taken any for long), what belongs to a
    /// further one goes to nobody as `overload`: never exempt, never lost.
    pub fn add(&mut self, account: &Account, flags: Flags, volume: Volume, accounts_max: usize) {
        if volume == Volume::ZERO {
            return;
        }
        if let Some((known, sum)) = self.accounts.get_mut(account) {
            *known = known.union(flags);
            *sum = saturating_sum(*sum, volume);
            return;
        }
        let account = if self.accounts.len() < accounts_max {
            account.clone()
        } else {
            let entry = Entry::Unattributed(Reason::Overload);
            Account { session: Session::none(), list: None, entry }
        };
        let (known, sum) = self.accounts.entry(account).or_insert((flags, Volume::ZERO));
        *known = known.union(flags);
        *sum = saturating_sum(*sum, volume);
    }

    /// Adds what another map took out ([`take`](Self::take)), remarks without bytes among it.
    pub fn merge(&mut self, usage: Usage) {
        match usage.volume {
            Volume::ZERO => self.remark(&usage.account, usage.flags, usize::MAX),
            volume => self.add(&usage.account, usage.flags, volume, usize::MAX),
        }
    }

    /// Remarks `flags` on what was counted for `account` before; nothing where nobody counts for it.
    pub fn remark(&mut self, account: &Account, flags: Flags, accounts_max: usize) {
        if self.accounts.len() < accounts_max || self.accounts.contains_key(account) {
            let (known, _) = self.accounts.entry(account.clone()).or_insert((flags, Volume::ZERO));
            *known = known.union(flags);
        }
    }

    /// The bytes of all accounts.
    pub fn total(&self) -> Volume {
        self.accounts.values().fold(Volume::ZERO, |sum, (_, volume)| saturating_sum(sum, *volume))
    }

    /// Takes everything.
    pub fn take(&mut self) -> Vec<Usage> {
        self.accounts.drain().map(|(account, (flags, volume))| Usage { account, flags, volume }).collect()
    }
}

/// The sum, at most what a counter holds: 2^64 bytes in one tick is more than any interface moves in a century.
pub fn saturating_sum(one: Volume, other: Volume) -> Volume {
    Volume { up: one.up.saturating_add(other.up), down: one.down.saturating_add(other.down) }
}

#[cfg(test)]
mod tests {
    use billing_export::Flag;

    use super::*;

    fn charged(reason: Reason) -> Account {
        Account { session: Session::none(), list: None, entry: Entry::Charged(reason) }
    }

    #[test]
    fn accounts_over_the_limit_are_counted_as_overload() {
        let mut usage = UsageMap::default();
        let one = Volume { up: 1, down: 2 };
        usage.add(&charged(Reason::NotListed), Flags::default(), one, 2);
        usage.add(&charged(Reason::NoName), Flags::default(), one, 2);
        usage.add(&charged(Reason::Port), Flags::default(), one, 2);
        usage.add(&charged(Reason::Denied), Flags::default(), one, 2);
        usage.add(&charged(Reason::NoName), Flags::default(), one, 2);
        let taken = usage.take();
        let overload = Entry::Unattributed(Reason::Overload);
        let of = |entry: &Entry| taken.iter().find(|usage| usage.account.entry == *entry).unwrap().volume;
        assert_eq!(taken.len(), 3);
        assert_eq!(of(&overload), Volume { up: 2, down: 4 });
        assert_eq!(of(&Entry::Charged(Reason::NoName)), Volume { up: 2, down: 4 });
        assert!(usage.take().is_empty());
    }

    #[test]
    fn f61_a_remark_without_bytes_is_passed_on_within_the_limit() {
        let mut usage = UsageMap::default();
        let lower = Flags::from(Flag::LowerBound);
        usage.add(&charged(Reason::NotListed), Flags::default(), Volume { up: 1, down: 2 }, 2);
        usage.remark(&charged(Reason::NotListed), lower, 2);
        usage.remark(&charged(Reason::NoName), lower, 2);
        usage.remark(&charged(Reason::Port), lower, 2);
        let mut merged = UsageMap::default();
        usage.take().into_iter().for_each(|usage| merged.merge(usage));
        let mut taken = merged.take();
        taken.sort_by_key(|usage| usage.volume.up);
        let told: Vec<_> = taken.iter().map(|usage| (usage.volume, usage.flags)).collect();
        assert_eq!(
            told,
            [(Volume::ZERO, lower), (Volume { up: 1, down: 2 }, lower)],
            "the third had no place"
        );
    }
}

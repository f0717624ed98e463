//! What a flow's engine asks of whoever carries the flow.

use std::net::{IpAddr, SocketAddr};

use allowlist::{DomainName, Transport};
use billing_export::{Account, Flags, Reason, Volume};

use super::claim::Claim;
use super::counter::{Counter, Reading};
use crate::flow::allowance::Share;
use crate::flow::mark::Mark;
use crate::flow::sent::Queues;
use crate::flow::session::SubscriberKey;
use crate::flow::verdict::Verdict;

/// Whoever carries a flow: it counts the bytes, and carries out what is decided. Called while the engine is at work, so it
/// tells the engine of nothing before that returns.
pub trait Carrier {
    /// What counts the flow's bytes; none when it has ended and all it sent is settled.
    fn counter(&mut self) -> Option<&mut dyn Counter>;

    /// The queues of the machine's interfaces.
    fn queues(&self) -> Queues;

    /// Carries out one effect.
    fn carry_out(&mut self, effect: Effect<'_>);
}

/// What is to be done.
pub enum Effect<'a> {
    /// A look-up is to say whether the name may be at the address. Its end is to be observed, also that none was begun.
    Ask {
        /// Who it counts for.
        subscriber: SubscriberKey,
        /// TCP or UDP: whether the subscriber's address is proven.
        transport: Transport,
        /// The name.
        name: &'a DomainName,
        /// The destination.
        address: IpAddr,
    },
    /// The counter was read: what it says is part of what was seen to pass.
    Read(&'a Reading),
    /// Bytes go to an account.
    Attribute {
        /// The counter on the bill.
        account: &'a Account,
        /// Remarks on these bytes.
        flags: Flags,
        /// How many.
        volume: Volume,
    },
    /// A remark on what went to an account before.
    Remark {
        /// The counter on the bill.
        account: &'a Account,
        /// The remark.
        flags: Flags,
    },
    /// Of what went to exempt accounts, so many bytes were at an address that other sites share.
    AtSharedAddress(u64),
    /// Something was counted on a share of the subscriber's allowances.
    Spent(&'a Share),
    /// An exempt account reached the end of its allowance.
    Capped(&'a Account),
    /// The flow's packets carry another mark from here on.
    Mark {
        /// What they carried.
        before: Mark,
        /// What they carry.
        mark: Mark,
    },
    /// It has a verdict, and is judged anew because something changed.
    JudgedAgain,
    /// The flow's bytes have another account from here on.
    Decided(Decided<'a>),
    /// The flow is charged from here on, whatever its name.
    Charged(Reason),
    /// The flow has ended and needs nothing more than its bytes' last report: it may be let go.
    LetGo,
}

/// A verdict that took effect.
pub struct Decided<'a> {
    /// Whether it is the flow's first.
    pub is_first: bool,
    /// The verdict.
    pub verdict: &'a Verdict,
    /// Where the bytes go.
    pub account: &'a Account,
    /// What the flow says it is called.
    pub claim: &'a Claim,
    /// Where it was going.
    pub destination: Option<SocketAddr>,
}

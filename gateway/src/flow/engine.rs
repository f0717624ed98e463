//! One flow's life: what it says it is called, whose it is, what it has carried, and where its bytes are counted.
//!
//! Bytes before the verdict are carried and pending; when the verdict latches they are counted where it says, and so is what
//! follows, until a change of list, subscribers or name has the flow judged again: then what was carried before stays where it
//! was counted. Nothing here knows who carries the bytes: no socket, clock or lock.

mod account;
mod claim;
mod counter;
mod standing;
mod start;

use std::net::IpAddr;

use billing_export::Volume;

pub use self::account::{Allowed, Owed, Ruling};
pub use self::claim::{Claim, News, ProtocolLabel, has_long_header};
pub use self::counter::{Counter, Reading, Unknowable};
pub use self::standing::Standing;
pub use self::start::{HTTPS_PORT, Place, Start};
use crate::flow::allowance::Share;
use crate::flow::decide::Vouched;
use crate::flow::mark::Mark;
use crate::flow::session::SubscriberKey;
use crate::flow::tally::Tally;

/// One flow, whoever carries it.
pub struct Engine {
    /// What is fixed of it.
    pub start: Start,
    /// What it says it is called.
    pub claim: Claim,
    /// Whose flow it is.
    pub standing: Standing,
    /// Steered: where the gateway found the name.
    pub dialled: Option<IpAddr>,
    /// Whether the address may carry the name, as far as this flow found out.
    pub vouched: Vouched,
    /// No verdict is taken yet: steered mode waits for its upstream.
    pub held: bool,
    /// UDP only: the server has said nothing yet, and nothing is exempt, nor charged to anybody, before it has. A source
    /// address is free to forge, and datagrams that nobody answers are no visit.
    pub unanswered: bool,
    /// Nobody waits for more: the process ends.
    pub last_call: bool,
    /// Bytes carried and reported.
    pub tally: Tally,
    /// The most bytes that a record was told may be missing in it.
    pub unknowable: Unknowable,
    /// Where the bytes are counted.
    pub ruling: Ruling,
    /// Accounts before this one, for bytes that were sent under them and are not known to have left.
    pub owed: Box<[Owed]>,
    /// It is exempt at an address that is known to serve other sites too: no gateway can tell them apart (trap T24).
    pub at_shared_address: bool,
    /// While it is exempt and that is capped: how much is left.
    pub allowed: Option<Box<Allowed>>,
    /// What the flow's packets carry, by where its bytes are counted, or will be as far as can be foreseen.
    pub mark: Mark,
    /// Its share in an allowance while it is marked before its verdict.
    pub foreseen: Option<Box<Share>>,
}

impl Engine {
    /// A flow of which nothing has been carried. Steered ones are held until it is known where they go; UDP waits for an answer.
    pub fn new(start: Start, standing: Standing, claim: Claim) -> Self {
        let (vouched, held) = match start.place {
            Place::Steered { .. } => (Vouched::No, true),
            Place::Original(_) => (Vouched::NotYet, false),
        };
        let unanswered = start.transport == allowlist::Transport::Udp;
        Self {
            start,
            claim,
            standing,
            dialled: None,
            vouched,
            held,
            unanswered,
            last_call: false,
            tally: Tally::default(),
            unknowable: Unknowable::default(),
            ruling: Ruling::Pending,
            owed: Box::default(),
            at_shared_address: false,
            allowed: None,
            mark: Mark::NONE,
            foreseen: None,
        }
    }

    /// Who the flow counts for.
    pub fn subscriber(&self) -> SubscriberKey {
        self.standing.key(self.start.network)
    }

    /// The port that rules are judged by.
    pub const fn service_port(&self) -> u16 {
        self.start.service_port(self.claim.protocol())
    }

    /// Bytes carried that no account has.
    pub fn pending(&self) -> Volume {
        self.tally.unreported()
    }
}

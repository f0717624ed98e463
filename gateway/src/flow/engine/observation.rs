//! What is seen of a flow.

use std::net::IpAddr;

use billing_export::Reason;

use crate::flow::decide::Vouched;
use crate::flow::identify::Identity;
use crate::flow::session::{self, Holding};

/// What happened to one flow. The time of it, where a verdict asks for one, is that of the terms it is judged by.
pub enum Observation<'a> {
    /// It began, and nobody reads it.
    Unread,
    /// The client sent bytes: of a stream, or one datagram. Those of a datagram are counted after this.
    Bytes(&'a [u8]),
    /// The subscriber sends nothing more: a name that is not complete will not be.
    Finished,
    /// What was read of it may be another's than what its server reads, for this reason: it has no name any more.
    Contradicted(Reason),
    /// The time for a name is over.
    Deadline,
    /// Steered: it is known where the flow goes, or that it goes nowhere.
    Placed {
        /// Whether the name may be there.
        vouched: Vouched,
        /// The address that was dialled.
        dialled: Option<IpAddr>,
    },
    /// The server has answered: UDP, or a handshake that is its own.
    Answered,
    /// A handshake that is the server's own: it has acknowledged what was read of the name, and nothing contradicts it.
    Sure,
    /// UDP: it goes on where a flow of this name stopped.
    Continues(Identity),
    /// What became of the look-up that was asked for.
    LookedUp(LookedUp),
    /// List, rating or limits changed.
    Renewed,
    /// The sessions of its address changed, or may have; this is who has it by then.
    Sessions(Option<Holding>, session::Evidence<'a>),
    /// It began while nobody had its address, in a session that is known only now: what passed until now stays nobody's.
    Adopted(Holding),
    /// A date has passed that changes an answer.
    Dated,
    /// So many bytes have just moved, in the byte basis at a guess. They are held against what may be exempt.
    Moved(u64),
    /// The counter is to be read and its bytes attributed.
    Tick,
    /// Nothing is left of what the flow may have exempt, other flows' part in it included.
    Spent,
    /// UDP: nobody has answered for as long as bytes may be pending.
    Overdue,
    /// The ledger changes hands: what is pending by now is nobody's.
    Orphaned,
    /// What is on its way is looked after no longer.
    Unwatched,
    /// Nobody waits for more: the process ends.
    LastCall,
    /// It has ended; its counter was read.
    Ended,
}

/// What became of a look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookedUp {
    /// The name may be at the address.
    Found,
    /// It may not, as far as was found.
    NotFound,
    /// None was begun.
    NotAsked,
}

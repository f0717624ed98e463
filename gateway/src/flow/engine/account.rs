//! Where a flow's bytes are counted, and where those go that were sent before that changed.

use billing_export::{Account, Entry, Flags, Reason, Session};

use crate::flow::allowance::Share;
use crate::flow::sent::OnItsWay;

/// Where a flow's bytes are counted.
#[derive(Debug)]
pub(super) enum Ruling {
    /// Nowhere yet.
    Pending,
    /// Nowhere yet; a look-up is on its way.
    LookingUp,
    /// Here.
    Latched {
        /// The counter.
        account: Account,
        /// Remarks on it.
        flags: Flags,
    },
}

impl Ruling {
    /// Whether the flow's bytes have an account.
    pub(super) const fn is_latched(&self) -> bool {
        match self {
            Self::Latched { .. } => true,
            Self::Pending | Self::LookingUp => false,
        }
    }

    /// Whether the flow's bytes are exempt.
    pub(super) const fn is_exempt(&self) -> bool {
        match self {
            Self::Latched { account, .. } => matches!(account.entry, Entry::Exempt { .. }),
            Self::Pending | Self::LookingUp => false,
        }
    }
}

/// What an exempt flow may still have exempt, and where its bytes are counted beyond that.
#[derive(Debug)]
pub(super) struct Allowed {
    /// Its part in the subscriber's allowances.
    pub share: Share,
    /// The counter of what is over.
    pub over: Account,
    /// Remarks on it.
    pub over_flags: Flags,
}

/// An account that bytes on their way belong to.
#[derive(Debug)]
pub(super) struct Owed {
    /// The counter.
    pub account: Account,
    /// Remarks on it.
    pub flags: Flags,
    /// What of it may still be exempt, where that is limited.
    pub allowed: Option<Box<Allowed>>,
    /// What had been sent when the next account began.
    pub way: OnItsWay,
}

impl Owed {
    /// Takes what another account is owed too. Of two accounts nobody could tell any more which bytes are whose, so they are
    /// nobody's: neither exempt nor charged to anybody.
    pub(super) fn join(&mut self, next: Owed) {
        if self.account != next.account {
            self.account.session = Session::none();
            self.account.entry = Entry::Unattributed(Reason::Overload);
            self.allowed = None;
        }
        self.flags = self.flags.union(next.flags);
        self.way = next.way;
    }
}

/// Where bytes go that are nobody's: without a verdict when the ledger that would have held them is closed, and those of UDP
/// that nobody answered (the source address is free to forge).
pub(super) fn nobodys() -> Account {
    let entry = Entry::Unattributed(Reason::Undecided);
    Account { session: Session::none(), list: None, entry }
}

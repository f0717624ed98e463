//! What a compiled list says when it is asked: of itself, and of a name.

use super::Rule;

/// Whether a list is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Before `effective_from`.
    NotYetInForce,
    /// From `effective_from` up to, not including, `expires`.
    InForce,
    /// From `expires` on.
    Expired,
}

/// What a list says of a name.
#[derive(Clone, Copy, Debug)]
pub enum HostMatch<'m> {
    /// No rule speaks of it.
    NotListed,
    /// A deny speaks of it: charged, whatever the rules say.
    Denied(Rule<'m>),
    /// The most specific rule is not in force, and no other fits.
    NotInForce(Rule<'m>),
    /// The most specific rule is for another protocol or port, and no other fits.
    Port(Rule<'m>),
    /// The most specific rule that is in force and fits.
    Listed(Rule<'m>),
}

/// By which of its entries a list speaks of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// By one whose host it is.
    Own,
    /// By one that reaches names below its host, which is the last so many bytes of the name.
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

impl Coverage {
    /// By an entry whose host has so many bytes and stands so many labels above the name.
    pub(crate) const fn by(host_bytes: usize, labels_below: usize) -> Coverage {
        if labels_below == 0 { Coverage::Own } else { Coverage::Below { host_bytes } }
    }
}

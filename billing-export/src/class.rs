//! What a byte counts as, and why: the three classes and the one vocabulary of reasons.
//!
//! The labels are those of metrics, usage files, `classify`, `explain` and the subscriber page; a label never changes
//! its meaning. Pure: no clock, file, log or randomness.

use std::fmt;
use std::str::FromStr;

use crate::error::UnknownLabel;

/// The three things a carried byte can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Every check passed: not charged.
    Exempt,
    /// Billed as usual, with a reason.
    Charged,
    /// No subscriber can be named for it: billed to nobody by us, with a reason.
    Unattributed,
}

impl Class {
    /// All classes in the order of reports.
    pub const ALL: [Class; 3] = [Class::Exempt, Class::Charged, Class::Unattributed];

    /// The word used in files and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Class::Exempt => "exempt",
            Class::Charged => "charged",
            Class::Unattributed => "unattributed",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

impl FromStr for Class {
    type Err = UnknownLabel;

    fn from_str(text: &str) -> Result<Class, UnknownLabel> {
        Class::ALL
            .into_iter()
            .find(|class| class.label() == text)
            .ok_or_else(|| UnknownLabel::new("class", text, "exempt, charged or unattributed"))
    }
}

/// Why a byte is not exempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The name is on no rule of the list.
    NotListed,
    /// A deny rule covers the name.
    Denied,
    /// The name is listed, the address is none of its trusted answers.
    AddressMismatch,
    /// Listed, but not with this protocol or port.
    Port,
    /// The protocol was read and carries no name.
    NoName,
    /// Only an ECH cover name is visible.
    HiddenName,
    /// Two readers could read two different names.
    Ambiguous,
    /// Not a well-formed message of its protocol.
    Malformed,
    /// Longer than the limit for identification.
    Oversize,
    /// The identification deadline passed first.
    Timeout,
    /// No protocol we read.
    NotRecognised,
    /// DNS evidence alone, and the rule does not accept it.
    DnsOnlyOff,
    /// DNS evidence alone, and the address is shared with unlisted names.
    DnsShared,
    /// DNS evidence alone, and it is too old.
    DnsExpired,
    /// No subscriber is known for the address.
    NoSubscriber,
    /// The subscriber's session has had no news for too long.
    StaleSubscriber,
    /// The subscriber's session ended while the flow went on.
    SessionEnded,
    /// The subscriber's allowance is used up.
    CapReached,
    /// No list has ever been accepted.
    NoList,
    /// The list is past its expiry.
    ListExpired,
    /// The rule's own dates exclude this moment.
    RuleNotInForce,
    /// A second, different name appeared on the flow.
    SecondName,
    /// The flow ended, or was evicted, before a verdict.
    Undecided,
    /// Above a limit of this process: carried, not looked at.
    Overload,
}

impl Reason {
    /// All reasons in the order of the contract.
    pub const ALL: [Reason; 24] = [
        Reason::NotListed,
        Reason::Denied,
        Reason::AddressMismatch,
        Reason::Port,
        Reason::NoName,
        Reason::HiddenName,
        Reason::Ambiguous,
        Reason::Malformed,
        Reason::Oversize,
        Reason::Timeout,
        Reason::NotRecognised,
        Reason::DnsOnlyOff,
        Reason::DnsShared,
        Reason::DnsExpired,
        Reason::NoSubscriber,
        Reason::StaleSubscriber,
        Reason::SessionEnded,
        Reason::CapReached,
        Reason::NoList,
        Reason::ListExpired,
        Reason::RuleNotInForce,
        Reason::SecondName,
        Reason::Undecided,
        Reason::Overload,
    ];

    /// The word used in files and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Reason::NotListed => "not_listed",
            Reason::Denied => "denied",
            Reason::AddressMismatch => "address_mismatch",
            Reason::Port => "port",
            Reason::NoName => "no_name",
            Reason::HiddenName => "hidden_name",
            Reason::Ambiguous => "ambiguous",
            Reason::Malformed => "malformed",
            Reason::Oversize => "oversize",
            Reason::Timeout => "timeout",
            Reason::NotRecognised => "not_recognised",
            Reason::DnsOnlyOff => "dns_only_off",
            Reason::DnsShared => "dns_shared",
            Reason::DnsExpired => "dns_expired",
            Reason::NoSubscriber => "no_subscriber",
            Reason::StaleSubscriber => "stale_subscriber",
            Reason::SessionEnded => "session_ended",
            Reason::CapReached => "cap_reached",
            Reason::NoList => "no_list",
            Reason::ListExpired => "list_expired",
            Reason::RuleNotInForce => "rule_not_in_force",
            Reason::SecondName => "second_name",
            Reason::Undecided => "undecided",
            Reason::Overload => "overload",
        }
    }

    /// The class the reason belongs to: [`Class::Unattributed`] where no live subscriber session stands behind the
    /// bytes, else [`Class::Charged`]. Never [`Class::Exempt`].
    pub fn class(self) -> Class {
        match self {
            Reason::NoSubscriber | Reason::StaleSubscriber | Reason::SessionEnded => Class::Unattributed,
            Reason::NotListed
            | Reason::Denied
            | Reason::AddressMismatch
            | Reason::Port
            | Reason::NoName
            | Reason::HiddenName
            | Reason::Ambiguous
            | Reason::Malformed
            | Reason::Oversize
            | Reason::Timeout
            | Reason::NotRecognised
            | Reason::DnsOnlyOff
            | Reason::DnsShared
            | Reason::DnsExpired
            | Reason::CapReached
            | Reason::NoList
            | Reason::ListExpired
            | Reason::RuleNotInForce
            | Reason::SecondName
            | Reason::Undecided
            | Reason::Overload => Class::Charged,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

impl FromStr for Reason {
    type Err = UnknownLabel;

    fn from_str(text: &str) -> Result<Reason, UnknownLabel> {
        Reason::ALL.into_iter().find(|reason| reason.label() == text).ok_or_else(|| {
            UnknownLabel::new("reason", text, "one of the reasons of the contract, such as not_listed")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_reads_back_and_no_two_are_equal() {
        for (at, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason.label().parse::<Reason>().unwrap(), reason);
            assert!(Reason::ALL.into_iter().skip(at + 1).all(|other| other.label() != reason.label()));
            assert_ne!(reason.class(), Class::Exempt);
        }
        for class in Class::ALL {
            assert_eq!(class.label().parse::<Class>().unwrap(), class);
        }
        assert!("Exempt".parse::<Class>().is_err());
        assert!("".parse::<Reason>().is_err());
    }
}

//! What was decided about a flow: outcome, reason, and the rule and list it rests on.

use std::sync::Arc;

use allowlist::RuleLabel;
use billing_export::{ListVersion, Reason};

/// Which proof made a flow exempt (`basis` in `classify`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Basis {
    /// The name is listed and the destination is among the trusted answers for it.
    NameAndAddress,
    /// The gateway itself resolved and dialled the listed name.
    Steered,
    /// An address rule with protocol and ports.
    AddressRule,
    /// No readable name; the same subscriber's look-up vouches for the address.
    DnsOnly,
}

impl Basis {
    /// The word of the contract.
    pub const fn label(self) -> &'static str {
        match self {
            Self::NameAndAddress => "name_and_address",
            Self::Steered => "steered",
            Self::AddressRule => "address_rule",
            Self::DnsOnly => "dns_only",
        }
    }
}

/// Exempt with its proof, or charged with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every check passed.
    Exempt {
        /// The proof.
        basis: Basis,
        /// The listed service whose line on the bill this is.
        service: Arc<str>,
    },
    /// Billed as usual.
    Charged(Reason),
}

/// A decision, with what it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Exempt or charged.
    pub outcome: Outcome,
    /// `service-id/host-or-prefix` or `deny/host` of the rule that matched, also when charged.
    pub rule: Option<RuleLabel>,
    /// The list that was asked; none when there was no list.
    pub list: Option<ListVersion>,
}

impl Verdict {
    /// `exempt` or `charged`.
    pub const fn class_label(&self) -> &'static str {
        match self.outcome {
            Outcome::Exempt { .. } => "exempt",
            Outcome::Charged(_) => "charged",
        }
    }

    /// The proof, when exempt.
    pub const fn basis(&self) -> Option<Basis> {
        match self.outcome {
            Outcome::Exempt { basis, .. } => Some(basis),
            Outcome::Charged(_) => None,
        }
    }

    /// The reason, when charged.
    pub const fn reason(&self) -> Option<Reason> {
        match self.outcome {
            Outcome::Exempt { .. } => None,
            Outcome::Charged(reason) => Some(reason),
        }
    }
}

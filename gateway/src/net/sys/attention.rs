//! What wants the operator's attention although traffic is carried and judged (decision 29).
//!
//! `/readyz` shows these items beside its reasons and answers 200 all the same; `zrgw_attention{reason}` is 1 while an item
//! with that reason stands. The words are for people; the reasons are for alarms, and their number is fixed.

use serde::Serialize;

/// Why something wants attention: the label of `zrgw_attention`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AttentionReason {
    /// A new list was not taken; the one before stays in force.
    ListNotTaken,
    /// The newest list's previous_sha256 is of an edition this node never had.
    ListChain,
    /// A new subscriber table was not taken; the one before stays.
    SubscribersNotTaken,
    /// The subscriber table has more prefixes than there is room for sessions.
    SessionsFull,
    /// The certificate of DNS over TLS cannot be used.
    DnsCertificate,
    /// Trusted answers, or the share of a rule or a subscriber in them, are full.
    TrustedAnswersFull,
    /// Usage files whose bytes do not add up.
    Conservation,
    /// Counts of the ledger that are in no record and will not be.
    CountsSetAside,
    /// The resolvers give no answers.
    Resolvers,
    /// Rows of the ledger were not as they were written.
    LedgerChanged,
    /// Interfaces of this machine drop packets that the gateway sends.
    EgressDrops,
    /// Nobody can say whether they do.
    EgressUnknown,
    /// The system's clock was set.
    ClockStep,
    /// Subscribers have more open flows than are read.
    FlowsPerSubscriber,
    /// A way out for records fails or stands still; they wait in the ledger.
    SinkBehind,
    /// Billing's word on how far it is cannot be used: records stay in the state.
    ReleaseHeld,
    /// The kernel's programs do not see what passes.
    KernelBlind,
    /// What accounting changes cannot be saved, and nobody is answered.
    RadiusUnsaved,
    /// Nobody hears accounting any more.
    RadiusEnded,
    /// A client of accounting that used to speak is silent.
    RadiusSilent,
    /// Requests in the name of a client were not made with its secret.
    RadiusRefused,
    /// The clock of an access server is not believed.
    RadiusClock,
    /// New clients of accounting were not taken; those before stay.
    RadiusClients,
}

impl AttentionReason {
    /// All of them, for metrics that show what is not there as 0.
    pub const ALL: &[Self] = &[
        Self::ListNotTaken,
        Self::ListChain,
        Self::SubscribersNotTaken,
        Self::SessionsFull,
        Self::DnsCertificate,
        Self::TrustedAnswersFull,
        Self::Conservation,
        Self::CountsSetAside,
        Self::Resolvers,
        Self::LedgerChanged,
        Self::EgressDrops,
        Self::EgressUnknown,
        Self::ClockStep,
        Self::FlowsPerSubscriber,
        Self::SinkBehind,
        Self::ReleaseHeld,
        Self::KernelBlind,
        Self::RadiusUnsaved,
        Self::RadiusEnded,
        Self::RadiusSilent,
        Self::RadiusRefused,
        Self::RadiusClock,
        Self::RadiusClients,
    ];

    /// The label's value.
    pub const fn label(self) -> &'static str {
        match self {
            Self::ListNotTaken => "list_not_taken",
            Self::ListChain => "previous_hash",
            Self::SubscribersNotTaken => "subscribers_not_taken",
            Self::SessionsFull => "sessions_full",
            Self::DnsCertificate => "dns_certificate",
            Self::TrustedAnswersFull => "trusted_answers_full",
            Self::Conservation => "conservation",
            Self::CountsSetAside => "counts_set_aside",
            Self::Resolvers => "resolvers",
            Self::LedgerChanged => "ledger_changed",
            Self::EgressDrops => "egress_drops",
            Self::EgressUnknown => "egress_unknown",
            Self::ClockStep => "clock_step",
            Self::FlowsPerSubscriber => "flows_per_subscriber",
            Self::SinkBehind => "sink_behind",
            Self::ReleaseHeld => "release_held",
            Self::KernelBlind => "kernel_blind",
            Self::RadiusUnsaved => "radius_unsaved",
            Self::RadiusEnded => "radius_ended",
            Self::RadiusSilent => "radius_silent",
            Self::RadiusRefused => "radius_refused",
            Self::RadiusClock => "radius_clock",
            Self::RadiusClients => "radius_clients_not_taken",
        }
    }
}

/// One item: why, and what to do, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct Attention {
    /// Why.
    pub reason: AttentionReason,
    /// What was found and what to do; no subscriber, name or address of theirs.
    pub text: String,
}

impl Attention {
    /// An item.
    pub fn new(reason: AttentionReason, text: impl Into<String>) -> Self {
        Self { reason, text: text.into() }
    }
}

impl From<Attention> for String {
    /// As `/readyz` shows it: the reason's label, a colon, the words.
    fn from(item: Attention) -> Self {
        format!("{}: {}", item.reason.label(), item.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_listed_once_under_its_own_label() {
        let labels: std::collections::HashSet<_> =
            AttentionReason::ALL.iter().map(|reason| reason.label()).collect();
        assert_eq!(labels.len(), AttentionReason::ALL.len());
        let item = Attention::new(AttentionReason::Conservation, "2 files");
        assert_eq!(serde_json::to_string(&item).unwrap(), "\"conservation: 2 files\"");
    }
}

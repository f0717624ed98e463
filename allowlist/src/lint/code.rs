//! Kinds of findings, and how much each weighs.
//!
//! Reports print their words. Operators write the same words into `list.accept_errors`.

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The list must not be published.
    Error,
    /// Probably a mistake.
    Warning,
    /// Worth knowing.
    Note,
}

impl Severity {
    /// The word used in reports.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

/// What kind of finding it is; each kind has one weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// The text is no list document.
    Unreadable,
    /// The text is a list document, but not in the form that is signed.
    NotCanonical,
    /// No service at all.
    EmptyList,
    /// A service without rules.
    EmptyService,
    /// A reason, name or evidence is missing.
    Unexplained,
    /// A rule that is a guess.
    Guess,
    /// The hash of the edition before is missing, or there though it must not be.
    Chain,
    /// A rule that exempts on DNS evidence alone.
    DnsOnly,
    /// The same rule again.
    Duplicate,
    /// Two rules for one host whose dates overlap.
    OverlappingDates,
    /// A rule that a broader one of the same service makes superfluous.
    Shadowed,
    /// One host or prefix in two services.
    TwoServices,
    /// A rule that a deny takes away as a whole: it exempts nothing.
    DeniedRule,
    /// A deny that takes nothing away.
    IdleDeny,
    /// The list is not in force at the time of reading.
    NotInForce,
    /// A rule that is never in force while the list is.
    NeverInForce,
    /// A rule's dates reach past the list's.
    OutsideWindow,
    /// Issued after it takes effect.
    Retroactive,
    /// At or above a public suffix: anybody can register below it.
    PublicSuffix,
    /// The top-level domain is unknown.
    UnknownSuffix,
    /// A host that serves everybody's content.
    SharedHost,
    /// A name that hides other names.
    CoverName,
    /// A label of two scripts.
    MixedScript,
    /// A name that looks like another.
    LookAlike,
    /// An address prefix too wide for one platform.
    WidePrefix,
    /// An address prefix that is not of the public Internet.
    SpecialPrefix,
}

impl Code {
    /// All kinds, in the order of this type.
    pub const ALL: [Code; 26] = [
        Code::Unreadable,
        Code::NotCanonical,
        Code::EmptyList,
        Code::EmptyService,
        Code::Unexplained,
        Code::Guess,
        Code::Chain,
        Code::DnsOnly,
        Code::Duplicate,
        Code::OverlappingDates,
        Code::Shadowed,
        Code::TwoServices,
        Code::DeniedRule,
        Code::IdleDeny,
        Code::NotInForce,
        Code::NeverInForce,
        Code::OutsideWindow,
        Code::Retroactive,
        Code::PublicSuffix,
        Code::UnknownSuffix,
        Code::SharedHost,
        Code::CoverName,
        Code::MixedScript,
        Code::LookAlike,
        Code::WidePrefix,
        Code::SpecialPrefix,
    ];

    /// The kind with this word; an underscore counts as a hyphen.
    #[must_use]
    pub fn from_label(label: &str) -> Option<Code> {
        let label = label.replace('_', "-");
        Code::ALL.into_iter().find(|code| code.label() == label)
    }

    /// Whether an operator may take a list with this finding all the same: an error of a list that can be read.
    #[must_use]
    pub fn is_acceptable(self) -> bool {
        self.severity() == Severity::Error && self != Code::Unreadable
    }

    /// The word used in reports and in a node's `list.accept_errors`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Code::Unreadable => "unreadable",
            Code::NotCanonical => "not-canonical",
            Code::EmptyList => "empty-list",
            Code::EmptyService => "empty-service",
            Code::Unexplained => "unexplained",
            Code::Guess => "guess",
            Code::Chain => "chain",
            Code::DnsOnly => "dns-only",
            Code::Duplicate => "duplicate",
            Code::OverlappingDates => "overlapping-dates",
            Code::Shadowed => "shadowed",
            Code::TwoServices => "two-services",
            Code::DeniedRule => "denied-rule",
            Code::IdleDeny => "idle-deny",
            Code::NotInForce => "not-in-force",
            Code::NeverInForce => "never-in-force",
            Code::OutsideWindow => "outside-window",
            Code::Retroactive => "retroactive",
            Code::PublicSuffix => "public-suffix",
            Code::UnknownSuffix => "unknown-suffix",
            Code::SharedHost => "shared-host",
            Code::CoverName => "cover-name",
            Code::MixedScript => "mixed-script",
            Code::LookAlike => "look-alike",
            Code::WidePrefix => "wide-prefix",
            Code::SpecialPrefix => "special-prefix",
        }
    }

    /// How much findings of this kind weigh. An error is what would exempt strangers, or a list that is none; what merely
    /// exempts too little is a warning, for a node that refused it would go on by the edition before, which exempts more.
    #[must_use]
    pub const fn severity(self) -> Severity {
        match self {
            Code::Unreadable
            | Code::EmptyList
            | Code::PublicSuffix
            | Code::SharedHost
            | Code::CoverName
            | Code::MixedScript
            | Code::LookAlike
            | Code::WidePrefix => Severity::Error,
            Code::NotCanonical
            | Code::EmptyService
            | Code::Unexplained
            | Code::Chain
            | Code::Duplicate
            | Code::OverlappingDates
            | Code::Shadowed
            | Code::TwoServices
            | Code::DeniedRule
            | Code::IdleDeny
            | Code::NotInForce
            | Code::NeverInForce
            | Code::Retroactive
            | Code::UnknownSuffix
            | Code::SpecialPrefix => Severity::Warning,
            Code::Guess | Code::DnsOnly | Code::OutsideWindow => Severity::Note,
        }
    }
}

//! What hellos and requests come to, whatever carried them: a name, or the reason for none.

use allowlist::{DomainName, NameError};
use billing_export::Reason;

use super::{Identity, SeenIn};
use crate::wire::tls;

/// The identity of a flow as it becomes known. No `Debug`: it holds what a subscriber sent.
#[derive(Default)]
pub(super) struct Naming {
    /// What is known.
    identity: Option<Identity>,
}

impl Naming {
    /// What is known.
    pub(super) fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Takes a hello, the first or a later one; `false` when the flow is settled by it.
    pub(super) fn hello(&mut self, facts: tls::Facts<'_>, seen_in: SeenIn) -> bool {
        let name = host_name(facts.name);
        let Some(first) = &self.identity else {
            let known = name.is_ok();
            self.settle(name, seen_in, facts.ech);
            return known;
        };
        // A second hello must repeat the first one's name (RFC 8446 §4.1.2); also one without a name does not.
        let same = name.is_ok_and(|name| first.name.as_ref() == Some(&name));
        if !same {
            self.give_up(Reason::SecondName);
        }
        same
    }

    /// Sets the name, or the reason for none.
    pub(super) fn settle(
        &mut self,
        name: Result<DomainName, Reason>,
        seen_in: SeenIn,
        ech: Option<tls::Ech>,
    ) {
        self.identity = Some(match name {
            Ok(name) => Identity { name: Some(name), seen_in: Some(seen_in), gave_up: None, ech },
            Err(reason) => Identity { name: None, seen_in: None, gave_up: Some(reason), ech },
        });
    }

    /// Notes why the name is missing or does not hold; one that is known is kept beside it.
    pub(super) fn give_up(&mut self, reason: Reason) {
        match &mut self.identity {
            Some(identity) => identity.gave_up = Some(reason),
            None => self.identity = Some(Identity::nameless(reason)),
        }
    }
}

/// Raw name bytes as a host name; none and an address literal are no name, anything else is unclear.
pub(super) fn host_name(bytes: Option<&[u8]>) -> Result<DomainName, Reason> {
    let Some(bytes) = bytes else { return Err(Reason::NoName) };
    DomainName::from_wire(bytes).map_err(|error| match error {
        NameError::IpLiteral => Reason::NoName,
        NameError::Empty
        | NameError::TooLong
        | NameError::EmptyLabel
        | NameError::LabelTooLong
        | NameError::NotAscii
        | NameError::ForbiddenCharacter
        | NameError::HyphenAtEdge
        | NameError::NumericLastLabel
        | NameError::Wildcard
        | NameError::PageAddress
        | NameError::NotIdna => Reason::Ambiguous,
    })
}

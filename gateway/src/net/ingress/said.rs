//! What a balancer says of the subscriber in a PROXY header, beside his address: a TLV of a type that the operator states.

use billing_export::Session;

use crate::flow::session::Introduction;
use crate::net::radius::type_of;
use crate::wire::proxy_protocol::{Header, Tlv, tlv};
use crate::wire::radius::SubscriberKind;

/// What a header says of the subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Said<'a> {
    /// Nothing.
    Nothing,
    /// Who it is, in the words of the TLV.
    Value(&'a [u8]),
    /// Something that nobody can understand.
    Unclear,
}

impl<'a> Said<'a> {
    /// What a header at the front of `bytes` says in TLVs of this type, where one is stated.
    pub fn of(bytes: &'a [u8], header: &Header, kind: Option<u8>) -> Self {
        match kind.map_or(Tlv::Absent, |kind| tlv(bytes, header, kind)) {
            Tlv::Absent => Self::Nothing,
            Tlv::Value(value) => Self::Value(value),
            Tlv::Repeated => Self::Unclear,
        }
    }

    /// Whose the flow is by it. A value that names nobody leaves the flow to nobody: whoever has the address is not meant.
    pub fn introduction(self) -> Introduction {
        let value = match self {
            Self::Nothing => return Introduction::Nothing,
            Self::Value(value) => value,
            Self::Unclear => return Introduction::Nobody,
        };
        let named = SubscriberKind::named(value);
        let session = named.and_then(|(kind, id)| Session::new(type_of(kind), id, "").ok());
        session.map_or(Introduction::Nobody, Introduction::Session)
    }
}

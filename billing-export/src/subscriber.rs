//! Who the bytes are counted for: one session of one subscriber (decision 15).
//!
//! Counters belong to a session, never to an address. Ids are personal data: `Debug` does not print them. Pure.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::UnknownLabel;

/// Longest subscriber or session id in bytes (RFC 2866 §5: an attribute's value has at most 253).
pub const ID_LEN_MAX: usize = 253;

/// What kind of number or name identifies the subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SubscriberType {
    /// Telephone number.
    Msisdn,
    /// SIM identity.
    Imsi,
    /// Account of a fixed or enterprise customer.
    Account,
    /// Nobody is known.
    None,
}

impl SubscriberType {
    /// All types.
    pub const ALL: [SubscriberType; 4] =
        [SubscriberType::Msisdn, SubscriberType::Imsi, SubscriberType::Account, SubscriberType::None];

    /// The word used in files.
    pub fn label(self) -> &'static str {
        match self {
            SubscriberType::Msisdn => "msisdn",
            SubscriberType::Imsi => "imsi",
            SubscriberType::Account => "account",
            SubscriberType::None => "none",
        }
    }
}

impl FromStr for SubscriberType {
    type Err = UnknownLabel;

    fn from_str(text: &str) -> Result<SubscriberType, UnknownLabel> {
        SubscriberType::ALL
            .into_iter()
            .find(|kind| kind.label() == text)
            .ok_or_else(|| UnknownLabel::new("subscriber_type", text, "msisdn, imsi, account or none"))
    }
}

/// One session of one subscriber. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Session(Arc<Parts>);

/// What a session is made of.
#[derive(PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Parts {
    /// Kind of the subscriber id.
    kind: SubscriberType,
    /// The subscriber id; empty for nobody.
    subscriber_id: Box<str>,
    /// The session id; empty where the subscriber has no sessions (static table).
    session_id: Box<str>,
}

impl Session {
    /// A session from its parts.
    ///
    /// # Errors
    /// A known subscriber has an id and nobody has neither id nor session; ids are at most [`ID_LEN_MAX`] bytes
    /// without control characters.
    pub fn new(kind: SubscriberType, subscriber_id: &str, session_id: &str) -> Result<Session, SessionError> {
        for id in [subscriber_id, session_id] {
            if id.len() > ID_LEN_MAX {
                return Err(SessionError::TooLong(id.len()));
            }
            if id.chars().any(char::is_control) {
                return Err(SessionError::ControlCharacter);
            }
        }
        let nobody = kind == SubscriberType::None;
        if nobody && !(subscriber_id.is_empty() && session_id.is_empty()) {
            return Err(SessionError::IdOfNobody);
        }
        if !nobody && subscriber_id.is_empty() {
            return Err(SessionError::NoId);
        }
        Ok(Session(Arc::new(Parts {
            kind,
            subscriber_id: subscriber_id.into(),
            session_id: session_id.into(),
        })))
    }

    /// The session of bytes for which no subscriber is known.
    pub fn none() -> Session {
        Session(Arc::new(Parts {
            kind: SubscriberType::None,
            subscriber_id: Box::default(),
            session_id: Box::default(),
        }))
    }

    /// Kind of the subscriber id.
    pub fn subscriber_type(&self) -> SubscriberType {
        self.0.kind
    }

    /// The subscriber id, empty for nobody. Personal data: for usage records only.
    pub fn subscriber_id(&self) -> &str {
        &self.0.subscriber_id
    }

    /// The session id, empty where there are no sessions. For usage records only.
    pub fn session_id(&self) -> &str {
        &self.0.session_id
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({}, redacted)", self.0.kind.label())
    }
}

/// Why a session cannot be made of its parts. The ids themselves are not repeated: they are personal data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// A known subscriber without an id.
    #[error("found an empty subscriber id, wanted one: only type none has none")]
    NoId,
    /// Nobody, with an id.
    #[error("found an id with subscriber type none, wanted msisdn, imsi or account")]
    IdOfNobody,
    /// An id over the limit; its length in bytes.
    #[error("found an id of {0} bytes, wanted at most {ID_LEN_MAX} (RFC 2866 §5)")]
    TooLong(usize),
    /// A line end, tab or the like.
    #[error("found a control character in an id, wanted printable text")]
    ControlCharacter,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_checked_and_never_shown() {
        let kind = SubscriberType::Msisdn;
        assert_eq!(Session::new(kind, "", ""), Err(SessionError::NoId));
        assert_eq!(Session::new(SubscriberType::None, "7", ""), Err(SessionError::IdOfNobody));
        assert!(Session::new(kind, &"7".repeat(253), "").is_ok());
        assert_eq!(Session::new(kind, &"7".repeat(254), ""), Err(SessionError::TooLong(254)));
        assert_eq!(Session::new(kind, "7\n", ""), Err(SessionError::ControlCharacter));
        let session = Session::new(kind, "77010000001", "s-1").unwrap();
        assert!(!format!("{session:?}").contains("7701"));
        assert_eq!(Session::new(SubscriberType::None, "", "").unwrap(), Session::none());
        for kind in SubscriberType::ALL {
            assert_eq!(kind.label().parse::<SubscriberType>().unwrap(), kind);
        }
    }
}

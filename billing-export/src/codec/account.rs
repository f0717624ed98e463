//! An account in words and back: the one place that knows which words an account has. Usage files, the tables of the
//! ledger, the checks of its rows and the words between two processes all go through it. Pure.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::account::{Account, Entry, ListVersion};
use crate::class::Class;
use crate::subscriber::Session;

/// Longest value repeated in a message, in characters.
pub(super) const FOUND_LEN_MAX: usize = 64;

/// What is wrong with one value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// The column's name.
    pub column: &'static str,
    /// The value, cut to a readable length; personal data is left out.
    pub found: String,
    /// What would have been right.
    pub wanted: String,
}

impl FieldError {
    /// The error for a value of a column.
    pub(super) fn new(column: &'static str, found: &str, wanted: impl Into<String>) -> FieldError {
        let personal = matches!(column, "subscriber_id" | "session_id");
        let found = if personal { "(not shown)".into() } else { found.chars().take(FOUND_LEN_MAX).collect() };
        FieldError { column, found, wanted: wanted.into() }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: found {:?}, wanted {}", self.column, self.found, self.wanted)
    }
}

impl std::error::Error for FieldError {}

/// An account in the words of its columns; what its class does not have is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AccountWords<'a> {
    /// Kind of the subscriber id.
    pub subscriber_type: &'a str,
    /// The subscriber id; empty for nobody.
    pub subscriber_id: &'a str,
    /// The session id; empty where there are no sessions.
    pub session_id: &'a str,
    /// The list's id.
    pub list_id: Option<&'a str>,
    /// The list's serial.
    pub list_serial: Option<u64>,
    /// The class.
    pub class: &'a str,
    /// The reason, unless exempt.
    pub reason: Option<&'a str>,
    /// The list's service, if exempt.
    pub service_id: Option<&'a str>,
    /// The core's rating group, if exempt.
    pub rating_group: Option<u32>,
    /// Who exempts it, if exempt.
    pub disposition: Option<&'a str>,
}

impl<'a> AccountWords<'a> {
    /// The words of an account.
    pub fn of(account: &'a Account) -> AccountWords<'a> {
        let Account { session, list, entry } = account;
        let (service_id, rating_group, disposition) = match entry {
            Entry::Exempt { service, rating_group, disposition } => {
                (Some(&**service), Some(*rating_group), Some(disposition.label()))
            }
            Entry::Charged(_) | Entry::Unattributed(_) => (None, None, None),
        };
        AccountWords {
            subscriber_type: session.subscriber_type().label(),
            subscriber_id: session.subscriber_id(),
            session_id: session.session_id(),
            list_id: list.as_ref().map(|list| &*list.id),
            list_serial: list.as_ref().map(|list| list.serial),
            class: entry.class().label(),
            reason: entry.reason().map(|reason| reason.label()),
            service_id,
            rating_group,
            disposition,
        }
    }

    /// The account of these words.
    ///
    /// # Errors
    /// The first word that is not of its vocabulary, or does not go with the class.
    pub fn account(&self) -> Result<Account, FieldError> {
        let session =
            Session::new(word("subscriber_type", self.subscriber_type)?, self.subscriber_id, self.session_id)
                .map_err(|error| FieldError::new("subscriber_id", "", wanted_of(&error.to_string())))?;
        let list = match (self.list_id, self.list_serial) {
            (None, None) => None,
            (Some(id), Some(serial)) => Some(ListVersion { id: text("list_id", id)?, serial }),
            (Some(_), None) => return Err(FieldError::new("list_serial", "", "the serial of the list")),
            (None, Some(_)) => return Err(FieldError::new("list_id", "", "the id of the list")),
        };
        let entry = match word("class", self.class)? {
            Class::Exempt => self.exempt()?,
            Class::Charged => Entry::Charged(self.reason()?),
            Class::Unattributed => Entry::Unattributed(self.reason()?),
        };
        Ok(Account { session, list, entry })
    }

    /// The entry of an exempt account.
    fn exempt(&self) -> Result<Entry, FieldError> {
        absent("reason", self.reason, "nothing in an exempt row")?;
        let group = self.rating_group;
        Ok(Entry::Exempt {
            service: text("service_id", self.service_id.unwrap_or(""))?,
            rating_group: group.ok_or_else(|| FieldError::new("rating_group", "", "a number"))?,
            disposition: word("disposition", self.disposition.unwrap_or(""))?,
        })
    }

    /// The reason of an account that is not exempt.
    fn reason<T: FromStr<Err: fmt::Display>>(&self) -> Result<T, FieldError> {
        const WANTED: &str = "nothing in a row that is not exempt";
        absent("service_id", self.service_id, WANTED)?;
        absent("disposition", self.disposition, WANTED)?;
        absent("rating_group", self.rating_group.map(|_| "a number"), WANTED)?;
        word("reason", self.reason.unwrap_or(""))
    }
}

/// A value of a vocabulary.
pub(super) fn word<T: FromStr<Err: fmt::Display>>(
    column: &'static str,
    found: &str,
) -> Result<T, FieldError> {
    found.parse().map_err(|error: T::Err| FieldError::new(column, found, wanted_of(&error.to_string())))
}

/// Text that must be there.
fn text(column: &'static str, found: &str) -> Result<Arc<str>, FieldError> {
    if found.is_empty() || found.chars().any(char::is_control) {
        return Err(FieldError::new(column, found, "text without control characters"));
    }
    Ok(found.into())
}

/// A value that must not be there.
fn absent(column: &'static str, found: Option<&str>, wanted: &str) -> Result<(), FieldError> {
    found.map_or(Ok(()), |found| Err(FieldError::new(column, found, wanted)))
}

/// The part of a vocabulary's message that says what was wanted.
fn wanted_of(message: &str) -> String {
    message.rsplit_once("wanted ").map_or(message, |(_, wanted)| wanted).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::Reason;
    use crate::subscriber::SubscriberType;
    use crate::unit::Disposition;

    /// An exempt account.
    fn exempt() -> Account {
        let session = Session::new(SubscriberType::Msisdn, "77010000001", "s-1").unwrap();
        let entry =
            Entry::Exempt { service: "study".into(), rating_group: 9, disposition: Disposition::Tagged };
        Account { session, list: Some(ListVersion { id: "kz".into(), serial: u64::MAX }), entry }
    }

    #[test]
    fn every_account_reads_back_as_it_was() {
        let nobody = |reason| Account { session: Session::none(), list: None, entry: Entry::because(reason) };
        for account in Reason::ALL.map(nobody).into_iter().chain([exempt()]) {
            assert_eq!(AccountWords::of(&account).account().unwrap(), account);
        }
    }

    #[test]
    fn words_that_do_not_go_together_are_refused_by_the_name_of_their_column() {
        let exempt = exempt();
        let good = AccountWords::of(&exempt);
        let charged = AccountWords {
            class: "charged",
            reason: Some("port"),
            service_id: None,
            rating_group: None,
            disposition: None,
            ..good
        };
        assert!(charged.account().is_ok());
        for (bad, column) in [
            (AccountWords { subscriber_type: "pager", ..good }, "subscriber_type"),
            (AccountWords { subscriber_id: "", ..good }, "subscriber_id"),
            (AccountWords { list_id: None, ..good }, "list_id"),
            (AccountWords { list_serial: None, ..good }, "list_serial"),
            (AccountWords { class: "free", ..good }, "class"),
            (AccountWords { reason: Some("port"), ..good }, "reason"),
            (AccountWords { service_id: None, ..good }, "service_id"),
            (AccountWords { service_id: Some("a\nb"), ..good }, "service_id"),
            (AccountWords { rating_group: None, ..good }, "rating_group"),
            (AccountWords { disposition: None, ..good }, "disposition"),
            (AccountWords { reason: None, ..charged }, "reason"),
            (AccountWords { reason: Some("because"), ..charged }, "reason"),
            (AccountWords { service_id: Some("study"), ..charged }, "service_id"),
            (AccountWords { rating_group: Some(1), ..charged }, "rating_group"),
            (AccountWords { disposition: Some("tagged"), ..charged }, "disposition"),
        ] {
            assert_eq!(bad.account().unwrap_err().column, column);
        }
        let error = AccountWords { subscriber_type: "none", ..good }.account().unwrap_err();
        assert!(!error.to_string().contains("7701"), "{error}");
    }
}

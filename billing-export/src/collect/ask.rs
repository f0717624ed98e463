//! Questions to the ledger: one subscriber's day, and a comparison with what the operator counted. They change nothing.

use jiff::Timestamp;
use jiff::civil::Date;

use super::config::Config;
use super::ledger::Ledger;
use super::reconcile::{Claim, Counted};
use super::{CollectError, read_password};
use crate::statement::{Ambiguous, Day, Statement};
use crate::subscriber::SubscriberType;
use crate::totals::{By, Totals};

/// A connection for questions.
pub struct Questions {
    config: Config,
    ledger: Ledger,
}

impl Questions {
    /// Connects to the ledger, whose tables must be there.
    ///
    /// # Errors
    /// The ledger cannot be reached, or is not what the configuration says.
    pub fn connect(config: Config) -> Result<Questions, CollectError> {
        let password = config.ledger.password_file.as_deref().map(read_password).transpose()?;
        let ledger = Ledger::open_to_ask(&config.ledger, password.as_deref())?;
        Ok(Questions { config, ledger })
    }

    /// The statement of a subscriber's day in the ledger's zone; none where nothing is known of him on that day.
    ///
    /// # Errors
    /// The ledger cannot be reached; a day at which the calendar ends. Within: several subscribers have the id.
    pub fn statement(
        &mut self,
        date: Date,
        id: &str,
        kind: Option<SubscriberType>,
    ) -> Result<Result<Option<Statement>, Ambiguous>, CollectError> {
        let zone = self.config.ledger.zone.clone();
        let day = Day::new(date, zone).ok_or_else(|| {
            CollectError::Config(format!("--day: found {date}, wanted one within the calendar"))
        })?;
        let limits = self.config.allowance.as_ref().map(|allowance| allowance.limits()).unwrap_or_default();
        Ok(self.ledger.statement(&day, &self.config.ledger.zone_name, id, kind, &limits)?)
    }

    /// The sums of all totals, days in the ledger's zone.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    pub fn totals(&mut self, by: By) -> Result<Totals, CollectError> {
        Ok(Totals { sums: self.ledger.sums(by)?, ..Totals::default() })
    }

    /// What the ledger counted for a claim of the operator's.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    pub fn counted(&mut self, claim: &Claim) -> Result<Counted, CollectError> {
        let day = |at: Timestamp| self.config.ledger.zone.to_datetime(at).date();
        let days = (day(claim.start), day(claim.end));
        Ok(self.ledger.counted(claim, days)?)
    }
}

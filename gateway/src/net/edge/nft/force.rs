//! Puts the rules in force and takes them back, and renews the dead man's set.

use super::run::{ip, nft};
use super::{NftError, Plan, milliseconds};

/// What `ip` says of a rule that is there already.
const THERE_ALREADY: &str = "File exists";

impl Plan {
    /// Puts table and routing in force; what was there of an earlier time is replaced.
    ///
    /// # Errors
    /// What `nft` or `ip` says; then everything is as it was.
    pub fn apply(&self) -> Result<(), NftError> {
        let ruleset = self.ruleset();
        // First as a whole and without effect, so that a kernel that cannot leaves everything as it was.
        nft(&["--check", "-f", "-"], &ruleset)?;
        let mut added = Vec::new();
        let routed = self.routing().into_iter().try_for_each(|command| match ip(&command) {
            Ok(()) => {
                added.push(command);
                Ok(())
            }
            Err(NftError::Refused { said, .. }) if said.contains(THERE_ALREADY) => Ok(()),
            Err(error) => Err(error),
        });
        routed.and_then(|()| nft(&["-f", "-"], &ruleset)).inspect_err(|_| {
            for command in added.iter().rev() {
                // There is nothing to tell beside the fault itself.
                let _ = ip(&command.replacen(" add ", " del ", 1));
            }
        })
    }

    /// Takes table and routing back; what is not there is no fault.
    ///
    /// # Errors
    /// What `nft` says.
    pub fn remove(&self) -> Result<(), NftError> {
        let table = &self.table;
        nft(&["-f", "-"], &format!("table inet {table} {{}}\ndelete table inet {table}\n"))?;
        self.unroute();
        Ok(())
    }

    /// Renews the dead man's set: flows of these transports come to us for `alive_timeout` from here on.
    ///
    /// # Errors
    /// What `nft` says; without the table that there is none.
    pub fn renew(&self) -> Result<(), NftError> {
        let table = &self.table;
        let timeout = milliseconds(self.alive_timeout);
        // Taken out and put in again in one transaction: before Linux 6.12 an element that is there keeps its old time.
        nft(
            &["-f", "-"],
            &format!(
                "add element inet {table} alive {{ tcp, udp }}\n\
                 delete element inet {table} alive {{ tcp, udp }}\n\
                 add element inet {table} alive {{ tcp timeout {timeout}, udp timeout {timeout} }}\n"
            ),
        )
    }

    /// Empties it: new flows pass by at once.
    ///
    /// # Errors
    /// As [`Plan::renew`].
    pub fn stand_aside(&self) -> Result<(), NftError> {
        nft(&["flush", "set", "inet", &self.table, "alive"], "")
    }
}

//! Remarks on the quality of a record, and the one form in which a set of them is written.

use std::fmt;
use std::str::FromStr;

use crate::error::UnknownLabel;

/// One remark on the quality of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Flag {
    /// The clock was set while the bytes were counted; the times of the record are clamped.
    ClockStep,
    /// Counted before an unclean stop; up to one checkpoint's worth may be missing.
    Recovered,
    /// The address was tied to the subscriber by old evidence.
    StaleBinding,
    /// The end of the session was never reported; the next one on the address ended it.
    StopLost,
    /// Charged, but the core's one-address rule lets it pass free (steered mode).
    FreeInCore,
    /// More may have passed than was counted: the node's own interface dropped packets, or acknowledgements on a link that
    /// loses packets carried options that the kernel does not count. Less cannot have.
    LowerBound,
}

impl Flag {
    /// All flags in the order of the file.
    pub const ALL: [Flag; 6] = [
        Flag::ClockStep,
        Flag::Recovered,
        Flag::StaleBinding,
        Flag::StopLost,
        Flag::FreeInCore,
        Flag::LowerBound,
    ];

    /// The word used in files.
    pub fn label(self) -> &'static str {
        match self {
            Flag::ClockStep => "clock_step",
            Flag::Recovered => "recovered",
            Flag::StaleBinding => "stale_binding",
            Flag::StopLost => "stop_lost",
            Flag::FreeInCore => "free_in_core",
            Flag::LowerBound => "lower_bound",
        }
    }

    /// The flag's place in the set.
    fn bit(self) -> u8 {
        match self {
            Flag::ClockStep => 1,
            Flag::Recovered => 2,
            Flag::StaleBinding => 4,
            Flag::StopLost => 8,
            Flag::FreeInCore => 16,
            Flag::LowerBound => 32,
        }
    }
}

/// A set of [`Flag`]s; written as labels joined by `;` in the order of [`Flag::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Flags(u8);

impl Flags {
    /// The empty set.
    pub const NONE: Flags = Flags(0);

    /// This set and one flag more.
    #[must_use]
    pub fn with(self, flag: Flag) -> Flags {
        Flags(self.0 | flag.bit())
    }

    /// What is in either set.
    #[must_use]
    pub fn union(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Whether the flag is in the set.
    pub fn contains(self, flag: Flag) -> bool {
        self.0 & flag.bit() != 0
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl From<Flag> for Flags {
    fn from(flag: Flag) -> Flags {
        Flags::NONE.with(flag)
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for flag in Flag::ALL.into_iter().filter(|flag| self.contains(*flag)) {
            if !first {
                f.write_str(";")?;
            }
            first = false;
            f.write_str(flag.label())?;
        }
        Ok(())
    }
}

impl FromStr for Flags {
    type Err = UnknownLabel;

    /// Accepts the one written form only: every flag once, in order.
    fn from_str(text: &str) -> Result<Flags, UnknownLabel> {
        const WANTED: &str = "clock_step, recovered, stale_binding, stop_lost, free_in_core, lower_bound in this order, \
                              joined by ';'";
        let mut flags = Flags::NONE;
        for word in text.split(';').filter(|_| !text.is_empty()) {
            let flag = Flag::ALL.into_iter().find(|flag| flag.label() == word);
            flags = flags.with(flag.ok_or_else(|| UnknownLabel::new("flags", text, WANTED))?);
        }
        if flags.to_string() != text {
            return Err(UnknownLabel::new("flags", text, WANTED));
        }
        Ok(flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_flag_sets_read_back_and_disorder_is_refused() {
        for bits in 0..1 << Flag::ALL.len() {
            let flags = Flags(bits);
            assert_eq!(flags.to_string().parse::<Flags>().unwrap(), flags);
        }
        for text in ["recovered;clock_step", "recovered;recovered", ";", "recovered;", "Recovered", " "] {
            assert!(text.parse::<Flags>().is_err(), "{text:?}");
        }
    }
}

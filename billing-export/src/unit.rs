//! The small words of a usage record: node, volume, byte basis, disposition, cause, flags.
//!
//! Each is one type with one constructor; labels are those of the usage file. Pure.

use std::fmt;
use std::str::FromStr;

use crate::error::UnknownLabel;

/// Longest node id (the file name carries it).
const NODE_ID_LEN_MAX: usize = 32;

/// The name of one gateway: `[a-z0-9-]{1,32}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(Box<str>);

impl NodeId {
    /// The text of the id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for NodeId {
    type Err = UnknownLabel;

    fn from_str(text: &str) -> Result<NodeId, UnknownLabel> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if text.is_empty() || text.len() > NODE_ID_LEN_MAX || !text.bytes().all(plain) {
            return Err(UnknownLabel::new("node id", text, "1 to 32 of the characters a-z, 0-9 and '-'"));
        }
        Ok(NodeId(text.into()))
    }
}

/// Bytes in both directions, seen from the subscriber: `up` to the Internet, `down` from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Volume {
    /// Bytes from the subscriber.
    pub up: u64,
    /// Bytes to the subscriber.
    pub down: u64,
}

impl Volume {
    /// No bytes.
    pub const ZERO: Volume = Volume { up: 0, down: 0 };

    /// Both directions added; `None` when one does not fit 64 bits.
    #[must_use]
    pub fn checked_add(self, other: Volume) -> Option<Volume> {
        Some(Volume { up: self.up.checked_add(other.up)?, down: self.down.checked_add(other.down)? })
    }

    /// Both directions subtracted; `None` when one would be negative.
    #[must_use]
    pub fn checked_sub(self, other: Volume) -> Option<Volume> {
        Some(Volume { up: self.up.checked_sub(other.up)?, down: self.down.checked_sub(other.down)? })
    }

    /// Whether neither direction carried anything.
    pub fn is_zero(self) -> bool {
        self == Volume::ZERO
    }
}

/// What the byte counts of a file count (decision 13).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ByteBasis {
    /// IP packets with their headers, as the operator's meter sees them.
    Ip,
    /// Bytes of the transport's payload.
    Payload,
}

impl ByteBasis {
    /// Both bases.
    pub const ALL: [ByteBasis; 2] = [ByteBasis::Ip, ByteBasis::Payload];

    /// The word used in files.
    pub fn label(self) -> &'static str {
        match self {
            ByteBasis::Ip => "ip",
            ByteBasis::Payload => "payload",
        }
    }
}

impl FromStr for ByteBasis {
    type Err = UnknownLabel;

    fn from_str(text: &str) -> Result<ByteBasis, UnknownLabel> {
        ByteBasis::ALL
            .into_iter()
            .find(|basis| basis.label() == text)
            .ok_or_else(|| UnknownLabel::new("byte_basis", text, "ip or payload"))
    }
}

/// Who exempts the bytes of a rating group (decision 14).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Disposition {
    /// The core zero-rates them already, by our mark.
    Tagged,
    /// Billing subtracts our count.
    Reported,
    /// Counted, exempted by nobody.
    Observed,
}

impl Disposition {
    /// All dispositions.
    pub const ALL: [Disposition; 3] = [Disposition::Tagged, Disposition::Reported, Disposition::Observed];

    /// The word used in files and configuration.
    pub fn label(self) -> &'static str {
        match self {
            Disposition::Tagged => "tagged",
            Disposition::Reported => "reported",
            Disposition::Observed => "observed",
        }
    }
}

impl FromStr for Disposition {
    type Err = UnknownLabel;

    fn from_str(text: &str) -> Result<Disposition, UnknownLabel> {
        Disposition::ALL
            .into_iter()
            .find(|disposition| disposition.label() == text)
            .ok_or_else(|| UnknownLabel::new("disposition", text, "tagged, reported or observed"))
    }
}

/// Why a record was closed when it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// The period ended.
    Period,
    /// The subscriber's session ended.
    SessionEnd,
    /// Another list version came into force.
    ListChange,
    /// An allowance was used up.
    Cap,
    /// A volume limit was reached.
    Volume,
    /// The gateway stopped.
    Shutdown,
    /// Closed at a start, for the run before had not closed it.
    Recovered,
}

impl Cause {
    /// All causes.
    pub const ALL: [Cause; 7] = [
        Cause::Period,
        Cause::SessionEnd,
        Cause::ListChange,
        Cause::Cap,
        Cause::Volume,
        Cause::Shutdown,
        Cause::Recovered,
    ];

    /// The word used in files.
    pub fn label(self) -> &'static str {
        match self {
            Cause::Period => "period",
            Cause::SessionEnd => "session_end",
            Cause::ListChange => "list_change",
            Cause::Cap => "cap",
            Cause::Volume => "volume",
            Cause::Shutdown => "shutdown",
            Cause::Recovered => "recovered",
        }
    }
}

impl FromStr for Cause {
    type Err = UnknownLabel;

    fn from_str(text: &str) -> Result<Cause, UnknownLabel> {
        Cause::ALL.into_iter().find(|cause| cause.label() == text).ok_or_else(|| {
            UnknownLabel::new(
                "cause",
                text,
                "period, session_end, list_change, cap, volume, shutdown or recovered",
            )
        })
    }
}

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
    fn labels_read_back() {
        for basis in ByteBasis::ALL {
            assert_eq!(basis.label().parse::<ByteBasis>().unwrap(), basis);
        }
        for disposition in Disposition::ALL {
            assert_eq!(disposition.label().parse::<Disposition>().unwrap(), disposition);
        }
        for cause in Cause::ALL {
            assert_eq!(cause.label().parse::<Cause>().unwrap(), cause);
        }
    }

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

    #[test]
    fn node_ids_at_the_limit_and_one_over() {
        assert!("a".repeat(32).parse::<NodeId>().is_ok());
        for text in ["", &"a".repeat(33), "Node", "a_b", "a/b", "ä"] {
            assert!(text.parse::<NodeId>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn volumes_never_wrap() {
        let most = Volume { up: u64::MAX, down: 0 };
        assert_eq!(most.checked_add(Volume { up: 1, down: 0 }), None);
        assert_eq!(Volume::ZERO.checked_sub(Volume { up: 0, down: 1 }), None);
        assert_eq!(most.checked_sub(most), Some(Volume::ZERO));
    }
}

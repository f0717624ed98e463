//! The small words of a usage record: node, volume, byte basis, disposition, cause, flags.
//!
//! Each is one type with one constructor; labels are those of the usage file. Pure.

mod flags;
mod node_id;
mod volume;

use std::str::FromStr;

use crate::error::UnknownLabel;

pub use flags::{Flag, Flags};
pub use node_id::NodeId;
pub use volume::Volume;

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
}

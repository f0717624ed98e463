//! Corrections of sealed records: what is asked for, what was made of it, and why one is refused. Pure.
//!
//! A sealed record is never changed. A correction is a record of its own (`kind` `adjust`) that names the one it corrects, a
//! usage record or another correction, and carries the difference with its sign. Where the references end stands a usage
//! record; with all that corrects it, it is never below nothing in a direction.

use crate::record::{Change, Reference};
use crate::unit::NodeId;

/// Longest note in bytes.
pub const NOTE_LEN_MAX: usize = 1_000;

/// How far a record is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// By so many bytes upward and downward.
    By(Change, Change),
    /// It never should have been: with what corrects it already, it comes to nothing.
    Void,
}

/// A correction that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Correction {
    reference: Reference,
    amount: Amount,
    note: String,
}

impl Correction {
    /// A correction of a record of this node. `note` says why, to whoever looks into the state; it is in no file.
    ///
    /// # Errors
    /// A note that is empty, longer than [`NOTE_LEN_MAX`] bytes or with control characters.
    pub fn new(reference: Reference, amount: Amount, note: &str) -> Result<Correction, Refusal> {
        if note.is_empty() || note.len() > NOTE_LEN_MAX || note.chars().any(char::is_control) {
            return Err(Refusal::Note(note.len()));
        }
        Ok(Correction { reference, amount, note: note.to_owned() })
    }

    /// The record to correct.
    pub fn reference(&self) -> Reference {
        self.reference
    }

    /// How far it is off.
    pub fn amount(&self) -> Amount {
        self.amount
    }

    /// Why.
    pub fn note(&self) -> &str {
        &self.note
    }
}

/// A correction that was sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adjusted {
    /// The gateway.
    pub node_id: NodeId,
    /// Epoch of the correction's own record.
    pub epoch: u32,
    /// Number of the correction's own record.
    pub seq: u64,
    /// The record it corrects.
    pub reference: Reference,
    /// Bytes upward.
    pub up: Change,
    /// Bytes downward.
    pub down: Change,
}

/// Why a correction is not made. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nothing to correct.
    #[error(
        "epoch {}, record_seq {}: found no usage or adjust record, wanted one of this node's. Look for its epoch and \
         record_seq in the usage file",
        .0.epoch, .0.seq
    )]
    NoSuchRecord(Reference),
    /// The record has left the state.
    #[error(
        "epoch {}, record_seq {}: found that the record has left the state, wanted one that is in it. What is older than \
         export.retention is corrected in billing",
        .0.epoch, .0.seq
    )]
    Released(Reference),
    /// More would be taken away than there is.
    #[error(
        "epoch {}, record_seq {}: found that {up} bytes up and {down} down would be left of the usage record with all its \
         corrections, wanted 0 or more. Give less, or --void",
        .usage.epoch, .usage.seq
    )]
    BelowZero {
        /// The usage record.
        usage: Reference,
        /// What would be left upward.
        up: i128,
        /// What would be left downward.
        down: i128,
    },
    /// More than a record can say.
    #[error("found bytes beyond 2^63-1, wanted at most that many with all corrections together")]
    TooLarge,
    /// It would say nothing.
    #[error(
        "found 0 bytes to correct in both directions, wanted a difference. What corrects the record already is counted"
    )]
    Nothing,
    /// A note that cannot be kept.
    #[error("--note: found {0} bytes, wanted 1 to {NOTE_LEN_MAX} of text without control characters")]
    Note(usize),
    /// What a request says cannot be read.
    #[error("{0}")]
    Unreadable(String),
}

/// Bytes upward and downward, with all corrections.
pub(crate) type Net = (i128, i128);

/// The bytes of a correction. `of_usage` is what the usage record at the end of the references comes to by now, `of_record`
/// what the record to correct does with what refers to it: the same where that is the usage record.
pub(crate) fn difference(
    amount: Amount,
    usage: Reference,
    of_usage: Net,
    of_record: Net,
) -> Result<(Change, Change), Refusal> {
    let (up, down) = match amount {
        Amount::By(up, down) => (up, down),
        Amount::Void => {
            let opposite = |bytes: i128| bytes.checked_neg().and_then(Change::new);
            let (up, down) = of_record;
            opposite(up).zip(opposite(down)).ok_or(Refusal::TooLarge)?
        }
    };
    if (up.bytes(), down.bytes()) == (0, 0) {
        return Err(Refusal::Nothing);
    }
    let left = |net: i128, change: Change| net.checked_add(change.bytes()).ok_or(Refusal::TooLarge);
    let (up_left, down_left) = (left(of_usage.0, up)?, left(of_usage.1, down)?);
    if up_left < 0 || down_left < 0 {
        return Err(Refusal::BelowZero { usage, up: up_left, down: down_left });
    }
    // The store keeps 63 bits and a sign.
    if [up_left, down_left, up.bytes(), down.bytes()].into_iter().any(|bytes| i64::try_from(bytes).is_err()) {
        return Err(Refusal::TooLarge);
    }
    Ok((up, down))
}

#[cfg(test)]
mod tests {
    use super::*;

    const USAGE: Reference = Reference { epoch: 1, seq: 7 };

    fn by(up: i128, down: i128) -> Amount {
        Amount::By(Change::new(up).unwrap(), Change::new(down).unwrap())
    }

    /// The bytes of a correction of a usage record.
    fn made(amount: Amount, net: Net) -> Result<(i128, i128), Refusal> {
        difference(amount, USAGE, net, net).map(|(up, down)| (up.bytes(), down.bytes()))
    }

    #[test]
    fn b30_as_much_as_there_is_may_go_and_not_a_byte_more_in_either_direction() {
        assert_eq!(made(by(-100, -5), (100, 5)), Ok((-100, -5)));
        assert_eq!(made(by(-100, 7), (100, 5)), Ok((-100, 7)));
        let below = |up, down| Err(Refusal::BelowZero { usage: USAGE, up, down });
        assert_eq!(made(by(-101, -5), (100, 5)), below(-1, 0));
        assert_eq!(made(by(3, -6), (100, 5)), below(103, -1));
        assert_eq!(made(by(0, 0), (100, 5)), Err(Refusal::Nothing));
        assert_eq!(made(by(0, 1), (100, 5)), Ok((0, 1)));
        assert_eq!(made(by(1, 0), (0, 0)), Ok((1, 0)));
    }

    #[test]
    fn b30_void_leaves_nothing_of_a_usage_record_and_takes_back_a_correction() {
        assert_eq!(made(Amount::Void, (100, 5)), Ok((-100, -5)));
        assert_eq!(made(Amount::Void, (0, 5)), Ok((0, -5)));
        assert_eq!(made(Amount::Void, (0, 0)), Err(Refusal::Nothing));
        // A correction of -30 and +2 is taken back: 70 and 7 become 100 and 5.
        let back = difference(Amount::Void, USAGE, (70, 7), (-30, 2)).unwrap();
        assert_eq!((back.0.bytes(), back.1.bytes()), (30, -2));
        // One of +40, of which 50 were taken away since: it cannot go back.
        let refused = difference(Amount::Void, USAGE, (10, 0), (40, 0));
        assert_eq!(refused, Err(Refusal::BelowZero { usage: USAGE, up: -30, down: 0 }));
    }

    #[test]
    fn b30_the_largest_count_is_kept_and_one_more_is_refused() {
        let most = i128::from(i64::MAX);
        assert_eq!(made(by(most, 0), (0, 0)), Ok((most, 0)));
        assert_eq!(made(by(1, 0), (most, 0)), Err(Refusal::TooLarge));
        assert_eq!(made(by(0, most + 1), (0, 0)), Err(Refusal::TooLarge));
        assert_eq!(made(Amount::Void, (most, most)), Ok((-most, -most)));
    }

    #[test]
    fn a_note_is_some_text_within_its_limit() {
        let note = |text: &str| Correction::new(USAGE, Amount::Void, text).map(|made| made.note().to_owned());
        let longest = "n".repeat(NOTE_LEN_MAX);
        assert_eq!(note(&longest), Ok(longest.clone()));
        assert_eq!(note(&format!("{longest}n")), Err(Refusal::Note(NOTE_LEN_MAX + 1)));
        assert_eq!(note(""), Err(Refusal::Note(0)));
        assert_eq!(note("two\nlines"), Err(Refusal::Note(9)));
        assert_eq!(note("дважды посчитано"), Ok("дважды посчитано".to_owned()));
    }
}

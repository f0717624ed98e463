//! From one total to the set of probes it is made of. Values only.

/// Most probes of one total: every set of them is tried.
pub(super) const PROBES_MAX: usize = 16;
/// Bytes by which a total may differ from the sum of its probes: the last datagrams of a QUIC connection reach the
/// subscriber when the client no longer counts. Far below the least difference of two sums.
pub(super) const TOLERANCE_BYTES: u64 = 4 * 1024;

/// Why a total says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Undecoded {
    /// No set of probes has this sum.
    NoSet,
    /// More than one has.
    Ambiguous,
    /// More probes than are tried.
    TooMany,
}

impl Undecoded {
    /// In words.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::NoSet => "no set of probes has this sum",
            Self::Ambiguous => "more than one set of probes has this sum",
            Self::TooMany => "there are too many probes to try their sets",
        }
    }
}

/// Which of the probes with `sizes` make `total`: the only set whose sum is near it.
///
/// # Errors
/// None, several, or too many probes.
pub(super) fn decode(total: u64, sizes: &[u64]) -> Result<Vec<bool>, Undecoded> {
    if sizes.len() > PROBES_MAX {
        return Err(Undecoded::TooMany);
    }
    let is_in = |set: u32, index: usize| {
        set.checked_shr(u32::try_from(index).unwrap_or(u32::MAX)).unwrap_or(0) & 1 == 1
    };
    let sets = 0..1_u32 << sizes.len();
    let mut near = sets.filter(|set| {
        let chosen = sizes.iter().enumerate().filter(|(index, _)| is_in(*set, *index));
        let sum = chosen.fold(0_u64, |sum, (_, size)| sum.saturating_add(*size));
        sum.abs_diff(total) <= TOLERANCE_BYTES
    });
    match (near.next(), near.next()) {
        (Some(set), None) => Ok((0..sizes.len()).map(|index| is_in(set, index)).collect()),
        (Some(_), Some(_)) => Err(Undecoded::Ambiguous),
        (None, _) => Err(Undecoded::NoSet),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes a base apart, with what handshakes add.
    const SIZES: [u64; 4] = [35_000, 70_000, 139_000, 277_000];

    #[test]
    fn every_set_is_found_again_from_its_sum_alone() {
        for set in 0..16_u32 {
            let wanted: Vec<bool> = (0..4).map(|bit| set >> bit & 1 == 1).collect();
            let sum: u64 = SIZES.iter().zip(&wanted).filter(|(_, is_in)| **is_in).map(|(size, _)| size).sum();
            assert_eq!(decode(sum, &SIZES), Ok(wanted.clone()), "{set:04b}");
            assert_eq!(decode(sum + TOLERANCE_BYTES, &SIZES), Ok(wanted), "{set:04b}");
            assert_eq!(decode(sum + TOLERANCE_BYTES + 1, &SIZES), Err(Undecoded::NoSet), "{set:04b}");
        }
    }

    #[test]
    fn what_could_be_two_sets_is_none() {
        assert_eq!(decode(70_000, &[70_000, 70_000]), Err(Undecoded::Ambiguous));
        assert_eq!(decode(0, &[1]), Err(Undecoded::Ambiguous), "a probe within the tolerance");
    }

    #[test]
    fn the_number_of_probes_is_limited() {
        let sizes: Vec<u64> = (0..=PROBES_MAX).map(|bit| 65_536 << bit).collect();
        assert!(decode(65_536, &sizes[..PROBES_MAX]).is_ok());
        assert_eq!(decode(65_536, &sizes), Err(Undecoded::TooMany));
    }
}

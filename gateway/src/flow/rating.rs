//! Which rating group and disposition a service has on the bill (decision 14).

use std::collections::HashMap;
use std::sync::Arc;

use billing_export::Disposition;

use super::mark::Mark;

/// A rating group and what happens to its bytes in the operator's core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RatingGroup {
    /// 3GPP Rating-Group (TS 32.299 §7.2.153), as the operator's billing knows it.
    pub id: u32,
    /// Who exempts the bytes.
    pub disposition: Disposition,
    /// What packets of its flows carry.
    pub mark: Mark,
}

/// Service → rating group, with one group for all services not named.
#[derive(Clone, Debug)]
pub struct RatingPlan {
    by_service: HashMap<Arc<str>, RatingGroup>,
    otherwise: RatingGroup,
    /// Whether any of them has a mark.
    is_marking: bool,
    /// The code points of the marks, a bit for each.
    code_points: u64,
}

impl RatingPlan {
    /// The plan with `otherwise` for every service that is not in `by_service`.
    pub fn new(
        otherwise: RatingGroup,
        by_service: impl IntoIterator<Item = (Arc<str>, RatingGroup)>,
    ) -> Self {
        let by_service: HashMap<_, _> = by_service.into_iter().collect();
        let is_marking = by_service.values().chain([&otherwise]).any(|group| group.mark != Mark::NONE);
        let bit = |group: &RatingGroup| 1_u64.checked_shl(group.mark.dscp.into()).unwrap_or(0);
        let code_points = by_service.values().chain([&otherwise]).map(bit).fold(0, |bits, bit| bits | bit);
        Self { by_service, otherwise, is_marking, code_points }
    }

    /// Whether any group has a mark.
    pub const fn is_marking(&self) -> bool {
        self.is_marking
    }

    /// Whether a code point is that of a mark; 0 never is.
    pub const fn marks_with(&self, dscp: u8) -> bool {
        dscp != 0 && dscp < 64 && self.code_points >> dscp & 1 == 1
    }

    /// The group of `service`.
    pub fn group(&self, service: &str) -> RatingGroup {
        self.by_service.get(service).copied().unwrap_or(self.otherwise)
    }
}

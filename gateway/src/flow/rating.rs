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
#[derive(Clone, Debug, PartialEq, Eq)]
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A group with this code point and mark of the machine.
    fn group(id: u32, dscp: u8, fwmark: u32) -> RatingGroup {
        RatingGroup { id, disposition: Disposition::Tagged, mark: Mark { dscp, fwmark, upstream: false } }
    }

    #[test]
    fn t38_a_plan_marks_when_any_of_its_groups_does_and_knows_all_code_points() {
        let bare = group(1, 0, 0);
        let plan = |otherwise, group| RatingPlan::new(otherwise, [(Arc::from("school"), group)]);
        assert!(!plan(bare, bare).is_marking());
        assert!(plan(bare, group(2, 63, 0)).is_marking() && plan(group(2, 0, 7), bare).is_marking());
        let both = plan(group(1, 1, 0), group(2, 63, 0));
        let known: Vec<u8> = (0..=u8::MAX).filter(|dscp| both.marks_with(*dscp)).collect();
        assert_eq!(known, [1, 63]);
        // 0 is what packets of everybody carry, and what does not fit is none of ours.
        let none = plan(bare, group(2, 64, 0));
        assert!((0..=u8::MAX).all(|dscp| !none.marks_with(dscp)));
        assert_eq!((both.group("school").id, both.group("other").id), (2, 1));
    }
}

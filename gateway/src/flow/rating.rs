//! Which rating group and disposition a service has on the bill (DESIGN decision 14).

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
}

impl RatingPlan {
    /// The plan with `otherwise` for every service that is not in `by_service`.
    pub fn new(
        otherwise: RatingGroup,
        by_service: impl IntoIterator<Item = (Arc<str>, RatingGroup)>,
    ) -> Self {
        let by_service: HashMap<_, _> = by_service.into_iter().collect();
        let is_marking = by_service.values().chain([&otherwise]).any(|group| group.mark != Mark::NONE);
        Self { by_service, otherwise, is_marking }
    }

    /// Whether any group has a mark.
    pub const fn is_marking(&self) -> bool {
        self.is_marking
    }

    /// The group of `service`.
    pub fn group(&self, service: &str) -> RatingGroup {
        self.by_service.get(service).copied().unwrap_or(self.otherwise)
    }
}

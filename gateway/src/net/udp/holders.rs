//! How many of a scarce thing each holder has: whoever has most gives way first, and of his the oldest.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;

/// Flows that one subscriber may wait with without being taken for somebody who hoards: browsers open six to a site.
const WAITING_MAX: usize = 16;

/// Numbered things by whom they belong to; names the oldest of one holder, and of the one that has most.
pub(super) struct Holders<H, P> {
    /// In the order in which they came.
    things: BTreeMap<u64, P>,
    by_holder: HashMap<H, BTreeSet<u64>>,
    /// Holders by how many they have, and of equal ones by their oldest, which comes last.
    by_count: BTreeMap<(usize, Reverse<u64>), H>,
}

impl<H, P> Default for Holders<H, P> {
    fn default() -> Self {
        Self { things: BTreeMap::new(), by_holder: HashMap::new(), by_count: BTreeMap::new() }
    }
}

/// Where a holder with these stands among all.
fn standing(own: &BTreeSet<u64>) -> Option<(usize, Reverse<u64>)> {
    own.first().map(|oldest| (own.len(), Reverse(*oldest)))
}

impl<H: Clone + Eq + Hash, P> Holders<H, P> {
    /// Puts in the thing of this number; numbers are never used twice.
    pub(super) fn insert(&mut self, holder: &H, number: u64, thing: P) {
        let own = self.by_holder.entry(holder.clone()).or_default();
        let before = standing(own);
        own.insert(number);
        let after = standing(own);
        self.things.insert(number, thing);
        self.move_holder(holder, before, after);
    }

    /// Takes it out; whether it was there.
    pub(super) fn remove(&mut self, holder: &H, number: u64) -> bool {
        let Some(own) = self.by_holder.get_mut(holder) else { return false };
        let before = standing(own);
        if !own.remove(&number) {
            return false;
        }
        let after = standing(own);
        if after.is_none() {
            self.by_holder.remove(holder);
        }
        self.things.remove(&number);
        self.move_holder(holder, before, after);
        if self.things.is_empty() {
            // A flood that is over leaves no room behind.
            self.by_holder.shrink_to_fit();
        }
        true
    }

    /// Puts a holder where he stands since something changed.
    fn move_holder(
        &mut self,
        holder: &H,
        before: Option<(usize, Reverse<u64>)>,
        after: Option<(usize, Reverse<u64>)>,
    ) {
        if before == after {
            return;
        }
        if let Some(before) = before {
            self.by_count.remove(&before);
        }
        if let Some(after) = after {
            self.by_count.insert(after, holder.clone());
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.things.len()
    }

    /// The oldest thing of this holder.
    pub(super) fn oldest_of(&self, holder: &H) -> Option<&P> {
        self.by_holder.get(holder)?.first().and_then(|number| self.things.get(number))
    }

    /// What can be done without: the oldest thing of the holder that has most, if that is more than [`WAITING_MAX`]; else the
    /// oldest.
    pub(super) fn dispensable(&self) -> Option<&P> {
        match self.by_count.last_key_value() {
            Some(((count, _), _)) if *count > WAITING_MAX => self.oldest_of_largest(),
            Some(_) | None => self.things.first_key_value().map(|(_, thing)| thing),
        }
    }

    /// The oldest thing of the holder that has most; of equal ones, of whose is oldest.
    pub(super) fn oldest_of_largest(&self) -> Option<&P> {
        let (_, holder) = self.by_count.last_key_value()?;
        self.oldest_of(holder)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn f5_the_oldest_of_whoever_has_most_is_named() {
        let mut holders = Holders::default();
        assert!(holders.oldest_of_largest().is_none());
        for (number, holder) in ["a", "b", "b", "c", "c"].into_iter().enumerate() {
            holders.insert(&holder, number as u64, number);
        }
        assert_eq!(holders.oldest_of_largest(), Some(&1), "of equal ones the oldest");
        assert!(holders.remove(&"b", 1) && !holders.remove(&"b", 1) && !holders.remove(&"d", 2));
        assert_eq!(holders.oldest_of_largest(), Some(&3));
        assert_eq!((holders.oldest_of(&"b"), holders.oldest_of(&"d"), holders.len()), (Some(&2), None, 4));
    }

    #[test]
    fn f5_a_page_among_a_thousand_forged_sources_keeps_its_flows() {
        let mut holders = Holders::default();
        for number in 0..1_000_u64 {
            holders.insert(&number.to_string(), number, number);
        }
        for number in 1_000..1_000 + WAITING_MAX as u64 {
            holders.insert(&"pupil".to_owned(), number, number);
        }
        assert_eq!(holders.oldest_of_largest(), Some(&1_000), "who has most");
        assert_eq!(holders.dispensable(), Some(&0), "the oldest of all");
        holders.insert(&"pupil".to_owned(), 2_000, 2_000);
        assert_eq!(holders.dispensable(), Some(&1_000), "one more than a page");
        assert!(Holders::<u8, u8>::default().dispensable().is_none());
    }

    proptest! {
        #[test]
        fn f5_holders_agree_with_a_plain_list(steps in prop::collection::vec((0_u8..5, 0_u64..40, any::<bool>()), 0..200)) {
            let mut holders = Holders::default();
            let mut plain: Vec<(u8, u64)> = Vec::new();
            for (number, (holder, pick, insert)) in steps.into_iter().enumerate() {
                let number = number as u64;
                if insert {
                    holders.insert(&holder, number, number);
                    plain.push((holder, number));
                } else {
                    let known = plain.contains(&(holder, pick));
                    prop_assert_eq!(holders.remove(&holder, pick), known);
                    plain.retain(|one| *one != (holder, pick));
                }
                let of = |holder: u8| plain.iter().filter(move |one| one.0 == holder).map(|one| one.1);
                let expected = (0..5_u8)
                    .filter_map(|holder| Some((of(holder).count(), Reverse(of(holder).min()?))))
                    .max()
                    .map(|(_, Reverse(oldest))| oldest);
                prop_assert_eq!(holders.oldest_of_largest().copied(), expected);
                prop_assert_eq!(holders.len(), plain.len());
            }
        }
    }
}

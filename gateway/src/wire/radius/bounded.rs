//! A list with a limit that lives where its owner does.

use core::ops::Deref;

/// At most `N` values, each once; what does not fit is not kept, and that is known.
#[derive(Clone, Copy)]
pub(super) struct Bounded<T, const N: usize> {
    /// The values, and behind them whatever stood there.
    items: [T; N],
    /// How many are values.
    count: usize,
    /// Whether one more was to be kept.
    is_over: bool,
}

impl<T: Copy + PartialEq, const N: usize> Bounded<T, N> {
    /// An empty list; `fill` is never seen.
    pub(super) const fn new(fill: T) -> Self {
        Self { items: [fill; N], count: 0, is_over: false }
    }

    /// Adds a value that is not in it.
    pub(super) fn insert(&mut self, item: T) {
        if !self.contains(&item) {
            self.push(item);
        }
    }

    /// Adds a value, also one that is in it.
    pub(super) fn push(&mut self, item: T) {
        match self.items.get_mut(self.count) {
            Some(place) => {
                *place = item;
                self.count = self.count.saturating_add(1);
            }
            None => self.is_over = true,
        }
    }

    /// Whether a value found no room.
    pub(super) const fn is_over(&self) -> bool {
        self.is_over
    }
}

impl<T, const N: usize> Deref for Bounded<T, N> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.items.get(..self.count).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_its_limit_and_tells_of_one_over() {
        let mut list: Bounded<u8, 3> = Bounded::new(0);
        assert_eq!((&*list, list.is_over()), (&[][..], false));
        for item in [7, 8, 7, 9] {
            list.insert(item);
        }
        assert_eq!((&*list, list.is_over()), (&[7, 8, 9][..], false), "at the limit");
        list.insert(9);
        assert!(!list.is_over(), "it is in it");
        list.insert(0);
        assert_eq!((&*list, list.is_over()), (&[7, 8, 9][..], true), "one over");
    }
}

//! Names, each held once, found by hash: what matcher and routes stand on.
//!
//! All texts lie in one string, one after another; a slot of the hash table is eight bytes and holds half of the hash, so
//! that a name is compared in full only when it is very likely the one. A million names take about 50 MB. Hashing is
//! SipHash with random keys, so that nobody can choose names that collide; a hit is always a name compared in full.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use crate::name::DomainName;

/// The slot of no name.
const FREE: u32 = u32::MAX;
/// Fewest slots of a table.
const SLOTS_MIN: usize = 8;

/// One place of the hash table.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Half of the name's hash.
    tag: u32,
    /// The name's number; [`FREE`] for none.
    name: u32,
}

/// No name.
const FREE_SLOT: Slot = Slot { tag: 0, name: FREE };

/// The texts of all names; shared with labels of rules, which outlive a look-up.
pub(crate) type Texts = Arc<Box<str>>;

/// Names, each once, numbered in the order in which they came.
#[derive(Debug)]
pub(crate) struct NameTable {
    texts: Texts,
    /// Where each name begins, and where the last one ends.
    starts: Box<[u32]>,
    index: Index,
    /// Bit n: some name has n bytes. Other lengths are not probed; names have at most 253 bytes.
    lengths: [u64; 4],
}

/// A table that names are added to.
#[derive(Debug)]
pub(crate) struct NameTableBuilder {
    texts: String,
    starts: Vec<u32>,
    index: Index,
    lengths: [u64; 4],
}

/// The hash table: open addressing, a power of two of slots, at most three of four in use.
#[derive(Debug)]
struct Index {
    keys: RandomState,
    slots: Box<[Slot]>,
}

/// A name of the table that is the one asked for, or stands above it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    /// The name's number.
    pub(crate) name: u32,
    /// Its bytes.
    pub(crate) bytes: usize,
    /// Labels by which the one asked for stands below it.
    pub(crate) labels_below: usize,
}

/// A number as a place in memory.
pub(crate) fn place(number: u32) -> usize {
    // Lossless on every platform the gateway is built for; elsewhere the place is one that nothing has.
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The text between two places of `starts`.
fn text<'t>(texts: &'t str, starts: &[u32], name: u32) -> Option<&'t str> {
    let name = place(name);
    let (from, to) = (starts.get(name)?, starts.get(name.checked_add(1)?)?);
    texts.get(place(*from)..place(*to))
}

impl Index {
    /// Room for this many names without growing.
    fn with_capacity(names: usize) -> Index {
        let slots = names.saturating_mul(4).div_ceil(3).saturating_add(1).next_power_of_two();
        Index { keys: RandomState::new(), slots: vec![FREE_SLOT; slots.max(SLOTS_MIN)].into() }
    }

    /// Half of the hash of a name.
    fn tag(&self, name: &str) -> u32 {
        // The upper half of 64 bits always fits.
        u32::try_from(self.keys.hash_one(name) >> 32).unwrap_or(0)
    }

    /// The slots to look at for a hash, in order.
    fn probe(&self, tag: u32) -> impl Iterator<Item = (usize, Slot)> {
        let mask = self.slots.len().wrapping_sub(1);
        (0..self.slots.len()).map_while(move |step| {
            let at = place(tag).wrapping_add(step) & mask;
            self.slots.get(at).map(|slot| (at, *slot))
        })
    }

    /// The number of a name, or the free slot it would take.
    fn find(&self, tag: u32, is_it: impl Fn(u32) -> bool) -> Result<u32, Option<usize>> {
        for (at, slot) in self.probe(tag) {
            if slot.name == FREE {
                return Err(Some(at));
            }
            if slot.tag == tag && is_it(slot.name) {
                return Ok(slot.name);
            }
        }
        Err(None)
    }

    /// Twice as many slots.
    fn grow(&mut self) {
        let more = vec![FREE_SLOT; self.slots.len().saturating_mul(2)].into();
        let old = std::mem::replace(&mut self.slots, more);
        for slot in old.iter().filter(|slot| slot.name != FREE) {
            let free = self.probe(slot.tag).find(|(_, taken)| taken.name == FREE);
            if let Some((at, _)) = free
                && let Some(place) = self.slots.get_mut(at)
            {
                *place = *slot;
            }
        }
    }
}

impl NameTableBuilder {
    /// Room for this many names without growing.
    pub(crate) fn with_capacity(names: usize) -> NameTableBuilder {
        let mut starts = Vec::with_capacity(names.saturating_add(1));
        starts.push(0);
        NameTableBuilder { texts: String::new(), starts, index: Index::with_capacity(names), lengths: [0; 4] }
    }

    /// How many names there are.
    pub(crate) fn len(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// The number of a name.
    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        let is_it = |number| text(&self.texts, &self.starts, number) == Some(name);
        self.index.find(self.index.tag(name), is_it).ok()
    }

    /// The number of a name, which is added if it is new; none when there is no number or room for it (4 GiB of text).
    pub(crate) fn intern(&mut self, name: &str) -> Option<u32> {
        if self.len().saturating_mul(4) >= self.index.slots.len().saturating_mul(3) {
            self.index.grow();
        }
        let tag = self.index.tag(name);
        let is_it = |number| text(&self.texts, &self.starts, number) == Some(name);
        let at = match self.index.find(tag, is_it) {
            Ok(number) => return Some(number),
            Err(free) => free?,
        };
        let number = u32::try_from(self.len()).ok().filter(|number| *number != FREE)?;
        let end = u32::try_from(self.texts.len().checked_add(name.len())?).ok()?;
        *self.index.slots.get_mut(at)? = Slot { tag, name: number };
        self.texts.push_str(name);
        self.starts.push(end);
        let (word, bit) = length_bit(name.len());
        if let Some(lengths) = self.lengths.get_mut(word) {
            *lengths |= bit;
        }
        Some(number)
    }

    /// The finished table.
    pub(crate) fn finish(self) -> NameTable {
        NameTable {
            texts: Arc::new(self.texts.into_boxed_str()),
            starts: self.starts.into(),
            index: self.index,
            lengths: self.lengths,
        }
    }
}

impl NameTable {
    /// The texts, and where in them a name stands.
    pub(crate) fn texts(&self, name: u32) -> Option<(&Texts, u32, u32)> {
        let name = place(name);
        let (from, to) = (self.starts.get(name)?, self.starts.get(name.checked_add(1)?)?);
        Some((&self.texts, *from, *to))
    }

    /// The name with this number.
    pub(crate) fn get(&self, name: u32) -> Option<&str> {
        text(&self.texts, &self.starts, name)
    }

    /// The number of a name.
    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        let is_it = |number| text(&self.texts, &self.starts, number) == Some(name);
        self.index.find(self.index.tag(name), is_it).ok()
    }

    /// All names, each with its number.
    pub(crate) fn names(&self) -> impl Iterator<Item = (u32, &str)> {
        let count = u32::try_from(self.starts.len().saturating_sub(1)).unwrap_or(FREE);
        (0..count).filter_map(|number| Some((number, text(&self.texts, &self.starts, number)?)))
    }

    /// Every name of the table that is `name` or stands above it, from the name up.
    pub(crate) fn walk(&self, name: &DomainName) -> impl Iterator<Item = Step> {
        let suffixes = std::iter::successors(Some((name.as_str(), 0_usize)), |(suffix, labels_below)| {
            let (_, above) = suffix.split_once('.')?;
            Some((above, labels_below.saturating_add(1)))
        });
        suffixes
            .filter(|(suffix, _)| {
                let (word, bit) = length_bit(suffix.len());
                self.lengths.get(word).is_some_and(|lengths| lengths & bit != 0)
            })
            .filter_map(|(suffix, labels_below)| {
                let name = self.find(suffix)?;
                Some(Step { name, bytes: suffix.len(), labels_below })
            })
    }
}

impl Default for NameTable {
    fn default() -> NameTable {
        NameTableBuilder::with_capacity(0).finish()
    }
}

/// Where a length has its bit.
const fn length_bit(bytes: usize) -> (usize, u64) {
    (bytes / 64, 1 << (bytes % 64))
}

#[cfg(test)]
mod tests {
    use super::{DomainName, NameTableBuilder, SLOTS_MIN};

    #[test]
    fn f18_names_are_found_by_their_numbers_however_the_table_grows() {
        let name = |number: usize| format!("site-{number}.kz");
        for (room, count) in [(0, 10_000), (10_000, 10_000), (3, 6), (0, SLOTS_MIN)] {
            let mut builder = NameTableBuilder::with_capacity(room);
            for number in 0..count {
                assert_eq!(builder.intern(&name(number)), u32::try_from(number).ok());
                assert_eq!(builder.intern(&name(number / 2)), u32::try_from(number / 2).ok(), "known");
            }
            assert_eq!(builder.len(), count);
            let table = builder.finish();
            assert!(table.index.slots.len().is_power_of_two());
            assert!(table.index.slots.len() * 3 > count * 4 - 4, "one of four slots is free");
            for number in 0..count {
                assert_eq!(table.find(&name(number)), u32::try_from(number).ok());
                assert_eq!(table.find(&format!("x{}", name(number))), None);
            }
            let all: Vec<String> = table.names().map(|(_, name)| name.to_owned()).collect();
            assert_eq!(all, (0..count).map(name).collect::<Vec<_>>());
        }
    }

    #[test]
    fn f18_equal_halves_of_hashes_do_not_make_two_names_one() {
        let mut builder = NameTableBuilder::with_capacity(2);
        builder.intern("a.kz");
        let mut table = builder.finish();
        let mask = table.index.slots.len() - 1;
        let taken = *table.index.slots.iter().find(|slot| slot.name == 0).unwrap();
        // A name with a place of its own, where the slot says that the other could be meant: the texts decide.
        let mut names = (0..).map(|number| format!("b{number}.kz"));
        let other = names.find(|name| (table.index.tag(name) ^ taken.tag) as usize & mask != 0).unwrap();
        let tag = table.index.tag(&other);
        table.index.slots[tag as usize & mask] = super::Slot { tag, ..taken };
        assert_eq!(table.find(&other), None);
        assert_eq!(table.find("a.kz"), Some(0));
    }

    #[test]
    fn f18_a_walk_goes_from_the_name_up_over_whole_labels() {
        let mut builder = NameTableBuilder::with_capacity(0);
        for name in ["kz", "b.kz", "a.b.kz"] {
            builder.intern(name);
        }
        let table = builder.finish();
        let steps = |name: &str| -> Vec<(u32, usize, usize)> {
            let name = DomainName::from_wire(name.as_bytes()).unwrap();
            table.walk(&name).map(|step| (step.name, step.bytes, step.labels_below)).collect()
        };
        assert_eq!(steps("x.a.b.kz"), [(2, 6, 1), (1, 4, 2), (0, 2, 3)]);
        assert_eq!(steps("xa.b.kz"), [(1, 4, 1), (0, 2, 2)]);
        assert_eq!(steps("kz"), [(0, 2, 0)]);
        assert_eq!(steps("org"), []);
    }
}

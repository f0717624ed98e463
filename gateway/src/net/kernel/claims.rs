//! What is known of a flow's name, in a word of its slot: a process that starts goes on with flows whose hello it never saw.
//!
//! Names stand in a table of the kernel by numbers, listed ones alone; of the others stands why they are charged.

use std::collections::HashMap;

use allowlist::DomainName;
use aya::maps::{HashMap as KernelMap, MapData};
use billing_export::Reason;

use super::layout::{NAME_BYTES, NAMES_MAX};
use crate::flow::engine::Decided;
use crate::flow::identify::{Identity, SeenIn};
use crate::flow::verdict::Outcome;

/// Bits of the word: what it has, where a name was read, and the number.
const KIND_SHIFT: u32 = 30;
const SEEN_SHIFT: u32 = 28;
const KIND_REASON: u32 = 1;
const KIND_NAME: u32 = 2;
const SEEN_MASK: u32 = 3;
const NUMBER_MASK: u32 = NAMES_MAX - 1;

/// A name as the table has it: its length, then its letters.
type Letters = [u8; NAME_BYTES];

/// Words for what is known of names.
#[derive(Default)]
pub struct Claims {
    table: Option<KernelMap<MapData, u32, Letters>>,
    numbers: HashMap<DomainName, u32>,
    names: HashMap<u32, DomainName>,
}

impl Claims {
    /// Those of a table, with the names that a process before this one has put there.
    pub fn new(table: KernelMap<MapData, u32, Letters>) -> Self {
        let names: HashMap<u32, DomainName> =
            table.iter().flatten().filter_map(|(number, letters)| Some((number, spell(&letters)?))).collect();
        let numbers = names.iter().map(|(number, name)| (name.clone(), *number)).collect();
        Self { table: Some(table), numbers, names }
    }

    /// The word for what a verdict rests on; 0 where there is no room for the name.
    pub fn word(&mut self, decided: &Decided<'_>) -> u32 {
        let Some(identity) = decided.claim.identity() else { return 0 };
        match (&identity.name, identity.gave_up, &decided.verdict.rule) {
            (Some(name), None, Some(_)) => {
                let seen = identity.seen_in.map_or(0, number_of);
                let word = |number| (KIND_NAME << KIND_SHIFT) | (seen << SEEN_SHIFT) | number;
                self.number(name).map_or(0, word)
            }
            // Whoever goes on may find out.
            (_, Some(Reason::Undecided), _) => 0,
            (_, Some(reason), _) => reason_word(reason, identity.seen_in),
            (_, None, _) => match decided.verdict.outcome {
                // Unlisted names are never stored.
                Outcome::Charged(reason) => reason_word(reason, identity.seen_in),
                Outcome::Exempt { .. } => 0,
            },
        }
    }

    /// What a word says; none where it says nothing.
    pub fn identity(&self, word: u32) -> Option<Identity> {
        let seen_in = seen_in((word >> SEEN_SHIFT) & SEEN_MASK);
        let number = word & NUMBER_MASK;
        match word >> KIND_SHIFT {
            KIND_NAME => {
                let name = self.names.get(&number)?.clone();
                Some(Identity { name: Some(name), seen_in, gave_up: None, ech: None })
            }
            KIND_REASON => {
                let reason = Reason::ALL.get(usize::try_from(number).ok()?)?;
                Some(Identity::nameless(*reason))
            }
            _ => None,
        }
    }

    /// The number of a name.
    fn number(&mut self, name: &DomainName) -> Option<u32> {
        if let Some(number) = self.numbers.get(name) {
            return Some(*number);
        }
        let table = self.table.as_mut()?;
        let number = u32::try_from(self.names.len()).ok().filter(|number| *number < NAMES_MAX)?;
        table.insert(number, letters(name)?, 0).ok()?;
        self.numbers.insert(name.clone(), number);
        self.names.insert(number, name.clone());
        Some(number)
    }
}

/// A name as the table has it.
fn letters(name: &DomainName) -> Option<Letters> {
    let text = name.as_str().as_bytes();
    let mut letters = [0; NAME_BYTES];
    let (length, rest) = letters.split_first_mut()?;
    *length = u8::try_from(text.len()).ok()?;
    rest.get_mut(..text.len())?.copy_from_slice(text);
    Some(letters)
}

/// A name out of the table.
fn spell(letters: &Letters) -> Option<DomainName> {
    let (length, rest) = letters.split_first()?;
    let text = rest.get(..usize::from(*length))?;
    DomainName::from_wire(text).ok()
}

/// The word for a reason.
fn reason_word(reason: Reason, seen_in: Option<SeenIn>) -> u32 {
    let number = Reason::ALL.iter().position(|one| *one == reason).and_then(|at| u32::try_from(at).ok());
    let seen = seen_in.map_or(0, number_of);
    number.map_or(0, |number| (KIND_REASON << KIND_SHIFT) | (seen << SEEN_SHIFT) | number)
}

/// Where a name was read, as a number from 1 on.
const fn number_of(seen_in: SeenIn) -> u32 {
    match seen_in {
        SeenIn::TlsSni => 1,
        SeenIn::QuicSni => 2,
        SeenIn::HttpHost => 3,
    }
}

/// The reverse.
const fn seen_in(number: u32) -> Option<SeenIn> {
    match number {
        1 => Some(SeenIn::TlsSni),
        2 => Some(SeenIn::QuicSni),
        3 => Some(SeenIn::HttpHost),
        _ => None,
    }
}

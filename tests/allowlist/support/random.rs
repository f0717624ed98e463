//! Random numbers from a printed seed (SplitMix64), and lists of a small alphabet made from them.
#![allow(dead_code, reason = "each test uses its part")]

use std::fmt::Write;

/// A stream of random numbers.
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    /// One of several.
    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// A name of one to four labels, each of which is part of another.
    pub fn name(&mut self) -> String {
        let labels: Vec<&str> =
            (0..=self.below(4)).map(|_| self.one_of(&["a", "b", "ab", "ba", "kz", "a-b", "b1"])).collect();
        labels.join(".")
    }
}

/// The head of a list that is in force for all of 2020.
pub const HEAD: &str = "format = 1\nlist_id = \"test\"\nserial = 1\nissued = 2019-12-01T00:00:00Z\n\
    effective_from = 2020-01-01T00:00:00Z\nexpires = 2021-01-01T00:00:00Z\n";

/// A list of up to `rules` rules and a few denies; each rule its own service, so that labels tell rules apart.
pub fn list(random: &mut Random, rules: usize, with_conditions: bool) -> String {
    let mut text = HEAD.to_owned();
    for service in 0..=random.below(rules) {
        let (host, scope) = (random.name(), random.one_of(&["exact", "subtree", "one-label"]));
        write!(
            text,
            "[[service]]\nid = \"s{service}\"\n[[service.rule]]\nhost = \"{host}\"\nscope = \"{scope}\"\n"
        )
        .unwrap();
        if with_conditions && random.below(2) == 0 {
            text.push_str(random.one_of(&[
                "protocol = \"tcp\"\nports = [\"8801-8802\"]\n",
                "protocol = \"udp\"\nports = [\"443\", \"3478-3479\"]\n",
            ]));
        }
        if with_conditions && random.below(2) == 0 {
            let month = 1 + random.below(11);
            writeln!(text, "from = 2020-{month:02}-01T00:00:00Z").unwrap();
            if random.below(2) == 0 {
                writeln!(text, "to = 2020-{:02}-01T00:00:00Z", month + 1).unwrap();
            }
        }
    }
    let mut denied = Vec::new();
    for _ in 0..random.below(4) {
        let (host, scope) = (random.name(), random.one_of(&["exact", "subtree"]));
        if !denied.contains(&host) {
            write!(text, "[[deny]]\nhost = \"{host}\"\nscope = \"{scope}\"\n").unwrap();
            denied.push(host);
        }
    }
    text
}

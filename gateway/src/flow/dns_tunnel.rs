//! Signs of a tunnel in a client's DNS: names that carry data (iodine, dnscat2), asked for by the hundred below one domain.
//!
//! A network that charges nothing for DNS carries such a tunnel free of charge. The signs are those of the field: many
//! distinct names below one registered domain in a short time, of labels that look random, or asked for in types that
//! have room for data. They raise an alarm and never decide (trap T22, "DNS tunnel"): virus scanners and block lists ask
//! such names too.

use std::time::Duration;

use super::time::Monotonic;
use crate::wire::dns::Name;

/// For how long names are counted together.
pub const WINDOW: Duration = Duration::from_secs(300);
/// Bytes below the registered domain from which a name may carry data: with fewer a tunnel has its data in the answers, of
/// types that show it.
const CARRYING_BYTES_MIN: usize = 16;
/// Shortest such name on the wire: with a dot, a domain of four bytes, and the two bytes that its form adds.
const WIRE_BYTES_MIN: usize = CARRYING_BYTES_MIN + 7;
/// Entropy from which labels look random, in bits a byte times [`UNIT`]: 3.5. Hexadecimal digits have up to 4, base 32 up to
/// 5; words have about 3, and more as they get many: alone it says little.
const RANDOM_ENTROPY_MIN: u64 = 7 * UNIT / 2;
/// Type TXT (RFC 1035 §3.3.14).
const TYPE_TXT: u16 = 16;
/// Type NULL (RFC 1035 §3.3.10).
const TYPE_NULL: u16 = 10;
/// Types for private use (RFC 6895 §3.1); iodine asks for 65399.
const TYPES_PRIVATE: std::ops::RangeInclusive<u16> = 65_280..=65_534;
/// Longest name as text.
const TEXT_BYTES_MAX: usize = 255;
/// Fractions of a bit that entropy is reckoned in.
const UNIT: u64 = 256;
/// Bits of [`Window::names`], by which distinct names are estimated (linear counting: Whang et al. 1990).
const NAME_BITS: u64 = 512;
/// Words that hold them.
const NAME_WORDS: usize = 8;

/// What one question shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signs<'a> {
    /// The registered domain.
    pub domain: &'a [u8],
    /// Its labels look random.
    pub is_random: bool,
    /// It asks for a type that has room for data.
    pub is_roomy: bool,
}

/// Where a name is written as text while it is looked at.
pub type Text = [u8; TEXT_BYTES_MAX];

/// What a question for `name` and `kind` shows; none when it can carry next to nothing, as nearly all questions. Names of
/// reverse look-ups (RFC 1035 §3.5) are long without being anybody's choice.
pub fn signs<'t>(name: &Name, kind: u16, text: &'t mut Text) -> Option<Signs<'t>> {
    let is_roomy = kind == TYPE_TXT || kind == TYPE_NULL || TYPES_PRIVATE.contains(&kind);
    if !is_roomy && name.wire().len() < WIRE_BYTES_MIN {
        return None;
    }
    let text = write(name, text);
    let domain = allowlist::registrable_domain(text)?;
    let below = text.get(..text.len().checked_sub(domain.len())?.checked_sub(1)?)?;
    if domain.ends_with(b".arpa") || (!is_roomy && below.len() < CARRYING_BYTES_MIN) {
        return None;
    }
    Some(Signs { domain, is_random: is_random(below), is_roomy })
}

/// The name as text; a dot inside a label is no boundary, and becomes something else.
fn write<'t>(name: &Name, text: &'t mut Text) -> &'t [u8] {
    let mut length = 0_usize;
    for label in name.labels() {
        let dot = usize::from(length > 0);
        let end = length.saturating_add(dot).saturating_add(label.len());
        let Some(room) = text.get_mut(length..end) else { break };
        let (before, place) = room.split_at_mut(dot);
        before.fill(b'.');
        for (byte, of_label) in place.iter_mut().zip(label) {
            *byte = if *of_label == b'.' { b'_' } else { *of_label };
        }
        length = end;
    }
    text.get(..length).unwrap_or_default()
}

/// Whether the bytes of these labels are spread as those of random data: Shannon's entropy is log2 n - Σ c log2 c / n.
fn is_random(labels: &[u8]) -> bool {
    let mut counts = [0_u64; 256];
    let mut all = 0_u64;
    for byte in labels.iter().filter(|byte| **byte != b'.') {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count = count.saturating_add(1);
            all = all.saturating_add(1);
        }
    }
    let alike = counts
        .iter()
        .filter(|count| **count > 1)
        .fold(0_u64, |sum, count| sum.saturating_add(n_log2_n(*count)));
    n_log2_n(all).saturating_sub(alike) >= all.saturating_mul(RANDOM_ENTROPY_MIN)
}

/// `n` log2 `n` in [`UNIT`]s, to an eighth of a bit: enough to tell words from data.
fn n_log2_n(n: u64) -> u64 {
    let Some(whole) = n.checked_ilog2() else { return 0 };
    // 2^whole ≤ n < 2^(whole+1): squared three times, the mantissa gives three more bits of the logarithm.
    let mut mantissa = (n << 16).checked_shr(whole).unwrap_or(0);
    let mut fraction = 0_u64;
    for _ in 0..3 {
        mantissa = mantissa.saturating_mul(mantissa) >> 16;
        let bit = mantissa >> 17;
        mantissa >>= bit;
        fraction = fraction << 1 | bit;
    }
    n.saturating_mul(u64::from(whole).saturating_mul(UNIT).saturating_add(fraction.saturating_mul(UNIT / 8)))
}

/// What one client has asked for below one domain since the window began.
#[derive(Clone, Copy, Debug, Default)]
pub struct Window {
    /// When it began.
    began: Monotonic,
    /// One bit of each name, by its hash.
    names: [u64; NAME_WORDS],
    asked: u32,
    random: u32,
    roomy: u32,
    is_told: bool,
}

impl Window {
    /// A window that begins.
    pub fn begin(now: Monotonic) -> Self {
        Self { began: now, ..Self::default() }
    }

    /// Whether it is over.
    pub fn is_over(&self, now: Monotonic) -> bool {
        now.since(self.began) >= WINDOW
    }

    /// Bits set, which grows with the distinct names.
    pub fn bits(&self) -> u32 {
        self.names.iter().fold(0, |sum, word| sum.saturating_add(word.count_ones()))
    }

    /// Notes a question of this name's hash. True once a window: when there are `bits_min` bits of names, and half of the
    /// questions look random or roomy.
    pub fn note(&mut self, signs: &Signs<'_>, name_hash: u64, bits_min: u32) -> bool {
        let bit = name_hash % NAME_BITS;
        if let Some(word) = usize::try_from(bit / 64).ok().and_then(|word| self.names.get_mut(word)) {
            *word |= 1 << (bit % 64);
        }
        self.asked = self.asked.saturating_add(1);
        self.random = self.random.saturating_add(u32::from(signs.is_random));
        self.roomy = self.roomy.saturating_add(u32::from(signs.is_roomy));
        let half = self.asked.div_ceil(2);
        let is_suspect = self.bits() >= bits_min && (self.random >= half || self.roomy >= half);
        let is_new = is_suspect && !self.is_told;
        self.is_told |= is_suspect;
        is_new
    }
}

/// Bits that so many distinct names set on the average: each sets one that is clear as often as bits are clear.
pub fn bits_of(names: u32) -> u32 {
    let scale = 1_u64 << 32;
    let all = NAME_BITS.saturating_mul(scale);
    let set = (0..names).fold(0_u64, |set, _| set.saturating_add(all.saturating_sub(set) / NAME_BITS));
    u32::try_from(set / scale).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: u16 = 1;

    fn seen(host: &str, kind: u16) -> Option<(String, bool, bool)> {
        let mut text = [0; TEXT_BYTES_MAX];
        let name = Name::from_host(host.as_bytes()).unwrap();
        let signs = signs(&name, kind, &mut text)?;
        Some((str::from_utf8(signs.domain).unwrap().to_owned(), signs.is_random, signs.is_roomy))
    }

    #[test]
    fn n_log2_n_is_right_to_an_eighth_of_a_bit() {
        for (n, eighths) in [(1, 0), (2, 8), (3, 12), (5, 18), (7, 22), (64, 48), (100, 53), (255, 63)] {
            assert_eq!(n_log2_n(n), n * eighths * UNIT / 8, "{n}");
        }
        assert_eq!(n_log2_n(0), 0);
    }

    #[test]
    fn t22_short_names_of_usual_types_show_nothing() {
        assert_eq!(seen("www.bilimland.kz", A), None);
        assert_eq!(seen("rr3---sn-4g5e.googlevideo.com", A), None);
        assert_eq!(seen("bilimland.kz", TYPE_TXT), None, "nothing below the domain");
        assert_eq!(seen("b.a.9.8.7.6.5.4.3.2.1.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", 12), None);
    }

    #[test]
    fn t22_words_and_data_are_told_apart() {
        let words = seen("assets.static.images.assets.example.kz", A).unwrap();
        assert_eq!(words, ("example.kz".to_owned(), false, false));
        let hex = "7f3a09c4e1b8d265f07a3c9e.t.tunnel.example";
        assert_eq!(seen(hex, A).unwrap(), ("tunnel.example".to_owned(), true, false));
        let base32 = "pauq3ijz0mtkb4wyhx2cdlgreo1vf5sn.tunnel.example";
        assert_eq!(seen(base32, 5).unwrap(), ("tunnel.example".to_owned(), true, false));
        assert_eq!(
            seen("paaiq5ic.tunnel.example", TYPE_NULL).unwrap(),
            ("tunnel.example".to_owned(), false, true)
        );
        assert!(seen("yrbh.tunnel.example", 65_399).unwrap().2);
    }

    #[test]
    fn t22_a_label_of_any_bytes_is_looked_at() {
        let label: Vec<u8> = (0..48).map(|number| 0x20 + number * 4).collect();
        let name = Name::from_labels([&label[..], b"tunnel", b"example"]).unwrap();
        let mut text = [0; TEXT_BYTES_MAX];
        let signs = signs(&name, A, &mut text).unwrap();
        assert_eq!((signs.domain, signs.is_random), (&b"tunnel.example"[..], true));
    }

    #[test]
    fn bits_follow_the_distinct_names() {
        assert_eq!(bits_of(0), 0);
        assert_eq!(bits_of(1), 1);
        assert_eq!(bits_of(100), 90);
        assert!(bits_of(1_000) < u32::try_from(NAME_BITS).unwrap());
    }

    /// Notes a question of a name that sets this bit.
    fn note(window: &mut Window, bit: u64, is_random: bool) -> bool {
        let signs = Signs { domain: b"tunnel.example", is_random, is_roomy: false };
        window.note(&signs, bit, 90)
    }

    #[test]
    fn t22_a_window_tells_once_at_its_limit() {
        let mut window = Window::begin(Monotonic::default());
        assert!((0..89).all(|bit| !note(&mut window, bit, true)));
        assert!((0..1_000).all(|_| !note(&mut window, 5, true)), "the same name again");
        assert!(note(&mut window, 89, true));
        assert!((90..500).all(|bit| !note(&mut window, bit, true)), "it was told");
        assert!(!window.is_over(Monotonic::new(WINDOW - Duration::from_millis(1))));
        assert!(window.is_over(Monotonic::new(WINDOW)));
    }

    #[test]
    fn t22_many_names_that_look_like_words_tell_nothing() {
        let mut window = Window::begin(Monotonic::default());
        assert!((0..512).all(|bit| !note(&mut window, bit, bit % 3 == 0)));
        assert_eq!(window.bits(), 512);
        assert!((0..512).any(|bit| note(&mut window, bit, true)), "half of all");
    }
}

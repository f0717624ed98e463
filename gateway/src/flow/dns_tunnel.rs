//! Signs of a tunnel in a client's DNS: names that carry data (iodine, dnscat2), asked for by the hundred below one domain.
//!
//! A network that charges nothing for DNS carries such a tunnel free of charge. The signs are those of the field: many
//! distinct names below one registered domain in a short time, of labels that look random, or asked for in types that
//! have room for data. They raise an alarm and never decide (trap T22, "DNS tunnel"): virus scanners and block lists ask
//! such names too. What a few names bring in large answers is not seen.

use std::time::Duration;

use super::time::Monotonic;
use crate::wire::dns::Name;

/// For how long names are counted together.
pub const WINDOW: Duration = Duration::from_secs(300);
/// Bytes below the registered domain from which a name of an ordinary type may carry data.
const CARRYING_BYTES_MIN: usize = 16;
/// Shortest such name on the wire: with a dot, a domain of four bytes, and the two bytes that its form adds.
const WIRE_BYTES_MIN: usize = CARRYING_BYTES_MIN + 7;
/// Entropy from which labels look random, in eighths of a bit for a byte: 3.5 bits. Hexadecimal digits have up to 4, base 32 up to
/// 5; words have about 3, and more as they get many: alone it says little.
const RANDOM_ENTROPY_MIN: u64 = 28;
/// Type PTR (RFC 1035 §3.3.12).
const TYPE_PTR: u16 = 12;
/// Types that clients and validating stubs ask for as they browse: A, NS, SOA, PTR, AAAA, DS, DNSKEY, SVCB, HTTPS. All others
/// have room for data that nobody looks at (iodine asks for NULL, 65399, TXT, SRV, MX and CNAME).
const ORDINARY_TYPES: [u16; 9] = [1, 2, 6, TYPE_PTR, 28, 43, 48, 64, 65];
/// Longest label of a reverse look-up: three digits of an IPv4 address (RFC 1035 §3.5).
const REVERSE_LABEL_BYTES_MAX: usize = 3;
/// Longest name as text.
const TEXT_BYTES_MAX: usize = 255;
/// Bits of [`Window::names`], by which distinct names are estimated (linear counting: Whang et al. 1990).
const NAME_BITS: u64 = 512;
/// Words that hold them.
const NAME_WORDS: usize = 8;

/// Where a name is written as text while it is looked at.
pub type Text = [u8; TEXT_BYTES_MAX];

/// The registered domain of a question that may carry data; none for nearly all questions. Reverse look-ups are long without
/// being anybody's choice.
pub fn suspicious<'t>(name: &Name, kind: u16, text: &'t mut Text) -> Option<&'t [u8]> {
    let is_ordinary = ORDINARY_TYPES.contains(&kind);
    if is_ordinary && name.wire().len() < WIRE_BYTES_MIN {
        return None;
    }
    let text = write(name, text);
    let domain = allowlist::registrable_domain(text)?;
    let below = text.get(..text.len().checked_sub(domain.len())?.checked_sub(1)?)?;
    let is_reverse = kind == TYPE_PTR
        && domain.ends_with(b".arpa")
        && below.split(|byte| *byte == b'.').all(|label| label.len() <= REVERSE_LABEL_BYTES_MAX);
    let carries = !is_ordinary || (below.len() >= CARRYING_BYTES_MIN && is_random(below));
    (carries && !is_reverse).then_some(domain)
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
    // A name has at most 255 bytes.
    let mut counts = [0_u8; 256];
    let mut all = 0_u8;
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
    n_log2_n(all).saturating_sub(alike) >= u64::from(all).saturating_mul(RANDOM_ENTROPY_MIN)
}

/// `n` log2 `n` in eighths of a bit, the logarithm rounded down to one.
fn n_log2_n(n: u8) -> u64 {
    let Some(whole) = n.checked_ilog2() else { return 0 };
    // 2^whole ≤ n < 2^(whole+1): squared three times, the mantissa gives three more bits of the logarithm.
    let mut mantissa = (u64::from(n) << 16) >> whole;
    let mut log = u64::from(whole);
    for _ in 0..3 {
        mantissa = mantissa.saturating_mul(mantissa) >> 16;
        let bit = mantissa >> 17;
        mantissa >>= bit;
        log = log << 1 | bit;
    }
    u64::from(n).saturating_mul(log)
}

/// What one client has asked for below one domain since the window began.
#[derive(Clone, Copy, Debug, Default)]
pub struct Window {
    /// When it began.
    began: Monotonic,
    /// One bit of each suspicious name, by its hash.
    names: [u64; NAME_WORDS],
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

    /// Notes a suspicious name by its hash. True once a window: when there are `bits_min` bits of names. What else the client
    /// asks does not matter: it could be asked to hide the tunnel.
    pub fn note(&mut self, name_hash: u64, bits_min: u32) -> bool {
        let bit = name_hash % NAME_BITS;
        if let Some(word) = usize::try_from(bit / 64).ok().and_then(|word| self.names.get_mut(word)) {
            *word |= 1 << (bit % 64);
        }
        let is_new = !self.is_told && self.bits() >= bits_min;
        self.is_told |= is_new;
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
    const TXT: u16 = 16;

    fn seen(host: &str, kind: u16) -> Option<String> {
        let name = Name::from_host(host.as_bytes()).unwrap();
        let mut text = [0; TEXT_BYTES_MAX];
        suspicious(&name, kind, &mut text).map(|domain| str::from_utf8(domain).unwrap().to_owned())
    }

    #[test]
    fn n_log2_n_is_right_to_an_eighth_of_a_bit() {
        for (n, eighths) in [(1, 0), (2, 8), (3, 12), (5, 18), (7, 22), (64, 48), (100, 53), (255, 63)] {
            assert_eq!(n_log2_n(n), u64::from(n) * eighths, "{n}");
        }
        assert_eq!(n_log2_n(0), 0);
    }

    #[test]
    fn t22_short_names_of_usual_types_show_nothing() {
        assert_eq!(seen("www.bilimland.kz", A), None);
        assert_eq!(seen("rr3---sn-4g5e.googlevideo.com", A), None);
        assert_eq!(seen("bilimland.kz", TXT), None, "nothing below the domain");
    }

    #[test]
    fn t22_reverse_look_ups_show_nothing_and_what_looks_like_one_does() {
        let nibbles = "b.a.9.8.7.6.5.4.3.2.1.0.f.e.d.c.b.a.9.8.8.b.d.0.1.0.0.2.ip6.arpa";
        assert_eq!(seen(nibbles, TYPE_PTR), None);
        assert_eq!(seen("1.2.0.192.in-addr.arpa", TYPE_PTR), None);
        assert_eq!(seen(nibbles, TXT).as_deref(), Some("2.ip6.arpa"));
        let labels = "pauq3ijz0mtkb4wyhx2cdlgreo1vf5sn.8.b.d.0.1.0.0.2.ip6.arpa";
        assert_eq!(seen(labels, TYPE_PTR).as_deref(), Some("2.ip6.arpa"));
    }

    #[test]
    fn t22_words_and_data_are_told_apart() {
        let tunnel = Some("tunnel.example".to_owned());
        assert_eq!(seen("assets.static.images.assets.example.kz", A), None);
        assert_eq!(seen("7f3a09c4e1b8d265f07a3c9e.t.tunnel.example", A), tunnel);
        assert_eq!(seen("pauq3ijz0mtkb4wyhx2cdlgreo1vf5sn.tunnel.example", 28), tunnel);
        assert_eq!(seen("paaiq5ic.tunnel.example", 10), tunnel);
        assert_eq!(seen("yrbh.tunnel.example", 65_399), tunnel);
    }

    #[test]
    fn t22_a_label_of_any_bytes_is_looked_at() {
        let label: Vec<u8> = (0..48).map(|number| 0x20 + number * 4).collect();
        let name = Name::from_labels([&label[..], b"tunnel", b"example"]).unwrap();
        assert_eq!(suspicious(&name, A, &mut [0; _]), Some(&b"tunnel.example"[..]));
        let root = Name::from_labels([]).unwrap();
        assert_eq!(suspicious(&root, TXT, &mut [0; _]), None);
        let longest = Name::from_labels(std::iter::repeat_n(&[b'.'; 63][..], 3)).unwrap();
        assert!(suspicious(&longest, TXT, &mut [0; _]).is_some());
    }

    #[test]
    fn bits_follow_the_distinct_names() {
        assert_eq!(bits_of(0), 0);
        assert_eq!(bits_of(1), 1);
        assert_eq!(bits_of(100), 90);
        assert!(bits_of(1_000) < u32::try_from(NAME_BITS).unwrap());
    }

    #[test]
    fn t22_a_window_tells_once_at_its_limit() {
        let mut window = Window::begin(Monotonic::default());
        assert!((0..89).all(|bit| !window.note(bit, 90)));
        assert!((0..1_000).all(|_| !window.note(5, 90)), "the same name again");
        assert!(window.note(89, 90));
        assert!((90..512).all(|bit| !window.note(bit, 90)), "it was told");
        assert_eq!(window.bits(), 512);
        assert!(!window.is_over(Monotonic::new(WINDOW - Duration::from_millis(1))));
        assert!(window.is_over(Monotonic::new(WINDOW)));
    }
}

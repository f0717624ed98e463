//! Whether the programs see what passes: their counts beside the interfaces' own.
//!
//! Hardware that forwards by itself, a program in front of ours (XDP), or somebody who has detached ours leave packets that nobody
//! counts: carried, never exempt, and charged by the core. Nothing in the programs can tell of what they do not see; the
//! interfaces' counters can.
//!
//! In the same way what queues say they dropped stands beside what the kernel told of: a queue that does not say why it drops
//! (fq_codel and others of older kernels, when they shorten a queue from its head) is told of to nobody.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::layout::Dropped;
use crate::net::sys::attention::{Attention, AttentionReason};

/// Counters of the interfaces of the process's network.
const COUNTERS: &str = "/proc/self/net/dev";
/// Looks that are judged together.
const LOOKS: u32 = 10;
/// Bytes of a packet that are no IP, at most: an Ethernet header and a VLAN tag. What has none is held to be shorter than it is.
const LINK_BYTES: u64 = 18;
/// One part in so many may be anything else than IP.
const OTHER_SHARE: u64 = 10;
/// And so many bytes, which pass between two readings.
const OTHER_BYTES: u64 = 64 << 10;

/// Packets that queues may have dropped untold, beside one part in so many: what is dropped while both are read.
const UNTOLD_MAX: u64 = 16;
const UNTOLD_SHARE: u64 = 20;

/// What is known of the kernel path, for the pages.
#[derive(Debug, Default)]
pub struct Figures {
    taken: AtomicU64,
    unseen: AtomicU64,
    is_blind: AtomicBool,
    dropped: AtomicU64,
    dropped_packets: AtomicU64,
    has_unknown_drops: AtomicBool,
    has_untold_drops: AtomicBool,
}

impl Figures {
    /// Slots that somebody has.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// So many slots somebody has.
    pub fn set_taken(&self, slots: u64) {
        self.taken.store(slots, Ordering::Relaxed);
    }

    /// Bytes that passed the interfaces and that the programs did not see, at least.
    pub fn unseen(&self) -> u64 {
        self.unseen.load(Ordering::Relaxed)
    }

    /// Bytes to subscribers that this machine's queues dropped behind the programs.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Packets of all kinds that they dropped, as far as the kernel told of them.
    pub fn dropped_packets(&self) -> u64 {
        self.dropped_packets.load(Ordering::Relaxed)
    }

    /// So much they have dropped.
    pub fn set_dropped(&self, dropped: Dropped) {
        self.dropped.store(dropped.bytes, Ordering::Relaxed);
        self.dropped_packets.store(dropped.packets, Ordering::Relaxed);
    }

    /// Whether it can be known whose packets they drop.
    pub fn set_drops_known(&self, whether: bool) {
        self.has_unknown_drops.store(!whether, Ordering::Relaxed);
    }

    /// What wants attention of what they drop.
    pub fn drops_attention(&self) -> Option<Attention> {
        if self.has_untold_drops.load(Ordering::Relaxed) {
            return Some(Attention::new(
                AttentionReason::EgressUnknown,
                "a queue of this machine drops packets and does not say which: they are counted as carried. Remedy: shape behind \
                 this machine, with another queue (tc qdisc: fq, pfifo, tbf), or a newer kernel",
            ));
        }
        self.has_unknown_drops.load(Ordering::Relaxed).then(|| {
            Attention::new(
                AttentionReason::EgressUnknown,
                "the kernel does not tell whose packets this machine's queues drop: they are counted as carried. Remedy: shape \
                 behind this machine, or a kernel with CONFIG_DEBUG_INFO_BTF and CAP_PERFMON for the gateway",
            )
        })
    }

    /// What wants attention of what the programs see.
    pub fn attention(&self) -> Option<Attention> {
        self.is_blind.load(Ordering::Relaxed).then(|| {
            Attention::new(
                AttentionReason::KernelBlind,
                "more passes the subscribers' interfaces than the kernel's programs see: it is carried, counted by nobody and \
                 charged by the core. Somebody has detached them (`gateway nft print`; a restart puts them back), or hardware \
                 or XDP forwards by itself (`ethtool -k`, hw-tc-offload)",
            )
        })
    }
}

/// Compares the counts.
#[derive(Debug, Default)]
pub struct Watch {
    /// Bytes and packets of each interface at the last look.
    last: HashMap<String, (u64, u64)>,
    /// What the programs had seen then.
    seen: Option<u64>,
    /// IP bytes that passed since the last judgement, at least, and those that were seen.
    passed: u64,
    saw: u64,
    looks: u32,
}

impl Watch {
    /// Reads the counters of `interfaces`, then what the programs have `seen`, and judges every ten looks.
    pub fn look(&mut self, interfaces: &[&str], seen: impl FnOnce() -> u64, figures: &Figures) {
        let Ok(text) = std::fs::read_to_string(COUNTERS) else { return };
        let counters = counters(&text, interfaces);
        self.note(counters, seen());
        self.looks = self.looks.saturating_add(1);
        if self.looks >= LOOKS {
            self.judge(figures);
        }
    }

    /// Adds what has passed since the last look.
    fn note(&mut self, counters: HashMap<String, (u64, u64)>, seen: u64) {
        for (name, (bytes, packets)) in &counters {
            // An interface that is new begins here.
            let Some((bytes_before, packets_before)) = self.last.get(name) else { continue };
            let (bytes, packets) =
                (bytes.saturating_sub(*bytes_before), packets.saturating_sub(*packets_before));
            let passed = bytes.saturating_sub(packets.saturating_mul(LINK_BYTES));
            self.passed = self.passed.saturating_add(passed);
        }
        if let Some(before) = self.seen.replace(seen) {
            self.saw = self.saw.saturating_add(seen.saturating_sub(before));
        }
        self.last = counters;
    }

    /// Whether more has passed than was seen.
    fn judge(&mut self, figures: &Figures) {
        let (passed, saw) = (std::mem::take(&mut self.passed), std::mem::take(&mut self.saw));
        self.looks = 0;
        let at_least = passed.saturating_sub(passed / OTHER_SHARE).saturating_sub(OTHER_BYTES);
        let is_blind = at_least > saw;
        if is_blind {
            figures.unseen.fetch_add(passed.saturating_sub(saw), Ordering::Relaxed);
        }
        if is_blind && !figures.is_blind.swap(is_blind, Ordering::Relaxed) {
            tracing::error!(
                passed,
                saw,
                "more passes the subscribers' interfaces than the kernel's programs see (kernel_blind)"
            );
        }
        figures.is_blind.store(is_blind, Ordering::Relaxed);
    }
}

/// Compares what queues dropped with what the kernel told of.
#[derive(Debug, Default)]
pub struct Untold {
    /// Both at the first look.
    first: Option<(u64, u64)>,
    /// Packets that nobody was told of at the last judgement.
    before: u64,
    looks: u32,
}

impl Untold {
    /// The queues have `dropped` so many packets by their last look, and by now so many were `told`. Judged every ten looks.
    pub fn look(&mut self, dropped: u64, told: u64, figures: &Figures) {
        let (first_dropped, first_told) = *self.first.get_or_insert((dropped, told));
        self.looks = self.looks.saturating_add(1);
        if self.looks < LOOKS {
            return;
        }
        self.looks = 0;
        let (dropped, told) = (dropped.saturating_sub(first_dropped), told.saturating_sub(first_told));
        let at_most = told.saturating_add(told / UNTOLD_SHARE).saturating_add(UNTOLD_MAX);
        let untold = dropped.saturating_sub(at_most);
        figures.has_untold_drops.store(untold > self.before, Ordering::Relaxed);
        self.before = self.before.max(untold);
    }
}

/// Bytes and packets of both directions by interface (proc_pid_net(5), `dev`).
fn counters(text: &str, interfaces: &[&str]) -> HashMap<String, (u64, u64)> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let wanted = lines.filter(|(name, _)| interfaces.contains(&name.trim()));
    wanted
        .filter_map(|(name, numbers)| {
            let numbers: Vec<u64> = numbers.split_whitespace().flat_map(str::parse).collect();
            let [bytes_in, packets_in, _, _, _, _, _, _, bytes_out, packets_out, ..] = *numbers else {
                return None;
            };
            Some((
                name.trim().to_owned(),
                (bytes_in.saturating_add(bytes_out), packets_in.saturating_add(packets_out)),
            ))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Inter-|   Receive\n face |bytes\n  eth1: 1000 10 0 0 0 0 0 0 2000 20 0 0 0 0 0 0\n    lo: 7 1 0 0 0 0 0 0 7 1\n";

    #[test]
    fn k22_what_the_interfaces_passed_and_nobody_saw_is_told() {
        assert_eq!(counters(TEXT, &["eth1"]), HashMap::from([("eth1".to_owned(), (3_000, 30))]));
        let figures = Figures::default();
        let mut watch = Watch::default();
        let at = |bytes, packets| HashMap::from([("eth1".to_owned(), (bytes, packets))]);
        watch.note(at(5_000_000, 10), 0);
        // Packets of 1,000 bytes and a header; all seen.
        watch.note(at(6_018_000, 1_010), 1_000_000);
        watch.judge(&figures);
        assert!(figures.attention().is_none() && figures.unseen() == 0);
        // A tenth and 64 KiB more may be anything.
        watch.note(at(7_036_000, 2_010), 1_000_000 + 834_465);
        watch.judge(&figures);
        assert!(figures.attention().is_none());
        watch.note(at(8_054_000, 3_010), 1_834_465 + 834_463);
        watch.judge(&figures);
        assert!(figures.attention().is_some());
        assert_eq!(figures.unseen(), 1_000_000 - 834_463);
        watch.note(at(8_054_000, 3_010), 2_700_000);
        watch.judge(&figures);
        assert!(figures.attention().is_none(), "nothing passes: nothing is missed");
    }

    #[test]
    fn k28_what_queues_drop_and_nobody_is_told_of_is_noticed() {
        let (figures, mut untold) = (Figures::default(), Untold::default());
        let mut judge = |dropped, told| {
            (0..LOOKS).for_each(|_| untold.look(dropped, told, &figures));
            figures.drops_attention().is_some()
        };
        assert!(!judge(1_000, 7), "both begin somewhere");
        assert!(!judge(1_000 + 116, 7 + 100 - 4));
        assert!(!judge(1_000 + 1_000, 7 + 950));
        assert!(judge(1_000 + 1_100, 7 + 950));
        assert!(!judge(1_000 + 1_100, 7 + 950), "no more of them");
        figures.set_drops_known(false);
        assert!(judge(1_000 + 1_100, 7 + 950));
    }
}

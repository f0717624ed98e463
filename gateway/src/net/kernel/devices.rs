//! The interfaces that the programs stand at: named ones, and those of a pattern as they come and go.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::PathBuf;

use aya::Ebpf;
use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType};

use super::drops::{Drops, Place};
use super::load::LoadError;
use crate::net::sys::egress::below;

/// Hardware types with an Ethernet header (ARPHRD_ETHER and ARPHRD_LOOPBACK in linux/if_arp.h).
const ETHERNET: [u16; 2] = [1, 772];

/// How a device's packets begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// With an Ethernet header.
    Ethernet,
    /// With the IP header: PPP, tunnels.
    Bare,
}

impl Framing {
    /// The programs for both directions.
    const fn programs(self) -> [(&'static str, TcAttachType); 2] {
        match self {
            Self::Ethernet => {
                [("zk_up_ether", TcAttachType::Ingress), ("zk_down_ether", TcAttachType::Egress)]
            }
            Self::Bare => [("zk_up_bare", TcAttachType::Ingress), ("zk_down_bare", TcAttachType::Egress)],
        }
    }
}

/// An interface as it is at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Device {
    name: String,
    framing: Framing,
}

/// The programs, and where they stand.
pub struct Programs {
    bpf: Ebpf,
    folder: PathBuf,
    wanted: Vec<String>,
    /// Whose packets are dropped behind them, where that can be known.
    drops: Option<Drops>,
    /// Whether it is known of all of them.
    minds_drops: bool,
    /// By the number of the interface: one that comes again under a name is another.
    attached: BTreeMap<u32, Device>,
}

impl Programs {
    /// Standing nowhere yet.
    pub fn new(bpf: Ebpf, folder: PathBuf, wanted: Vec<String>, drops: Option<Drops>) -> Self {
        Self { bpf, folder, wanted, drops, minds_drops: false, attached: BTreeMap::new() }
    }

    /// Whose packets are dropped behind them, where that can be known.
    pub const fn drops(&self) -> Option<&Drops> {
        self.drops.as_ref()
    }

    /// Whether it is known of all interfaces whose packets are dropped behind them.
    pub const fn minds_drops(&self) -> bool {
        self.minds_drops
    }

    /// Numbers of the interfaces at which they stand.
    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        self.attached.keys().copied()
    }

    /// Names of the interfaces at which they stand.
    pub fn interfaces(&self) -> impl Iterator<Item = &str> {
        self.attached.values().map(|device| device.name.as_str())
    }

    /// Follows the machine's interfaces: attaches to those that are new, and forgets those that are gone. One that cannot be
    /// attached to is told, and tried again.
    pub fn follow(&mut self) {
        // Somebody has removed all of it, or the file system is gone.
        if !self.folder.exists() {
            return;
        }
        if let Err(error) = self.attach_all() {
            tracing::warn!(%error, "an interface is not watched: what passes there is charged by the core, and counted by nobody");
        }
    }

    /// The same, for all of them.
    ///
    /// # Errors
    /// The first interface that cannot be attached to; the others are.
    pub(super) fn attach_all(&mut self) -> Result<(), LoadError> {
        let there = devices(&self.wanted);
        self.mind_drops(&there);
        let gone: Vec<u32> =
            self.attached.keys().filter(|number| !there.contains_key(number)).copied().collect();
        for number in gone {
            if let Some(device) = self.attached.remove(&number) {
                for (name, _) in device.framing.programs() {
                    let _ = fs::remove_file(self.pin(name, number));
                }
            }
        }
        let mut failed = None;
        for (number, device) in there {
            if self.attached.get(&number).is_some_and(|known| known.framing == device.framing) {
                continue;
            }
            let put = device.framing.programs().into_iter().try_for_each(|(name, side)| {
                let pin = self.pin(name, number);
                put(&mut self.bpf, name, &device.name, side, &pin)
                    .map_err(|(step, source)| LoadError::Program { name, step, source })
            });
            match put {
                Ok(()) => {
                    tracing::info!(interface = device.name, "the kernel watches an interface");
                    self.attached.insert(number, device);
                }
                Err(error) => {
                    failed.get_or_insert(error);
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Drops of an interface are minded before its packets are counted: none that was counted is missed.
    fn mind_drops(&mut self, there: &BTreeMap<u32, Device>) {
        let Some(drops) = &mut self.drops else { return };
        // Who may not ask what stands below knows of those that are counted at, and does not see queues at all (`egress_unknown`).
        let minded = drops.follow(&places(there.keys().copied(), &below().unwrap_or_default()));
        if let (true, Err(error)) = (self.minds_drops || self.attached.is_empty(), &minded) {
            tracing::warn!(%error, "what the queues of an interface drop is counted as carried");
        }
        self.minds_drops = minded.is_ok();
    }

    /// Where the link of a program at an interface is kept.
    fn pin(&self, program: &str, interface: u32) -> PathBuf {
        self.folder.join(format!("{program}-{interface}"))
    }
}

/// What was tried of a program, and why it failed.
type Failed = (&'static str, Box<dyn std::error::Error + Send + Sync>);

/// Attaches one program, or puts it into the link that is there.
fn put(
    bpf: &mut Ebpf,
    name: &'static str,
    interface: &str,
    side: TcAttachType,
    pin: &PathBuf,
) -> Result<(), Failed> {
    let load = |error: ProgramError| -> Failed { ("loaded", error.into()) };
    let attach = |error: ProgramError| -> Failed { ("attached", error.into()) };
    let keep = |error: LinkError| -> Failed { ("attached", error.into()) };
    let program = bpf.program_mut(name).ok_or_else(|| load(ProgramError::NotLoaded))?;
    let program: &mut SchedClassifier = program.try_into().map_err(load)?;
    if program.fd().is_err() {
        program.load().map_err(load)?;
    }
    let id = if pin.exists() {
        let link = PinnedLink::from_pin(pin).map_err(keep)?;
        let link = SchedClassifierLink::try_from(FdLink::from(link)).map_err(keep)?;
        program.attach_to_link(link).map_err(attach)?
    } else {
        // The first to see what subscribers send, the last to see what goes to them: others' programs see marks, and ours see
        // what others made of a packet.
        let order = match side {
            TcAttachType::Ingress => LinkOrder::first(),
            TcAttachType::Egress | TcAttachType::Custom(_) => LinkOrder::last(),
        };
        program.attach_with_options(interface, side, TcAttachOptions::TcxOrder(order)).map_err(attach)?
    };
    // The pin alone keeps it: whoever removes that removes all.
    let link: FdLink = program.take_link(id).map_err(attach)?.try_into().map_err(keep)?;
    if !pin.exists() {
        link.pin(pin).map_err(|error| -> Failed { ("kept", error.into()) })?;
    }
    Ok(())
}

/// Interfaces that packets are counted at, and all that stand below them.
fn places(counted: impl Iterator<Item = u32>, below: &HashMap<u32, Vec<u32>>) -> BTreeMap<u32, Place> {
    let mut places: BTreeMap<u32, Place> = counted.map(|number| (number, Place::Counted)).collect();
    let mut above: Vec<u32> = places.keys().copied().collect();
    while let Some(number) = above.pop() {
        for lower in below.get(&number).into_iter().flatten() {
            // Two ends of a wire each stand below the other.
            if !places.contains_key(lower) {
                places.insert(*lower, Place::Below);
                above.push(*lower);
            }
        }
    }
    places
}

/// The machine's interfaces that are asked for, by their numbers.
fn devices(wanted: &[String]) -> BTreeMap<u32, Device> {
    let Ok(all) = nix::ifaddrs::getifaddrs() else { return BTreeMap::new() };
    let mut framings: BTreeMap<String, Framing> = BTreeMap::new();
    for one in all.filter(|one| wanted.iter().any(|wanted| is_meant(wanted, &one.interface_name))) {
        // One without an address of its own (PPP, tunnels) has no entry that says its type.
        let framing = framings.entry(one.interface_name).or_insert(Framing::Bare);
        let link = one.address.as_ref().and_then(|address| address.as_link_addr());
        if link.is_some_and(|link| ETHERNET.contains(&link.hatype())) {
            *framing = Framing::Ethernet;
        }
    }
    let numbered = framings.into_iter().filter_map(|(name, framing)| {
        let number = nix::net::if_::if_nametoindex(name.as_str()).ok()?;
        Some((number, Device { name, framing }))
    });
    numbered.collect()
}

/// Whether an interface is one that a name or pattern speaks of.
fn is_meant(wanted: &str, name: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(head) => name.starts_with(head),
        None => name == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_all_names_that_begin_so_and_a_name_itself_alone() {
        let of = |wanted| ["eth1", "eth1.5", "ppp0", "ppp12"].map(|name| is_meant(wanted, name));
        assert_eq!(of("eth1"), [true, false, false, false]);
        assert_eq!(of("eth1*"), [true, true, false, false]);
        assert_eq!(of("ppp*"), [false, false, true, true]);
        assert_eq!(of("*"), [true; 4]);
    }

    #[test]
    fn k28_what_stands_below_is_minded_all_the_way_down() {
        let below = HashMap::from([(7, vec![3]), (3, vec![1, 2]), (1, vec![3]), (9, vec![8])]);
        let (counted, lower) = (Place::Counted, Place::Below);
        let wanted = BTreeMap::from([(1, lower), (2, lower), (3, lower), (7, counted)]);
        assert_eq!(places([7].into_iter(), &below), wanted);
        assert_eq!(places([7, 3].into_iter(), &below).get(&3), Some(&counted));
    }
}

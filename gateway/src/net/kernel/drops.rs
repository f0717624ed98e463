//! Whose packets the queues drop behind the programs' count: a program of its own that the kernel tells of every drop.
//!
//! It wants the types of the kernel that runs, and the right to trace it. Where either is missing packets are forwarded and
//! counted all the same, and what this machine's queues drop of them is counted as carried: the operator is told.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use aya::maps::{Array, HashMap, MapData, PerCpuArray};
use aya::programs::BtfTracePoint;
use aya::programs::links::FdLink;
use aya::{Btf, EbpfLoader};
use rustix::time::{ClockId, clock_gettime};

use super::layout::{DROPS_WORDS, Dropped};
use super::load::{LoadError, take};

/// The object that `build.rs` made of `gateway/bpf/drops.bpf.c`; none where it was built without clang.
static OBJECT: Option<&[u8]> = include!(concat!(env!("OUT_DIR"), "/drops.rs"));

/// The program, and the beginning of the names of what keeps it attached.
const PROGRAM: &str = "zk_drop";
/// Where the kernel tells of what it drops.
const TRACEPOINT: &str = "kfree_skb";
/// The namespace whose interfaces are watched. Its inode is what the kernel calls it by.
const NETWORK: &str = "/proc/thread-self/ns/net";

/// Why it cannot be known whose packets are dropped.
#[derive(Debug, thiserror::Error)]
pub enum DropsError {
    /// There is no program.
    #[error("this gateway was built without clang")]
    NotBuilt,
    /// The types of the kernel.
    #[error("the kernel does not tell its types (CONFIG_DEBUG_INFO_BTF): {0}")]
    Types(#[from] aya::BtfError),
    /// The namespace, or a pin.
    #[error(transparent)]
    System(#[from] std::io::Error),
    /// The object or its maps.
    #[error(transparent)]
    Object(#[from] aya::EbpfError),
    /// The program.
    #[error(transparent)]
    Program(#[from] aya::programs::ProgramError),
    /// What keeps it attached.
    #[error(transparent)]
    Pin(#[from] aya::pin::PinError),
    /// A map has another shape than this version's.
    #[error(transparent)]
    Shape(#[from] LoadError),
    /// A map cannot be read or written.
    #[error(transparent)]
    Map(#[from] aya::maps::MapError),
}

/// The program, which stands at the kernel's own tracepoint, and the interfaces whose drops it minds.
pub struct Drops {
    devices: HashMap<MapData, [u32; 2], u8>,
    counts: PerCpuArray<MapData, [u64; DROPS_WORDS]>,
    network: u32,
    /// What the map holds, as far as this process knows.
    known: BTreeMap<u32, Place>,
}

/// Where an interface stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A program counts what leaves by it.
    Counted,
    /// What leaves by such a one leaves by it: the device of a VLAN, a part of a bond or a bridge.
    Below,
}

impl Place {
    /// Its number (`gateway/bpf/layout.h`).
    const fn number(self) -> u8 {
        match self {
            Self::Counted => 1,
            Self::Below => 2,
        }
    }
}

impl Drops {
    /// Loads the program with the maps of `folder`, has it take over from that of a process before, and has it kept there.
    ///
    /// # Errors
    /// What is missing. An earlier process's program counts on then, with the interfaces that it knows.
    pub fn load(folder: &Path, slots: u32) -> Result<Self, DropsError> {
        let object = OBJECT.ok_or(DropsError::NotBuilt)?;
        let types = Btf::from_sys_fs()?;
        // The kernel's numbers of namespaces have 32 bits.
        let network = u32::try_from(fs::metadata(NETWORK)?.ino()).unwrap_or(0);
        // No two processes start in the same nanosecond since the machine did.
        let started = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(started.tv_sec).unwrap_or(0);
        let turn =
            seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(started.tv_nsec).unwrap_or(0));
        let mut loader = EbpfLoader::new();
        loader.btf(Some(&types)).override_global("own_turn", &turn, true).default_map_pin_directory(folder);
        for name in ["zk_flows4", "zk_flows6", "zk_slots", "zk_dropped"] {
            loader.map_max_entries(name, slots);
        }
        let mut bpf = loader.load(object)?;
        let devices: HashMap<MapData, [u32; 2], u8> = take(&mut bpf, "zk_devices")?;
        let counts = take(&mut bpf, "zk_drops")?;
        let mut turns: Array<MapData, u64> = take(&mut bpf, "zk_turn")?;
        let program = bpf.program_mut(PROGRAM).ok_or(LoadError::Map(PROGRAM))?;
        let program: &mut BtfTracePoint = program.try_into()?;
        program.load(TRACEPOINT, &types)?;
        let id = program.attach()?;
        let link: FdLink = program.take_link(id)?.into();
        let pin = format!("{PROGRAM}-{turn}");
        link.pin(folder.join(&pin))?;
        // From here on it counts, and the one before does not.
        if let Err(error) = turns.set(0, turn, 0) {
            let _ = fs::remove_file(folder.join(&pin));
            return Err(error.into());
        }
        remove_others(folder, &pin);
        let known = devices.iter().flatten().filter(|([_, at], _)| *at == network);
        let known = known.map(|([number, _], place)| {
            (number, if place == Place::Counted.number() { Place::Counted } else { Place::Below })
        });
        let known = known.collect();
        Ok(Self { devices, counts, network, known })
    }

    /// Minds the drops of these interfaces, by their numbers, and of no others of this namespace.
    ///
    /// # Errors
    /// The kernel's word.
    pub fn follow(&mut self, wanted: &BTreeMap<u32, Place>) -> Result<(), DropsError> {
        for gone in self.known.keys().filter(|number| !wanted.contains_key(number)) {
            let _ = self.devices.remove(&[*gone, self.network]);
        }
        self.known.retain(|number, _| wanted.contains_key(number));
        for (number, place) in wanted {
            if self.known.get(number) != Some(place) {
                self.devices.insert([*number, self.network], place.number(), 0)?;
                self.known.insert(*number, *place);
            }
        }
        Ok(())
    }

    /// What was dropped so far.
    pub fn counts(&self) -> Dropped {
        let values = self.counts.get(&0, 0);
        values.map_or_else(
            |_| Dropped::default(),
            |values| values.iter().fold(Dropped::default(), |sum, words| sum.plus(words)),
        )
    }
}

/// Takes away what keeps programs of processes before this one attached.
fn remove_others(folder: &Path, pin: &str) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_other = name.to_str().is_some_and(|name| name != pin && is_pin(name));
        if is_other {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether a name in the folder is that of a pin of such a program.
fn is_pin(name: &str) -> bool {
    name.strip_prefix(PROGRAM).and_then(|rest| rest.strip_prefix('-')).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k28_only_pins_of_this_program_are_taken_away() {
        let of = ["zk_drop-17", "zk_drops", "zk_dropped", "zk_down_ether-2"].map(is_pin);
        assert_eq!(of, [true, false, false, false]);
    }
}

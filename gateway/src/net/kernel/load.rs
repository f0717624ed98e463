//! Loads the programs, keeps them and their maps under one folder, and takes them over from a process before.
//!
//! What is pinned outlives the process: packets are counted and marked while nobody runs. A process that starts finds the maps,
//! loads its own programs, and puts them into the links that are there: no packet passes uncounted. Whoever removes the folder
//! removes all of it.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, RingBuf, Stack};
use aya::{Ebpf, EbpfLoader};

use super::claims::Claims;
use super::devices::Programs;
use super::drops::Drops;
use super::layout::{Dropped, GATE_WORDS, Gate, KEY_BYTES, KEY4_BYTES, PORT_WORDS, RawKey};
use super::slots::{Control, Slots};
use super::watch::Figures;

/// The object that `build.rs` made of `gateway/bpf/flow.bpf.c`; none where it was built without clang.
static OBJECT: Option<&[u8]> = include!(concat!(env!("OUT_DIR"), "/flow.rs"));

/// `BPF_FS_MAGIC` of linux/magic.h.
const BPF_FS: rustix::fs::FsWord = 0xcafe_4a11;
/// Maps with a value for each slot, or at most so many.
const MAPS_BY_SLOT: [&str; 8] =
    ["zk_flows4", "zk_flows6", "zk_free", "zk_told", "zk_dropped", "zk_opened", "zk_closed", SLOTS_MAP];
/// The map by which a folder is known to hold what an earlier process left.
const SLOTS_MAP: &str = "zk_slots";

/// What the kernel is to hold.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Folder of the pins, below a mounted bpf file system.
    pub folder: PathBuf,
    /// Interfaces on the subscribers' side, and patterns for them that end in `*`.
    pub interfaces: Vec<String>,
    /// Flows that it counts apart at once.
    pub slots: u32,
    /// Those of one subscriber's address.
    pub share: u32,
    /// Bytes of the ring of copies: a power of two, and whole pages.
    pub ring_bytes: u32,
    /// Ports whose flows are told apart.
    pub tcp_ports: Vec<u16>,
    /// The same of UDP.
    pub udp_ports: Vec<u16>,
    /// Code points that mean "exempt".
    pub dscps: Vec<u8>,
    /// How long packets bear marks when the process is silent.
    pub marks_timeout: Duration,
    /// How long a TCP connection may be silent before its slot is another's.
    pub idle_timeout: Duration,
    /// The same of other UDP than QUIC, and of a subscriber's other packets.
    pub udp_idle_timeout: Duration,
    /// The same of QUIC.
    pub quic_idle_timeout: Duration,
}

/// Why the kernel path cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There are no programs.
    #[error(
        "this gateway was built without clang, and so without the programs of interception \"kernel\"; wanted a build on a machine with clang (Debian: apt install clang), or interception \"tproxy\""
    )]
    NotBuilt,
    /// The folder for pins.
    #[error("edge.pin_dir: found {} unusable: {source}; wanted a folder below a mounted bpf file system (mount -t bpf bpf /sys/fs/bpf)", .path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The object or its maps.
    #[error("the programs cannot be loaded: {}; wanted Linux 6.6 or newer and the rights CAP_NET_ADMIN, CAP_BPF and CAP_PERFMON", whole(.0))]
    Object(#[from] aya::EbpfError),
    /// One program.
    #[error("the program {name} cannot be {step}: {}; wanted Linux 6.6 or newer and the rights CAP_NET_ADMIN, CAP_BPF and CAP_PERFMON", whole(&**.source))]
    Program {
        /// Which.
        name: &'static str,
        /// What was tried.
        step: &'static str,
        /// What the kernel or its verifier says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A map has another shape than this version's: an older gateway's maps are pinned.
    #[error(
        "the kernel's table {0} is missing or of another shape or size than asked for; remedy: gateway nft remove, then apply: what it counts for at the moment is then nobody's"
    )]
    Map(&'static str),
    /// A map cannot be read or written.
    #[error("the kernel's table {name} cannot be used: {}", whole(.source))]
    Table {
        /// Which.
        name: &'static str,
        /// The kernel's word.
        source: aya::maps::MapError,
    },
}

/// An error with what caused it: the kernel's word stands innermost.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text += ": ";
            text += &more;
        }
        cause = inner.source();
    }
    text
}

/// Whether this gateway was built with the programs.
pub const fn is_built() -> bool {
    OBJECT.is_some()
}

/// What the kernel holds for one node.
pub struct Kernel {
    /// What it was asked for.
    pub plan: Plan,
    /// The programs and where they stand.
    pub programs: Programs,
    /// The slots.
    pub slots: Arc<Slots>,
    /// What the programs are told.
    pub control: Control,
    /// First bytes of flows.
    pub ring: RingBuf<MapData>,
    /// What is known of all this, for the pages.
    pub figures: Arc<Figures>,
    tables: Tables,
    _named: Named,
}

/// Maps that programs name when they are loaded, which may be when the first device of a kind comes.
struct Named {
    _arrays: [MapData; 4],
    _ports: Array<MapData, u64>,
}

/// The kernel's tables that are changed by calls.
struct Tables {
    flows4: HashMap<MapData, [u8; KEY4_BYTES], u64>,
    flows6: HashMap<MapData, [u8; KEY_BYTES], u64>,
    free: Stack<MapData, u32>,
    own: HashMap<MapData, [u8; 16], u8>,
    opened: HashMap<MapData, [u8; 16], u32>,
    closed: HashMap<MapData, [u8; 16], u32>,
    gate: PerCpuArray<MapData, [u64; GATE_WORDS]>,
}

impl Kernel {
    /// Loads the programs with new maps below the folder, or with those that are there, and attaches them to every interface of
    /// the plan that the machine has.
    ///
    /// # Errors
    /// [`LoadError`]. Nothing is attached then that was not before.
    pub fn load(plan: Plan) -> Result<(Self, Claims), LoadError> {
        let object = OBJECT.ok_or(LoadError::NotBuilt)?;
        let failed = |source| LoadError::Folder { path: plan.folder.clone(), source };
        if !is_on_bpf(&plan.folder) {
            return Err(failed(io::Error::other("it is on no bpf file system")));
        }
        // First bytes and addresses of subscribers are in the maps.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&plan.folder).map_err(failed)?;
        let is_fresh = !plan.folder.join(SLOTS_MAP).exists();
        let slots = plan.slots;
        let mut loader = EbpfLoader::new();
        loader.default_map_pin_directory(&plan.folder).map_max_entries("zk_copies", plan.ring_bytes);
        for name in MAPS_BY_SLOT {
            loader.map_max_entries(name, slots);
        }
        let mut bpf = match loader.load(object) {
            Ok(bpf) => bpf,
            Err(error) => {
                if is_fresh {
                    // Maps that were pinned before one failed would pass for an earlier process's.
                    let _ = fs::remove_dir_all(&plan.folder);
                }
                return Err(error.into());
            }
        };
        let mut array_of = |name| self::array(&mut bpf, name, slots);
        let (array, told, dropped) = (array_of(SLOTS_MAP)?, array_of("zk_told")?, array_of("zk_dropped")?);
        let mapped = |source| failed(source);
        let slots = Arc::new(Slots::map(array.fd(), told.fd(), dropped.fd(), slots).map_err(mapped)?);
        let words = self::array(&mut bpf, "zk_control", 1)?;
        let control = Control::map(words.fd()).map_err(mapped)?;
        let claims = Claims::new(take(&mut bpf, "zk_names")?);
        let mut ports: Array<MapData, u64> = take(&mut bpf, "zk_ports")?;
        let ring = take(&mut bpf, "zk_copies")?;
        let mut tables = Tables {
            flows4: take(&mut bpf, "zk_flows4")?,
            flows6: take(&mut bpf, "zk_flows6")?,
            free: take(&mut bpf, "zk_free")?,
            own: take(&mut bpf, "zk_own")?,
            opened: take(&mut bpf, "zk_opened")?,
            closed: take(&mut bpf, "zk_closed")?,
            gate: take(&mut bpf, "zk_gate")?,
        };
        if is_fresh {
            // The lowest comes out first.
            for number in slots.numbers().rev() {
                tables.free.push(number, 0).map_err(table("zk_free"))?;
            }
        }
        lead(&mut ports, &plan.tcp_ports, &plan.udp_ports)?;
        let own_marks =
            plan.dscps.iter().fold(0, |bits, dscp| bits | 1_u64.checked_shl((*dscp).into()).unwrap_or(0));
        control.set(plan.marks_timeout, own_marks, plan.share);
        let figures: Arc<Figures> = Arc::default();
        let drops = watch_drops(&plan);
        let programs = Programs::new(bpf, plan.folder.clone(), plan.interfaces.clone(), drops);
        let named = Named { _arrays: [array, told, dropped, words], _ports: ports };
        let mut kernel = Self { plan, programs, slots, control, ring, figures, tables, _named: named };
        kernel.programs.attach_all()?;
        kernel.figures.set_drops_known(kernel.programs.minds_drops());
        Ok((kernel, claims))
    }

    /// Takes all of it back, without a trace.
    ///
    /// # Errors
    /// The folder cannot be removed.
    pub fn remove(folder: &Path) -> Result<(), LoadError> {
        match fs::remove_dir_all(folder) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(LoadError::Folder { path: folder.to_owned(), source })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Takes away the key of the flow that has a slot, unless it leads elsewhere by now; whether it led there.
    pub fn forget(&mut self, number: u32) -> bool {
        if !self.leads_to(number) {
            return false;
        }
        let key = self.slots.key(number);
        match key.short() {
            Some(short) => self.tables.flows4.remove(&short).is_ok(),
            None => self.tables.flows6.remove(&key.0).is_ok(),
        }
    }

    /// Whether the key of the flow that has a slot leads to it.
    pub fn leads_to(&self, number: u32) -> bool {
        let RawKey(key) = self.slots.key(number);
        let entry = match RawKey(key).short() {
            Some(short) => self.tables.flows4.get(&short, 0),
            None => self.tables.flows6.get(&key, 0),
        };
        let [a, b, c, d] = number.to_ne_bytes();
        let [e, f, g, h] = self.slots.generation(number).to_ne_bytes();
        entry.is_ok_and(|entry| entry == u64::from_ne_bytes([a, b, c, d, e, f, g, h]))
    }

    /// Gives a slot back that no key leads to, emptied.
    pub fn free(&mut self, number: u32) {
        self.slots.clear(number);
        let _ = self.tables.free.push(number, 0);
    }

    /// So many slots more of a subscriber's address were given back, `before` of them in all earlier, as far as this process knows;
    /// how many in all, or none when he has none and is forgotten.
    pub fn give_back(&mut self, address: [u8; 16], before: Option<u32>, more: u32) -> Option<u32> {
        let before = before.unwrap_or_else(|| self.tables.closed.get(&address, 0).unwrap_or(0));
        let closed = before.wrapping_add(more);
        let opened = self.tables.opened.get(&address, 0).unwrap_or(closed);
        if opened == closed {
            // One that was opened in this moment is forgotten: a slot more than his share.
            let _ = self.tables.closed.remove(&address);
            let _ = self.tables.opened.remove(&address);
            return None;
        }
        let _ = self.tables.closed.insert(address, closed, 0);
        Some(closed)
    }

    /// The machine's own addresses: packets to and from them are nobody's to forward.
    pub fn set_own(&mut self, before: &HashSet<[u8; 16]>, now: &HashSet<[u8; 16]>) {
        for gone in before.difference(now) {
            let _ = self.tables.own.remove(gone);
        }
        for new in now.difference(before) {
            let _ = self.tables.own.insert(*new, 1, 0);
        }
    }

    /// The addresses that a process before this one took for the machine's.
    pub fn own(&self) -> HashSet<[u8; 16]> {
        self.tables.own.keys().flatten().collect()
    }

    /// The programs' counts.
    pub fn gate(&self) -> Gate {
        let values = self.tables.gate.get(&0, 0);
        values.map_or_else(
            |_| Gate::default(),
            |values| values.iter().fold(Gate::default(), |sum, words| sum.plus(words)),
        )
    }

    /// What was dropped behind them.
    pub fn dropped(&self) -> Dropped {
        self.programs.drops().map_or_else(Dropped::default, Drops::counts)
    }
}

/// Has the kernel tell whose packets it drops behind the programs, where it can: nothing else depends on it.
fn watch_drops(plan: &Plan) -> Option<Drops> {
    match Drops::load(&plan.folder, plan.slots) {
        Ok(drops) => Some(drops),
        Err(error) => {
            tracing::warn!(
                error = whole(&error),
                "it is not known whose packets this machine's queues drop: they are counted as carried. Remedy: shape behind \
                 this machine, or a kernel with CONFIG_DEBUG_INFO_BTF and the right CAP_PERFMON"
            );
            None
        }
    }
}

/// The ports whose flows are told apart.
fn lead(ports: &mut Array<MapData, u64>, tcp: &[u16], udp: &[u16]) -> Result<(), LoadError> {
    for (first, led) in [(0, tcp), (PORT_WORDS, udp)] {
        for word in 0..PORT_WORDS {
            let bits = led.iter().filter(|port| u32::from(**port) / u64::BITS == word);
            let bits = bits.fold(0, |bits, port| bits | 1_u64 << (u32::from(*port) % u64::BITS));
            let index = first.saturating_add(word);
            if ports.get(&index, 0).map_err(table("zk_ports"))? != bits {
                ports.set(index, bits, 0).map_err(table("zk_ports"))?;
            }
        }
    }
    Ok(())
}

/// Whether a folder is, or would be, on a bpf file system.
pub fn is_on_bpf(folder: &Path) -> bool {
    let there = folder.ancestors().find(|path| path.exists());
    there.is_some_and(|there| rustix::fs::statfs(there).is_ok_and(|found| found.f_type == BPF_FS))
}

/// Names the table that an error speaks of.
fn table(name: &'static str) -> impl Fn(aya::maps::MapError) -> LoadError {
    move |source| LoadError::Table { name, source }
}

/// A map by its name, out of the object.
pub(super) fn take<M: TryFrom<Map>>(bpf: &mut Ebpf, name: &'static str) -> Result<M, LoadError> {
    let map = bpf.take_map(name).ok_or(LoadError::Map(name))?;
    M::try_from(map).map_err(|_| LoadError::Map(name))
}

/// An array that is to be mapped, of so many values.
fn array(bpf: &mut Ebpf, name: &'static str, count: u32) -> Result<MapData, LoadError> {
    let Some(Map::Array(data)) = bpf.take_map(name) else { return Err(LoadError::Map(name)) };
    let is_sound = data.info().is_ok_and(|info| info.max_entries() == count);
    if is_sound { Ok(data) } else { Err(LoadError::Map(name)) }
}

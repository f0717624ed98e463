//! Outside addresses and blocks of their ports, as translators report them (RFC 8045, and four vendors).
//!
//! Both ends of a block are in it. A block that ends before it begins, or beyond port 65535, is none. What is broken within
//! an attribute is passed over with the whole attribute, so that a block is never half of what was meant.

use core::net::Ipv4Addr;

use super::address::{decimal, host};
use super::attribute::{Attribute, Attributes, integer};
use super::bounded::Bounded;

/// How many blocks of a packet are kept. A translator gives a subscriber one, and a few more as he needs them.
pub const BLOCKS_MAX: usize = 64;

/// Outside address of an IP-Port-Range (RFC 8045 §3.2.3).
const TLV_EXTERNAL_ADDRESS: u8 = 3;
/// Whether it is allocated (1) or given back (2) (RFC 8045 §3.2.8).
const TLV_ALLOCATION: u8 = 8;
/// First port (RFC 8045 §3.2.9).
const TLV_RANGE_START: u8 = 9;
/// Last port (RFC 8045 §3.2.10).
const TLV_RANGE_END: u8 = 10;

/// A block of ports of an outside address, and what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortBlock {
    /// How it was reported.
    pub form: BlockForm,
    /// The outside address.
    pub address: Ipv4Addr,
    /// The first port.
    pub first: u16,
    /// The last port; not below the first.
    pub last: u16,
    /// What becomes of it.
    pub change: Change,
}

/// How blocks are reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockForm {
    /// Alc-Nat-Port-Range (Nokia 6527-121), text: `ADDRESS LOW-HIGH[,LOW-HIGH]… router NAME`; the packet has all of them.
    Nokia,
    /// HW-NAT-IP-Address, -Start-Port, -End-Port and HW-Nat-Port-Range-Update (Huawei 2011-161, -162, -163, -165).
    Huawei,
    /// IP-Port-Range (241.6, RFC 8045 §3.1.2).
    IpPortRange,
    /// H3C-NAT-IP-Address, -Start-Port and -End-Port (25506-32, -33, -34); the packet has all of them.
    H3c,
    /// The outside address is the subscriber's alone, with all its ports: Alc-Nat-Outside-Ip-Addr (Nokia 6527-141),
    /// VasExperts-NAT-IP (43823-21).
    WholeAddress,
}

/// What becomes of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// The session has it besides others.
    Add,
    /// The session does not have it any more.
    Remove,
    /// The session has those of the packet that say this, and of the same form no others.
    Replace,
}

/// An empty list.
pub(super) const NO_BLOCKS: Bounded<PortBlock, BLOCKS_MAX> = Bounded::new(PortBlock {
    form: BlockForm::WholeAddress,
    address: Ipv4Addr::UNSPECIFIED,
    first: 0,
    last: 0,
    change: Change::Add,
});

/// The blocks of a packet while it is read.
pub(super) struct Blocks {
    /// Those that are whole.
    list: Bounded<PortBlock, BLOCKS_MAX>,
    /// Numbers of Huawei.
    huawei: Columns,
    /// Numbers of H3C.
    h3c: Columns,
    /// Whether the packet tells of a translator, readable or not.
    is_translated: bool,
}

/// Numbers that belong together by their order among those of the same type.
struct Columns {
    /// Outside addresses.
    addresses: Bounded<Ipv4Addr, BLOCKS_MAX>,
    /// First ports.
    firsts: Bounded<u32, BLOCKS_MAX>,
    /// Last ports.
    lasts: Bounded<u32, BLOCKS_MAX>,
    /// What becomes of them.
    changes: Bounded<u32, BLOCKS_MAX>,
    /// Whether a value was of a wrong length: then which belong together is unknown.
    is_broken: bool,
}

/// Which of the numbers that belong together a value is.
#[derive(Clone, Copy)]
pub(super) enum Column {
    /// The outside address.
    Address,
    /// The first port.
    First,
    /// The last port.
    Last,
    /// What becomes of it.
    Change,
}

impl Columns {
    /// No numbers.
    const NONE: Self = Self {
        addresses: Bounded::new(Ipv4Addr::UNSPECIFIED),
        firsts: Bounded::new(0),
        lasts: Bounded::new(0),
        changes: Bounded::new(0),
        is_broken: false,
    };

    /// Takes a value.
    fn take(&mut self, column: Column, value: &[u8]) {
        let Some(number) = integer(value) else {
            self.is_broken = true;
            return;
        };
        match column {
            Column::Address => self.addresses.push(Ipv4Addr::from_bits(number)),
            Column::First => self.firsts.push(number),
            Column::Last => self.lasts.push(number),
            Column::Change => self.changes.push(number),
        }
    }

    /// Whether a value found no room.
    const fn is_over(&self) -> bool {
        self.addresses.is_over() || self.firsts.is_over() || self.lasts.is_over() || self.changes.is_over()
    }

    /// The blocks: one of each first and last port, with the address and the change in the same place, or the only one.
    /// Where the numbers do not come out even there are none.
    fn blocks(&self) -> impl Iterator<Item = (Ipv4Addr, u32, u32, Option<u32>)> {
        let count = self.firsts.len();
        let is_even = self.lasts.len() == count
            && (self.addresses.len() == count || self.addresses.len() == 1)
            && (self.changes.len() == count || self.changes.len() <= 1)
            && !self.is_broken
            && !self.is_over();
        let ports = self.firsts.iter().zip(self.lasts.iter()).filter(move |_| is_even).enumerate();
        ports.filter_map(|(at, (first, last))| {
            let address = self.addresses.get(at).or(self.addresses.first())?;
            let change = self.changes.get(at).or(self.changes.first());
            Some((*address, *first, *last, change.copied()))
        })
    }
}

impl Blocks {
    /// No blocks.
    pub(super) const NONE: Self =
        Self { list: NO_BLOCKS, huawei: Columns::NONE, h3c: Columns::NONE, is_translated: false };

    /// Takes an Alc-Nat-Port-Range.
    pub(super) fn take_nokia(&mut self, value: &[u8]) {
        self.is_translated = true;
        let text = core::str::from_utf8(value).unwrap_or_default();
        let mut words = text.split_ascii_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse().ok()) else { return };
        let ranges = words.next().unwrap_or_default();
        let range = |word: &str| {
            let (first, last) = word.split_once('-')?;
            Some((decimal::<u32>(first)?, decimal::<u32>(last)?))
        };
        let block =
            |word| range(word).and_then(|(first, last)| block(BlockForm::Nokia, address, first, last));
        if ranges.split(',').all(|word| block(word).is_some()) {
            ranges.split(',').filter_map(block).for_each(|block| self.add(block, Change::Replace));
        }
    }

    /// Takes an IP-Port-Range: its TLVs.
    pub(super) fn take_ip_port_range(&mut self, value: &[u8]) {
        self.is_translated = true;
        let Some(tlvs) = Attributes::framed(value) else { return };
        let (mut address, mut first, mut last, mut change) = (None, None, None, Some(Change::Add));
        for Attribute { kind, value } in tlvs {
            match kind {
                TLV_EXTERNAL_ADDRESS => address = integer(value).map(Ipv4Addr::from_bits),
                TLV_RANGE_START => first = integer(value),
                TLV_RANGE_END => last = integer(value),
                TLV_ALLOCATION => {
                    change = match integer(value) {
                        Some(1) => Some(Change::Add),
                        Some(2) => Some(Change::Remove),
                        _ => None,
                    }
                }
                _ => {}
            }
        }
        if let (Some(address), Some(first), Some(last), Some(change)) = (address, first, last, change)
            && let Some(block) = block(BlockForm::IpPortRange, address, first, last)
        {
            self.add(block, change);
        }
    }

    /// Takes a number of Huawei.
    pub(super) fn take_huawei(&mut self, column: Column, value: &[u8]) {
        self.is_translated = true;
        self.huawei.take(column, value);
    }

    /// Takes a number of H3C.
    pub(super) fn take_h3c(&mut self, column: Column, value: &[u8]) {
        self.is_translated = true;
        self.h3c.take(column, value);
    }

    /// Takes an outside address that is the subscriber's alone; one that is none tells of no translator.
    pub(super) fn take_whole(&mut self, value: &[u8]) {
        let Some(address) = host(value) else { return };
        self.is_translated = true;
        if let Some(block) = block(BlockForm::WholeAddress, address, 0, u32::from(u16::MAX)) {
            self.add(block, Change::Replace);
        }
    }

    /// All blocks, whether some found no room, and whether the packet tells of a translator.
    pub(super) fn finish(mut self) -> (Bounded<PortBlock, BLOCKS_MAX>, bool, bool) {
        let is_over = self.huawei.is_over() || self.h3c.is_over();
        for (address, first, last, change) in self.huawei.blocks() {
            let change = match change {
                None | Some(0) => Change::Add,
                Some(1) => Change::Remove,
                Some(3) => Change::Replace,
                Some(_) => continue,
            };
            if let Some(block) = block(BlockForm::Huawei, address, first, last) {
                self.list.insert(PortBlock { change, ..block });
            }
        }
        for (address, first, last, _) in self.h3c.blocks() {
            if let Some(block) = block(BlockForm::H3c, address, first, last) {
                self.list.insert(PortBlock { change: Change::Replace, ..block });
            }
        }
        (self.list, is_over || self.list.is_over(), self.is_translated)
    }

    /// Keeps a block.
    fn add(&mut self, block: PortBlock, change: Change) {
        self.list.insert(PortBlock { change, ..block });
    }
}

/// A block that is added, if these are the ends of one at an address that somebody may have.
fn block(form: BlockForm, address: Ipv4Addr, first: u32, last: u32) -> Option<PortBlock> {
    let address = host(&address.octets())?;
    let (first, last) = (u16::try_from(first).ok()?, u16::try_from(last).ok()?);
    (first <= last).then_some(PortBlock { form, address, first, last, change: Change::Add })
}

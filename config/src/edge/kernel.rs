//! Keys of interception "kernel": what the kernel holds for us, and how much of it.

use crate::reader::{Mismatch, Reader};
use crate::section::Section;
use crate::value::path_text;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// Folder of the pins: below the bpf file system's usual place.
pub(crate) const PIN_DIR_DEFAULT: &str = "/sys/fs/bpf/zrgw";
/// Flows that the kernel counts apart at once, about 370 bytes of its memory each.
pub(crate) const SLOTS_MAX_DEFAULT: u32 = 131_072;
/// Range of `slots_max`.
pub(crate) const SLOTS_MAX_RANGE: RangeInclusive<u32> = 1..=16_777_216;
/// Those of one subscriber's address: twice what of his flows is read, for those that have just ended.
pub(crate) const SLOTS_PER_SUBSCRIBER_MAX_DEFAULT: u32 = 4_096;
/// Range of `slots_per_subscriber_max`.
pub(crate) const SLOTS_PER_SUBSCRIBER_MAX_RANGE: RangeInclusive<u32> = 1..=16_777_216;
/// Bytes of flows' beginnings that wait for the gateway, in pieces of 2 KiB.
pub(crate) const RING_MAX_DEFAULT: usize = 16 << 20;
/// Range of `ring_max`; the kernel wants a power of two.
pub(crate) const RING_MAX_RANGE: RangeInclusive<usize> = 64 << 10..=1 << 30;
/// How long packets bear marks when the gateway is silent.
pub(crate) const MARKS_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// Range of `marks_timeout`.
pub(crate) const MARKS_TIMEOUT_RANGE: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(3_600);
/// How long a TCP connection may be silent before it is forgotten: as long as through a NAT (RFC 5382 REQ-5).
pub(crate) const CONNECTION_TIMEOUT_DEFAULT: Duration = Duration::from_secs(7_440);
/// Range of `connection_timeout`.
pub(crate) const CONNECTION_TIMEOUT_RANGE: RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(86_400);

/// What the kernel is to hold where a listener has interception "kernel".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelPath {
    /// Where programs and tables are kept, below a mounted bpf file system.
    pub pin_dir: PathBuf,
    /// Flows that are counted apart at once.
    pub slots_max: u32,
    /// Those of one subscriber's address.
    pub slots_per_subscriber_max: u32,
    /// Bytes of flows' beginnings that wait for the gateway; a power of two.
    pub ring_max: usize,
    /// How long packets bear marks when the gateway is silent.
    pub marks_timeout: Duration,
    /// How long a TCP connection may be silent before its slot is another's.
    pub connection_timeout: Duration,
}

impl KernelPath {
    /// Reads the keys out of `[edge]`.
    pub(super) fn read<'t>(reader: &mut Reader<'t>, section: &Section<'t>) -> Self {
        let found = section.read(reader, "pin_dir", path_text);
        let pin_dir = section.defaulted(found, PIN_DIR_DEFAULT.to_owned()).value;
        let pin_dir = reader.join(&pin_dir);
        let ring_max = section.size(reader, "ring_max", RING_MAX_DEFAULT, RING_MAX_RANGE);
        if ring_max.sound && !ring_max.value.is_power_of_two() {
            let fault =
                Mismatch::new(format!("{} bytes", ring_max.value), "a power of two, such as \"16 MiB\"");
            reader.wrong("edge.ring_max", ring_max.at, fault);
        }
        let count =
            |reader: &mut Reader<'t>, key, default, range| section.count(reader, key, default, range).value;
        Self {
            pin_dir,
            slots_max: count(reader, "slots_max", SLOTS_MAX_DEFAULT, SLOTS_MAX_RANGE),
            slots_per_subscriber_max: count(
                reader,
                "slots_per_subscriber_max",
                SLOTS_PER_SUBSCRIBER_MAX_DEFAULT,
                SLOTS_PER_SUBSCRIBER_MAX_RANGE,
            ),
            ring_max: ring_max.value,
            marks_timeout: section
                .duration(reader, "marks_timeout", MARKS_TIMEOUT_DEFAULT, MARKS_TIMEOUT_RANGE)
                .value,
            connection_timeout: section
                .duration(reader, "connection_timeout", CONNECTION_TIMEOUT_DEFAULT, CONNECTION_TIMEOUT_RANGE)
                .value,
        }
    }
}

//! The verification map as bytes, so that a restart forgets nothing (trap N12).
//!
//! Only listed names and their addresses are in it. What belongs to a subscriber is not: who looked up what is never
//! written to a file, and minutes after a restart the DNS-only map has filled again. Times are wall-clock, for the monotonic
//! clock begins anew; a clock that was set back never makes a pair last longer than the retention.
//!
//! ```text
//!  "zrgw-ans"  version u16  names u32
//!  for each name:    flags u8 (1: a flow bore it; 2: all names below it are meant), length u8, bytes, addresses u16
//!  for each address: family u8 (4, 6), octets, counts until (milliseconds since 1970, i64),
//!                    shared until (the same; 0: not shared)
//!  CRC-32 of all before it, u32                        all numbers big-endian
//! ```
//!
//! Version 1 had no flags, and addresses that one question had made shared: its pairs are taken, its "shared until" is not.

use std::net::IpAddr;
use std::time::Duration;

use allowlist::DomainName;
use flate2::Crc;

use super::learner::{Bringer, Listing};
use super::{Learnt, TrustedAnswers};
use crate::flow::time::{Moment, Monotonic};
use crate::wire::reader::{Malformed, Reader};

/// The first bytes of every snapshot.
const MAGIC: &[u8; 8] = b"zrgw-ans";
/// The version that is written, and read beside the one before it.
const VERSION: u16 = 2;
const VERSION_BEFORE: u16 = 1;
/// A flow bore the name.
const USED: u8 = 1;
/// The name stands for all names below it.
const ALL_BELOW: u8 = 2;
/// Bytes of the checksum.
const CRC_BYTES: usize = 4;

/// Why bytes are no snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// They begin like something else.
    #[error("found another kind of file, wanted a snapshot of trusted answers")]
    Foreign,
    /// Another version wrote them.
    #[error("found version {0}, wanted version {VERSION}")]
    Version(u16),
    /// The checksum does not fit.
    #[error("the checksum does not fit: the file is damaged or was cut short")]
    Checksum,
    /// The checksum fits, the content does not.
    #[error("{0}")]
    Malformed(#[from] Malformed),
}

/// What a snapshot came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Pairs that count again.
    pub pairs: usize,
    /// Pairs past their time, of names no longer listed, of addresses that may not be learnt, or without room.
    pub dropped: usize,
}

impl TrustedAnswers {
    /// The verification map as bytes; answers of the configuration are not in it.
    pub fn snapshot(&self, now: Moment) -> Vec<u8> {
        let wall = |point: Monotonic| {
            let left = i64::try_from(point.since(now.monotonic).as_millis()).unwrap_or(i64::MAX);
            now.wall.as_millisecond().saturating_add(left).to_be_bytes()
        };
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_be_bytes());
        let count_at = bytes.len();
        bytes.extend([0; 4]);
        let mut names = 0_u32;
        for kept in self.verification.kept() {
            let seen = kept.seen.iter().filter(|(_, expires)| *expires > now.monotonic).take(u16::MAX.into());
            let (Ok(length), Ok(count)) =
                (u8::try_from(kept.name.len()), u16::try_from(seen.clone().count()))
            else {
                continue;
            };
            if count == 0 {
                continue;
            }
            names = names.saturating_add(1);
            bytes.push(if kept.is_used { USED } else { 0 } | if kept.is_rule { ALL_BELOW } else { 0 });
            bytes.push(length);
            bytes.extend(kept.name.as_bytes());
            bytes.extend(count.to_be_bytes());
            for (address, expires) in seen {
                match address {
                    IpAddr::V4(address) => {
                        bytes.push(4);
                        bytes.extend(address.octets());
                    }
                    IpAddr::V6(address) => {
                        bytes.push(6);
                        bytes.extend(address.octets());
                    }
                }
                bytes.extend(wall(*expires));
                let shared = self.verification.shares.addresses.unlisted_until(*address, now.monotonic);
                bytes.extend(shared.map_or([0; 8], wall));
            }
        }
        if let Some(place) = bytes.get_mut(count_at..count_at.saturating_add(4)) {
            place.copy_from_slice(&names.to_be_bytes());
        }
        let checksum = crc(&bytes);
        bytes.extend(checksum.to_be_bytes());
        bytes
    }

    /// Takes back what a snapshot has, as far as it still counts. `listed` and `permits` are those of
    /// [`TrustedAnswers::learn_answer`]: list and rules may have changed.
    ///
    /// # Errors
    /// [`SnapshotError`]; then nothing was taken.
    pub fn restore<L: Into<Listing>>(
        &mut self,
        bytes: &[u8],
        listed: impl Fn(&DomainName) -> L,
        permits: impl Fn(IpAddr) -> bool,
        now: Moment,
    ) -> Result<Restored, SnapshotError> {
        let (version, body) = content(bytes)?;
        // Once to see that all of it can be read, once to take it: half a snapshot is never believed.
        read(version, body, |_| {})?;
        let retention = self.verification.retention();
        let point = |wall: i64| {
            let left = wall.saturating_sub(now.wall.as_millisecond());
            let left = u64::try_from(left).ok().filter(|left| *left > 0)?;
            Some(now.monotonic.plus(Duration::from_millis(left).min(retention)))
        };
        let mut restored = Restored::default();
        read(version, body, |pair| {
            let place = pair.name.and_then(|name| place(name, pair.flags, &listed));
            let learnt = match (pair.name, place, point(pair.expires)) {
                (Some(name), Some(place), Some(expires)) if permits(pair.address) => {
                    self.take_back(name, place, (pair.address, expires), now.monotonic)
                }
                _ => Learnt::Full,
            };
            match learnt {
                Learnt::New | Learnt::Refreshed => {
                    restored.pairs = restored.pairs.saturating_add(1);
                    if let Some(until) = point(pair.shared) {
                        self.verification.shares.addresses.mark_unlisted(pair.address, until);
                    }
                    if let Some(name) = pair.name.filter(|_| pair.flags & USED != 0) {
                        self.verification.mark_used(name);
                    }
                }
                Learnt::Full => restored.dropped = restored.dropped.saturating_add(1),
            }
        })?;
        Ok(restored)
    }

    /// Takes a pair back.
    fn take_back(
        &mut self,
        name: &DomainName,
        place: Listed,
        (address, expires): (IpAddr, Monotonic),
        now: Monotonic,
    ) -> Learnt {
        match place {
            Listed::Name(listing) => {
                self.verification.learn(name, (listing, Bringer::Gateway), address, expires, now)
            }
            Listed::AllBelow if self.verification.restore_common(name.as_str(), address, expires, now) => {
                Learnt::New
            }
            Listed::AllBelow => Learnt::Full,
        }
    }
}

/// What a pair of a snapshot is today.
#[derive(Clone, Copy)]
enum Listed {
    /// That of a name that is listed so.
    Name(Listing),
    /// That of all names below a rule's host.
    AllBelow,
}

/// What a name of a snapshot is today; none when no list speaks of it so any more.
fn place<L: Into<Listing>>(
    name: &DomainName,
    flags: u8,
    listed: impl Fn(&DomainName) -> L,
) -> Option<Listed> {
    if flags & ALL_BELOW == 0 {
        let listing = listed(name).into();
        return (listing != Listing::Unlisted).then_some(Listed::Name(listing));
    }
    let host_bytes = name.as_str().len();
    let below = DomainName::from_wire(format!("a.{name}").as_bytes()).ok()?;
    (listed(&below).into() == Listing::Below { host_bytes }).then_some(Listed::AllBelow)
}

/// A pair as a snapshot has it.
struct Pair<'a> {
    /// None when it is no host name.
    name: Option<&'a DomainName>,
    flags: u8,
    address: IpAddr,
    /// Counts until.
    expires: i64,
    /// Shared until.
    shared: i64,
}

/// The version, and what stands between it and the checksum.
fn content(bytes: &[u8]) -> Result<(u16, &[u8]), SnapshotError> {
    let mut reader = Reader::new(bytes);
    let magic = reader.array::<8>("magic").map_err(|_| SnapshotError::Foreign)?;
    if magic != *MAGIC {
        return Err(SnapshotError::Foreign);
    }
    let (signed, stated) =
        bytes.split_at_checked(bytes.len().saturating_sub(CRC_BYTES)).ok_or(SnapshotError::Checksum)?;
    if stated != crc(signed).to_be_bytes() {
        return Err(SnapshotError::Checksum);
    }
    let mut reader = Reader::new(signed.get(MAGIC.len()..).unwrap_or_default());
    let version = reader.u16("version")?;
    if version != VERSION && version != VERSION_BEFORE {
        return Err(SnapshotError::Version(version));
    }
    Ok((version, signed.get(MAGIC.len().saturating_add(2)..).unwrap_or_default()))
}

/// Gives each pair to `take`.
fn read(version: u16, body: &[u8], mut take: impl FnMut(Pair<'_>)) -> Result<(), Malformed> {
    let mut reader = Reader::new(body);
    let names = u32::from_be_bytes(reader.array("name count")?);
    for _ in 0..names {
        let flags = if version == VERSION_BEFORE { 0 } else { reader.u8("flags")? };
        if flags & !(USED | ALL_BELOW) != 0 {
            return Err(Malformed { field: "flags" });
        }
        let name = DomainName::from_wire(reader.block8("name")?).ok();
        let addresses = reader.u16("address count")?;
        for _ in 0..addresses {
            let address = match reader.u8("family")? {
                4 => IpAddr::from(reader.array::<4>("address")?),
                6 => IpAddr::from(reader.array::<16>("address")?),
                _ => return Err(Malformed { field: "family" }),
            };
            let expires = i64::from_be_bytes(reader.array("counts until")?);
            let shared = i64::from_be_bytes(reader.array("shared until")?);
            let shared = if version == VERSION_BEFORE { 0 } else { shared };
            take(Pair { name: name.as_ref(), flags, address, expires, shared });
        }
    }
    reader.end("end")
}

/// The checksum.
fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

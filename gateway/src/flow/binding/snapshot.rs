//! The verification map as bytes, so that a restart forgets nothing (trap N12).
//!
//! Only listed names and their addresses are in it. What belongs to a subscriber is not: who looked up what is never
//! written to a file, and minutes after a restart the DNS-only map has filled again. Times are wall-clock, for the monotonic
//! clock begins anew; a clock that was set back never makes a pair last longer than the retention.
//!
//! ```text
//!  "zrgw-ans"  version u16  names u32
//!  for each name:    length u8, bytes, addresses u16
//!  for each address: family u8 (4, 6), octets, counts until (milliseconds since 1970, i64),
//!                    shared until (the same; 0: not shared)
//!  CRC-32 of all before it, u32                        all numbers big-endian
//! ```

use std::net::IpAddr;
use std::time::Duration;

use allowlist::DomainName;
use flate2::Crc;

use super::TrustedAnswers;
use crate::flow::time::{Moment, Monotonic};
use crate::wire::reader::{Malformed, Reader};

/// The first bytes of every snapshot.
const MAGIC: &[u8; 8] = b"zrgw-ans";
/// The version that is written and read.
const VERSION: u16 = 1;
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
        for (name, seen) in self.verification.expiring() {
            let seen = seen.filter(|(_, expires)| *expires > now.monotonic);
            let (Ok(length), Ok(count)) =
                (u8::try_from(name.as_str().len()), u16::try_from(seen.clone().count()))
            else {
                continue;
            };
            if count == 0 {
                continue;
            }
            names = names.saturating_add(1);
            bytes.push(length);
            bytes.extend(name.as_str().as_bytes());
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
                bytes.extend(wall(expires));
                let shared = self.verification.unlisted_until(address, now.monotonic);
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
    pub fn restore(
        &mut self,
        bytes: &[u8],
        listed: impl Fn(&DomainName) -> bool,
        permits: impl Fn(IpAddr) -> bool,
        now: Moment,
    ) -> Result<Restored, SnapshotError> {
        let body = content(bytes)?;
        // Once to see that all of it can be read, once to take it: half a snapshot is never believed.
        read(body, |_, _, _, _| {})?;
        let retention = self.verification.retention;
        let point = |wall: i64| {
            let left = wall.saturating_sub(now.wall.as_millisecond());
            let left = u64::try_from(left).ok().filter(|left| *left > 0)?;
            Some(now.monotonic.plus(Duration::from_millis(left).min(retention)))
        };
        let mut restored = Restored::default();
        read(body, |name, address, expires, shared| {
            let usable = name.is_some_and(&listed) && permits(address);
            let learnt = match (name, point(expires)) {
                (Some(name), Some(expires)) if usable => {
                    self.verification.learn(name, address, expires, now.monotonic)
                }
                _ => super::Learnt::Full,
            };
            match learnt {
                super::Learnt::New | super::Learnt::Refreshed => {
                    restored.pairs = restored.pairs.saturating_add(1);
                    if let Some(until) = point(shared) {
                        self.verification.mark_unlisted(address, until);
                    }
                }
                super::Learnt::Full => restored.dropped = restored.dropped.saturating_add(1),
            }
        })?;
        Ok(restored)
    }
}

/// What stands between version and checksum.
fn content(bytes: &[u8]) -> Result<&[u8], SnapshotError> {
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
    if version != VERSION {
        return Err(SnapshotError::Version(version));
    }
    Ok(signed.get(MAGIC.len().saturating_add(2)..).unwrap_or_default())
}

/// Gives each pair to `take`: name (none when it is no host name), address, counts until, shared until.
fn read(body: &[u8], mut take: impl FnMut(Option<&DomainName>, IpAddr, i64, i64)) -> Result<(), Malformed> {
    let mut reader = Reader::new(body);
    let names = u32::from_be_bytes(reader.array("name count")?);
    for _ in 0..names {
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
            take(name.as_ref(), address, expires, shared);
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

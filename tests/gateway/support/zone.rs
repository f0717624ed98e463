//! Time zones of the tests' own, so that no test depends on the hour it runs at.

use std::time::{SystemTime, UNIX_EPOCH};

use super::Setup;

const DAY: i64 = 86_400;
const HALF_DAY: u64 = 43_200;
/// Name of the zone that `with_midnight_in` makes.
pub const ZONE: &str = "Test/Zone";

/// This configuration with `allowance.zone` at a zone whose next midnight is so many seconds away.
pub fn with_midnight_in(seconds: u64, setup: Setup) -> Setup {
    std::fs::create_dir_all(setup.path("zones/Test")).unwrap();
    setup.write(&format!("zones/{ZONE}"), file(i64::try_from(seconds).unwrap()));
    let zones = setup.path("zones").display().to_string();
    setup.environment("TZDIR", &zones).set("allowance", &format!("zone = \"{ZONE}\""))
}

/// The same with midnight half a day away.
pub fn far_from_midnight(setup: Setup) -> Setup {
    with_midnight_in(HALF_DAY, setup)
}

/// A file of the time zone database (RFC 8536): one type of local time, no transitions.
fn file(seconds: i64) -> Vec<u8> {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let mut offset = (DAY - seconds - now % DAY).rem_euclid(DAY);
    if offset > DAY / 2 {
        offset -= DAY;
    }
    let (sign, west) = if offset > 0 { ("-", offset) } else { ("", -offset) };
    let rule = format!("\n<TST>{sign}{:02}:{:02}:{:02}\n", west / 3_600, west / 60 % 60, west % 60);
    let offset = i32::try_from(offset).unwrap().to_be_bytes();
    let header =
        [b"TZif2".as_slice(), &[0; 15], &[0; 16], &1_u32.to_be_bytes(), &4_u32.to_be_bytes()].concat();
    let body = [&offset[..], &[0, 0], b"TST\0"].concat();
    [header.clone(), body.clone(), header, body, rule.into_bytes()].concat()
}

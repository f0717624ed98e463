//! What a restart keeps: by the clock, the list and the rules of the day; and what is no snapshot.

use gateway::flow::binding::{Restored, SnapshotError, TrustedAnswers};
use gateway::flow::time::Moment;
use jiff::Timestamp;
use support::messages::addresses;

use super::{at, ip, learn, listed, maps, name, permits, witness};

/// A reading of both clocks.
fn moment(wall: i64, monotonic: u64) -> Moment {
    Moment { wall: Timestamp::from_second(wall).unwrap(), monotonic: at(monotonic) }
}

/// A node that learnt three pairs at 100 s, one of them at a shared address.
fn learnt() -> TrustedAnswers {
    let mut maps = maps();
    learn(&mut maps, &addresses("listed.kz", 300, &["203.0.113.1", "203.0.113.2"]), 100);
    learn(&mut maps, &addresses("www.listed.kz", 300, &["2001:db8::1"]), 100);
    witness(&mut maps, "203.0.113.2", 2, 2, 100);
    maps.pin(&name("pinned.kz"), ip("203.0.113.9"));
    maps
}

#[test]
fn n12_a_restart_keeps_what_still_counts_and_honours_expiry() {
    let bytes = learnt().snapshot(moment(1_000_000, 600));
    let mut after = maps();
    let restored = after.restore(&bytes, listed, permits, moment(1_000_100, 3)).unwrap();
    assert_eq!(restored, Restored { pairs: 3, dropped: 0 });
    // 500 s of 1,000 had passed at the snapshot, 100 s more until the start: 400 s are left.
    for (host, address) in [("listed.kz", "203.0.113.1"), ("www.listed.kz", "2001:db8::1")] {
        assert!(after.vouches(&name(host), ip(address), at(403)));
        assert!(!after.vouches(&name(host), ip(address), at(404)));
    }
    // Witnesses count as long as from the start of gathering, which was the node's.
    assert!(after.is_shared(ip("203.0.113.2"), at(303)) && !after.is_shared(ip("203.0.113.2"), at(304)));
    assert!(!after.is_shared(ip("203.0.113.1"), at(3)));
    assert!(!after.vouches(&name("pinned.kz"), ip("203.0.113.9"), at(3)), "the configuration says that");
    assert_eq!(after.dns_only_pairs(), 0, "who asked for what is not written down");
    let late = maps().restore(&bytes, listed, permits, moment(1_000_500, 3)).unwrap();
    assert_eq!(late, Restored { pairs: 0, dropped: 3 });
}

#[test]
fn n12_b9_a_clock_set_back_or_forward_never_lengthens_the_retention() {
    let bytes = learnt().snapshot(moment(1_000_000, 100));
    let mut back = maps();
    back.restore(&bytes, listed, permits, moment(1_000_000 - 86_400, 0)).unwrap();
    assert!(back.vouches(&name("listed.kz"), ip("203.0.113.1"), at(1_000)));
    assert!(!back.vouches(&name("listed.kz"), ip("203.0.113.1"), at(1_001)));
    let forward = maps().restore(&bytes, listed, permits, moment(1_000_000 + 86_400, 0)).unwrap();
    assert_eq!(forward.pairs, 0);
}

#[test]
fn n12_a_snapshot_is_judged_by_the_list_and_rules_of_the_day() {
    let bytes = learnt().snapshot(moment(1_000_000, 100));
    let unlisted = maps().restore(&bytes, |_| false, permits, moment(1_000_000, 0)).unwrap();
    assert_eq!(unlisted, Restored { pairs: 0, dropped: 3 });
    let private = maps().restore(&bytes, listed, |_| false, moment(1_000_000, 0)).unwrap();
    assert_eq!(private, Restored { pairs: 0, dropped: 3 });
}

#[test]
fn n12_other_bytes_are_refused_and_change_nothing() {
    let bytes = learnt().snapshot(moment(1_000_000, 100));
    let refuse = |bytes: &[u8]| {
        let mut maps = maps();
        let error = maps.restore(bytes, listed, permits, moment(1_000_000, 0)).unwrap_err();
        assert_eq!(maps.pairs(), 0);
        error
    };
    assert_eq!(refuse(b""), SnapshotError::Foreign);
    assert_eq!(refuse(b"SQLite format 3\0"), SnapshotError::Foreign);
    for length in 0..bytes.len() {
        refuse(&bytes[..length]);
    }
    for place in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[place] ^= 0x10;
        refuse(&changed);
    }
    // A content that lies under a checksum that fits.
    let mut lying = bytes[..bytes.len() - 4].to_vec();
    lying[10] = 0xff;
    let mut crc = flate2::Crc::new();
    crc.update(&lying);
    lying.extend(crc.sum().to_be_bytes());
    assert!(matches!(refuse(&lying), SnapshotError::Malformed(_)));
    let mut newer = bytes[..bytes.len() - 4].to_vec();
    newer[9] = 3;
    let mut crc = flate2::Crc::new();
    crc.update(&newer);
    newer.extend(crc.sum().to_be_bytes());
    assert_eq!(refuse(&newer), SnapshotError::Version(3));
}

#[test]
fn no_name_outside_the_list_stands_in_a_snapshot() {
    let bytes = learnt().snapshot(moment(1_000_000, 100));
    for absent in ["stranger", "pinned.kz"] {
        assert!(!bytes.windows(absent.len()).any(|window| window == absent.as_bytes()), "{absent}");
    }
    assert!(bytes.windows(9).any(|window| window == b"listed.kz"));
}

//! What of the answers a restart keeps, and what it reads of a snapshot of the version before.

use std::net::IpAddr;

use allowlist::DomainName;
use gateway::flow::binding::{Asker, Listing};
use gateway::flow::time::Moment;

use super::{LIMITS, at, learn, listing, make_up, name, vouches, who, with};

#[test]
fn f2_n12_a_restart_keeps_addresses_of_all_names_and_which_names_were_borne() {
    let moment = |seconds: u64| Moment {
        wall: jiff::Timestamp::from_second(1_600_000_000 + i64::try_from(seconds).unwrap()).unwrap(),
        monotonic: at(seconds),
    };
    let mut before = with(LIMITS);
    for number in 0..40 {
        learn(&mut before, Asker::Subscriber(&who(number)), &format!("n{number}.listed.kz"), &[1], 0);
    }
    learn(&mut before, Asker::Subscriber(&who(1)), "visited.listed.kz", &[2], 0);
    assert!(vouches(&before, "visited.listed.kz", 2, 0));
    let bytes = before.snapshot(moment(100));
    let mut after = with(LIMITS);
    let restored = after.restore(&bytes, listing, |_| true, moment(100)).unwrap();
    assert_eq!((restored.pairs, restored.dropped), (before.pairs(), 0));
    assert_eq!(after.pairs(), before.pairs());
    assert_eq!(after.names_in_use().collect::<Vec<_>>(), [name("visited.listed.kz")]);
    assert!(
        vouches(&after, "unasked.listed.kz", 1, 1_000) && !vouches(&after, "unasked.listed.kz", 1, 1_001)
    );
    for number in 10..40 {
        make_up(&mut after, number, 100, "listed.kz", 200);
    }
    assert!(vouches(&after, "visited.listed.kz", 2, 200));
    // The rule is no more: what stood for all names below it does for none.
    let none =
        |host: &DomainName| if host == &name("visited.listed.kz") { Listing::Own } else { Listing::Unlisted };
    let mut other = with(LIMITS);
    assert_eq!(other.restore(&bytes, none, |_| true, moment(100)).unwrap().pairs, 1);
    assert!(!vouches(&other, "unasked.listed.kz", 1, 200));
}

#[test]
fn n12_a_snapshot_of_the_version_before_gives_its_pairs_and_not_what_one_question_had_made_shared() {
    let mut bytes = b"zrgw-ans\0\x01\0\0\0\x01\x09listed.kz\0\x01\x04\xcb\0\x71\x01".to_vec();
    for _ in 0..2 {
        bytes.extend((1_600_000_500_000_i64).to_be_bytes());
    }
    let mut crc = flate2::Crc::new();
    crc.update(&bytes);
    bytes.extend(crc.sum().to_be_bytes());
    let mut maps = with(LIMITS);
    let wall = jiff::Timestamp::from_second(1_600_000_000).unwrap();
    let restored = maps.restore(&bytes, |_| true, |_| true, Moment { wall, monotonic: at(0) }).unwrap();
    assert_eq!(restored.pairs, 1);
    let address = IpAddr::from([203, 0, 113, 1]);
    assert!(maps.vouches(&name("listed.kz"), address, at(500)) && !maps.is_shared(address, at(0)));
}

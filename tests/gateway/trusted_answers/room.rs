//! How long an answer counts, and what gives way where there is no room for another.

use std::net::IpAddr;
use std::time::Duration;

use gateway::flow::binding::{AnswerLimits, DnsOnlyStanding, Learning, Learnt, TrustedAnswers};
use support::messages::addresses;

use super::{at, ip, learn, maps, name, standing, with};

#[test]
fn n6_an_answer_counts_to_the_edge_of_its_retention() {
    let mut maps = maps();
    let learning = learn(&mut maps, &addresses("listed.kz", 30, &["203.0.113.1"]), 5);
    assert_eq!(learning, Learning { new: 1, ..Learning::default() });
    let vouches = |maps: &TrustedAnswers, now| maps.vouches(&name("listed.kz"), ip("203.0.113.1"), at(now));
    assert!(vouches(&maps, 1_005));
    assert!(!vouches(&maps, 1_006));
    let learning = learn(&mut maps, &addresses("listed.kz", 30, &["203.0.113.1"]), 500);
    assert_eq!(learning, Learning { refreshed: 1, ..Learning::default() });
    assert!(vouches(&maps, 1_500) && !vouches(&maps, 1_501));
    assert!(!maps.vouches(&name("www.listed.kz"), ip("203.0.113.1"), at(500)));
}

#[test]
fn n8_the_513th_address_takes_the_place_of_the_oldest() {
    let mut maps = maps();
    let host = name("listed.kz");
    let address = |number: u16| IpAddr::from([203, 0, number.to_be_bytes()[0], number.to_be_bytes()[1]]);
    for number in 0..512 {
        maps.learn(&host, address(number), at(u64::from(number) / 100));
    }
    assert_eq!(maps.pairs(), 512);
    assert!(maps.vouches(&host, address(0), at(9)));
    assert_eq!(maps.learn(&host, address(600), at(9)), Learnt::New);
    assert_eq!(maps.pairs(), 512);
    assert!(maps.vouches(&host, address(600), at(9)));
    let gone = (0..100).filter(|number| !maps.vouches(&host, address(*number), at(9))).count();
    assert_eq!(gone, 1, "one of those seen first");
}

#[test]
fn n8_the_257th_name_makes_an_address_shared() {
    let mut maps = maps();
    for number in 0..256 {
        learn(&mut maps, &addresses(&format!("n{number}.listed.kz"), 300, &["203.0.113.1"]), 0);
    }
    assert_eq!(standing(&maps, "203.0.113.1", 0), Some(DnsOnlyStanding::Fresh));
    learn(&mut maps, &addresses("n256.listed.kz", 300, &["203.0.113.1"]), 0);
    assert_eq!(standing(&maps, "203.0.113.1", 0), Some(DnsOnlyStanding::Shared));
    assert!(maps.vouches(&name("n256.listed.kz"), ip("203.0.113.1"), at(0)), "a readable name still counts");
}

#[test]
fn a_full_set_refuses_until_something_expires_and_keeps_what_is_pinned() {
    let mut maps =
        with(AnswerLimits { retention: Duration::from_secs(100), pairs_max: 2, ..AnswerLimits::default() });
    maps.pin(&name("pinned.kz"), ip("203.0.113.9"));
    assert_eq!(maps.learn(&name("a.kz"), ip("203.0.113.1"), at(0)), Learnt::New);
    assert_eq!(maps.learn(&name("b.kz"), ip("203.0.113.2"), at(1)), Learnt::Full);
    assert!(!maps.vouches(&name("b.kz"), ip("203.0.113.2"), at(1)));
    assert_eq!(maps.learn(&name("b.kz"), ip("203.0.113.2"), at(101)), Learnt::New);
    assert!(maps.vouches(&name("pinned.kz"), ip("203.0.113.9"), at(1_000_000)));
}

//! Trusted answers: what is learnt, for whom, how long, and what a restart keeps (traps N6–N8, N10–N13, T17–T21).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "tests may panic"
)]

use support::messages;

use std::hash::RandomState;
use std::net::IpAddr;
use std::time::Duration;

use allowlist::DomainName;
use billing_export::{Session, SubscriberType};
use gateway::flow::address::is_public;
use gateway::flow::binding::{
    AddressFacts, AnswerLimits, DnsOnlyStanding, Learning, Learnt, Nat64, Restored, SnapshotError,
    TrustedAnswers,
};
use gateway::flow::session::SubscriberKey;
use gateway::flow::time::{Moment, Monotonic};
use gateway::wire::dns::Facts;
use hickory_proto::rr::RecordType;
use jiff::Timestamp;
use messages::{addresses, answer, cname, ech, facts, https};

fn name(text: &str) -> DomainName {
    DomainName::from_wire(text.as_bytes()).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(seconds: u64) -> Monotonic {
    Monotonic::new(Duration::from_secs(seconds))
}

fn who(last: u8) -> SubscriberKey {
    SubscriberKey::Address(IpAddr::from([10, 0, 0, last]))
}

/// Names below `listed.kz` are listed.
fn listed(name: &DomainName) -> bool {
    name.is_within(&self::name("listed.kz"))
}

/// Public addresses of this file: the documentation ranges count too.
fn permits(address: IpAddr) -> bool {
    let documentation = ["192.0.2.", "198.51.100.", "203.0.", "2001:db8:"];
    is_public(address, &Nat64::default())
        || documentation.iter().any(|range| address.to_string().starts_with(range))
}

/// Maps of an ordinary node, with a retention of 1,000 s; two domains with two subscribers each make an address shared.
fn maps() -> TrustedAnswers {
    with(AnswerLimits {
        retention: Duration::from_secs(1_000),
        shared_subscribers_min: 2,
        shared_domains_min: 2,
        ..AnswerLimits::default()
    })
}

/// A subscriber whom the operator knows.
fn known(number: usize) -> SubscriberKey {
    let id = format!("s{number}");
    SubscriberKey::Session(Session::new(SubscriberType::Account, &id, "").unwrap())
}

/// So many subscribers ask for so many unlisted names at an address.
fn witness(maps: &mut TrustedAnswers, address: &str, subscribers: usize, domains: usize, now: u64) {
    for subscriber in 0..subscribers {
        for domain in 0..domains {
            let facts = addresses(&format!("www.stranger-{domain}.kz"), 300, &[address]);
            maps.learn_answer(&facts, Some(&known(subscriber)), listed, permits, at(now));
        }
    }
}

fn with(limits: AnswerLimits) -> TrustedAnswers {
    TrustedAnswers::new(limits, Nat64::default(), RandomState::new())
}

/// Learns an answer that subscriber 1 was given.
fn learn(maps: &mut TrustedAnswers, facts: &Facts, now: u64) -> Learning {
    maps.learn_answer(facts, Some(&who(1)), listed, permits, at(now))
}

/// What subscriber 1 may say of an address.
fn standing(maps: &TrustedAnswers, address: &str, start: u64) -> Option<DnsOnlyStanding> {
    maps.dns_only(&who(1), ip(address), at(start)).map(|found| found.standing)
}

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

#[test]
fn n7_an_address_of_an_unlisted_name_gives_no_dns_only_right_in_either_order() {
    let both = [addresses("listed.kz", 300, &["203.0.113.1"]), addresses("other.kz", 300, &["203.0.113.1"])];
    for order in [[0, 1], [1, 0]] {
        let mut maps = maps();
        for which in order {
            learn(&mut maps, &both[which], 0);
        }
        assert_eq!(standing(&maps, "203.0.113.1", 0), Some(DnsOnlyStanding::Shared));
        assert!(maps.vouches(&name("listed.kz"), ip("203.0.113.1"), at(0)));
        assert!(!maps.vouches(&name("other.kz"), ip("203.0.113.1"), at(0)), "unlisted names are not stored");
        assert_eq!((maps.pairs(), maps.names().count()), (1, 1));
    }
}

#[test]
fn f1_n7_what_others_ask_for_takes_nobodys_right_until_witnesses_are_many_and_independent() {
    for (subscribers, domains, shared) in [(1, 64, false), (64, 1, false), (2, 1, false), (2, 2, true)] {
        let mut maps = maps();
        learn(&mut maps, &addresses("listed.kz", 300, &["203.0.113.1"]), 0);
        witness(&mut maps, "203.0.113.1", subscribers, domains, 0);
        assert_eq!(maps.is_shared(ip("203.0.113.1"), at(0)), shared, "{subscribers} {domains}");
        let wanted = if shared { DnsOnlyStanding::Shared } else { DnsOnlyStanding::Fresh };
        assert_eq!(standing(&maps, "203.0.113.1", 0), Some(wanted));
        assert_eq!(maps.shared_addresses(at(0)), usize::from(shared));
        assert!(!maps.is_shared(ip("203.0.113.1"), at(1_001)), "it ends with the retention");
    }
}

#[test]
fn f1_a_subscriber_s_own_questions_count_against_him_alone() {
    let mut maps = maps();
    learn(&mut maps, &addresses("listed.kz", 300, &["203.0.113.1"]), 0);
    let facts = addresses("other.kz", 300, &["203.0.113.1"]);
    maps.learn_answer(&facts, Some(&who(2)), listed, permits, at(0));
    let shared_for =
        |maps: &TrustedAnswers, number| maps.is_shared_for(&who(number), ip("203.0.113.1"), at(0));
    assert!(shared_for(&maps, 2) && !shared_for(&maps, 1));
    assert_eq!(standing(&maps, "203.0.113.1", 0), Some(DnsOnlyStanding::Fresh));
    // Nobody's questions: a relay that does not know who asks, our own look-ups.
    maps.learn_answer(&facts, None, listed, permits, at(0));
    maps.learn_found(&name("other.kz"), &facts.found, None, listed, permits, at(0));
    assert!(!shared_for(&maps, 1) && !maps.is_shared(ip("203.0.113.1"), at(0)));
}

#[test]
fn f1_t24_what_the_operator_states_of_an_address_counts_whatever_is_asked() {
    let mut maps = maps();
    maps.state(AddressFacts {
        shared: vec!["203.0.113.0/25".parse().unwrap()],
        dedicated: vec!["203.0.113.128/25".parse().unwrap()],
    });
    learn(&mut maps, &addresses("listed.kz", 300, &["203.0.113.1", "203.0.113.129"]), 0);
    assert_eq!(standing(&maps, "203.0.113.1", 0), Some(DnsOnlyStanding::Shared));
    assert!(maps.is_shared(ip("203.0.113.1"), at(0)));
    witness(&mut maps, "203.0.113.129", 64, 64, 0);
    learn(&mut maps, &addresses("other.kz", 300, &["203.0.113.129"]), 0);
    assert_eq!(standing(&maps, "203.0.113.129", 0), Some(DnsOnlyStanding::Fresh));
    assert!(!maps.is_shared_for(&who(1), ip("203.0.113.129"), at(0)));
    assert_eq!(maps.shared_addresses(at(0)), 1);
}

#[test]
fn t18_n1_a_chain_binds_the_name_that_was_asked_for() {
    let mut maps = maps();
    let records = vec![
        cname("www.listed.kz", 300, "edge.cdn.example"),
        messages::address("edge.cdn.example", 30, "203.0.113.1"),
    ];
    learn(&mut maps, &facts(&answer("www.listed.kz", RecordType::A, records)), 0);
    assert!(maps.vouches(&name("www.listed.kz"), ip("203.0.113.1"), at(0)));
    assert!(!maps.vouches(&name("edge.cdn.example"), ip("203.0.113.1"), at(0)));
    assert!(!maps.vouches(&name("listed.kz"), ip("203.0.113.1"), at(0)));
}

#[test]
fn n4_hints_vouch_for_a_name_but_give_no_dns_only_right() {
    let mut maps = maps();
    let hinted = https("listed.kz", 1, "", &["203.0.113.1", "2001:db8::1"], None);
    learn(&mut maps, &facts(&answer("listed.kz", RecordType::HTTPS, vec![hinted])), 0);
    for address in ["203.0.113.1", "2001:db8::1"] {
        assert!(maps.vouches(&name("listed.kz"), ip(address), at(0)));
        assert_eq!(standing(&maps, address, 0), None);
    }
}

#[test]
fn t20_what_the_target_of_a_service_binding_has_the_listed_name_has() {
    let mut maps = maps();
    let alias = https("listed.kz", 0, "pool.cdn.example", &[], None);
    learn(&mut maps, &addresses("pool.cdn.example", 60, &["203.0.113.1"]), 0);
    assert!(!maps.vouches(&name("listed.kz"), ip("203.0.113.1"), at(0)), "nothing leads there");
    learn(&mut maps, &facts(&answer("listed.kz", RecordType::HTTPS, vec![alias])), 1);
    learn(&mut maps, &addresses("pool.cdn.example", 60, &["203.0.113.2"]), 2);
    assert!(maps.vouches(&name("listed.kz"), ip("203.0.113.2"), at(2)));
    assert!(!maps.vouches(&name("pool.cdn.example"), ip("203.0.113.2"), at(2)));
    assert_eq!(standing(&maps, "203.0.113.2", 2), Some(DnsOnlyStanding::Fresh));
}

#[test]
fn n10_answers_and_destinations_behind_nat64_are_their_ipv4_address() {
    let mut maps = maps();
    learn(&mut maps, &addresses("listed.kz", 300, &["203.0.113.1"]), 0);
    learn(&mut maps, &addresses("www.listed.kz", 300, &["64:ff9b::203.0.113.2"]), 0);
    assert!(maps.vouches(&name("listed.kz"), ip("64:ff9b::203.0.113.1"), at(0)));
    assert!(maps.vouches(&name("www.listed.kz"), ip("203.0.113.2"), at(0)));
    assert!(maps.vouches(&name("www.listed.kz"), ip("::ffff:203.0.113.2"), at(0)));
    assert_eq!(standing(&maps, "64:ff9b::203.0.113.1", 0), Some(DnsOnlyStanding::Fresh));
    let learning = learn(&mut maps, &addresses("listed.kz", 300, &["64:ff9b::10.0.0.1"]), 0);
    assert_eq!(learning, Learning { private: 1, ..Learning::default() });
}

#[test]
fn n11_private_answers_are_not_learnt() {
    let mut maps = maps();
    for private in ["10.0.0.1", "127.0.0.1", "169.254.169.254", "100.64.0.1", "fd00::1", "::ffff:10.0.0.1"] {
        let learning = learn(&mut maps, &addresses("listed.kz", 300, &[private]), 0);
        assert_eq!(learning, Learning { private: 1, ..Learning::default() }, "{private}");
        assert!(!maps.vouches(&name("listed.kz"), ip(private), at(0)));
    }
    let hinted = https("listed.kz", 1, "", &["10.0.0.1"], None);
    learn(&mut maps, &facts(&answer("listed.kz", RecordType::HTTPS, vec![hinted])), 0);
    assert_eq!((maps.pairs(), maps.dns_only_pairs()), (0, 0));
}

#[test]
fn n13_t21_a_look_up_verifies_everybodys_name_and_gives_the_right_to_nobody_else() {
    let mut maps = maps();
    learn(&mut maps, &addresses("listed.kz", 300, &["203.0.113.1"]), 0);
    assert!(maps.vouches(&name("listed.kz"), ip("203.0.113.1"), at(0)));
    assert!(maps.dns_only(&who(1), ip("203.0.113.1"), at(0)).is_some());
    assert_eq!(maps.dns_only(&who(2), ip("203.0.113.1"), at(0)), None);
    // Our own look-ups give nobody a right.
    let facts = addresses("www.listed.kz", 300, &["203.0.113.2"]);
    maps.learn_answer(&facts, None, listed, permits, at(0));
    assert_eq!(maps.dns_only(&who(1), ip("203.0.113.2"), at(0)), None);
}

#[test]
fn i_t7_a_published_config_id_under_another_name_is_suspect() {
    let mut maps = maps();
    let published = https("listed.kz", 1, "", &["203.0.113.1"], Some(ech(7, "cover.example")));
    learn(&mut maps, &facts(&answer("listed.kz", RecordType::HTTPS, vec![published])), 0);
    learn(&mut maps, &addresses("listed.kz", 300, &["203.0.113.2"]), 0);
    for address in ["203.0.113.1", "203.0.113.2"] {
        assert!(maps.is_ech_suspect(&name("listed.kz"), ip(address), 7));
        assert!(!maps.is_ech_suspect(&name("cover.example"), ip(address), 7));
        assert!(!maps.is_ech_suspect(&name("listed.kz"), ip(address), 8));
    }
    assert!(!maps.is_ech_suspect(&name("listed.kz"), ip("203.0.113.3"), 7));
    // The hidden name's own record names the same address.
    let hidden = https("evil.example", 1, "", &["203.0.113.2"], Some(ech(9, "cover.example")));
    learn(&mut maps, &facts(&answer("evil.example", RecordType::HTTPS, vec![hidden])), 0);
    assert!(maps.is_ech_suspect(&name("listed.kz"), ip("203.0.113.2"), 9));
}

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

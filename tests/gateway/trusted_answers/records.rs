//! What the records of an answer bind: chains, hints, targets, NAT64, private addresses, ECH; and for whom.

use gateway::flow::binding::{DnsOnlyStanding, Learning};
use hickory_proto::rr::RecordType;
use support::messages::{self, addresses, answer, cname, ech, facts, https};

use super::{at, ip, learn, listed, maps, name, permits, standing, who};

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

//! Addresses that other names have too: whose right they take, by whose word, and for how long.

use gateway::flow::binding::{AddressFacts, DnsOnlyStanding, TrustedAnswers};
use support::messages::addresses;

use super::{at, ip, learn, listed, maps, name, permits, standing, who, witness};

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

//! Who holds how much of the trusted answers: names that are made up below a rule take no place from others (trap F2).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    unreachable_pub,
    reason = "tests may panic"
)]

#[path = "answer_shares/displaced.rs"]
mod displaced;
#[path = "answer_shares/restart.rs"]
mod restart;

use std::hash::RandomState;
use std::net::IpAddr;
use std::time::Duration;

use allowlist::DomainName;
use billing_export::{Session, SubscriberType};
use gateway::flow::binding::{AnswerLimits, Asker, Lack, Learning, Listing, Nat64, TrustedAnswers};
use gateway::flow::session::SubscriberKey;
use gateway::flow::time::Monotonic;
use gateway::wire::dns::Found;

/// Hosts of rules for all names below them.
const RULES: [&str; 3] = ["listed.kz", "media.listed.kz", "other.kz"];
/// Host of a deny below the first of them.
const DENIED: &str = "ads.listed.kz";
/// Small enough to be filled; shares in the proportions of a node.
const LIMITS: AnswerLimits = AnswerLimits {
    retention: Duration::from_secs(1_000),
    pairs_max: 4_096,
    pairs_per_rule_max: 1_024,
    pairs_per_subscriber_max: 64,
    wildcard_names_min: 32,
    addresses_per_name_max: 512,
    names_per_address_max: 256,
    shared_subscribers_min: 32,
    shared_domains_min: 8,
    dns_only_pairs_max: 1_000_000,
    dns_only_pairs_per_subscriber_max: 512,
};

fn name(text: &str) -> DomainName {
    DomainName::from_wire(text.as_bytes()).unwrap()
}

fn at(seconds: u64) -> Monotonic {
    Monotonic::new(Duration::from_secs(seconds))
}

fn v4(number: u32) -> IpAddr {
    IpAddr::from((0xcb00_0000 + number).to_be_bytes())
}

/// The subscriber in one of his sessions.
fn session(number: usize, session: usize) -> SubscriberKey {
    let id = format!("s{number}");
    SubscriberKey::Session(Session::new(SubscriberType::Account, &id, &session.to_string()).unwrap())
}

fn who(number: usize) -> SubscriberKey {
    session(number, 0)
}

/// How the list speaks of a name: hosts of rules and whatever begins with `exact` have entries of their own.
fn listing(name: &DomainName) -> Listing {
    let text = name.as_str();
    let below = |host: &&&str| text.strip_suffix(**host).is_some_and(|rest| rest.ends_with('.'));
    if below(&&DENIED) {
        return Listing::Denied { host_bytes: DENIED.len() };
    }
    if text.starts_with("exact") || RULES.contains(&text) {
        return Listing::Own;
    }
    let nearest = RULES.iter().filter(below).max_by_key(|host| host.len());
    nearest.map_or(Listing::Unlisted, |host| Listing::Below { host_bytes: host.len() })
}

fn with(limits: AnswerLimits) -> TrustedAnswers {
    TrustedAnswers::new(limits, Nat64::default(), RandomState::new())
}

/// Learns that a name has addresses.
fn learn(maps: &mut TrustedAnswers, asker: Asker<'_>, host: &str, addresses: &[u32], now: u64) -> Learning {
    let addresses = addresses.iter().copied().map(v4).collect();
    let found = Found { addresses, ttl: 300, ..Found::default() };
    maps.learn_found(&name(host), &found, asker, listing, |_| true, at(now))
}

/// The subscriber makes up so many names below a host, each answered with 16 addresses of its own.
fn make_up(maps: &mut TrustedAnswers, number: usize, names: usize, below: &str, now: u64) {
    for turn in 0..names {
        // As many sessions as he likes: he is one subscriber.
        let key = session(number, turn % 7);
        let first = ((number * 100_000 + turn) * 16) as u32;
        let addresses: Vec<u32> = (first..first + 16).collect();
        learn(maps, Asker::Subscriber(&key), &format!("n{number}-{turn}.{below}"), &addresses, now);
    }
}

fn vouches(maps: &TrustedAnswers, host: &str, address: u32, now: u64) -> bool {
    maps.vouches(&name(host), v4(address), at(now))
}

#[test]
fn f2_an_address_of_many_names_below_a_rule_is_kept_once_for_all_and_not_one_name_earlier() {
    let mut maps = with(LIMITS);
    let ask = |maps: &mut TrustedAnswers, number: usize| {
        learn(maps, Asker::Subscriber(&who(number)), &format!("n{number}.listed.kz"), &[1, 2], 0)
    };
    for number in 0..31 {
        assert_eq!(ask(&mut maps, number).new, 2);
    }
    assert_eq!(maps.pairs(), 62);
    assert!(!vouches(&maps, "unasked.listed.kz", 1, 0), "31 names are not yet all names");
    assert_eq!(ask(&mut maps, 31), Learning { new: 2, ..Learning::default() });
    assert_eq!(maps.pairs(), 64);
    for asked in ["n0.listed.kz", "n31.listed.kz", "unasked.listed.kz", "a.b.listed.kz"] {
        assert!(vouches(&maps, asked, 1, 0) && vouches(&maps, asked, 2, 0) && !vouches(&maps, asked, 3, 0));
    }
    // Neither for the host itself, nor for names nearer to another rule or below none, nor for an entry that has its own.
    learn(&mut maps, Asker::Gateway, "n.media.listed.kz", &[9], 0);
    learn(&mut maps, Asker::Gateway, "exact.listed.kz", &[9], 0);
    for other in
        ["listed.kz", "n.media.listed.kz", "m.media.listed.kz", "exact.listed.kz", "n.other.kz", "kz"]
    {
        assert!(!vouches(&maps, other, 1, 0), "{other}");
    }
    // From there on made-up names cost nothing.
    let held = maps.pairs();
    for number in 32..5_000 {
        assert_eq!(ask(&mut maps, number), Learning { refreshed: 2, ..Learning::default() });
    }
    assert_eq!((maps.pairs(), maps.addresses(&name("n4000.listed.kz"))), (held, 2));
    assert_eq!(maps.lack(at(0)), (Lack::default(), 0));
    // Its time is over a retention after it was last seen, below any name.
    learn(&mut maps, Asker::Gateway, "late.listed.kz", &[1], 500);
    assert!(vouches(&maps, "unasked.listed.kz", 1, 1_500) && !vouches(&maps, "unasked.listed.kz", 1, 1_501));
    assert!(!vouches(&maps, "unasked.listed.kz", 2, 1_001));
    let counting: Vec<_> = maps.addresses_counting(at(1_200)).collect();
    assert_eq!(counting, [v4(1)], "the kernel's sets of candidates follow it");
    maps.sweep(at(1_501));
    assert_eq!((maps.pairs(), maps.names().count()), (0, 0));
}

#[test]
fn f2_addresses_of_denied_names_are_their_own_and_never_those_of_all() {
    let mut maps = with(LIMITS);
    for number in 0..100 {
        learn(&mut maps, Asker::Subscriber(&who(number)), &format!("n{number}.ads.listed.kz"), &[1], 0);
    }
    assert!(vouches(&maps, "n7.ads.listed.kz", 1, 0));
    for other in ["unasked.ads.listed.kz", "unasked.listed.kz", "ads.listed.kz"] {
        assert!(!vouches(&maps, other, 1, 0), "{other}");
    }
}

#[test]
fn f1_f2_n8_names_made_up_below_a_rule_are_one_entry_and_make_no_address_shared() {
    let mut maps = with(AnswerLimits { wildcard_names_min: 65_536, ..AnswerLimits::default() });
    for below in ["listed.kz", DENIED] {
        for number in 0..400 {
            learn(&mut maps, Asker::Subscriber(&who(1)), &format!("n{number}.{below}"), &[1], 0);
        }
    }
    for number in 0..255 {
        learn(&mut maps, Asker::Gateway, &format!("exact{number}.kz"), &[1], 0);
    }
    assert!(!maps.is_shared(v4(1), at(0)), "255 entries and a rule");
    learn(&mut maps, Asker::Gateway, "n.other.kz", &[1], 0);
    assert!(maps.is_shared(v4(1), at(0)), "257 entries");
    // The list gives one of them an entry of its own.
    let mut maps = with(LIMITS);
    for number in 0..10 {
        learn(&mut maps, Asker::Subscriber(&who(1)), &format!("n{number}.listed.kz"), &[1], 0);
    }
    let own = |_: &DomainName| Listing::Own;
    let found = Found { addresses: vec![v4(1), v4(2)], ttl: 300, ..Found::default() };
    let learning = maps.learn_found(&name("n0.listed.kz"), &found, Asker::Gateway, own, |_| true, at(0));
    assert_eq!((learning.new, learning.refreshed, maps.pairs()), (1, 1, 11));
    make_up(&mut maps, 1, 100, "listed.kz", 0);
    assert!(vouches(&maps, "n0.listed.kz", 1, 0) && vouches(&maps, "n0.listed.kz", 2, 0));
}

/// Pseudo-random numbers, the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[test]
fn f2_whatever_is_learnt_limits_hold_and_nothing_is_left_behind() {
    let limits = AnswerLimits {
        pairs_max: 60,
        pairs_per_rule_max: 30,
        pairs_per_subscriber_max: 12,
        wildcard_names_min: 3,
        addresses_per_name_max: 5,
        names_per_address_max: 3,
        ..LIMITS
    };
    let mut random = Random(0x2020_0407);
    for _ in 0..40 {
        let mut maps = with(limits);
        for step in 0..600_u64 {
            let below = [RULES[0], RULES[1], RULES[2], DENIED][random.below(4) as usize];
            let host = match random.below(8) {
                0 => format!("exact{}.kz", random.below(6)),
                _ => format!("n{}.{below}", random.below(40)),
            };
            let addresses: Vec<u32> = (0..random.below(4)).map(|_| random.below(12) as u32).collect();
            let key = who(random.below(6) as usize);
            let asker = match random.below(4) {
                0 => Asker::Gateway,
                1 => Asker::Stranger,
                2 => Asker::Flow(&key),
                _ => Asker::Subscriber(&key),
            };
            let now = step * 10;
            learn(&mut maps, asker, &host, &addresses, now);
            let _ = random.below(3) == 0 && vouches(&maps, &host, random.below(12) as u32, now);
            if random.below(50) == 0 {
                maps.sweep(at(now));
            }
            assert!(maps.pairs() <= limits.pairs_max);
            let alive = maps.addresses_counting(at(0)).count();
            assert_eq!(alive, maps.pairs(), "what counts is what is there");
        }
        maps.sweep(at(1_000_000));
        assert_eq!((maps.pairs(), maps.names().count(), maps.shared_addresses(at(0))), (0, 0, 0));
        assert!((0..12).all(|address| !maps.is_shared(v4(address), at(0))));
        // Nothing of what went still counts against anybody.
        for number in 0..6 {
            let host = format!("late{number}.listed.kz");
            let own: Vec<u32> = (0..5).map(|address| number as u32 * 5 + address).collect();
            let learning = learn(&mut maps, Asker::Subscriber(&who(number)), &host, &own, 1_000_000);
            assert_eq!(learning, Learning { new: 5, ..Learning::default() }, "{host}");
        }
        assert_eq!(maps.lack(at(1_000_600)).0, Lack::default());
    }
}

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

use std::hash::RandomState;
use std::net::IpAddr;
use std::time::Duration;

use allowlist::DomainName;
use billing_export::{Session, SubscriberType};
use gateway::flow::binding::{AnswerLimits, Asker, Lack, Learning, Listing, Nat64, TrustedAnswers};
use gateway::flow::session::SubscriberKey;
use gateway::flow::time::{Moment, Monotonic};
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
fn f2_a_subscriber_displaces_his_own_and_nobody_else_s() {
    let mut maps = with(LIMITS);
    learn(&mut maps, Asker::Subscriber(&who(1)), "asked.listed.kz", &[1], 0);
    learn(&mut maps, Asker::Subscriber(&who(9)), "exact.listed.kz", &[2], 0);
    learn(&mut maps, Asker::Subscriber(&who(9)), "his-first.listed.kz", &[3], 0);
    make_up(&mut maps, 9, 3, "listed.kz", 1);
    assert_eq!(maps.lack(at(1)), (Lack::default(), 0));
    assert_eq!(maps.pairs(), 3 + 48);
    make_up(&mut maps, 9, 2_000, "listed.kz", 2);
    // 64 pairs of his, one of another, one of an entry.
    assert_eq!(maps.pairs(), 66);
    assert!(vouches(&maps, "asked.listed.kz", 1, 2) && vouches(&maps, "exact.listed.kz", 2, 2));
    assert!(!vouches(&maps, "his-first.listed.kz", 3, 2));
    assert!(vouches(&maps, "n9-1999.listed.kz", (901_999 * 16) as u32, 2), "his last is there");
    let (lack, displaced) = maps.lack(at(2));
    assert_eq!(lack, Lack { subscriber: true, ..Lack::default() });
    assert!(displaced >= 1_990, "{displaced}");
    assert_eq!(maps.lack(at(602)).0, Lack::default(), "told for ten minutes");
    // What is looked up for his flows is on his account too.
    learn(&mut maps, Asker::Flow(&who(9)), "flow.listed.kz", &[4], 3);
    assert_eq!(maps.pairs(), 66 - 16 + 1);
}

#[test]
fn f2_names_that_are_asked_for_again_outlast_names_that_are_not() {
    let mut maps = with(LIMITS);
    for turn in 0..100 {
        learn(&mut maps, Asker::Subscriber(&who(9)), "habit.listed.kz", &[3], turn);
        make_up(&mut maps, 9, 3, &format!("t{turn}.listed.kz"), turn);
        assert!(vouches(&maps, "habit.listed.kz", 3, turn), "{turn}");
    }
}

#[test]
fn f2_a_rule_s_share_leaves_all_others_theirs() {
    let mut maps = with(LIMITS);
    learn(&mut maps, Asker::Subscriber(&who(1)), "visited.listed.kz", &[1], 0);
    assert!(vouches(&maps, "visited.listed.kz", 1, 0), "a flow bore it");
    learn(&mut maps, Asker::Subscriber(&who(1)), "n.other.kz", &[2], 0);
    learn(&mut maps, Asker::Gateway, "exact.kz", &[3], 0);
    // 16 subscribers' shares fill the rule's; 20 try.
    for number in 10..30 {
        make_up(&mut maps, number, 100, "listed.kz", 1);
    }
    // Names go as a whole, with 16 pairs each.
    assert!((1_011..=1_026).contains(&maps.pairs()), "{}", maps.pairs());
    assert!(maps.lack(at(1)).0.rule && !maps.lack(at(1)).0.all);
    for (kept, address) in [("visited.listed.kz", 1), ("n.other.kz", 2), ("exact.kz", 3)] {
        assert!(vouches(&maps, kept, address, 1), "{kept}");
    }
    // A first visit below the same rule, and elsewhere.
    for (host, address) in [("first.listed.kz", 4), ("first.other.kz", 5), ("first.media.listed.kz", 6)] {
        let learning = learn(&mut maps, Asker::Subscriber(&who(2)), host, &[address], 2);
        assert_eq!(learning.new, 1, "{host}");
        assert!(vouches(&maps, host, address, 2), "{host}");
    }
    make_up(&mut maps, 30, 100, "listed.kz", 3);
    assert!(vouches(&maps, "first.listed.kz", 4, 3), "visited");
}

#[test]
fn f2_a_name_that_another_asks_for_goes_over_to_him_from_whoever_holds_too_much() {
    let mut maps = with(LIMITS);
    // He asks for what others will ask for, before he makes names up.
    for number in 0..4_u32 {
        let host = format!("popular{number}.listed.kz");
        learn(&mut maps, Asker::Subscriber(&who(9)), &host, &[number], 0);
    }
    make_up(&mut maps, 9, 2, "listed.kz", 0);
    learn(&mut maps, Asker::Subscriber(&who(1)), "popular0.listed.kz", &[0], 1);
    learn(&mut maps, Asker::Flow(&who(1)), "popular1.listed.kz", &[1], 1);
    // Neither his own second session nor somebody who holds as much takes anything over.
    learn(&mut maps, Asker::Subscriber(&session(9, 5)), "popular2.listed.kz", &[2], 1);
    make_up(&mut maps, 8, 100, "other.kz", 1);
    learn(&mut maps, Asker::Subscriber(&who(8)), "popular3.listed.kz", &[3], 1);
    make_up(&mut maps, 9, 1_000, "listed.kz", 2);
    let there = |number: u32| vouches(&maps, &format!("popular{number}.listed.kz"), number, 2);
    assert_eq!([0, 1, 2, 3].map(there), [true, true, false, false]);
}

#[test]
fn f2_whatever_is_displaced_what_a_subscriber_was_answered_counts_for_his_own_flows() {
    let mut maps = with(LIMITS);
    learn(&mut maps, Asker::Subscriber(&who(1)), "asked.listed.kz", &[1], 0);
    for number in 10..40 {
        make_up(&mut maps, number, 100, "listed.kz", 1);
    }
    let vouches_for = |maps: &TrustedAnswers, number, host: &str, address, now| {
        maps.vouches_for(&who(number), &name(host), v4(address), at(now))
    };
    assert!(!vouches_for(&maps, 2, "asked.listed.kz", 1, 1), "it was displaced");
    assert!(vouches_for(&maps, 1, "asked.listed.kz", 1, 1));
    for (host, address) in [("asked.listed.kz", 2), ("other.listed.kz", 1)] {
        assert!(!vouches_for(&maps, 1, host, address, 1), "{host}");
    }
    assert!(vouches_for(&maps, 1, "asked.listed.kz", 1, 1_000), "to the edge of the retention");
    assert!(!vouches_for(&maps, 1, "asked.listed.kz", 1, 1_001));
    // What was found for his flows is nothing that he was answered.
    learn(&mut maps, Asker::Flow(&who(3)), "found.other.kz", &[5], 2);
    for number in 40..80 {
        make_up(&mut maps, number, 100, "other.kz", 3);
    }
    assert!(!vouches_for(&maps, 3, "found.other.kz", 5, 3));
}

#[test]
fn f2_when_all_is_full_entries_displace_made_up_names_and_are_never_displaced() {
    let limits = AnswerLimits { pairs_max: 200, pairs_per_rule_max: 190, ..LIMITS };
    let mut maps = with(limits);
    maps.pin(&name("pinned.kz"), v4(7));
    for number in 10..20 {
        make_up(&mut maps, number, 50, "listed.kz", 0);
    }
    for number in 0..199_u32 {
        let host = format!("exact{number}.kz");
        assert_eq!(learn(&mut maps, Asker::Subscriber(&who(1)), &host, &[number], 1).new, 1, "{host}");
        assert!(maps.pairs() <= 200);
    }
    assert!(maps.lack(at(1)).0.all);
    assert!((0..199).all(|number| vouches(&maps, &format!("exact{number}.kz"), number, 1)));
    // Not one made-up name is left, and none comes in.
    make_up(&mut maps, 10, 50, "listed.kz", 2);
    let learning = learn(&mut maps, Asker::Subscriber(&who(1)), "exact-one-more.kz", &[1], 3);
    assert_eq!((learning.new, learning.full), (0, 1));
    assert_eq!(maps.pairs(), 200);
    assert!(
        vouches(&maps, "pinned.kz", 7, 3)
            && (0..199).all(|number| vouches(&maps, &format!("exact{number}.kz"), number, 3))
    );
    maps.sweep(at(1_004));
    assert_eq!(maps.pairs(), 1, "what is pinned stays");
}

#[test]
fn f2_those_who_visit_all_they_make_up_hold_no_more_than_half_their_share_against_others() {
    let mut maps = with(LIMITS);
    for number in 10..40 {
        for turn in 0..100_u32 {
            let (host, address) = (format!("n{number}-{turn}.listed.kz"), number as u32 * 1_000 + turn);
            learn(&mut maps, Asker::Subscriber(&who(number)), &host, &[address], 0);
            assert!(vouches(&maps, &host, address, 0));
        }
    }
    assert_eq!(maps.pairs(), 1_024);
    let learning = learn(&mut maps, Asker::Subscriber(&who(1)), "first.listed.kz", &[1], 1);
    assert!(learning.new == 1 && vouches(&maps, "first.listed.kz", 1, 1));
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

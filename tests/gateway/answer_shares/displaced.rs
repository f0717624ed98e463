//! Who displaces whose names when there is no more room: his own first, and never an entry of the list.

use gateway::flow::binding::{AnswerLimits, Asker, Lack, TrustedAnswers};

use super::{LIMITS, at, learn, make_up, name, session, v4, vouches, who, with};

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

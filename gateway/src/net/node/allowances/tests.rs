//! Tests of `allowances`.

use billing_export::{SubscriberType, Volume};

use super::*;
use crate::flow::allowance::Limits;

fn session(number: u32) -> Session {
    Session::new(SubscriberType::Msisdn, &number.to_string(), "s").unwrap()
}

/// A plan of 100 bytes a day and 150 a month, with room for so many counters.
fn plan(counters_max: usize) -> AllowancePlan {
    let limits = Limits { daily: Some(100), monthly: Some(150) };
    AllowancePlan::new(TimeZone::UTC, limits, Limits::default(), []).with_counters_max(counters_max)
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Takes bytes for a subscriber; how many were exempt.
fn take(allowances: &Allowances, plan: &AllowancePlan, number: u32, bytes: u64, when: &str) -> u64 {
    let mut share = allowances.share(plan, &session(number), ("school", false), at(when)).unwrap().unwrap();
    let taken = share.take(Volume { up: 0, down: bytes }, 0).down;
    allowances.note_changed(&share);
    taken
}

const DAY: &str = "2026-11-25T12:00:00Z";
const NEXT: &str = "2026-11-26T00:00:00Z";
const MONTH: &str = "2026-12-01T00:00:00Z";

#[test]
fn t31_a_new_day_begins_anew_and_the_month_goes_on() {
    let (allowances, plan) = (Allowances::default(), plan(10));
    assert_eq!(take(&allowances, &plan, 1, 170, DAY), 100);
    assert!(!allowances.has_room(&plan, &session(1), "school", at(DAY)));
    assert!(allowances.has_room(&plan, &session(2), "school", at(DAY)));
    assert!(allowances.has_room(&plan, &session(1), "school", at(NEXT)));
    assert_eq!(take(&allowances, &plan, 1, 100, NEXT), 50);
    assert_eq!(take(&allowances, &plan, 1, 300, MONTH), 100);
    assert_eq!(allowances.figures().counters, 2);
    allowances.sweep(&allowances.calendar(&plan, at("2026-12-02T00:00:00Z")).unwrap());
    assert_eq!(allowances.figures().counters, 1, "the month's is left");
}

#[test]
fn t31_what_was_saved_is_restored_and_never_lowers_what_is_known() {
    let (allowances, plan) = (Allowances::default(), plan(10));
    assert_eq!(take(&allowances, &plan, 1, 60, DAY), 60);
    let mut saved = allowances.take_changes();
    saved.sort_by_key(|spent| spent.span.clone());
    let words: Vec<_> =
        saved.iter().map(|spent| format!("{} {} {}", spent.allowance, spent.span, spent.bytes)).collect();
    assert_eq!(words, ["overall day 2026-11-25 60", "overall month 2026-11-01 60"]);
    assert!(allowances.take_changes().is_empty());
    let other = Allowances::default();
    assert_eq!(take(&other, &plan, 1, 10, DAY), 10);
    let restore = |allowances: &Allowances, when| {
        saved.iter().for_each(|spent| allowances.restore(&plan, spent, at(when)).unwrap());
    };
    restore(&other, DAY);
    assert_eq!(take(&other, &plan, 1, 90, DAY), 40);
    restore(&other, DAY);
    assert_eq!(take(&other, &plan, 1, 90, DAY), 0);
    // Yesterday's are no more, the month's are.
    let later = Allowances::default();
    restore(&later, NEXT);
    assert_eq!(take(&later, &plan, 1, 300, NEXT), 90);
}

#[test]
fn t31_midnight_moves_with_the_zone_at_once() {
    let allowances = Allowances::default();
    let of = |zone: &str| {
        let limits = Limits { daily: Some(100), monthly: None };
        AllowancePlan::new(TimeZone::get(zone).unwrap(), limits, Limits::default(), [])
    };
    let evening = at("2026-11-25T20:00:00Z");
    let day = |zone| allowances.calendar(&of(zone), evening).unwrap().span(Length::Day).label();
    assert_eq!(day("UTC"), "day 2026-11-25");
    assert_eq!(day("Asia/Almaty"), "day 2026-11-26");
    assert_eq!(day("UTC"), "day 2026-11-25");
}

#[test]
fn t31_a_full_table_exempts_nobody_new_and_keeps_those_it_has() {
    let (allowances, plan) = (Allowances::default(), plan(2));
    assert_eq!(take(&allowances, &plan, 1, 10, DAY), 10);
    assert!(allowances.has_room(&plan, &session(1), "school", at(DAY)));
    assert!(!allowances.has_room(&plan, &session(2), "school", at(DAY)), "nothing could count it");
    let refused = allowances.share(&plan, &session(2), ("school", false), at(DAY));
    assert_eq!(refused.err(), Some(NoCounter));
    assert_eq!(take(&allowances, &plan, 1, 10, DAY), 10);
    let saved = Spent {
        subscriber: session(2),
        allowance: "overall".to_owned(),
        span: "day 2026-11-25".to_owned(),
        bytes: 90,
    };
    assert_eq!(allowances.restore(&plan, &saved, at(DAY)), Err(NoCounter));
    // With more room it comes back as it was; limits that are no more take none.
    let wider = plan.clone().with_counters_max(4);
    assert_eq!(allowances.restore(&wider, &saved, at(DAY)), Ok(()));
    let gone = Spent { allowance: "group:gone".to_owned(), ..saved };
    assert_eq!(allowances.restore(&wider, &gone, at(DAY)), Ok(()));
    assert_eq!(take(&allowances, &wider, 2, 70, DAY), 10);
    assert_eq!(allowances.figures().counters, 4);
    let (allowances, _) = (Allowances::default(), allowances);
    assert_eq!(take(&allowances, &plan, 1, 20, DAY), 20);
    allowances.share(&plan, &session(2), ("school", false), at(DAY)).unwrap_err();
    // A day later the same two make way for themselves.
    assert_eq!(take(&allowances, &plan, 1, 10, NEXT), 10);
    assert_eq!(allowances.figures(), AllowanceFigures { counters: 2, full: 1 });
    assert!(AllowancePlan::unlimited().is_unlimited());
    let unlimited = AllowancePlan::unlimited();
    let share = allowances.share(&unlimited, &session(2), ("school", true), at(DAY));
    assert!(share.unwrap().is_none(), "without a limit no counter is wanted");
}

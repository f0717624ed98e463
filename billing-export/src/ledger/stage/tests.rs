//! Tests of `stage`.

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::account::Usage;
use crate::period::Period;

/// An empty ledger at noon.
fn ledger(accounts_max: usize) -> Ledger {
    let noon = "2026-04-06T12:00:00Z".parse().unwrap();
    Ledger::new(HashMap::new(), Segment::beginning(noon, Period::default()), 0, accounts_max)
}

/// A tick of one second with this usage, all of it seen.
fn tick(sequence: u64, usage: &[(Entry, u64)]) -> Tick {
    let from: Timestamp = "2026-04-06T12:00:00Z".parse().unwrap();
    Tick {
        sequence,
        from,
        at: from + SignedDuration::from_secs(1),
        seen: Volume { up: usage.iter().map(|(_, bytes)| bytes).sum(), down: 0 },
        pending_after: Volume::ZERO,
        usage: usage
            .iter()
            .map(|(entry, bytes)| Usage {
                account: Account { session: Session::none(), list: None, entry: entry.clone() },
                flags: Flags::NONE,
                volume: Volume { up: *bytes, down: 0 },
            })
            .collect(),
        capped: Vec::new(),
        spent: Vec::new(),
        stepped: false,
    }
}

/// Stages with empty totals, and applies.
fn add(ledger: &mut Ledger, tick: &Tick) -> Result<(), LedgerError> {
    let staged = ledger.stage(tick, &mut |_| Ok::<_, LedgerError>(Opening::default()))?;
    ledger.apply(staged);
    Ok(())
}

#[test]
fn one_account_twice_in_a_tick_is_one_counter() {
    let mut ledger = ledger(1);
    let entry = Entry::Charged(Reason::NoName);
    add(&mut ledger, &tick(1, &[(entry.clone(), 3), (entry, 4)])).unwrap();
    let rows = ledger.in_order();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].1.volume.up, 7);
}

#[test]
fn accounts_at_the_limit_and_one_over() {
    let mut ledger = ledger(2);
    let [a, b, c] = [Reason::NoName, Reason::Port, Reason::Denied].map(Entry::Charged);
    add(&mut ledger, &tick(1, &[(a.clone(), 1), (b, 1)])).unwrap();
    let before = ledger.segment();
    let refused = add(&mut ledger, &tick(2, &[(a, 1), (c, 1)])).unwrap_err();
    assert_eq!(refused, LedgerError::AccountsMax { found: 3, max: 2 });
    assert!(refused.to_string().contains("export.accounts_max"));
    assert_eq!(ledger.segment(), before);
}

#[test]
fn b12_the_greatest_count_is_kept_and_one_more_is_refused_whole() {
    let mut ledger = ledger(9);
    let entry = Entry::Charged(Reason::NoName);
    add(&mut ledger, &tick(1, &[(entry.clone(), COUNT_MAX)])).unwrap();
    let refused = add(&mut ledger, &tick(2, &[(entry.clone(), 1)])).unwrap_err();
    assert!(matches!(refused, LedgerError::TooLarge { .. }));
    assert_eq!(ledger.in_order()[0].1.volume.up, COUNT_MAX);
    let mut other = tick(1, &[]);
    other.pending_after.down = COUNT_MAX + 1;
    assert!(add(&mut self::ledger(9), &other).is_err());
}

#[test]
fn a_reason_without_a_subscriber_moves_to_its_own_class() {
    let mut ledger = ledger(9);
    add(&mut ledger, &tick(1, &[(Entry::Charged(Reason::NoSubscriber), 1)])).unwrap();
    assert_eq!(ledger.in_order()[0].0.entry, Entry::Unattributed(Reason::NoSubscriber));
}

#[test]
fn b9_f66_steps_both_ways_are_seen_and_a_smeared_second_or_a_long_tick_is_not() {
    let period = Period::default();
    let noon: Timestamp = "2026-04-06T12:00:00Z".parse().unwrap();
    let at = |millis: i64| noon + SignedDuration::from_millis(millis);
    let mut segment = Segment::beginning(noon, period);
    let mut show = |from, to, stepped| {
        let tick = Tick { from: at(from), at: at(to), stepped, ..tick(1, &[]) };
        observe_clock(&mut segment, &tick)
    };
    assert!(!show(0, 1_000, false));
    assert!(!show(1_000, 1_999, false), "a smeared second is a little shorter");
    assert!(show(1_999, -3_600_000, false), "set back within the tick");
    assert!(show(-3_600_000, -3_599_000, false), "and behind until it catches up");
    assert!(!show(1_999, 3_000, false));
    assert!(!show(3_000, 86_400_000, false), "f66: a day without a tick is no step");
    assert!(show(86_400_000, 172_800_000, true), "set forward within the tick, as its reader says");
}

#[test]
fn texts_that_no_row_could_carry_are_refused() {
    let entry = |service: &str| Entry::Exempt {
        service: service.into(),
        rating_group: 1,
        disposition: crate::unit::Disposition::Observed,
    };
    for bad in ["", "a\nb", &"x".repeat(254)] {
        assert!(matches!(add(&mut ledger(9), &tick(1, &[(entry(bad), 1)])), Err(LedgerError::Text { .. })));
    }
    assert!(add(&mut ledger(9), &tick(1, &[(entry(&"x".repeat(253)), 1)])).is_ok());
}

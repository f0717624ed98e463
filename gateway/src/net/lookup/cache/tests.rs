//! Tests of `cache`.

use super::*;
use crate::net::lookup::Answer;

const HOUR: Duration = Duration::from_secs(3_600);

fn name(text: &str) -> DomainName {
    DomainName::from_wire(text.as_bytes()).unwrap()
}

fn at(seconds: u64) -> Monotonic {
    Monotonic::new(Duration::from_secs(seconds))
}

fn who(last: u8) -> SubscriberKey {
    SubscriberKey::Address(IpAddr::from([10, 0, 0, last]))
}

fn found() -> Answer {
    Ok(Arc::from([IpAddr::from([203, 0, 113, 1])]))
}

fn land(cache: &mut Cache, text: &str, answer: &Answer, listed: bool, seconds: u64) {
    let landed = Landed { answer, ttl: Duration::from_secs(60), retention: HOUR, listed };
    cache.land(&name(text), &landed, at(seconds));
}

#[test]
fn f4_made_up_names_displace_none_that_came_to_something() {
    let mut cache = Cache::new(64);
    for kept in ["used.kz", "shared.kz"] {
        land(&mut cache, kept, &found(), false, 1);
        cache.note_use(&name(kept), &who(1), at(1));
    }
    cache.note_use(&name("shared.kz"), &who(2), at(2));
    land(&mut cache, "listed.kz", &found(), true, 3);
    for number in 0..1_000 {
        land(&mut cache, &format!("n{number}.kz"), &found(), false, 4);
    }
    assert_eq!(cache.names.len(), 64, "at the limit");
    assert!(cache.order.iter().map(BTreeMap::len).eq([61, 1, 1, 1]));
    for kept in ["used.kz", "shared.kz", "listed.kz", "n999.kz"] {
        assert!(cache.get(&name(kept)).is_some(), "{kept}");
    }
    assert!(cache.get(&name("n938.kz")).is_none(), "the oldest went");
}

#[test]
fn f4_names_of_one_subscriber_go_before_those_of_several_and_new_ones_find_room() {
    let mut cache = Cache::new(16);
    for number in 0..16_u8 {
        let (text, second) = (format!("n{number}.kz"), u64::from(number));
        land(&mut cache, &text, &found(), false, second);
        cache.note_use(&name(&text), &who(10 + number), at(second));
        if number < 4 {
            cache.note_use(&name(&text), &who(2), at(second));
        }
    }
    for number in 16..40 {
        land(&mut cache, &format!("n{number}.kz"), &found(), false, number);
    }
    // Two places in sixteen, and the one that is about to come.
    assert!(cache.order.iter().map(BTreeMap::len).eq([3, 0, 9, 4]), "{:?}", cache.order);
    assert!((0..4).chain(7..16).all(|number| cache.get(&name(&format!("n{number}.kz"))).is_some()));
}

#[test]
fn f4_whoever_reaches_made_up_names_displaces_his_own() {
    let mut cache = Cache::new(64);
    land(&mut cache, "pupil.kz", &found(), false, 1);
    cache.note_use(&name("pupil.kz"), &who(1), at(1));
    for number in 0..200 {
        let text = format!("n{number}.kz");
        land(&mut cache, &text, &found(), false, 2);
        cache.note_use(&name(&text), &who(2), at(2));
    }
    let known = |text: &str| cache.get(&name(text)).is_some();
    assert!(known("pupil.kz"), "another's");
    assert!((196..200).all(|number| known(&format!("n{number}.kz"))) && !known("n195.kz"), "four of 64");
    assert_eq!((cache.names.len(), cache.of_users.len()), (5, 5));
    // What another uses too is nobody's alone.
    cache.note_use(&name("n196.kz"), &who(1), at(3));
    assert_eq!(cache.counts.values().sum::<usize>(), 4);
    for number in 0..64 {
        land(&mut cache, &format!("m{number}.kz"), &found(), true, 4);
    }
    assert_eq!(cache.counts.values().sum::<usize>(), cache.of_users.len());
    assert_eq!(cache.names.len(), 64);
}

#[test]
fn f4_the_name_used_longest_ago_goes_first_among_equals() {
    let mut cache = Cache::new(8);
    for number in 0..8 {
        let text = format!("n{number}.kz");
        land(&mut cache, &text, &found(), true, 0);
        cache.note_use(&name(&text), &who(1 + number), at(0));
    }
    cache.note_use(&name("n0.kz"), &who(1), at(59));
    assert_eq!(cache.order[Rank::Used.index()].values().next(), Some(&name("n0.kz")), "not yet");
    cache.note_use(&name("n0.kz"), &who(1), at(60));
    land(&mut cache, "other.kz", &found(), true, 61);
    assert!(cache.get(&name("n0.kz")).is_some() && cache.get(&name("n1.kz")).is_none());
}

#[test]
fn f12_the_last_addresses_outlive_every_failure() {
    let mut cache = Cache::new(8);
    land(&mut cache, "a.kz", &found(), false, 0);
    assert_eq!(cache.last_known().count(), 0, "nobody has used it");
    cache.note_use(&name("a.kz"), &who(1), at(0));
    for failure in [LookupError::Failed, LookupError::ServerFailure, LookupError::NoAddress] {
        land(&mut cache, "a.kz", &Err(failure), false, 1_000_000);
        let last = cache.get(&name("a.kz")).unwrap().last.as_ref().unwrap();
        assert_eq!((Ok(Arc::clone(&last.addresses)), last.counts_until), (found(), Some(at(3_600))));
    }
    assert_eq!(cache.last_known().count(), 1);
    let other: Arc<[IpAddr]> = Arc::from([IpAddr::from([203, 0, 113, 2])]);
    cache.restore(&name("a.kz"), Arc::clone(&other), at(2));
    cache.restore(&name("b.kz"), other, at(2));
    assert_eq!(cache.get(&name("a.kz")).unwrap().last.as_ref().unwrap().counts_until, Some(at(3_600)));
    assert!(cache.get(&name("b.kz")).unwrap().last.as_ref().unwrap().counts_until.is_none());
}

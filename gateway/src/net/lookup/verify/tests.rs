//! Tests of `verify`.

use super::*;

fn who(last: u8) -> Asker {
    Asker { subscriber: SubscriberKey::Address(IpAddr::from([10, 0, 0, last])), proven: true }
}

fn forged(last: u8) -> Asker {
    Asker { proven: false, ..who(last) }
}

#[test]
fn v4_a_resolver_that_repeats_itself_is_not_asked_further() {
    let answer = |last: &[u8]| {
        let addresses = last.iter().map(|last| IpAddr::from([10, 0, 0, *last])).collect();
        Found { addresses, ..Found::default() }
    };
    let builder = TokioResolver::builder_with_config(Default::default(), Default::default());
    let mut resolver = Asked::first(builder.build().unwrap());
    assert!((0..3).all(|_| !resolver.repeats(answer(&[1, 2]))));
    assert!(!resolver.repeats(answer(&[1, 3])), "another pick");
    assert!(!resolver.repeats(answer(&[3, 1])) && !resolver.repeats(answer(&[1, 3])));
    assert!(resolver.repeats(answer(&[3, 1])), "the order says nothing");
}

#[test]
fn v5_an_inquiry_has_room_for_addresses_and_for_every_subscriber() {
    let (sender, rounds) = watch::channel(0);
    let mut inquiry = Inquiry::new(rounds);
    let mut wanted = |last, numbers: std::ops::Range<u32>| {
        numbers.filter(|number| inquiry.want(&who(last), IpAddr::from(number.to_be_bytes()))).count()
    };
    assert_eq!(wanted(1, 0..100), 64);
    assert_eq!(wanted(1, 0..100), 64, "those are asked about already");
    assert_eq!(wanted(2, 0..100), 100, "36 of them its own");
    assert_eq!([wanted(3, 100..200), wanted(4, 200..300), wanted(5, 300..400)], [64, 64, 28]);
    assert_eq!(wanted(5, 0..64), 64);
    assert!(is_under_way(&inquiry.rounds));
    drop(sender);
    assert!(!is_under_way(&inquiry.rounds), "whoever was at work is gone");
}

#[test]
fn f4_flows_whose_source_may_be_forged_leave_half_of_an_inquiry_to_others() {
    let (_sender, rounds) = watch::channel(0);
    let mut inquiry = Inquiry::new(rounds);
    let mut wanted = |who: &Asker, numbers: std::ops::Range<u32>| {
        numbers.filter(|number| inquiry.want(who, IpAddr::from(number.to_be_bytes()))).count()
    };
    assert_eq!(
        [1, 2, 3].map(|last| wanted(&forged(last), u32::from(last) * 100..u32::from(last) * 100 + 100)),
        [64, 64, 0]
    );
    assert_eq!(
        [1, 2, 3].map(|last| wanted(&who(last), u32::from(last) * 1_000..u32::from(last) * 1_000 + 100)),
        [64, 64, 0]
    );
}

#[test]
fn v5_denials_have_their_time_and_their_room() {
    let at = |seconds| Monotonic::new(Duration::from_secs(seconds));
    let name = DomainName::from_wire(b"www.listed.example").unwrap();
    let pair = |number: u32| (name.clone(), IpAddr::from(number.to_be_bytes()));
    let mut denied = Denied::default();
    denied.add(pair(0), at(10), Duration::from_secs(2));
    assert!(denied.has(&pair(0), at(11)) && !denied.has(&pair(0), at(12)) && !denied.has(&pair(1), at(11)));
    let max = u32::try_from(DENIED_PAIRS_MAX).unwrap();
    (0..max).for_each(|number| denied.add(pair(number), at(20), Duration::from_secs(30)));
    denied.add(pair(max), at(21), Duration::from_secs(30));
    assert!(denied.has(&pair(max - 1), at(21)) && !denied.has(&pair(max), at(21)), "full");
    denied.add(pair(max), at(50), Duration::from_secs(30));
    assert!(denied.has(&pair(max), at(50)), "the others' time is over");
}

#[test]
fn f4_a_table_full_of_made_up_subscribers_refuses_nobody_outright_and_empties() {
    let mut counts = Counts::default();
    let subscriber = |number: u32| SubscriberKey::Address(IpAddr::from(number.to_be_bytes()));
    let most = u32::try_from(SUBSCRIBERS_MAX).unwrap();
    for number in 0..most {
        assert!(counts.take(&subscriber(number), 20));
    }
    let late = subscriber(most);
    assert!(counts.take(&late, 20) && counts.by_subscriber.len() == SUBSCRIBERS_MAX);
    assert!(!counts.take(&late, 0));
    counts.give_back(&late);
    assert_eq!(counts.others, 0);
    // What came to nothing leaves no place taken.
    (0..most).for_each(|number| counts.give_back(&subscriber(number)));
    assert!(counts.by_subscriber.is_empty());
    assert!(counts.take(&late, 1) && !counts.take(&late, 1));
}

#[test]
fn v5_a_subscriber_may_start_so_many_inquiries_in_a_minute() {
    let at = |seconds| Monotonic::new(Duration::from_secs(seconds));
    let mut personal = Personal::default();
    for _ in 0..20 {
        assert!(personal.take(&who(1), at(10), 20));
    }
    assert!(!personal.take(&who(1), at(59), 20));
    assert!(personal.take(&who(2), at(59), 20));
    assert!(personal.take(&who(1), at(60), 20));
    assert!(!personal.take(&who(3), at(60), 0));
    assert!((0..20).all(|_| personal.take(&forged(2), at(60), 20)) && !personal.take(&forged(2), at(60), 20));
    assert!(personal.take(&who(2), at(60), 20), "not used up in his name");
}

//! Tests of `flight`.

use std::net::{IpAddr, SocketAddr};

use super::*;
use crate::flow::session::SubscriberKey;

fn name(number: usize) -> DomainName {
    DomainName::from_wire(format!("n{number}.kz").as_bytes()).unwrap()
}

fn place(kind: Kind, last: u8) -> QueueKey {
    (kind, SubscriberKey::Address(IpAddr::from([10, 0, 0, last])))
}

fn at(seconds: u64) -> Monotonic {
    Monotonic::new(Duration::from_secs(seconds))
}

fn flights(waiting_max: usize) -> Flights {
    Flights::new(&LookupSettings {
        resolvers: vec![SocketAddr::from(([127, 0, 0, 1], 53))],
        try_timeout: SECOND,
        tries: 1,
        total_timeout: SECOND,
        stale_after: SECOND,
        cnames_max: 1,
        negative_ttl: SECOND,
        per_second_max: 8,
        in_flight_max: 8,
        per_subscriber_minute_max: 1,
        waiting_max,
        waiting_per_subscriber_max: 4,
        names_max: 1,
        scheduled_per_second_max: 0,
    })
}

#[test]
fn f4_a_name_that_waits_is_joined_and_answered_once_in_whosever_turn() {
    let mut flights = flights(8);
    let forged = place(Kind::NewUnproven, 1);
    let (first, _) = flights.wait(&name(1), forged.clone(), at(4));
    let (again, _) = flights.wait(&name(1), forged, at(4));
    let (other, _) = flights.wait(&name(1), place(Kind::New, 2), at(5));
    let arrivals = [first.unwrap(), again.unwrap(), other.unwrap()];
    assert_eq!(flights.waiting.len(), 1);
    let (honest, found) = flights.next(Kind::New).unwrap();
    assert_eq!((&honest, &found), (&place(Kind::New, 2), &name(1)));
    let (sender, _) = flights.start(&found, honest);
    assert!(flights.queue.is_empty(), "the other place is given back");
    assert!(flights.next(Kind::NewUnproven).is_none());
    sender.send(Some(Err(LookupError::NoAddress))).unwrap();
    for arrival in arrivals {
        assert_eq!(*arrival.borrow(), Some(Err(LookupError::NoAddress)));
    }
    flights.end(&name(1));
    assert!(!flights.has(&name(1)) && flights.under_way.has_room_for(Kind::New, &place(Kind::New, 2).1));
}

#[test]
fn f4_whoever_s_turn_does_not_come_in_time_is_told() {
    let mut flights = flights(8);
    let arrivals: Vec<_> = (0..3)
        .map(|number| flights.wait(&name(number), place(Kind::New, 1), at(4 + number as u64)).0.unwrap())
        .collect();
    assert_eq!(flights.give_up_overdue(at(3)), 0);
    assert_eq!(flights.give_up_overdue(at(4)), 1);
    assert_eq!(flights.give_up_overdue(at(9)), 2);
    assert!(flights.queue.is_empty() && flights.by_name.is_empty());
    assert!(arrivals.iter().all(|arrival| *arrival.borrow() == Some(Err(LookupError::Busy))));
}

#[test]
fn f4_a_place_that_is_displaced_is_told_unless_there_is_another() {
    let mut flights = flights(4);
    let waits =
        |flights: &mut Flights, number, last| flights.wait(&name(number), place(Kind::New, last), at(4));
    let arrivals: Vec<_> = (0..4).map(|number| waits(&mut flights, number, 1).0.unwrap()).collect();
    assert!(waits(&mut flights, 4, 1).0.is_none(), "full of his own");
    assert_eq!(waits(&mut flights, 9, 2).1, 1);
    assert_eq!(*arrivals[3].borrow(), Some(Err(LookupError::Busy)), "the last he asked for");
    // Somebody else waits for the same.
    assert_eq!(waits(&mut flights, 2, 3).1, 0, "displaced, and joined");
    assert_eq!(*arrivals[2].borrow(), None);
}

#[test]
fn f4_a_look_up_that_panicked_gives_its_place_back() {
    let mut flights = flights(4);
    let (sender, _arrival) = flights.start(&name(1), place(Kind::New, 1));
    assert!(!flights.has_room_for(&place(Kind::New, 1)) && flights.asked(&name(1)).is_some());
    flights.begin_second(at(1));
    drop(sender);
    assert!(flights.asked(&name(1)).is_none());
    assert!(flights.has_room_for(&place(Kind::New, 1)));
}

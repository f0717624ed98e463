//! Tests of `sent`.

use super::*;

const PACKET: u64 = 1_500;

/// Queues that run empty at each look.
fn queues(looks: u64, dropped: u64) -> Queues {
    Queues { looks, emptied: looks, dropped }
}

#[test]
fn f61_what_was_sent_has_left_when_the_queues_emptied_without_a_drop() {
    let mut sent = Sent::new(queues(3, 10));
    sent.add(5_000, PACKET);
    sent.look(queues(3, 10));
    assert_eq!((sent.left(), sent.is_waiting()), (0, true));
    // A look that found packets in the queue says nothing.
    sent.look(Queues { looks: 4, emptied: 3, dropped: 10 });
    sent.add(700, PACKET);
    assert_eq!(sent.left(), 0);
    sent.look(queues(5, 10));
    assert_eq!((sent.left(), sent.unproven(), sent.is_waiting()), (5_000, 700, true));
    sent.look(queues(6, 10));
    assert_eq!((sent.left(), sent.is_waiting()), (5_700, false));
}

#[test]
fn f61_what_the_queues_dropped_meanwhile_is_nobodys() {
    let mut sent = Sent::new(queues(0, 0));
    sent.add(10_000, PACKET);
    sent.look(queues(0, 0));
    sent.look(queues(1, 2));
    assert_eq!(sent.left(), 7_000);
    sent.add(10_000, PACKET);
    // Two more before it is looked at again. The first two may have been seen late: they count here as well.
    sent.look(queues(1, 2));
    sent.look(queues(2, 4));
    assert_eq!(sent.left(), 11_000);
    sent.add(1_000, PACKET);
    sent.look(queues(2, 4));
    sent.look(queues(3, 400));
    assert_eq!(sent.left(), 11_000, "never more than was sent since");
    assert_eq!((sent.unproven(), sent.is_waiting()), (10_000, false));
    // What was acknowledged has left all the same.
    sent.raise(21_000, PACKET, 20_500);
    assert_eq!(sent.left(), 20_500);
    sent.raise(21_000, PACKET, 30_000);
    assert_eq!(sent.left(), 21_000);
}

#[test]
fn f61_what_was_dropped_is_not_on_its_way_for_ever() {
    let mut sent = Sent::new(queues(0, 0));
    sent.add(10_000, PACKET);
    sent.look(queues(0, 0));
    assert_eq!((sent.moving(), sent.moving_of(4_000), sent.unproven()), (10_000, 4_000, 10_000));
    sent.look(queues(1, 2));
    assert_eq!((sent.left(), sent.moving(), sent.unproven()), (7_000, 0, 3_000));
    sent.add(500, PACKET);
    assert_eq!((sent.moving(), sent.moving_of(10_200)), (500, 200));
}

#[test]
fn f61_drops_make_no_charged_byte_exempt_and_an_account_ends_where_its_bytes_do() {
    let sent_with = |before: u64, after: u64| {
        let mut sent = Sent::new(queues(0, 0));
        sent.add(10_000, PACKET);
        sent.look(queues(0, 0));
        sent.look(queues(1, before));
        sent.add(3_000, PACKET);
        let way = sent.on_its_way();
        sent.add(2_000, PACKET);
        sent.look(queues(1, before));
        sent.look(queues(2, before + after));
        (way, sent)
    };
    // Nothing dropped: 13,000 are the older account's, 2,000 the next one's.
    let (way, sent) = sent_with(0, 0);
    assert_eq!((way.end(&sent, false), way.end(&sent, true)), ((13_000, true), (13_000, true)));
    assert_eq!(sent.left(), 15_000);
    // 1,500 dropped before the accounts changed may have been seen late, so they are taken once more: from an exempt account
    // that ends, never from a charged one in favour of an exempt one.
    let (way, sent) = sent_with(1, 0);
    assert_eq!(
        (sent.left(), way.end(&sent, false), way.end(&sent, true)),
        (12_000, (10_000, true), (13_000, true))
    );
    // And 1,500 since.
    let (way, sent) = sent_with(1, 1);
    assert_eq!(
        (sent.left(), way.end(&sent, false), way.end(&sent, true)),
        (10_500, (8_500, true), (13_000, true))
    );
    // So many that all may be gone: what was counted before stays counted.
    let (way, sent) = sent_with(0, 100);
    assert_eq!((sent.left(), way.end(&sent, false)), (10_000, (10_000, true)));
}

#[test]
fn f61_what_is_acknowledged_is_the_older_accounts_first() {
    let mut sent = Sent::new(queues(0, 0));
    sent.raise(10_000, PACKET, 6_000);
    let way = sent.on_its_way();
    sent.raise(14_000, PACKET, 9_000);
    assert_eq!(way.end(&sent, false), (10_000, false));
    sent.look(queues(0, 0));
    sent.look(queues(1, 1_000));
    assert_eq!((sent.left(), way.end(&sent, false)), (9_000, (9_000, true)));
    sent.raise(14_000, PACKET, 12_000);
    assert_eq!(way.end(&sent, false), (10_000, true));
}

#[test]
fn f61_a_drop_seen_before_the_bytes_were_sent_is_not_theirs_and_one_behind_them_may_be() {
    let mut sent = Sent::new(queues(5, 100));
    sent.add(1_000, PACKET);
    sent.end(queues(5, 100));
    sent.settle(queues(5, 100));
    assert!(sent.is_waiting(), "no look since");
    sent.settle(queues(6, 101));
    assert_eq!((sent.left(), sent.unproven(), sent.is_waiting()), (0, 1_000, false));
    sent.settle(queues(7, 101));
    assert_eq!(sent.left(), 0);
    let mut huge = Sent::new(queues(0, 0));
    huge.raise(u64::MAX, u64::MAX, 0);
    huge.look(queues(0, 0));
    huge.look(queues(1, u64::MAX));
    assert_eq!((huge.left(), huge.unproven()), (0, u64::MAX));
}

#[test]
fn f61_drops_are_taken_from_what_was_sent_around_them_and_from_nothing_later() {
    let mut sent = Sent::new(queues(0, 0));
    for (looks, before, after, wanted) in
        [(0, 0, 2, (7_000, 3_000)), (1, 2, 2, (14_000, 6_000)), (2, 2, 2, (24_000, 6_000))]
    {
        sent.add(10_000, PACKET);
        sent.look(queues(looks, before));
        sent.look(queues(looks + 1, after));
        assert_eq!((sent.left(), sent.lost()), wanted, "look {looks}");
    }
    assert_eq!(sent.on_its_way().end(&sent, true), (30_000, true), "a look has said all of it");
    sent.add(700, PACKET);
    sent.look(queues(3, 2));
    sent.look(queues(4, 400));
    assert_eq!((sent.left(), sent.lost()), (24_000, 6_700), "no more than was sent since");
    sent.add(50, PACKET);
    assert_eq!((sent.moving(), sent.moving_of(u64::MAX)), (50, 50));
}

#[test]
fn f61_the_end_settles_what_it_can_and_remembers_the_size_of_what_waits() {
    let waiting = |packet| {
        let mut sent = Sent::new(queues(0, 0));
        sent.add(10_000, packet);
        sent.look(queues(0, 0));
        sent
    };
    let mut sent = waiting(PACKET);
    sent.end(queues(1, 0));
    assert_eq!((sent.left(), sent.is_waiting()), (10_000, false));
    let mut acknowledged = waiting(PACKET);
    acknowledged.raise(10_000, PACKET, 10_000);
    acknowledged.end(queues(0, 0));
    assert!(!acknowledged.is_waiting(), "no look says more");
    // What is dropped may be the largest packet of all that waits, not of the last alone.
    let mut large = waiting(9_000);
    large.add(500, PACKET);
    large.end(queues(0, 0));
    large.settle(queues(1, 1));
    assert_eq!(large.left(), 1_500);
}

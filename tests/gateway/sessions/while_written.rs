//! The table is read while it is written: each answer is that of before or of after.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use billing_export::Session;
use gateway::flow::session::{Block, Change, Event, SessionSource};
use ipnet::IpNet;

use super::{session, table};

/// Readers look while rows move between a wide and a narrow prefix: each answer is that of before or of after.
#[test]
fn b19_while_a_table_is_replaced_an_address_has_its_old_session_or_its_new_one() {
    let sessions = table(100_000);
    // Of every /24: a wide block of one session and a narrow one of another, then both change places, lengths and all.
    let of = |turn: bool| {
        (0..500_u32).flat_map(move |net| {
            let base = 0x0a00_0000 + (net << 8);
            let prefix = |bits: u32, length| IpNet::new(IpAddr::V4(bits.into()), length).unwrap();
            let (near, far) = if turn { ("a", "b") } else { ("b", "a") };
            let lengths = if turn { [24, 30, 32] } else { [25, 31, 32] };
            // The address base | 1 has `near` by its longest prefix; what is wider, and unlike, never has it.
            [
                (Block::from(prefix(base, lengths[0])), session(&format!("wide-{turn}"))),
                (Block::from(prefix(base, lengths[1])), session(near)),
                (Block::from(prefix(base | 2, lengths[2])), session(far)),
            ]
        })
    };
    sessions.replace_static(of(true));
    let (done, passes) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2_u32)
            .map(|reader| {
                let (sessions, done, passes) = (&sessions, &done, &passes);
                scope.spawn(move || {
                    while !done.load(Ordering::Relaxed) {
                        for net in 0..500_u32 {
                            let address =
                                IpAddr::V4((0x0a00_0001 + (((net * 7 + reader) % 500) << 8)).into());
                            let found = sessions.find(address).map(|holding| holding.session);
                            let id = found.as_ref().map(Session::subscriber_id);
                            assert!(matches!(id, Some("a" | "b")), "{id:?}");
                        }
                        passes.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for round in 0..20 {
            // They are at it.
            let before = passes.load(Ordering::Relaxed);
            while passes.load(Ordering::Relaxed) == before
                && readers.iter().any(|reader| !reader.is_finished())
            {
                std::thread::yield_now();
            }
            assert!(sessions.replace_static(of(round % 2 == 1)).changed > 0);
        }
        done.store(true, Ordering::Relaxed);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
}

/// A second's worth of a busy access network while others look: nothing is lost, nobody sees another's session.
#[test]
fn b19_ten_thousand_changes_while_flows_begin_leave_the_table_as_the_last_of_each_said() {
    let sessions = table(100_000);
    let address = |number: u32| IpAddr::V4((0x0a00_0000 + number).into());
    let event = |number: u32, event| Change {
        block: Block::of(address(number)),
        source: SessionSource::Accounting,
        event,
    };
    let (done, found) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for number in 0..1_000 {
                    if let Some(holding) = sessions.find(address(number)) {
                        let owner = holding.session.subscriber_id().split('-').next();
                        assert_eq!(owner, Some(number.to_string().as_str()));
                        found.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        });
        for round in 0..10_u32 {
            // Somebody sees sessions of the round before.
            let before = found.load(Ordering::Relaxed);
            while round > 0 && found.load(Ordering::Relaxed) == before && !reader.is_finished() {
                std::thread::yield_now();
            }
            for number in 0..1_000 {
                let next = match (round + number) % 3 {
                    0 => Event::Release,
                    _ => Event::Bind(session(&format!("{number}-{round}"))),
                };
                sessions.apply([event(number, next)]);
            }
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
    let wanted = (0..1_000_u32).filter(|number| (9 + number) % 3 != 0);
    assert_eq!(sessions.len(), wanted.clone().count());
    for number in wanted {
        let holding = sessions.find(address(number)).unwrap();
        assert_eq!(holding.session.subscriber_id(), format!("{number}-9"));
    }
    // Ends: every session but those that are there, each told once at most.
    let ended = sessions.take_ended();
    let distinct: BTreeSet<_> = ended.iter().collect();
    assert_eq!(distinct.len(), ended.len());
}

//! The table of sessions: who has an address while sessions come and go, what a reload of the static table changes, and whose
//! a flow is that was open meanwhile. The table is held against a plain model, and read while it is written.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs,
    reason = "tests may panic"
)]

#[path = "sessions/model.rs"]
mod model;

use std::collections::BTreeSet;
use std::hash::RandomState;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use billing_export::{Session, SubscriberType};
use gateway::flow::session::{
    Block, Change, Event, Evidence, News, SessionState, Sessions, Source, Standing, What,
};
use ipnet::IpNet;

fn session(id: &str) -> Session {
    Session::new(SubscriberType::Account, id, &format!("account-{id}")).unwrap()
}

fn block(prefix: &str) -> Block {
    Block::from(prefix.parse::<IpNet>().unwrap())
}

fn ip(address: &str) -> IpAddr {
    address.parse().unwrap()
}

fn table(held_max: usize) -> Sessions {
    Sessions::new(held_max, RandomState::new())
}

fn change(source: Source, prefix: &str, event: Event) -> Change {
    Change { block: block(prefix), source, event }
}

fn bind(prefix: &str, id: &str) -> Change {
    change(Source::Accounting, prefix, Event::Bind(session(id)))
}

fn release(prefix: &str) -> Change {
    change(Source::Accounting, prefix, Event::Release)
}

fn rows(rows: &[(&str, &str)]) -> Vec<(Block, Session)> {
    rows.iter().map(|(prefix, id)| (block(prefix), session(id))).collect()
}

/// The id of who has an address; empty where nobody has.
fn holder(sessions: &Sessions, address: &str) -> String {
    sessions.find(ip(address)).map_or_else(String::new, |holding| holding.session.subscriber_id().to_owned())
}

/// The writes since one, each with its number and what it changed.
fn batches(sessions: &Sessions, seen: u64) -> Vec<(u64, What)> {
    match sessions.news(seen) {
        News::Batches(batches) => batches.iter().map(|batch| (batch.number, batch.what.clone())).collect(),
        News::TooMany(latest) => panic!("too many since {seen}, the latest is {latest}"),
    }
}

/// The standing of a flow from `address` after everything since `seen`, as a worker follows it.
fn follow(sessions: &Sessions, address: IpAddr, standing: &Standing, seen: u64) -> Standing {
    let find = || sessions.find(address);
    match sessions.news(seen) {
        News::TooMany(_) => standing.after(find(), Evidence::Since(seen)),
        News::Batches(batches) => {
            batches.iter().fold(standing.clone(), |standing, batch| match &batch.what {
                What::Everything => standing.after(find(), Evidence::Since(batch.number)),
                What::Blocks(blocks) => {
                    let own = blocks.iter().filter(|changed| changed.block.covers(address));
                    own.fold(standing, |standing, changed| {
                        standing.after(find(), Evidence::Changed(batch.number, changed))
                    })
                }
            })
        }
    }
}

#[test]
fn t36_the_longest_prefix_counts_and_a_subscribers_versions_share_one_session() {
    let sessions = table(10);
    let both =
        [("10.0.0.0/8", "wide"), ("10.7.0.0/16", "both"), ("2001:db8:1::/48", "both"), ("::/0", "six")];
    sessions.replace_static(rows(&both));
    assert_eq!((sessions.len(), sessions.stated(), sessions.is_empty()), (4, 4, false));
    for (address, id) in [
        ("10.7.255.255", "both"),
        ("::ffff:10.7.0.1", "both"),
        ("10.8.0.0", "wide"),
        ("11.0.0.0", ""),
        ("2001:db8:1:ffff::1", "both"),
        ("2001:db8:2::1", "six"),
    ] {
        assert_eq!(holder(&sessions, address), id, "{address}");
    }
    let of = |address| sessions.find(ip(address)).unwrap().session;
    assert_eq!(of("10.7.0.1"), of("2001:db8:1::1"));
    // Every length there is, of both versions.
    let sessions = table(200);
    for length in 0..=128 {
        let prefix = format!("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/{length}");
        let prefix = prefix.parse::<IpNet>().unwrap().trunc().to_string();
        sessions.apply([bind(&prefix, &length.to_string())]);
        assert_eq!(holder(&sessions, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), length.to_string());
    }
    for length in 0..=32 {
        let prefix = format!("255.255.255.255/{length}").parse::<IpNet>().unwrap().trunc().to_string();
        sessions.apply([bind(&prefix, &length.to_string())]);
        assert_eq!(holder(&sessions, "255.255.255.255"), length.to_string());
    }
    for length in (0..=32).rev() {
        assert_eq!(holder(&sessions, "255.255.255.255"), length.to_string());
        let prefix = format!("255.255.255.255/{length}").parse::<IpNet>().unwrap().trunc().to_string();
        sessions.apply([release(&prefix)]);
    }
    assert_eq!(holder(&sessions, "255.255.255.255"), "");
}

#[test]
fn b19_each_source_says_its_own_and_accounting_counts_before_the_table() {
    let sessions = table(10);
    sessions.replace_static(rows(&[("10.0.0.1/32", "fixed"), ("10.0.0.2/32", "other")]));
    sessions.apply([bind("10.0.0.1/32", "online")]);
    assert_eq!(holder(&sessions, "10.0.0.1"), "online");
    // A reload takes nothing back that it did not say.
    sessions.replace_static(rows(&[("10.0.0.2/32", "other")]));
    assert_eq!(holder(&sessions, "10.0.0.1"), "online");
    sessions.replace_static(rows(&[("10.0.0.1/32", "fixed")]));
    assert_eq!(
        (holder(&sessions, "10.0.0.1"), holder(&sessions, "10.0.0.2")),
        ("online".into(), String::new())
    );
    sessions.apply([release("10.0.0.1/32"), release("10.0.0.1/32")]);
    assert_eq!(holder(&sessions, "10.0.0.1"), "fixed");
    sessions.replace_static([]);
    assert!(sessions.is_empty());
}

#[test]
fn b19_a_reload_tells_of_what_changed_and_of_nothing_else() {
    let sessions = table(10);
    let before = [("10.0.0.1/32", "a"), ("10.0.0.2/32", "b"), ("10.0.0.3/32", "c"), ("10.0.0.0/8", "rest")];
    sessions.replace_static(rows(&before));
    let seen = sessions.number();
    assert_eq!(sessions.replace_static(rows(&before)).changed, 0);
    assert_eq!((sessions.number(), batches(&sessions, seen)), (seen, Vec::new()));
    let after = [("10.0.0.1/32", "a"), ("10.0.0.2/32", "new"), ("10.0.0.4/32", "d"), ("10.0.0.0/8", "rest")];
    assert_eq!(sessions.replace_static(rows(&after)).changed, 3);
    let [(number, What::Blocks(blocks))] = &batches(&sessions, seen)[..] else { panic!("one small write") };
    assert_eq!(*number, seen + 1);
    let told: BTreeSet<_> = blocks
        .iter()
        .map(|changed| {
            (changed.block.ends().0, changed.holder.as_ref().map(|one| one.subscriber_id().to_owned()))
        })
        .collect();
    let wanted = [("10.0.0.2/32", "new"), ("10.0.0.3/32", "rest"), ("10.0.0.4/32", "d")];
    assert_eq!(told, wanted.map(|(prefix, id)| (block(prefix).ends().0, Some(id.to_owned()))).into());
}

#[test]
fn b19_a_session_ends_with_its_last_block_and_is_told_once() {
    let sessions = table(10);
    let ended = || sessions.take_ended().iter().map(|one| one.subscriber_id().to_owned()).collect::<Vec<_>>();
    sessions.replace_static(rows(&[("10.0.0.1/32", "a"), ("2001:db8::/64", "a"), ("10.0.0.2/32", "b")]));
    assert!(ended().is_empty());
    sessions.replace_static(rows(&[("2001:db8::/64", "a"), ("10.0.0.2/32", "b")]));
    assert!(ended().is_empty(), "it has its other prefix");
    // From one block to another in one write, and to another session's.
    sessions.replace_static(rows(&[("10.0.0.9/32", "a"), ("10.0.0.2/32", "c")]));
    assert_eq!(ended(), ["b"]);
    sessions.apply([release("10.0.0.9/32"), bind("10.0.0.9/32", "x"), release("10.0.0.9/32")]);
    assert_eq!(ended(), ["x"], "and a is still in the table");
    sessions.replace_static([]);
    assert_eq!(ended(), ["a", "c"]);
    assert!(ended().is_empty());
}

#[test]
fn b19_of_as_many_ends_as_there_may_be_sessions_all_are_told_and_of_one_more_not() {
    let sessions = table(2);
    for (ends, told) in [(2, 2), (3, 2)] {
        for number in 0..ends {
            sessions.apply([bind("10.0.0.1/32", &number.to_string())]);
        }
        sessions.apply([release("10.0.0.1/32")]);
        assert_eq!(sessions.take_ended().len(), told);
    }
}

#[test]
fn t36_at_the_limit_all_have_a_session_and_one_over_has_none_and_is_counted() {
    let sessions = table(3);
    let mut table = vec![("10.0.0.1/32", "a"), ("10.0.0.2/32", "b"), ("10.0.0.0/8", "c")];
    assert_eq!(sessions.replace_static(rows(&table)).full, 0);
    assert_eq!((sessions.len(), sessions.unbound(), sessions.stated()), (3, 0, 3));
    table.push(("10.0.0.3/32", "d"));
    assert_eq!(sessions.replace_static(rows(&table)).full, 1);
    assert_eq!((sessions.len(), sessions.unbound(), sessions.stated()), (3, 1, 4));
    // The longest prefixes have the room: no address has a session that another row would have taken from it.
    let of = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"].map(|address| holder(&sessions, address));
    assert_eq!(of, ["a", "b", "d", ""]);
    assert_eq!(sessions.apply([bind("10.0.0.4/32", "e")]).full, 1);
    assert_eq!(holder(&sessions, "10.0.0.4"), "");
    // A block that is held changes hands all the same.
    table[0].1 = "new";
    assert_eq!(sessions.replace_static(rows(&table)).full, 1);
    assert_eq!(holder(&sessions, "10.0.0.1"), "new");
    // What goes makes room for what comes, in the same write.
    let moved = [("10.0.0.5/32", "f"), ("10.0.0.2/32", "b"), ("10.0.0.3/32", "d")];
    assert_eq!(sessions.replace_static(rows(&moved)).full, 0);
    assert_eq!((sessions.len(), sessions.unbound()), (3, 0));
    assert_eq!(holder(&sessions, "10.0.0.3"), "d");
    sessions.set_held_max(4);
    assert_eq!(sessions.apply([bind("10.0.0.4/32", "e")]).full, 0);
}

#[test]
fn t36_b19_who_has_no_room_is_nobody_and_not_whoever_has_a_wider_block() {
    let of = |sessions: &Sessions, addresses: &[&str]| {
        addresses.iter().map(|address| holder(sessions, address)).collect::<Vec<_>>()
    };
    let sessions = table(3);
    sessions.replace_static(rows(&[("10.0.0.0/8", "wide"), ("10.0.0.0/16", "near")]));
    sessions.apply([bind("10.0.0.1/32", "a")]);
    let everywhere = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.9.9", "10.9.9.9"];
    assert_eq!(of(&sessions, &everywhere), ["a", "near", "near", "near", "wide"]);
    // The widest gives way, for what it leaves is nobody's; the next one would leave its addresses to it.
    let seen = sessions.number();
    let applied = sessions.apply([bind("10.0.0.2/32", "b")]);
    assert_eq!((applied.full, sessions.len(), sessions.unbound()), (1, 3, 1));
    assert_eq!(of(&sessions, &everywhere), ["a", "b", "near", "near", ""]);
    let wide = Standing::Known(session("wide"));
    assert_eq!(follow(&sessions, ip("10.9.9.9"), &wide, seen), Standing::Ended);
    assert_eq!(sessions.apply([bind("10.0.0.3/32", "c")]).full, 1);
    assert_eq!(of(&sessions, &everywhere), ["a", "b", "c", "", ""]);
    assert_eq!(
        (sessions.apply([bind("10.0.9.9/32", "d")]).full, holder(&sessions, "10.0.9.9")),
        (1, String::new())
    );
    // The same block by the word of two sources.
    let sessions = table(1);
    sessions.replace_static(rows(&[("10.0.0.1/32", "fixed")]));
    assert_eq!(sessions.apply([bind("10.0.0.1/32", "online")]).full, 1);
    assert_eq!((sessions.len(), holder(&sessions, "10.0.0.1")), (1, "online".to_owned()));
    // A row of the table inside a block of the accounting's.
    let sessions = table(2);
    sessions.apply([bind("10.0.0.0/24", "routed")]);
    let inside = rows(&[("10.0.0.1/32", "a"), ("10.0.0.2/32", "b")]);
    assert_eq!(sessions.replace_static(inside).full, 1);
    assert_eq!(of(&sessions, &["10.0.0.1", "10.0.0.2", "10.0.0.3"]), ["a", "b", ""]);
    assert_eq!((sessions.len(), sessions.unbound()), (2, 1));
}

#[test]
fn b19_a_flow_ends_when_somebody_had_its_address_by_a_narrower_block_for_a_while() {
    let address = ip("10.0.0.1");
    let own = Standing::Known(session("wide"));
    // More rows than are told one by one; the session of the address is among them, or not.
    let many = |first: u32| {
        let crowd = (first..first + 300)
            .map(|number| (Block::of(IpAddr::V4((0x0a00_0000 + number).into())), session("narrow")));
        rows(&[("10.0.0.0/8", "wide")]).into_iter().chain(crowd).collect::<Vec<_>>()
    };
    for first in [1, 0x1_0000] {
        let sessions = table(1_000);
        sessions.replace_static(many(0x2_0000));
        let seen = sessions.number();
        sessions.replace_static(many(first));
        sessions.replace_static(many(0x2_0000));
        assert_eq!(holder(&sessions, "10.0.0.1"), "wide");
        // Of the second one nobody can tell that its address was not among those that came and went.
        assert_eq!(follow(&sessions, address, &own, seen), Standing::Ended);
        // What came alone ends nobody else's.
        let seen = sessions.number();
        sessions.replace_static([many(0x2_0000), many(0x3_0000)].concat());
        assert_eq!(follow(&sessions, address, &own, seen), own);
    }
    // The same by the word of another source, and by more writes than are kept.
    let outcome = |changes: &[Change]| {
        let sessions = table(10);
        sessions.replace_static(rows(&[
            ("10.0.0.0/8", "wide"),
            ("10.0.0.1/32", "narrow"),
            ("10.0.0.2/32", "other"),
        ]));
        let seen = sessions.number();
        sessions.apply([]);
        changes.iter().for_each(|change| {
            sessions.apply([change.clone()]);
        });
        for number in 0..5_000 {
            sessions.apply([bind("192.0.2.1/32", &number.to_string())]);
        }
        assert!(matches!(sessions.news(seen), News::TooMany(_)));
        [("10.0.0.1", "narrow"), ("10.0.0.2", "other"), ("10.0.0.3", "wide")].map(|(address, id)| {
            follow(&sessions, ip(address), &Standing::Known(session(id)), seen) != Standing::Ended
        })
    };
    assert_eq!(outcome(&[]), [true, true, true]);
    assert_eq!(outcome(&[bind("10.0.0.1/32", "x"), release("10.0.0.1/32")]), [false, true, true]);
    assert_eq!(outcome(&[bind("10.0.0.3/32", "x"), release("10.0.0.3/32")]), [true, true, false]);
}

#[test]
fn b19_a_state_changes_what_counts_and_not_who_has_the_address() {
    let sessions = table(10);
    sessions.apply([bind("10.0.0.1/32", "a")]);
    let address = ip("10.0.0.1");
    let start = Standing::at_start(sessions.find(address));
    assert_eq!(start, Standing::Known(session("a")));
    let turn = |state| {
        let seen = sessions.number();
        sessions.apply([change(Source::Accounting, "10.0.0.1/32", Event::Turn(state))]);
        let standing = follow(&sessions, address, &start, seen);
        assert_eq!(standing, Standing::at_start(sessions.find(address)));
        (standing, sessions.find(address).unwrap())
    };
    let (standing, holding) = turn(SessionState::Stale);
    assert_eq!(
        (&standing, standing.session(), holding.counted()),
        (&Standing::Stale(session("a")), None, None)
    );
    assert!(standing.remark().is_empty());
    let (standing, holding) = turn(SessionState::Suspect);
    let own = session("a");
    assert_eq!((standing.session(), holding.counted()), (Some(&own), Some(&own)));
    assert_eq!(standing.remark().to_string(), "stale_binding");
    // Heard of again, it is what it was: the flow goes on.
    let seen = sessions.number();
    assert_eq!(sessions.apply([bind("10.0.0.1/32", "a")]).changed, 1);
    assert_eq!(follow(&sessions, address, &standing, seen), start);
    assert_eq!(sessions.apply([bind("10.0.0.1/32", "a")]).changed, 0, "no news");
    // Of a block that nobody has there is no state.
    let turned = change(Source::Accounting, "10.0.0.2/32", Event::Turn(SessionState::Stale));
    assert_eq!(sessions.apply([turned]).changed, 0);
}

#[test]
fn b19_a_flow_ends_with_its_session_also_where_that_comes_back_before_anybody_looks() {
    let sessions = table(10_000);
    let address = ip("10.0.0.1");
    let own = Standing::Known(session("a"));
    let outcome = |changes: &[Vec<Change>]| {
        sessions.replace_static([]);
        sessions.apply([release("10.0.0.1/32"), release("10.0.0.0/8"), bind("10.0.0.1/32", "a")]);
        let seen = sessions.number();
        for write in changes {
            sessions.apply(write.clone());
        }
        follow(&sessions, address, &own, seen)
    };
    let bound = |prefix, id| vec![bind(prefix, id)];
    // It changed hands, it was nobody's, or another's for a moment.
    assert_eq!(outcome(&[bound("10.0.0.1/32", "b")]), Standing::Ended);
    assert_eq!(outcome(&[vec![release("10.0.0.1/32")]]), Standing::Ended);
    assert_eq!(outcome(&[bound("10.0.0.1/32", "b"), bound("10.0.0.1/32", "a")]), Standing::Ended);
    assert_eq!(outcome(&[vec![release("10.0.0.1/32")], bound("10.0.0.1/32", "a")]), Standing::Ended);
    // Its address was never without it.
    assert_eq!(outcome(&[bound("10.0.0.0/8", "b")]), own);
    assert_eq!(outcome(&[bound("10.0.0.2/32", "b")]), own);
    assert_eq!(outcome(&[bound("10.0.0.0/8", "a"), vec![release("10.0.0.1/32")]]), own);
    assert_eq!(outcome(&[vec![release("10.0.0.1/32"), bind("10.0.0.0/8", "a")]]), own);
    // More writes than are kept: what is younger than the last look may have been away.
    let many: Vec<_> =
        (0..3_000).flat_map(|_| [bound("10.9.0.1/32", "x"), bound("10.9.0.1/32", "y")]).collect();
    assert_eq!(outcome(&many), own);
    let back = [vec![vec![release("10.0.0.1/32")], bound("10.0.0.1/32", "a")], many].concat();
    assert_eq!(outcome(&back), Standing::Ended);
    // Nobody's stays nobody's, and what has ended has ended.
    for standing in [Standing::Unknown, Standing::Ended] {
        assert_eq!(standing.after(sessions.find(address), Evidence::Since(0)), standing);
    }
}

#[test]
fn b19_a_session_takes_no_more_memory_than_512_bytes() {
    const COUNT: u32 = 50_000;
    let mut kept = None;
    let cost = allocation_counter::measure(|| {
        let sessions = table(COUNT as usize);
        sessions.apply((0..COUNT).map(|number| Change {
            block: Block::of(IpAddr::V4((0x0a00_0000 + number).into())),
            source: Source::Accounting,
            event: Event::Bind(session(&format!("+7701{number:07}"))),
        }));
        kept = Some(sessions);
    });
    assert_eq!(kept.unwrap().len(), COUNT as usize);
    let each = cost.bytes_current / i64::from(COUNT);
    assert!((64..=512).contains(&each), "{each} bytes");
}

/// A reload that changes more than is told one by one still ends what changed, and that alone.
#[test]
fn b19_a_large_reload_ends_the_flows_of_what_changed_and_no_others() {
    let sessions = table(10_000);
    let row = |number: u32, id: String| (Block::of(IpAddr::V4((0x0a00_0000 + number).into())), session(&id));
    sessions.replace_static((0..5_000).map(|number| row(number, number.to_string())));
    let seen = sessions.number();
    sessions.replace_static((0..5_000).map(|number| {
        row(number, if number % 2 == 0 { number.to_string() } else { format!("new-{number}") })
    }));
    assert_eq!(batches(&sessions, seen), [(seen + 1, What::Everything)]);
    for number in 0..5_000_u32 {
        let standing = Standing::Known(session(&number.to_string()));
        let after = follow(&sessions, IpAddr::V4((0x0a00_0000 + number).into()), &standing, seen);
        assert_eq!(after, if number % 2 == 0 { standing } else { Standing::Ended }, "{number}");
    }
}

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
    let event =
        |number: u32, event| Change { block: Block::of(address(number)), source: Source::Accounting, event };
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

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

use std::collections::{BTreeMap, BTreeSet};
use std::hash::RandomState;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use billing_export::{Session, SubscriberType};
use gateway::flow::session::{
    Block, Change, Event, Evidence, Holding, News, SessionState, Sessions, Source, Standing, What,
};
use ipnet::IpNet;
use proptest::prelude::*;

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
fn t36_at_the_limit_all_have_a_session_and_one_over_has_none_and_is_counted() {
    let sessions = table(3);
    let mut table = vec![("10.0.0.1/32", "a"), ("10.0.0.2/32", "b"), ("10.0.0.0/8", "c")];
    assert_eq!(sessions.replace_static(rows(&table)).full, 0);
    assert_eq!((sessions.len(), sessions.unbound(), sessions.stated()), (3, 0, 3));
    table.push(("10.0.0.3/32", "d"));
    assert_eq!(sessions.replace_static(rows(&table)).full, 1);
    assert_eq!((sessions.len(), sessions.unbound(), sessions.stated()), (3, 1, 4));
    // Who has a session keeps it; the new one is in the wide block like all others.
    let of = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|address| holder(&sessions, address));
    assert_eq!(of, ["a", "b", "c"]);
    assert_eq!(sessions.apply([bind("10.0.0.4/32", "e")]).full, 1);
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
            // The address base | 1 has `near` by its longest prefix; what is wider, and unlike, never shows through.
            [
                (Block::from(prefix(base, lengths[0])), session(&format!("wide-{turn}"))),
                (Block::from(prefix(base, lengths[1])), session(near)),
                (Block::from(prefix(base | 2, lengths[2])), session(far)),
            ]
        })
    };
    sessions.replace_static(of(true));
    let done = AtomicBool::new(false);
    let looks: u64 = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2_u32)
            .map(|reader| {
                let (sessions, done) = (&sessions, &done);
                scope.spawn(move || {
                    let mut looks = 0;
                    while !done.load(Ordering::Relaxed) || looks == 0 {
                        for net in 0..500_u32 {
                            let address =
                                IpAddr::V4((0x0a00_0001 + (((net * 7 + reader) % 500) << 8)).into());
                            let found = sessions.find(address).map(|holding| holding.session);
                            let id = found.as_ref().map(Session::subscriber_id);
                            assert!(matches!(id, Some("a" | "b")), "{id:?}");
                            looks += 1;
                        }
                    }
                    looks
                })
            })
            .collect();
        for round in 0..20 {
            assert!(sessions.replace_static(of(round % 2 == 1)).changed > 0);
        }
        done.store(true, Ordering::Relaxed);
        readers.into_iter().map(|reader| reader.join().unwrap()).sum()
    });
    assert!(looks > 0);
}

/// A second's worth of a busy access network while others look: nothing is lost, nobody sees another's session.
#[test]
fn b19_ten_thousand_changes_while_flows_begin_leave_the_table_as_the_last_of_each_said() {
    let sessions = table(100_000);
    let address = |number: u32| IpAddr::V4((0x0a00_0000 + number).into());
    let event =
        |number: u32, event| Change { block: Block::of(address(number)), source: Source::Accounting, event };
    let done = AtomicBool::new(false);
    let (looks, found) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut looks, mut found) = (0_u64, 0_u64);
            while !done.load(Ordering::Relaxed) || looks == 0 {
                for number in 0..1_000 {
                    if let Some(holding) = sessions.find(address(number)) {
                        let owner = holding.session.subscriber_id().split('-').next();
                        assert_eq!(owner, Some(number.to_string().as_str()));
                        found += 1;
                    }
                    looks += 1;
                }
            }
            (looks, found)
        });
        for round in 0..10_u32 {
            for number in 0..1_000 {
                let next = match (round + number) % 3 {
                    0 => Event::Release,
                    _ => Event::Bind(session(&format!("{number}-{round}"))),
                };
                sessions.apply([event(number, next)]);
            }
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap()
    });
    assert!(looks > 0 && found <= looks, "{found} of {looks}");
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

/// The table as a list of what each source says.
#[derive(Clone, Default)]
struct Model(BTreeMap<(Source, IpNet), (Session, SessionState)>);

impl Model {
    /// Who has an address: by the longest prefix, of equal ones by the later source.
    fn find(&self, address: IpAddr) -> Option<(Session, SessionState)> {
        let held = self.0.iter().filter(|((_, prefix), _)| prefix.contains(&address));
        let best = held.max_by_key(|((source, prefix), _)| (prefix.prefix_len(), *source));
        best.map(|(_, held)| held.clone())
    }

    fn apply(&mut self, source: Source, prefix: IpNet, event: &Event) {
        let key = (source, prefix);
        match event {
            Event::Bind(session) => {
                self.0.insert(key, (session.clone(), SessionState::Active));
            }
            Event::Turn(state) => {
                if let Some(held) = self.0.get_mut(&key) {
                    held.1 = *state;
                }
            }
            Event::Release => {
                self.0.remove(&key);
            }
        }
    }
}

/// One thing that happens.
#[derive(Clone, Debug)]
enum Happens {
    Events(Vec<(Source, IpNet, Event)>),
    Reload(Vec<(IpNet, Session)>),
    /// Flows look whose they are.
    Look,
}

/// Prefixes in a small space, so that they meet.
fn prefix() -> impl Strategy<Value = IpNet> {
    prop_oneof![
        (28_u8..=32, 0_u32..16).prop_map(|(length, low)| {
            IpNet::new(IpAddr::V4((0x0a00_0000 + low).into()), length).unwrap().trunc()
        }),
        (126_u8..=128, 0_u128..4).prop_map(|(length, low)| {
            IpNet::new(IpAddr::V6((0x2001_0db8_u128 << 96 | low).into()), length).unwrap().trunc()
        }),
        Just("::/0".parse().unwrap()),
        Just("0.0.0.0/0".parse().unwrap()),
    ]
}

fn somebody() -> impl Strategy<Value = Session> {
    (0_u8..4).prop_map(|number| session(&number.to_string()))
}

fn happens() -> impl Strategy<Value = Happens> {
    let state =
        prop_oneof![Just(SessionState::Active), Just(SessionState::Suspect), Just(SessionState::Stale)];
    let event = prop_oneof![
        4 => somebody().prop_map(Event::Bind),
        1 => state.prop_map(Event::Turn),
        3 => Just(Event::Release),
    ];
    let source = prop_oneof![Just(Source::Static), Just(Source::Accounting)];
    prop_oneof![
        4 => proptest::collection::vec((source, prefix(), event), 1..4).prop_map(Happens::Events),
        1 => proptest::collection::vec((prefix(), somebody()), 0..8).prop_map(Happens::Reload),
        3 => Just(Happens::Look),
    ]
}

/// The addresses that are looked up, at each of which a flow is open.
fn addresses() -> Vec<IpAddr> {
    let v4 = (0..16_u32).map(|low| IpAddr::V4((0x0a00_0000 + low).into()));
    let v6 = (0..4_u128).map(|low| IpAddr::V6((0x2001_0db8_u128 << 96 | low).into()));
    v4.chain(v6).chain([ip("192.0.2.1"), ip("2001:db9::1")]).collect()
}

/// The standing by a session and its state.
fn standing_of(held: Option<(Session, SessionState)>) -> Standing {
    match held {
        None => Standing::Unknown,
        Some((session, SessionState::Active)) => Standing::Known(session),
        Some((session, SessionState::Suspect)) => Standing::Suspect(session),
        Some((session, SessionState::Stale)) => Standing::Stale(session),
    }
}

/// Whose a standing says that the bytes may be.
fn owner(standing: &Standing) -> Option<&Session> {
    match standing {
        Standing::Known(session) | Standing::Suspect(session) | Standing::Stale(session) => Some(session),
        Standing::Unknown | Standing::Ended => None,
    }
}

proptest! {
    /// Whatever comes, the table says what the model says; and a flow is its session's for as long as that has the address
    /// without a break. Looked at after each write a flow stands exactly so; looked at later, it may have ended where nobody
    /// can tell any more, but it is never a session's that lost the address in between.
    #[test]
    fn b19_the_table_says_what_a_plain_model_says(
        story in proptest::collection::vec(happens(), 1..40),
        looks_at_once in any::<bool>(),
    ) {
        let sessions = table(1_000);
        let mut model = Model::default();
        let addresses = addresses();
        let begun = |sessions: &Sessions, address: &IpAddr| Standing::at_start(sessions.find(*address));
        // What the gateway has of each flow, and what an all-knowing clerk has.
        let mut flows: Vec<(Standing, Standing)> =
            addresses.iter().map(|address| (begun(&sessions, address), Standing::Unknown)).collect();
        let mut seen = sessions.number();
        for one in story {
            match &one {
                Happens::Events(events) => {
                    sessions.apply(events.iter().map(|(source, prefix, event)| Change {
                        block: Block::from(*prefix),
                        source: *source,
                        event: event.clone(),
                    }));
                    events.iter().for_each(|(source, prefix, event)| model.apply(*source, *prefix, event));
                }
                Happens::Reload(rows) => {
                    sessions.replace_static(rows.iter().map(|(prefix, session)| ((*prefix).into(), session.clone())));
                    let kept = model.0.clone();
                    model.0.retain(|(source, _), _| *source != Source::Static);
                    for (prefix, session) in rows {
                        let was = kept.get(&(Source::Static, *prefix)).filter(|(held, _)| held == session);
                        let state = was.map_or(SessionState::Active, |(_, state)| *state);
                        model.0.insert((Source::Static, *prefix), (session.clone(), state));
                    }
                }
                Happens::Look => {}
            }
            prop_assert_eq!(sessions.len(), model.0.len());
            for (address, (_, clerk)) in addresses.iter().zip(&mut flows) {
                let held = model.find(*address);
                let found = sessions.find(*address).map(|Holding { session, state, .. }| (session, state));
                prop_assert_eq!(&found, &held, "{}", address);
                let is_own = owner(clerk).is_some_and(|own| held.as_ref().is_some_and(|(now, _)| now == own));
                match clerk {
                    Standing::Unknown | Standing::Ended => {}
                    _ if is_own => *clerk = standing_of(held),
                    _ => *clerk = Standing::Ended,
                }
            }
            if looks_at_once || matches!(one, Happens::Look) {
                for (address, (standing, clerk)) in addresses.iter().zip(&mut flows) {
                    *standing = follow(&sessions, *address, standing, seen);
                    if looks_at_once {
                        prop_assert_eq!(&*standing, &*clerk, "{}", address);
                    } else if owner(standing).is_some() {
                        prop_assert_eq!(&*standing, &*clerk, "{}", address);
                    }
                    // A flow that has ended makes place for the next one from its address.
                    if matches!(standing, Standing::Ended | Standing::Unknown) {
                        *standing = begun(&sessions, address);
                        *clerk = standing_of(model.find(*address));
                    }
                }
                seen = sessions.number();
            }
        }
    }
}

//! Whose an open flow is while the table changes: its session's for as long as that has the address.

use std::net::IpAddr;

use gateway::flow::session::{
    Block, Change, Event, Evidence, News, SessionSource, SessionState, Standing, What,
};

use super::{batches, bind, change, follow, holder, ip, release, rows, session, table};

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
        sessions.apply([change(SessionSource::Accounting, "10.0.0.1/32", Event::SetState(state))]);
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
    let turned = change(SessionSource::Accounting, "10.0.0.2/32", Event::SetState(SessionState::Stale));
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

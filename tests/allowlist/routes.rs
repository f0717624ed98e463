//! Names of former lists: what is carried on is exactly what some list spoke of, and no more room is taken than that.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "tests may panic"
)]

#[path = "support/random.rs"]
mod random;

use std::sync::Arc;

use allowlist::{Coverage, Document, DomainName, FORMER_LISTS_MAX, Matcher, Routes};
use random::{HEAD, Random};

fn name(text: &str) -> DomainName {
    DomainName::from_wire(text.as_bytes()).unwrap()
}

/// A list of these exact hosts.
fn list(hosts: &[String]) -> Matcher {
    let rules: String = hosts.iter().map(|host| format!("[[service.rule]]\nhost = \"{host}\"\n")).collect();
    Matcher::new(&Document::parse(&format!("{HEAD}[[service]]\nid = \"s\"\n{rules}")).unwrap())
}

#[test]
fn f18_routes_and_the_list_in_force_cover_what_any_list_covered_and_nothing_else() {
    let seed = 18;
    println!("seed {seed}");
    let mut random = Random(seed);
    let (mut carried, mut strange) = (0, 0);
    for _ in 0..300 {
        let lists: Vec<Matcher> = (0..2 + random.below(6))
            .map(|_| Matcher::new(&Document::parse(&random::list(&mut random, 12, true)).unwrap()))
            .collect();
        let mut routes = Arc::new(Routes::default());
        for pair in lists.windows(2) {
            let (next, left_out) = routes.after(&pair[0], Some(&pair[1]), usize::MAX);
            assert_eq!(left_out, 0);
            routes = Arc::new(next);
        }
        let current = lists.last().unwrap();
        for _ in 0..200 {
            let asked = name(&random.name());
            let by_any = lists.iter().any(|list| list.covers(&asked));
            assert_eq!(current.covers(&asked) || routes.covers(&asked), by_any, "{asked}");
            // Where only a former list speaks of the name, by the entry it spoke by.
            let former = lists.iter().filter_map(|list| list.coverage(&asked));
            let former: Vec<Coverage> = former.collect();
            match routes.coverage(&asked) {
                Some(Coverage::Own) => {
                    assert!(former.iter().any(|how| matches!(how, Coverage::Own | Coverage::Denied { .. })))
                }
                Some(Coverage::Below { host_bytes }) => {
                    assert!(asked.as_str().len() > host_bytes + 1 && !former.is_empty())
                }
                Some(Coverage::Denied { .. }) => panic!("{asked}"),
                None => {}
            }
            carried += u32::from(by_any && !current.covers(&asked));
            strange += u32::from(!by_any);
        }
    }
    assert!(carried > 5_000 && strange > 5_000, "{carried} carried, {strange} strange");
}

#[test]
fn f18_what_the_list_in_force_says_takes_no_room_again() {
    let hosts: Vec<String> = (0..1_000).map(|number| format!("h{number}.kz")).collect();
    let mut routes = Routes::default();
    for serial in 0..usize::from(FORMER_LISTS_MAX) {
        // Each edition leaves ten hosts out that the one before had.
        let (former, current) = (list(&hosts[serial * 10..]), list(&hosts[(serial + 1) * 10..]));
        (routes, _) = routes.after(&former, Some(&current), usize::MAX);
        assert_eq!(routes.len(), (serial + 1) * 10);
    }
    assert!(routes.covers(&name("h0.kz")) && !routes.covers(&name("x.h0.kz")));
    assert_eq!(routes.coverage(&name("h0.kz")), Some(Coverage::Own));
    // Who comes back is the list's again, and what is older than the lists that are kept is let go.
    (routes, _) = routes.after(&list(&hosts[150..]), Some(&list(&hosts[10..])), usize::MAX);
    assert!(routes.is_empty(), "{}", routes.len());
}

#[test]
fn f18_names_are_let_go_after_as_many_lists_as_are_kept_and_over_the_limit() {
    let hosts = |serial: usize| -> Vec<String> {
        (0..10).map(|number| format!("h{number}.of-{serial}.kz")).collect()
    };
    let kept = usize::from(FORMER_LISTS_MAX);
    let mut routes = Routes::default();
    for serial in 0..kept + 1 {
        let (next, left_out) =
            routes.after(&list(&hosts(serial)), Some(&list(&hosts(serial + 1))), usize::MAX);
        assert_eq!(left_out, 0);
        routes = next;
        let oldest = routes.covers(&name("h0.of-0.kz"));
        assert_eq!(oldest, serial < kept, "after {serial}");
    }
    assert_eq!(routes.len(), kept * 10);
    // At the limit, and one over: the oldest give way.
    for (hosts_max, left_out) in [(kept * 10, 0), (kept * 10 - 1, 1), (10, kept * 10 - 10)] {
        let (next, counted) = routes.after(&list(&hosts(99)), None, hosts_max);
        // The oldest of the fifteen had its time, the newest came.
        assert_eq!((next.len(), counted), (kept * 10 - left_out, left_out));
        assert!(next.covers(&name("h0.of-99.kz")), "{hosts_max}");
    }
}

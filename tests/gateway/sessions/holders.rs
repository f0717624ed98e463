//! Who has an address: the longest prefix, what each source says, and too little room for all.

use std::net::IpAddr;

use gateway::flow::session::{Block, Change, Event, SessionSource, Sessions, Standing};
use ipnet::IpNet;

use super::{bind, follow, holder, ip, release, rows, session, table};

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
fn b19_a_session_takes_no_more_memory_than_512_bytes() {
    const COUNT: u32 = 50_000;
    let mut kept = None;
    let cost = allocation_counter::measure(|| {
        let sessions = table(COUNT as usize);
        sessions.apply((0..COUNT).map(|number| Change {
            block: Block::of(IpAddr::V4((0x0a00_0000 + number).into())),
            source: SessionSource::Accounting,
            event: Event::Bind(session(&format!("+7701{number:07}"))),
        }));
        kept = Some(sessions);
    });
    assert_eq!(kept.unwrap().len(), COUNT as usize);
    let each = cost.bytes_current / i64::from(COUNT);
    assert!((64..=512).contains(&each), "{each} bytes");
}

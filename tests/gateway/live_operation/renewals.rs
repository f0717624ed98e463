//! Lists, tables and configurations that are read again: bad ones leave the last good one, and bytes follow the table.

use std::net::SocketAddr;
use std::time::Duration;

use support::client::*;
use support::origin::Origin;
use support::world::World;
use support::{LIST, verify};

use super::{LISTED, exchange, visit_of, whole};

#[test]
fn t39_a_bad_list_leaves_the_last_good_one_and_says_so() {
    let world = World::new(Origin::echo());
    let visit = visit_of(LISTED);
    let mut open = world.proxied(1);
    exchange(&mut open, &visit);
    world.gateway.await_readiness(|code, body| code == 200 && body.contains("\"ready\":true"));
    let older = LIST.replace("serial = 3", "serial = 2");
    let cases: [(&str, String, &str); 5] = [
        ("truncated", LIST[..LIST.len() / 2].to_owned(), "list.toml"),
        ("empty", String::new(), "list.toml"),
        ("malformed", LIST.replacen("scope = \"subtree\"", "scope = \"tree\"", 1), "list.toml:16:"),
        ("bad UTF-8", String::new(), "UTF-8"),
        ("older", older, "serial"),
    ];
    for (what, text, said) in &cases {
        let bytes = if *what == "bad UTF-8" { vec![0xff, 0xfe, 0] } else { text.clone().into_bytes() };
        world.gateway.setup().write("list.toml", bytes);
        world.gateway.reload();
        world.gateway.await_readiness(|code, body| {
            code == 200
                && body.contains("list_not_taken: ")
                && body.contains("serial 3 stays")
                && body.contains(said)
        });
        assert_eq!(world.gateway.metric("zrgw_list_serial"), 3, "{what}");
        exchange(&mut open, &[9; 1_000]);
        whole(world.steered(2), &visit);
    }
    std::fs::remove_file(world.gateway.setup().path("list.toml")).unwrap();
    world.gateway.reload();
    world.gateway.await_readiness(|code, body| code == 200 && body.contains("cannot be read"));
    whole(world.proxied(3), &visit);
    // A good one again.
    world.gateway.setup().write("list.toml", LIST.replace("serial = 3", "serial = 4"));
    world.gateway.reload();
    world.gateway.await_readiness(|code, body| code == 200 && body.contains("\"attention\":[]"));
    assert_eq!(finish(open), b"");
    let usage = world.gateway.stop_and_count();
    let length = visit.len() as u64;
    assert_eq!(usage.exempt("s1"), (length + 5_000, length + 5_000));
    assert_eq!(usage.exempt("s2"), (5 * length, 5 * length));
    assert_eq!(usage.exempt("s3"), (length, length));
    assert_eq!(usage.total(), usage.sum(|row| row["class"] == "exempt"));
}

#[test]
fn t39_a_restart_with_a_broken_list_uses_the_kept_copy_and_without_one_all_is_charged() {
    let World { gateway, resolver: _resolver, origin } = World::new(Origin::echo());
    let visit = visit_of(LISTED);
    let destination = SocketAddr::new(origin.address.ip(), 443);
    whole(connect_proxied(1, gateway.listener(1), destination), &visit);
    let setup = gateway.stop();
    setup.write("list.toml", "format = 1\nlist_id = \n");
    let gateway = setup.start();
    gateway.await_readiness(|code, body| code == 200 && body.contains("serial 3 stays"));
    whole(connect_proxied(1, gateway.listener(1), destination), &visit);
    let setup = gateway.stop();
    let length = visit.len() as u64;
    assert_eq!(setup.usage().exempt("s1"), (2 * length, 2 * length));
    // The kept copies gone as well: traffic flows, all of it charged.
    std::fs::remove_dir_all(setup.path("state").join("lists")).unwrap();
    let gateway = setup.start();
    gateway.await_readiness(|code, body| code == 503 && body.contains("no list"));
    whole(connect_proxied(2, gateway.listener(1), destination), &visit);
    let setup = gateway.stop();
    let usage = setup.usage();
    assert_eq!(usage.charged("s2", "no_list"), (length, length));
    let (good, said) = verify(&setup.path("usage"));
    assert!(good, "{said}");
}

#[test]
fn t39_names_of_an_expired_list_are_still_carried_and_charged() {
    let world = World::with(Origin::echo(), |setup| {
        setup.write("list.toml", LIST.replace("expires = 2099-07-06", "expires = 2020-07-06"));
        setup
    });
    world.gateway.await_readiness(|code, body| code == 503 && body.contains("expired"));
    let visit = visit_of(LISTED);
    whole(world.steered(1), &visit);
    whole(world.proxied(2), &visit);
    let usage = world.gateway.stop_and_count();
    let length = visit.len() as u64;
    for (subscriber, flags) in [("s1", "free_in_core"), ("s2", "")] {
        assert_eq!(usage.charged(subscriber, "list_expired"), (length, length), "{subscriber}");
        assert_eq!(usage.exempt(subscriber), (0, 0), "{subscriber}");
        let row = usage.rows.iter().find(|row| row["subscriber_id"] == subscriber).unwrap();
        assert_eq!(row["flags"], flags, "{subscriber}");
    }
}

#[test]
fn t39_f22_a_bad_table_or_configuration_leaves_the_old_and_wants_attention_while_the_node_stays_ready() {
    let world = World::new(Origin::echo());
    let visit = visit_of(LISTED);
    let setup = world.gateway.setup();
    setup.write("subscribers.csv", "prefix,subscriber_type,subscriber_id\n10.7.0.1/32,account\n");
    world.gateway.reload();
    world.gateway.await_readiness(|code, body| {
        code == 200
            && body.contains("subscribers_not_taken: subscribers not renewed")
            && body.contains("subscribers.csv:2:")
    });
    assert_eq!(world.gateway.metric("zrgw_attention{reason=\"subscribers_not_taken\"}"), 1);
    assert_eq!(world.gateway.metric("zrgw_attention{reason=\"list_not_taken\"}"), 0);
    assert_eq!(world.gateway.metric("zrgw_ready"), 1);
    whole(world.proxied(1), &visit);
    let good = std::fs::read_to_string(setup.path("gateway.toml")).unwrap();
    setup.write("gateway.toml", good.replace("[limits]", "[limits]\nno_such_key = 1"));
    world.gateway.reload();
    assert!(world.gateway.log().contains("configuration not taken, the old one stays"));
    assert!(world.gateway.log().contains("no_such_key"));
    whole(world.proxied(1), &visit);
    let usage = world.gateway.stop_and_count();
    let length = visit.len() as u64;
    assert_eq!(usage.exempt("s1"), (2 * length, 2 * length));
}

#[test]
fn b19_bytes_after_an_address_changed_hands_belong_to_nobody() {
    let world = World::with(Origin::echo(), |setup| setup.set("subscribers", "hold_removed_percent = 100"));
    let visit = visit_of(LISTED);
    let length = visit.len() as u64;
    let mut open = world.proxied(1);
    exchange(&mut open, &visit);
    world
        .gateway
        .await_metric("zrgw_bytes_total{direction=\"down\",class=\"exempt\",service=\"school\"}", length);
    let table = "prefix,subscriber_type,subscriber_id\n10.7.0.1/32,account,newcomer\n";
    world.gateway.setup().write("subscribers.csv", table);
    world.gateway.reload();
    // Ten times the interval at which open flows are judged again.
    std::thread::sleep(Duration::from_secs(1));
    exchange(&mut open, &[7; 3_000]);
    whole(world.proxied(1), &visit);
    assert_eq!(finish(open), b"");
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.of("s1"), (length, length));
    assert_eq!(usage.of("newcomer"), (length, length));
    assert_eq!(usage.unattributed("session_ended"), (3_000, 3_000));
}

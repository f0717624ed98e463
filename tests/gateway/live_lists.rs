//! One gate for lists, at start, at reload, in `check` and in `explain`: what the linter calls an error, what does not follow,
//! and editions whose date is still to come (F6).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

use std::net::TcpStream;

use support::client::*;
use support::hellos::{self, Hello};
use support::origin::Origin;
use support::world::World;
use support::{Gateway, LIST, Setup, eventually};

const LISTED: &str = "www.listed.example";
const UNLISTED: &str = "stranger.example";

/// A visit from its beginning to its end at an echoing origin; the bytes sent.
fn visit(mut client: TcpStream, name: &str) -> u64 {
    use std::io::Write as _;
    let bytes = [Hello::named(name).wire(), hellos::record(23, &[1; 50])].concat();
    client.write_all(&bytes).unwrap();
    assert_eq!(read_exactly(&mut client, bytes.len()), bytes);
    assert_eq!(finish(client), b"");
    bytes.len() as u64
}

/// The tests' list with this serial and these tables of the school in front of the second service.
fn edition(serial: u32, rules: &str) -> String {
    let list = LIST.replace("serial = 3", &format!("serial = {serial}"));
    list.replacen("[[service]]\nid = \"library\"", &format!("{rules}[[service]]\nid = \"library\""), 1)
}

/// A rule that exempts everybody.
const WIDE: &str = "[[service.rule]]\nprefix = \"0.0.0.0/0\"\nprotocol = \"tcp\"\nports = [\"1-65535\"]\n\n";
/// A rule that exempts whoever registers a name.
const ZONE: &str = "[[service.rule]]\nhost = \"kz\"\nscope = \"subtree\"\n\n";

/// Publishes a list and has it read.
fn publish(gateway: &Gateway, text: &str) {
    gateway.setup().write("list.toml", text);
    gateway.reload();
}

/// A line more in the configuration's section `[list]`.
fn configure(setup: &Setup, line: &str) {
    let text = std::fs::read_to_string(setup.path("gateway.toml")).unwrap();
    setup.write("gateway.toml", text.replacen("[list]\n", &format!("[list]\n{line}\n"), 1));
}

/// `gateway ARGUMENTS`: exit code and all that was said.
fn said(setup: &Setup, arguments: &[&str]) -> (i32, String) {
    let output = setup.command(arguments);
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

fn check(gateway: &Gateway) -> (i32, String) {
    said(gateway.setup(), &["check", "--config", "gateway.toml"])
}

fn status(gateway: &Gateway) -> serde_json::Value {
    serde_json::from_str(&gateway.ask("/api/v1/status").unwrap().1).unwrap()
}

#[test]
fn f6_t39_a_reload_refuses_what_check_refuses_until_the_operator_accepts_the_code() {
    let world = World::new(Origin::echo());
    let mut charged = 0;
    for (rule, code) in [(WIDE, "wide-prefix"), (ZONE, "public-suffix")] {
        publish(&world.gateway, &edition(4, rule));
        world.gateway.await_readiness(|status, body| {
            status == 200
                && body.contains("list_not_taken: list not renewed, serial 3 stays")
                && body.contains(&format!("list.toml:20:1: error [{code}]"))
        });
        assert_eq!(world.gateway.metric("zrgw_list_serial"), 3);
        assert_eq!(world.gateway.metric("zrgw_attention{reason=\"list_not_taken\"}"), 1);
        let log = world.gateway.log();
        let told = log.lines().any(|line| {
            line.contains("ERROR")
                && line.contains("list not taken, the last good one stays")
                && line.contains(&format!("[{code}]"))
        });
        assert!(told && log.contains("to take it all the same: [list] accept_errors"), "{log}");
        let (exit, said_by_check) = check(&world.gateway);
        assert!(exit == 78 && said_by_check.contains(&format!("error [{code}]")), "{said_by_check}");
        charged += visit(world.proxied(1), UNLISTED);
    }
    configure(world.gateway.setup(), "accept_errors = [\"wide-prefix\"]");
    // The other code still refuses.
    publish(&world.gateway, &edition(4, &format!("{WIDE}{ZONE}")));
    world.gateway.await_readiness(|_, body| body.contains("error [public-suffix]"));
    assert_eq!(world.gateway.metric("zrgw_list_serial"), 3);
    publish(&world.gateway, &edition(4, WIDE));
    world.gateway.await_metric("zrgw_list_serial", 4);
    world.gateway.await_readiness(|status, body| status == 200 && body.contains("\"attention\":[]"));
    let (exit, said_by_check) = check(&world.gateway);
    assert!(exit == 0 && said_by_check.contains("error [wide-prefix]"), "{said_by_check}");
    assert!(said_by_check.contains("taken: list.accept_errors names the code"), "{said_by_check}");
    let exempt = visit(world.proxied(2), UNLISTED);
    let usage = world.gateway.stop_and_count();
    assert_eq!((usage.exempt("s1"), usage.charged("s1", "not_listed")), ((0, 0), (charged, charged)));
    assert_eq!(usage.exempt("s2"), (exempt, exempt), "the operator has accepted it");
}

#[test]
fn f6_a_node_does_not_start_with_a_list_that_would_exempt_strangers() {
    let setup = |setup: Setup| {
        setup.write("list.toml", edition(4, ZONE));
        setup
    };
    let world = World::with(Origin::echo(), setup);
    world.gateway.await_readiness(|code, body| {
        code == 503 && body.contains("no list: ") && body.contains("error [public-suffix]")
    });
    let charged = visit(world.proxied(1), LISTED);
    // The kept copy of a list that was taken before the gate stood is no way in either.
    let World { gateway, origin, resolver: _resolver } = world;
    let setup = gateway.stop();
    std::fs::create_dir_all(setup.path("state/lists")).unwrap();
    setup.write("state/lists/00000000000000000004.toml", edition(4, ZONE));
    setup.write("state/lists/00000000000000000003.toml", LIST);
    let gateway = setup.start();
    gateway.await_readiness(|code, body| code == 200 && body.contains("serial 3 stays"));
    let destination = std::net::SocketAddr::new(origin.address.ip(), 443);
    charged_and_exempt(gateway, destination, charged);
}

/// With serial 3 in force the listed name is exempt again.
fn charged_and_exempt(gateway: Gateway, destination: std::net::SocketAddr, charged: u64) {
    let exempt = visit(connect_proxied(1, gateway.listener(1), destination), LISTED);
    let usage = gateway.stop_and_count();
    assert_eq!(usage.charged("s1", "no_list"), (charged, charged));
    assert_eq!(usage.exempt("s1"), (exempt, exempt));
}

#[test]
fn f6_a_false_previous_hash_is_refused_and_the_true_one_is_then_taken() {
    let world = World::new(Origin::echo());
    let chained = |text: &str, hash: &str| {
        text.replacen("\n\n[[service]]", &format!("\nprevious_sha256 = \"{hash}\"\n\n[[service]]"), 1)
    };
    let next = edition(4, "").replace("issued = 2020-04-04", "issued = 2020-04-05");
    publish(&world.gateway, &chained(&next, &"0".repeat(64)));
    world.gateway.await_readiness(|code, body| {
        code == 200 && body.contains("serial 3 stays") && body.contains("found previous_sha256 0000")
    });
    let (exit, told) = check(&world.gateway);
    assert!(exit == 78 && told.contains("previous_sha256 0000"), "{told}");
    let fourth = chained(&next, &allowlist::sha256(LIST.as_bytes()));
    publish(&world.gateway, &fourth);
    world.gateway.await_metric("zrgw_list_serial", 4);
    world.gateway.await_readiness(|_, body| body.contains("\"attention\":[]"));
    // Serial 6 follows 5, which this node never had: taken, and shown until an edition comes whose chain is whole.
    let sixth = chained(&edition(6, ""), &"5".repeat(64));
    publish(&world.gateway, &sixth);
    world.gateway.await_metric("zrgw_list_serial", 6);
    world.gateway.await_readiness(|code, body| code == 200 && body.contains("previous_hash: serial 6"));
    assert_eq!(world.gateway.metric("zrgw_attention{reason=\"previous_hash\"}"), 1);
    publish(&world.gateway, &sixth);
    assert_eq!(world.gateway.metric("zrgw_attention{reason=\"previous_hash\"}"), 1, "read again");
    publish(&world.gateway, &chained(&edition(7, ""), &allowlist::sha256(sixth.as_bytes())));
    world.gateway.await_metric("zrgw_list_serial", 7);
    assert_eq!(world.gateway.metric("zrgw_attention{reason=\"previous_hash\"}"), 0);
    // Without a hash, as before: taken, with a word.
    publish(&world.gateway, &edition(8, ""));
    world.gateway.await_metric("zrgw_list_serial", 8);
    assert!(world.gateway.log().contains("serial 8 states no previous_sha256"));
    // Over a restart too: the kept copy is what a successor has to follow.
    let World { gateway, .. } = world;
    let setup = gateway.stop();
    setup.write("list.toml", chained(&edition(9, ""), &"9".repeat(64)));
    let gateway = setup.start();
    gateway
        .await_readiness(|_, body| body.contains("serial 8 stays") && body.contains("previous_sha256 9999"));
    drop(gateway);
}

/// An edition that takes effect at a time far ahead, with a name of its own.
fn ahead(serial: u32, year: u32) -> String {
    let rule = format!("[[service.rule]]\nhost = \"of-{year}.example\"\n\n");
    edition(serial, &rule).replace("effective_from = 2020", &format!("effective_from = {year}"))
}

#[test]
fn f6_an_edition_still_to_come_is_shown_as_pending_and_withdrawn_by_a_higher_serial() {
    let world = World::new(Origin::echo());
    assert_eq!(world.gateway.metric("zrgw_list_pending_serial"), 0);
    assert!(status(&world.gateway)["list"]["pending"].is_null());
    publish(&world.gateway, &ahead(4, 2098));
    world.gateway.await_metric("zrgw_list_pending_serial", 4);
    assert_eq!(world.gateway.metric("zrgw_list_serial"), 3);
    let list = &status(&world.gateway)["list"];
    assert_eq!((&list["serial"], &list["pending"]["serial"]), (&3.into(), &4.into()));
    assert!(list["pending"]["effective_from"].as_str().unwrap().starts_with("2098-"), "{list}");
    let log = world.gateway.log();
    assert!(log.lines().any(|line| line.contains("pending") && line.contains("serial=4")), "{log}");
    assert!(!log.lines().any(|line| line.contains("list in force") && line.contains("serial=4")), "{log}");
    let (exit, told) = check(&world.gateway);
    assert!(exit == 0 && told.contains("serial 4 is pending"), "{told}");
    // Back to the edition in force: refused, with the way that leads there.
    publish(&world.gateway, LIST);
    world.gateway.await_readiness(|code, body| {
        code == 200
            && body.contains("list_not_taken")
            && body.contains("serial 3 is in force, and serial 4 was accepted already")
            && body.contains("publish the content wanted under serial 5")
    });
    let exempt = visit(world.proxied(1), LISTED);
    // That way: the old content under a higher serial, in force at once.
    publish(&world.gateway, &edition(5, ""));
    world.gateway.await_metric("zrgw_list_serial", 5);
    world.gateway.await_metric("zrgw_list_pending_serial", 0);
    world.gateway.await_readiness(|_, body| body.contains("\"attention\":[]"));
    // One ahead withdraws one that would take effect later.
    publish(&world.gateway, &ahead(6, 2098));
    world.gateway.await_metric("zrgw_list_pending_serial", 6);
    publish(&world.gateway, &ahead(7, 2097));
    world.gateway.await_metric("zrgw_list_pending_serial", 7);
    // At most four ahead; one more is refused and the others stay.
    for (serial, year) in [(8, 2098), (9, 2099), (10, 2100), (11, 2101)] {
        let text = ahead(serial, year).replace("expires = 2099", "expires = 2199");
        publish(&world.gateway, &text);
    }
    world.gateway.await_readiness(|_, body| body.contains("wanted at most 4"));
    assert_eq!(world.gateway.metric("zrgw_list_pending_serial"), 7);
    // A restart knows them all from the kept copies.
    let World { gateway, .. } = world;
    let setup = gateway.stop();
    let gateway = setup.start();
    gateway.await_metric("zrgw_list_serial", 5);
    gateway.await_metric("zrgw_list_pending_serial", 7);
    assert_eq!(gateway.stop_and_count().exempt("s1"), (exempt, exempt));
}

#[test]
fn f6_a_pending_edition_comes_into_force_at_its_date() {
    let world = World::new(Origin::echo());
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(4);
    let next = edition(4, "").replace("2020-04-06T00:00:00+06:00", &soon.to_string());
    publish(&world.gateway, &next);
    let reached = eventually(|| world.gateway.metric("zrgw_list_serial") == 4);
    assert!(reached && jiff::Timestamp::now() >= soon, "not before its date");
    assert_eq!(world.gateway.metric("zrgw_list_pending_serial"), 0);
}

#[test]
fn f6_questions_about_a_list_tell_its_errors_and_those_about_a_node_refuse_it() {
    let World { gateway, .. } = World::new(Origin::echo());
    let setup = gateway.stop();
    setup.write("list.toml", edition(4, ZONE));
    let (exit, told) = said(&setup, &["explain", "any.kz", "--list", "list.toml"]);
    assert!(exit == 0 && told.contains("warning: list.toml:20:1: error [public-suffix]"), "{told}");
    let (exit, told) = said(&setup, &["explain", "any.kz", "--config", "gateway.toml"]);
    assert!(exit == 78 && told.contains("error [public-suffix]") && told.contains("accept_errors"), "{told}");
    setup.write("list.toml", edition(2, ""));
    let (exit, told) = said(&setup, &["explain", LISTED, "--config", "gateway.toml"]);
    assert!(exit == 78 && told.contains("found serial 2"), "{told}");
    setup.write("list.toml", LIST);
    let (exit, told) = said(&setup, &["explain", LISTED, "--config", "gateway.toml"]);
    assert_eq!(exit, 0, "{told}");
    configure(&setup, "accept_errors = [\"public-suffix\", \"chain\", \"no-such-code\"]");
    let (exit, told) = said(&setup, &["check", "--config", "gateway.toml"]);
    assert_eq!(exit, 78, "{told}");
    for code in ["chain", "no-such-code"] {
        assert!(told.contains(&format!("list.accept_errors: found \"{code}\"; wanted one of ")), "{told}");
    }
    assert!(!told.contains("found \"public-suffix\""), "{told}");
}

/// The tests' list with a host of its own and `hosts` more, the same in every edition.
fn large(serial: u32, hosts: usize) -> String {
    let rule = |host: String| {
        format!(
            "[[service.rule]]\nhost = \"{host}\"\nreason = \"test\"\nevidence = \"seen\"\ndns_only = false\n\n"
        )
    };
    let rules: String = (0..hosts).map(|host| rule(format!("school-{host}.example"))).collect();
    edition(serial, &format!("{}{rules}", rule(format!("of-{serial}.example"))))
}

#[test]
fn f18_editions_that_came_and_went_take_no_room_but_their_names_are_carried() {
    const HOSTS: usize = 40_000;
    let world = World::with(Origin::echo(), |setup| setup.set("list", "size_max = \"64 MiB\""));
    for serial in 4..=9 {
        world.resolver.add(&format!("of-{serial}.example"), world.origin.octets());
    }
    let take = |serial: u32| {
        publish(&world.gateway, &large(serial, HOSTS));
        assert_eq!(world.gateway.metric("zrgw_list_serial"), u64::from(serial), "{}", world.gateway.log());
    };
    take(4);
    take(5);
    let two = world.gateway.resident_bytes();
    (6..=9).for_each(take);
    let six = world.gateway.resident_bytes();
    // A matcher of so many hosts took 16 MB, one more with each edition.
    assert!(six < two + 24_000_000, "{two} bytes with two editions, {six} with six");
    // Their names are carried, charged: by the node that took them, and by one that reads the kept copies.
    let mut charged = 0;
    for serial in [4, 8] {
        charged += visit(world.steered(1), &format!("of-{serial}.example"));
    }
    let mut exempt = visit(world.steered(1), "of-9.example");
    let World { gateway, origin: _origin, resolver: _resolver } = world;
    let gateway = gateway.stop().start();
    gateway.await_metric("zrgw_list_serial", 9);
    for serial in [4, 8] {
        charged += visit(connect_from(subscriber(1), gateway.listener(0)), &format!("of-{serial}.example"));
    }
    exempt += visit(connect_from(subscriber(1), gateway.listener(0)), "of-9.example");
    // What no list had is refused as before.
    let mut client = connect_from(subscriber(2), gateway.listener(0));
    std::io::Write::write_all(&mut client, &Hello::named("of-99.example").wire()).unwrap();
    assert_eq!(read_to_end(&mut client).unwrap(), [21, 3, 3, 0, 2, 2, 112], "alert unrecognized_name");
    let usage = gateway.stop_and_count();
    assert_eq!(usage.charged("s1", "not_listed"), (charged, charged));
    assert_eq!(usage.exempt("s1"), (exempt, exempt));
}

#[test]
fn f6_a_pending_edition_that_the_operator_no_longer_accepts_never_comes_into_force() {
    let world = World::new(Origin::echo());
    configure(world.gateway.setup(), "accept_errors = [\"wide-prefix\"]");
    let wide = ahead(4, 2098).replacen(
        "[[service]]\nid = \"library\"",
        &format!("{WIDE}[[service]]\nid = \"library\""),
        1,
    );
    publish(&world.gateway, &wide);
    world.gateway.await_metric("zrgw_list_pending_serial", 4);
    let path = world.gateway.setup().path("gateway.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    world.gateway.setup().write("gateway.toml", text.replace("accept_errors = [\"wide-prefix\"]\n", ""));
    world.gateway.reload();
    world.gateway.await_metric("zrgw_list_pending_serial", 0);
    world.gateway.await_readiness(|status, body| status == 200 && body.contains("error [wide-prefix]"));
    assert_eq!(world.gateway.metric("zrgw_list_serial"), 3);
    let log = world.gateway.log();
    assert!(log.lines().any(|line| line.contains("withdrawn") && line.contains("serial=4")), "{log}");
    world.gateway.stop_and_count();
}

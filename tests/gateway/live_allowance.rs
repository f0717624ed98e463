//! Allowances of a running gateway: crossed within a flow and by several at once, over restarts and midnight, and what they
//! bound that nothing else can (traps T22, T24, T31).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use support::ask::{A, ask, query};
use support::client::*;
use support::datagrams::{Header, proxy_v2_udp};
use support::dns::Resolver;
use support::hellos::Hello;
use support::origin::{self, Origin};
use support::plane::{self, start};
use support::successor::Successor;
use support::udp_world::UdpWorld;
use support::usage::Usage;
use support::world::World;
use support::zone;
use support::{Gateway, LIST, PATIENCE, Setup, free_port, has};

const LISTED: &str = "www.listed.example";
/// What may be exempt: both directions.
const LIMIT: u64 = 1 << 20;
/// Bytes of one exchange, each way.
const STEP: usize = 16_384;

/// A configuration with this allowance, on a day that lasts as long as the test.
fn with(line: &'static str) -> impl FnOnce(Setup) -> Setup {
    move |setup| zone::far_from_midnight(setup).set("allowance", line)
}

/// The same for the tests' limit a day.
const DAILY: &str = "daily = \"1 MiB\"";

/// A hello that settles the name.
fn hello() -> Vec<u8> {
    [Hello::named(LISTED).wire(), vec![23, 3, 3, 0, 1, 0]].concat()
}

/// Sends bytes and waits for their echo.
fn echo(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
    assert_eq!(read_exactly(stream, bytes.len()), bytes);
}

/// Echoes a hello and at least `bytes` more; how much went each way.
fn browse(stream: &mut TcpStream, bytes: u64) -> u64 {
    echo(stream, &hello());
    hello().len() as u64 + go_on(stream, bytes)
}

/// Echoes at least `bytes`; how much went each way.
fn go_on(stream: &mut TcpStream, bytes: u64) -> u64 {
    let steps = bytes.div_ceil(STEP as u64);
    (0..steps).for_each(|_| echo(stream, &[7; STEP]));
    steps * STEP as u64
}

/// Exempt bytes of both directions that the gateway has counted so far.
fn exempt(gateway: &Gateway) -> u64 {
    let of = |direction| {
        let labels = format!("direction=\"{direction}\",class=\"exempt\",service=\"school\"");
        gateway.metric(&format!("zrgw_bytes_total{{{labels}}}"))
    };
    of("up") + of("down")
}

/// Both directions together.
fn sum((up, down): (u64, u64)) -> u64 {
    up + down
}

/// Exempt bytes reach the limit but for `missing` at most, never pass it, and the rest is charged for that reason.
fn assert_capped(usage: &Usage, subscriber: &str, carried: u64, missing: u64) {
    let exempt = sum(usage.exempt(subscriber));
    assert!(usage.conserved);
    assert!(exempt <= LIMIT && exempt + missing >= LIMIT, "{exempt} of {LIMIT}");
    assert_eq!(exempt + sum(usage.charged(subscriber, "cap_reached")), carried);
    assert_eq!(usage.reasons(subscriber), ["cap_reached"]);
}

#[test]
fn t31_a_cap_crossed_within_a_flow_splits_it_within_a_buffer_and_traffic_goes_on() {
    for steered in [false, true] {
        let world = World::with(Origin::echo(), with(DAILY));
        let mut client = if steered { world.steered(1) } else { world.proxied(1) };
        let carried = browse(&mut client, 2 * LIMIT);
        assert_eq!(finish(client), b"");
        let mut other = world.proxied(2);
        let others = browse(&mut other, LIMIT / 4);
        assert_eq!(finish(other), b"");
        let usage = world.gateway.stop_and_count();
        // What was on its way to the subscriber when the limit was reached is charged when it arrives.
        assert_capped(&usage, "s1", 2 * carried, 2 * STEP as u64);
        assert_eq!(sum(usage.exempt("s2")), 2 * others);
        let of = |class: &str| {
            let mut found =
                usage.rows.iter().filter(|row| row["subscriber_id"] == "s1" && row["class"] == class);
            found.next().unwrap().clone()
        };
        assert_eq!(of("charged")["flags"], if steered { "free_in_core" } else { "" });
        assert_eq!(of("exempt")["flags"], "");
    }
}

#[test]
fn t31_a_period_that_ends_with_its_cap_says_so_in_its_record() {
    let world = World::with(Origin::echo(), |setup| with(DAILY)(setup).set("export", "period = \"1 s\""));
    let mut client = world.proxied(1);
    let carried = browse(&mut client, LIMIT);
    assert_eq!(finish(client), b"");
    let cap = |usage: &Usage| usage.rows.iter().any(|row| row["class"] == "exempt" && row["cause"] == "cap");
    assert!(support::eventually(|| cap(&world.gateway.setup().usage())), "{}", world.gateway.log());
    assert_capped(&world.gateway.stop_and_count(), "s1", 2 * carried, 2 * STEP as u64);
}

#[test]
fn t31_flows_that_race_to_a_cap_on_several_workers_pass_it_by_nothing() {
    const FLOWS: usize = 12;
    let world = World::with(Origin::echo(), |setup| with(DAILY)(setup).set("node", "workers = 4"));
    let clients: Vec<_> = (0..FLOWS).map(|_| world.proxied(1)).collect();
    let carried: u64 = std::thread::scope(|scope| {
        let racing: Vec<_> = clients
            .into_iter()
            .map(|mut client| {
                scope.spawn(move || {
                    let carried = browse(&mut client, LIMIT / 4);
                    assert_eq!(finish(client), b"");
                    carried
                })
            })
            .collect();
        racing.into_iter().map(|one| one.join().unwrap()).sum()
    });
    // What is left by the last is there for the next.
    let mut last = world.proxied(1);
    let more = browse(&mut last, LIMIT / 4);
    assert_eq!(finish(last), b"");
    assert_capped(&world.gateway.stop_and_count(), "s1", 2 * (carried + more), 2 * STEP as u64);
}

/// Another program on the ledger, which waits for as long as the gateway writes.
fn sqlite() -> Command {
    let mut command = Command::new("sqlite3");
    command.arg("-cmd").arg(format!(".timeout {}", PATIENCE.as_millis()));
    command
}

/// What the ledger says was spent, read by another program.
fn spent(ledger: &Path) -> u64 {
    let output = sqlite()
        .args(["-readonly", ledger.to_str().unwrap(), "SELECT sum(bytes) FROM spent"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap_or(0)
}

#[test]
fn t31_what_was_spent_is_spent_after_kill_9_restart_and_take_over() {
    if !has("sqlite3") {
        return;
    }
    let origin = Origin::echo();
    let resolver = Resolver::new(&[(LISTED, origin.octets())]);
    let listener = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let setup = Setup::new()
        .listener(&format!("mode = \"proxy_protocol\"\naddress = \"{listener}\"\n"))
        .set("admin", &format!("address = \"127.0.0.1:{}\"", free_port()))
        .set("limits", "drain = \"60 s\"")
        .set("limits", "drain_hard = \"60 s\"")
        .resolver(resolver.address)
        .port_map(&[(443, origin.port())]);
    let destination = SocketAddr::new(origin.address.ip(), 443);
    let visit = || {
        let mut client = connect_proxied(1, listener, destination);
        let carried = browse(&mut client, LIMIT / 8);
        assert_eq!(finish(client), b"");
        carried
    };
    let mut gateway = with(DAILY)(setup).start();
    let mut carried = visit();
    // On the disk, and then killed.
    gateway.await_flows_closed();
    let counted = "zrgw_bytes_total{direction=\"down\",class=\"exempt\",service=\"school\"}";
    gateway.await_metric(counted, carried);
    let ledger = gateway.setup().path("state/ledger.db");
    assert!(support::eventually(|| spent(&ledger) == 2 * carried), "{} of {carried}", spent(&ledger));
    gateway = gateway.kill().start();
    carried += visit();
    gateway = gateway.stop().start();
    // What the process before goes on with counts too.
    let mut drained = connect_proxied(1, listener, destination);
    carried += browse(&mut drained, LIMIT / 8);
    let successor = Successor::take_over(gateway.setup());
    carried += go_on(&mut drained, LIMIT / 8);
    assert_eq!(finish(drained), b"");
    let (status, setup) = gateway.wait();
    assert!(status.success(), "{}", setup.log());
    carried += visit();
    successor.stop();
    let gateway = setup.start();
    carried += visit();
    assert_capped(&gateway.stop_and_count(), "s1", 2 * carried, 2 * STEP as u64);
}

#[test]
fn t31_at_midnight_an_open_flow_is_exempt_again() {
    const MIDNIGHT: Duration = Duration::from_secs(15);
    let begun = Instant::now();
    let midnight = |setup| zone::with_midnight_in(MIDNIGHT.as_secs(), setup).set("allowance", DAILY);
    let world = World::with(Origin::echo(), midnight);
    let mut client = world.proxied(1);
    let before = browse(&mut client, LIMIT);
    assert!(begun.elapsed() < MIDNIGHT, "this machine is too slow for a day of seconds");
    let (meanwhile, after) = go_on_until_exempt_again(&world.gateway, &mut client);
    // The zone's midnight is a whole second.
    assert!(begun.elapsed() + Duration::from_secs(1) >= MIDNIGHT, "the day was over before its midnight");
    assert_eq!(finish(client), b"");
    assert_exempt_again(&world.gateway.stop_and_count(), before, meanwhile, after);
}

/// Echoes a little at a time until more than the limit is exempt, and then an eighth of it: how much went each way before
/// and after.
fn go_on_until_exempt_again(gateway: &Gateway, client: &mut TcpStream) -> (u64, u64) {
    let mut meanwhile = 0;
    let again = support::eventually(|| {
        meanwhile += go_on(client, STEP as u64);
        exempt(gateway) > LIMIT
    });
    assert!(again, "never exempt again\n{}", gateway.log());
    (meanwhile, go_on(client, LIMIT / 8))
}

/// The limit and what came `after` were exempt, and some of what came `meanwhile`.
fn assert_exempt_again(usage: &Usage, before: u64, meanwhile: u64, after: u64) {
    let (exempt, charged) = (sum(usage.exempt("s1")), sum(usage.charged("s1", "cap_reached")));
    assert_eq!(exempt + charged, 2 * (before + meanwhile + after));
    // What was on its way to the subscriber at the limit is charged, and exempt at the change.
    assert!(exempt + 2 * STEP as u64 >= LIMIT + 2 * after, "{exempt}");
    assert!(exempt <= LIMIT + 2 * (meanwhile + after + STEP as u64), "{exempt}");
    assert!(charged > 0);
}

#[test]
fn a_raised_limit_holds_for_open_flows_and_a_zone_that_is_none_keeps_the_old_limits() {
    let world = World::with(Origin::echo(), with(DAILY));
    let mut client = world.proxied(1);
    let before = browse(&mut client, LIMIT);
    let rewrite = |from: &str, to: &str| {
        let setup = world.gateway.setup();
        setup.write("gateway.toml", setup.configuration().replace(from, to));
        world.gateway.reload();
    };
    rewrite(zone::ZONE, "Mars/Olympus");
    assert!(support::eventually(|| world.gateway.log().contains("time zone database does not have")));
    let still = go_on(&mut client, LIMIT / 8);
    rewrite("1 MiB", "100 MiB");
    let (meanwhile, after) = go_on_until_exempt_again(&world.gateway, &mut client);
    assert_eq!(finish(client), b"");
    assert_exempt_again(&world.gateway.stop_and_count(), before + still, meanwhile, after);
}

#[test]
fn t31_while_what_was_spent_cannot_be_read_nothing_is_exempt() {
    if !has("sqlite3") {
        return;
    }
    let origin = Origin::echo();
    let world = World::with(origin, with(DAILY));
    let (resolver, origin) = (world.resolver, world.origin);
    let setup = world.gateway.stop();
    let ledger = setup.path("state/ledger.db").display().to_string();
    let change = |statement: &str| {
        let output = sqlite().args([&ledger, statement]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    // Whichever day the zone has: kinds of subscribers that this program does not know.
    change(
        "WITH days(shift) AS (VALUES (-1), (0), (1)) \
         INSERT INTO spent (subscriber_type, subscriber_id, allowance, span, bytes) \
         SELECT 'pager', '1', 'overall', 'day ' || date('now', shift || ' days'), 1 FROM days",
    );
    let gateway = setup.start();
    let world = World { gateway, resolver, origin };
    let mut client = world.proxied(1);
    let carried = browse(&mut client, 1);
    assert_eq!(finish(client), b"");
    world.gateway.await_metric("zrgw_exemption_suspended", 1);
    change("DELETE FROM spent");
    world.gateway.await_metric("zrgw_exemption_suspended", 0);
    let mut client = world.proxied(2);
    let exempt = browse(&mut client, 1);
    assert_eq!(finish(client), b"");
    let usage = world.gateway.stop_and_count();
    assert_eq!(sum(usage.charged("s1", "overload")), 2 * carried);
    assert_eq!(sum(usage.exempt("s2")), 2 * exempt);
}

#[test]
fn who_finds_no_free_counter_is_carried_and_charged_as_overload() {
    let world = World::with(Origin::echo(), |setup| with(DAILY)(setup).set("allowance", "counters_max = 1"));
    let visit = |number: u8| {
        let mut client = world.proxied(number);
        let carried = browse(&mut client, 1);
        assert_eq!(finish(client), b"");
        2 * carried
    };
    let first = visit(1);
    // No flow waits for its verdict: the next one's could come before.
    world.gateway.await_metric("zrgw_flows_total{protocol=\"tls\",class=\"exempt\",reason=\"\"}", 1);
    let second = visit(2);
    world.gateway.await_metric("zrgw_allowance_counters", 1);
    assert!(support::eventually(|| world.gateway.metric("zrgw_allowance_full_total") > 0));
    let usage = world.gateway.stop_and_count();
    assert_eq!(sum(usage.exempt("s1")), first, "{:?}", usage.reasons("s1"));
    assert_eq!(sum(usage.charged("s2", "overload")), second, "{:?}", usage.reasons("s2"));
}

#[test]
fn a_zone_that_is_none_is_refused_with_its_place() {
    let setup = Setup::new().proxied().set("allowance", "zone = \"Mars/Olympus\"");
    setup.write_configuration();
    let output = setup.command(&["check", "--config", "gateway.toml"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("gateway.toml:5:8: allowance.zone: found \"Mars/Olympus\""), "{said}");
    let (code, said) = setup.run_to_end();
    assert_eq!(code, 78, "{said}");
}

#[test]
fn a_group_whose_service_the_list_does_not_have_is_noted() {
    let setup = zone::far_from_midnight(Setup::new().proxied());
    let setup = setup
        .raw("[[allowance.group]]\nid = \"g\"\nservices = [\"school\", \"scholl\"]\ndaily = \"1 MiB\"\n");
    setup.write_configuration();
    let output = setup.command(&["check", "--config", "gateway.toml"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("note: allowance.group[0].services[1]: the list has no service \"scholl\""),
        "{said}"
    );
    assert!(!said.contains("services[0]"), "{said}");
}

#[test]
fn who_has_nothing_left_is_no_longer_led_to_us_for_that_service_alone() {
    let origin = Origin::echo();
    let names = [LISTED, "other-listed.example"];
    let resolver = Resolver::new(&names.map(|name| (name, origin.octets())));
    let (gateway, address) = start(zone::far_from_midnight(
        Setup::new()
            .steered()
            .resolver(resolver.address)
            .port_map(&[(443, origin.port())])
            .set("dns", "listen = [\"127.0.0.1:0\"]")
            .set("dns", "steer_addresses = [\"127.0.0.1\"]")
            .set("export", "byte_basis = \"payload\"")
            .raw("[[allowance.group]]\nid = \"g\"\nservices = [\"school\"]\ndaily = \"64 KiB\"\n"),
    ));
    let is_led = |number: u8, name: &str| {
        let answer = ask(subscriber(number), address, &query(3, name, A), PATIENCE).unwrap();
        answer.windows(4).any(|bytes| bytes == [127, 0, 0, 1])
    };
    assert!(is_led(1, LISTED));
    // What the first leaves over, because it was on its way to the subscriber, the others take.
    let spends = || {
        let mut client = connect_from(subscriber(1), gateway.listener(0));
        browse(&mut client, 1 << 16);
        assert_eq!(finish(client), b"");
        !is_led(1, LISTED)
    };
    assert!(support::eventually(spends));
    assert!(is_led(1, "other-listed.example"));
    assert!(is_led(2, LISTED));
    gateway.stop();
}

/// A resolver in the list by its address, and what tunnels through it: nothing but the cap knows it from questions.
#[test]
fn t22_a_tunnel_through_a_listed_resolver_is_exempt_up_to_its_cap() {
    const DATAGRAM: usize = 512;
    const DATAGRAMS: u64 = 400;
    let server = UdpSocket::bind("127.0.2.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut buffer = [0; 2_048];
        while let Ok((count, from)) = server.recv_from(&mut buffer) {
            let _ = server.send_to(&buffer[..count], from);
        }
    });
    let world = UdpWorld::with(port, |setup| {
        let rule = "[[service]]\nid = \"resolver\"\nname = \"Resolver\"\nowner = \"The operator\"\nreference = \"Test\"\n\n[[service.rule]]\nprefix = \"127.0.2.0/24\"\nprotocol = \"udp\"\nports = [\"53\"]\n\n[[deny]]";
        setup.write("list.toml", LIST.replace("[[deny]]", rule));
        let setup = setup.port_map(&[(53, port), (443, port)]);
        with("daily = \"10 MiB\"")(setup).raw(
            "[[allowance.group]]\nid = \"dns\"\nservices = [\"resolver\"]\ndaily = \"100 KiB\"\nmonthly = \"1 MiB\"\n",
        )
    });
    let destination = SocketAddr::from(([127, 0, 2, 1], 53));
    let client = support::datagrams::socket([127, 0, 0, 1]);
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let header = proxy_v2_udp(proxied_subscriber(1), destination);
    for number in 0..DATAGRAMS {
        let datagram = [&header[..], &[number as u8; DATAGRAM]].concat();
        client.send_to(&datagram, world.gateway.listener(1)).unwrap();
        let mut answer = [0; 2_048];
        assert_eq!(client.recv(&mut answer).unwrap(), DATAGRAM);
    }
    let usage = world.gateway.stop_and_count();
    // Datagrams are counted as they pass: not a byte is missing.
    assert_eq!(sum(usage.exempt_for("s1", "resolver")), 100 << 10);
    assert_eq!(sum(usage.of("s1")), 2 * DATAGRAMS * DATAGRAM as u64);
    assert_eq!(usage.reasons("s1"), ["cap_reached"]);
}

/// A listed name in front, another site behind it at the same address: what is inside nobody sees, but how much of it is.
#[test]
fn t24_what_may_hide_behind_a_shared_address_is_bounded_by_its_cap_and_other_addresses_are_not() {
    let shared = Origin::echo();
    let own = Origin::at(SocketAddr::from(([127, 0, 2, 9], 0)), origin::echo);
    let resolver = Resolver::new(&[(LISTED, shared.octets())]);
    resolver.add("own.listed.example", own.octets());
    let setup = Setup::new().proxied().steered();
    let setup = setup.port_map(&[(443, shared.port()), (8_443, own.port())]);
    let setup = with("shared_address_daily = \"256 KiB\"")(setup.resolver(resolver.address));
    // The operator knows: what subscribers ask for would have to be said by many (F1).
    let stated = format!("shared_addresses = [\"{}\"]", shared.address.ip());
    let setup = setup.set("trusted_answers", &stated);
    let list = LIST.replace(
        "scope = \"subtree\"",
        "scope = \"subtree\"\nprotocol = \"tcp\"\nports = [\"443\", \"8443\"]",
    );
    setup.write("list.toml", list);
    let (gateway, address) = start(plane::with_plane(setup, &[resolver.address]));
    for name in [LISTED, "own.listed.example"] {
        assert!(ask(subscriber(2), address, &query(1, name, A), PATIENCE).is_some());
    }
    let visit = |mut client: TcpStream, name: &str| {
        let hello = [Hello::named(name).wire(), vec![23, 3, 3, 0, 1, 0]].concat();
        echo(&mut client, &hello);
        let carried = hello.len() as u64 + go_on(&mut client, LIMIT / 2);
        assert_eq!(finish(client), b"");
        2 * carried
    };
    let proxied = |number: u8, origin: &Origin, port: u16| {
        connect_proxied(number, gateway.listener(0), SocketAddr::new(origin.address.ip(), port))
    };
    // In both modes: who is led to us reaches the same address of the site.
    let fronted = [
        visit(proxied(1, &shared, 443), LISTED),
        visit(connect_from(subscriber(4), gateway.listener(1)), LISTED),
    ];
    let plain = visit(proxied(3, &own, 8_443), "own.listed.example");
    let usage = gateway.stop_and_count();
    for (subscriber, carried) in ["s1", "s4"].into_iter().zip(fronted) {
        let exempt = sum(usage.exempt(subscriber));
        assert!(exempt <= 256 << 10 && exempt + 2 * STEP as u64 >= 256 << 10, "{subscriber} {exempt}");
        assert_eq!(exempt + sum(usage.charged(subscriber, "cap_reached")), carried);
    }
    assert_eq!(sum(usage.exempt("s3")), plain, "{:?}", usage.reasons("s3"));
}

#[test]
fn t31_datagrams_of_quic_are_capped_to_the_byte() {
    use support::quic_pages::{QuicClient, QuicOrigin};
    let origin = QuicOrigin::new();
    let world = UdpWorld::with(origin.port(), with(DAILY));
    for access in [world.steered(1), world.proxied(1, Header::Each)] {
        QuicClient::new().visit(access.address, LISTED, 20_000, 1_000_000);
    }
    let usage = world.gateway.stop_and_count();
    assert_eq!(sum(usage.exempt("s1")), LIMIT);
    assert!(sum(usage.charged("s1", "cap_reached")) > 1_000_000);
}

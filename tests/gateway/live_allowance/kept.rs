//! What was spent: kept over kill, restart and take-over, and what holds where it cannot be read or finds no counter.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use support::client::*;
use support::dns::Resolver;
use support::origin::Origin;
use support::successor::Successor;
use support::world::World;
use support::{PATIENCE, Setup, free_port, has};

use super::{DAILY, LIMIT, LISTED, STEP, assert_capped, browse, go_on, sum, with};

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

//! Lists and rules that change in the middle of a flow split its bytes.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use support::client::*;
use support::hellos::{self, Hello};
use support::origin::Origin;
use support::world::World;
use support::{Gateway, LIST, eventually};

use super::{LISTED, exchange};

/// Waits until so many bytes are counted down as exempt for the service `school`.
fn await_exempt_down(gateway: &Gateway, bytes: u64) {
    let name = "zrgw_bytes_total{direction=\"down\",class=\"exempt\",service=\"school\"}";
    gateway.await_metric(name, bytes);
}

#[test]
fn t32_b24_a_list_that_changes_in_mid_flow_splits_the_bytes() {
    let world = World::new(Origin::echo());
    let hello = [Hello::named(LISTED).wire(), hellos::record(23, &[1; 50])].concat();
    let length = hello.len() as u64;
    let (mut proxied, mut steered) = (world.proxied(1), world.steered(2));
    exchange(&mut proxied, &hello);
    exchange(&mut steered, &hello);
    await_exempt_down(&world.gateway, 2 * length);
    // Serial 4: the same rules. Serial 5: the school is gone, though steered flows are still carried.
    let renewed =
        LIST.replace("serial = 3", "serial = 4").replace("issued = 2020-04-04", "issued = 2020-04-05");
    world.gateway.setup().write("list.toml", &renewed);
    world.gateway.reload();
    world.gateway.await_metric("zrgw_list_serial", 4);
    exchange_after_change(&mut proxied, &mut steered, 1_000);
    await_exempt_down(&world.gateway, 2 * (length + 1_000));
    let without = renewed
        .replace("serial = 4", "serial = 5")
        .replace("host = \"listed.example\"", "host = \"moved.example\"");
    world.gateway.setup().write("list.toml", without.replace("ads.listed", "ads.moved"));
    world.gateway.reload();
    world.gateway.await_metric("zrgw_list_serial", 5);
    exchange_after_change(&mut proxied, &mut steered, 2_000);
    assert_eq!(finish(proxied), b"");
    assert_eq!(finish(steered), b"");
    // A new steered flow of the name that was taken off is carried too: its address is still in caches (decision 4).
    let mut late = world.steered(3);
    late.write_all(&hello).unwrap();
    assert_eq!(finish(late), hello);
    let usage = world.gateway.stop_and_count();
    for subscriber in ["s1", "s2"] {
        let of = |serial: &str| {
            usage.sum(|row| row["subscriber_id"] == subscriber && row["list_serial"] == serial)
        };
        assert_eq!(of("3"), (length, length), "{subscriber} {usage:?}");
        assert_eq!(of("4"), (1_000, 1_000), "{subscriber} {usage:?}");
        assert_eq!(of("5"), (2_000, 2_000), "{subscriber} {usage:?}");
        assert_eq!(usage.exempt(subscriber), (length + 1_000, length + 1_000), "{subscriber}");
        assert_eq!(usage.charged(subscriber, "not_listed"), (2_000, 2_000), "{subscriber}");
    }
    assert_eq!(usage.charged("s3", "not_listed"), (length, length));
    let flags = |subscriber: &str| -> Vec<_> {
        let rows =
            usage.rows.iter().filter(|row| row["subscriber_id"] == subscriber && row["class"] == "charged");
        rows.map(|row| row["flags"].clone()).collect()
    };
    assert_eq!(flags("s1"), [""]);
    assert_eq!(flags("s2"), ["free_in_core"]);
    assert_eq!(flags("s3"), ["free_in_core"]);
}

/// Both flows exchange `size` bytes once the workers have judged them by the new list.
fn exchange_after_change(proxied: &mut TcpStream, steered: &mut TcpStream, size: usize) {
    // Open flows are judged again at the worker's next look at the policy, a tenth of a second away; nothing outside
    // tells when, and ten times that is enough.
    std::thread::sleep(Duration::from_secs(1));
    exchange(proxied, &vec![6; size]);
    exchange(steered, &vec![6; size]);
}

#[test]
fn t32_a_rule_that_ends_in_mid_flow_splits_the_bytes() {
    let world = World::with(Origin::echo(), |setup| {
        let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(3);
        let list = LIST.replace("scope = \"subtree\"", &format!("scope = \"subtree\"\nto = {end:.0}"));
        setup.write("list.toml", list);
        setup
    });
    // Application data ends the watch for a second hello, and with it the time without a verdict.
    let hello = [Hello::named(LISTED).wire(), hellos::record(23, &[1; 50])].concat();
    let length = hello.len() as u64;
    let mut client = world.proxied(1);
    exchange(&mut client, &hello);
    await_exempt_down(&world.gateway, length);
    let charged = "zrgw_bytes_total{direction=\"down\",class=\"charged\",service=\"\"}";
    let mut sent = length;
    let ended = eventually(|| {
        exchange(&mut client, &[6; 100]);
        sent += 100;
        std::thread::sleep(Duration::from_millis(50));
        world.gateway.metric(charged) > 0
    });
    assert!(ended);
    exchange(&mut client, &[6; 100]);
    sent += 100;
    assert_eq!(finish(client), b"");
    let usage = world.gateway.stop_and_count();
    let (exempt, _) = usage.exempt("s1");
    let (after, _) = usage.charged("s1", "rule_not_in_force");
    assert!(exempt >= length && after >= 100, "{exempt} {after}");
    assert_eq!(exempt + after, sent);
    assert_eq!(usage.total(), (sent, sent));
}

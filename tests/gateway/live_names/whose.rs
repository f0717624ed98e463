//! Whose flow it is: a fresh verdict for ports that are used again, and nobody's where the subscriber is unknown.

use std::io::Write;
use std::net::SocketAddr;

use support::client::*;
use support::hellos::Hello;
use support::origin::Origin;
use support::world::World;

use super::{LISTED, size};

#[test]
fn t11_the_same_ports_again_with_another_name_get_a_fresh_verdict() {
    let world = World::new(Origin::echo());
    let mut port = 0;
    let mut sizes = Vec::new();
    for name in [LISTED, "unlisted.example", LISTED] {
        let mut client = connect_from_port(subscriber(1), port, world.gateway.listener(1));
        port = client.local_addr().unwrap().port();
        client.write_all(&proxy_v2(proxied_subscriber(1), world.destination(443))).unwrap();
        let hello = Hello::named(name).wire();
        client.write_all(&hello).unwrap();
        assert_eq!(read_exactly(&mut client, hello.len()), hello);
        sizes.push(size(&hello));
        // Both FINs would leave the ports in TIME-WAIT; the acknowledged bytes count all the same.
        world.gateway.await_metric("zrgw_flows_open", 1);
        reset(client);
        world.gateway.await_flows_closed();
    }
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), (sizes[0] + sizes[2], sizes[0] + sizes[2]));
    assert_eq!(usage.charged("s1", "not_listed"), (sizes[1], sizes[1]));
}

#[test]
fn t37_an_unknown_subscriber_is_carried_and_unattributed() {
    let world = World::new(Origin::answers(b"served"));
    let hello = Hello::named(LISTED).wire();
    let mut client = connect_from([127, 0, 1, 77].into(), world.gateway.listener(0));
    client.write_all(&hello).unwrap();
    assert_eq!(finish(client), b"served");
    let mut client = connect_from([127, 0, 0, 1].into(), world.gateway.listener(1));
    let source = SocketAddr::from(([10, 7, 0, 77], 1));
    client.write_all(&proxy_v1(source, world.destination(443))).unwrap();
    client.write_all(&hello).unwrap();
    assert_eq!(finish(client), b"served");
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.unattributed("no_subscriber"), (2 * size(&hello), 12));
    assert_eq!(usage.total(), (2 * size(&hello), 12));
    let row = usage.rows.iter().find(|row| row["class"] == "unattributed").unwrap();
    assert_eq!((&*row["subscriber_type"], &*row["subscriber_id"]), ("none", ""));
}

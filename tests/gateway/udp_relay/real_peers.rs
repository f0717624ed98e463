//! Real clients and servers through the relay: what is listed is exempt to the byte, with early data, Retry and long hellos.

use std::net::SocketAddr;

use support::datagrams::Header;
use support::eventually;
use support::quic_pages::{QuicClient, QuicOrigin, Validation};
use support::udp_world::{LISTED, UdpWorld};

#[test]
fn q14_steered_listed_is_exempt_to_the_byte() {
    let origin = QuicOrigin::new();
    let world = UdpWorld::new(origin.port());
    let access = world.steered(1);
    QuicClient::new().visit(access.address, LISTED, 20_000, 300_000);
    world.await_counted(&[&access]);
    let (up, down) = access.carried();
    assert!(up > 20_000 && down > 300_000);
    world.await_judged("quic", "exempt", "", 1);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt_for("s1", "school"), (up, down));
    assert_eq!(usage.total(), (up, down));
}

#[test]
fn q14_proxied_listed_is_exempt_to_the_byte_without_the_headers() {
    for header in [Header::Each, Header::First] {
        let origin = QuicOrigin::new();
        let world = UdpWorld::new(origin.port());
        let access = world.proxied(1, header);
        QuicClient::new().visit(access.address, LISTED, 20_000, 300_000);
        world.await_counted(&[&access]);
        let (up, down) = access.carried();
        let usage = world.gateway.stop_and_count();
        assert_eq!(usage.exempt_for("s1", "school"), (up, down), "{header:?}");
        assert_eq!(usage.total(), (up, down), "{header:?}");
    }
}

#[test]
fn q3_a_hello_over_two_datagrams_is_read_in_both_modes() {
    let origin = QuicOrigin::new();
    let world = UdpWorld::new(origin.port());
    let (steered, proxied) = (world.steered(1), world.proxied(2, Header::Each));
    for access in [&steered, &proxied] {
        QuicClient::long_hello().visit(access.address, LISTED, 100, 50_000);
    }
    world.await_counted(&[&steered, &proxied]);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), steered.carried());
    assert_eq!(usage.exempt("s2"), proxied.carried());
    assert_eq!(origin.visits(), 2);
}

#[test]
fn q4_q6_a_retry_and_early_data_pass_and_are_exempt() {
    let origin = QuicOrigin::at(SocketAddr::from(([127, 0, 2, 1], 0)), Validation::Retry);
    let world = UdpWorld::new(origin.port());
    for access in [world.steered(1), world.proxied(1, Header::Each)] {
        QuicClient::new().visit(access.address, LISTED, 1_000, 50_000);
    }
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), usage.total());
    assert!(usage.total().1 > 100_000);

    let origin = QuicOrigin::new();
    let world = UdpWorld::new(origin.port());
    for (number, again) in [(1, Header::None), (2, Header::Each)] {
        let access = |client: &QuicClient, early| {
            let access =
                if again == Header::None { world.steered(number) } else { world.proxied(number, again) };
            if early {
                let (connection, taken) = client.early(access.address, LISTED, 40_000);
                assert!(taken, "the server takes early data");
                client.close(connection);
            } else {
                client.visit(access.address, LISTED, 100, 1_000);
            }
            access
        };
        let client = QuicClient::new();
        // Tickets belong to a name, not to an address: the second connection is another flow.
        let accesses = [access(&client, false), access(&client, true)];
        let (up, down) = accesses
            .iter()
            .fold((0, 0), |sum, access| (sum.0 + access.carried().0, sum.1 + access.carried().1));
        let exempt = eventually(|| world.counted("down") >= down && world.counted("up") >= up);
        assert!(exempt, "{}", world.gateway.log());
    }
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), usage.of("s1"));
    assert_eq!(usage.exempt("s2"), usage.of("s2"));
}

#[test]
fn t37_an_unknown_subscriber_over_udp_is_carried_and_unattributed() {
    let origin = QuicOrigin::new();
    let world = UdpWorld::new(origin.port());
    let access = support::datagrams::Access::steered([127, 0, 1, 77], world.gateway.listener(0));
    QuicClient::new().visit(access.address, LISTED, 100, 20_000);
    world.await_counted(&[&access]);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.unattributed("no_subscriber"), access.carried());
    assert_eq!(usage.total(), access.carried());
}

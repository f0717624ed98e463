//! Datagrams that are longer than a link behind the gateway takes, in network namespaces: who sends QUIC is told what passes, as
//! he is without a gateway; what nobody can be told of goes in fragments.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, ip_mtu, ipv6_mtu, set_ip_mtu_discover, set_ipv6_mtu_discover,
};
use support::dns::Resolver;
use support::edge::{Edge, LISTED, origin, subscriber};
use support::hellos::Hello;
use support::link::{BEYOND, GATEWAY, Link, SUBSCRIBER};
use support::quic::Initial;
use support::{Gateway, PATIENCE, Setup, eventually, has};

/// What the narrow link takes.
const NARROW: u32 = 1_300;

/// Bytes of IP and UDP headers.
fn headers(address: IpAddr) -> usize {
    if address.is_ipv4() { 28 } else { 48 }
}

/// A listed name's Initial in a packet of so many bytes.
fn initial(packet: usize, to: IpAddr) -> Vec<u8> {
    Initial::of(&Hello::named(LISTED).message()).sized(packet - headers(to)).seal()
}

/// A socket that sends nothing in fragments and hears what does not pass, as clients of QUIC have them.
fn client(own: IpAddr, to: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((own, 0)).unwrap();
    socket.connect(to).unwrap();
    if to.is_ipv4() {
        set_ip_mtu_discover(socket.as_fd(), Ipv4PathMtuDiscovery::DO).unwrap();
    } else {
        set_ipv6_mtu_discover(socket.as_fd(), Ipv6PathMtuDiscovery::DO).unwrap();
    }
    socket
}

/// What the system of this end knows of the way.
fn known(socket: &UdpSocket) -> u32 {
    let is_ipv4 = socket.local_addr().unwrap().is_ipv4();
    if is_ipv4 { ip_mtu(socket.as_fd()) } else { ipv6_mtu(socket.as_fd()) }.unwrap()
}

/// Sends packets of 1,400 bytes until the sender is told; then one that passes, which the server is to receive.
fn learns(socket: &UdpSocket, server: &UdpSocket, expected: u32) {
    let to = socket.peer_addr().unwrap().ip();
    assert_eq!(known(socket), 1_500);
    let told = eventually(|| {
        let refused = socket.send(&initial(1_400, to)).is_err();
        refused && known(socket) < 1_500
    });
    assert!(told, "{to}: nobody told");
    assert_eq!(known(socket), expected, "{to}");
    let fits = initial(expected as usize, to);
    // An error that was on its way takes one call.
    assert!(eventually(|| socket.send(&fits).is_ok()));
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = [0; 2_000];
    let length = server.recv(&mut buffer).unwrap();
    assert!(buffer[..length] == fits, "{to}: {length} bytes");
}

/// Makes the link behind the gateway narrow, at both ends.
fn narrow(link: &Link) {
    link.gateway_runs(&format!("ip link set out mtu {NARROW}"));
    link.internet_runs(&format!("ip link set out mtu {NARROW}"));
}

#[test]
fn f45_who_sends_more_than_the_next_link_takes_is_told() {
    let Some(edge) = Edge::new() else { return };
    narrow(&edge.link);
    for family in 0..2 {
        let to = origin(family, 443);
        let server = edge.link.in_internet(|| UdpSocket::bind(to).unwrap());
        let socket = edge.link.at_subscriber(|| client(subscriber(family), to));
        learns(&socket, &server, NARROW);
    }
    // Through the gateway, not past it.
    edge.await_metric("zrgw_flows_open", 2);
    assert!(edge.metric("zrgw_datagrams_dropped_total{cause=\"too_long\"}") >= 2);
}

#[test]
fn f45_who_sends_more_than_a_link_further_on_takes_is_told() {
    let Some(mut edge) = Edge::new() else { return };
    edge.link.extend();
    edge.link.internet_runs(&format!("ip link set far mtu {NARROW}"));
    for (family, address) in BEYOND.iter().enumerate() {
        let to = SocketAddr::new(address.parse().unwrap(), 443);
        let server = edge.link.beyond(|| UdpSocket::bind(to).unwrap());
        let socket = edge.link.at_subscriber(|| client(subscriber(family), to));
        learns(&socket, &server, NARROW);
    }
    edge.await_metric("zrgw_flows_open", 2);
}

/// A gateway that is steered to, whose way to the origin is narrow; the origin.
fn steered(link: &Link, change: impl FnOnce(Setup) -> Setup + Send) -> (Gateway, Resolver, UdpSocket) {
    link.at_gateway(|| {
        // Origins are at a loopback address.
        support::link::run(&format!("ip link set lo mtu {NARROW}"));
        let server = UdpSocket::bind("127.0.2.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        let resolver = Resolver::new(&[(LISTED, [127, 0, 2, 1])]);
        let setup = Setup::new().port_map(&[(443, port)]).resolver(resolver.address);
        let table = format!(
            "prefix,subscriber_type,subscriber_id\n{}/32,account,s1\nfd77::/64,account,s1\n",
            SUBSCRIBER[0]
        );
        setup.write("subscribers.csv", table);
        let setup = ["0.0.0.0:8443", "[::]:8443"].iter().fold(setup, |setup, address| {
            setup.listener(&format!("mode = \"steered\"\naddress = \"{address}\"\n"))
        });
        (change(setup).start(), resolver, server)
    })
}

#[test]
fn f45_steered_senders_are_told_by_what_their_own_ip_version_needs() {
    let Some(link) = Link::new() else { return };
    let (_gateway, _resolver, server) = steered(&link, |setup| setup);
    for (family, expected) in [(0, NARROW), (1, NARROW + 20)] {
        let to = SocketAddr::new(GATEWAY[family].parse().unwrap(), 8_443);
        let own = SUBSCRIBER[family].parse().unwrap();
        let socket = link.at_subscriber(|| client(own, to));
        learns(&socket, &server, expected);
    }
}

#[test]
fn f45_without_the_right_to_tell_they_go_in_fragments() {
    if !has("setpriv") {
        return;
    }
    let Some(link) = Link::new() else { return };
    let (gateway, _resolver, server) =
        steered(&link, |setup| setup.started_by(&["setpriv", "--bounding-set=-net_raw,-net_admin"]));
    let to = SocketAddr::new(GATEWAY[0].parse().unwrap(), 8_443);
    let socket = link.at_subscriber(|| client(SUBSCRIBER[0].parse().unwrap(), to));
    let long = initial(1_400, to.ip());
    server.set_nonblocking(true).unwrap();
    let mut buffer = [0; 2_000];
    // The first is lost in finding out, and repeated as a client does.
    let come = eventually(|| {
        socket.send(&long).unwrap();
        server.recv(&mut buffer).is_ok_and(|length| buffer[..length] == long)
    });
    assert!(come, "{}", gateway.log());
    assert_eq!(gateway.log().matches("CAP_NET_RAW").count(), 1, "{}", gateway.log());
}

/// Where a sender's own system cuts what does not pass, as it does unless told otherwise: what came in fragments goes on so.
#[test]
fn f45_what_comes_in_fragments_goes_on_in_fragments() {
    let Some(edge) = Edge::new() else { return };
    narrow(&edge.link);
    for family in 0..2 {
        let to = origin(family, 443);
        let server = edge.link.in_internet(|| UdpSocket::bind(to).unwrap());
        server.set_nonblocking(true).unwrap();
        let socket = edge.link.at_subscriber(|| UdpSocket::bind((subscriber(family), 0)).unwrap());
        socket.connect(to).unwrap();
        let long = initial(1_400, to.ip());
        let mut buffer = [0; 2_000];
        let come = eventually(|| {
            let _ = socket.send(&long);
            server.recv(&mut buffer).is_ok_and(|length| buffer[..length] == long)
        });
        assert!(come, "{to}");
        assert_eq!(known(&socket), NARROW, "it was told first");
    }
    edge.await_metric("zrgw_flows_open", 2);
}

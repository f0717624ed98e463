//! What a datagram carries beside its bytes: code point and congestion marks of others pass both ways, also of datagrams that
//! waited for a name; code points of our own marks do not.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

use std::io::IoSliceMut;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};
use socket2::SockRef;
use support::PATIENCE;
use support::client::{proxied_subscriber, subscriber};
use support::datagrams::{proxy_v2_udp, socket};
use support::edge::{Edge, origin, subscriber as at_edge};
use support::hellos::Hello;
use support::quic::{Initial, two_datagrams};
use support::udp_world::{LISTED, UdpWorld};

/// The code point of the tests' rating group.
const OWN: u8 = 10;
/// Another, of somebody else: expedited forwarding.
const OTHER: u8 = 46;
/// Congestion marks (RFC 3168 §5).
const ECT0: u8 = 2;
const CE: u8 = 3;

/// Rating groups, of which one has the mark [`OWN`].
const GROUPS: &str = r#"
[[rating_group]]
id = 7
services = ["library"]
disposition = "tagged"
dscp = 10

[[rating_group]]
id = 8
services = ["*"]
disposition = "reported"
"#;

/// Sets the octet that one's own datagrams carry.
fn carry(socket: &UdpSocket, octet: u8) {
    let is_ipv4 = socket.local_addr().unwrap().is_ipv4();
    let socket = SockRef::from(socket);
    if is_ipv4 { socket.set_tos_v4(octet.into()) } else { socket.set_tclass_v6(octet.into()) }.unwrap();
}

/// Has the system say what comes carries.
fn reading(socket: UdpSocket) -> UdpSocket {
    let is_ipv4 = socket.local_addr().unwrap().is_ipv4();
    let options = SockRef::from(&socket);
    if is_ipv4 { options.set_recv_tos_v4(true) } else { options.set_recv_tclass_v6(true) }.unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// The next datagram: its octet, its bytes, its sender.
fn next(socket: &UdpSocket) -> (u8, Vec<u8>, SocketAddr) {
    let mut bytes = [0; 65_536];
    let mut room = nix::cmsg_space!(i32, i32);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let number = socket.as_raw_fd();
    let got = recvmsg::<SockaddrStorage>(number, &mut parts, Some(&mut room), MsgFlags::empty()).unwrap();
    let octet = got.cmsgs().unwrap().find_map(|said| match said {
        ControlMessageOwned::Ipv4Tos(octet) => Some(octet),
        ControlMessageOwned::Ipv6TClass(octet) => u8::try_from(octet).ok(),
        _ => None,
    });
    let from = got.address.unwrap();
    let from = from
        .as_sockaddr_in()
        .map(|from| SocketAddr::V4((*from).into()))
        .unwrap_or_else(|| SocketAddr::V6((*from.as_sockaddr_in6().unwrap()).into()));
    let length = got.bytes;
    (octet.unwrap_or(0), bytes[..length].to_vec(), from)
}

/// Asks with each octet and is answered with each: what arrived at either side.
fn ask_all(client: &UdpSocket, header: &[u8], server: &UdpSocket) -> Vec<(u8, u8)> {
    let octets = [ECT0, CE, 0, OTHER << 2, OTHER << 2 | ECT0, OWN << 2, OWN << 2 | ECT0, 0xfc];
    let exchange = |octet: u8| {
        carry(client, octet);
        client.send(&[header, &[0x17, octet]].concat()).unwrap();
        let (up, bytes, from) = next(server);
        assert_eq!(bytes, [0x17, octet]);
        carry(server, octet);
        server.send_to(&[0x18, octet], from).unwrap();
        let (down, bytes, _) = next(client);
        assert_eq!(bytes, [0x18, octet]);
        (up, down)
    };
    octets.into_iter().map(exchange).collect()
}

/// Of these octets: others' code points pass, ours do not, and no congestion mark is lost.
fn expected() -> Vec<(u8, u8)> {
    [ECT0, CE, 0, OTHER << 2, OTHER << 2 | ECT0, 0, ECT0, 0xfc].map(|octet| (octet, octet)).to_vec()
}

#[test]
fn f39_held_datagrams_go_on_with_what_they_carried() {
    let server = reading(socket([127, 0, 2, 1]));
    let world = UdpWorld::with(server.local_addr().unwrap().port(), |setup| setup.raw(GROUPS));
    let client = reading(socket(subscriber(1)));
    client.connect(world.gateway.listener(0)).unwrap();
    // The hello's second half comes last: all three wait for the name.
    let [front, back] = two_datagrams(&Hello::post_quantum(LISTED).message(), 1_000);
    let sent = [(ECT0, front), (OTHER << 2 | CE, vec![0x40; 500]), (OWN << 2 | ECT0, back)];
    for (octet, datagram) in &sent {
        carry(&client, *octet);
        client.send(datagram).unwrap();
    }
    let arrived: Vec<(u8, Vec<u8>)> =
        (0..3).map(|_| next(&server)).map(|(octet, bytes, _)| (octet, bytes)).collect();
    let mut expected = sent.to_vec();
    expected[2].0 = ECT0;
    assert!(arrived == expected, "{:?}", arrived.iter().map(|one| (one.0, one.1.len())).collect::<Vec<_>>());
}

#[test]
fn f37_code_points_of_others_pass_both_ways_steered_and_behind_a_balancer() {
    let server = reading(socket([127, 0, 2, 1]));
    let world = UdpWorld::with(server.local_addr().unwrap().port(), |setup| setup.raw(GROUPS));
    let balancer = reading(socket([127, 0, 0, 1]));
    balancer.connect(world.gateway.listener(1)).unwrap();
    let header = proxy_v2_udp(proxied_subscriber(1), world.destination());
    assert_eq!(ask_all(&balancer, &header, &server), expected());
    // Steered, behind a hello.
    let client = reading(socket(subscriber(2)));
    client.connect(world.gateway.listener(0)).unwrap();
    let hello = Initial::of(&Hello::named(LISTED).message()).seal();
    client.send(&hello).unwrap();
    assert_eq!(next(&server).1, hello);
    assert_eq!(ask_all(&client, &[], &server), expected());
}

#[test]
fn f37_f39_code_points_of_others_pass_both_ways_through_a_transparent_gateway() {
    let Some(edge) = Edge::with("tproxy", |setup| setup.raw(GROUPS)) else { return };
    for family in 0..2 {
        let to = origin(family, 443);
        let server = edge.link.in_internet(|| reading(UdpSocket::bind(to).unwrap()));
        let client = edge.link.at_subscriber(|| UdpSocket::bind((at_edge(family), 0)).unwrap());
        client.connect(to).unwrap();
        let client = reading(client);
        assert_eq!(ask_all(&client, &[], &server), expected(), "{to}");
    }
    // Through the gateway, not past it.
    edge.await_metric("zrgw_flows_open", 2);
}

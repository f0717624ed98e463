//! One customer has one allowance, however many addresses are his.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};

use socket2::{Domain, Protocol, Socket, Type};

use support::ask::*;
use support::client::*;
use support::dns::Resolver;
use support::link::{Link, run};
use support::plane::*;
use support::unbound::LISTED;
use support::{Gateway, PATIENCE};

use super::{FIRST, ask_at_once, is_cut, narrow, refused, socket};

/// Asks from each of these addresses once, and connects from three: what all together get is one customer's.
fn assert_is_one_customer(gateway: &Gateway, address: SocketAddr, addresses: &[IpAddr]) {
    let sockets: Vec<_> = addresses.iter().map(|address| socket(*address)).collect();
    let answers = ask_at_once(&sockets, address);
    let most = 5 + answers.seconds;
    assert!((5..=most).contains(&answers.whole), "{} of {most} whole answers", answers.whole);
    let before = refused(gateway, "connection");
    let held: Vec<_> = addresses[..2].iter().map(|from| connected(*from, address)).collect();
    let is_shut = |mut stream: TcpStream| stream.read(&mut [0]).unwrap_or(0) == 0;
    assert!(is_shut(connected(addresses[2], address)), "a customer's third connection");
    assert_eq!(refused(gateway, "connection"), before + 1);
    drop(held);
}

/// A connection from an address of either version.
fn connected(from: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
    socket.connect_timeout(&to.into(), PATIENCE).unwrap();
    let stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn f9_a_subscriber_with_many_addresses_has_one_allowance() {
    let resolver = Resolver::new(&[(LISTED, FIRST)]);
    let (gateway, address) = gateway(&[resolver.address], |setup| {
        setup.write(
            "subscribers.csv",
            "prefix,subscriber_type,subscriber_id\n127.0.4.0/24,account,many\n127.0.1.1/32,account,s1\n",
        );
        narrow(setup)
    });
    let many: Vec<IpAddr> = (1..=40).map(|number| Ipv4Addr::new(127, 0, 4, number).into()).collect();
    assert_is_one_customer(&gateway, address, &many);
    // Nobody else is limited by that.
    assert!(
        ask(subscriber(1), address, &query(1, LISTED, A), PATIENCE).is_some_and(|answer| !is_cut(&answer))
    );
    gateway.stop();
}

#[test]
fn f9_a_customer_with_a_56_has_one_allowance_whether_a_subscriber_or_not() {
    let Some(link) = Link::plain() else { return };
    link.enter_gateway();
    // All of it is this machine's, without an address of its own each.
    run("ip -6 route add local fd79::/32 dev lo");
    run("sysctl -qw net.ipv6.ip_nonlocal_bind=1");
    let resolver = Resolver::new(&[(LISTED, FIRST)]);
    let (gateway, address) = gateway(&[resolver.address], |setup| {
        setup.write(
            "subscribers.csv",
            "prefix,subscriber_type,subscriber_id\nfd79:0:0:100::/56,account,wide\n",
        );
        narrow(setup)
            .set("dns", "listen = [\"[::1]:0\"]")
            .set("dns", "clients = [\"subscribers\", \"fd79:0:1::/48\"]")
    });
    let of = |third: u16, fourth: u16| {
        (0..40_u16)
            .map(move |number| IpAddr::from(Ipv6Addr::new(0xfd79, 0, third, fourth + number, 0, 0, 0, 1)))
    };
    assert_is_one_customer(&gateway, address, &of(0, 0x100).collect::<Vec<_>>());
    assert_is_one_customer(&gateway, address, &of(1, 0x200).collect::<Vec<_>>());
    // The next /56 is another customer's.
    assert_is_one_customer(&gateway, address, &of(1, 0x300).collect::<Vec<_>>());
    gateway.stop();
}

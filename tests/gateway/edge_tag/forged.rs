//! What subscribers and servers set on their own packets never passes for ours.

use std::net::{SocketAddr, TcpStream};

use socket2::SockRef;
use support::client::finish;
use support::edge::{Edge, LISTED, foreign, origin};
use support::eventually;
use support::origin::{self as origins, Origin};

use super::{At, DSCP, PASSED_BY, echo, echoes, edge, hello, round_trips};

/// Connects with the code point on one's own packets.
fn connect_tagged(edge: &Edge, to: SocketAddr) -> TcpStream {
    edge.link.at_subscriber(|| {
        let domain = socket2::Domain::for_address(to);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
        tag(&SockRef::from(&socket), to.is_ipv4());
        socket.connect_timeout(&to.into(), support::PATIENCE).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(support::PATIENCE)).unwrap();
        stream
    })
}

/// Sets the code point on one's own packets.
fn tag(socket: &SockRef<'_>, is_ipv4: bool) {
    let octet = DSCP << 2;
    if is_ipv4 { socket.set_tos_v4(octet) } else { socket.set_tclass_v6(octet) }.unwrap();
}

/// A visit of a subscriber who tags his own packets; it reaches nobody as ours, though he did send it.
fn forged_visit(edge: &Edge, to: SocketAddr, first: &[u8]) {
    let visit = || {
        let mut forged = connect_tagged(edge, to);
        echo(&mut forged, first);
        round_trips(&mut forged);
        finish(forged);
    };
    for at in [At::Subscriber, At::Internet] {
        let seen = at.during(&edge.link, visit);
        assert!(seen.every > 8 && (seen.tagged, seen.marked) == (0, 0), "{at:?} {to} {seen:?}");
    }
    let sent = At::Ingress.during(&edge.link, visit);
    assert!(sent.tagged > 8, "{sent:?}");
}

#[test]
fn t38_what_subscribers_set_themselves_never_passes_for_ours() {
    let Some(edge) = edge("mark_upstream = true") else { return };
    let _origins = echoes(&edge);
    // Accepted sockets would answer as they were asked.
    edge.link.gateway_runs("sysctl -qw net.ipv4.tcp_reflect_tos=1");
    for family in 0..2 {
        forged_visit(&edge, origin(family, 443), &hello("not-listed.example"));
        forged_visit(&edge, foreign(family, 443), &hello(LISTED));
        forged_visit(&edge, origin(family, PASSED_BY), b"on another port");
    }
    let Edge { gateway, link, pins } = edge;
    let setup = gateway.kill();
    // The rules stand without the gateway.
    let edge = Edge { gateway: link.at_gateway(|| setup.start()), link, pins };
    edge.gateway.signal(rustix::process::Signal::STOP);
    assert!(eventually(|| !edge.is_alive()));
    for family in 0..2 {
        forged_visit(&edge, origin(family, 443), &hello(LISTED));
    }
    edge.gateway.signal(rustix::process::Signal::CONT);
}

#[test]
fn t38_what_servers_set_does_not_either() {
    let Some(edge) = edge("") else { return };
    let _origins = edge.link.in_internet(|| {
        let places = (0..2).flat_map(|family| [origin(family, 443), origin(family, PASSED_BY)]);
        let tagging = |address: SocketAddr| {
            Origin::at(address, move |visit| {
                tag(&SockRef::from(&visit.stream), address.is_ipv4());
                origins::echo(visit);
            })
        };
        places.map(tagging).collect::<Vec<_>>()
    });
    for family in 0..2 {
        for port in [443, PASSED_BY] {
            let seen = At::Subscriber.during(&edge.link, || {
                let mut stream = edge.connect(origin(family, port));
                echo(&mut stream, &hello("not-listed.example"));
                round_trips(&mut stream);
                finish(stream);
            });
            assert!(seen.every > 8 && seen.tagged == 0, "{port} {seen:?}");
        }
    }
}

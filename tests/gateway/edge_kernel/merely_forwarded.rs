//! Faults that only a gateway that ends connections has: packets that are merely forwarded have none of them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use support::client::{finish, read_exactly};
use support::edge::{Edge, LISTED, origin, subscriber};
use support::origin::Origin;
use support::{PATIENCE, eventually};

use super::{echo, echoes, edge, hello, visit, with};

/// Source NAT on the same machine: the programs stand at the subscriber's side of it.
#[test]
fn k20_f30_masquerade_on_the_way_out_is_no_matter() {
    let Some(edge) = edge() else { return };
    let _origins = echoes(&edge);
    for rule in [
        "nft add table inet nat",
        "nft add chain inet nat out { type nat hook postrouting priority 100; }",
        "nft add rule inet nat out oifname out masquerade",
    ] {
        edge.link.gateway_runs(rule);
    }
    for family in 0..2 {
        visit(&edge, origin(family, 443), LISTED);
    }
    edge.await_flows_closed();
    let counted = edge.link.counted();
    let usage = edge.stop_and_count();
    assert_eq!((usage.exempt("s1"), usage.total()), (counted, counted));
}

/// The handshake of the subscriber is the origin's own: where that does not answer, nobody does.
#[test]
fn f31_a_dead_origin_takes_no_connection() {
    let Some(edge) = edge() else { return };
    let _origins = echoes(&edge);
    edge.link.internet_runs("nft add table inet loss");
    edge.link.internet_runs("nft add chain inet loss in { type filter hook prerouting priority -200; }");
    edge.link.internet_runs(&format!("nft add rule inet loss in ip6 daddr {} drop", origin(1, 443).ip()));
    let dead =
        edge.link.at_subscriber(|| TcpStream::connect_timeout(&origin(1, 443), Duration::from_secs(2)));
    assert!(dead.is_err(), "IPv6 is dead, and seen to be");
    visit(&edge, origin(0, 443), LISTED);
}

/// One SYN after the other is lost for longer than a gateway of its own would wait.
#[test]
fn f34_a_slow_handshake_is_waited_for_by_its_ends() {
    let Some(edge) = edge() else { return };
    let _origins = echoes(&edge);
    edge.link.internet_runs("nft add table inet loss");
    edge.link.internet_runs("nft add chain inet loss in { type filter hook prerouting priority -200; }");
    edge.link.internet_runs("nft add rule inet loss in tcp flags & syn == syn drop");
    let address = origin(0, 443);
    std::thread::scope(|scope| {
        let connecting = scope
            .spawn(|| edge.link.at_subscriber(|| TcpStream::connect_timeout(&address, PATIENCE)).unwrap());
        std::thread::sleep(Duration::from_secs(6));
        edge.link.internet_runs("nft delete table inet loss");
        let mut stream = connecting.join().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        echo(&mut stream, &hello(LISTED));
        finish(stream);
    });
    edge.await_flows_closed();
    let usage = edge.stop_and_count();
    assert_eq!(usage.exempt("s1"), usage.total(), "its lost SYNs too");
}

#[test]
fn f33_a_schools_flows_beyond_its_limit_are_forwarded() {
    let Some(edge) = with(|setup| setup.set("limits", "flows_per_account_max = 40")) else { return };
    let _origins = echoes(&edge);
    let open = |count: usize| -> Vec<TcpStream> {
        let mut open: Vec<TcpStream> = (0..count).map(|_| edge.connect(origin(0, 443))).collect();
        open.iter_mut().for_each(|stream| echo(stream, &hello(LISTED)));
        open
    };
    let within = open(40);
    // Those that were answered are his; what was not yet may be anybody's, and keeps nobody out.
    let judged = "zrgw_flows_total{protocol=\"tls\",class=\"exempt\",reason=\"\"}";
    assert!(eventually(|| edge.metric(judged) == 40), "{}", edge.metric(judged));
    let beyond = open(20);
    for stream in within.into_iter().chain(beyond) {
        assert_eq!(finish(stream), b"");
    }
    edge.await_flows_closed();
    let counted = edge.link.counted();
    let usage = edge.stop_and_count();
    assert_eq!(usage.total(), counted);
    assert_eq!(usage.reasons("s1"), ["overload"]);
}

/// What is urgent arrives as that.
#[test]
fn f37_an_urgent_byte_arrives_as_one() {
    let Some(edge) = edge() else { return };
    let _origin = edge.link.in_internet(|| {
        Origin::at(origin(0, 443), |mut visit| {
            // Not inline: it is asked for by itself, before what stands behind it is read.
            visit.stream.read_exact(&mut vec![0; hello(LISTED).len()]).unwrap();
            let mut urgent = [std::mem::MaybeUninit::uninit()];
            let socket = socket2::SockRef::from(&visit.stream);
            let came = support::eventually(|| socket.recv_out_of_band(&mut urgent).is_ok());
            visit.stream.read_exact(&mut [0; 4]).unwrap();
            visit.stream.write_all(if came { b"urgent" } else { b"nobody" }).unwrap();
        })
    });
    let mut stream = edge.connect(origin(0, 443));
    stream.write_all(&hello(LISTED)).unwrap();
    socket2::SockRef::from(&stream).send_out_of_band(b"!").unwrap();
    stream.write_all(b"rest").unwrap();
    assert_eq!(read_exactly(&mut stream, 6), b"urgent");
    drop(stream);
    let _ = subscriber(0);
    super::counts::assert_total(edge);
}

/// A crash of the gateway ends nothing.
#[test]
fn t41_a_killed_gateway_ends_no_flow() {
    let Some(edge) = edge() else { return };
    let _origins = echoes(&edge);
    let mut stream = edge.connect(origin(0, 443));
    echo(&mut stream, &hello(LISTED));
    let Edge { gateway, link, pins } = edge;
    let setup = gateway.kill();
    echo(&mut stream, &[7; 100_000]);
    assert_eq!(finish(stream), b"");
    drop((setup, link, pins));
}

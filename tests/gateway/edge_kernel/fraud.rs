//! Names that are said and not meant: what no server has answered earns nothing.

use std::net::SocketAddrV4;

use support::edge::{LISTED, origin, subscriber};
use support::link::SUBSCRIBER;
use support::raw_tcp::RawStream;

use super::{echo, echoes, edge, hello};

/// The subscriber's end at a port.
fn own(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(SUBSCRIBER[0].parse().unwrap(), port)
}

/// The origin's.
fn there() -> SocketAddrV4 {
    let std::net::SocketAddr::V4(there) = origin(0, 443) else { panic!("IPv4") };
    there
}

#[test]
fn t23_a_hello_with_a_guessed_number_is_never_exempt() {
    let Some(edge) = edge() else { return };
    let _origins = echoes(&edge);
    RawStream::blind(&edge.link, own(4_444), there(), &hello(LISTED));
    edge.await_flows_closed();
    let usage = edge.stop_and_count();
    assert!(usage.total().0 > 0);
    assert_eq!(usage.of("s1"), (0, 0), "nobody answered: it may be anybody's {:?}", usage.rows);
}

/// A hello that dies on its way, and another at its place that arrives.
#[test]
fn k11_a_decoy_that_the_server_never_sees_is_contradicted_by_what_it_does() {
    let Some(edge) = edge() else { return };
    let _origins = echoes(&edge);
    for (port, bad_checksum) in [(4_445, false), (4_446, true)] {
        let mut stream = RawStream::connect(&edge.link, own(port), there());
        // Of one length, so that the second stands where the first did.
        let (decoy, real) = (hello(LISTED), hello("www.hidden.example"));
        assert_eq!(decoy.len(), real.len());
        stream.decoy(&decoy, bad_checksum);
        std::thread::sleep(std::time::Duration::from_millis(200));
        stream.write(&[], &real);
        stream.await_received(real.len());
        for _ in 0..10 {
            stream.write(&[], &[7; 1_000]);
            stream.await_received(1_000);
        }
        stream.finish();
        stream.read_to_end();
    }
    edge.await_flows_closed();
    let (up, down) = edge.link.counted();
    let usage = edge.stop_and_count();
    println!("{:?} of {:?}", usage.exempt("s1"), (up, down));
    // At most what passed before the second hello came.
    assert!(usage.exempt("s1").1 < 1_000, "{:#?}", usage.rows);
    assert!(usage.charged("s1", "ambiguous").1 > 2 * 10_000);
}

/// Lengths are read from headers, which anybody can write.
#[test]
fn k27_a_header_that_says_more_than_the_packet_has_counts_nothing() {
    let Some(edge) = edge() else { return };
    let _origins = echoes(&edge);
    let mut stream = RawStream::connect(&edge.link, own(4_448), there());
    stream.write(&[], &hello(LISTED));
    stream.await_received(hello(LISTED).len());
    stream.overstate(&edge.link);
    stream.write(&[], &[7; 1_000]);
    stream.await_received(1_000);
    stream.finish();
    stream.read_to_end();
    edge.await_flows_closed();
    let (up, _) = edge.link.counted();
    let usage = edge.stop_and_count();
    assert_eq!(usage.exempt("s1"), usage.total());
    assert_eq!(usage.exempt("s1").0, up, "what the stack took");
}

#[test]
fn k8_a_forged_reset_costs_a_flow_nothing() {
    let Some(edge) = edge() else { return };
    let _origins = echoes(&edge);
    let mut stream = RawStream::connect(&edge.link, own(4_447), there());
    stream.write(&[], &hello(LISTED));
    stream.await_received(hello(LISTED).len());
    stream.reset_beside();
    for _ in 0..10 {
        std::thread::sleep(std::time::Duration::from_millis(300));
        stream.write(&[], &[7; 1_000]);
        stream.await_received(1_000);
    }
    stream.finish();
    stream.read_to_end();
    edge.await_flows_closed();
    let usage = edge.stop_and_count();
    assert_eq!(usage.exempt("s1"), usage.total());
}

/// A SYN of anybody's on the ports of a connection that goes on.
#[test]
fn k9_a_forged_syn_costs_a_flow_nothing() {
    let Some(edge) = edge() else { return };
    let _origins = echoes(&edge);
    let mut stream = edge.connect(origin(0, 443));
    echo(&mut stream, &hello(LISTED));
    let port = stream.local_addr().unwrap().port();
    assert_eq!(stream.local_addr().unwrap().ip(), subscriber(0));
    RawStream::syn_beside(&edge.link, own(port), there());
    for _ in 0..10 {
        echo(&mut stream, &[7; 1_000]);
    }
    drop(stream);
    edge.await_flows_closed();
    let usage = edge.stop_and_count();
    assert_eq!(usage.exempt("s1"), usage.total());
}

#[test]
fn k9_t11_a_port_used_again_at_once_is_a_flow_of_its_own() {
    let Some(edge) = edge() else { return };
    let _origins = echoes(&edge);
    for round in 0..10 {
        let name = if round % 2 == 0 { LISTED } else { "elsewhere.example" };
        let mut stream = edge.link.at_subscriber(|| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            socket.set_reuse_address(true).unwrap();
            socket.bind(&own(23_456).into()).unwrap();
            socket.connect(&there().into()).unwrap();
            std::net::TcpStream::from(socket)
        });
        echo(&mut stream, &hello(name));
        support::client::reset(stream);
    }
    let usage = edge.stop_and_count();
    let (exempt, charged) = (usage.exempt("s1"), usage.charged("s1", "not_listed"));
    // Alike but for the names' lengths.
    assert!(exempt.0 > 0 && exempt.0.abs_diff(charged.0) < 200, "{exempt:?} {charged:?}");
}

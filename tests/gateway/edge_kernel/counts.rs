//! Exported bytes against those that the kernels at both ends counted, to the byte.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use support::client::read_to_end;
use support::edge::{Edge, LISTED, foreign, origin, subscriber, telling_datagrams};
use support::metered::fetch;
use support::origin as origins;
use support::quic_pages::{QuicClient, QuicOrigin, Validation};
use support::{PATIENCE, eventually};

use super::{echo, echoes, edge, hello, visit};

#[test]
fn t23_t26_only_name_and_address_together_are_exempt_to_the_byte_that_passed() {
    let Some(edge) = edge() else { return };
    let _origins = echoes(&edge);
    for family in 0..2 {
        visit(&edge, origin(family, 443), LISTED);
        // CheckSni and CheckIp of MobileAtlas: a listed name elsewhere, another name there.
        visit(&edge, foreign(family, 443), LISTED);
        visit(&edge, origin(family, 443), "elsewhere.example");
    }
    edge.await_flows_closed();
    let counted = edge.link.counted();
    let usage = edge.stop_and_count();
    let (exempt, mismatch) = (usage.exempt("s1"), usage.charged("s1", "address_mismatch"));
    assert_eq!(exempt, mismatch, "visits of one name are alike");
    assert!(exempt.0 > 0 && exempt.1 > 0);
    assert_eq!(usage.total(), counted, "IP bytes, to the byte, of both IP versions");
    assert_eq!(usage.reasons("s1"), ["address_mismatch", "not_listed"]);
}

/// Pages of several sizes over HTTP, one connection each.
fn pages(edge: &Edge, sizes: &[usize]) {
    let _origins = edge.link.in_internet(|| [0, 1].map(|family| origins::http(origin(family, 80))));
    for family in 0..2 {
        for size in sizes {
            fetch(edge.connect(origin(family, 80)), LISTED, *size);
        }
    }
    edge.await_flows_closed();
}

#[test]
fn b25_t27_pages_of_any_size_are_exempt_to_the_byte_that_passed() {
    let Some(edge) = edge() else { return };
    pages(&edge, &[5_000, 1_000_000, 100_000_000]);
    let counted = edge.link.counted();
    let usage = edge.stop_and_count();
    assert_eq!((usage.exempt("s1"), usage.total()), (counted, counted));
    assert!(!usage.has_lower_bounds());
}

/// The kernel's counts of real packets are those at the receivers; super-packets that pass the gateway become packets there.
#[test]
fn b25_super_packets_count_as_the_packets_that_they_become() {
    let Some(edge) = edge() else { return };
    // The internet hands over super-packets, which the gateway cuts for the subscriber's wire.
    edge.link.gateway_runs("ethtool -K out gro on tso on gso on");
    pages(&edge, &[10_000_000]);
    let (up, down) = edge.link.counted();
    let usage = edge.stop_and_count();
    assert_eq!(usage.exempt("s1"), (up, down));
}

#[test]
fn t28_b25_on_a_link_that_loses_packets_each_that_passed_counts_once() {
    let Some(edge) = edge() else { return };
    // Behind the counters, on both ways.
    edge.link.lose(5);
    pages(&edge, &[3_000_000]);
    let counted = edge.link.counted();
    let usage = edge.stop_and_count();
    // Towards the gateway packets are lost behind both counts; towards the subscriber too.
    assert_eq!(usage.total(), counted);
}

#[test]
fn t30_half_closes_resets_and_refusals_count_to_the_byte() {
    let Some(edge) = edge() else { return };
    let _origins = echoes(&edge);
    for family in 0..2 {
        // Half-closed: the server goes on after the subscriber has finished.
        let mut half = edge.connect(origin(family, 443));
        half.write_all(&hello(LISTED)).unwrap();
        half.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_end(&mut half).unwrap(), hello(LISTED));
        // Reset in the middle.
        let mut cut = edge.connect(origin(family, 443));
        echo(&mut cut, &hello(LISTED));
        support::client::reset(cut);
        // Nobody listens.
        assert!(edge.try_connect(origin(family, 81)).is_err());
        assert!(edge.try_connect(foreign(family, 80)).is_err());
    }
    let settled = || {
        let before = edge.link.counted();
        std::thread::sleep(Duration::from_millis(300));
        before == edge.link.counted()
    };
    assert!(eventually(settled));
    let counted = edge.link.counted();
    let usage = edge.stop_and_count();
    assert_eq!(usage.total(), counted);
    assert!(usage.exempt("s1").0 > 0 && usage.charged("s1", "port").0 > 0, "{:?}", usage.reasons("s1"));
}

#[test]
fn q14_t23_t36_quic_is_exempt_by_name_and_address_and_to_the_byte() {
    let Some(edge) = edge() else { return };
    for family in 0..2 {
        let to = [origin(family, 443), foreign(family, 443)];
        let _origins = edge.link.in_internet(|| to.map(|to| QuicOrigin::at(to, Validation::None)));
        for (to, name) in [(to[0], LISTED), (to[1], LISTED), (to[0], "unlisted.example")] {
            edge.link.at_subscriber(|| {
                let client = QuicClient::at(SocketAddr::new(subscriber(family), 0));
                let connection = client.connect(to, name, PATIENCE).unwrap();
                assert_eq!(client.ask(&connection, 20_000, 300_000), Ok(300_000));
                client.close(connection);
            });
        }
    }
    edge.await_flows_closed();
    let counted = edge.link.counted();
    let usage = edge.stop_and_count();
    assert_eq!(usage.total(), counted, "to the byte");
    assert_eq!(usage.reasons("s1"), ["address_mismatch", "not_listed"]);
    let (exempt, mismatch) = (usage.exempt("s1"), usage.charged("s1", "address_mismatch"));
    assert!(exempt.1 > 600_000 && exempt.1.abs_diff(mismatch.1) < exempt.1 / 10, "{exempt:?} {mismatch:?}");
}

#[test]
fn k13_t8_other_protocols_ports_and_fragments_are_charged_and_count_to_the_byte() {
    let Some(edge) = edge() else { return };
    edge.link.in_internet(|| {
        for family in 0..2 {
            telling_datagrams(origin(family, 443));
            telling_datagrams(origin(family, 5_000));
        }
    });
    for family in 0..2 {
        for port in [443, 5_000] {
            let socket =
                edge.link.at_subscriber(|| UdpSocket::bind(SocketAddr::new(subscriber(family), 0)).unwrap());
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            // Longer than a packet: both ways in fragments.
            for length in [100, 1_700] {
                socket.send_to(&vec![b'x'; length], origin(family, port)).unwrap();
                assert!(socket.recv(&mut [0; 2_000]).unwrap() > length);
            }
        }
    }
    edge.await_flows_closed();
    let counted = edge.link.counted();
    let usage = edge.stop_and_count();
    assert_eq!(usage.exempt("s1"), (0, 0));
    assert_eq!(usage.total(), counted, "each fragment with its headers");
    assert_eq!(usage.reasons("s1"), ["not_recognised", "port"]);
}

#[test]
fn t1_a_hello_byte_by_byte_and_in_any_order_has_its_name() {
    let Some(edge) = edge() else { return };
    let _origins = echoes(&edge);
    for family in 0..2 {
        let mut stream = edge.connect(origin(family, 443));
        stream.set_nodelay(true).unwrap();
        support::client::write_bytewise(&mut stream, &hello(LISTED));
        let mut back = vec![0; hello(LISTED).len()];
        stream.read_exact(&mut back).unwrap();
        drop(stream);
    }
    edge.await_flows_closed();
    let usage = edge.stop_and_count();
    assert_eq!(usage.exempt("s1"), usage.total(), "{:#?}", usage.rows);
}

/// A connection that stays silent for longer than any relay would hold it.
#[test]
fn f34_a_flow_that_is_silent_keeps_its_name() {
    let Some(edge) = super::with(|setup| {
        setup.set("limits", "idle_timeout = \"1 s\"").set("limits", "https_idle_timeout = \"1 s\"")
    }) else {
        return;
    };
    let _origins = echoes(&edge);
    let mut stream: TcpStream = edge.connect(origin(0, 443));
    echo(&mut stream, &hello(LISTED));
    std::thread::sleep(Duration::from_secs(4));
    echo(&mut stream, b"still there");
    drop(stream);
    edge.await_flows_closed();
    let usage = edge.stop_and_count();
    assert_eq!(usage.exempt("s1"), usage.total());
}

/// Asks that nothing else was counted.
pub(super) fn assert_total(edge: Edge) {
    edge.await_flows_closed();
    let counted = edge.link.counted();
    assert_eq!(edge.stop_and_count().total(), counted);
}

/// Traffic with the gateway itself is nobody's to forward, and counted where it is served.
#[test]
fn k16_what_goes_to_the_gateway_itself_is_not_counted() {
    let Some(edge) = edge() else { return };
    edge.link.at_gateway(|| {
        for address in support::link::GATEWAY {
            telling_datagrams(SocketAddr::new(address.parse().unwrap(), 443));
        }
    });
    for (family, address) in support::link::GATEWAY.iter().enumerate() {
        let socket =
            edge.link.at_subscriber(|| UdpSocket::bind(SocketAddr::new(subscriber(family), 0)).unwrap());
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send_to(b"you there", SocketAddr::new(address.parse().unwrap(), 443)).unwrap();
        assert!(socket.recv(&mut [0; 100]).unwrap() > 9);
    }
    assert!(edge.link.counted().0 > 0);
    let usage = edge.stop_and_count();
    assert_eq!(usage.total(), (0, 0), "{:?}", usage.rows);
}

/// Extension headers of IPv6 are stepped over: the flow behind them is told apart by its ports, and they count.
#[test]
fn k14_extension_headers_of_ipv6_are_stepped_over_and_count() {
    if !support::has("python3") {
        println!("SKIPPED: no python3");
        return;
    }
    let Some(edge) = edge() else { return };
    edge.link.in_internet(|| telling_datagrams(origin(1, 443)));
    let script = format!(
        "import socket\n\
         s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)\n\
         s.settimeout(5)\n\
         s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_DSTOPTS, bytes([0, 0, 1, 4, 0, 0, 0, 0]))\n\
         s.sendto(b'x' * 100, ('{}', 443))\n\
         assert len(s.recv(2000)) > 100\n",
        origin(1, 443).ip()
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), script).unwrap();
    edge.link.subscriber_runs(&format!("python3 {}", file.path().display()));
    edge.await_flows_closed();
    let counted = edge.link.counted();
    let usage = edge.stop_and_count();
    assert_eq!(usage.charged("s1", "not_recognised"), counted, "{:?}", usage.rows);
}

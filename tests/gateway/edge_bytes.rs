//! IP bytes of the records against the kernel's own count on the subscriber's link, in network namespaces (decision 13).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

use support::quinn_peers as quic;

use std::io::Write;
use std::net::{Shutdown, SocketAddr, SocketAddrV4};

use support::client::*;
use support::dns::Resolver;
use support::link::{GATEWAY, Link, SUBSCRIBER};
use support::metered::{Edge, LISTED, fetch};
use support::origin::{self, Origin};
use support::quic_pages::{QuicClient, QuicOrigin};
use support::raw_tcp::RawStream;
use support::usage::{Bytes, assert_every_byte};
use support::{PATIENCE, Setup};

const UNLISTED: &str = "not-listed.example";

/// An origin of pages.
fn pages() -> Origin {
    origin::http(SocketAddr::from(([127, 0, 2, 1], 0)))
}

/// Within one in two hundred, and never more than passed.
fn assert_close(exported: Bytes, counted: Bytes) {
    for (exported, counted) in [(exported.0, counted.0), (exported.1, counted.1)] {
        assert!(exported <= counted, "{exported} exported, {counted} passed");
        assert!(counted - exported <= counted / 200, "{exported} exported, {counted} passed");
    }
}

#[test]
fn b25_t26_a_page_of_5_kb_is_exported_to_the_byte_that_passed() {
    for (family, address) in GATEWAY.iter().enumerate() {
        let Some(edge) = Edge::new(pages) else { return };
        for _ in 0..20 {
            fetch(edge.connect(family), LISTED, 5_000);
        }
        let (usage, counted) = edge.compare();
        println!("{address}: exported {:?}, passed {counted:?}", usage.total());
        assert_eq!(usage.exempt("s1"), usage.total());
        assert_every_byte(usage.total(), counted);
    }
}

#[test]
fn b25_t27_a_download_of_10_mb_leaves_no_charged_byte() {
    for (family, address) in GATEWAY.iter().enumerate() {
        let Some(edge) = Edge::new(pages) else { return };
        fetch(edge.connect(family), LISTED, 10_000_000);
        let (usage, counted) = edge.compare();
        println!("{address}: exported {:?}, passed {counted:?}", usage.total());
        assert_eq!(usage.exempt("s1"), usage.total(), "its handshake too");
        assert_close(usage.exempt("s1"), counted);
    }
}

#[test]
fn b25_a_download_of_1_gb_is_within_one_in_two_hundred() {
    for (family, address) in GATEWAY.iter().enumerate() {
        let Some(edge) = Edge::new(pages) else { return };
        fetch(edge.connect(family), LISTED, 1_000_000_000);
        let (usage, counted) = edge.compare();
        println!("{address}: exported {:?}, passed {counted:?}", usage.total());
        assert_close(usage.exempt("s1"), counted);
    }
}

#[test]
fn b25_t28_on_a_link_that_loses_packets_what_we_send_again_counts_and_nothing_is_over_counted() {
    let Some(edge) = Edge::new(pages) else { return };
    edge.link.lose(2);
    for family in 0..2 {
        fetch(edge.connect(family), LISTED, 10_000_000);
    }
    let (usage, (up, down)) = edge.compare();
    let (exported_up, exported_down) = usage.exempt("s1");
    println!("exported {:?}, passed {:?}", (exported_up, exported_down), (up, down));
    // Counted on arrival, before the loss: what the gateway sends again counts as often as it was sent.
    assert_close((0, exported_down), (0, down));
    // What was lost on the way up never came, and options that tell what is missing are left out.
    assert!(exported_up <= up && exported_up >= up - up / 3, "{exported_up} exported, {up} passed");
}

#[test]
fn f62_what_subscribers_say_of_lost_packets_counts_to_the_byte() {
    let Some(edge) = Edge::new(pages) else { return };
    // Lost behind the counter: what arrives at the gateway arrives in order, and tells what is missing.
    for rule in [
        "add chain inet count lost { type filter hook prerouting priority -200; }",
        "add rule inet count lost iifname wire numgen random mod 100 < 5 drop",
    ] {
        edge.link.subscriber_runs(&format!("nft {rule}"));
    }
    for family in 0..2 {
        fetch(edge.connect(family), LISTED, 5_000_000);
    }
    let (usage, counted) = edge.compare();
    println!("exported {:?}, passed {counted:?}", usage.exempt("s1"));
    assert_close(usage.exempt("s1"), counted);
    assert!(!usage.has_lower_bounds());
}

#[test]
fn f62_an_upload_that_loses_packets_is_never_over_counted() {
    let Some(edge) = Edge::new(|| Origin::answers(b"thanks")) else { return };
    edge.link.lose(5);
    for family in 0..2 {
        let mut stream = edge.connect(family);
        let head = format!("POST / HTTP/1.1\r\nHost: {LISTED}\r\nContent-Length: 2000000\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&vec![7; 2_000_000]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_end(&mut stream).unwrap(), b"thanks");
    }
    let (usage, (up, down)) = edge.compare();
    let (exported_up, exported_down) = usage.total();
    println!("exported {:?}, passed {:?}", usage.total(), (up, down));
    // What is lost behind the counter never came to the socket.
    assert!(exported_up <= up && exported_up >= up - up / 10, "{exported_up} exported, {up} passed");
    // Our acknowledgements tell what is missing in options that the kernel does not count: at most 28 bytes of 52 (RFC 2018 §3).
    assert!(
        exported_down <= down && exported_down >= down / 80 * 52,
        "{exported_down} exported, {down} passed"
    );
    assert!(usage.has_lower_bounds(), "more than half a percent is missing, and the rows say so");
}

#[test]
fn t26_uploads_resets_and_refusals_are_never_over_counted() {
    let Some(edge) = Edge::new(|| Origin::answers(b"thanks")) else { return };
    for family in 0..2 {
        // An upload, ended by the subscriber.
        let mut stream = edge.connect(family);
        let head = format!("POST / HTTP/1.1\r\nHost: {LISTED}\r\nContent-Length: 3000000\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&vec![7; 3_000_000]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_end(&mut stream).unwrap(), b"thanks");
        drop(stream);
        // One that is given up in the middle.
        let mut stream = edge.connect(family);
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&[7; 100_000]).unwrap();
        assert!(support::eventually(|| edge.origin.visits() == 2 * (family + 1)));
        reset(stream);
        // One that is not carried.
        let mut stream = edge.connect(family);
        stream.write_all(format!("GET / HTTP/1.1\r\nHost: {UNLISTED}\r\n\r\n").as_bytes()).unwrap();
        assert!(read_to_end(&mut stream).unwrap().starts_with(b"HTTP/1.1 421 "));
    }
    let (usage, counted) = edge.compare();
    println!("exported {:?}, passed {counted:?}", usage.total());
    assert_close(usage.total(), counted);
    assert!(usage.charged("s1", "not_listed").1 > 0);
}

#[test]
fn f3_segments_without_the_timestamps_agreed_on_count_what_passed() {
    let Some(edge) = Edge::new(pages) else { return };
    let to = SocketAddrV4::new(GATEWAY[0].parse().unwrap(), 8_443);
    for port in [41_000, 41_001] {
        let from = SocketAddrV4::new(SUBSCRIBER[0].parse().unwrap(), port);
        let mut stream = RawStream::connect(&edge.link, from, to);
        let request = format!("GET /20000 HTTP/1.1\r\nHost: {LISTED}\r\nConnection: close\r\n\r\n");
        for (index, byte) in request.bytes().enumerate() {
            // None at all, or four words that say nothing: what has a length is counted by it.
            let options: &[u8] = if port == 41_001 && index % 3 == 0 { &[1; 16] } else { &[] };
            stream.write(options, &[byte]);
            if index % 5 == 0 {
                stream.reset_beside();
            }
        }
        stream.read_to_end();
        stream.finish();
        assert!(stream.received.len() > 20_000);
    }
    let (usage, counted) = edge.compare();
    println!("exported {:?}, passed {counted:?}", usage.total());
    assert_eq!(usage.exempt("s1"), counted);
}

#[test]
fn f60_connections_that_a_reset_ends_early_are_not_over_counted() {
    let Some(edge) = Edge::new(pages) else { return };
    for number in 0..200 {
        let mut stream = edge.connect(number % 2);
        let request = format!("GET /5000 HTTP/1.1\r\nHost: {LISTED}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        // Closed before the answer is there, which a bare reset meets.
        drop(stream);
        assert!(support::eventually(|| edge.origin.visits() == number + 1));
    }
    let (usage, counted) = edge.compare();
    let exported = usage.exempt("s1");
    println!("exported {exported:?}, passed {counted:?}");
    // What was on its way when a reset came may have passed, and nothing says so.
    assert!(exported.0 <= counted.0 && exported.1 <= counted.1);
    assert!(counted.0 - exported.0 <= counted.0 / 200 && counted.1 - exported.1 <= counted.1 / 20);
}

#[test]
fn b25_q14_a_download_of_1_gb_over_quic_is_exported_to_the_byte_that_passed() {
    for (family, address) in GATEWAY.iter().enumerate() {
        let Some(link) = Link::new() else { return };
        let (gateway, _origin, _resolver) = link.at_gateway(|| {
            let origin = QuicOrigin::new();
            let resolver = Resolver::new(&[(LISTED, [127, 0, 2, 1])]);
            let listener = SocketAddr::new(address.parse().unwrap(), 8_443);
            let setup = Setup::new()
                .listener(&format!("mode = \"steered\"\naddress = \"{listener}\"\n"))
                .resolver(resolver.address)
                .port_map(&[(443, origin.port())])
                .set("limits", "quic_idle_timeout = \"1 s\"");
            let table = format!("prefix,subscriber_type,subscriber_id\n{},account,s1\n", SUBSCRIBER[family]);
            setup.write("subscribers.csv", table);
            (setup.start(), origin, resolver)
        });
        link.at_subscriber(|| {
            let client = QuicClient::at(SocketAddr::new(SUBSCRIBER[family].parse().unwrap(), 0));
            let to = SocketAddr::new(address.parse().unwrap(), 8_443);
            let connection = client.connect(to, LISTED, PATIENCE).unwrap();
            client.fetch(&connection, 1_000_000_000);
            client.close(connection);
        });
        link.at_gateway(|| gateway.await_flows_closed());
        let counted = link.counted();
        let usage = link.at_gateway(|| gateway.stop_and_count());
        println!("{address}: exported {:?}, passed {counted:?}", usage.total());
        assert!(usage.conserved && counted.1 > 1_000_000_000);
        assert_eq!(usage.exempt("s1"), counted);
    }
}

#[test]
fn b25_t26_q14_quic_is_exported_to_the_byte_that_passed() {
    for (family, (streams, size)) in
        [(0, (1, 5_000)), (1, (1, 5_000)), (0, (10, 1 << 20)), (1, (10, 1 << 20))]
    {
        let Some(link) = Link::new() else { return };
        let runtime =
            link.at_gateway(|| tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap());
        let (gateway, certificate, _resolver) = link.at_gateway(|| {
            let (origin, certificate, _) = runtime.block_on(async { quic::server(&[LISTED], false) });
            let resolver = Resolver::new(&[(LISTED, [127, 0, 0, 1])]);
            let address = SocketAddr::new(GATEWAY[family].parse().unwrap(), 8_443);
            let setup = Setup::new()
                .listener(&format!("mode = \"steered\"\naddress = \"{address}\"\n"))
                .resolver(resolver.address)
                .port_map(&[(443, origin.port())])
                .set("limits", "quic_idle_timeout = \"1 s\"");
            let table = format!("prefix,subscriber_type,subscriber_id\n{},account,s1\n", SUBSCRIBER[family]);
            setup.write("subscribers.csv", table);
            (setup.start(), certificate, resolver)
        });
        link.at_subscriber(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let own = SocketAddr::new(SUBSCRIBER[family].parse().unwrap(), 0);
                let client = quic::client_at(own, &certificate, &[], 1);
                let to = SocketAddr::new(GATEWAY[family].parse().unwrap(), 8_443);
                let connection = client.connect(to, LISTED).unwrap().await.unwrap();
                for _ in 0..streams {
                    quic::echo_bytes(&connection, size).await;
                }
                connection.close(0_u32.into(), b"");
                client.wait_idle().await;
            });
        });
        link.at_gateway(|| gateway.await_flows_closed());
        let counted = link.counted();
        let usage = link.at_gateway(|| gateway.stop_and_count());
        assert!(usage.conserved && usage.rows.iter().all(|row| row["byte_basis"] == "ip"));
        assert!(counted.0 > (streams * size) as u64);
        // Without a gap, and by the default of the mode.
        assert_eq!(usage.exempt("s1"), counted, "{}", GATEWAY[family]);
        drop(runtime);
    }
}

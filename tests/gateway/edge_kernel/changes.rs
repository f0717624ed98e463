//! What changes while flows are open: sessions, lists, allowances, names.

use std::net::{SocketAddr, UdpSocket};

use rustix::process::Signal;
use support::client::finish;
use support::edge::{LISTED, origin, subscriber, telling_datagrams};
use support::hellos::Hello;
use support::link::SUBSCRIBER;
use support::quic::Initial;
use support::{LIST, PATIENCE, eventually, zone};

use super::{echo, echoes, edge, hello, with};

/// The address passes to somebody else: the open flow is nobody's from there on, and the next one his.
#[test]
fn b19_bytes_after_the_session_are_nobodys_and_the_next_flow_is_the_next_holders() {
    let Some(edge) = edge() else { return };
    let _origins = echoes(&edge);
    let mut stream = edge.connect(origin(0, 443));
    echo(&mut stream, &hello(LISTED));
    let exempt = "zrgw_bytes_total{direction=\"down\",class=\"exempt\",service=\"school\"}";
    assert!(eventually(|| edge.metric(exempt) > 0), "it is his");
    let table = format!(
        "prefix,subscriber_type,subscriber_id\n{}/32,account,s2\nfd77::/64,account,s2\n",
        SUBSCRIBER[0]
    );
    edge.gateway.setup().write("subscribers.csv", table);
    edge.gateway.reload();
    let ended = eventually(|| {
        echo(&mut stream, &[7; 1_000]);
        edge.metric("zrgw_bytes_total{direction=\"down\",class=\"unattributed\",service=\"\"}") > 0
    });
    assert!(ended, "{}", edge.gateway.log());
    finish(stream);
    let mut next = edge.connect(origin(0, 443));
    echo(&mut next, &hello(LISTED));
    finish(next);
    edge.await_flows_closed();
    let counted = edge.link.counted();
    let usage = edge.stop_and_count();
    assert_eq!(usage.total(), counted);
    assert!(usage.exempt("s1").0 > 0 && usage.exempt("s2").0 > 0);
    assert!(usage.sum(|row| row["reason"] == "session_ended").0 > 0);
}

/// A flow that the kernel knows and the gateway has not heard of when its address changes hands: nobody's, not the next holder's.
#[test]
fn b19_a_flow_that_began_before_its_holder_came_is_nobodys() {
    let Some(edge) = edge() else { return };
    let _origins = echoes(&edge);
    let mut stream = edge.connect(origin(0, 443));
    edge.gateway.signal(Signal::STOP);
    let mut before = edge.connect(origin(0, 443));
    echo(&mut before, &hello(LISTED));
    let table = format!(
        "prefix,subscriber_type,subscriber_id\n{}/32,account,s2\nfd77::/64,account,s2\n",
        SUBSCRIBER[0]
    );
    edge.gateway.setup().write("subscribers.csv", table);
    // The table is read first, and the ring of copies after that, or in the same moment.
    edge.gateway.signal(Signal::HUP);
    edge.gateway.signal(Signal::CONT);
    assert!(eventually(|| edge.gateway.log().matches("subscribers prefixes=").count() == 2));
    echo(&mut stream, &hello(LISTED));
    finish(before);
    finish(stream);
    edge.await_flows_closed();
    let exempt = || edge.metric("zrgw_bytes_total{direction=\"down\",class=\"exempt\",service=\"school\"}");
    let (first, mut flows) = (exempt(), 2);
    // One that begins in the moment in which he comes is nobody's too.
    let is_his = eventually(|| {
        let mut next = edge.connect(origin(0, 443));
        echo(&mut next, &hello(LISTED));
        finish(next);
        flows += 1;
        edge.await_flows_closed();
        exempt() > first
    });
    assert!(is_his, "{}", edge.gateway.log());
    let counted = edge.link.counted();
    let usage = edge.stop_and_count();
    assert_eq!(usage.total(), counted);
    // All flows are alike. Of the first two each byte is the first one's or nobody's.
    let his = usage.exempt("s2");
    assert!(his.1 > 0 && his.1 * 2 * flows < counted.1 * (2 * flows - 3), "{flows} {:#?}", usage.rows);
}

/// Another list comes into force: what passed before stays exempt, what follows is charged.
#[test]
fn t32_a_name_that_leaves_the_list_ends_what_is_exempt() {
    let Some(edge) = edge() else { return };
    let _origins = echoes(&edge);
    let mut stream = edge.connect(origin(0, 443));
    echo(&mut stream, &hello(LISTED));
    assert!(eventually(|| edge.metric("zrgw_flows_open") == 1));
    let list = LIST
        .replace("serial = 3", "serial = 4")
        .replace("host = \"listed.example\"", "host = \"gone.example\"");
    edge.gateway.setup().write("list.toml", list);
    edge.gateway.reload();
    assert!(eventually(|| {
        echo(&mut stream, &[7; 1_000]);
        edge.metric("zrgw_flows_judged_again_total") > 0
    }));
    for _ in 0..5 {
        echo(&mut stream, &[7; 1_000]);
    }
    finish(stream);
    edge.await_flows_closed();
    let counted = edge.link.counted();
    let usage = edge.stop_and_count();
    assert_eq!(usage.total(), counted);
    assert!(usage.exempt("s1").0 > 0 && usage.charged("s1", "not_listed").0 > 5_000, "{:?}", usage.rows);
}

/// What is left of an allowance ends inside the kernel, to the packet.
#[test]
fn t31_an_allowance_ends_to_the_byte_and_what_follows_is_charged() {
    let limited = |setup| zone::far_from_midnight(setup).set("allowance", "daily = \"100 KiB\"");
    let Some(edge) = with(limited) else { return };
    let _origins = echoes(&edge);
    let mut stream = edge.connect(origin(0, 443));
    echo(&mut stream, &hello(LISTED));
    for _ in 0..20 {
        echo(&mut stream, &[7; 10_000]);
    }
    finish(stream);
    edge.await_flows_closed();
    let counted = edge.link.counted();
    let usage = edge.stop_and_count();
    assert_eq!(usage.total(), counted);
    let (up, down) = usage.exempt("s1");
    assert_eq!(up + down, 100 << 10, "{:?}", usage.rows);
    assert!(usage.charged("s1", "cap_reached").1 > 100_000);
}

/// Another hello on the same ports, however late, overturns the name.
#[test]
fn k12_t16_a_second_name_over_quic_overturns_the_first() {
    let Some(edge) = with(|setup| setup.set("limits", "quic_idle_timeout = \"6 s\"")) else { return };
    edge.link.in_internet(|| telling_datagrams(origin(0, 443)));
    let socket = edge.link.at_subscriber(|| UdpSocket::bind(SocketAddr::new(subscriber(0), 0)).unwrap());
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let ask = |bytes: &[u8]| {
        socket.send_to(bytes, origin(0, 443)).unwrap();
        socket.recv(&mut [0; 2_000]).unwrap();
    };
    let first = Initial::of(&Hello::named(LISTED).message()).seal();
    ask(&first);
    let exempt = || edge.metric("zrgw_bytes_total{direction=\"up\",class=\"exempt\",service=\"school\"}");
    assert!(eventually(|| exempt() > 0), "{}", edge.gateway.log());
    for _ in 0..5 {
        ask(&[0x40; 500]);
    }
    ask(&Initial::of(&Hello::named("other.example").message()).to(b"another1").seal());
    assert!(eventually(|| {
        ask(&[0x40; 500]);
        edge.metric("zrgw_bytes_total{direction=\"up\",class=\"charged\",service=\"\"}") > 0
    }));
    for _ in 0..5 {
        ask(&[0x40; 500]);
    }
    edge.await_flows_closed();
    let counted = edge.link.counted();
    let usage = edge.stop_and_count();
    assert_eq!(usage.total(), counted);
    assert!(usage.exempt("s1").0 > 0 && usage.charged("s1", "second_name").0 > 2_500, "{:?}", usage.rows);
}

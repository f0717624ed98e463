//! Programs of others that ask many queries over one connection: they lose none of their answers.

use std::net::{Ipv4Addr, UdpSocket};

use support::ask::*;
use support::client::*;
use support::plane::*;
use support::unbound::Unbound;
use support::{PATIENCE, Setup, has};

/// `dnsperf` keeps a hundred queries under way on one connection, which has had its hundred again and again.
#[test]
fn f44_dnsperf_over_tcp_loses_no_query() {
    const NAMES: u32 = 3_000;
    if !has("dnsperf") {
        return;
    }
    let resolver = knows_every_name();
    let (gateway, address) = gateway(&[resolver.address], fast);
    let names: String = (0..NAMES).map(|number| format!("n{number}.listed.example A\n")).collect();
    gateway.setup().write("names", names);
    let output = std::process::Command::new("dnsperf")
        .args(["-s", &address.ip().to_string(), "-p", &address.port().to_string()])
        .args([
            "-a",
            &subscriber(1).to_string(),
            "-m",
            "tcp",
            "-c",
            "1",
            "-q",
            "100",
            "-n",
            "1",
            "-t",
            "20",
            "-d",
        ])
        .arg(gateway.setup().path("names"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains(&format!("Queries completed:    {NAMES} (100.00%)")), "{said}");
    gateway.stop();
}

/// A gateway that lets a source ask as fast as it likes.
fn fast(setup: Setup) -> Setup {
    setup.set("dns", "queries_per_second_max = 100000").set("dns", "burst_max = 100000")
}

/// Unbound as a subscriber's own resolver asks over connections that it keeps, with many queries on each.
#[test]
fn s_an_unbound_that_forwards_over_tcp_has_every_answer() {
    const NAMES: u16 = 3_000;
    const AT_ONCE: u16 = 50;
    if !has("unbound") {
        return;
    }
    let resolver = knows_every_name();
    let (gateway, address) = gateway(&[resolver.address], fast);
    let unbound = Unbound::start(&format!(
        "server:\n do-not-query-localhost: no\n module-config: \"iterator\"\n outgoing-interface: {}\n local-zone: \"example.\" nodefault\n\
         forward-zone:\n name: \".\"\n forward-addr: {}@{}\n forward-tcp-upstream: yes\n",
        subscriber(1),
        address.ip(),
        address.port()
    ));
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = [0; 4_096];
    let mut failed = Vec::new();
    for first in (0..NAMES).step_by(usize::from(AT_ONCE)) {
        for id in first..first + AT_ONCE {
            client.send_to(&query(id, &format!("n{id}.forwarded.kz"), A), unbound.address).unwrap();
        }
        for _ in 0..AT_ONCE {
            let length = client.recv(&mut buffer).expect("an answer");
            if !buffer[..length].windows(4).any(|bytes| bytes == [127, 0, 2, 1]) {
                failed.push(u16::from_be_bytes([buffer[0], buffer[1]]));
            }
        }
    }
    assert!(failed.is_empty(), "{} of {NAMES} failed: {failed:?}", failed.len());
    assert!(gateway.metric("zrgw_dns_queries_total{transport=\"tcp\"}") >= u64::from(NAMES));
    gateway.stop();
}

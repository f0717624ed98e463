//! The running gateway as a relay: who speaks first, half-closed and reset connections, changes of list in mid-flow, and
//! headers of a balancer, good and bad.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::SockRef;
use support::client::*;
use support::hellos::{self, Hello};
use support::origin::{self, Origin};
use support::world::World;
use support::{Gateway, LIST, eventually};

const LISTED: &str = "www.listed.example";

/// Waits until so many bytes are counted down as exempt for the service `school`.
fn await_exempt_down(gateway: &Gateway, bytes: u64) {
    let name = "zrgw_bytes_total{direction=\"down\",class=\"exempt\",service=\"school\"}";
    gateway.await_metric(name, bytes);
}

/// Sends `bytes` and reads them back.
fn exchange(client: &mut TcpStream, bytes: &[u8]) {
    client.write_all(bytes).unwrap();
    assert_eq!(read_exactly(client, bytes.len()), bytes);
}

#[test]
fn t9_i_t9_a_server_that_speaks_first_is_heard_at_once() {
    let origin = Origin::new(|mut visit| {
        visit.stream.write_all(b"220 mail.example ESMTP\r\n").unwrap();
        visit.read_to_end();
        visit.stream.write_all(b"221 bye\r\n").unwrap();
    });
    // A gateway that waited for the client's name would wait longer than the test does.
    let world = World::with(origin, |setup| setup.set("limits", "identify_deadline = \"10 min\""));
    let mut client = world.proxied(1);
    assert_eq!(read_exactly(&mut client, 24), b"220 mail.example ESMTP\r\n");
    client.write_all(b"QUIT\r\n").unwrap();
    assert_eq!(finish(client), b"221 bye\r\n");
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.charged("s1", "not_recognised"), (6, 33));
    assert_eq!(usage.total(), (6, 33));
}

#[test]
fn i_t9_either_side_may_finish_first() {
    let hello = Hello::named(LISTED).wire();
    let length = hello.len();
    // The origin finishes at once and goes on listening.
    let origin = Origin::new(|mut visit| {
        visit.stream.write_all(b"all I have").unwrap();
        visit.stream.shutdown(Shutdown::Write).unwrap();
        visit.read_to_end();
    });
    let world = World::new(origin);
    for mut client in [world.proxied(1), world.steered(2)] {
        client.write_all(&hello).unwrap();
        assert_eq!(read_to_end(&mut client).unwrap(), b"all I have");
        for _ in 0..10 {
            client.write_all(&[7; 10_000]).unwrap();
        }
        client.shutdown(Shutdown::Write).unwrap();
    }
    let all = length + 100_000;
    assert!(eventually(|| (0..2).all(|visit| world.origin.received(visit).len() == all)));
    let usage = world.gateway.stop_and_count();
    for subscriber in ["s1", "s2"] {
        assert_eq!(usage.exempt(subscriber), (all as u64, 10), "{subscriber}");
    }
    assert_eq!(usage.total(), (2 * all as u64, 20));
}

#[test]
fn t30_a_slow_reader_gets_every_byte_and_each_is_counted_once() {
    const SIZE: usize = 3_000_000;
    let world = World::new(origin::http(SocketAddr::from(([127, 0, 2, 1], 0))));
    let request = format!("GET /{SIZE} HTTP/1.1\r\nHost: {LISTED}\r\nConnection: close\r\n\r\n");
    let mut client = world.proxied_to(1, world.destination(80));
    client.write_all(request.as_bytes()).unwrap();
    let mut down = 0;
    let mut part = [0; 7_919];
    loop {
        let count = client.read(&mut part).unwrap();
        if count == 0 {
            break;
        }
        down += count as u64;
        if down.is_multiple_of(3) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    drop(client);
    assert!(down > SIZE as u64);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), (request.len() as u64, down));
    assert_eq!(usage.total(), (request.len() as u64, down));
}

#[test]
fn t30_after_a_reset_no_more_is_exported_than_was_acknowledged() {
    let origin = Origin::new(|mut visit| {
        visit.read();
        let block = [5; 65_536];
        while visit.stream.write_all(&block).is_ok() {}
    });
    let world = World::new(origin);
    let hello = Hello::named(LISTED).wire();
    let mut bounds = Vec::new();
    for (number, mut client) in [(1, world.proxied(1)), (2, world.steered(2))] {
        client.write_all(&hello).unwrap();
        let read = read_exactly(&mut client, 100_000).len() as u64;
        // Until the client's window is shut: what its kernel holds is what it has acknowledged.
        let mut queued = 0;
        eventually(|| {
            let before = std::mem::replace(&mut queued, rustix::io::ioctl_fionread(&client).unwrap());
            std::thread::sleep(Duration::from_millis(150));
            queued > 0 && queued == before
        });
        bounds.push((number, read, read + rustix::io::ioctl_fionread(&client).unwrap()));
        reset(client);
    }
    let usage = world.gateway.stop_and_count();
    for (number, least, most) in bounds {
        let (up, down) = usage.exempt(&format!("s{number}"));
        assert_eq!(up, hello.len() as u64);
        assert!(least <= down && down <= most, "s{number}: {least} <= {down} <= {most}");
    }
    assert_eq!(usage.total(), usage.sum(|row| row["class"] == "exempt"));
}

#[test]
fn t30_an_origin_that_resets_is_reset_to_the_client() {
    let origin = Origin::new(|mut visit| {
        visit.read();
        visit.stream.write_all(&[5; 50_000]).unwrap();
        // The client says when it has everything.
        visit.read();
        reset(visit.stream);
    });
    let world = World::new(origin);
    let hello = Hello::named(LISTED).wire();
    let mut client = world.proxied(1);
    client.write_all(&hello).unwrap();
    assert_eq!(read_exactly(&mut client, 50_000), [5; 50_000]);
    client.write_all(b"x").unwrap();
    let error = client.read(&mut [0; 10]).expect_err("a reset, not a FIN");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.of("s1"), (hello.len() as u64 + 1, 50_000));
    assert_eq!(usage.exempt("s1"), usage.of("s1"));
}

#[test]
fn t30_what_an_origin_sent_before_it_refused_an_upload_still_arrives() {
    const ANSWER: usize = 300_000;
    // It answers and closes with unread bytes in its queue, which resets the upload.
    let origin = Origin::new(|mut visit| {
        visit.read();
        visit.stream.write_all(&[b'n'; ANSWER]).unwrap();
        // Until the answer is with the gateway and more of the upload is here.
        let mut queued = 0;
        eventually(|| {
            std::thread::sleep(Duration::from_millis(200));
            let before = std::mem::replace(&mut queued, rustix::io::ioctl_fionread(&visit.stream).unwrap());
            queued > 0 && queued == before
        });
    });
    let world = World::new(origin);
    for number in 1..=2 {
        let mut client = if number % 2 == 0 { world.proxied(number) } else { world.steered(number) };
        // A small window: most of the answer is still with the gateway when the origin's reset comes.
        SockRef::from(&client).set_recv_buffer_size(32_768).unwrap();
        client.write_all(&Hello::named(LISTED).wire()).unwrap();
        let mut upload = client.try_clone().unwrap();
        let uploading = std::thread::spawn(move || while upload.write_all(&[b'u'; 65_536]).is_ok() {});
        assert!(eventually(|| world.origin.received(usize::from(number) - 1).len() > 100));
        std::thread::sleep(Duration::from_secs(1));
        let mut refusal = Vec::<u8>::new();
        let mut part = [0; 4_096];
        while let Ok(count @ 1..) = client.read(&mut part) {
            refusal.extend(&part[..count]);
        }
        uploading.join().unwrap();
        assert_eq!(refusal.len(), ANSWER, "s{number}");
    }
    let usage = world.gateway.stop_and_count();
    for number in 1..=2 {
        assert_eq!(usage.of(&format!("s{number}")).1, ANSWER as u64, "s{number}");
    }
}

#[test]
fn t32_b24_a_list_that_changes_in_mid_flow_splits_the_bytes() {
    let world = World::new(Origin::echo());
    let hello = [Hello::named(LISTED).wire(), hellos::record(23, &[1; 50])].concat();
    let length = hello.len() as u64;
    let (mut proxied, mut steered) = (world.proxied(1), world.steered(2));
    exchange(&mut proxied, &hello);
    exchange(&mut steered, &hello);
    await_exempt_down(&world.gateway, 2 * length);
    // Serial 4: the same rules. Serial 5: the school is gone, though steered flows are still carried.
    let renewed =
        LIST.replace("serial = 3", "serial = 4").replace("issued = 2020-04-04", "issued = 2020-04-05");
    world.gateway.setup().write("list.toml", &renewed);
    world.gateway.reload();
    world.gateway.await_metric("zrgw_list_serial", 4);
    exchange_after_change(&mut proxied, &mut steered, 1_000);
    await_exempt_down(&world.gateway, 2 * (length + 1_000));
    let without = renewed
        .replace("serial = 4", "serial = 5")
        .replace("host = \"listed.example\"", "host = \"moved.example\"");
    world.gateway.setup().write("list.toml", without.replace("ads.listed", "ads.moved"));
    world.gateway.reload();
    world.gateway.await_metric("zrgw_list_serial", 5);
    exchange_after_change(&mut proxied, &mut steered, 2_000);
    assert_eq!(finish(proxied), b"");
    assert_eq!(finish(steered), b"");
    // A new steered flow of the name that was taken off is carried too: its address is still in caches (decision 4).
    let mut late = world.steered(3);
    late.write_all(&hello).unwrap();
    assert_eq!(finish(late), hello);
    let usage = world.gateway.stop_and_count();
    for subscriber in ["s1", "s2"] {
        let of = |serial: &str| {
            usage.sum(|row| row["subscriber_id"] == subscriber && row["list_serial"] == serial)
        };
        assert_eq!(of("3"), (length, length), "{subscriber} {usage:?}");
        assert_eq!(of("4"), (1_000, 1_000), "{subscriber} {usage:?}");
        assert_eq!(of("5"), (2_000, 2_000), "{subscriber} {usage:?}");
        assert_eq!(usage.exempt(subscriber), (length + 1_000, length + 1_000), "{subscriber}");
        assert_eq!(usage.charged(subscriber, "not_listed"), (2_000, 2_000), "{subscriber}");
    }
    assert_eq!(usage.charged("s3", "not_listed"), (length, length));
    let flags = |subscriber: &str| -> Vec<_> {
        let rows =
            usage.rows.iter().filter(|row| row["subscriber_id"] == subscriber && row["class"] == "charged");
        rows.map(|row| row["flags"].clone()).collect()
    };
    assert_eq!(flags("s1"), [""]);
    assert_eq!(flags("s2"), ["free_in_core"]);
    assert_eq!(flags("s3"), ["free_in_core"]);
}

/// Both flows exchange `size` bytes once the workers have judged them by the new list.
fn exchange_after_change(proxied: &mut TcpStream, steered: &mut TcpStream, size: usize) {
    // Open flows are judged again at the worker's next look at the policy, a tenth of a second away; nothing outside
    // tells when, and ten times that is enough.
    std::thread::sleep(Duration::from_secs(1));
    exchange(proxied, &vec![6; size]);
    exchange(steered, &vec![6; size]);
}

#[test]
fn t32_a_rule_that_ends_in_mid_flow_splits_the_bytes() {
    let world = World::with(Origin::echo(), |setup| {
        let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(3);
        let list = LIST.replace("scope = \"subtree\"", &format!("scope = \"subtree\"\nto = {end:.0}"));
        setup.write("list.toml", list);
        setup
    });
    // Application data ends the watch for a second hello, and with it the time without a verdict.
    let hello = [Hello::named(LISTED).wire(), hellos::record(23, &[1; 50])].concat();
    let length = hello.len() as u64;
    let mut client = world.proxied(1);
    exchange(&mut client, &hello);
    await_exempt_down(&world.gateway, length);
    let charged = "zrgw_bytes_total{direction=\"down\",class=\"charged\",service=\"\"}";
    let mut sent = length;
    let ended = eventually(|| {
        exchange(&mut client, &[6; 100]);
        sent += 100;
        std::thread::sleep(Duration::from_millis(50));
        world.gateway.metric(charged) > 0
    });
    assert!(ended);
    exchange(&mut client, &[6; 100]);
    sent += 100;
    assert_eq!(finish(client), b"");
    let usage = world.gateway.stop_and_count();
    let (exempt, _) = usage.exempt("s1");
    let (after, _) = usage.charged("s1", "rule_not_in_force");
    assert!(exempt >= length && after >= 100, "{exempt} {after}");
    assert_eq!(exempt + after, sent);
    assert_eq!(usage.total(), (sent, sent));
}

#[test]
fn t29_more_than_four_gibibytes_in_one_flow() {
    const SIZE: u64 = (1 << 32) + 1_000_000;
    let world = World::new(origin::http(SocketAddr::from(([127, 0, 2, 1], 0))));
    let request = format!("GET /{SIZE} HTTP/1.1\r\nHost: {LISTED}\r\nConnection: close\r\n\r\n");
    let mut client = world.proxied_to(1, world.destination(80));
    client.write_all(request.as_bytes()).unwrap();
    let mut part = vec![0; 1 << 20];
    let mut down = 0;
    loop {
        let count = client.read(&mut part).unwrap();
        if count == 0 {
            break;
        }
        down += count as u64;
    }
    drop(client);
    assert!(down > SIZE);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), (request.len() as u64, down));
}

#[test]
fn t10_proxy_headers_from_strangers_and_unfinished_ones_are_refused() {
    let world = World::with(Origin::echo(), |setup| {
        setup
            .listener("mode = \"proxy_protocol\"\naddress = \"127.0.0.1:0\"\npeers = [\"127.0.9.0/24\"]\n")
            .set("limits", "proxy_header_deadline = \"300 ms\"")
    });
    let refused = "zrgw_refused_total{reason=\"proxy_header\"}";
    let header = proxy_v2(proxied_subscriber(1), world.destination(443));
    // A stranger with a perfect header.
    if let Ok(mut client) = try_connect_from(subscriber(1), world.gateway.listener(2)) {
        let _ = client.write_all(&header);
        assert!(read_to_end(&mut client).map_or(true, |bytes| bytes.is_empty()));
    }
    world.gateway.await_metric(refused, 1);
    // The right peer of the same listener is carried.
    let mut client = connect_from([127, 0, 9, 3].into(), world.gateway.listener(2));
    client.write_all(&header).unwrap();
    exchange(&mut client, b"carried");
    assert_eq!(finish(client), b"");
    // Missing; unfinished; a length that promises 65,535 bytes; garbage behind the signature.
    let mut long = header[..14].to_vec();
    long.extend([0xff, 0xff]);
    long.extend([0; 4_000]);
    let bad: [&[u8]; 4] = [
        &Hello::named(LISTED).wire(),
        &header[..header.len() - 1],
        &long,
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\x00\x0c",
    ];
    for (count, bytes) in bad.iter().enumerate() {
        let mut client = connect_from([127, 0, 0, 1].into(), world.gateway.listener(1));
        let _ = client.write_all(bytes);
        assert!(read_to_end(&mut client).map_or(true, |bytes| bytes.is_empty()));
        world.gateway.await_metric(refused, 2 + count as u64);
    }
    // A header at a steered listener is no name: never believed, never exempt.
    let mut client = world.steered(5);
    client.write_all(&header).unwrap();
    client.write_all(&Hello::named(LISTED).wire()).unwrap();
    let _ = read_to_end(&mut client);
    drop(client);
    assert_eq!(world.origin.visits(), 1);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.of("s1"), (7, 7));
    assert_eq!(usage.exempt("s5"), (0, 0));
}

#[test]
fn proxy_header_in_one_byte_segments_with_the_hello_right_behind_it() {
    let world = World::new(Origin::answers(b"served"));
    let hello = Hello::named(LISTED).wire();
    for (visit, header) in [
        (0, proxy_v1(proxied_subscriber(1), world.destination(443))),
        (1, proxy_v2(proxied_subscriber(2), world.destination(443))),
    ] {
        let mut client = connect_from([127, 0, 0, 1].into(), world.gateway.listener(1));
        write_bytewise(&mut client, &header[..header.len() - 1]);
        client.write_all(&[&header[header.len() - 1..], &hello].concat()).unwrap();
        assert_eq!(finish(client), b"served");
        assert_eq!(world.origin.received(visit), hello);
    }
    let usage = world.gateway.stop_and_count();
    for subscriber in ["s1", "s2"] {
        assert_eq!(usage.exempt(subscriber), (hello.len() as u64, 6), "{subscriber}");
    }
}

#[test]
fn t36_one_subscriber_over_both_ip_versions_is_rated_alike() {
    let over_v4 = Origin::answers(b"served");
    let over_v6 = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, over_v4.port()));
    let over_v6 = Origin::at(over_v6, |mut visit| {
        visit.read_to_end();
        visit.stream.write_all(b"served").unwrap();
    });
    let world = World::with(over_v4, |setup| {
        setup.write(
            "subscribers.csv",
            "prefix,subscriber_type,subscriber_id\n10.7.0.1/32,account,both\n2001:db8:0:1::/64,account,both\n::1/128,account,both\n",
        );
        setup
            .listener("mode = \"steered\"\naddress = \"[::1]:0\"\n")
            .listener("mode = \"proxy_protocol\"\naddress = \"[::1]:0\"\n")
            .raw(&format!("[[trusted_answers.static]]\nname = \"{LISTED}\"\naddresses = [\"::1\"]\n"))
    });
    let hello = Hello::named(LISTED).wire();
    let mut clients = vec![world.proxied(1), TcpStream::connect(world.gateway.listener(2)).unwrap()];
    for privacy_address in
        ["[2001:db8:0:1::5]:40000", "[2001:db8:0:1:8000::7]:40001", "[2001:db8:0:2::1]:40000"]
    {
        let mut client = TcpStream::connect(world.gateway.listener(3)).unwrap();
        let destination = SocketAddr::new(over_v6.address.ip(), 443);
        client.write_all(&proxy_v1(privacy_address.parse().unwrap(), destination)).unwrap();
        clients.push(client);
    }
    for mut client in clients {
        client.write_all(&hello).unwrap();
        assert_eq!(finish(client), b"served");
    }
    assert_eq!(over_v6.visits(), 3);
    let usage = world.gateway.stop_and_count();
    let length = hello.len() as u64;
    assert_eq!(usage.exempt("both"), (4 * length, 24));
    assert_eq!(usage.of("both"), usage.exempt("both"));
    // The neighbour's /64 is nobody's here.
    assert_eq!(usage.unattributed("no_subscriber"), (length, 6));
}

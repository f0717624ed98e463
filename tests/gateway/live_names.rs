//! The running gateway and the names in flows: any cutting, no name, two names, forged names; what was carried arrives
//! byte-identical and what is exported of it is exact.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

use std::io::Write;
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use support::client::*;
use support::dns::Resolver;
use support::hellos::{self, Hello};
use support::origin::{self, Origin};
use support::world::World;
use support::{Setup, free_port};

const LISTED: &str = "www.listed.example";

/// Bytes of a slice as they are exported.
fn size(bytes: &[u8]) -> u64 {
    bytes.len() as u64
}

/// An HTTP request for a host.
fn get(host: &str, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes()
}

#[test]
fn t1_hello_in_one_byte_segments_steered_and_proxied() {
    let world = World::new(Origin::answers(b"served"));
    let hello = Hello::post_quantum(LISTED).wire();
    let mut steered = world.steered(1);
    write_bytewise(&mut steered, &hello);
    assert_eq!(finish(steered), b"served");
    let mut proxied = world.proxied(2);
    write_bytewise(&mut proxied, &hello);
    assert_eq!(finish(proxied), b"served");
    assert_eq!(world.origin.received(0), hello);
    assert_eq!(world.origin.received(1), hello);
    let usage = world.gateway.stop_and_count();
    for subscriber in ["s1", "s2"] {
        assert_eq!(usage.exempt_for(subscriber, "school"), (size(&hello), 6), "{subscriber}");
        assert_eq!(usage.of(subscriber), usage.exempt(subscriber), "{subscriber}");
    }
}

#[test]
fn t2_hello_over_several_records() {
    let world = World::new(Origin::answers(b"served"));
    let message = Hello::post_quantum(LISTED).message();
    let name = message.windows(6).position(|window| window == b"listed").unwrap();
    let cuttings = [
        hellos::records(&message, 1),
        hellos::records(&message, 100),
        hellos::records_cut_at(&message, &[1]),
        hellos::records_cut_at(&message, &[4]),
        hellos::records_cut_at(&message, &[name + 3]),
        hellos::records_cut_at(&message, &[name - 9, name, name + 1, name + 6]),
    ];
    let mut sent = 0;
    for (number, hello) in cuttings.iter().enumerate() {
        let mut client = if number % 2 == 0 { world.steered(1) } else { world.proxied(1) };
        client.write_all(hello).unwrap();
        assert_eq!(finish(client), b"served");
        assert_eq!(world.origin.received(number), *hello);
        sent += size(hello);
    }
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), (sent, 6 * cuttings.len() as u64));
    assert_eq!(usage.total(), usage.exempt("s1"));
}

#[test]
fn t4_hello_that_is_never_completed_is_forwarded_and_charged_timeout() {
    let world = World::with(Origin::echo(), |setup| setup.set("limits", "identify_deadline = \"300 ms\""));
    let hello = Hello::named(LISTED).wire();
    let half = &hello[..hello.len() / 2];
    let mut client = world.proxied(1);
    client.write_all(half).unwrap();
    // I-T4: what is there is passed on before the hello is complete.
    assert_eq!(read_exactly(&mut client, half.len()), half);
    // Whoever waits longer than the deadline is carried on, now with a verdict.
    world.gateway.await_metric("zrgw_flows_total{protocol=\"tls\",class=\"charged\",reason=\"timeout\"}", 1);
    client.write_all(&hello[half.len()..]).unwrap();
    assert_eq!(finish(client), hello[half.len()..]);
    // Not a byte at all.
    let silent = world.proxied(2);
    world.gateway.await_metric("zrgw_flows_total{protocol=\"tcp\",class=\"charged\",reason=\"timeout\"}", 1);
    assert_eq!(finish(silent), b"");
    // Steered, nobody knows where to: it ends, and what was sent is charged but free in the core.
    let mut steered = world.steered(3);
    steered.write_all(half).unwrap();
    let answer = read_to_end(&mut steered).unwrap();
    assert!(answer.starts_with(&[21, 3]), "an alert, not {answer:?}");
    drop(steered);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.charged("s1", "timeout"), (size(&hello), size(&hello)));
    assert_eq!(usage.of("s2"), (0, 0));
    assert_eq!(usage.charged("s3", "timeout"), (size(half), size(&answer)));
    let row = usage.rows.iter().find(|row| row["subscriber_id"] == "s3").unwrap();
    assert_eq!(row["flags"], "free_in_core");
}

#[test]
fn t4_hello_at_the_limit_is_exempt_and_one_over_it_is_oversize() {
    let world = World::new(Origin::answers(b"served"));
    let fits = hellos::records(&Hello::named(LISTED).padded_to(16_384).message(), 16_384);
    let over = hellos::records(&Hello::named(LISTED).padded_to(16_385).message(), 16_384);
    for (number, hello) in [&fits, &over].into_iter().enumerate() {
        let mut client = world.proxied(1 + number as u8);
        client.write_all(hello).unwrap();
        assert_eq!(finish(client), b"served");
        assert_eq!(world.origin.received(number), **hello);
    }
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), (size(&fits), 6));
    assert_eq!(usage.charged("s2", "oversize"), (size(&over), 6));
    assert_eq!(usage.exempt("s2"), (0, 0));
}

#[test]
fn t5_second_hello_with_another_name_is_not_exempt() {
    let world = World::new(Origin::answers(b"served"));
    let mut stream = Hello::named(LISTED).wire();
    stream.extend(hellos::change_cipher_spec());
    stream.extend(Hello::named("vpn.example").wire());
    for (number, mut client) in [world.proxied(1), world.steered(2)].into_iter().enumerate() {
        client.write_all(&stream).unwrap();
        assert_eq!(finish(client), b"served");
        assert_eq!(world.origin.received(number), stream);
    }
    // The same name again, as after a real HelloRetryRequest.
    let mut honest = Hello::named(LISTED).wire();
    honest.extend(hellos::change_cipher_spec());
    honest.extend(Hello::named(LISTED).wire());
    let mut client = world.proxied(3);
    client.write_all(&honest).unwrap();
    assert_eq!(finish(client), b"served");
    let usage = world.gateway.stop_and_count();
    for subscriber in ["s1", "s2"] {
        assert_eq!(usage.exempt(subscriber), (0, 0), "{subscriber}");
        assert_eq!(usage.charged(subscriber, "second_name"), (size(&stream), 6), "{subscriber}");
    }
    assert_eq!(usage.exempt("s3"), (size(&honest), 6));
}

#[test]
fn t7_grease_says_nothing_and_a_cover_name_is_no_name() {
    let world = World::new(Origin::answers(b"served"));
    world.resolver.add("cloudflare-ech.com", world.origin.octets());
    let grease = Hello::named(LISTED).with(hellos::ECH, hellos::grease_ech(7)).wire();
    let cover = Hello::named("cloudflare-ech.com").with(hellos::ECH, hellos::grease_ech(7)).wire();
    for (number, hello) in [(1, &grease), (2, &cover)] {
        let mut client = world.proxied(number);
        client.write_all(hello).unwrap();
        assert_eq!(finish(client), b"served");
    }
    let mut client = world.steered(3);
    client.write_all(&cover).unwrap();
    assert_eq!(read_to_end(&mut client).unwrap(), [21, 3, 3, 0, 2, 2, 112], "alert unrecognized_name");
    drop(client);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), (size(&grease), 6));
    assert_eq!(usage.charged("s2", "hidden_name"), (size(&cover), 6));
    assert_eq!(usage.exempt("s3"), (0, 0));
}

#[test]
fn t8_no_name_sslv2_and_other_protocols_on_443_are_forwarded_and_charged() {
    let origin = Origin::answers(b"served");
    let octets = origin.octets();
    let world = World::with(origin, |setup| {
        let [a, b, c, d] = octets;
        setup.raw(&format!(
            "[[trusted_answers.static]]\nname = \"{LISTED}\"\naddresses = [\"{a}.{b}.{c}.{d}\"]\n"
        ))
    });
    let no_name = Hello::bare().modern().wire();
    // SSLv2-compatible CLIENT-HELLO (RFC 5246 appendix E.2): two bytes of length, type 1, version 3.1.
    let sslv2 = [&[0x80, 0x2e, 1, 3, 1, 0, 21, 0, 0, 0, 16][..], &[5; 37][..]].concat();
    let ssh = b"SSH-2.0-OpenSSH_9.9\r\n".to_vec();
    let zeroes = vec![0; 5_000];
    let streams = [no_name, sslv2, ssh, zeroes];
    for (number, stream) in streams.iter().enumerate() {
        let mut client = world.proxied(1 + number as u8);
        client.write_all(stream).unwrap();
        assert_eq!(finish(client), b"served");
        assert_eq!(world.origin.received(number), *stream);
    }
    let usage = world.gateway.stop_and_count();
    let reasons = ["no_name", "not_recognised", "not_recognised", "not_recognised"];
    for (number, (stream, reason)) in streams.iter().zip(reasons).enumerate() {
        let subscriber = format!("s{}", number + 1);
        assert_eq!(usage.charged(&subscriber, reason), (size(stream), 6), "{subscriber} {usage:?}");
        assert_eq!(usage.exempt(&subscriber), (0, 0));
    }
}

#[test]
fn t10_the_original_destination_is_dialled_never_the_names() {
    let world = World::new(Origin::answers(b"the name's own"));
    let foreign = SocketAddr::from(([127, 0, 2, 9], world.origin.port()));
    let foreign = Origin::at(foreign, |mut visit| {
        visit.read_to_end();
        visit.stream.write_all(b"foreign").unwrap();
    });
    let hello = Hello::named(LISTED).wire();
    let mut client = world.proxied_to(1, SocketAddr::new(foreign.address.ip(), 443));
    client.write_all(&hello).unwrap();
    assert_eq!(finish(client), b"foreign");
    assert_eq!(foreign.received(0), hello);
    assert_eq!(world.origin.visits(), 0);
    // T23, CheckSni: the listed name is a claim; the address was not among its trusted answers: exactly nothing exempt.
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), (0, 0));
    assert_eq!(usage.charged("s1", "address_mismatch"), (size(&hello), 7));
}

#[test]
fn t23_a_steered_flow_with_a_forged_name_reaches_the_names_own_origin_only() {
    let world = World::new(Origin::answers(b"school"));
    let foreign = SocketAddr::from(([127, 0, 2, 9], world.origin.port()));
    let foreign = Origin::at(foreign, origin::echo);
    let mut client = world.steered(1);
    client.write_all(&Hello::named(LISTED).wire()).unwrap();
    assert_eq!(finish(client), b"school");
    // An unlisted name whose address the attacker's own DNS pointed at us is refused, not carried.
    for name in ["vpn.example", "notlisted.example", "www.listed.example.vpn.example"] {
        world.resolver.add(name, foreign.octets());
        let mut client = world.steered(2);
        client.write_all(&Hello::named(name).wire()).unwrap();
        assert_eq!(read_to_end(&mut client).unwrap(), [21, 3, 3, 0, 2, 2, 112], "{name}");
        assert_eq!(world.resolver.asked(name), 0, "{name}");
    }
    let mut client = world.steered(2);
    client.write_all(&get("vpn.example", "/")).unwrap();
    let answer = read_to_end(&mut client).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 421 "), "{}", String::from_utf8_lossy(&answer));
    world.gateway.await_metric("zrgw_refused_total{reason=\"not_routed\"}", 4);
    assert_eq!(foreign.visits(), 0);
    drop(client);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt("s2"), (0, 0));
}

#[test]
fn t23_a_listed_sites_address_with_another_name_is_charged() {
    let world = World::new(Origin::answers(b"served"));
    let mut first = world.proxied(1);
    first.write_all(&Hello::named(LISTED).wire()).unwrap();
    finish(first);
    let hello = Hello::named("example.com").wire();
    let mut client = world.proxied(2);
    client.write_all(&hello).unwrap();
    assert_eq!(finish(client), b"served");
    let denied = Hello::named("ads.listed.example").wire();
    let mut client = world.proxied(3);
    client.write_all(&denied).unwrap();
    assert_eq!(finish(client), b"served");
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.charged("s2", "not_listed"), (size(&hello), 6));
    assert_eq!(usage.charged("s3", "denied"), (size(&denied), 6));
    assert_eq!(usage.exempt("s2"), (0, 0));
    assert_eq!(usage.exempt("s3"), (0, 0));
}

#[test]
fn t10_own_private_and_unspecified_addresses_are_not_dialled_and_nothing_loops() {
    let resolver = Resolver::new(&[(LISTED, [10, 0, 0, 1]), ("other-listed.example", [127, 0, 0, 1])]);
    let gateway = Setup::new()
        .steered()
        .proxied()
        .resolver(resolver.address)
        .set("upstream", "allow_private = false")
        .start();
    let own = [gateway.listener(0), gateway.listener(1), gateway.admin()];
    let private = ["10.0.0.1:443", "127.0.0.1:22", "169.254.169.254:80", "100.64.0.1:443", "0.0.0.0:80"];
    let places: Vec<SocketAddr> =
        own.into_iter().chain(private.iter().map(|text| text.parse().unwrap())).collect();
    for (count, place) in places.iter().enumerate() {
        let mut client = connect_proxied(1, gateway.listener(1), *place);
        assert!(read_to_end(&mut client).map_or(true, |bytes| bytes.is_empty()), "{place}");
        gateway.await_metric("zrgw_refused_total{reason=\"destination\"}", 1 + count as u64);
    }
    // A listed name that resolves into private space or to ourselves (SSRF): told in the client's protocol.
    for name in [LISTED, "other-listed.example"] {
        let mut client = connect_from(subscriber(2), gateway.listener(0));
        client.write_all(&Hello::named(name).wire()).unwrap();
        assert_eq!(
            read_to_end(&mut client).unwrap(),
            [21, 3, 3, 0, 2, 2, 80],
            "alert internal_error: {name}"
        );
        let mut client = connect_from(subscriber(2), gateway.listener(0));
        client.write_all(&get(name, "/")).unwrap();
        assert!(read_to_end(&mut client).unwrap().starts_with(b"HTTP/1.1 502 "), "{name}");
    }
    assert_eq!(gateway.metric("zrgw_trusted_answers"), 0);
    let usage = gateway.stop_and_count();
    assert_eq!(usage.of("s1"), (0, 0));
    assert_eq!(usage.exempt("s2"), (0, 0));
}

#[test]
fn t10_a_name_that_leads_to_our_own_listener_does_not_loop_even_in_a_laboratory() {
    let port = free_port();
    let resolver = Resolver::new(&[(LISTED, [127, 0, 0, 1])]);
    let gateway = Setup::new()
        .listener(&format!("mode = \"steered\"\naddress = \"0.0.0.0:{port}\"\n"))
        .resolver(resolver.address)
        .port_map(&[(443, port)])
        .start();
    let mut client = connect_from(subscriber(1), SocketAddr::from(([127, 0, 0, 1], port)));
    client.write_all(&Hello::named(LISTED).wire()).unwrap();
    assert_eq!(read_to_end(&mut client).unwrap(), [21, 3, 3, 0, 2, 2, 80], "alert internal_error");
    gateway.await_metric("zrgw_refused_total{reason=\"destination\"}", 1);
    drop(client);
    assert_eq!(gateway.stop_and_count().exempt("s1"), (0, 0));
}

#[test]
fn t11_the_same_ports_again_with_another_name_get_a_fresh_verdict() {
    let world = World::new(Origin::echo());
    let mut port = 0;
    let mut sizes = Vec::new();
    for name in [LISTED, "unlisted.example", LISTED] {
        let mut client = connect_from_port(subscriber(1), port, world.gateway.listener(1));
        port = client.local_addr().unwrap().port();
        client.write_all(&proxy_v2(proxied_subscriber(1), world.destination(443))).unwrap();
        let hello = Hello::named(name).wire();
        client.write_all(&hello).unwrap();
        assert_eq!(read_exactly(&mut client, hello.len()), hello);
        sizes.push(size(&hello));
        // Both FINs would leave the ports in TIME-WAIT; the acknowledged bytes count all the same.
        world.gateway.await_metric("zrgw_flows_open", 1);
        reset(client);
        world.gateway.await_flows_closed();
    }
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), (sizes[0] + sizes[2], sizes[0] + sizes[2]));
    assert_eq!(usage.charged("s1", "not_listed"), (sizes[1], sizes[1]));
}

#[test]
fn t25_h2_keep_alive_stays_with_the_first_host() {
    let origin = origin::http(SocketAddr::from(([127, 0, 2, 1], 0)));
    let world = World::new(origin);
    let other = get("unlisted.example", "/500");
    let mut expected = Vec::new();
    for (number, first) in [(1, get(LISTED, "/1000")), (2, get("unlisted.example", "/1000"))] {
        let mut client = world.proxied_to(number, world.destination(80));
        let mut down = 0;
        for (request, body) in [(&first, 1_000), (&get(LISTED, "/700"), 700), (&other, 500)] {
            client.write_all(request).unwrap();
            down += read_page(&mut client, body);
        }
        assert_eq!(finish(client), b"");
        expected.push((size(&first) + size(&get(LISTED, "/700")) + size(&other), down as u64));
    }
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), expected[0]);
    assert_eq!(usage.of("s1"), expected[0]);
    assert_eq!(usage.charged("s2", "not_listed"), expected[1]);
    assert_eq!(usage.of("s2"), expected[1]);
}

#[test]
fn t25_two_hosts_another_target_and_connect_are_never_exempt() {
    let world = World::new(Origin::answers(b"served"));
    let requests = [
        (format!("GET / HTTP/1.1\r\nHost: {LISTED}\r\nHost: vpn.example\r\n\r\n"), "ambiguous"),
        (format!("GET http://vpn.example/ HTTP/1.1\r\nHost: {LISTED}\r\n\r\n"), "ambiguous"),
        (format!("CONNECT {LISTED}:443 HTTP/1.1\r\nHost: {LISTED}\r\n\r\n"), "not_recognised"),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), "no_name"),
        ("GET / HTTP/1.0\r\n\r\n".to_owned(), "no_name"),
    ];
    for (number, (request, _)) in requests.iter().enumerate() {
        let mut client = world.proxied_to(1 + number as u8, world.destination(80));
        client.write_all(request.as_bytes()).unwrap();
        assert_eq!(finish(client), b"served");
        assert_eq!(world.origin.received(number), request.as_bytes(), "byte-identical");
    }
    let usage = world.gateway.stop_and_count();
    for (number, (request, reason)) in requests.iter().enumerate() {
        let subscriber = format!("s{}", number + 1);
        assert_eq!(usage.exempt(&subscriber), (0, 0), "{request}");
        assert_eq!(
            usage.charged(&subscriber, reason),
            (size(request.as_bytes()), 6),
            "{request} {:?}",
            usage.reasons(&subscriber)
        );
    }
}

#[test]
fn t37_an_unknown_subscriber_is_carried_and_unattributed() {
    let world = World::new(Origin::answers(b"served"));
    let hello = Hello::named(LISTED).wire();
    let mut client = connect_from([127, 0, 1, 77].into(), world.gateway.listener(0));
    client.write_all(&hello).unwrap();
    assert_eq!(finish(client), b"served");
    let mut client = connect_from([127, 0, 0, 1].into(), world.gateway.listener(1));
    let source = SocketAddr::from(([10, 7, 0, 77], 1));
    client.write_all(&proxy_v1(source, world.destination(443))).unwrap();
    client.write_all(&hello).unwrap();
    assert_eq!(finish(client), b"served");
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.unattributed("no_subscriber"), (2 * size(&hello), 12));
    assert_eq!(usage.total(), (2 * size(&hello), 12));
    let row = usage.rows.iter().find(|row| row["class"] == "unattributed").unwrap();
    assert_eq!((&*row["subscriber_type"], &*row["subscriber_id"]), ("none", ""));
}

#[test]
fn v1_a_look_up_makes_pending_bytes_exempt_and_never_delays_them() {
    let world = World::new(Origin::echo());
    world.resolver.set_delay(Duration::from_millis(800));
    let hello = Hello::named(LISTED).wire();
    let mut client = world.proxied(1);
    client.write_all(&hello).unwrap();
    assert_eq!(read_exactly(&mut client, hello.len()), hello);
    let data = hellos::record(23, &[9; 5_000]);
    client.write_all(&data).unwrap();
    assert_eq!(read_exactly(&mut client, data.len()), data);
    assert_eq!(
        world.gateway.metric("zrgw_lookups_total{outcome=\"answered\"}"),
        0,
        "carried before the answer"
    );
    assert_eq!(finish(client), b"");
    world.gateway.await_metric("zrgw_lookups_total{outcome=\"answered\"}", 1);
    let both = size(&hello) + size(&data);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), (both, both));
    assert_eq!(usage.total(), (both, both));
}

#[test]
fn v2_a_look_up_that_misses_charges_and_leaves_the_connection_alone() {
    let world = World::new(Origin::echo());
    world.resolver.set_delay(Duration::from_millis(200));
    // Listed, but its own resolver knows no such name.
    let hello = Hello::named("nowhere.listed.example").wire();
    let mut client = world.proxied(1);
    client.write_all(&hello).unwrap();
    assert_eq!(read_exactly(&mut client, hello.len()), hello);
    let name = "zrgw_flows_total{protocol=\"tls\",class=\"charged\",reason=\"address_mismatch\"}";
    let data = hellos::record(23, &[9; 5_000]);
    client.write_all(&data).unwrap();
    world.gateway.await_metric(name, 1);
    client.write_all(&data).unwrap();
    assert_eq!(read_exactly(&mut client, 2 * data.len()), [data.clone(), data.clone()].concat());
    assert_eq!(finish(client), b"");
    let all = size(&hello) + 2 * size(&data);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.charged("s1", "address_mismatch"), (all, all));
    assert_eq!(usage.total(), (all, all));
}

#[test]
fn v5_three_hundred_flows_of_one_name_ask_once() {
    const FLOWS: usize = 300;
    let world = World::new(Origin::echo());
    world.resolver.set_delay(Duration::from_millis(600));
    let hello = Hello::named(LISTED).wire();
    let mut clients = Vec::new();
    for number in 0..FLOWS {
        let mut client = if number % 3 == 0 { world.steered(1) } else { world.proxied(1) };
        client.write_all(&hello).unwrap();
        clients.push(client);
    }
    for mut client in clients {
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_end(&mut client).unwrap(), hello);
    }
    world.gateway.await_flows_closed();
    assert_eq!(world.resolver.asked(LISTED), 1);
    let usage = world.gateway.stop_and_count();
    let all = FLOWS as u64 * size(&hello);
    assert_eq!(usage.exempt("s1"), (all, all));
    assert_eq!(usage.total(), (all, all));
}

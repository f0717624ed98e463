//! Hellos in any cutting and of any size, with one name, none, a second one or a hidden one.

use std::io::Write;

use support::client::*;
use support::hellos::{self, Hello};
use support::origin::Origin;
use support::world::World;

use super::{LISTED, size};

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

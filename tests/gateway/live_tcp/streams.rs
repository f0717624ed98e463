//! Streams from their beginning to their end: who speaks first, who finishes first, slow readers, resets, and more than 4 GiB.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use socket2::SockRef;
use support::client::*;
use support::eventually;
use support::hellos::Hello;
use support::origin::{self, Origin};
use support::world::World;

use super::LISTED;

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

//! Memory that sockets hold in the kernel for receivers who take nothing: bounded, by subscriber, and nobody else's loss.

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
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use support::hellos::{self, Hello};
use support::origin::Origin;
use support::world::World;
use support::{eventually, has};

const LISTED: &str = "www.listed.example";
const MIB: u64 = 1 << 20;

/// A hello for the listed name, with application data behind it that settles the verdict.
fn visit() -> Vec<u8> {
    [Hello::named(LISTED).wire(), hellos::record(23, &[1; 50])].concat()
}

/// Answers the first bytes with so many, and ends.
fn pages(size: usize) -> Origin {
    Origin::new(move |mut visit| {
        visit.read();
        let _ = visit.stream.write_all(&vec![7; size]);
    })
}

/// Memory of the gateway's sockets towards subscribers, as another program sees it (ss(8), `skmem`).
fn kernel_bytes(port: u16) -> u64 {
    let filter = format!("sport = :{port}");
    let output = Command::new("ss").args(["-Htnm", "state", "connected", &filter]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let field = |skmem: &str, name: &str| {
        let of = |part: &str| part.strip_prefix(name)?.parse::<u64>().ok();
        skmem.split(',').find_map(of).unwrap_or(0)
    };
    text.split("skmem:(")
        .skip(1)
        .map(|rest| {
            let skmem = rest.split(')').next().unwrap();
            field(skmem, "r") + field(skmem, "w") + field(skmem, "f")
        })
        .sum()
}

/// Reads a little now and then until the end; how many bytes came.
fn read_slowly(mut client: TcpStream) -> usize {
    let (mut count, mut buffer) = (0, vec![0; 64 << 10]);
    loop {
        match client.read(&mut buffer).unwrap() {
            0 => return count,
            more => count += more,
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn f14_receivers_who_never_read_hold_no_more_than_their_share_and_cost_nobody_else() {
    if !has("ss") {
        return;
    }
    const SIZE: usize = 8 << 20;
    /// More than all of a page can take of one subscriber, whatever the kernel's own part in it.
    const SHARE: u64 = 24 * MIB;
    const HOARD: usize = 40;
    let world = World::with(pages(SIZE), |setup| {
        setup.set("limits", "socket_memory_per_subscriber_max = \"24 MiB\"").set("limits", "drain = \"0 s\"")
    });
    let port = world.gateway.listener(1).port();
    let ask = |number| {
        let mut client = world.proxied(number);
        client.write_all(&visit()).unwrap();
        client
    };
    // One whose reader is slow from the first to the last.
    let slow = ask(2);
    let slow = std::thread::spawn(move || read_slowly(slow));
    // And one who has stopped for the moment, within his share.
    let mut paused = ask(3);
    let mut first = vec![0; 1_000];
    paused.read_exact(&mut first).unwrap();
    let hoard: Vec<_> = (0..HOARD).map(|_| ask(1)).collect();
    let ended = "zrgw_stalled_ended_total";
    assert!(eventually(|| world.gateway.metric(ended) > 0), "{}", world.gateway.log());
    let held = "zrgw_socket_memory_bytes";
    assert!(world.gateway.metric(held) > 0, "the paused one's");
    // What the slow one and the paused one hold comes to less than a flow's whole buffers each.
    let bounded = eventually(|| kernel_bytes(port) <= SHARE + 2 * 6 * MIB);
    assert!(bounded, "{} bytes", kernel_bytes(port));
    assert!(eventually(|| world.gateway.metric(held) <= SHARE + 2 * 12 * MIB));
    // Somebody else, as fast as ever.
    let mut other = ask(4);
    let mut all = Vec::new();
    other.read_to_end(&mut all).unwrap();
    assert_eq!(all.len(), SIZE);
    assert_eq!(slow.join().unwrap(), SIZE, "whoever reads slowly is served");
    let mut rest = Vec::new();
    paused.read_to_end(&mut rest).unwrap();
    assert_eq!(first.len() + rest.len(), SIZE, "whoever pauses is served");
    assert!(world.gateway.metric(ended) < HOARD as u64, "what is within the share stays");
    drop(hoard);
    let usage = world.gateway.stop_and_count();
    for number in 2..=4 {
        assert_eq!(usage.exempt(&format!("s{number}")).1, SIZE as u64, "s{number}");
    }
}

/// What all together hold counts into the memory of the process, and whoever holds most makes it come free.
#[test]
fn f14_memory_of_sockets_counts_and_comes_free_before_others_feel_it() {
    const SIZE: usize = 8 << 20;
    let world = World::with(pages(SIZE), |setup| setup.set("limits", "drain = \"0 s\""));
    let resident = world.gateway.resident_bytes() / MIB;
    drop(world.gateway.stop());
    // Enough for the process and hardly any more.
    let world = World::with(pages(SIZE), |setup| {
        setup
            .set("limits", &format!("memory_max = \"{} MiB\"", 2 * resident))
            .set("limits", "drain = \"0 s\"")
    });
    let ask = |number| {
        let mut client = world.proxied(number);
        client.write_all(&visit()).unwrap();
        client
    };
    let hoards: Vec<_> = (1..=8).cycle().take(64).map(ask).collect();
    assert!(eventually(|| world.gateway.metric("zrgw_stalled_ended_total") > 0), "{}", world.gateway.log());
    world.gateway.await_metric("zrgw_overload_level", 0);
    let mut other = ask(9);
    let mut all = Vec::new();
    other.read_to_end(&mut all).unwrap();
    assert_eq!(all.len(), SIZE);
    drop(hoards);
    world.gateway.stop_and_count();
}

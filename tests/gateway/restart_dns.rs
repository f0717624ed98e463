//! Restarts without a gap for the DNS plane: every query is answered, asked once, over UDP and over TCP.

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
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use support::ask::{A, ask, query, rcode};
use support::client::{subscriber, try_connect_from};
use support::successor::Successor;
use support::unbound::{LISTED, Unbound};
use support::{PATIENCE, Setup, eventually, free_port, has};

/// Restarts under load.
const RESTARTS: u64 = 5;
/// Queries between two of them at least.
const QUERIES_PER_RESTART: u64 = 100;

/// A query over a connection of its own.
fn ask_stream(from: Ipv4Addr, to: SocketAddr, query: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream: TcpStream = try_connect_from(from, to)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&[&(query.len() as u16).to_be_bytes()[..], query].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

#[test]
fn s_every_query_is_answered_while_the_dns_plane_is_restarted() {
    if !has("unbound") {
        return;
    }
    let unbound = Unbound::start("");
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let listener = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let gateway = Setup::new()
        .listener(&format!("mode = \"proxy_protocol\"\naddress = \"{listener}\"\n"))
        .set("node", "workers = 2")
        .set("admin", &format!("address = \"127.0.0.1:{}\"", free_port()))
        .set("dns", &format!("listen = [\"{address}\"]"))
        .set("dns", &format!("upstream = [\"{}\"]", unbound.address))
        .start();
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut successors = Vec::new();
    std::thread::scope(|scope| {
        for number in 1..=4_u8 {
            let (stop, done) = (&stop, &done);
            scope.spawn(move || {
                for id in 0_u16.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let asked = query(id, LISTED, A);
                    let answer = match number {
                        // Once: whoever asks again would hide what was lost.
                        1 | 2 => ask(subscriber(number), address, &asked, PATIENCE).expect("an answer"),
                        _ => ask_stream(subscriber(number), address, &asked).expect("an answer over TCP"),
                    };
                    assert_eq!((&answer[..2], rcode(&answer)), (&id.to_be_bytes()[..], 0));
                    done.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(6));
                }
            });
        }
        for restart in 1..=RESTARTS {
            let enough = || done.load(Ordering::Relaxed) >= restart * QUERIES_PER_RESTART;
            assert!(eventually(enough), "{}", gateway.log());
            successors.push(Successor::take_over(gateway.setup()));
        }
        stop.store(true, Ordering::Relaxed);
    });
    let (status, setup) = gateway.wait();
    assert!(status.success(), "{}", setup.log());
    let last = successors.pop().unwrap();
    successors.iter_mut().for_each(Successor::await_end);
    last.stop();
}

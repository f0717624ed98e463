//! Restarts without a gap at a steered listener: names are read, look-ups made and origins dialled all the while.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use support::client::*;
use support::dns::Resolver;
use support::hellos::{self, Hello};
use support::origin::Origin;
use support::successor::Successor;
use support::{PATIENCE, Setup, eventually, free_port};

const LISTED: &str = "www.listed.example";
/// Restarts of each run.
const RESTARTS: u64 = 5;
/// New flows between two of them at least.
const FLOWS_PER_RESTART: u64 = 200;
/// Subscribers who open flow after flow.
const SUBSCRIBERS: u8 = 4;

/// A hello with application data behind it that settles the verdict.
fn visit() -> Vec<u8> {
    [Hello::named(LISTED).wire(), hellos::record(23, &[1; 50])].concat()
}

/// One flow to an echoing origin from its beginning to its end.
fn flow(number: u8, listener: SocketAddr, visit: &[u8]) -> io::Result<()> {
    let mut client = try_connect_from(subscriber(number), listener)?;
    client.set_read_timeout(Some(PATIENCE))?;
    client.write_all(visit)?;
    let mut back = vec![0; visit.len()];
    client.read_exact(&mut back)?;
    client.shutdown(Shutdown::Write)?;
    if client.read(&mut [0])? != 0 { Err(io::ErrorKind::InvalidData.into()) } else { Ok(()) }
}

/// Sends a few bytes and reads them back.
fn exchange(client: &mut TcpStream, bytes: &[u8]) {
    client.write_all(bytes).unwrap();
    assert_eq!(read_exactly(client, bytes.len()), bytes);
}

/// Restarts under load; the bytes that the subscribers sent, and what the records say.
fn restarted(basis: &str) -> (u64, support::usage::Usage) {
    let origin = Origin::echo();
    let resolver = Resolver::new(&[(LISTED, origin.octets())]);
    let listener = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let gateway = Setup::new()
        .listener(&format!("mode = \"steered\"\naddress = \"{listener}\"\n"))
        .set("node", "workers = 2")
        .set("admin", &format!("address = \"127.0.0.1:{}\"", free_port()))
        .set("export", &format!("byte_basis = \"{basis}\""))
        .set("limits", "drain = \"60 s\"")
        .set("limits", "drain_hard = \"60 s\"")
        .resolver(resolver.address)
        .port_map(&[(443, origin.port())])
        .start();
    let visit = visit();
    let (stop, done, faults) = (AtomicBool::new(false), AtomicU64::new(0), Mutex::new(Vec::new()));
    let mut sent = 0;
    let mut open: Vec<_> = (5..=8).map(|number| connect_from(subscriber(number), listener)).collect();
    for client in &mut open {
        exchange(client, &visit);
        sent += visit.len() as u64;
    }
    let mut successors = Vec::new();
    std::thread::scope(|scope| {
        for number in 1..=SUBSCRIBERS {
            let (visit, stop, done, faults) = (&visit, &stop, &done, &faults);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Err(error) = flow(number, listener, visit) {
                        faults.lock().unwrap().push(format!("{:?} {error}", error.kind()));
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(2));
                }
            });
        }
        for restart in 1..=RESTARTS {
            let enough = || done.load(Ordering::Relaxed) >= restart * FLOWS_PER_RESTART;
            assert!(eventually(enough), "{}", gateway.log());
            successors.push(Successor::take_over(gateway.setup()));
            for client in &mut open {
                exchange(client, &[7; 100]);
                sent += 100;
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    let faults = faults.into_inner().unwrap();
    let flows = done.into_inner();
    assert!(
        faults.is_empty(),
        "{} of {flows}: {:?}\n{}",
        faults.len(),
        &faults[..faults.len().min(5)],
        gateway.log()
    );
    for client in open {
        assert_eq!(finish(client), b"");
    }
    let (status, setup) = gateway.wait();
    assert!(status.success(), "{}", setup.log());
    let last = successors.pop().unwrap();
    successors.iter_mut().for_each(Successor::await_end);
    last.stop();
    assert!(!setup.log().contains("may be in no record"), "{}", setup.log());
    let (good, said) = support::verify(&setup.path("usage"));
    assert!(good, "{said}");
    let usage = setup.usage();
    assert!(usage.conserved, "{usage:?}\n{}", setup.log());
    (sent + flows * visit.len() as u64, usage)
}

#[test]
fn s_steered_flows_begin_and_go_on_over_restarts() {
    let (sent, usage) = restarted("payload");
    // Every byte once: exempt, or nobody's where a restart came before its verdict.
    let nobodys = usage.sum(|row| row["class"] == "unattributed");
    let exempt = usage.sum(|row| row["class"] == "exempt");
    assert_eq!(usage.total(), (sent, sent), "{usage:?}");
    assert_eq!((exempt.0 + nobodys.0, exempt.1 + nobodys.1), (sent, sent), "{usage:?}");
    println!("nobody's at {RESTARTS} restarts: {nobodys:?} of {sent}");
    assert!(nobodys.0 * 20 < sent, "{nobodys:?} of {sent}");
}

#[test]
fn s_ip_bytes_are_counted_over_restarts() {
    let (sent, usage) = restarted("ip");
    // Headers and acknowledgements beside the payload; never twice as much for flows of this size.
    let total = usage.total();
    assert!(total.0 > sent && total.1 > sent && total.0 < 3 * sent && total.1 < 3 * sent, "{total:?} {sent}");
}

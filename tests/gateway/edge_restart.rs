//! Restarts of a gateway in the path, in network namespaces: nobody is refused, nothing passes uncounted while a process
//! lives, and everything passes when none does.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::client::{finish, read_exactly};
use support::edge::{Edge, LISTED, origin, subscriber, telling_datagrams};
use support::hellos::Hello;
use support::origin::{self as origins, Origin};
use support::{PATIENCE, eventually};

/// Take-overs of the long test.
const RESTARTS: usize = 5;
/// New flows of either transport between two of them at least.
const FLOWS_PER_RESTART: usize = 100;
/// Threads of either transport that begin flows.
const THREADS: usize = 2;
/// The longest that a new flow may take at a restart: a SYN that is lost comes again after one second.
const AT_ONCE: Duration = Duration::from_millis(900);

/// A gateway whose open flows may take long, and whose UDP flows end soon after they are silent.
fn edge() -> Option<Edge> {
    Edge::with("tproxy", |setup| {
        setup
            .set("node", "workers = 2")
            .set("limits", "drain = \"120 s\"")
            .set("limits", "drain_hard = \"120 s\"")
            .set("limits", "udp_idle_timeout = \"4 s\"")
            .set("limits", "identify_deadline = \"2 s\"")
    })
}

/// What a subscriber says first: a hello with the listed name, and the beginning of another record.
fn hello() -> Vec<u8> {
    [Hello::named(LISTED).wire(), vec![23, 3, 3, 0, 1, 0]].concat()
}

/// Connects, says hello, has it echoed, and ends in order.
fn visit(to: SocketAddr) -> io::Result<()> {
    let hello = hello();
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&hello)?;
    let mut echo = vec![0; hello.len()];
    stream.read_exact(&mut echo)?;
    stream.shutdown(Shutdown::Write)?;
    match stream.read(&mut echo)? {
        0 => Ok(()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// A socket of the subscriber's that talks to `to` alone.
fn socket_to(to: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(SocketAddr::new(subscriber(usize::from(to.is_ipv6())), 0)).unwrap();
    socket.connect(to).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

/// One datagram and its answer; nothing is sent twice.
fn ask(socket: &UdpSocket) -> io::Result<()> {
    socket.send(b"there")?;
    socket.recv(&mut [0; 100]).map(|_| ())
}

/// Waits until nobody listens for connections that the kernel leads to the gateway.
fn await_no_listener(edge: &Edge) {
    assert!(eventually(|| edge.link.gateway_runs("ss -Hltn sport = 9443").is_empty()));
}

/// New flows, one after the other in each thread, over both IP versions and transports, for as long as is wanted.
#[derive(Default)]
struct Stream {
    stop: AtomicBool,
    connections: AtomicUsize,
    datagrams: AtomicUsize,
    faults: Mutex<Vec<String>>,
}

impl Stream {
    /// Begins flows until told to stop; the caller is at the subscriber's end.
    fn run(&self, flow: impl Fn(SocketAddr) -> io::Result<()>, done: &AtomicUsize) {
        for number in 0.. {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let begun = Instant::now();
            let fault = match flow(origin(number % 2, 443)) {
                Ok(()) if begun.elapsed() < AT_ONCE => None,
                Ok(()) => Some(format!("it took {:?}", begun.elapsed())),
                Err(error) => Some(error.to_string()),
            };
            self.faults.lock().unwrap().extend(fault);
            done.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits for more flows of either transport.
    fn await_flows(&self, more: usize) {
        let done = || [&self.connections, &self.datagrams].map(|done| done.load(Ordering::Relaxed));
        let before = done();
        assert!(eventually(|| done().iter().zip(before).all(|(done, before)| *done >= before + more)));
    }
}

#[test]
fn s_t41_restarts_in_the_path_refuse_nobody_let_nothing_pass_and_cut_no_open_flow() {
    let Some(edge) = edge() else { return };
    let _origins = edge.link.in_internet(|| {
        [0, 1].map(|family| {
            telling_datagrams(origin(family, 443));
            Origin::at(origin(family, 443), origins::echo)
        })
    });
    let mut open = [0, 1].map(|family| edge.connect(origin(family, 443)));
    for stream in &mut open {
        stream.write_all(&hello()).unwrap();
        assert_eq!(read_exactly(stream, hello().len()), hello());
    }
    let sockets = edge.link.at_subscriber(|| [0, 1].map(|family| socket_to(origin(family, 443))));
    let stream = Stream::default();
    let mut successors = Vec::new();
    let mut away = 0;
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| edge.link.at_subscriber(|| stream.run(visit, &stream.connections)));
            scope.spawn(|| {
                edge.link.at_subscriber(|| stream.run(|to| ask(&socket_to(to)), &stream.datagrams));
            });
        }
        scope.spawn(|| {
            while !stream.stop.load(Ordering::Relaxed) {
                away += usize::from(!edge.is_alive());
            }
        });
        for _ in 0..RESTARTS {
            successors.push(edge.take_over());
            stream.await_flows(FLOWS_PER_RESTART);
            for stream in &mut open {
                stream.write_all(b"still here").unwrap();
                assert_eq!(read_exactly(stream, 10), b"still here");
            }
            sockets.iter().for_each(|socket| ask(socket).unwrap());
        }
        stream.stop.store(true, Ordering::Relaxed);
    });
    let flows = [&stream.connections, &stream.datagrams].map(|done| done.load(Ordering::Relaxed));
    println!("{RESTARTS} restarts, {flows:?} flows over TCP and UDP");
    let faults = stream.faults.into_inner().unwrap();
    assert!(faults.is_empty(), "{} of {flows:?}: {:?}", faults.len(), &faults[..faults.len().min(5)]);
    assert_eq!(away, 0, "the dead man's set ran out");
    for stream in open {
        assert_eq!(finish(stream), b"");
    }
    let counted = edge.link.counted();
    let last = successors.pop().unwrap();
    let Edge { gateway, link, .. } = edge;
    let (status, setup) = gateway.wait();
    assert!(status.success(), "{}", setup.log());
    successors.iter_mut().for_each(|successor| successor.await_end());
    last.stop();
    let usage = setup.usage();
    assert!(usage.conserved, "{}", setup.log());
    let ((up, down), (passed_up, passed_down)) = (usage.total(), counted);
    assert_eq!(down, passed_down, "{:?}\n{}", usage.rows, setup.log());
    // Options in the headers of connections that one process led in and another took are proven to nobody: less, never more. Of
    // a segment that is 12 bytes of 52 at least; how many are such a connection's is a matter of how long a hand-over takes.
    assert!(
        up <= passed_up && (passed_up - up) * 52 <= passed_up * 12,
        "{up} of {passed_up}: {:?}",
        usage.rows
    );
    assert!(
        passed_up - up <= passed_up / 200 || usage.has_lower_bounds(),
        "what is missing is said: {:?}",
        usage.rows
    );
    assert!(usage.rows.iter().all(|row| !row["flags"].contains("clock_step")), "{:?}", usage.rows);
    assert!(usage.exempt("s1").1 > 0 && usage.reasons("s1") == ["not_recognised"], "{usage:?}");
    drop(link);
}

#[test]
fn s_t41_killed_in_the_middle_of_a_restart_new_connections_pass_by_at_once() {
    let Some(edge) = edge() else { return };
    let origins =
        edge.link.in_internet(|| [0, 1].map(|family| Origin::at(origin(family, 443), origins::echo)));
    let mut open = edge.connect(origin(0, 443));
    open.write_all(&hello()).unwrap();
    assert_eq!(read_exactly(&mut open, hello().len()), hello());
    let successor = edge.take_over();
    // The old process has its flow and no listening socket, the new one has the listening sockets: it dies.
    successor.kill();
    await_no_listener(&edge);
    assert!(edge.is_alive(), "nobody told the kernel");
    let before = edge.link.counted();
    for family in [0, 1] {
        let begun = Instant::now();
        edge.link.at_subscriber(|| visit(origin(family, 443))).unwrap();
        assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    }
    let after = edge.link.counted();
    let passed = (after.0 - before.0, after.1 - before.1);
    open.write_all(b"still here").unwrap();
    assert_eq!(read_exactly(&mut open, 10), b"still here");
    assert_eq!(finish(open), b"");
    assert_eq!(origins.iter().map(Origin::visits).sum::<usize>(), 3);
    // A third one is an ordinary start, and takes flows again.
    let led_here = || edge.gateway.log().matches("new flows are led here").count();
    let before = led_here();
    let counts_are_saved = || edge.gateway.log().matches("counts are saved").count();
    let saved_before = counts_are_saved();
    let third = edge.spawn_successor();
    assert!(eventually(|| led_here() > before), "{}", edge.gateway.log());
    // The process that drains had taken the ledger back, and lets go of it.
    assert!(eventually(|| counts_are_saved() > saved_before), "{}", edge.gateway.log());
    edge.link.at_subscriber(|| visit(origin(1, 443))).unwrap();
    let Edge { gateway, link, .. } = edge;
    let (status, setup) = gateway.wait();
    assert!(status.success(), "{}", setup.log());
    third.stop();
    let usage = setup.usage();
    assert!(usage.conserved && usage.reasons("s1").is_empty(), "{usage:?}");
    // What the old process could hand to nobody in time is not claimed; what passed by is in nobody's count.
    let (up, down) = usage.exempt("s1");
    let all = link.counted();
    assert!(passed.0 > 0 && passed.1 > 0 && up > 0 && down > 0);
    assert!(up <= all.0 - passed.0 && down <= all.1 - passed.1, "{usage:?} {passed:?} {all:?}");
}

#[test]
fn s_t41_both_processes_killed_while_one_takes_over_and_everything_passes_by_at_once() {
    let Some(edge) = edge() else { return };
    let _origin = edge.link.in_internet(|| Origin::at(origin(0, 443), origins::echo));
    let successor = edge.spawn_successor();
    let log = || edge.gateway.log();
    assert!(eventually(|| log().contains("a new process takes over")), "{}", log());
    edge.gateway.signal(Signal::KILL);
    successor.kill();
    await_no_listener(&edge);
    let begun = Instant::now();
    edge.link.at_subscriber(|| visit(origin(0, 443))).unwrap();
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
}

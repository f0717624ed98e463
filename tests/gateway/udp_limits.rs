//! The relay of UDP at its limits: flows without a name, room, deadlines, memory; hostile datagrams; its end and its crash.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use support::client::{proxied_subscriber, subscriber};
use support::datagrams::{Access, Header, proxy_v2_udp, socket};
use support::hellos::{Hello, Random};
use support::quic::{Initial, crypto, two_datagrams};
use support::quic_pages::{QuicClient, QuicOrigin};
use support::udp_world::{LISTED, UdpWorld};
use support::{LIST, PATIENCE, eventually, has, verify};

/// A hello in two datagrams.
fn halves(name: &str) -> [Vec<u8>; 2] {
    two_datagrams(&Hello::post_quantum(name).message(), 1_000)
}

/// A complete hello in one.
fn whole(name: &str) -> Vec<u8> {
    Initial::of(&Hello::named(name).message()).seal()
}

/// A server that says nothing, at the address of the listed name.
fn silent_server() -> (UdpSocket, u16) {
    let server = socket([127, 0, 2, 1]);
    let port = server.local_addr().unwrap().port();
    (server, port)
}

/// The next datagram within a second; none when none comes.
fn soon(server: &UdpSocket) -> Option<(Vec<u8>, SocketAddr)> {
    let mut buffer = [0; 65_536];
    let found = (0..20).find_map(|_| server.recv_from(&mut buffer).ok());
    found.map(|(length, from)| (buffer[..length].to_vec(), from))
}

/// Bytes that wait in the receive queues of the sockets at this port, and datagrams they lost (proc_net_udp).
fn queue(port: u16) -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/net/udp").unwrap();
    let local = format!(":{port:04X}");
    text.lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields.get(1).is_some_and(|address| address.ends_with(&local)))
        .map(|fields| {
            let waiting = u64::from_str_radix(fields[4].split_once(':').unwrap().1, 16).unwrap();
            (waiting, fields[12].parse::<u64>().unwrap())
        })
        .fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1))
}

/// Sends without overrunning the gateway's receive buffer.
struct Pump {
    balancer: UdpSocket,
    gateway: SocketAddr,
    sent: usize,
}

impl Pump {
    fn new(world: &UdpWorld) -> Self {
        Self { balancer: socket([127, 0, 0, 1]), gateway: world.gateway.listener(1), sent: 0 }
    }

    fn send(&mut self, source: SocketAddr, destination: SocketAddr, datagram: &[u8]) {
        let framed = [&proxy_v2_udp(source, destination), datagram].concat();
        self.balancer.send_to(&framed, self.gateway).unwrap();
        self.sent += 1;
        if self.sent.is_multiple_of(96) {
            self.drain();
        }
    }

    fn drain(&self) {
        assert!(eventually(|| queue(self.gateway.port()).0 == 0));
        assert_eq!(queue(self.gateway.port()).1, 0, "datagrams lost before the gateway");
    }
}

/// The address of a stranger of this number.
fn stranger(number: usize) -> SocketAddr {
    let [_, high, middle, low] = u32::try_from(number).unwrap().to_be_bytes();
    SocketAddr::from(([10, 100 + high, middle, low], 40_000))
}

#[test]
fn t42_a_hundred_thousand_half_open_flows_take_at_most_20_kib_each_and_the_oldest_goes() {
    const FLOWS: usize = 100_000;
    const OVER: usize = 100;
    let (_server, port) = silent_server();
    let world = UdpWorld::with(port, |setup| {
        let setup = setup.set("limits", "identify_deadline = \"10 min\"").set("node", "workers = 1");
        setup.set("limits", "flows_max = 800")
    });
    let [half, _] = halves(LISTED);
    let mut pump = Pump::new(&world);
    pump.send(stranger(0), world.destination(), &half);
    world.gateway.await_metric("zrgw_flows_open", 1);
    let before = world.gateway.resident_bytes();
    for number in 1..FLOWS {
        pump.send(stranger(number), world.destination(), &half);
    }
    pump.drain();
    world.gateway.await_metric("zrgw_flows_open", FLOWS as u64);
    assert_eq!(world.gateway.metric("zrgw_undecided_evicted_total"), 0, "at the limit");
    let each = (world.gateway.resident_bytes() - before) / FLOWS as u64;
    println!("{each} bytes for each flow that waits for its name");
    assert!(each <= 20 << 10, "{each} bytes for each flow");
    for number in FLOWS..FLOWS + OVER {
        pump.send(stranger(number), world.destination(), &half);
    }
    pump.drain();
    world.gateway.await_metric("zrgw_undecided_evicted_total", OVER as u64);
    // The oldest had upstream sockets: they are charged, and go on.
    world.await_judged("quic", "unattributed", "no_subscriber", OVER as u64);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.unattributed("no_subscriber"), ((half.len() * (FLOWS + OVER)) as u64, 0));
}

/// One flow after the other, and all at once, so that each grows between what the others hold.
#[test]
fn t42_flows_that_hold_all_they_may_take_at_most_20_kib_each_in_turn_and_interleaved() {
    const FLOWS: usize = 2_000;
    let (_server, port) = silent_server();
    // A hello of 16,000 bytes that never completes, its pieces of 1,100 bytes in any order with holes between them.
    let message = Hello::named(LISTED).padded_to(16_000).message();
    let datagrams: Vec<_> = (0..10)
        .map(|number| {
            let from = 1_500 * number;
            Initial::new(&crypto(from as u64, &message[from..from + 1_100])).number(number as u32, 1).seal()
        })
        .collect();
    let in_turn = (1..=FLOWS).flat_map(|flow| (0..10).map(move |datagram| (flow, datagram)));
    let interleaved = (0..10).flat_map(|datagram| (1..=FLOWS).map(move |flow| (flow, datagram)));
    for (what, order) in [("in turn", in_turn.collect::<Vec<_>>()), ("interleaved", interleaved.collect())] {
        let world = UdpWorld::with(port, |setup| {
            let setup = setup.set("limits", "identify_deadline = \"10 min\"").set("node", "workers = 1");
            setup.set("limits", "flows_max = 1")
        });
        let mut pump = Pump::new(&world);
        pump.send(stranger(0), world.destination(), &datagrams[0]);
        world.gateway.await_metric("zrgw_flows_open", 1);
        let before = world.gateway.resident_bytes();
        for (flow, datagram) in order {
            pump.send(stranger(flow), world.destination(), &datagrams[datagram]);
        }
        pump.drain();
        world.gateway.await_metric("zrgw_flows_open", 1 + FLOWS as u64);
        let each = (world.gateway.resident_bytes() - before) / FLOWS as u64;
        println!("{what}: {each} bytes for each flow that waits for its name and holds what it may");
        assert!(each <= 20 << 10, "{what}: {each} bytes for each flow");
        assert!(world.gateway.metric("zrgw_datagrams_dropped_total{cause=\"held\"}") > 0);
        let all: usize = datagrams.iter().map(Vec::len).sum();
        let usage = world.gateway.stop_and_count();
        assert_eq!(usage.total(), ((all * FLOWS + datagrams[0].len()) as u64, 0));
    }
}

#[test]
fn undecided_flows_at_the_limit_and_one_over() {
    let (_server, port) = silent_server();
    let world = UdpWorld::with(port, |setup| {
        let setup = setup.set("limits", "undecided_flows_max = 3").set("node", "workers = 1");
        setup.set("limits", "identify_deadline = \"10 min\"")
    });
    let accesses: Vec<_> = (1..=4).map(|number| world.steered(number)).collect();
    let [front, back] = halves(LISTED);
    for access in &accesses[..3] {
        access.inject(&front);
        std::thread::sleep(Duration::from_millis(20));
    }
    world.gateway.await_metric("zrgw_flows_open", 3);
    assert_eq!(world.gateway.metric("zrgw_undecided_evicted_total"), 0);
    accesses[3].inject(&front);
    world.gateway.await_metric("zrgw_undecided_evicted_total", 1);
    world.await_judged("quic", "unattributed", "undecided", 1);
    // A flow that is decided makes room.
    accesses[1].inject(&back);
    assert!(eventually(|| world.gateway.metric("zrgw_lookups_total{outcome=\"answered\"}") == 1));
    accesses[0].inject(&front);
    world.gateway.await_metric("zrgw_flows_open", 4);
    assert_eq!(world.gateway.metric("zrgw_undecided_evicted_total"), 1);
    let usage = world.gateway.stop_and_count();
    let all = accesses.iter().map(|access| access.carried().0).sum::<u64>();
    assert_eq!(usage.unattributed("undecided"), (all, 0), "nobody answered");
}

#[test]
fn a_quarter_of_the_room_is_for_flows_without_a_name_and_the_rest_waits() {
    let (server, port) = silent_server();
    let world = UdpWorld::with(port, |setup| {
        let setup = setup.set("limits", "flows_max = 8").set("node", "workers = 1");
        setup.set("limits", "identify_deadline = \"10 min\"")
    });
    let [front, back] = halves(LISTED);
    let accesses: Vec<_> = (1..=3).map(|number| world.proxied(number, Header::Each)).collect();
    accesses[0].inject(&front);
    assert_eq!(soon(&server).unwrap().0, front, "at once");
    accesses[1].inject(&front);
    assert_eq!(soon(&server).unwrap().0, front, "at once");
    accesses[2].inject(&front);
    world.gateway.await_metric("zrgw_flows_open", 3);
    assert_eq!(soon(&server), None, "one over the quarter");
    // Decided flows have their room: the same hello in one datagram passes.
    let decided = world.proxied(4, Header::Each);
    decided.inject(&whole(LISTED));
    assert_eq!(soon(&server).unwrap().0, whole(LISTED));
    // Once it is decided it goes on, held datagrams first.
    accesses[2].inject(&back);
    assert_eq!(soon(&server).unwrap().0, front);
    assert_eq!(soon(&server).unwrap().0, back);
    // One that is decided leaves the quarter to another.
    accesses[0].inject(&back);
    assert_eq!(soon(&server).unwrap().0, back);
    let next = world.proxied(5, Header::Each);
    next.inject(&front);
    assert_eq!(soon(&server).unwrap().0, front);
    world.gateway.stop_and_count();
}

#[test]
fn f33_what_waits_for_a_name_gives_its_name_up_and_not_its_datagrams() {
    let (server, port) = silent_server();
    let world = UdpWorld::with(port, |setup| {
        let setup = setup.set("limits", "flows_max = 16").set("node", "workers = 1");
        setup.set("limits", "undecided_flows_max = 5").set("limits", "identify_deadline = \"10 min\"")
    });
    let [front, _] = halves(LISTED);
    let accesses: Vec<_> = (1..=11).map(|number| world.proxied(number, Header::Each)).collect();
    for access in &accesses[..4] {
        access.inject(&front);
        assert_eq!(soon(&server).unwrap().0, front, "at once");
    }
    accesses[4].inject(&front);
    world.gateway.await_metric("zrgw_flows_open", 5);
    assert_eq!(soon(&server), None, "one over the quarter");
    // Each further one has the oldest give its name up, which leaves the quarter to the next; then that is the one that waits.
    for access in &accesses[5..] {
        access.inject(&front);
    }
    let came = (0..).map_while(|_| soon(&server)).count();
    assert_eq!(came, 6, "all but the one that came last and waits");
    world.gateway.await_metric("zrgw_undecided_evicted_total", 6);
    let usage = world.gateway.stop_and_count();
    // The last two come from addresses that nobody has.
    assert_eq!(usage.unattributed("undecided").0, 9 * front.len() as u64);
}

#[test]
fn above_flows_max_datagrams_wait_for_room_and_then_go_on() {
    let (server, port) = silent_server();
    let world = UdpWorld::with(port, |setup| {
        let setup = setup.set("limits", "flows_max = 2").set("node", "workers = 1");
        setup.set("limits", "quic_idle_timeout = \"2 s\"")
    });
    let accesses: Vec<_> = (1..=3).map(|number| world.steered(number)).collect();
    for access in &accesses[..2] {
        access.inject(&whole(LISTED));
        let (datagram, from) = soon(&server).unwrap();
        assert_eq!(datagram, whole(LISTED));
        // What nobody answers would give way.
        server.send_to(b"answer", from).unwrap();
        assert!(eventually(|| access.carried().1 == 6));
    }
    accesses[2].inject(&whole(LISTED));
    assert_eq!(soon(&server), None);
    // The two fall silent and are ended; the third repeats itself, as clients do.
    let came = eventually(|| {
        accesses[2].inject(&whole(LISTED));
        soon(&server).is_some()
    });
    assert!(came);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.total().0, accesses.iter().map(|access| access.carried().0).sum::<u64>());
}

#[test]
fn f33_both_transports_count_and_what_is_over_the_limit_is_carried_and_charged() {
    let (server, port) = silent_server();
    let world = UdpWorld::with(port, |setup| setup.set("limits", "flows_per_subscriber_max = 3"));
    let _stream = support::client::connect_from(subscriber(1), world.gateway.listener(0));
    world.gateway.await_metric("zrgw_flows_open", 1);
    let (one, two) = (world.steered(1), world.proxied(1, Header::Each));
    for access in [&one, &two] {
        access.inject(&whole(LISTED));
        let (_, from) = soon(&server).unwrap();
        // Those that nobody has answered count apart.
        server.send_to(b"answer", from).unwrap();
        assert!(eventually(|| access.carried().1 == 6));
    }
    let over = [world.steered(1), world.proxied(1, Header::Each)];
    for access in &over {
        access.inject(&whole(LISTED));
        let (datagram, from) = soon(&server).unwrap();
        assert_eq!(datagram, whole(LISTED));
        server.send_to(b"answer", from).unwrap();
        assert!(eventually(|| access.carried().1 == 6));
    }
    world.gateway.await_metric("zrgw_flows_over_limit_total", 2);
    let other = world.steered(2);
    other.inject(&whole(LISTED));
    assert!(soon(&server).is_some());
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.unattributed("undecided"), other.carried(), "nobody answered");
    assert_eq!(usage.exempt("s1"), (one.carried().0 + two.carried().0, 12));
    assert_eq!(usage.charged("s1", "overload"), (over[0].carried().0 + over[1].carried().0, 12));
}

#[test]
fn s_a_hello_that_never_completes_times_out_and_is_carried_or_refused() {
    let (server, port) = silent_server();
    let world = UdpWorld::with(port, |setup| setup.set("limits", "identify_deadline = \"500 ms\""));
    let [front, _] = halves(LISTED);
    let (steered, proxied) = (world.steered(1), world.proxied(2, Header::Each));
    steered.inject(&front);
    proxied.inject(&front);
    let (_, from) = soon(&server).unwrap();
    // Repeating itself does not put the deadline off.
    let refused = eventually(|| {
        steered.inject(&front);
        proxied.inject(&front);
        std::thread::sleep(Duration::from_millis(150));
        world.gateway.metric("zrgw_refused_total{reason=\"not_routed\"}") >= 1
    });
    assert!(refused, "{}", world.gateway.ask("/metrics").unwrap().1);
    let charged = eventually(|| {
        server.send_to(b"late answer", from).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        world.judged("quic", "charged", "timeout") == 1
    });
    assert!(charged, "the relay goes on\n{}", world.gateway.ask("/metrics").unwrap().1);
    world.await_counted(&[&steered, &proxied]);
    let (up, down) = proxied.carried();
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.charged("s2", "timeout"), (up, down));
    assert_eq!(usage.unattributed("undecided"), steered.carried(), "refused: nobody answered");
    assert_eq!(steered.carried().1, 0);
}

#[test]
fn steered_flows_wait_for_ten_datagrams_and_no_more() {
    let (server, port) = silent_server();
    let world = UdpWorld::new(port);
    let [front, back] = halves(LISTED);
    let fill = |access: &Access, count: u8| {
        access.inject(&front);
        (0..count).for_each(|number| access.inject(&[0x40, number]));
        access.inject(&back);
    };
    let access = world.steered(1);
    fill(&access, 8);
    assert_eq!(soon(&server).unwrap().0, front);
    for number in 0..8_u8 {
        assert_eq!(soon(&server).unwrap().0, [0x40, number]);
    }
    assert_eq!(soon(&server).unwrap().0, back);
    let over = world.steered(2);
    fill(&over, 9);
    world.await_refused("not_routed", 1);
    assert_eq!(soon(&server), None);
    let usage = world.gateway.stop_and_count();
    let all = access.carried().0 + over.carried().0;
    assert_eq!(usage.unattributed("undecided"), (all, 0), "nobody answered");
}

#[test]
fn idle_flows_end_by_their_protocol_and_busy_ones_do_not() {
    let (server, port) = silent_server();
    let world = UdpWorld::with(port, |setup| {
        setup.set("limits", "quic_idle_timeout = \"3 s\"").set("limits", "udp_idle_timeout = \"1 s\"")
    });
    let accesses: Vec<_> = (1..=3).map(|number| world.proxied(number, Header::Each)).collect();
    accesses[0].inject(&whole(LISTED));
    let (_, quic) = soon(&server).unwrap();
    accesses[1].inject(b"\x17idle");
    accesses[2].inject(b"\x17busy");
    world.gateway.await_metric("zrgw_flows_open", 3);
    let ended = |open| {
        eventually(|| {
            accesses[2].inject(b"\x17busy");
            std::thread::sleep(Duration::from_millis(50));
            world.gateway.metric("zrgw_flows_open") == open
        })
    };
    assert!(ended(2));
    server.send_to(b"quic is still there", quic).unwrap();
    assert!(eventually(|| accesses[0].carried().1 == 19));
    assert!(ended(1));
    let usage = world.gateway.stop_and_count();
    assert_eq!(
        usage.total(),
        accesses
            .iter()
            .fold((0, 0), |sum, access| { (sum.0 + access.carried().0, sum.1 + access.carried().1) })
    );
}

#[test]
fn s_descriptor_exhaustion_backs_off_and_is_got_over() {
    if !has("prlimit") {
        return;
    }
    let (server, port) = silent_server();
    let world = UdpWorld::with(port, |setup| setup.set("limits", "quic_idle_timeout = \"2 s\""));
    let pid = world.gateway.pid().to_string();
    let limit = |limit: &str| {
        let nofile = format!("--nofile={limit}:20000");
        assert!(Command::new("prlimit").args(["--pid", &pid, &nofile]).status().unwrap().success());
    };
    limit("3");
    let access = world.proxied(1, Header::Each);
    access.inject(&whole(LISTED));
    assert_eq!(soon(&server), None, "no descriptor, no socket");
    limit("20000");
    let carried = eventually(|| {
        access.inject(&whole(LISTED));
        soon(&server).is_some()
    });
    assert!(carried);
    assert!(world.gateway.metric("zrgw_accept_errors_total") > 0);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.unattributed("undecided"), access.carried());
}

#[test]
fn t32_a_list_that_changes_rates_open_quic_flows_from_then_on() {
    let origin = QuicOrigin::new();
    let world = UdpWorld::new(origin.port());
    let access = world.proxied(1, Header::Each);
    let client = QuicClient::new();
    let connection = client.connect(access.address, LISTED, PATIENCE).unwrap();
    assert_eq!(client.ask(&connection, 100, 30_000), Ok(30_000));
    world.await_judged("quic", "exempt", "", 1);
    let without =
        LIST.replace("listed.example\"\nscope", "other.example\"\nscope").replace("serial = 3", "serial = 4");
    world.gateway.setup().write("list.toml", without);
    world.gateway.reload();
    world.gateway.await_metric("zrgw_list_serial", 4);
    let charged = "zrgw_bytes_total{direction=\"down\",class=\"charged\",service=\"\"}";
    let moved = eventually(|| {
        assert_eq!(client.ask(&connection, 100, 10_000), Ok(10_000));
        world.gateway.metric(charged) > 10_000
    });
    assert!(moved);
    client.close(connection);
    world.await_counted(&[&access]);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.of("s1"), access.carried());
    assert!(usage.exempt("s1").1 >= 30_000 && usage.charged("s1", "not_listed").1 > 10_000);
}

#[test]
fn a_drain_lets_open_flows_go_on_and_begins_none() {
    let origin = QuicOrigin::new();
    let world = UdpWorld::with(origin.port(), |setup| {
        setup.set("limits", "drain = \"20 s\"").set("limits", "drain_hard = \"20 s\"")
    });
    let access = world.steered(1);
    let client = QuicClient::new();
    let connection = client.connect(access.address, LISTED, PATIENCE).unwrap();
    assert_eq!(client.ask(&connection, 100, 30_000), Ok(30_000));
    world.gateway.signal(Signal::TERM);
    world.gateway.await_readiness(|_, body| body.contains("draining"));
    assert_eq!(client.ask(&connection, 100, 30_000), Ok(30_000), "goes on");
    let late = world.steered(2);
    // The order is on its way to the workers when the answer to /readyz tells of it.
    let dropped = eventually(|| {
        late.inject(&whole(LISTED));
        world.gateway.metric("zrgw_datagrams_dropped_total{cause=\"draining\"}") > 0
    });
    assert!(dropped);
    client.close(connection);
    world.await_counted_at_least(&[&access]);
    // Asked again it ends at once.
    world.gateway.signal(Signal::TERM);
    let (status, setup) = world.gateway.wait();
    assert!(status.success());
    let usage = setup.usage();
    assert!(usage.conserved);
    assert_eq!(usage.exempt("s1"), access.carried());
}

#[test]
fn b26_after_a_kill_nothing_is_claimed_that_was_not_carried() {
    let origin = QuicOrigin::new();
    let world = UdpWorld::new(origin.port());
    let access = world.steered(1);
    let client = QuicClient::new();
    let connection = client.connect(access.address, LISTED, PATIENCE).unwrap();
    assert_eq!(client.ask(&connection, 100, 200_000), Ok(200_000));
    world.await_counted_at_least(&[&access]);
    assert_eq!(client.ask(&connection, 100, 100_000), Ok(100_000));
    let setup = world.gateway.kill();
    let carried = access.carried();
    let setup = setup.start().stop();
    let usage = setup.usage();
    assert!(usage.conserved);
    let exempt = usage.exempt("s1");
    assert!(exempt.0 <= carried.0 && exempt.1 <= carried.1, "{exempt:?} of {carried:?}");
    let (sound, said) = verify(&setup.path("usage"));
    assert!(sound, "{said}");
}

#[test]
fn hostile_datagrams_are_answered_by_a_negotiation_at_most_and_every_byte_is_counted() {
    let (server, port) = silent_server();
    let world = UdpWorld::new(port);
    let mut random = Random::seeded(0x5eed_0000_0000_0403);
    let seeds =
        [whole(LISTED), halves(LISTED)[0].clone(), halves(LISTED)[1].clone(), vec![0; 40], vec![0xc0; 1_200]];
    let steered: Vec<_> = (1..=4).map(|number| socket(subscriber(number))).collect();
    let balancer = socket([127, 0, 0, 1]);
    for round in 0..4_000_usize {
        let mut datagram = seeds[random.below(seeds.len())].clone();
        for _ in 0..random.below(4) {
            random.mutate(&mut datagram);
        }
        datagram.truncate(1_400);
        steered[round % 4].send_to(&datagram, world.gateway.listener(0)).unwrap();
        let mut framed =
            [proxy_v2_udp(proxied_subscriber(1 + (round % 9) as u8), world.destination()), datagram].concat();
        if random.below(8) == 0 {
            let place = random.below(28);
            framed[place] ^= 1 << random.below(8);
        }
        balancer.send_to(&framed, world.gateway.listener(1)).unwrap();
        if round % 32 == 0 {
            let ports = [world.gateway.listener(0).port(), world.gateway.listener(1).port()];
            assert!(eventually(|| ports.iter().all(|port| queue(*port).0 == 0)));
        }
    }
    // A version that nobody knows is negotiated (F45); nothing else is answered.
    for client in &steered {
        let mut answer = [0; 2_000];
        while let Ok(length) = client.recv(&mut answer) {
            assert!(
                length < 600 && answer[0] & 0x80 != 0 && answer[1..5] == [0; 4],
                "{:x?}",
                &answer[..length]
            );
        }
    }
    drop(server);
    assert_eq!(world.gateway.metric("zrgw_flow_panics_total"), 0);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.sum(|row| row["class"] == "exempt"), (0, 0), "nobody answered");
    assert!(usage.total().0 > 1_000_000);
}

#[test]
fn ipv6_is_relayed_and_counted_as_ipv4_is() {
    let server = socket(std::net::Ipv6Addr::LOCALHOST);
    let port = server.local_addr().unwrap().port();
    let world =
        UdpWorld::with(port, |setup| setup.listener("mode = \"proxy_protocol\"\naddress = \"[::1]:0\"\n"));
    let destination = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 443));
    let source: SocketAddr = "[2001:db8::7]:40000".parse().unwrap();
    let access = Access::proxied(source, destination, world.gateway.listener(2), Header::Each);
    access.inject(&whole(LISTED));
    let (datagram, from) = soon(&server).unwrap();
    assert_eq!(datagram, whole(LISTED));
    server.send_to(&[7; 900], from).unwrap();
    assert!(eventually(|| access.carried().1 == 900));
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.unattributed("no_subscriber"), access.carried());
}

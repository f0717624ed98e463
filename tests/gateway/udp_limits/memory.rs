//! The memory that flows without a name take, at the limit of their number and of what each may hold.

use std::net::{SocketAddr, UdpSocket};

use support::datagrams::{proxy_v2_udp, socket};
use support::eventually;
use support::hellos::Hello;
use support::quic::{Initial, crypto};
use support::udp_world::{LISTED, UdpWorld};

use super::{halves, queue, silent_server};

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

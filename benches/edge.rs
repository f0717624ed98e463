//! What stands at an operator's edge, side by side in interleaved rounds of one run: plain forwarding, conntrack accounting,
//! packets that stay in the kernel, and connections that are ended here (tproxy). CPU per gigabyte and per new flow of the whole
//! machine, both ends of the connections included; so only what is above plain forwarding says something, and only ratios of
//! one run do.
//!
//! `benches/run-edge` runs this. Numbers after `--` change the load: `[ROUNDS [GIGABYTES [FLOWS]]]`.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::float_arithmetic,
    clippy::cast_precision_loss,
    clippy::panic,
    reason = "a measurement may panic, and its ratios are for people"
)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use socket2::SockRef;
use support::edge::{Edge, LISTED, origin};
use support::hellos::Hello;
use support::link::Link;

/// Connections that download at once.
const BULK_CONNECTIONS: usize = 2;
/// Short connections at once.
const SHORT_AT_ONCE: usize = 16;
/// Port of downloads, and of short flows.
const PORTS: [u16; 2] = [80, 443];

/// One way past the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Plain,
    Conntrack,
    Kernel,
    Tproxy,
}

impl Way {
    const ALL: [Self; 4] = [Self::Plain, Self::Conntrack, Self::Kernel, Self::Tproxy];

    /// The way made ready; none where namespaces cannot be made.
    fn ready(self) -> Option<Stand> {
        let marked = |setup: support::Setup| {
            let group = "[[rating_group]]\nid = 7\nservices = [\"*\"]\ndisposition = \"tagged\"\ndscp = 46\n";
            setup
                .set("limits", "flows_per_account_max = 1000000")
                .set("edge", "slots_max = 262144")
                .set("edge", "slots_per_subscriber_max = 262144")
                .set("export", "checkpoint = \"1 s\"")
                .raw(group)
        };
        let stand = match self {
            Self::Plain => Stand { edge: None, link: Some(Link::with_internet()?) },
            Self::Conntrack => {
                let link = Link::with_internet()?;
                for rule in [
                    "nft add table inet count_flows",
                    "nft add chain inet count_flows f { type filter hook forward priority 0; }",
                    "nft add rule inet count_flows f ct state new counter",
                    "sysctl -qw net.netfilter.nf_conntrack_acct=1",
                ] {
                    link.gateway_runs(rule);
                }
                Stand { edge: None, link: Some(link) }
            }
            Self::Kernel => Stand { edge: Some(Edge::with("kernel", marked)?), link: None },
            Self::Tproxy => Stand { edge: Some(Edge::with("tproxy", marked)?), link: None },
        };
        let link = stand.link();
        // Super-packets all the way, as with GRO on; and no counters of the tests.
        for command in ["ethtool -K wire tso on gso on gro on", "nft delete table inet count"] {
            link.subscriber_runs(command);
            link.gateway_runs(command);
        }
        link.in_internet(|| {
            serve(origin(0, PORTS[0]), true);
            serve(origin(0, PORTS[1]), false);
        });
        Some(stand)
    }
}

/// One way, with its networks.
struct Stand {
    edge: Option<Edge>,
    link: Option<Link>,
}

impl Stand {
    fn link(&self) -> &Link {
        self.edge.as_ref().map_or_else(|| self.link.as_ref().unwrap(), |edge| &edge.link)
    }
}

/// What a client says first: a hello, and the beginning of another record.
fn hello() -> Vec<u8> {
    [Hello::named(LISTED).wire(), vec![23, 3, 3, 0, 1, 0]].concat()
}

/// Answers each connection's hello with a byte, or with as many bytes as the eight bytes behind it say.
fn serve(address: SocketAddr, is_bulk: bool) {
    let listener = TcpListener::bind(address).unwrap();
    let take = move |mut stream: TcpStream| {
        let mut first = vec![0; hello().len() + if is_bulk { 8 } else { 0 }];
        if stream.read_exact(&mut first).is_err() {
            return;
        }
        if is_bulk {
            let count = first.len() - 8;
            let mut left = u64::from_be_bytes(first[count..].try_into().unwrap());
            let part = vec![7; 1 << 20];
            while left > 0 {
                let now = usize::try_from(left.min(1 << 20)).unwrap();
                if stream.write_all(&part[..now]).is_err() {
                    return;
                }
                left -= now as u64;
            }
        } else {
            let _ = stream.write_all(&[1]);
        }
        let _ = stream.read(&mut [0; 16]);
    };
    for _ in 0..if is_bulk { 4 } else { SHORT_AT_ONCE } {
        let listener = listener.try_clone().unwrap();
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                take(stream);
            }
        });
    }
}

/// CPU time of the machine so far.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/stat").unwrap();
    let numbers: Vec<u64> = text.lines().next().unwrap().split_whitespace().flat_map(str::parse).collect();
    // All but idle and waiting for disks, in hundredths of a second (proc_stat(5)).
    let busy: u64 = [0, 1, 2, 5, 6].iter().map(|at| numbers[*at]).sum();
    Duration::from_millis(busy * 10)
}

/// Downloads so many bytes.
fn download(link: &Link, bytes: u64) {
    std::thread::scope(|scope| {
        for _ in 0..BULK_CONNECTIONS {
            scope.spawn(|| {
                let mut stream = link.at_subscriber(|| TcpStream::connect(origin(0, PORTS[0])).unwrap());
                let wanted = bytes / BULK_CONNECTIONS as u64;
                stream.write_all(&[hello(), wanted.to_be_bytes().to_vec()].concat()).unwrap();
                let (mut left, mut part) = (wanted, vec![0; 1 << 20]);
                while left > 0 {
                    let count = stream.read(&mut part).unwrap();
                    assert!(count > 0, "cut off");
                    left -= count as u64;
                }
            });
        }
    });
}

/// Begins so many flows, each with a hello and a byte back, and resets them.
fn begin(link: &Link, flows: usize) {
    let next = AtomicUsize::new(0);
    link.at_subscriber(|| {
        std::thread::scope(|scope| {
            for _ in 0..SHORT_AT_ONCE {
                scope.spawn(|| {
                    let said = hello();
                    while next.fetch_add(1, Ordering::Relaxed) < flows {
                        let mut stream = TcpStream::connect(origin(0, PORTS[1])).unwrap();
                        stream.write_all(&said).unwrap();
                        stream.read_exact(&mut [0]).unwrap();
                        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
                    }
                });
            }
        });
    });
}

/// What one measurement came to.
#[derive(Clone, Copy)]
struct Outcome {
    /// CPU seconds per gigabyte, or microseconds per flow.
    cost: f64,
    /// Gigabits a second, or flows.
    rate: f64,
}

/// Runs `work` of so many units.
fn measure(units: f64, scale: f64, rate: f64, work: impl FnOnce()) -> Outcome {
    let (before, began) = (cpu(), Instant::now());
    work();
    let took = began.elapsed().as_secs_f64();
    Outcome { cost: (cpu() - before).as_secs_f64() / units * scale, rate: units * rate / took }
}

/// Least, median, most.
fn spread(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    format!("{:.3} {:.3} {:.3}", values[0], values[values.len() / 2], values[values.len() - 1])
}

fn main() -> ExitCode {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let number = |at: usize, default| numbers.get(at).copied().unwrap_or(default);
    let (rounds, gigabytes, flows) = (number(0, 5), number(1, 4), number(2, 10_000));
    let mut stands = Vec::new();
    for way in Way::ALL {
        let Some(stand) = way.ready() else { return ExitCode::FAILURE };
        stands.push((way, stand));
    }
    println!("{gigabytes} GB over {BULK_CONNECTIONS} connections, {flows} flows; {rounds} rounds");
    let mut outcomes: Vec<[Vec<Outcome>; 2]> = (0..Way::ALL.len()).map(|_| Default::default()).collect();
    for round in 0..rounds {
        let mut order: Vec<usize> = (0..stands.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for at in order {
            let link = stands[at].1.link();
            let bulk = measure(gigabytes as f64, 1.0, 8.0, || download(link, gigabytes * 1_000_000_000));
            let short = measure(flows as f64, 1e6, 1.0, || begin(link, usize::try_from(flows).unwrap()));
            println!(
                "{round} {:?}: {:.3} CPU-s/GB at {:.1} Gbit/s, {:.1} CPU-us/flow at {:.0}/s",
                stands[at].0, bulk.cost, bulk.rate, short.cost, short.rate
            );
            outcomes[at][0].push(bulk);
            outcomes[at][1].push(short);
            // What ended flows leave is cleared between two measurements, not in one.
            std::thread::sleep(Duration::from_secs(4));
        }
    }
    println!("least, median, most of the rounds, each beside plain forwarding in the same round");
    for (at, way) in Way::ALL.iter().enumerate() {
        let pairs = |kind: usize, of: &dyn Fn(Outcome, Outcome) -> f64| {
            let plain = outcomes[0][kind].iter();
            spread(outcomes[at][kind].iter().zip(plain).map(|(one, plain)| of(*one, *plain)).collect())
        };
        println!(
            "{:9} CPU of plain per GB {} | rate of plain {} | CPU-us a flow above plain {}",
            format!("{way:?}"),
            pairs(0, &|one, plain| one.cost / plain.cost),
            pairs(0, &|one, plain| one.rate / plain.rate),
            pairs(1, &|one, plain| one.cost - plain.cost),
        );
    }
    ExitCode::SUCCESS
}

//! The relay of UDP beside its peers in one run: datagrams per second and processor time per gigabyte of the gateway, of
//! nginx's `stream` module and of a bare relay that only receives and sends.
//!
//! A server sends 1,200 bytes at a time to a subscriber by way of the relay, in bursts that the subscriber acknowledges by
//! way of it too, so that nothing is lost and nobody waits for long; once with one call for each datagram, once with a
//! burst in one call, as servers of QUIC do. The processor time is that of the relay's process alone. What is printed says
//! how the peers compare on this machine at this hour, nothing else.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::float_arithmetic,
    reason = "benchmarks may panic, and are read by people"
)]

use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use quinn_udp::{RecvMeta, Transmit, UdpSocketState};

/// Payload of a datagram: QUIC's smallest, which fits every path.
const PAYLOAD: usize = 1_200;
/// Datagrams of a burst.
const BURST: usize = 32;
/// Bursts on their way at once.
const WINDOW: usize = 4;
/// How long each relay is measured.
const MEASURED: Duration = Duration::from_secs(5);
/// How long a burst is waited for before it counts as lost.
const LOST: Duration = Duration::from_millis(200);
/// Where nginx's module is on Debian.
const STREAM_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// How the server sends a burst.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sending {
    One,
    Together,
}

/// A relay under measurement; its process ends with it.
struct Relay {
    child: Child,
    address: SocketAddr,
    /// Written in front of the first datagram.
    header: Vec<u8>,
    _folder: tempfile::TempDir,
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Relay {
    /// Processor time of the process and its children, in seconds (proc_pid_stat(5): ticks of 10 ms).
    fn used(&self) -> f64 {
        let of = |pid: u32| {
            let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let Some((_, behind)) = text.rsplit_once(") ") else { return 0 };
            let fields: Vec<_> = behind.split(' ').collect();
            fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
        };
        let pid = self.child.id();
        let children =
            std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let ticks: u64 = children.split_whitespace().map(|child| of(child.parse().unwrap())).sum();
        (ticks + of(pid)) as f64 / 100.0
    }
}

/// A free UDP port of 127.0.0.1.
fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The gateway, with a listener behind a balancer that writes the header once.
fn gateway(server: SocketAddr) -> Relay {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("../allowlist/lists/kz-education-2020.toml");
    let text = format!(
        "[node]\nid = \"bench\"\nstate_dir = \"state\"\nworkers = 1\n[[listener]]\nmode = \"proxy_protocol\"\naddress = \
         \"127.0.0.1:{port}\"\nprotocols = [\"udp\"]\n[list]\nfile = \"{}\"\nsignatures = \"none\"\n[export]\ndir = \"usage\"\n[upstream]\n\
         allow_private = true\n[admin]\naddress = \"127.0.0.1:0\"\n",
        list.canonicalize().unwrap().display()
    );
    std::fs::write(folder.path().join("gateway.toml"), text).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_gateway"))
        .args(["run", "--config", "gateway.toml"])
        .current_dir(folder.path())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c".to_vec();
    let IpAddr::V4(to) = server.ip() else { panic!("IPv4") };
    header.extend([10, 7, 0, 1]);
    header.extend(to.octets());
    header.extend(40_000_u16.to_be_bytes());
    header.extend(server.port().to_be_bytes());
    Relay { child, address: SocketAddr::from(([127, 0, 0, 1], port)), header, _folder: folder }
}

/// nginx with one worker; none when it is not installed.
fn nginx(server: SocketAddr) -> Option<Relay> {
    if !Path::new(STREAM_MODULE).exists() {
        println!("nginx: its stream module is not installed (libnginx-mod-stream)");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let text = format!(
        "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr crit;\nload_module {STREAM_MODULE};\nevents {{ \
         worker_connections 512; }}\nstream {{ server {{ listen 127.0.0.1:{port} udp; proxy_pass {server}; proxy_timeout \
         60s; }} }}\n"
    );
    std::fs::write(folder.path().join("nginx.conf"), text).unwrap();
    let child = Command::new("nginx")
        .args(["-p", &folder.path().display().to_string(), "-c", "nginx.conf"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    Some(Relay { child, address, header: Vec::new(), _folder: folder })
}

/// This program again, as a relay that receives and sends and does nothing else.
fn bare(server: SocketAddr) -> Relay {
    let port = free_port();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--bare-relay", &address.to_string(), &server.to_string()])
        .spawn()
        .unwrap();
    Relay { child, address, header: Vec::new(), _folder: tempfile::tempdir().unwrap() }
}

/// The bare relay's process: one client, one server, a thread for each direction, a call for each datagram.
fn relay_barely(address: &str, server: &str) -> ! {
    let front = Arc::new(UdpSocket::bind(address).unwrap());
    let back = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
    back.connect(server).unwrap();
    let mut buffer = [0; 2_048];
    let (length, client) = front.recv_from(&mut buffer).unwrap();
    front.connect(client).unwrap();
    back.send(&buffer[..length]).unwrap();
    let pass = |from: Arc<UdpSocket>, to: Arc<UdpSocket>| {
        move || {
            let mut buffer = [0; 2_048];
            loop {
                if let Ok(length) = from.recv(&mut buffer) {
                    let _ = to.send(&buffer[..length]);
                }
            }
        }
    };
    std::thread::spawn(pass(Arc::clone(&front), Arc::clone(&back)));
    pass(back, front)();
    unreachable!("the loop does not end")
}

/// Sends bursts as fast as they are acknowledged.
fn serve(socket: &UdpSocket, sending: Sending, ended: &AtomicBool) {
    socket.set_read_timeout(Some(LOST)).unwrap();
    let state = UdpSocketState::new(socket.into()).unwrap();
    // `UdpSocketState` makes the socket non-blocking; this server waits.
    socket.set_nonblocking(false).unwrap();
    let burst = vec![0x17_u8; BURST * PAYLOAD];
    let mut buffer = [0; 64];
    let mut client = None;
    let mut on_their_way = 0_usize;
    while !ended.load(Ordering::Relaxed) {
        match socket.recv_from(&mut buffer) {
            Ok((_, from)) => {
                client = Some(from);
                on_their_way = on_their_way.saturating_sub(1);
            }
            Err(_) => on_their_way = 0,
        }
        let Some(client) = client else { continue };
        while on_their_way < WINDOW {
            match sending {
                Sending::One => burst.chunks(PAYLOAD).for_each(|datagram| {
                    let _ = socket.send_to(datagram, client);
                }),
                Sending::Together => {
                    let segment_size = Some(PAYLOAD);
                    let transmit = Transmit {
                        destination: client,
                        ecn: None,
                        contents: &burst,
                        segment_size,
                        src_ip: None,
                    };
                    let _ = state.try_send(socket.into(), &transmit);
                }
            }
            on_their_way += 1;
        }
    }
}

/// Measures one relay: datagrams per second, and its processor seconds per gigabyte of payload.
fn measure(relay: &Relay, server: UdpSocket, sending: Sending) -> Option<(f64, f64)> {
    let ended = Arc::new(AtomicBool::new(false));
    let serving = {
        let ended = Arc::clone(&ended);
        std::thread::spawn(move || serve(&server, sending, &ended))
    };
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    let state = UdpSocketState::new((&client).into()).unwrap();
    client.set_nonblocking(false).unwrap();
    client.set_read_timeout(Some(LOST)).unwrap();
    let mut buffer = vec![0; 1 << 16];
    // Until the relay listens: the first datagram, with the header, again and again.
    let began = Instant::now();
    let first = [&relay.header[..], b"\x17begin"].concat();
    loop {
        if began.elapsed() > Duration::from_secs(20) {
            ended.store(true, Ordering::Relaxed);
            let _ = serving.join();
            return None;
        }
        let _ = client.send_to(&first, relay.address);
        if client.recv(&mut buffer).is_ok() {
            break;
        }
    }
    let mut datagrams = 0_usize;
    let mut in_burst = 0;
    let (mut start, mut used) = (Instant::now(), relay.used());
    let mut warm = false;
    loop {
        let mut metas = [RecvMeta::default()];
        let received = state.recv((&client).into(), &mut [IoSliceMut::new(&mut buffer)], &mut metas);
        if received.is_ok() {
            let count = metas[0].len.div_ceil(metas[0].stride.max(1));
            datagrams += count;
            in_burst += count;
        } else {
            in_burst = BURST;
        }
        while in_burst >= BURST {
            in_burst -= BURST;
            let _ = client.send_to(b"\x17ack", relay.address);
        }
        if !warm && start.elapsed() > MEASURED / 5 {
            (warm, datagrams, start, used) = (true, 0, Instant::now(), relay.used());
        } else if warm && start.elapsed() > MEASURED {
            break;
        }
    }
    let (seconds, used) = (start.elapsed().as_secs_f64(), relay.used() - used);
    ended.store(true, Ordering::Relaxed);
    let _ = serving.join();
    let bytes = (datagrams * PAYLOAD) as f64;
    Some((datagrams as f64 / seconds, used / (bytes / 1e9)))
}

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    if let [_, word, address, server] = &arguments[..]
        && word == "--bare-relay"
    {
        relay_barely(address, server);
    }
    // `cargo test --benches` wants to know only that it starts.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    println!("{:<34} {:>14} {:>22}", "relay", "datagrams/s", "CPU-seconds per GB");
    for (sending, how) in [(Sending::One, "one by one"), (Sending::Together, "bursts in one call")] {
        let mut ours = None;
        for name in ["gateway", "bare relay", "nginx stream"] {
            let server = UdpSocket::bind("127.0.0.1:0").unwrap();
            let address = server.local_addr().unwrap();
            let relay = match name {
                "gateway" => Some(gateway(address)),
                "bare relay" => Some(bare(address)),
                _ => nginx(address),
            };
            let Some(relay) = relay else { continue };
            let Some((rate, cost)) = measure(&relay, server, sending) else {
                println!("{name}, {how}: nothing came through");
                continue;
            };
            let (our_rate, our_cost) = *ours.get_or_insert((rate, cost));
            println!(
                "{:<34} {rate:>14.0} {cost:>22.2}   gateway: {:.2} × its rate, {:.2} × its cost",
                format!("{name}, {how}"),
                our_rate / rate,
                our_cost / cost
            );
        }
    }
}

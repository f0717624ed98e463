//! Accounting-Requests a second, each answered when it is on the disk: ours beside FreeRADIUS that writes to SQLite with the tables and
//! statements it is shipped with, by turns in one run on one disk. Prints ratios; the machines are noisy, ratios of one run are not.
//!
//! `cargo bench -p gateway --bench accounting -- [STARTS [STORM]]`: so many Starts to each in every round (20,000), and so many to ours
//! alone in the end (100,000), as after the reboot of an access server. Wants Debian's
//! `freeradius`.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::float_arithmetic,
    reason = "a measurement may panic, and its ratios are for people"
)]

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use support::radius_packets::request;

const SECRET: &str = "a secret of the bench";
/// Where Debian keeps FreeRADIUS's tables and statements.
const SQL: &str = "/etc/freeradius/3.0/mods-config/sql/main/sqlite";
/// Sockets of the access server; each has 256 requests on their way (RFC 2865 §5).
const SOCKETS: usize = 4;
const IDENTIFIERS: usize = 256;
/// How often each measurement is taken; the best counts, for noise only takes.
const ROUNDS: u32 = 3;
/// How long a request waits for its answer before it is sent again.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a server may take to begin, and how long nothing may be answered.
const LIMIT: Duration = Duration::from_secs(60);

/// A server; it ends with this value.
struct Server {
    name: &'static str,
    address: SocketAddr,
    child: Child,
    log: std::path::PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts a program and waits until it answers.
    fn start(name: &'static str, address: SocketAddr, folder: &Path, command: &mut Command) -> Self {
        let log = folder.join(format!("{name}.log"));
        let said = fs::File::create(&log).unwrap();
        let child = command
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(said.try_clone().unwrap())
            .stderr(said)
            .spawn()
            .unwrap();
        let server = Self { name, address, child, log };
        load(&server, "hello", 1);
        server
    }
}

/// A port that nobody has.
fn free() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Ours, as an operator runs it.
fn gateway(folder: &Path) -> Server {
    let address = free();
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    write(
        "list.toml",
        "format = 1\nlist_id = \"bench\"\nserial = 1\nissued = 2020-01-01T00:00:00Z\neffective_from = 2020-01-01T00:00:00Z\n\
         expires = 2099-01-01T00:00:00Z\n\n[[service]]\nid = \"study\"\nname = \"Study\"\nowner = \"Bench\"\nreference = \"Bench\"\n\n\
         [[service.rule]]\nhost = \"www.study.example\"\nreason = \"bench\"\nevidence = \"seen\"\ndns_only = false\n",
    );
    write("bng.secret", SECRET);
    fs::set_permissions(folder.join("bng.secret"), fs::Permissions::from_mode(0o600)).unwrap();
    write(
        "gateway.toml",
        &format!(
            "[node]\nid = \"bench\"\nstate_dir = \"state\"\nworkers = 1\n[[listener]]\nmode = \"proxy_protocol\"\naddress = \"127.0.0.1:0\"\n\
             [list]\nfile = \"list.toml\"\nsignatures = \"none\"\n[export]\ndir = \"usage\"\n[limits]\nsessions_max = 2000000\n\
             [radius]\nlisten = [\"{address}\"]\n[[radius.client]]\nname = \"bng-1\"\nprefix = \"127.0.0.1/32\"\nsecret_file = \"bng.secret\"\n\
             subscriber = [\"user-name:account\"]\n[admin]\naddress = \"127.0.0.1:0\"\n[log]\nlevel = \"error\"\n"
        ),
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    Server::start("gateway", address, folder, command.args(["run", "--config", "gateway.toml"]))
}

/// FreeRADIUS with accounting to SQLite: the tables, statements and settings of its package.
fn freeradius(folder: &Path) -> Server {
    let (address, at) = (free(), folder.display());
    let text = format!(
        "prefix = /usr\nlocalstatedir = {at}\nlogdir = {at}\nraddbdir = {at}\nrun_dir = {at}\nlibdir = /usr/lib/freeradius\npidfile = {at}/pid\n\
         max_requests = 65536\nthread pool {{\n start_servers = 4\n max_servers = 4\n min_spare_servers = 1\n max_spare_servers = 4\n max_queue_size = 65536\n}}\n\
         log {{\n destination = stderr\n}}\nclient load {{\n ipaddr = 127.0.0.1\n secret = \"{SECRET}\"\n}}\n\
         modules {{\n expr {{\n }}\n sql {{\n dialect = \"sqlite\"\n driver = \"rlm_sql_sqlite\"\n\
         sqlite {{\n filename = \"{at}/accounting.db\"\n busy_timeout = 5000\n bootstrap = \"{SQL}/schema.sql\"\n }}\n\
         radius_db = \"radius\"\n acct_table1 = \"radacct\"\n acct_table2 = \"radacct\"\n postauth_table = \"radpostauth\"\n\
         authcheck_table = \"radcheck\"\n groupcheck_table = \"radgroupcheck\"\n authreply_table = \"radreply\"\n groupreply_table = \"radgroupreply\"\n\
         usergroup_table = \"radusergroup\"\n client_table = \"nas\"\n group_attribute = \"SQL-Group\"\n delete_stale_sessions = yes\n\
         pool {{\n start = 1\n min = 1\n max = 4\n spare = 1\n uses = 0\n lifetime = 0\n idle_timeout = 0\n }}\n $INCLUDE {SQL}/queries.conf\n }}\n}}\n\
         server bench {{\n listen {{\n type = acct\n ipaddr = 127.0.0.1\n port = {}\n }}\n\
         preacct {{\n update request {{\n &Acct-Unique-Session-Id := \"%{{md5:%{{Acct-Session-Id}},%{{NAS-Identifier}}}}\"\n }}\n }}\n\
         accounting {{\n sql\n }}\n}}\n",
        address.port()
    );
    fs::write(folder.join("radiusd.conf"), text).unwrap();
    let mut command = Command::new("freeradius");
    Server::start("freeradius", address, folder, command.args(["-f", "-d", "."]))
}

/// A Start, signed with the secret (RFC 2866 §3).
fn start(identifier: u8, round: &str, number: usize, at: u32) -> Vec<u8> {
    let address = u32::try_from(number).unwrap() + 0x0a00_0001;
    let packet = request().identifier(identifier).integer(40, 1).integer(8, address).integer(55, at);
    let packet = packet.attribute(44, format!("{round}-{number}").as_bytes());
    let packet = packet.attribute(1, format!("pupil{number}").as_bytes());
    packet.attribute(4, &[192, 0, 2, 1]).attribute(32, b"bng").signed(SECRET.as_bytes())
}

/// Tells of so many sessions, as many at once as may be, until each is answered; how long that takes.
fn load(server: &Server, round: &str, count: usize) -> Duration {
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let at = u32::try_from(at).unwrap();
    let sockets: Vec<UdpSocket> = (0..SOCKETS)
        .map(|_| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.connect(server.address).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        })
        .collect();
    // What waits at each socket under each Identifier: the packet, and when it was sent.
    let mut waiting: Vec<Option<(Vec<u8>, Instant)>> = vec![None; SOCKETS * IDENTIFIERS];
    let (begun, mut next, mut answered) = (Instant::now(), 0, 0);
    let mut last = begun;
    while answered < count {
        let mut moved = false;
        for (place, slot) in waiting.iter_mut().enumerate() {
            let socket = &sockets[place / IDENTIFIERS];
            match slot {
                None if next < count => {
                    let packet = start(u8::try_from(place % IDENTIFIERS).unwrap(), round, next, at);
                    let _ = socket.send(&packet);
                    *slot = Some((packet, Instant::now()));
                    next += 1;
                }
                Some((packet, sent)) if sent.elapsed() > PATIENCE => {
                    let _ = socket.send(packet);
                    *sent = Instant::now();
                }
                _ => {}
            }
        }
        for (number, socket) in sockets.iter().enumerate() {
            let mut answer = [0; 4_096];
            loop {
                match socket.recv(&mut answer) {
                    Ok(20..) if answer[0] == 5 => {
                        let slot = &mut waiting[number * IDENTIFIERS + usize::from(answer[1])];
                        answered += usize::from(slot.take().is_some());
                        moved = true;
                    }
                    Ok(_) => {}
                    // Nothing more, or nobody listens yet.
                    Err(_) => break,
                }
            }
        }
        if moved {
            last = Instant::now();
        } else {
            std::thread::sleep(Duration::from_micros(200));
        }
        let said = || fs::read_to_string(&server.log).unwrap_or_default();
        assert!(last.elapsed() < LIMIT, "FAILED: {} answered {answered} of {count}\n{}", server.name, said());
    }
    begun.elapsed()
}

/// Requests a second.
fn rate(count: usize, took: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap()) / took.as_secs_f64()
}

fn main() -> ExitCode {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let count = |place: usize, default| numbers.get(place).copied().unwrap_or(default);
    let (starts, storm) = (count(0, 20_000), count(1, 100_000));
    if !Path::new(SQL).exists() {
        eprintln!("FAILED: {SQL} is not there; install freeradius");
        return ExitCode::FAILURE;
    }
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let servers = [gateway(folders[0].path()), freeradius(folders[1].path())];
    let mut best = [0.0_f64; 2];
    for round in 0..ROUNDS {
        for (server, best) in servers.iter().zip(&mut best) {
            let took = load(server, &format!("round{round}"), starts);
            println!("round {round}: {:<10} {starts} Starts in {took:.1?}", server.name);
            *best = best.max(rate(starts, took));
        }
    }
    for (server, best_of) in servers.iter().zip(best) {
        println!("{:<10} {best_of:8.0} requests/s  {:.2} of FreeRADIUS", server.name, best_of / best[1]);
    }
    let took = load(&servers[0], "storm", storm);
    println!("storm of {storm} Starts to ours: {took:.1?}, {:.0} requests/s", rate(storm, took));
    ExitCode::SUCCESS
}

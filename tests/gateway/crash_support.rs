//! A node in folders of its own, subscribers who load it, and the books of what they carried: shared by the crash tests.
//!
//! Everything is on loopback. Each node has addresses of its own in 127/8, so that nodes run side by side on fixed ports and
//! a restart takes the very same ones.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The longest any wait of these tests lasts.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Port of the listener, of the origin, and of the admin endpoint, each on an address of the node's own.
const LISTENER_PORT: u16 = 7080;
const ORIGIN_PORT: u16 = 7081;
const ADMIN_PORT: u16 = 7064;
/// The listed name and one that is not.
pub(crate) const LISTED: &str = "study.example.kz";
pub(crate) const UNLISTED: &str = "shop.example.com";

/// A small generator of random numbers (splitmix64): the same seed gives the same run.
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `low` to `high - 1`.
    pub(crate) fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low)
    }
}

/// The seed of this run: `ZRGW_TEST_SEED`, else the time. Printed, so that a failure can be repeated.
pub(crate) fn seed() -> u64 {
    let seed = std::env::var("ZRGW_TEST_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| u64::try_from(micros_now()).unwrap());
    println!("seed: ZRGW_TEST_SEED={seed}");
    seed
}

/// Wall clock in microseconds, as the ledger's times.
pub(crate) fn micros_now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
}

/// Waits until `done` gives something; fails loudly after [`PATIENCE`].
pub(crate) fn wait_for<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = done() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// The kinds of traffic, by who asks for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    FirstListed,
    FirstUnlisted,
    SecondListed,
    SecondUnlisted,
    StrangerListed,
}

impl Kind {
    pub(crate) const ALL: [Kind; 5] = [
        Kind::FirstListed,
        Kind::FirstUnlisted,
        Kind::SecondListed,
        Kind::SecondUnlisted,
        Kind::StrangerListed,
    ];

    fn index(self) -> usize {
        Kind::ALL.iter().position(|kind| *kind == self).unwrap()
    }

    pub(crate) fn host(self) -> &'static str {
        match self {
            Kind::FirstListed | Kind::SecondListed | Kind::StrangerListed => LISTED,
            Kind::FirstUnlisted | Kind::SecondUnlisted => UNLISTED,
        }
    }

    fn source(self) -> Ipv4Addr {
        match self {
            Kind::FirstListed | Kind::FirstUnlisted => Ipv4Addr::new(127, 66, 0, 1),
            Kind::SecondListed | Kind::SecondUnlisted => Ipv4Addr::new(127, 66, 0, 2),
            Kind::StrangerListed => Ipv4Addr::new(127, 66, 0, 9),
        }
    }

    /// Where the books of a node without faults have this kind.
    pub(crate) fn row(self) -> Row {
        let row = |subscriber: &str, class: &str, service: &str, reason: &str| Row {
            subscriber: subscriber.into(),
            class: class.into(),
            service: service.into(),
            reason: reason.into(),
        };
        match self {
            Kind::FirstListed => row("77010000001", "exempt", "study", ""),
            Kind::FirstUnlisted => row("77010000001", "charged", "", "not_listed"),
            Kind::SecondListed => row("77010000002", "exempt", "study", ""),
            Kind::SecondUnlisted => row("77010000002", "charged", "", "not_listed"),
            Kind::StrangerListed => row("", "unattributed", "", "no_subscriber"),
        }
    }
}

/// One line of the books.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Row {
    pub(crate) subscriber: String,
    pub(crate) class: String,
    pub(crate) service: String,
    pub(crate) reason: String,
}

impl Row {
    /// Where bytes without a verdict go when the process that carried them is gone.
    pub(crate) fn orphaned() -> Row {
        Row {
            subscriber: String::new(),
            class: "unattributed".into(),
            service: String::new(),
            reason: "undecided".into(),
        }
    }
}

/// Bytes up and down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bytes {
    pub(crate) up: u64,
    pub(crate) down: u64,
}

impl Bytes {
    pub(crate) fn add(&mut self, other: Bytes) {
        self.up += other.up;
        self.down += other.down;
    }

    pub(crate) fn plus(mut self, other: Bytes) -> Bytes {
        self.add(other);
        self
    }

    pub(crate) fn at_most(self, other: Bytes) -> bool {
        self.up <= other.up && self.down <= other.down
    }
}

/// Sums by line.
pub(crate) type Sums = BTreeMap<Row, Bytes>;

/// Everything under one class, whoever's.
pub(crate) fn sum_where(sums: &Sums, keep: impl Fn(&Row) -> bool) -> Bytes {
    sums.iter().filter(|(row, _)| keep(row)).fold(Bytes::default(), |sum, (_, bytes)| sum.plus(*bytes))
}

/// What a node is to be like; paths are relative to its folder unless absolute.
#[derive(Clone)]
pub(crate) struct Shape {
    pub(crate) state_dir: String,
    pub(crate) usage_dir: String,
    pub(crate) staging_dir: String,
    pub(crate) period: &'static str,
    pub(crate) checkpoint: &'static str,
    pub(crate) unsaved_max: &'static str,
    pub(crate) drain: &'static str,
    pub(crate) drain_hard: &'static str,
    pub(crate) identify_deadline: &'static str,
}

impl Default for Shape {
    fn default() -> Shape {
        Shape {
            state_dir: "state".into(),
            usage_dir: "usage".into(),
            staging_dir: "usage.staging".into(),
            period: "1 s",
            checkpoint: "200 ms",
            unsaved_max: "60 s",
            drain: "20 s",
            drain_hard: "20 s",
            identify_deadline: "20 s",
        }
    }
}

/// A node's folders and addresses, with the origin behind it.
pub(crate) struct Lab {
    folder: tempfile::TempDir,
    pub(crate) state: PathBuf,
    pub(crate) usage: PathBuf,
    pub(crate) staging: PathBuf,
    pub(crate) listener: SocketAddr,
    admin: SocketAddr,
    pub(crate) origin: Arc<Origin>,
}

/// Distinguishes the nodes of one test process.
static LABS: AtomicU32 = AtomicU32::new(0);

impl Lab {
    pub(crate) fn new(shape: &Shape) -> Lab {
        let folder = tempfile::Builder::new().prefix("zrgw-crash-").tempdir().unwrap();
        let number = std::process::id().wrapping_mul(16).wrapping_add(LABS.fetch_add(1, Ordering::Relaxed));
        let [_, _, high, low] = number.to_be_bytes();
        let low = low.clamp(1, 254);
        let own = Ipv4Addr::new(127, 77, high, low);
        let origin_address = Ipv4Addr::new(127, 78, high, low);
        let origin = Origin::start(origin_address);
        let path = |name: &str| folder.path().join(name);
        let config = format!(
            "[node]\nid = \"crash-1\"\nstate_dir = \"{state}\"\nworkers = 2\n\
             [[listener]]\nmode = \"proxy_protocol\"\naddress = \"{own}:{LISTENER_PORT}\"\n\
             [list]\nfile = \"list.toml\"\nsignatures = \"none\"\n\
             [subscribers]\nfile = \"subscribers.csv\"\n\
             [export]\ndir = \"{usage}\"\nstaging_dir = \"{staging}\"\nperiod = \"{period}\"\n\
             checkpoint = \"{checkpoint}\"\nunsaved_max = \"{unsaved_max}\"\n\
             [upstream]\nresolvers = []\nport_map = {{ 80 = {ORIGIN_PORT} }}\nallow_private = true\n\
             [[trusted_answers.static]]\nname = \"{LISTED}\"\naddresses = [\"{origin_address}\"]\n\
             [limits]\ndrain = \"{drain}\"\ndrain_hard = \"{drain_hard}\"\n\
             identify_deadline = \"{identify_deadline}\"\n\
             [admin]\naddress = \"{own}:{ADMIN_PORT}\"\n",
            state = shape.state_dir,
            usage = shape.usage_dir,
            staging = shape.staging_dir,
            period = shape.period,
            checkpoint = shape.checkpoint,
            unsaved_max = shape.unsaved_max,
            drain = shape.drain,
            drain_hard = shape.drain_hard,
            identify_deadline = shape.identify_deadline,
        );
        fs::write(path("gateway.toml"), config).unwrap();
        fs::write(
            path("subscribers.csv"),
            "prefix,subscriber_type,subscriber_id\n127.66.0.1/32,msisdn,77010000001\n\
             127.66.0.2/32,msisdn,77010000002\n",
        )
        .unwrap();
        let lab = Lab {
            state: path(&shape.state_dir),
            usage: path(&shape.usage_dir),
            staging: path(&shape.staging_dir),
            listener: SocketAddr::new(IpAddr::V4(own), LISTENER_PORT),
            admin: SocketAddr::new(IpAddr::V4(own), ADMIN_PORT),
            origin,
            folder,
        };
        lab.write_list(1);
        lab
    }

    /// The node's folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes the list with this serial.
    pub(crate) fn write_list(&self, serial: u64) {
        let text = format!(
            "format = 1\nlist_id = \"crash-list\"\nserial = {serial}\nissued = 2020-04-04T10:00:00+06:00\n\
             effective_from = 2020-04-06T00:00:00+06:00\nexpires = 2099-07-06T00:00:00+06:00\n\n\
             [[service]]\nid = \"study\"\nname = \"Study\"\nowner = \"A school\"\nreference = \"Item 1\"\n\n\
             [[service.rule]]\nhost = \"{LISTED}\"\nscope = \"exact\"\nreason = \"a platform\"\n\
             evidence = \"seen\"\ndns_only = false\n"
        );
        fs::write(self.folder().join("list.toml"), text).unwrap();
    }

    /// Starts the node, with the test switch if one is given; does not wait for anything.
    pub(crate) fn spawn(&self, fault: Option<&str>) -> Daemon {
        let log = self.folder().join("gateway.log");
        let stderr = OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
        command.args(["run", "--config"]).arg(self.folder().join("gateway.toml"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).env_remove("ZRGW_FAULT");
        if let Some(fault) = fault {
            command.env("ZRGW_FAULT", fault);
        }
        Daemon { child: command.spawn().unwrap(), ended: None }
    }

    /// Starts the node and waits until it serves.
    pub(crate) fn start(&self, fault: Option<&str>) -> Daemon {
        let mut daemon = self.spawn(fault);
        wait_for("the admin endpoint", || {
            assert!(daemon.ended().is_none(), "the gateway ended at start:\n{}", self.log());
            self.get("/healthz").ok()
        });
        daemon
    }

    /// What the node said so far, in all its runs.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder().join("gateway.log")).unwrap_or_default()
    }

    /// Asks the admin endpoint: status code and body.
    pub(crate) fn get(&self, path: &str) -> io::Result<(u16, String)> {
        let mut stream = TcpStream::connect_timeout(&self.admin, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let code = text.split(' ').nth(1).and_then(|code| code.parse().ok());
        let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        code.zip(body).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// One value of `/metrics`, summed over its labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.get("/metrics").unwrap();
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Waits until `/readyz` has a reason that contains `text`; it must then say 503.
    pub(crate) fn wait_not_ready(&self, text: &str) -> String {
        wait_for(&format!("readyz to say {text:?}"), || {
            let (code, body) = self.get("/readyz").ok()?;
            body.contains(text).then(|| {
                assert_eq!(code, 503, "{body}");
                body
            })
        })
    }

    /// Waits until `/readyz` says 200.
    pub(crate) fn wait_ready(&self) {
        let mut last = String::new();
        let begun = Instant::now();
        loop {
            match self.get("/readyz") {
                Ok((200, _)) => return,
                Ok((_, body)) => last = body,
                Err(_) => {}
            }
            assert!(begun.elapsed() < PATIENCE, "not ready again: {last}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The content of the pickup folder by name; no incomplete file may be among it.
    pub(crate) fn pickup(&self) -> HashMap<String, Vec<u8>> {
        let Ok(entries) = fs::read_dir(&self.usage) else { return HashMap::new() };
        entries
            .map(|entry| {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                assert!(
                    name.ends_with(".csv") || name.ends_with(".manifest.json"),
                    "visible to billing: {name}"
                );
                (name, fs::read(entry.path()).unwrap())
            })
            .collect()
    }

    /// Sums of the usage files, whose rows must be contiguous in each epoch, none twice, every manifest conserved.
    pub(crate) fn totals(&self) -> Sums {
        let mut files: Vec<_> = self.pickup().into_iter().collect();
        files.sort();
        let mut sums = Sums::new();
        let mut sequences: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        for (name, content) in &files {
            if name.ends_with(".manifest.json") {
                let manifest: serde_json::Value = serde_json::from_slice(content).unwrap();
                assert_eq!(manifest["conserved"], true, "{name}: {manifest}");
                continue;
            }
            let mut reader = csv::Reader::from_reader(content.as_slice());
            let header = reader.headers().unwrap().clone();
            for record in reader.records() {
                let record = record.unwrap();
                let field = |name: &str| {
                    record.get(header.iter().position(|column| column == name).unwrap()).unwrap().to_owned()
                };
                sequences
                    .entry(field("epoch").parse().unwrap())
                    .or_default()
                    .push(field("record_seq").parse().unwrap());
                if field("kind") != "usage" {
                    continue;
                }
                let row = Row {
                    subscriber: field("subscriber_id"),
                    class: field("class"),
                    service: field("service_id"),
                    reason: field("reason"),
                };
                if row == Row::orphaned() {
                    assert!(
                        field("flags").split(';').any(|flag| flag == "recovered"),
                        "bytes nobody decided about, without a remark why: {record:?}"
                    );
                }
                let bytes = Bytes {
                    up: field("up_bytes").parse().unwrap(),
                    down: field("down_bytes").parse().unwrap(),
                };
                sums.entry(row).or_default().add(bytes);
            }
        }
        for (epoch, mut found) in sequences {
            found.sort_unstable();
            let wanted: Vec<u64> = (1..=found.len() as u64).collect();
            assert_eq!(found, wanted, "record_seq of epoch {epoch}");
        }
        sums
    }

    /// `billing-export verify` says that nothing is wrong.
    pub(crate) fn verify(&self) {
        let output = billing_export(&["verify".as_ref(), self.usage.as_os_str()]);
        assert!(
            output.status.success(),
            "{}{}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
            self.log()
        );
    }

    /// Every published file rendered again from the ledger has the same bytes.
    pub(crate) fn render_again(&self) {
        let again = tempfile::tempdir().unwrap();
        let pickup = self.pickup();
        let manifests = pickup.iter().filter(|(name, _)| name.ends_with(".manifest.json"));
        let numbers: Vec<String> = manifests
            .map(|(_, content)| {
                let manifest: serde_json::Value = serde_json::from_slice(content).unwrap();
                manifest["file_seq"].as_str().unwrap().to_owned()
            })
            .collect();
        assert!(!numbers.is_empty());
        for number in numbers {
            let output = billing_export(&[
                "render".as_ref(),
                "--state".as_ref(),
                self.state.as_os_str(),
                "--file-seq".as_ref(),
                number.as_ref(),
                "--out".as_ref(),
                again.path().as_os_str(),
            ]);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        for (name, content) in &pickup {
            assert_eq!(fs::read(again.path().join(name)).unwrap(), *content, "{name} rendered again");
        }
    }

    /// What the ledger holds, read from a copy: nothing of the node's own is touched.
    pub(crate) fn ledger(&self) -> Ledger {
        let copy = tempfile::tempdir().unwrap();
        for name in ["ledger.db", "ledger.db-wal"] {
            match fs::copy(self.state.join(name), copy.path().join(name)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => panic!("{name}: {error}"),
            }
        }
        Ledger::read(&copy.path().join("ledger.db"))
    }
}

/// Runs `billing-export`, which stands beside the gateway's binary.
pub(crate) fn billing_export(arguments: &[&std::ffi::OsStr]) -> std::process::Output {
    let command = Path::new(env!("CARGO_BIN_EXE_gateway")).with_file_name("billing-export");
    assert!(
        command.exists(),
        "{}: not there; build it first with `cargo build -p billing-export`",
        command.display()
    );
    Command::new(command).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// What a ledger holds that survives any stop.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    /// Sealed records and open counters.
    pub(crate) sums: Sums,
    /// Bytes without a verdict at the last tick.
    pub(crate) pending: Bytes,
    /// Time of the last tick, in microseconds.
    pub(crate) high_water: Option<i64>,
}

impl Ledger {
    fn read(path: &Path) -> Ledger {
        let connection = rusqlite::Connection::open(path).unwrap();
        let mut ledger = Ledger::default();
        let number = |row: &rusqlite::Row<'_>, index: usize| -> rusqlite::Result<u64> {
            Ok(u64::try_from(row.get::<_, Option<i64>>(index)?.unwrap_or(0)).unwrap())
        };
        let text = |row: &rusqlite::Row<'_>, index: usize| -> rusqlite::Result<String> {
            Ok(row.get::<_, Option<String>>(index)?.unwrap_or_default())
        };
        for query in [
            "SELECT subscriber_id, class, service_id, reason, up_bytes, down_bytes FROM record WHERE kind = 'usage'",
            "SELECT subscriber_id, class, service_id, reason, counter.up_bytes, counter.down_bytes
             FROM counter JOIN total ON total.id = total_id",
        ] {
            // A kill may come before there are any tables.
            let Ok(mut statement) = connection.prepare(query) else { return ledger };
            let rows = statement.query_map([], |row| {
                let found = Row {
                    subscriber: text(row, 0)?,
                    class: text(row, 1)?,
                    service: text(row, 2)?,
                    reason: text(row, 3)?,
                };
                Ok((found, Bytes { up: number(row, 4)?, down: number(row, 5)? }))
            });
            for found in rows.unwrap() {
                let (row, bytes) = found.unwrap();
                ledger.sums.entry(row).or_default().add(bytes);
            }
        }
        let segment = "SELECT pending_after_up, pending_after_down, high_water_utc FROM segment";
        let found = connection.query_row(segment, [], |row| {
            Ok((Bytes { up: number(row, 0)?, down: number(row, 1)? }, row.get::<_, Option<String>>(2)?))
        });
        if let Ok((pending, high_water)) = found {
            ledger.pending = pending;
            ledger.high_water =
                high_water.map(|text| text.parse::<jiff::Timestamp>().unwrap().as_microsecond());
        }
        ledger
    }

    /// All bytes that are safe: counted, or without a verdict.
    pub(crate) fn safe(&self) -> Bytes {
        sum_where(&self.sums, |_| true).plus(self.pending)
    }
}

/// A running gateway; killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    ended: Option<ExitStatus>,
}

impl Daemon {
    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().unwrap();
        }
        self.ended
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let id = i32::try_from(self.child.id()).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait_for("the gateway to end", || self.ended())
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.wait();
    }

    /// SIGTERM; it must end as asked.
    pub(crate) fn stop(mut self, lab: &Lab) {
        self.signal(rustix::process::Signal::TERM);
        let status = self.wait();
        assert!(status.success(), "{status}\n{}", lab.log());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.ended().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Answers `GET /{kind}/{bytes}` with so many bytes, and `GET /{kind}/{bytes}/{pause}` in pieces of 200 with pauses of so
/// many milliseconds between them.
pub(crate) struct Origin {
    /// Bytes it was about to write, by kind: what was carried down is never more.
    offered: [AtomicU64; 5],
}

/// Length of one piece of a slow answer.
pub(crate) const PIECE: usize = 200;

impl Origin {
    fn start(address: Ipv4Addr) -> Arc<Origin> {
        let listener = TcpListener::bind((address, ORIGIN_PORT)).unwrap();
        let origin = Arc::new(Origin { offered: Default::default() });
        let shared = Arc::clone(&origin);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { continue };
                let origin = Arc::clone(&shared);
                let thread = std::thread::Builder::new().stack_size(128 * 1024);
                let _ = thread.spawn(move || origin.serve(stream));
            }
        });
        origin
    }

    fn serve(&self, mut stream: TcpStream) -> Option<()> {
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        stream.set_nodelay(true).ok()?;
        let mut head = Vec::new();
        let mut block = [0_u8; 2048];
        loop {
            let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") else {
                match stream.read(&mut block) {
                    Ok(0) | Err(_) => return None,
                    Ok(count) => head.extend_from_slice(&block[..count]),
                }
                continue;
            };
            let text = String::from_utf8(head.drain(..end + 4).collect()).ok()?;
            let mut path = text.split(' ').nth(1)?.split('/').skip(1);
            let kind: usize = path.next()?.parse().ok()?;
            let length: usize = path.next()?.parse().ok()?;
            let pause: Option<u64> = path.next().and_then(|pause| pause.parse().ok());
            let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes();
            answer.resize(answer.len() + length, b'x');
            let piece = if pause.is_some() { PIECE } else { answer.len() };
            for part in answer.chunks(piece) {
                self.offered[kind].fetch_add(part.len() as u64, Ordering::SeqCst);
                stream.write_all(part).ok()?;
                std::thread::sleep(Duration::from_millis(pause.unwrap_or(0)));
            }
        }
    }
}

/// An answer that was read whole: all its bytes, and those of its request, passed the gateway by then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange {
    pub(crate) at: i64,
    pub(crate) bytes: Bytes,
}

/// What the subscribers know.
#[derive(Default)]
pub(crate) struct Books {
    /// Bytes about to be written, by kind: what was carried up is never more.
    sent: [AtomicU64; 5],
    /// Bytes read, by kind.
    read: [AtomicU64; 5],
    /// Whole exchanges, in the order of their ends.
    exchanges: Mutex<Vec<Exchange>>,
    /// Connections that ended otherwise than asked for.
    pub(crate) broken: AtomicU64,
    /// Exchanges that were whole.
    pub(crate) whole: AtomicU64,
}

impl Books {
    /// Bytes of this kind that the subscribers sent and read; exact when all of them have ended.
    pub(crate) fn carried(&self, kind: Kind) -> Bytes {
        let index = kind.index();
        Bytes { up: self.sent[index].load(Ordering::SeqCst), down: self.read[index].load(Ordering::SeqCst) }
    }

    /// Bytes of this kind of which no more can have been carried at this moment.
    pub(crate) fn at_most(&self, origin: &Origin, kind: Kind) -> Bytes {
        let index = kind.index();
        Bytes {
            up: self.sent[index].load(Ordering::SeqCst),
            down: origin.offered[index].load(Ordering::SeqCst),
        }
    }

    /// Bytes that passed the gateway from `from` to `to` for certain.
    pub(crate) fn between(&self, from: i64, to: i64) -> Bytes {
        let exchanges = self.exchanges.lock().unwrap();
        let inside = exchanges.iter().filter(|exchange| exchange.at > from && exchange.at <= to);
        inside.fold(Bytes::default(), |sum, exchange| sum.plus(exchange.bytes))
    }

    /// The books of a node that lost nothing.
    pub(crate) fn rows(&self) -> Sums {
        let rows = Kind::ALL.into_iter().map(|kind| (kind.row(), self.carried(kind)));
        rows.filter(|(_, bytes)| *bytes != Bytes::default()).collect()
    }
}

/// A subscriber's connection.
pub(crate) struct Visit<'a> {
    pub(crate) stream: TcpStream,
    books: &'a Books,
    kind: Kind,
    sent: Bytes,
}

impl<'a> Visit<'a> {
    /// Connects as the balancer would on behalf of the subscriber.
    pub(crate) fn open(lab: &Lab, books: &'a Books, kind: Kind) -> io::Result<Visit<'a>> {
        Visit::to(lab.listener, books, kind)
    }

    fn to(listener: SocketAddr, books: &'a Books, kind: Kind) -> io::Result<Visit<'a>> {
        let mut stream = TcpStream::connect_timeout(&listener, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let IpAddr::V4(own) = listener.ip() else { unreachable!("listeners are v4") };
        let [_, _, high, low] = own.octets();
        // The header is the balancer's, not the subscriber's: it is in nobody's books.
        write!(stream, "PROXY TCP4 {} 127.78.{high}.{low} 40000 80\r\n", kind.source())?;
        Ok(Visit { stream, books, kind, sent: Bytes::default() })
    }

    /// Sends bytes.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.books.sent[self.kind.index()].fetch_add(bytes.len() as u64, Ordering::SeqCst);
        self.sent.up += bytes.len() as u64;
        self.stream.write_all(bytes)
    }

    /// The request for an answer of so many bytes.
    pub(crate) fn request(&self, length: u64, pause_ms: Option<u64>) -> String {
        let pause = pause_ms.map(|pause| format!("/{pause}")).unwrap_or_default();
        let (kind, host) = (self.kind.index(), self.kind.host());
        format!("GET /{kind}/{length}{pause} HTTP/1.1\r\nHost: {host}\r\n\r\n")
    }

    /// Reads what is there; 0 at the end.
    pub(crate) fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(block)?;
        self.books.read[self.kind.index()].fetch_add(count as u64, Ordering::SeqCst);
        self.sent.down += count as u64;
        Ok(count)
    }

    /// Reads an answer of so many bytes with its head.
    pub(crate) fn read_answer(&mut self, length: u64) -> io::Result<()> {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").len() as u64;
        let wanted = self.sent.down + head + length;
        let mut block = vec![0_u8; 64 * 1024];
        while self.sent.down < wanted {
            if self.read(&mut block)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    /// One whole exchange.
    pub(crate) fn exchange(&mut self, length: u64, hesitate: Duration) -> io::Result<()> {
        let before = self.sent;
        let request = self.request(length, None);
        let (first, second) = request.as_bytes().split_at(request.len() / 2);
        self.send(first)?;
        std::thread::sleep(hesitate);
        self.send(second)?;
        self.read_answer(length)?;
        let bytes = Bytes { up: self.sent.up - before.up, down: self.sent.down - before.down };
        self.books.exchanges.lock().unwrap().push(Exchange { at: micros_now(), bytes });
        self.books.whole.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Sends FIN and reads to the end, so that everything that was acknowledged is in the books.
    pub(crate) fn end(mut self) -> io::Result<()> {
        let finished = self.stream.shutdown(Shutdown::Write);
        let mut block = vec![0_u8; 64 * 1024];
        while self.read(&mut block)? > 0 {}
        finished
    }
}

/// Subscribers who browse until told to stop.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    pub(crate) books: Arc<Books>,
}

impl Load {
    /// One subscriber of each kind, some of whom hesitate in the middle of a request.
    pub(crate) fn start(lab: &Lab, seed: u64) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let books = Arc::new(Books::default());
        let threads = Kind::ALL
            .into_iter()
            .map(|kind| {
                let (stop, books, listener) = (Arc::clone(&stop), Arc::clone(&books), lab.listener);
                let random = Random(seed ^ (kind.index() as u64) << 32);
                std::thread::spawn(move || browse(listener, kind, &books, random, &stop))
            })
            .collect();
        Load { stop, threads, books }
    }

    /// Tells them to stop and waits until each has read to the end of his last connection.
    pub(crate) fn end(mut self) -> Arc<Books> {
        self.stop.store(true, Ordering::SeqCst);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
        Arc::clone(&self.books)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// One subscriber.
fn browse(listener: SocketAddr, kind: Kind, books: &Books, mut random: Random, stop: &AtomicBool) {
    while !stop.load(Ordering::SeqCst) {
        let Ok(mut visit) = Visit::to(listener, books, kind) else {
            std::thread::sleep(Duration::from_millis(3));
            continue;
        };
        let mut outcome = Ok(());
        for _ in 0..random.range(1, 4) {
            let hesitate = Duration::from_millis(if random.range(0, 4) == 0 { 40 } else { 0 });
            let length = if random.range(0, 8) == 0 { 300_000 } else { random.range(0, 20_000) };
            outcome = visit.exchange(length, hesitate);
            if outcome.is_err() {
                break;
            }
        }
        let ended = visit.end();
        if outcome.and(ended).is_err() {
            books.broken.fetch_add(1, Ordering::Relaxed);
        }
        std::thread::sleep(Duration::from_millis(random.range(1, 12)));
    }
}

/// The file system of a folder filled to the last byte; dropped, the space is free again.
pub(crate) struct Filler(PathBuf);

impl Filler {
    pub(crate) fn fill(folder: &Path) -> Filler {
        let path = folder.join("filler");
        let mut file = File::create(&path).unwrap();
        for length in [64 * 1024, 4096, 1] {
            let block = vec![0_u8; length];
            while file.write_all(&block).is_ok() {}
        }
        Filler(path)
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

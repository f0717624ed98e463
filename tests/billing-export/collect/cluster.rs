//! A PostgreSQL of the test program: Debian's binaries, a folder of its own, a socket in it, synced to the disk as in earnest.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Longest wait for a state of the server.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the server until standard input ends, however this program ends. Second word: what to remove then, or nothing.
const KEEPER: &str = r#"
folder=$1; remove=$2; shift 2
"$@" >"$folder/log" 2>&1 & server=$!
read -r _
signal=INT; [ -z "$remove" ] || signal=QUIT
kill -$signal "$server" 2>/dev/null; wait "$server"
[ -z "$remove" ] || rm -rf "$remove"
"#;

/// A server.
pub(crate) struct Cluster {
    /// Where it stands; none where the keeper removes it.
    root: Option<TempDir>,
    /// The same.
    path: PathBuf,
    /// Its port on 127.0.0.1, which its socket is named after.
    port: u16,
    /// Runs it.
    keeper: Option<(Child, ChildStdin)>,
}

/// Where the newest server's programs are.
fn programs() -> PathBuf {
    let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .expect("wanted the Debian package postgresql (tests/run installs it)")
        .map(|entry| entry.unwrap().path().join("bin"))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    versions.sort();
    versions.pop().expect("wanted the Debian package postgresql (tests/run installs it)")
}

/// A command of the server's user: PostgreSQL refuses to run as root.
fn unprivileged(program: &str) -> Vec<String> {
    let mut words = Vec::new();
    if rustix::process::geteuid().is_root() {
        words.extend(["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"].map(str::to_owned));
    }
    words.push(programs().join(program).display().to_string());
    words
}

impl Cluster {
    /// A new one, running. Its folder is removed by the keeper, or with the value.
    fn make(removed_by_keeper: bool) -> Cluster {
        let root = tempfile::Builder::new().prefix("zrgw-pg").tempdir().unwrap();
        let path = root.path().to_owned();
        if rustix::process::geteuid().is_root() {
            let chown = Command::new("chown").arg("nobody:nogroup").arg(&path).status().unwrap();
            assert!(chown.success());
        }
        let words = unprivileged("initdb");
        let made = Command::new(&words[0])
            .args(&words[1..])
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync", "-D"])
            .arg(path.join("data"))
            .current_dir("/")
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        // All are let in but one role, whose password counts.
        let rules = "local all secret scram-sha-256\nlocal all all trust\nhost all all 127.0.0.1/32 trust\n";
        fs::write(path.join("data/pg_hba.conf"), rules).unwrap();
        let root = if removed_by_keeper {
            let _ = root.keep();
            None
        } else {
            Some(root)
        };
        // Free at this moment; the system gives out others before it gives out this one again.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut cluster = Cluster { root, path, port, keeper: None };
        cluster.start();
        cluster
    }

    /// One of a test alone, which may kill it.
    pub(crate) fn own() -> Cluster {
        Cluster::make(false)
    }

    /// Starts it, and waits until it answers.
    pub(crate) fn start(&mut self) {
        let remove = if self.root.is_none() { self.path.display().to_string() } else { String::new() };
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "sh"])
            .arg(&self.path)
            .arg(remove)
            .args(unprivileged("postgres"))
            .arg("-D")
            .arg(self.path.join("data"))
            .arg("-k")
            .arg(&self.path)
            .args(["-p", &self.port.to_string()])
            .args([
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                "fsync=on",
                "-c",
                "max_connections=60",
                "-c",
                "autovacuum=off",
            ])
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let input = keeper.stdin.take().unwrap();
        self.keeper = Some((keeper, input));
        let begin = Instant::now();
        while !self.try_sql("postgres", "SELECT 1").0 {
            let log = || fs::read_to_string(self.path.join("log")).unwrap_or_default();
            assert!(begin.elapsed() < PATIENCE, "{}", log());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Kills it with all its processes, as a machine that loses its power does but for the disk.
    pub(crate) fn kill(&mut self) {
        let text = fs::read_to_string(self.path.join("data/postmaster.pid")).unwrap();
        let pid = text.lines().next().unwrap().parse().unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        self.stop();
        let _ = fs::remove_file(self.path.join("data/postmaster.pid"));
    }

    /// Ends it.
    pub(crate) fn stop(&mut self) {
        if let Some((mut keeper, mut input)) = self.keeper.take() {
            let _ = input.write_all(b"\n");
            drop(input);
            let _ = keeper.wait();
        }
    }

    /// Runs SQL with `psql`: whether it succeeded, and what it printed.
    pub(crate) fn try_sql(&self, database: &str, text: &str) -> (bool, String) {
        let output = Command::new("psql")
            .args([
                "-X",
                "-q",
                "-A",
                "-t",
                "-F",
                "|",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                "postgres",
                "-d",
                database,
                "-h",
            ])
            .arg(&self.path)
            .args(["-p", &self.port.to_string(), "-c", text])
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, errors) = (text(&output.stdout), text(&output.stderr));
        (output.status.success(), if output.status.success() { out } else { errors })
    }

    /// A new database of this cluster.
    pub(crate) fn database(&self) -> String {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        // Two tests at once: a template that is being copied is busy for a moment.
        let begin = Instant::now();
        loop {
            let (done, text) = self.try_sql("postgres", &format!("CREATE DATABASE {name}"));
            if done {
                return name;
            }
            assert!(begin.elapsed() < PATIENCE, "{text}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Host and port of its socket, as a URL has them.
    pub(crate) fn host(&self) -> String {
        format!("host={} port={}", self.path.display(), self.port)
    }

    /// The folder of its socket.
    pub(crate) fn socket_dir(&self) -> &Path {
        &self.path
    }

    /// Its port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The one that all tests share, each with a database of its own. It ends with this program.
pub(crate) fn shared() -> &'static Cluster {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    SHARED.get_or_init(|| Cluster::make(true))
}

//! The proxies under measurement: each started with one thread as its makers advise for passing TLS on by its name.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a proxy may take to listen.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A running proxy; killed when it is dropped.
pub struct Proxy {
    pub name: &'static str,
    pub address: SocketAddr,
    child: Child,
    /// The process that does the work.
    pid: u32,
}

/// What every proxy is told: the one name, where it leads, and where DNS is asked for it.
pub struct Target<'a> {
    pub name: &'a str,
    pub origin: SocketAddr,
    pub resolver: SocketAddr,
    pub folder: &'a Path,
    /// Where the proxy listens.
    pub host: IpAddr,
}

/// Whether a program is there.
pub fn has(program: &str) -> bool {
    Command::new(program).arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// A port that is free at the moment.
fn free(host: IpAddr) -> SocketAddr {
    TcpListener::bind((host, 0)).unwrap().local_addr().unwrap()
}

impl Proxy {
    /// One worker of ours, steered.
    pub fn gateway(target: &Target<'_>) -> Self {
        let (address, folder) = (free(target.host), target.folder);
        let list = format!(
            "format = 1\nlist_id = \"bench\"\nserial = 1\nissued = 2020-01-01T00:00:00Z\n\
             effective_from = 2020-01-01T00:00:00Z\nexpires = 2099-01-01T00:00:00Z\n\n[[service]]\nid = \"study\"\n\
             name = \"Study\"\nowner = \"Bench\"\nreference = \"Bench\"\n\n[[service.rule]]\nhost = \"{}\"\n\
             reason = \"bench\"\nevidence = \"seen\"\ndns_only = false\n",
            target.name
        );
        let config = format!(
            "[node]\nid = \"bench\"\nstate_dir = \"state\"\nworkers = 1\n[[listener]]\nmode = \"steered\"\n\
             address = \"{address}\"\n[list]\nfile = \"list.toml\"\nsignatures = \"none\"\n[subscribers]\n\
             file = \"subscribers.csv\"\n[export]\ndir = \"usage\"\n[upstream]\nresolvers = [\"{}\"]\n\
             port_map = {{ 443 = {} }}\nallow_private = true\n[limits]\nflows_per_subscriber_max = 1000000\n\
             [admin]\naddress = \"127.0.0.1:0\"\n[log]\nlevel = \"error\"\n",
            target.resolver,
            target.origin.port()
        );
        fs::write(folder.join("list.toml"), list).unwrap();
        fs::write(
            folder.join("subscribers.csv"),
            "prefix,subscriber_type,subscriber_id\n127.0.0.0/8,account,a\n10.77.0.0/24,account,a\n",
        )
        .unwrap();
        fs::write(folder.join("gateway.toml"), config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
        command.args(["run", "--config", "gateway.toml"]).current_dir(folder);
        Self::start("gateway", address, command)
    }

    /// One thread, spliced in both directions.
    pub fn haproxy(target: &Target<'_>) -> Self {
        let address = free(target.host);
        let config = format!(
            "global\n nbthread 1\n maxconn 9600\n tune.pipesize 1048576\n maxpipes 64\ndefaults\n mode tcp\n \
             timeout connect 5s\n timeout client 900s\n timeout server 900s\n option splice-request\n \
             option splice-response\nfrontend in\n bind {address}\n tcp-request inspect-delay 5s\n \
             tcp-request content accept if {{ req_ssl_hello_type 1 }}\n use_backend study if {{ req_ssl_sni -i {} }}\n\
             backend study\n server origin {}\n",
            target.name, target.origin
        );
        let path = target.folder.join("haproxy.cfg");
        fs::write(&path, config).unwrap();
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(path);
        Self::start("haproxy", address, command)
    }

    /// One process, `ssl_preread`.
    pub fn nginx(target: &Target<'_>) -> Self {
        let address = free(target.host);
        let folder = target.folder.display();
        let config = format!(
            "daemon off;\nmaster_process off;\nworker_processes 1;\npid {folder}/nginx.pid;\nerror_log {folder}/nginx.log crit;\n\
             load_module /usr/lib/nginx/modules/ngx_stream_module.so;\nworker_rlimit_nofile 20000;\n\
             events {{ worker_connections 19000; }}\nstream {{\n map $ssl_preread_server_name $to {{ {} {}; }}\n\
             server {{ listen {address} backlog=4096; ssl_preread on; proxy_pass $to; proxy_timeout 900s; }}\n}}\n",
            target.name, target.origin
        );
        let path = target.folder.join("nginx.conf");
        fs::write(&path, config).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-p").arg(target.folder).arg("-c").arg(path);
        Self::start("nginx", address, command)
    }

    /// One process, which reads the name itself.
    pub fn sniproxy(target: &Target<'_>) -> Self {
        let address = free(target.host);
        let config = format!(
            "user root\nlistener {address} {{ protocol tls\n table study\n }}\ntable study {{ {} {}\n}}\n",
            target.name.replace('.', "\\."),
            target.origin
        );
        let path = target.folder.join("sniproxy.conf");
        fs::write(&path, config).unwrap();
        let mut command = Command::new("sniproxy");
        command.arg("-f").arg("-n").arg("19000").arg("-c").arg(path);
        Self::start("sniproxy", address, command)
    }

    /// Starts the program and waits until it listens.
    fn start(name: &'static str, address: SocketAddr, mut command: Command) -> Self {
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap();
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(begun.elapsed() < START_LIMIT, "{name} does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        let pid = child.id();
        Self { name, address, child, pid }
    }

    /// CPU time used so far.
    pub fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap();
        // Behind the parenthesis: fields 3 and on; utime and stime are fields 14 and 15 (proc(5)).
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }

    /// Memory in use, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Open descriptors.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid)).unwrap().count()
    }

    /// Memory of its own and its share of what it has in common with others, in bytes.
    pub fn proportional_set_size(&self) -> u64 {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid)).unwrap();
        let line = rollup.lines().find(|line| line.starts_with("Pss:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

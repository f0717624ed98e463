//! What only the machine can say of a configuration: folders, the ledger in them, addresses, rights. Looked at for the user who
//! runs the check; nothing is made, changed, or kept from a gateway that runs.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use config::{Config, Listener, Mode, Protocol};
use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::Findings;
use crate::app::export::state;
use crate::app::node::start::sinks;
use crate::net::kernel::load::{self, LoadError};
use crate::net::sys::socket;

/// Variable that a service manager gives to what it starts: it may hold the sockets already (systemd.socket(5)), and a command
/// before the start is not told which.
const STARTED_BY_MANAGER: &str = "INVOCATION_ID";
/// Bit of the right to lead flows here and to mark them (capabilities(7), `CAP_NET_ADMIN`).
const NET_ADMIN: u64 = 1 << 12;
/// Bits of the rights to load programs and attach them: that one, `CAP_PERFMON` and `CAP_BPF`.
const KERNEL_RIGHTS: u64 = NET_ADMIN | 1 << 38 | 1 << 39;

/// A folder with its key.
type Keyed<'c> = (String, &'c PathBuf);

/// Looks at the machine.
pub(super) fn examine(config: &Config, findings: &mut Findings) {
    let usage = [
        ("export.dir".to_owned(), &config.export.dir),
        ("export.staging_dir".to_owned(), &config.export.staging_dir),
    ];
    let pairs: Vec<[Keyed<'_>; 2]> = std::iter::once(usage).chain(sinks::folders(config)).collect();
    let state = ("node.state_dir".to_owned(), &config.node.state_dir);
    let mut is_sound = true;
    for (key, folder) in std::iter::once(&state).chain(pairs.iter().flatten()) {
        if let Some(problem) = folder_problem(folder) {
            findings.problems.push(format!("{}: {problem}", config.at(key)));
            is_sound = false;
        }
    }
    if is_sound {
        findings.problems.extend(pairs.iter().filter_map(|pair| file_systems(config, pair)));
        findings.problems.extend(foreign_ledger(config));
    }
    findings.problems.extend(missing_right(config));
    findings.problems.extend(kernel_problems(config));
    examine_addresses(config, findings);
}

/// What is wrong with a folder, or with where it would be made at the start.
fn folder_problem(folder: &Path) -> Option<String> {
    let there = nearest(folder);
    let found = match fs::metadata(&there) {
        Ok(found) => found,
        Err(error) => return Some(format!("found {} unusable: {error}", there.display())),
    };
    let shown = there.display();
    if !found.is_dir() {
        return Some(format!("found a file at {shown}; wanted a folder"));
    }
    let rights = Access::WRITE_OK | Access::EXEC_OK;
    if found.permissions().readonly() || accessat(CWD, &there, rights, AtFlags::EACCESS).is_err() {
        let user = rustix::process::geteuid().as_raw();
        let what = if there == folder { "" } else { ", where it would be made," };
        return Some(format!(
            "found {shown}{what} not writable for user {user}, who runs this check; wanted it writable for the gateway's user, and the check run as that user"
        ));
    }
    None
}

/// The folder, or the nearest one above it that is there.
fn nearest(folder: &Path) -> PathBuf {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let there = absolute.ancestors().find(|path| path.symlink_metadata().is_ok());
    there.map_or_else(|| PathBuf::from("/"), Path::to_owned)
}

/// Files are renamed from staging into the pickup folder, which no system does from one file system to another.
fn file_systems(config: &Config, [(dir_key, dir), (key, staging_dir)]: &[Keyed<'_>; 2]) -> Option<String> {
    let device = |folder: &PathBuf| fs::metadata(nearest(folder)).map(|found| found.dev());
    let (pickup, staging) = (device(dir).ok()?, device(staging_dir).ok()?);
    (pickup != staging).then(|| {
        format!(
            "{}: found {} on another file system than {dir_key}; wanted them on one, for files are renamed from here to there, and none would ever reach billing",
            config.at(key),
            staging_dir.display()
        )
    })
}

/// With the ledger of another node, or none of ours, a node starts and charges everything.
fn foreign_ledger(config: &Config) -> Option<String> {
    let problem = state::problem(&config.node.state_dir, &config.node.id)?;
    Some(format!("{}: {problem}; until then a node charges everything", config.at("node.state_dir")))
}

/// The rights of who runs the check (proc_pid_status(5)).
fn rights() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let rights = text.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(rights.trim(), 16).ok()
}

/// What is missing for packets that stay in the kernel.
fn kernel_problems(config: &Config) -> Vec<String> {
    let Some(number) = config.listeners.iter().position(|listener| !listener.listens()) else {
        return Vec::new();
    };
    let at = config.at(&config.listener_key(number, "interception"));
    let mut problems = Vec::new();
    if !load::is_built() {
        problems.push(format!("{at}: {}", LoadError::NotBuilt));
    }
    let folder = &config.edge.kernel.pin_dir;
    if !load::is_on_bpf(folder) {
        problems.push(format!(
            "{}: found {} on no bpf file system; wanted a folder below one that is mounted: mount -t bpf bpf /sys/fs/bpf",
            config.at("edge.pin_dir"),
            folder.display()
        ));
    }
    if rights().is_some_and(|rights| rights & KERNEL_RIGHTS != KERNEL_RIGHTS) {
        problems.push(format!(
            "{at}: found \"kernel\" without CAP_NET_ADMIN, CAP_BPF and CAP_PERFMON; wanted those rights: run the gateway as root, or give them (systemd: AmbientCapabilities=)"
        ));
    }
    problems
}

/// Transparent listeners without the right to lead flows to them.
fn missing_right(config: &Config) -> Option<String> {
    let is_led = |listener: &Listener| listener.mode == Mode::Transparent && listener.listens();
    let number = config.listeners.iter().position(is_led)?;
    (rights()? & NET_ADMIN == 0).then(|| {
        format!(
            "{}: found \"transparent\" without CAP_NET_ADMIN; wanted that right: run the gateway as root, or give it the right (systemd: AmbientCapabilities=CAP_NET_ADMIN)",
            config.at(&config.listener_key(number, "mode"))
        )
    })
}

/// Tries every address that a gateway would listen on, unless one runs on this state folder: then they are its own, or the new
/// ones are tried when it is replaced.
fn examine_addresses(config: &Config, findings: &mut Findings) {
    if let Some(process) = state::holder(&config.node.state_dir) {
        let note = format!(
            "a gateway (process {process}) runs on node.state_dir: whether addresses are free is not tried"
        );
        return findings.notes.push(note);
    }
    let is_managed = std::env::var_os(STARTED_BY_MANAGER).is_some();
    for (key, address, protocol) in addresses(config) {
        let tried = match protocol {
            Protocol::Tcp => socket::probe_exclusive(address),
            Protocol::Udp => socket::probe_exclusive_datagrams(address),
        };
        let Err(error) = tried else { continue };
        let (at, name) = (config.at(&key), label(protocol));
        match error.kind() {
            // The daemon says what is missing when it is there: this may be the machine where files are made ready.
            io::ErrorKind::AddrNotAvailable => {
                findings.notes.push(format!("{at}: this machine does not have the address of {address}: `ip address` lists those it has"));
            }
            io::ErrorKind::AddrInUse if is_managed => {
                findings.notes.push(format!("{at}: {address}/{name} is taken, by the service manager for the gateway if that is set up"));
            }
            io::ErrorKind::AddrInUse => findings.problems.push(format!(
                "{at}: found {address}/{name} in use by another program; wanted it free: `ss -lnp{}` names the program",
                if protocol == Protocol::Tcp { 't' } else { 'u' }
            )),
            io::ErrorKind::PermissionDenied => findings.problems.push(format!(
                "{at}: found {address}/{name}, which user {} may not listen on; wanted a port from 1024 on, or CAP_NET_BIND_SERVICE for the gateway",
                rustix::process::geteuid().as_raw()
            )),
            _ => findings.problems.push(format!("{at}: found {address}/{name} unusable: {error}; wanted another address")),
        }
    }
}

/// Every address with a port that a gateway of this configuration listens on.
fn addresses(config: &Config) -> Vec<(String, SocketAddr, Protocol)> {
    let mut all = Vec::new();
    for (number, listener) in config.listeners.iter().enumerate().filter(|(_, one)| one.listens()) {
        let key = config.listener_key(number, "address");
        all.extend(listener.protocols.iter().map(|protocol| (key.clone(), listener.address, *protocol)));
    }
    if let Some(dns) = &config.dns {
        for address in &dns.listen {
            all.extend([Protocol::Udp, Protocol::Tcp].map(|one| ("dns.listen".to_owned(), *address, one)));
        }
        let over_tls = dns.tls.iter().flat_map(|tls| &tls.listen);
        all.extend(over_tls.map(|address| ("dns.tls_listen".to_owned(), *address, Protocol::Tcp)));
    }
    let accounting = config.radius.iter().flat_map(|radius| &radius.listen);
    all.extend(accounting.map(|address| ("radius.listen".to_owned(), *address, Protocol::Udp)));
    all.push(("admin.address".to_owned(), config.admin.address, Protocol::Tcp));
    all.retain(|(_, address, _)| address.port() != 0);
    all
}

/// The protocol in messages.
fn label(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

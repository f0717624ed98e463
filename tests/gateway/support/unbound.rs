//! A resolver of another make: Unbound with records of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::ask::{A, ask, query};
use super::{eventually, free_port};

/// A listed name that it knows.
pub const LISTED: &str = "www.listed.example";

/// An Unbound with a zone of its own; ended with the value.
pub struct Unbound {
    child: std::process::Child,
    pub address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Unbound {
    /// With more of its configuration.
    pub fn start(extra: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let long: String = (0..12)
            .map(|number| format!("local-data: 'long.zone.example. TXT \"{number}{}\"'\n", "x".repeat(200)))
            .collect();
        let config = format!(
            "server:\n interface: 127.0.0.1@{port}\n do-daemonize: no\n use-syslog: no\n logfile: \"\"\n chroot: \"\"\n\
             username: \"\"\n directory: \"{folder}\"\n pidfile: \"\"\n num-threads: 1\n rrset-roundrobin: no\n access-control: 127.0.0.0/8 allow\n\
             local-zone: \"zone.example.\" static\n local-data: \"www.zone.example. 60 A 127.0.2.1\"\n\
             local-data: \"www.zone.example. 60 AAAA 2001:db8::1\"\n\n\
             local-data: \"{LISTED}. 60 A 127.0.2.1\"\n local-data: '{LISTED}. 60 HTTPS 1 . alpn=h3,h2 ipv4hint=127.0.2.9 port=443'\n{long}\n\
             remote-control:\n control-enable: no\n{extra}\n",
            folder = folder.path().display()
        );
        let file = folder.path().join("unbound.conf");
        std::fs::write(&file, config).unwrap();
        let child = std::process::Command::new("unbound").arg("-d").arg("-c").arg(&file).spawn().unwrap();
        let unbound = Self { child, address, _folder: folder };
        let answers = || {
            ask(Ipv4Addr::LOCALHOST, address, &query(1, "www.zone.example", A), Duration::from_millis(200))
                .is_some()
        };
        assert!(eventually(answers), "unbound does not answer");
        unbound
    }

    /// That tells by dnstap, over this socket, what it answers.
    pub fn telling(socket: &Path) -> Self {
        Self::start(&format!(
            "dnstap:\n dnstap-enable: yes\n dnstap-socket-path: \"{}\"\n dnstap-log-client-response-messages: yes\n",
            socket.display()
        ))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap(), signal).unwrap();
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

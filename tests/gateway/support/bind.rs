//! BIND with a zone of its own: what it says to odd messages, and how it reads ours.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::ask::{A, ask, query};
use super::{eventually, free_port};

/// A `named` with the zone `zone.example`; ended with the value.
pub struct Bind {
    child: std::process::Child,
    pub address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Bind {
    /// Answers everybody on loopback.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let path = folder.path().display();
        let config = format!(
            "options {{ directory \"{path}\"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; \
             allow-query {{ any; }}; recursion yes; pid-file none; session-keyfile none; dnssec-validation no; \
             empty-zones-enable no; }};\ncontrols {{ }};\n\
             zone \"zone.example\" {{ type primary; file \"zone\"; }};\n"
        );
        let zone = "$TTL 60\n@ SOA ns admin 1 3600 600 86400 60\n@ NS ns\nns A 127.0.2.53\nwww A 127.0.2.1\n";
        std::fs::write(folder.path().join("zone"), zone).unwrap();
        let file = folder.path().join("named.conf");
        std::fs::write(&file, config).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child =
            std::process::Command::new("named").arg("-g").arg("-c").arg(&file).stderr(log).spawn().unwrap();
        let bind = Self { child, address, _folder: folder };
        let answers = || {
            ask(Ipv4Addr::LOCALHOST, address, &query(1, "www.zone.example", A), Duration::from_millis(200))
                .is_some()
        };
        assert!(eventually(answers), "named does not answer");
        bind
    }
}

impl Drop for Bind {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

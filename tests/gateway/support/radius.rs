//! RADIUS accounting at a running gateway: its configuration, and FreeRADIUS's radclient as the access server.

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use super::{Setup, has};

/// What the gateway and its access servers share.
pub const SECRET: &str = "a secret of the tests";

/// Whether there is a radclient; says so where there is none.
pub fn has_radclient() -> bool {
    let found = has("radclient");
    if !found {
        println!("SKIPPED: no radclient");
    }
    found
}

/// A gateway that hears accounting at this address from the machine itself, with one static row that is in no test's way. `more` are
/// further keys of the client.
pub fn hears(setup: Setup, listen: &str, more: &str) -> Setup {
    setup.write("subscribers.csv", "prefix,subscriber_type,subscriber_id\n10.7.0.9/32,account,s9\n");
    setup.write("bng.secret", format!("{SECRET}\n"));
    std::fs::set_permissions(setup.path("bng.secret"), std::fs::Permissions::from_mode(0o600)).unwrap();
    setup.set("radius", &format!("listen = [\"{listen}\"]")).raw(&format!(
        "[[radius.client]]\nname = \"bng-1\"\nprefix = \"127.0.0.1/32\"\nsecret_file = \"bng.secret\"\nsubscriber = [\"user-name:account\"]\n{more}\n"
    ))
}

/// Has radclient send a request; whether it had its answer.
pub fn told(to: SocketAddr, secret: &str, attributes: &str) -> bool {
    let mut child = Command::new("radclient")
        .args(["-r", "2", "-t", "2", "-x", &to.to_string(), "acct", secret])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(attributes.as_bytes()).unwrap();
    child.wait().unwrap().success()
}

//! What goes wrong around the hearing of accounting: files that are removed, requests to another of the machine's addresses, floods.

use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use support::eventually;
use support::world::World;

use super::{ADDRESS, Heard, SECRET, now, request, told};

#[test]
fn b22_sessions_whose_database_is_removed_are_written_again_and_outlive_the_process() {
    let Some(heard) = Heard::new(|setup| setup.set("limits", "drain = \"0 s\"")) else { return };
    heard.tell("Start", "a", "pupil", ADDRESS);
    let folder = heard.world.gateway.setup().path("state");
    for name in ["sessions.db", "sessions.db-wal", "sessions.db-shm"] {
        std::fs::remove_file(folder.join(name)).unwrap();
    }
    // Nobody need say anything for it.
    assert!(eventually(|| folder.join("sessions.db").exists()), "{}", heard.world.gateway.log());
    heard.tell("Start", "b", "other", "10.7.0.2");
    heard.world.gateway.await_metric("zrgw_attention{reason=\"radius_unsaved\"}", 0);
    let Heard { world: World { gateway, resolver, origin }, radius } = heard;
    let gateway = gateway.kill().start();
    let heard = Heard { world: World { gateway, resolver, origin }, radius };
    for (address, user) in [(ADDRESS, "pupil"), ("10.7.0.2", "other")] {
        assert_eq!(heard.session(address).0["subscriber_id"], user, "{}", heard.world.gateway.log());
    }
    heard.stop();
}

#[test]
fn an_answer_leaves_by_the_address_that_the_request_came_to() {
    let Some(heard) = Heard::listening("0.0.0.0", |setup| setup) else { return };
    let elsewhere = SocketAddr::from(([127, 0, 0, 2], heard.radius.port()));
    assert!(told(elsewhere, SECRET, &request("Start", "a", "pupil", ADDRESS, now())));
    heard.stop();
}

#[test]
fn what_finds_no_room_at_a_socket_is_counted() {
    let Some(heard) = Heard::new(|setup| setup) else { return };
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    // Nobody reads what the disk does not take: the gateway stands still meanwhile.
    heard.world.gateway.signal(Signal::STOP);
    for _ in 0..40_000 {
        socket.send_to(&[4; 1_400], heard.radius).unwrap();
    }
    heard.world.gateway.signal(Signal::CONT);
    let dropped = || heard.world.gateway.metric("zrgw_radius_dropped_total");
    assert!(eventually(|| dropped() > 0), "{}", dropped());
    heard.tell("Start", "a", "pupil", ADDRESS);
    heard.stop();
}

#[test]
fn canary_what_is_known_of_sessions_stands_in_one_file_that_nobody_else_may_read() {
    let Some(heard) = Heard::new(|setup| setup) else { return };
    let canaries: [&str; 3] = ["canary-session", "canary-pupil", "10.7.0.77"];
    heard.tell("Start", canaries[0], canaries[1], canaries[2]);
    let has = |path: &Path| {
        let bytes = std::fs::read(path).unwrap_or_default();
        canaries.iter().any(|canary| bytes.windows(canary.len()).any(|part| part == canary.as_bytes()))
    };
    let folder = heard.world.gateway.setup().path("");
    let files: Vec<PathBuf> = ["", "state", "usage"]
        .iter()
        .flat_map(|name| std::fs::read_dir(folder.join(name)).into_iter().flatten())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    let with: Vec<_> = files.iter().filter(|path| has(path)).collect();
    assert!(!with.is_empty(), "{files:?}");
    for path in with {
        let name = path.file_name().unwrap().to_string_lossy();
        assert!(path.starts_with(folder.join("state")) && name.starts_with("sessions.db"), "{path:?}");
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o077, 0, "{name}");
    }
    heard.stop();
}

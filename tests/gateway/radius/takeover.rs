//! Sessions of accounting between two processes.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use billing_export::ByteBasis;
use gateway::app::node::takeover::terms;
use serde_json::Value;
use support::client::finish;
use support::successor::Successor;
use support::world::World;
use support::{PATIENCE, Setup, eventually, free_port};

use super::{ADDRESS, Heard, SECRET, exchange, now, request, told, visit};

/// A gateway whose admin endpoint stays where it is, and its address.
fn heard(change: impl FnOnce(Setup) -> Setup) -> Option<(Heard, String)> {
    let admin = format!("127.0.0.1:{}", free_port());
    let heard = Heard::new(|setup| change(setup.set("admin", &format!("address = \"{admin}\""))))?;
    Some((heard, admin))
}

/// Whose the address is, by whoever is at the admin endpoint.
fn whose(setup: &Setup, admin: &str) -> Value {
    let output = setup.command(&["session", ADDRESS, "--admin", admin, "--format", "json"]);
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}\n{}", setup.log()))
}

#[test]
fn t37_sessions_go_on_in_the_process_that_takes_over() {
    let Some((heard, admin)) = heard(|setup| setup) else { return };
    heard.tell("Start", "1", "pupil", ADDRESS);
    let Heard { world: World { gateway, .. }, radius } = heard;
    let successor = Successor::spawn(gateway.setup());
    let (status, setup) = gateway.wait();
    assert!(status.success(), "{}", setup.log());
    let answer = whose(&setup, &admin);
    assert_eq!((&answer["state"], &answer["subscriber_id"]), (&"active".into(), &"pupil".into()));
    assert!(told(radius, SECRET, &request("Stop", "1", "pupil", ADDRESS, now())));
    assert_eq!(whose(&setup, &admin)["state"], "nobody");
    successor.stop();
}

/// A process that was to take over dies when it has the ledger: the one before hears again.
#[test]
fn t37_a_take_over_that_fails_leaves_the_running_process_hearing() {
    let Some((heard, _)) = heard(|setup| setup) else { return };
    heard.tell("Start", "1", "pupil", ADDRESS);
    let mut stream = UnixStream::connect(heard.world.gateway.setup().path("state/restart.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let say = |stream: &mut UnixStream, message: &str| {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        stream.write_all(&[&length[..], message.as_bytes()].concat()).unwrap();
    };
    let hear = |stream: &mut UnixStream| {
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut body).unwrap();
        String::from_utf8(body).unwrap()
    };
    let terms = serde_json::to_string(&terms("test-node", ByteBasis::Payload)).unwrap();
    say(&mut stream, &format!("{{\"TakeOver\":{terms}}}"));
    let last = loop {
        let said = hear(&mut stream);
        if !said.contains("Socket\":") {
            break said;
        }
    };
    assert_eq!(last, "\"NoMoreSockets\"");
    say(&mut stream, "\"Prepared\"");
    assert_eq!(hear(&mut stream), "\"Released\"", "{}", heard.world.gateway.log());
    drop(stream);
    let goes_on = || heard.world.gateway.log().contains("ended before it accepted: this one goes on");
    assert!(eventually(goes_on), "{}", heard.world.gateway.log());
    heard.tell("Stop", "1", "pupil", ADDRESS);
    assert_eq!(heard.session(ADDRESS).0["state"], "nobody");
    heard.stop();
}

/// What happens to sessions is heard by the new process: the flows of the one that drains are nobody's after a while.
#[test]
fn t37_a_process_that_drains_believes_its_sessions_as_long_as_after_a_restart() {
    let patient = |setup: Setup| {
        let setup = setup.set("radius", "trust_gap = \"1 s\"");
        setup.set("limits", "drain = \"1 min\"").set("limits", "drain_hard = \"1 min\"")
    };
    let Some((heard, _)) = heard(patient) else { return };
    heard.tell("Start", "1", "pupil", ADDRESS);
    let visit = visit();
    let mut open = heard.world.proxied(1);
    exchange(&mut open, &visit);
    let Heard { world: World { gateway, .. }, .. } = heard;
    let successor = Successor::take_over(gateway.setup());
    let is_nobodys = |setup: &Setup| setup.usage().rows.iter().any(|row| row["reason"] == "stale_subscriber");
    let begun = std::time::Instant::now();
    while begun.elapsed().as_secs() < 5 {
        exchange(&mut open, &[7; 100]);
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(finish(open), b"");
    let (status, setup) = gateway.wait();
    assert!(status.success(), "{}", setup.log());
    successor.stop();
    assert!(is_nobodys(&setup), "{:#?}", setup.usage().rows);
}

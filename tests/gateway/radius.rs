//! Sessions by RADIUS accounting at a running gateway, with FreeRADIUS's radclient as the access server: who is told of a session
//! has its bytes, and has its answer when the session is on the disk.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

#[path = "radius/faults.rs"]
mod faults;
#[path = "radius/peers.rs"]
mod peers;
#[path = "radius/ports.rs"]
mod ports;
#[path = "radius/storm.rs"]
mod storm;
#[path = "radius/takeover.rs"]
mod takeover;

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use support::client::{finish, read_exactly};
use support::hellos::{self, Hello};
use support::origin::Origin;
use support::radius::{SECRET, has_radclient, hears, told};
use support::usage::{Row, Usage};
use support::world::World;
use support::{Setup, eventually, free_port};

const LISTED: &str = "www.listed.example";
const COMMITS: &str = "zrgw_radius_commit_seconds";
/// The subscriber's address behind the balancer.
const ADDRESS: &str = "10.7.0.1";

/// A hello for the listed name, with application data behind it that settles the verdict.
fn visit() -> Vec<u8> {
    [Hello::named(LISTED).wire(), hellos::record(23, &[1; 50])].concat()
}

/// Sends `bytes` and reads them back.
fn exchange(client: &mut TcpStream, bytes: &[u8]) {
    client.write_all(bytes).unwrap();
    assert_eq!(read_exactly(client, bytes.len()), bytes);
}

/// Unix seconds.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A gateway that hears accounting at a port, and the address it hears at; none where there is no radclient.
struct Heard {
    world: World,
    radius: SocketAddr,
}

impl Heard {
    fn new(change: impl FnOnce(Setup) -> Setup) -> Option<Self> {
        Self::listening("127.0.0.1", change)
    }

    /// One that listens at this address.
    fn listening(at: &str, change: impl FnOnce(Setup) -> Setup) -> Option<Self> {
        if !has_radclient() {
            return None;
        }
        let port = free_port();
        let world = World::with(Origin::echo(), |setup| change(hears(setup, &format!("{at}:{port}"), "")));
        Some(Self { world, radius: SocketAddr::from(([127, 0, 0, 1], port)) })
    }

    /// Whether a request had its answer.
    fn tell_with(&self, secret: &str, attributes: &str) -> bool {
        told(self.radius, secret, attributes)
    }

    /// Tells of a session and has its answer.
    fn tell(&self, status: &str, session: &str, user: &str, address: &str) {
        let said = request(status, session, user, address, now());
        assert!(self.tell_with(SECRET, &said), "no answer to {said}\n{}", self.world.gateway.log());
    }

    /// Carries one visit of the subscriber at `ADDRESS`; its bytes of a direction.
    fn visit(&self) -> u64 {
        let visit = visit();
        let mut client = self.world.proxied(1);
        exchange(&mut client, &visit);
        assert_eq!(finish(client), b"");
        visit.len() as u64
    }

    /// What `gateway session` says, and its exit code.
    fn session(&self, whose: &str) -> (Value, i32) {
        let admin = self.world.gateway.admin().to_string();
        let output =
            self.world.gateway.setup().command(&["session", whose, "--admin", &admin, "--format", "json"]);
        let said = String::from_utf8_lossy(&output.stderr);
        (serde_json::from_slice(&output.stdout).expect(&said), output.status.code().unwrap())
    }

    fn stop(self) -> Usage {
        self.world.gateway.stop_and_count()
    }
}

/// A request in radclient's words.
fn request(status: &str, session: &str, user: &str, address: &str, at: u64) -> String {
    format!(
        "Acct-Status-Type = {status}\nAcct-Session-Id = \"{session}\"\nUser-Name = \"{user}\"\nFramed-IP-Address = {address}\nNAS-Identifier = \"bng\"\nEvent-Timestamp = {at}\n"
    )
}

#[test]
fn t35_bytes_are_the_session_s_from_its_start_to_its_stop() {
    let Some(heard) = Heard::new(|setup| setup) else { return };
    assert_eq!(heard.session(ADDRESS).0["state"], "nobody");
    assert_eq!(heard.session(ADDRESS).1, 1);
    let length = heard.visit();
    let start = now();
    heard.tell("Start", "a%1", "pupil", ADDRESS);
    let (answer, code) = heard.session(ADDRESS);
    assert_eq!((&answer["state"], &answer["subscriber_id"], code), (&"active".into(), &"pupil".into(), 0));
    assert_eq!((&answer["realm"], &answer["nas"]), (&"default".into(), &"bng".into()));
    let session_id = answer["session_id"].as_str().unwrap().to_owned();
    let (id, at) = session_id.split_once('@').unwrap();
    assert_eq!(id, "a%251");
    assert!((start..=now()).contains(&at.parse().unwrap()), "{session_id}");
    assert_eq!(heard.visit(), length);
    heard.tell("Stop", "a%1", "pupil", ADDRESS);
    assert_eq!(heard.session(ADDRESS).0["state"], "nobody");
    assert_eq!(heard.visit(), length);
    let metric = |status: &str, result: &str| {
        heard.world.gateway.metric(&format!(
            "zrgw_radius_requests_total{{client=\"bng-1\",status=\"{status}\",result=\"{result}\"}}"
        ))
    };
    assert_eq!((metric("start", "applied"), metric("stop", "applied")), (1, 1));
    assert!(heard.world.gateway.metric(&format!("{COMMITS}_count")) >= 2);
    let shown = [heard.world.gateway.log(), heard.world.gateway.ask("/metrics").unwrap().1];
    assert!(shown.iter().all(|text| !text.contains("pupil") && !text.contains(ADDRESS)), "{shown:?}");
    let usage = heard.stop();
    assert_eq!(usage.exempt("pupil"), (length, length));
    assert_eq!(usage.unattributed("no_subscriber"), (2 * length, 2 * length));
    let row = usage.rows.iter().find(|row| row["subscriber_id"] == "pupil").unwrap();
    assert_eq!(row["session_id"], session_id);
}

/// A period may end between a session's last byte and its Stop, and then its last record is closed already: so more than one session
/// ends.
#[test]
fn t35_the_record_of_a_session_closes_with_its_stop() {
    let Some(heard) = Heard::new(|setup| setup.set("export", "period = \"5 s\"")) else { return };
    let setup = || heard.world.gateway.setup();
    let mut causes = Vec::new();
    for number in 1..=10 {
        let (session, user) = (format!("s{number}"), format!("pupil{number}"));
        heard.tell("Start", &session, &user, ADDRESS);
        heard.visit();
        heard.tell("Stop", &session, &user, ADDRESS);
        let cause =
            || Some(setup().usage().rows.iter().find(|row| row["subscriber_id"] == user)?["cause"].clone());
        assert!(eventually(|| cause().is_some()), "{}", heard.world.gateway.log());
        causes.extend(cause());
        if causes.last().is_some_and(|cause| cause == "session_end") {
            break;
        }
    }
    assert!(causes.iter().any(|cause| cause == "session_end"), "{causes:?}");
    heard.stop();
}

/// As above: each subscriber takes the address from the one before, of whom nobody hears again.
#[test]
fn t34_the_last_record_of_a_session_without_a_stop_says_so() {
    let Some(heard) = Heard::new(|setup| setup.set("export", "period = \"5 s\"")) else { return };
    let setup = || heard.world.gateway.setup();
    let start = |number: u64| {
        let said =
            request("Start", &number.to_string(), &format!("pupil{number}"), ADDRESS, now() + 5 * number);
        assert!(heard.tell_with(SECRET, &said));
    };
    let mut ends = Vec::new();
    start(0);
    for number in 0..10 {
        heard.visit();
        start(number + 1);
        let user = format!("pupil{number}");
        let row = || setup().usage().rows.into_iter().find(|row| row["subscriber_id"] == user);
        assert!(eventually(|| row().is_some()), "{}", heard.world.gateway.log());
        let row = row().unwrap();
        ends.push((row["cause"].clone(), row["flags"].clone()));
        if row["cause"] == "session_end" {
            break;
        }
    }
    assert_eq!(ends.last().unwrap(), &("session_end".to_owned(), "stop_lost".to_owned()), "{ends:?}");
    heard.stop();
}

#[test]
fn t34_b19_a_stop_that_is_lost_leaves_the_next_holder_his_bytes_and_a_late_one_changes_nothing() {
    let Some(heard) = Heard::new(|setup| setup) else { return };
    heard.tell("Start", "1", "first", ADDRESS);
    let visit = visit();
    let length = visit.len() as u64;
    let mut open = heard.world.proxied(1);
    exchange(&mut open, &visit);
    // The same second: nobody could tell whose it is.
    let later = request("Start", "2", "second", ADDRESS, now() + 5);
    assert!(heard.tell_with(SECRET, &later));
    let ended = "zrgw_bytes_total{direction=\"down\",class=\"unattributed\",service=\"\"}";
    let is_cut = eventually(|| {
        exchange(&mut open, &[7; 100]);
        heard.world.gateway.metric(ended) > 0
    });
    assert!(is_cut, "{}", heard.world.gateway.log());
    assert_eq!(finish(open), b"");
    assert_eq!(heard.visit(), length);
    heard.tell("Stop", "1", "first", ADDRESS);
    heard.tell("Interim-Update", "1", "first", ADDRESS);
    assert_eq!(heard.session(ADDRESS).0["subscriber_id"], "second");
    assert_eq!(heard.visit(), length);
    assert_eq!(heard.world.gateway.metric("zrgw_session_takeovers_total{kind=\"later_start\"}"), 1);
    let usage = heard.stop();
    assert_eq!(usage.exempt("second"), (2 * length, 2 * length));
    let (up, down) = usage.exempt("first");
    assert!(up >= length && down >= length);
    assert!(usage.unattributed("session_ended").0 >= 100);
}

#[test]
fn c20_an_event_of_1970_counts_from_when_it_arrives_and_the_operator_is_told() {
    let Some(heard) = Heard::new(|setup| setup) else { return };
    let before = now();
    assert!(heard.tell_with(SECRET, &request("Start", "1", "pupil", ADDRESS, 86_400)));
    let session_id = heard.session(ADDRESS).0["session_id"].as_str().unwrap().to_owned();
    let start: u64 = session_id.strip_prefix("1@").unwrap().parse().unwrap();
    assert!((before..=now()).contains(&start), "{session_id}");
    assert_eq!(heard.world.gateway.metric("zrgw_radius_clock_doubts_total{client=\"bng-1\"}"), 1);
    heard.world.gateway.await_metric("zrgw_attention{reason=\"radius_clock\"}", 1);
    heard.stop();
}

/// Accounting begins with the first packet, and comes by a relay: the flow that was there before is not lost to the pupil.
#[test]
fn c30_a_flow_that_was_there_before_the_news_of_its_session_is_the_session_s_from_then_on() {
    let Some(heard) = Heard::new(|setup| setup) else { return };
    let visit = visit();
    let length = visit.len() as u64;
    let mut open = heard.world.proxied(1);
    exchange(&mut open, &visit);
    let nobodys = "zrgw_bytes_total{direction=\"down\",class=\"unattributed\",service=\"\"}";
    heard.world.gateway.await_metric(nobodys, length);
    let start = request("Start", "1", "pupil", ADDRESS, now() - 20);
    assert!(heard.tell_with(SECRET, &start));
    heard.world.gateway.await_metric("zrgw_flows_adopted_total", 1);
    exchange(&mut open, &[7; 100]);
    assert_eq!(finish(open), b"");
    // The session began after this one did.
    let mut other = heard.world.proxied(2);
    exchange(&mut other, &visit);
    let late = request("Start", "2", "later", "10.7.0.2", now() + 5);
    assert!(heard.tell_with(SECRET, &late));
    assert_eq!(heard.session("10.7.0.2").0["subscriber_id"], "later");
    exchange(&mut other, &[7; 100]);
    assert_eq!(finish(other), b"");
    let usage = heard.stop();
    assert_eq!(usage.exempt("pupil"), (100, 100));
    assert_eq!(usage.exempt("later"), (0, 0));
    assert_eq!(usage.unattributed("no_subscriber"), (2 * length + 100, 2 * length + 100));
}

/// A subscriber's next session takes the address over: what is open goes on, and counts for the session that has it.
#[test]
fn c6_t36_a_flow_goes_on_from_one_session_of_its_subscriber_to_the_next() {
    let Some(heard) = Heard::new(|setup| setup) else { return };
    let visit = visit();
    let length = visit.len() as u64;
    heard.tell("Start", "1", "pupil", ADDRESS);
    let mut open = heard.world.proxied(1);
    exchange(&mut open, &visit);
    heard.tell("Start", "2", "pupil", ADDRESS);
    heard.tell("Stop", "1", "pupil", ADDRESS);
    let second = heard.session(ADDRESS).0["session_id"].as_str().unwrap().to_owned();
    assert!(second.starts_with("2@"), "{second}");
    heard.world.gateway.await_metric("zrgw_flows_judged_again_total", 1);
    exchange(&mut open, &[7; 100]);
    assert_eq!(finish(open), b"");
    let usage = heard.stop();
    assert_eq!(usage.exempt("pupil"), (length + 100, length + 100));
    assert_eq!(usage.sum(|row| row["session_id"] == second && row["class"] == "exempt"), (100, 100));
}

#[test]
fn b23_what_was_answered_is_known_after_a_kill_and_said_to_be_older() {
    let Some(heard) = Heard::new(|setup| setup.set("limits", "drain = \"0 s\"")) else { return };
    heard.tell("Start", "1", "pupil", ADDRESS);
    let Heard { world: World { gateway, resolver, origin }, radius } = heard;
    let setup = gateway.kill();
    let gateway = setup.start();
    let heard = Heard { world: World { gateway, resolver, origin }, radius };
    assert_eq!(heard.session(ADDRESS).0["state"], "suspect");
    let length = heard.visit();
    heard.tell("Interim-Update", "1", "pupil", ADDRESS);
    assert_eq!(heard.session(ADDRESS).0["state"], "active");
    let usage = heard.stop();
    assert_eq!(usage.exempt("pupil"), (length, length));
    let is_told = |row: &Row| row["subscriber_id"] == "pupil" && row["flags"].contains("stale_binding");
    assert!(usage.rows.iter().any(is_told), "{:#?}", usage.rows);
}

#[test]
fn whoever_does_not_know_the_secret_gets_no_answer_and_changes_nothing() {
    let Some(heard) = Heard::new(|setup| setup) else { return };
    let start = request("Start", "1", "forged", ADDRESS, now());
    assert!(!heard.tell_with("another secret of somebody", &start));
    let refused =
        "zrgw_radius_requests_total{client=\"bng-1\",status=\"other\",result=\"bad_authenticator\"}";
    assert!(heard.world.gateway.metric(refused) >= 1);
    heard.world.gateway.await_metric("zrgw_attention{reason=\"radius_refused\"}", 1);
    assert_eq!(heard.session(ADDRESS).0["state"], "nobody");
    // A new secret is taken by a reload; one that others may read is not.
    heard.world.gateway.setup().write("bng.secret", "another secret of somebody");
    heard.world.gateway.reload();
    assert!(heard.tell_with("another secret of somebody", &start));
    let secret = heard.world.gateway.setup().path("bng.secret");
    std::fs::set_permissions(secret, std::fs::Permissions::from_mode(0o604)).unwrap();
    heard.world.gateway.reload();
    heard.world.gateway.await_metric("zrgw_attention{reason=\"radius_clients_not_taken\"}", 1);
    assert!(heard.tell_with("another secret of somebody", &start));
    assert_eq!(heard.session(ADDRESS).0["subscriber_id"], "forged");
    heard.stop();
}

#[test]
fn a_secret_that_others_may_read_or_that_is_short_refuses_the_start() {
    let setup = || hears(Setup::new().proxied(), &format!("127.0.0.1:{}", free_port()), "");
    for (secret, mode, wanted) in
        [("short\n", 0o600, "found 5 octets, wanted 16 to 128"), (SECRET, 0o604, "found permissions 604")]
    {
        let setup = setup();
        setup.write("bng.secret", secret);
        std::fs::set_permissions(setup.path("bng.secret"), std::fs::Permissions::from_mode(mode)).unwrap();
        let (code, said) = setup.run_to_end();
        assert_eq!(code, 78, "{said}");
        assert!(said.contains("secret_file") && said.contains(wanted), "{said}");
        setup.write_configuration();
        let checked = setup.command(&["check", "--config", "gateway.toml"]);
        assert_eq!(checked.status.code(), Some(78));
        assert!(String::from_utf8_lossy(&checked.stderr).contains(wanted));
    }
}

#[test]
fn sessions_that_cannot_be_read_keep_no_traffic_up_and_answer_nobody() {
    let strange = |setup: Setup| {
        std::fs::create_dir(setup.path("state")).unwrap();
        setup.write("state/sessions.db", vec![7; 9_000]);
        setup
    };
    let Some(heard) = Heard::new(strange) else { return };
    let length = heard.visit();
    heard.world.gateway.await_metric("zrgw_attention{reason=\"radius_unsaved\"}", 1);
    assert!(!heard.tell_with(SECRET, &request("Start", "1", "pupil", ADDRESS, now())));
    // As the log says, it is moved away; what was not answered comes again.
    std::fs::remove_file(heard.world.gateway.setup().path("state/sessions.db")).unwrap();
    assert!(eventually(|| heard.tell_with(SECRET, &request("Start", "1", "pupil", ADDRESS, now()))));
    assert_eq!(heard.session(ADDRESS).0["subscriber_id"], "pupil");
    assert_eq!(heard.stop().unattributed("no_subscriber"), (length, length));
}

#[test]
fn an_address_that_somebody_has_is_told_before_the_start_and_at_it() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let setup = hears(Setup::new().proxied(), &taken.local_addr().unwrap().to_string(), "");
    setup.write_configuration();
    let checked = setup.command(&["check", "--config", "gateway.toml"]);
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert_eq!(checked.status.code(), Some(78));
    assert!(said.contains("in use by another program"), "{said}");
    let (code, said) = setup.run_to_end();
    assert_eq!(code, 74, "{said}");
    assert!(said.contains("radius.listen: cannot listen on"), "{said}");
}

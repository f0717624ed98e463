//! The restart socket as a process of our own speaks on it: who ends before it accepts, and what is refused.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use billing_export::ByteBasis;
use gateway::app::node::takeover::terms;

use super::crash::{Books, Kind, Lab, PATIENCE, Visit, wait_for};
use super::{LONG, SHORT, assert_counted_once, patient, said, slow, take_over};

/// The restart protocol as a process of our own speaks it.
struct Stranger(UnixStream);

impl Stranger {
    fn new(lab: &Lab) -> Stranger {
        let path = lab.state.join("restart.sock");
        let stream = wait_for("the restart socket", || UnixStream::connect(&path).ok());
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Stranger(stream)
    }

    fn say(&mut self, message: &str) {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        self.0.write_all(&[&length[..], message.as_bytes()].concat()).unwrap();
    }

    fn hear(&mut self) -> String {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).unwrap();
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut body).unwrap();
        String::from_utf8(body).unwrap()
    }

    /// Listens until something else than a socket comes; without room for a descriptor the system closes it.
    fn hear_sockets(&mut self) -> usize {
        let mut count = 0;
        while self.hear().contains("Socket\":") {
            count += 1;
        }
        count
    }
}

/// A first message with the terms of this version, and of another where `later` is not 0.
fn first(message: &str, node_id: &str, byte_basis: ByteBasis, later: u32) -> String {
    let mut terms = terms(node_id, byte_basis);
    terms.version += later;
    format!("{{\"{message}\":{}}}", serde_json::to_string(&terms).unwrap())
}

/// What a new process says first.
fn take_over_of(node_id: &str) -> String {
    first("TakeOver", node_id, ByteBasis::Payload, 0)
}

#[test]
fn s_a_new_process_that_ends_before_it_accepts_is_as_if_it_had_never_been() {
    let lab = Lab::new(&patient());
    let books = Books::default();
    let old = lab.start(None);
    let mut visit = slow(&lab, &books, Kind::FirstListed, LONG, 20);
    // With nothing said, with the sockets in its hands, and with the ledger free for it.
    drop(Stranger::new(&lab));
    let mut stranger = Stranger::new(&lab);
    stranger.say(&take_over_of("crash-1"));
    // Two workers' listeners of both transports and the admin endpoint.
    assert_eq!(stranger.hear_sockets(), 5, "{}", lab.log());
    drop(stranger);
    wait_for("the end to be told", || (said(&lab, "did not start: this one goes on") == 1).then_some(()));
    let mut stranger = Stranger::new(&lab);
    stranger.say(&take_over_of("crash-1"));
    stranger.hear_sockets();
    stranger.say("\"Prepared\"");
    assert_eq!(stranger.hear(), "\"Released\"", "{}", lab.log());
    // Traffic goes on meanwhile, and is counted later.
    let mut short = Visit::open(&lab, &books, Kind::SecondListed).unwrap();
    short.exchange(SHORT, Duration::ZERO).unwrap();
    short.end().unwrap();
    // Nobody else may come in between.
    let mut second = Stranger::new(&lab);
    second.say(&take_over_of("crash-1"));
    assert!(second.hear().contains("another process is taking over"));
    drop(stranger);
    wait_for("the old one to go on", || {
        (said(&lab, "ended before it accepted: this one goes on") == 1).then_some(())
    });
    lab.wait_ready();
    assert!(visit.read(&mut [0; 4096]).unwrap() > 0);
    // And the next one may take over.
    let mut old = old;
    let new = take_over(&lab);
    lab.origin.hurry();
    visit.end().unwrap();
    assert!(old.wait().success(), "{}", lab.log());
    new.stop(&lab);
    assert_counted_once(&lab, &books);
}

#[test]
fn s_the_restart_socket_is_its_users_alone_and_refuses_what_does_not_fit() {
    let lab = Lab::new(&patient());
    let books = Books::default();
    let daemon = lab.start(None);
    let socket = wait_for("the socket", || fs::metadata(lab.state.join("restart.sock")).ok());
    let mode = socket.permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for (strange, wanted) in [
        (first("TakeOver", "crash-1", ByteBasis::Payload, 1), "version: "),
        (take_over_of("another"), "another"),
        (first("TakeOver", "crash-1", ByteBasis::Ip, 0), "ip"),
    ] {
        let mut stranger = Stranger::new(&lab);
        stranger.say(&strange);
        let answer = stranger.hear();
        assert!(answer.contains("Refused") && answer.contains(wanted), "{answer}");
    }
    // Nonsense, and a message that never ends, cost the connection alone.
    let mut stranger = Stranger::new(&lab);
    stranger.say("{}");
    assert_eq!(stranger.0.read(&mut [0]).unwrap(), 0);
    let mut endless = Stranger::new(&lab);
    endless.0.write_all(&[0, 0]).unwrap();
    let mut counts = Stranger::new(&lab);
    counts.say(&first("Remainder", "crash-1", ByteBasis::Payload, 0));
    assert_eq!(counts.hear(), "\"Welcome\"");
    counts.say(r#"{"seen_up":1,"seen_down":1,"rows":[{"kind":"pager","subscriber":"1","session":"1","list":null,"class":"charged","reason":"port","exempt":null,"flags":"","up":1,"down":1}]}"#);
    assert_eq!(counts.hear(), "\"NotTaken\"");
    let mut visit = Visit::open(&lab, &books, Kind::FirstListed).unwrap();
    visit.exchange(SHORT, Duration::ZERO).unwrap();
    visit.end().unwrap();
    assert_eq!(endless.0.read(&mut [0]).unwrap(), 0, "it is given up");
    daemon.stop(&lab);
    assert_eq!(lab.totals(), books.rows());
}

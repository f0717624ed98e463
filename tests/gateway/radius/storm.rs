//! An access server tells of many sessions at once, and the gateway is killed meanwhile.

use std::collections::HashMap;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use support::radius::SECRET;
use support::radius_packets::request;
use support::world::World;
use support::{PATIENCE, eventually};

use super::{Heard, now};

/// Sessions, of which each Identifier stands for one at a time.
const SESSIONS: u32 = 2_000;
/// Requests that wait for their answers at once: as many as there are Identifiers.
const WINDOW: u32 = 256;

/// The address of a session.
fn address(number: u32) -> [u8; 4] {
    let [_, _, high, low] = number.to_be_bytes();
    [10, 77, high, low]
}

/// A Start of a session, signed with the secret (RFC 2866 §3).
fn start(number: u32, at: u32) -> Vec<u8> {
    let of = |what: &str| format!("{what}{number}");
    let packet = request().identifier(identifier(number)).integer(40, 1);
    let packet = packet.attribute(44, of("session-").as_bytes()).attribute(1, of("pupil").as_bytes());
    packet.attribute(8, &address(number)).attribute(32, b"bng").integer(55, at).signed(SECRET.as_bytes())
}

/// Its Identifier.
fn identifier(number: u32) -> u8 {
    u8::try_from(number % WINDOW).unwrap()
}

/// Tells of all sessions as a patient access server does, in their order, as many at once as may be; which were answered when
/// `enough` said so.
fn tell_all(heard: &Heard, at: u32, mut enough: impl FnMut(usize) -> bool) -> Vec<u32> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(heard.radius).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    let (mut waiting, mut answered, mut next) = (HashMap::new(), Vec::new(), 0);
    let (mut last, mut sent) = (Instant::now(), Instant::now());
    while answered.len() < SESSIONS as usize && !enough(answered.len()) {
        assert!(last.elapsed() < PATIENCE, "{} answers\n{}", answered.len(), heard.world.gateway.log());
        while next < SESSIONS && !waiting.contains_key(&identifier(next)) {
            waiting.insert(identifier(next), next);
            let _ = socket.send(&start(next, at));
            next += 1;
        }
        let mut answer = [0; 100];
        match socket.recv(&mut answer) {
            Ok(20..) if answer[0] == 5 => {
                answered.extend(waiting.remove(&answer[1]));
                last = Instant::now();
            }
            _ if sent.elapsed() > Duration::from_secs(1) => {
                sent = Instant::now();
                for number in waiting.values() {
                    let _ = socket.send(&start(*number, at));
                }
            }
            _ => {}
        }
    }
    answered
}

#[test]
fn b23_a_kill_amid_a_storm_loses_no_session_that_was_answered_and_the_rest_comes_again() {
    let Some(heard) = Heard::new(|setup| setup.set("limits", "drain = \"0 s\"")) else { return };
    let at = u32::try_from(now()).unwrap();
    let answered = tell_all(&heard, at, |answers| answers >= 700);
    assert!((700..SESSIONS as usize).contains(&answered.len()));
    let Heard { world: World { gateway, resolver, origin }, radius } = heard;
    let gateway = gateway.kill().start();
    let heard = Heard { world: World { gateway, resolver, origin }, radius };
    for number in answered.iter().step_by(20) {
        let [a, b, c, d] = address(*number);
        let (answer, _) = heard.session(&format!("{a}.{b}.{c}.{d}"));
        assert_eq!(
            answer["subscriber_id"],
            format!("pupil{number}"),
            "it was answered\n{}",
            heard.world.gateway.log()
        );
    }
    let known = || {
        let states = ["active", "suspect"]
            .map(|state| heard.world.gateway.metric(&format!("zrgw_sessions{{state=\"{state}\"}}")));
        states[0] + states[1]
    };
    assert!(known() >= answered.len() as u64, "{} are known", known());
    // What had no answer comes again, and what had one too.
    assert_eq!(tell_all(&heard, at, |_| false).len(), SESSIONS as usize);
    assert!(eventually(|| known() == u64::from(SESSIONS)), "{}", known());
    heard.stop();
}

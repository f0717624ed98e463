//! Marks on the wire against the records: bytes with the code point are those of exempt accounts.

use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::Signal;
use socket2::SockRef;
use support::client::finish;
use support::edge::{Edge, LISTED, foreign, origin};
use support::eventually;

use super::{echo, echoes, hello, with};

/// The code point of the tests' rating group.
const DSCP: u32 = 46;

/// A gateway that marks.
fn marking(more: &'static str, keys: &'static [&'static str]) -> Option<Edge> {
    let edge = with(|setup| {
        let setup = keys.iter().fold(setup, |setup, key| setup.set("edge", key));
        setup.raw(&format!(
            "[[rating_group]]\nid = 7\nservices = [\"*\"]\ndisposition = \"tagged\"\ndscp = {DSCP}\n{more}\n"
        ))
    })?;
    for (end, device) in [("subscriber", "wire"), ("internet", "out")] {
        let rules = format!(
            "table inet marks {{
                counter tagged {{}}
                chain count {{
                    type filter hook prerouting priority -300;
                    meta l4proto != {{ tcp, udp }} return
                    iifname {device} ip dscp {DSCP} counter name tagged
                    iifname {device} ip6 dscp {DSCP} counter name tagged
                }}
            }}"
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), rules).unwrap();
        let words = format!("nft -f {}", file.path().display());
        if end == "subscriber" {
            edge.link.subscriber_runs(&words)
        } else {
            edge.link.internet_runs(&words)
        };
    }
    Some(edge)
}

/// Bytes that bore the code point so far: towards the internet, towards the subscriber.
fn tagged(edge: &Edge) -> (u64, u64) {
    let read = |text: String| {
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let all = json["nftables"].as_array().unwrap().iter();
        let tagged = all.filter(|one| one["counter"]["table"] == "marks");
        tagged.map(|one| one["counter"]["bytes"].as_u64().unwrap()).sum()
    };
    (
        read(edge.link.internet_runs("nft -j list counters")),
        read(edge.link.subscriber_runs("nft -j list counters")),
    )
}

/// Bytes that passed so far, and those that were marked, when nothing is on its way.
fn still(edge: &Edge) -> ((u64, u64), (u64, u64)) {
    let read = || (edge.link.counted(), tagged(edge));
    let mut last = read();
    let is_still = || {
        std::thread::sleep(Duration::from_millis(100));
        let before = std::mem::replace(&mut last, read());
        before == last
    };
    assert!(eventually(is_still));
    last
}

#[test]
fn t38_marked_bytes_are_exempt_bytes_and_nobody_else_sets_the_mark() {
    let Some(edge) = marking("mark_upstream = true", &[]) else { return };
    let _origins = echoes(&edge);
    for family in 0..2 {
        for (to, name) in [
            (origin(family, 443), LISTED),
            (foreign(family, 443), LISTED),
            (origin(family, 443), "not-listed.example"),
        ] {
            let before = tagged(&edge);
            let mut stream = edge.connect(to);
            // The subscriber tags his own packets.
            set_octet(&SockRef::from(&stream), to);
            echo(&mut stream, &hello(name));
            let is_exempt = (to, name) == (origin(family, 443), LISTED);
            let verdict = || {
                echo(&mut stream, &[7; 500]);
                tagged(&edge) != before
            };
            if is_exempt {
                assert!(eventually(verdict), "it is marked");
            }
            let (passed, marked) = still(&edge);
            for _ in 0..20 {
                echo(&mut stream, &[7; 3_000]);
            }
            let (passed_then, marked_then) = still(&edge);
            let passed = (passed_then.0 - passed.0, passed_then.1 - passed.1);
            let marked = (marked_then.0 - marked.0, marked_then.1 - marked.1);
            assert_eq!(marked, if is_exempt { passed } else { (0, 0) }, "{to} {name}");
            if !is_exempt {
                assert_eq!(marked_then, before, "{to} {name}");
            }
            finish(stream);
        }
    }
}

/// Sets the code point on one's own packets.
fn set_octet(socket: &SockRef<'_>, to: SocketAddr) {
    let octet = DSCP << 2;
    if to.is_ipv4() { socket.set_tos_v4(octet) } else { socket.set_tclass_v6(octet) }.unwrap();
}

/// Others' code points pass as they are, and so do congestion bits.
#[test]
fn t38_code_points_that_are_not_ours_pass() {
    let Some(edge) = marking("", &[]) else { return };
    let _origins = echoes(&edge);
    edge.link.internet_runs("nft add counter inet marks other");
    edge.link.internet_runs("nft add rule inet marks count ip dscp 12 counter name other");
    let mut stream = edge.connect(origin(0, 443));
    SockRef::from(&stream).set_tos_v4(12 << 2).unwrap();
    echo(&mut stream, &hello("not-listed.example"));
    let text = edge.link.internet_runs("nft -j list counter inet marks other");
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let counters = json["nftables"].as_array().unwrap();
    assert!(counters.iter().any(|one| one["counter"]["packets"].as_u64().is_some_and(|many| many > 0)));
}

/// A process that hangs judges nothing, so nothing stays exempt; when it goes on, so do marks.
#[test]
fn k6_t41_marks_end_with_a_process_that_hangs_and_what_follows_is_charged() {
    let Some(edge) = marking("", &["marks_timeout = \"1 s\""]) else { return };
    let _origins = echoes(&edge);
    let mut stream = edge.connect(origin(0, 443));
    let grows = |stream: &mut std::net::TcpStream| {
        let before = tagged(&edge).1;
        echo(stream, &[7; 500]);
        tagged(&edge).1 > before
    };
    echo(&mut stream, &hello(LISTED));
    assert!(eventually(|| grows(&mut stream)));
    edge.gateway.signal(Signal::STOP);
    std::thread::sleep(Duration::from_millis(1_500));
    assert!(eventually(|| !grows(&mut stream)), "marks end");
    let (passed, marked) = (edge.link.counted(), tagged(&edge));
    for _ in 0..20 {
        echo(&mut stream, &[7; 3_000]);
    }
    let charged = edge.link.counted();
    assert_eq!(tagged(&edge), marked, "no mark while nobody looks");
    edge.gateway.signal(Signal::CONT);
    assert!(eventually(|| grows(&mut stream)), "marks come back");
    finish(stream);
    edge.await_flows_closed();
    let counted = edge.link.counted();
    let usage = edge.stop_and_count();
    assert_eq!(usage.total(), counted);
    let (_, over) = usage.charged("s1", "overload");
    assert!(over >= charged.1 - passed.1, "{over} of {}", charged.1 - passed.1);
}

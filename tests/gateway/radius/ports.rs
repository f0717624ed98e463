//! A gateway outside of the operator's translator: one address is many people's, and the port says whose.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};

use support::client::{finish, proxy_v2, read_exactly};
use support::world::World;
use support::{Setup, eventually, zone};

use super::{Heard, SECRET, now, visit};

/// An address of the operator's pool.
const OUTSIDE: [u8; 4] = [198, 51, 100, 7];

/// Its clients tell of what is outside.
fn outside(setup: Setup) -> Setup {
    setup.raw(
        "[[radius.client]]\nname = \"cgnat-1\"\nprefix = \"127.0.0.2/32\"\nsecret_file = \"bng.secret\"\nsubscriber = [\"user-name:account\"]\nside = \"outside\"\n",
    )
}

impl Heard {
    /// Tells of ports of [`OUTSIDE`], from the address of the translator, of an event so many seconds ahead.
    fn tell_ports(&self, (status, ahead): (&str, u64), session: &str, user: &str, ranges: &str) {
        let said = format!(
            "Acct-Status-Type = {status}\nAcct-Session-Id = \"{session}\"\nUser-Name = \"{user}\"\nFramed-IP-Address = 100.64.0.1\nNAS-Identifier = \"cgnat\"\nEvent-Timestamp = {}\nAlc-Nat-Port-Range = \"198.51.100.7 {ranges} router base\"\nPacket-Src-IP-Address = 127.0.0.2\n",
            now() + ahead
        );
        assert!(self.tell_with(SECRET, &said), "no answer to {said}\n{}", self.world.gateway.log());
    }

    /// A flow from a port of [`OUTSIDE`]; it stays open.
    fn open_from(&self, port: u16) -> TcpStream {
        let mut client = TcpStream::connect(self.world.gateway.listener(1)).unwrap();
        let source = SocketAddr::from((OUTSIDE, port));
        client.write_all(&proxy_v2(source, self.world.destination(443))).unwrap();
        let visit = visit();
        client.write_all(&visit).unwrap();
        assert_eq!(read_exactly(&mut client, visit.len()), visit);
        client
    }
}

#[test]
fn b21_c31_c32_of_one_address_each_has_the_bytes_of_his_ports() {
    let Some(heard) = Heard::new(outside) else { return };
    let length = visit().len() as u64;
    heard.tell_ports(("Start", 0), "a", "one", "1000-1999");
    heard.tell_ports(("Start", 0), "b", "two", "2000-2063,5000-5000");
    for port in [1_000, 1_999, 2_000, 5_000, 2_064, 999] {
        assert_eq!(finish(heard.open_from(port)), b"");
    }
    let who = |end: &str| heard.session(end).0["subscriber_id"].clone();
    assert_eq!((who("198.51.100.7:1999"), who("198.51.100.7:5000")), ("one".into(), "two".into()));
    assert_eq!(heard.session("198.51.100.7:999").0["state"], "nobody");
    assert_eq!(heard.session("198.51.100.7").0["state"], "nobody", "without its port");
    // His ports pass on while a flow is open; the other's goes on.
    let (mut passes, mut stays) = (heard.open_from(1_500), heard.open_from(2_001));
    heard.tell_ports(("Stop", 10), "a", "one", "1000-1999");
    heard.tell_ports(("Start", 20), "c", "three", "1024-1999");
    assert!(eventually(|| heard.world.gateway.metric("zrgw_flows_judged_again_total") >= 1));
    for client in [&mut passes, &mut stays] {
        client.write_all(&[7; 1_000]).unwrap();
        assert_eq!(read_exactly(client, 1_000), [7; 1_000]);
    }
    assert_eq!((finish(passes), finish(stays)), (Vec::new(), Vec::new()));
    assert_eq!(finish(heard.open_from(1_500)), b"");
    let usage = heard.stop();
    let times = |count: u64, more: u64| (count * length + more, count * length + more);
    assert_eq!(usage.exempt("one"), times(3, 0));
    assert_eq!(usage.exempt("three"), times(1, 0));
    assert_eq!(usage.unattributed("no_subscriber"), times(2, 0));
    assert_eq!(usage.exempt("two"), times(3, 1_000));
    assert_eq!(usage.unattributed("session_ended"), (1_000, 1_000));
}

/// At two addresses and at ports of a third he is one subscriber: what he may have exempt is for all of it together.
#[test]
fn c5_t36_an_allowance_holds_over_all_sessions_of_a_subscriber_and_over_a_kill() {
    const LIMIT: u64 = 64 << 10;
    const STEP: usize = 8 << 10;
    let limited = |setup| outside(zone::far_from_midnight(setup)).set("allowance", "daily = \"64 KiB\"");
    let Some(heard) = Heard::new(|setup| limited(setup).set("limits", "drain = \"0 s\"")) else { return };
    heard.tell("Start", "first", "pupil", "10.7.0.1");
    heard.tell("Start", "second", "pupil", "10.7.0.2");
    heard.tell_ports(("Start", 0), "third", "pupil", "1000-1999");
    let both = |bytes: usize| 2 * bytes as u64;
    // A flow that was opened, three steps each way, and its end; what it carried.
    let browse = |mut client: TcpStream| {
        for _ in 0..3 {
            client.write_all(&[7; STEP]).unwrap();
            assert_eq!(read_exactly(&mut client, STEP), [7; STEP]);
        }
        assert_eq!(finish(client), b"");
        both(3 * STEP)
    };
    let opened = |mut client: TcpStream| {
        let visit = visit();
        client.write_all(&visit).unwrap();
        assert_eq!(read_exactly(&mut client, visit.len()), visit);
        client
    };
    let mut carried = 0;
    for client in [opened(heard.world.proxied(1)), opened(heard.world.proxied(2)), heard.open_from(1_000)] {
        carried += both(visit().len()) + browse(client);
    }
    heard.world.gateway.await_flows_closed();
    let Heard { world: World { gateway, resolver, origin }, radius } = heard;
    let gateway = gateway.kill().start();
    let heard = Heard { world: World { gateway, resolver, origin }, radius };
    carried += both(visit().len()) + browse(opened(heard.world.proxied(2)));
    heard.world.gateway.await_flows_closed();
    let usage = heard.stop();
    let sum = |(up, down): (u64, u64)| up + down;
    let (exempt, capped) = (sum(usage.exempt("pupil")), sum(usage.charged("pupil", "cap_reached")));
    assert!((LIMIT / 2..=LIMIT).contains(&exempt), "{exempt} of {LIMIT}");
    // A kill may cost what was not saved: a record never claims more than was carried.
    assert!(exempt + capped <= carried && capped > both(STEP), "{exempt} and {capped} of {carried}");
}

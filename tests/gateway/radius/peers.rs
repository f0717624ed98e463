//! FreeRADIUS as the operator's AAA: it has the accounting of its access servers, and we have a copy.

use std::fs;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use support::world::World;
use support::{eventually, free_port, has};
use tempfile::TempDir;

use super::{ADDRESS, Heard, SECRET, now, request, told};

/// What its access servers share with it.
const THEIRS: &str = "a secret of the access servers";

/// A FreeRADIUS that does with accounting what it is told; it ends with this value.
struct Aaa {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Drop for Aaa {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Aaa {
    /// One whose `preacct` section has these lines, with gateways as the realms "zrgw1", "zrgw2", in their order.
    fn new(gateways: &[SocketAddr], preacct: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (port, at) = (free_port(), folder.path().display());
        let realm = |(place, gateway): (usize, &SocketAddr)| {
            let (name, port) = (format!("zrgw{}", place + 1), gateway.port());
            format!(
                "home_server {name} {{\n type = acct\n ipaddr = 127.0.0.1\n port = {port}\n secret = \"{SECRET}\"\n status_check = status-server\n}}\n\
                 home_server_pool {name} {{\n home_server = {name}\n}}\nrealm {name} {{\n acct_pool = {name}\n}}\n"
            )
        };
        let realms: String = gateways.iter().enumerate().map(realm).collect();
        let text = format!(
            "prefix = /usr\nlocalstatedir = {at}\nlogdir = {at}\nraddbdir = {at}\nrun_dir = {at}\nlibdir = /usr/lib/freeradius\npidfile = {at}/pid\n\
             proxy_requests = yes\nlog {{\n destination = stderr\n}}\n\
             client nas {{\n ipaddr = 127.0.0.1\n secret = \"{THEIRS}\"\n}}\n\
             {realms}\
             modules {{\n always ok {{\n rcode = ok\n }}\n replicate {{\n }}\n}}\n\
             server aaa {{\n listen {{\n type = acct\n ipaddr = 127.0.0.1\n port = {port}\n }}\n preacct {{\n{preacct}\n }}\n accounting {{\n ok\n }}\n}}\n"
        );
        fs::write(folder.path().join("radiusd.conf"), text).unwrap();
        let log = fs::File::create(folder.path().join("log.txt")).unwrap();
        let child = Command::new("freeradius")
            .args(["-f", "-X", "-d"])
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(log)
            .spawn()
            .unwrap();
        let said = || fs::read_to_string(folder.path().join("log.txt")).unwrap_or_default();
        assert!(eventually(|| said().contains("Ready to process requests")), "{}", said());
        Self { child, address: SocketAddr::from(([127, 0, 0, 1], port)), _folder: folder }
    }
}

/// A gateway, unless there is no FreeRADIUS.
fn heard() -> Option<Heard> {
    if !has("freeradius") {
        println!("SKIPPED: no FreeRADIUS");
        return None;
    }
    Heard::new(|setup| setup)
}

/// It passes each request on and answers when it has our answer: an access server knows that we know.
#[test]
fn c22_c26_an_aaa_that_passes_accounting_on_answers_when_we_have() {
    let Some(heard) = heard() else { return };
    let aaa = Aaa::new(&[heard.radius], "update control {\n &Proxy-To-Realm := zrgw1\n }");
    let say = |status: &str, user: &str| {
        let said = request(status, "1", user, ADDRESS, now());
        told(aaa.address, THEIRS, &said)
    };
    assert!(say("Start", "pupil"), "{}", heard.world.gateway.log());
    let (answer, _) = heard.session(ADDRESS);
    assert_eq!((&answer["subscriber_id"], &answer["nas"]), (&"pupil".into(), &"bng".into()));
    assert!(say("Stop", "pupil"));
    assert_eq!(heard.session(ADDRESS).0["state"], "nobody");
    // What we have no word for is answered too, or the relay would take us for dead.
    assert!(say("Failed", "pupil"));
    heard.stop();
}

/// It answers by itself and sends us a copy.
#[test]
fn c22_an_aaa_that_copies_accounting_has_us_know_it_too() {
    let Some(heard) = heard() else { return };
    let preacct = "update control {\n &Replicate-To-Realm := zrgw1\n }\n replicate";
    let aaa = Aaa::new(&[heard.radius], preacct);
    assert!(told(aaa.address, THEIRS, &request("Start", "1", "pupil", ADDRESS, now())));
    assert!(
        eventually(|| heard.session(ADDRESS).0["subscriber_id"] == "pupil"),
        "{}",
        heard.world.gateway.log()
    );
    assert!(told(aaa.address, THEIRS, &request("Stop", "1", "pupil", ADDRESS, now())));
    assert!(eventually(|| heard.session(ADDRESS).0["state"] == "nobody"));
    heard.stop();
}

/// Each of two gateways has a copy and answers for itself; what one misses it learns with the next packet.
#[test]
fn c22_b19_two_gateways_have_the_same_accounting_and_each_its_own_bytes() {
    let (Some(one), Some(other)) = (heard(), heard()) else { return };
    let preacct =
        "update control {\n &Replicate-To-Realm := zrgw1\n &Replicate-To-Realm += zrgw2\n }\n replicate";
    let aaa = Aaa::new(&[one.radius, other.radius], preacct);
    let say = |status: &str, session: &str, user: &str, ahead: u64| {
        assert!(told(aaa.address, THEIRS, &request(status, session, user, ADDRESS, now() + ahead)));
    };
    let know = |gateways: &[&Heard], user: &str| {
        gateways
            .iter()
            .all(|heard| eventually(|| heard.session(ADDRESS).0["subscriber_id"].as_str() == Some(user)))
    };
    say("Start", "1", "pupil", 0);
    assert!(know(&[&one, &other], "pupil"));
    let length = one.visit();
    assert_eq!([other.visit(), other.visit()], [length, length]);
    // A third is away when the address passes on, and hears of it by the Interim.
    let Heard { world: World { gateway, resolver, origin }, radius } = other;
    let setup = gateway.stop();
    say("Start", "2", "newcomer", 10);
    assert!(know(&[&one], "newcomer"));
    let other = Heard { world: World { gateway: setup.start(), resolver, origin }, radius };
    assert!(know(&[&other], "pupil"), "as long as it knows no better");
    say("Interim-Update", "2", "newcomer", 20);
    assert!(know(&[&one, &other], "newcomer"));
    assert_eq!((one.visit(), other.visit()), (length, length));
    let times = |count: u64| (count * length, count * length);
    let (one, other) = (one.stop(), other.stop());
    assert_eq!((one.exempt("pupil"), one.exempt("newcomer")), (times(1), times(1)));
    assert_eq!((other.exempt("pupil"), other.exempt("newcomer")), (times(2), times(1)));
}

//! The running gateway at its limits: flows, descriptors, deadlines, slow clients; and how it refuses to start.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use support::client::*;
use support::dns::Resolver;
use support::hellos::{self, Hello};
use support::origin::Origin;
use support::world::World;
use support::{Gateway, Setup, eventually, has};

const LISTED: &str = "www.listed.example";

/// A hello for this name, with application data behind it that settles the verdict.
fn visit_of(name: &str) -> Vec<u8> {
    [Hello::named(name).wire(), hellos::record(23, &[1; 50])].concat()
}

/// Sends `bytes` and reads them back.
fn exchange(client: &mut TcpStream, bytes: &[u8]) {
    client.write_all(bytes).unwrap();
    assert_eq!(read_exactly(client, bytes.len()), bytes);
}

/// A visit to an echoing origin from its beginning to its end.
fn whole(mut client: TcpStream, bytes: &[u8]) {
    exchange(&mut client, bytes);
    assert_eq!(finish(client), b"");
}

#[test]
fn t42_half_open_hellos_up_to_the_limit_and_the_rest_waits_its_turn() {
    let world = World::with(Origin::echo(), |setup| {
        setup
            .set("limits", "flows_max = 40")
            .set("limits", "identify_deadline = \"10 min\"")
            .set("node", "workers = 1")
    });
    let visit = visit_of(LISTED);
    let half = visit.len() / 2;
    let mut held: Vec<_> = (0..40)
        .map(|_| {
            let mut client = world.proxied(1);
            client.write_all(&visit[..half]).unwrap();
            client
        })
        .collect();
    world.gateway.await_metric("zrgw_flows_open", 40);
    // In the kernel's backlog: connected, not served.
    let mut waiting: Vec<_> = (0..20)
        .map(|_| {
            let mut client = world.proxied(2);
            client.write_all(&visit).unwrap();
            client
        })
        .collect();
    waiting[0].set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    assert!(waiting[0].read(&mut [0]).is_err(), "served above flows_max");
    assert_eq!(world.gateway.metric("zrgw_flows_open"), 40);
    // Each one that leaves makes room for one that waits.
    for client in held.drain(..20) {
        reset(client);
    }
    for mut client in waiting {
        client.set_read_timeout(Some(support::PATIENCE)).unwrap();
        assert_eq!(read_exactly(&mut client, visit.len()), visit);
        assert_eq!(finish(client), b"");
    }
    for mut client in held {
        client.write_all(&visit[half..]).unwrap();
        assert_eq!(read_exactly(&mut client, visit.len()), visit);
        assert_eq!(finish(client), b"");
    }
    let usage = world.gateway.stop_and_count();
    let length = visit.len() as u64;
    assert_eq!(usage.exempt("s2"), (20 * length, 20 * length));
    assert_eq!(usage.exempt("s1"), (20 * length, 20 * length));
    assert_eq!(usage.charged("s1", "undecided").0, 20 * half as u64);
}

/// Seconds of processor time a process has used, in clock ticks (proc_pid_stat(5), fields 14 and 15).
fn processor_ticks(gateway: &Gateway) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/stat", gateway.pid())).unwrap();
    let behind_name = text.rsplit_once(") ").unwrap().1;
    let fields: Vec<_> = behind_name.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Open descriptors of a process.
fn descriptors(gateway: &Gateway) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", gateway.pid())).unwrap().count()
}

#[test]
fn s_descriptor_exhaustion_neither_spins_nor_parks_and_is_got_over() {
    if !has("prlimit") {
        return;
    }
    let world = World::with(Origin::echo(), |setup| setup.set("limits", "identify_deadline = \"10 min\""));
    // The limit falls under a running process, below what it set aside for flows.
    let limited = Command::new("prlimit")
        .args(["--pid", &world.gateway.pid().to_string(), "--nofile=64:64"])
        .status()
        .unwrap();
    assert!(limited.success());
    let visit = visit_of(LISTED);
    let mut held = Vec::new();
    let header = proxy_v2(proxied_subscriber(1), world.destination(443));
    for _ in 0..40 {
        // With descriptors for the client and none for the origin the gateway can only reset.
        let Ok(mut client) = try_connect_from([127, 0, 0, 1].into(), world.gateway.listener(1)) else {
            continue;
        };
        let _ = client.write_all(&[&header[..], &visit[..10]].concat());
        held.push(client);
    }
    assert!(eventually(|| descriptors(&world.gateway) >= 63), "{}", descriptors(&world.gateway));
    let before = processor_ticks(&world.gateway);
    std::thread::sleep(Duration::from_secs(2));
    let used = processor_ticks(&world.gateway) - before;
    // A spinning thread uses 200 ticks of 10 ms in that time.
    assert!(used < 60, "{used} ticks in 2 s");
    for client in held {
        reset(client);
    }
    // Everything works again, the admin endpoint too.
    for number in [2, 3] {
        let served = eventually(|| {
            let Ok(mut client) = try_connect_from([127, 0, 0, 1].into(), world.gateway.listener(1)) else {
                return false;
            };
            let header = proxy_v2(proxied_subscriber(number), world.destination(443));
            let mut back = vec![0; visit.len()];
            client.write_all(&[&header[..], &visit].concat()).is_ok() && client.read_exact(&mut back).is_ok()
        });
        assert!(served, "s{number} not served after the release");
    }
    assert!(world.gateway.metric("zrgw_accept_errors_total") > 0);
    world.gateway.await_flows_closed();
    let usage = world.gateway.stop_and_count();
    assert!(usage.exempt("s2").0 >= visit.len() as u64);
}

#[test]
fn s_slowloris_runs_into_an_absolute_deadline_and_passes_unclassified() {
    let world = World::with(Origin::echo(), |setup| setup.set("limits", "identify_deadline = \"500 ms\""));
    let visit = visit_of(LISTED);
    let mut drips: Vec<_> = (1..=3).map(|number| (number, world.proxied(number))).collect();
    // A byte every 100 ms: an inactivity timer would wait for ever.
    let charged = "zrgw_flows_total{protocol=\"tls\",class=\"charged\",reason=\"timeout\"}";
    let mut sent = 0;
    let cut = eventually(|| {
        for (_, client) in &mut drips {
            exchange(client, &visit[sent..sent + 1]);
        }
        sent += 1;
        std::thread::sleep(Duration::from_millis(100));
        world.gateway.metric(charged) == 3
    });
    assert!(cut && sent < 100, "after {sent} bytes");
    // Normal users meanwhile, and the drips go on unhindered.
    whole(world.proxied(4), &visit);
    for (_, mut client) in drips {
        exchange(&mut client, &visit[sent..]);
        assert_eq!(finish(client), b"");
    }
    let usage = world.gateway.stop_and_count();
    let length = visit.len() as u64;
    for number in 1..=3 {
        assert_eq!(usage.charged(&format!("s{number}"), "timeout"), (length, length));
    }
    assert_eq!(usage.exempt("s4"), (length, length));
}

#[test]
fn f33_what_is_over_a_subscribers_limit_is_carried_and_charged_and_never_reset() {
    let world = World::with(Origin::echo(), |setup| setup.set("limits", "flows_per_subscriber_max = 5"));
    let visit = visit_of(LISTED);
    let over_limit = "zrgw_flows_over_limit_total";
    // Both addresses of one subscriber count together.
    let one = |count: u8| if count.is_multiple_of(2) { world.proxied(1) } else { world.steered(1) };
    let mut open: Vec<_> = (0..5).map(one).collect();
    for client in &mut open {
        exchange(client, &visit);
    }
    assert_eq!(world.gateway.metric(over_limit), 0, "at the limit");
    assert_eq!(world.gateway.metric("zrgw_attention{reason=\"flows_per_subscriber\"}"), 0);
    // Over it: steered by the name that is read all the same, behind a balancer without one.
    for count in 0..2 {
        let mut over = one(count);
        exchange(&mut over, &visit);
        open.push(over);
    }
    world.gateway.await_metric(over_limit, 2);
    assert_eq!(world.gateway.metric("zrgw_attention{reason=\"flows_per_subscriber\"}"), 1);
    // Another subscriber, and an unknown one, are not touched by it.
    whole(world.steered(2), &visit);
    whole(connect_from([127, 0, 1, 77].into(), world.gateway.listener(0)), &visit);
    // Names are read again as soon as there is room.
    for _ in 0..3 {
        assert_eq!(finish(open.remove(0)), b"");
    }
    world.gateway.await_metric("zrgw_flows_open", 4);
    whole(world.steered(1), &visit);
    for client in open {
        assert_eq!(finish(client), b"");
    }
    let log = world.gateway.log();
    assert!(log.contains("limits.flows_per_subscriber_max"), "{log}");
    assert!(!log.contains("\"s1\"") && !log.contains("127.0.1.1"), "{log}");
    let usage = world.gateway.stop_and_count();
    let length = visit.len() as u64;
    assert_eq!(usage.exempt("s1"), (6 * length, 6 * length));
    assert_eq!(usage.charged("s1", "overload"), (2 * length, 2 * length));
}

#[test]
fn f33_a_kind_of_subscriber_may_have_a_limit_of_its_own() {
    let world = World::with(Origin::echo(), |setup| {
        setup.set("limits", "flows_per_subscriber_max = 2").set("limits", "flows_per_account_max = 4")
    });
    let visit = visit_of(LISTED);
    let mut open = Vec::new();
    // An account, and somebody of whom nothing is known.
    for client in (0..4).map(|_| world.steered(1)).chain((0..2).map(|_| unknown(&world))) {
        let mut client = client;
        exchange(&mut client, &visit);
        open.push(client);
    }
    assert_eq!(world.gateway.metric("zrgw_flows_over_limit_total"), 0, "at the limits");
    for mut client in [world.steered(1), unknown(&world)] {
        exchange(&mut client, &visit);
        open.push(client);
    }
    world.gateway.await_metric("zrgw_flows_over_limit_total", 2);
    for client in open {
        assert_eq!(finish(client), b"");
    }
    let usage = world.gateway.stop_and_count();
    let length = visit.len() as u64;
    assert_eq!(usage.exempt("s1"), (4 * length, 4 * length));
    assert_eq!(usage.charged("s1", "overload"), (length, length));
}

#[test]
fn f9_a_customer_without_a_session_is_one_in_all_his_addresses() {
    let world = World::with(Origin::echo(), |setup| {
        setup.set("limits", "flows_per_subscriber_max = 2").set("limits", "unknown_prefix_v4 = 24")
    });
    let visit = visit_of(LISTED);
    let mut open = Vec::new();
    let mut visit_from = |source: [u8; 4]| {
        let mut client = connect_from(source.into(), world.gateway.listener(0));
        exchange(&mut client, &visit);
        open.push(client);
    };
    // Two customers with two addresses each, one flow from each.
    for source in [[127, 0, 7, 1], [127, 0, 7, 200], [127, 0, 8, 1], [127, 0, 8, 200]] {
        visit_from(source);
    }
    assert_eq!(world.gateway.metric("zrgw_flows_over_limit_total"), 0, "at the limit");
    visit_from([127, 0, 7, 3]);
    world.gateway.await_metric("zrgw_flows_over_limit_total", 1);
    for client in open {
        assert_eq!(finish(client), b"");
    }
    world.gateway.stop_and_count();
}

/// A connection from an address that no subscriber has.
fn unknown(world: &World) -> TcpStream {
    connect_from([127, 0, 1, 77].into(), world.gateway.listener(0))
}

#[test]
fn a_port_in_use_ends_with_74_place_and_remedy() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let listener = format!("mode = \"proxy_protocol\"\naddress = \"{address}\"\n");
    let (code, said) = Setup::new().listener(&listener).run_to_end();
    assert_eq!(code, 74, "{said}");
    for wanted in ["gateway.toml", "listener.address", &address.to_string(), "ss -ltnp"] {
        assert!(said.contains(wanted), "{wanted} is missing in {said}");
    }
    let (code, said) = Setup::new().proxied().set("admin", &format!("address = \"{address}\"")).run_to_end();
    assert_eq!(code, 74, "{said}");
    assert!(said.contains("admin.address") && said.contains("ss -ltnp"), "{said}");
    // Of another running gateway: SO_REUSEPORT must not share it silently.
    let port = support::free_port();
    let listener = format!("mode = \"proxy_protocol\"\naddress = \"127.0.0.1:{port}\"\n");
    let running = Setup::new().listener(&listener).start();
    let (code, said) = Setup::new().listener(&listener).run_to_end();
    assert_eq!(code, 74, "{said}");
    running.stop();
}

#[test]
fn a_bad_configuration_ends_with_78_and_every_problem_at_its_place() {
    let setup = Setup::new()
        .listener("mode = \"transparant\"\naddress = \"127.0.0.1:0\"\n")
        .set("limits", "idle_timeout = 5")
        .set("export", "periode = \"15 min\"")
        .set("node", "id = \"Not An Id\"");
    let (code, said) = setup.run_to_end();
    assert_eq!(code, 78, "{said}");
    let text = std::fs::read_to_string(setup.path("gateway.toml")).unwrap();
    for (line_with, wanted) in [
        ("mode =", "transparant"),
        ("idle_timeout", "idle_timeout"),
        ("periode", "periode"),
        ("Not An Id", "id"),
    ] {
        let line = 1 + text.lines().position(|line| line.contains(line_with)).unwrap();
        let place = format!("gateway.toml:{line}:");
        assert!(
            said.lines().any(|told| told.contains(&place) && told.contains(wanted)),
            "{place} {wanted} is missing in\n{said}"
        );
    }
    let output = setup.command(&["check", "--config", "gateway.toml"]);
    assert_eq!(output.status.code(), Some(78));
    let output = setup.command(&["run", "--config", "absent.toml"]);
    assert_eq!(output.status.code(), Some(74));
    assert!(String::from_utf8_lossy(&output.stderr).contains("absent.toml"));
    let output = setup.command(&["run"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn admin_endpoint_survives_slow_and_oversized_requests() {
    let resolver = Resolver::new(&[]);
    let gateway =
        Setup::new().proxied().resolver(resolver.address).set("admin", "connections_max = 4").start();
    // Three slow ones hold three of the four places.
    let slow: Vec<_> = (0..3)
        .map(|_| {
            let mut stream = TcpStream::connect(gateway.admin()).unwrap();
            stream.write_all(b"GET /healthz HT").unwrap();
            stream
        })
        .collect();
    assert_eq!(gateway.ask("/healthz").unwrap().0, 200);
    let mut stream = TcpStream::connect(gateway.admin()).unwrap();
    let _ = stream.write_all(&[b"GET /".to_vec(), vec![b'a'; 2_000_000]].concat());
    let _ = stream.read(&mut [0; 100]);
    drop(stream);
    drop(slow);
    assert_eq!(gateway.ask("/healthz").unwrap().0, 200);
    assert_eq!(gateway.ask("/nowhere").unwrap().0, 404);
    gateway.stop();
}

#[test]
fn t42_the_descriptor_limit_sets_how_many_flows_there_may_be() {
    if !has("prlimit") {
        return;
    }
    // 256 stay for everything else, ten pipes take twenty, a flow takes two: room for 20.
    let world = World::with(Origin::echo(), |setup| {
        setup
            .started_by(&["prlimit", "--nofile=316:316"])
            .set("node", "workers = 1")
            .set("limits", "splice_pipes_max = 10")
    });
    assert!(world.gateway.log().contains("flows_max=20"), "{}", world.gateway.log());
    let visit = visit_of(LISTED);
    let mut held: Vec<_> = (0..20)
        .map(|_| {
            let mut client = world.proxied(1);
            client.write_all(&visit[..10]).unwrap();
            client
        })
        .collect();
    world.gateway.await_metric("zrgw_flows_open", 20);
    let mut waiting = world.proxied(2);
    waiting.write_all(&visit).unwrap();
    waiting.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    assert!(waiting.read(&mut [0]).is_err(), "served above the limit");
    reset(held.pop().unwrap());
    waiting.set_read_timeout(Some(support::PATIENCE)).unwrap();
    assert_eq!(read_exactly(&mut waiting, visit.len()), visit);
    assert_eq!(finish(waiting), b"");
    assert_eq!(world.gateway.metric("zrgw_accept_errors_total"), 0);
    drop(held);
    let length = visit.len() as u64;
    assert_eq!(world.gateway.stop_and_count().exempt("s2"), (length, length));
}

#[test]
fn t42_too_few_descriptors_end_with_78_place_and_remedy() {
    if !has("prlimit") {
        return;
    }
    let (code, said) = Setup::new().proxied().started_by(&["prlimit", "--nofile=64:64"]).run_to_end();
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("gateway.toml:") && said.contains("RLIMIT_NOFILE"), "{said}");
    let setup = Setup::new().proxied().set("limits", "flows_max = 21").set("limits", "splice_pipes_max = 0");
    let setup = setup.started_by(&["prlimit", "--nofile=296:296"]);
    let (code, said) = setup.run_to_end();
    assert_eq!(code, 78, "{said}");
    let text = std::fs::read_to_string(setup.path("gateway.toml")).unwrap();
    let line = 1 + text.lines().position(|line| line.contains("flows_max")).unwrap();
    assert!(said.contains(&format!("gateway.toml:{line}:")) && said.contains("at most 20"), "{said}");
}

#[test]
fn an_idle_flow_is_ended_and_a_busy_one_is_not() {
    let world = World::with(Origin::echo(), |setup| setup.set("limits", "idle_timeout = \"1 s\""));
    let visit = visit_of(LISTED);
    let (mut idle, mut busy) = (world.proxied(1), world.proxied(2));
    exchange(&mut idle, &visit);
    exchange(&mut busy, &visit);
    let mut sent = visit.len() as u64;
    let ended = eventually(|| {
        exchange(&mut busy, &[4; 10]);
        sent += 10;
        std::thread::sleep(Duration::from_millis(100));
        world.gateway.metric("zrgw_flows_open") == 1
    });
    assert!(ended);
    assert!(idle.read(&mut [0]).is_err(), "a reset");
    assert_eq!(finish(busy), b"");
    let usage = world.gateway.stop_and_count();
    let length = visit.len() as u64;
    assert_eq!(usage.exempt("s1"), (length, length));
    assert_eq!(usage.exempt("s2"), (sent, sent));
}

#[test]
fn f34_a_flow_whose_client_keeps_it_alive_is_not_idle() {
    let world = World::with(Origin::echo(), |setup| setup.set("limits", "idle_timeout = \"4 s\""));
    let visit = visit_of(LISTED);
    let mut kept = world.steered(1);
    let second = Duration::from_secs(1);
    let keep_alive = socket2::TcpKeepalive::new().with_time(second).with_interval(second);
    socket2::SockRef::from(&kept).set_tcp_keepalive(&keep_alive).unwrap();
    exchange(&mut kept, &visit);
    // Two that say nothing end one after the other.
    for number in [2, 3] {
        let mut idle = world.steered(number);
        exchange(&mut idle, &visit);
        assert!(idle.read(&mut [0]).is_err(), "a reset");
    }
    exchange(&mut kept, &visit);
    assert_eq!(finish(kept), b"");
    let usage = world.gateway.stop_and_count();
    let length = 2 * visit.len() as u64;
    assert_eq!(usage.exempt("s1"), (length, length));
}

#[test]
fn b26_m4_t39_random_flows_under_reloads_conserve_every_byte() {
    const FLOWS_PER_THREAD: usize = 120;
    let seed = std::env::var("LIVE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0x5eed_u64);
    println!("seed: LIVE_SEED={seed}");
    let world = World::with(Origin::echo(), |setup| setup.set("export", "period = \"1 s\""));
    let unused = descriptors(&world.gateway);
    let (orderly, abrupt) = std::thread::scope(|scope| {
        // s1 to s3 finish in order and are counted to the byte; s4 to s6 reset in the middle.
        let clients: Vec<_> = (1..=6_u8)
            .map(|number| {
                let world = &world;
                scope.spawn(move || {
                    let mut random = hellos::Random::of(seed + u64::from(number));
                    let mut sent = 0;
                    for _ in 0..FLOWS_PER_THREAD {
                        sent += random_flow(world, number, &mut random);
                    }
                    sent
                })
            })
            .collect();
        let mut serial = 3;
        while clients.iter().any(|client| !client.is_finished()) {
            serial += 1;
            // The school goes and comes with every other list.
            let list = support::LIST.replace("serial = 3", &format!("serial = {serial}"));
            let gone = list.replace("host = \"listed.example\"", "host = \"gone.example\"");
            let list = if serial % 2 == 0 { gone.replace("ads.listed", "ads.gone") } else { list };
            world.gateway.setup().write("list.toml", list);
            world.gateway.reload();
            assert_eq!(world.gateway.metric("zrgw_list_serial"), serial);
        }
        assert!(serial > 5, "the flows were through before lists changed");
        let sent: Vec<u64> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        (sent[..3].to_vec(), sent[3..].to_vec())
    });
    world.gateway.await_flows_closed();
    assert!(eventually(|| descriptors(&world.gateway) <= unused + 1), "descriptors leak");
    assert_eq!(world.gateway.metric("zrgw_conservation_mismatch_total"), 0);
    assert_eq!(world.gateway.metric("zrgw_flow_panics_total"), 0);
    let setup = world.gateway.stop();
    let (good, said) = support::verify(&setup.path("usage"));
    assert!(good, "{said}");
    let usage = setup.usage();
    assert!(usage.conserved && usage.files.len() > 1, "{:?}", usage.files);
    for (number, sent) in orderly.into_iter().enumerate() {
        assert_eq!(usage.of(&format!("s{}", number + 1)), (sent, sent));
    }
    for (number, sent) in abrupt.into_iter().enumerate() {
        let (up, down) = usage.of(&format!("s{}", number + 4));
        assert!(up <= sent && down <= sent, "{up} {down} of {sent}");
    }
    // By serial: nothing is exempt under a list that does not have the school.
    let wrong =
        usage.sum(|row| row["class"] == "exempt" && row["list_serial"].parse::<u64>().unwrap() % 2 == 0);
    assert_eq!(wrong, (0, 0));
}

/// One flow of random name, size and end; returns what was sent.
fn random_flow(world: &World, number: u8, random: &mut hellos::Random) -> u64 {
    let name = ["www.listed.example", "unlisted.example", "elsewhere.listed.example"][random.below(3)];
    let mut client =
        if random.below(2) == 0 && name == LISTED { world.steered(number) } else { world.proxied(number) };
    let visit = visit_of(name);
    let mut sent = 0;
    if number > 3 && random.below(3) == 0 {
        // Ends inside its hello.
        client.write_all(&visit[..random.below(visit.len())]).unwrap();
        reset(client);
        return visit.len() as u64;
    }
    for _ in 0..=random.below(4) {
        let piece = if sent == 0 { visit.clone() } else { vec![3; 1 + random.below(30_000)] };
        sent += piece.len() as u64;
        exchange(&mut client, &piece);
    }
    if number > 3 && random.below(2) == 0 {
        reset(client);
    } else {
        assert_eq!(finish(client), b"");
    }
    sent
}

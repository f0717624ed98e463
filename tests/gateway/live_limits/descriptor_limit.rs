//! Descriptors that run out, and how many flows their limit allows.

use std::io::{Read, Write};
use std::process::Command;
use std::time::Duration;

use support::client::*;
use support::origin::Origin;
use support::world::World;
use support::{Gateway, eventually, has};

use super::{LISTED, descriptors, visit_of};

/// Seconds of processor time a process has used, in clock ticks (proc_pid_stat(5), fields 14 and 15).
fn processor_ticks(gateway: &Gateway) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/stat", gateway.pid())).unwrap();
    let behind_name = text.rsplit_once(") ").unwrap().1;
    let fields: Vec<_> = behind_name.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
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

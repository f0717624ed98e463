//! Flows that wait for a name: how many, for how long, with how many datagrams, and what they give up.

use std::time::Duration;

use support::datagrams::{Access, Header};
use support::eventually;
use support::udp_world::{LISTED, UdpWorld};

use super::{halves, silent_server, soon, whole};

#[test]
fn undecided_flows_at_the_limit_and_one_over() {
    let (_server, port) = silent_server();
    let world = UdpWorld::with(port, |setup| {
        let setup = setup.set("limits", "undecided_flows_max = 3").set("node", "workers = 1");
        setup.set("limits", "identify_deadline = \"10 min\"")
    });
    let accesses: Vec<_> = (1..=4).map(|number| world.steered(number)).collect();
    let [front, back] = halves(LISTED);
    for access in &accesses[..3] {
        access.inject(&front);
        std::thread::sleep(Duration::from_millis(20));
    }
    world.gateway.await_metric("zrgw_flows_open", 3);
    assert_eq!(world.gateway.metric("zrgw_undecided_evicted_total"), 0);
    accesses[3].inject(&front);
    world.gateway.await_metric("zrgw_undecided_evicted_total", 1);
    world.await_judged("quic", "unattributed", "undecided", 1);
    // A flow that is decided makes room.
    accesses[1].inject(&back);
    assert!(eventually(|| world.gateway.metric("zrgw_lookups_total{outcome=\"answered\"}") == 1));
    accesses[0].inject(&front);
    world.gateway.await_metric("zrgw_flows_open", 4);
    assert_eq!(world.gateway.metric("zrgw_undecided_evicted_total"), 1);
    let usage = world.gateway.stop_and_count();
    let all = accesses.iter().map(|access| access.carried().0).sum::<u64>();
    assert_eq!(usage.unattributed("undecided"), (all, 0), "nobody answered");
}

#[test]
fn a_quarter_of_the_room_is_for_flows_without_a_name_and_the_rest_waits() {
    let (server, port) = silent_server();
    let world = UdpWorld::with(port, |setup| {
        let setup = setup.set("limits", "flows_max = 8").set("node", "workers = 1");
        setup.set("limits", "identify_deadline = \"10 min\"")
    });
    let [front, back] = halves(LISTED);
    let accesses: Vec<_> = (1..=3).map(|number| world.proxied(number, Header::Each)).collect();
    accesses[0].inject(&front);
    assert_eq!(soon(&server).unwrap().0, front, "at once");
    accesses[1].inject(&front);
    assert_eq!(soon(&server).unwrap().0, front, "at once");
    accesses[2].inject(&front);
    world.gateway.await_metric("zrgw_flows_open", 3);
    assert_eq!(soon(&server), None, "one over the quarter");
    // Decided flows have their room: the same hello in one datagram passes.
    let decided = world.proxied(4, Header::Each);
    decided.inject(&whole(LISTED));
    assert_eq!(soon(&server).unwrap().0, whole(LISTED));
    // Once it is decided it goes on, held datagrams first.
    accesses[2].inject(&back);
    assert_eq!(soon(&server).unwrap().0, front);
    assert_eq!(soon(&server).unwrap().0, back);
    // One that is decided leaves the quarter to another.
    accesses[0].inject(&back);
    assert_eq!(soon(&server).unwrap().0, back);
    let next = world.proxied(5, Header::Each);
    next.inject(&front);
    assert_eq!(soon(&server).unwrap().0, front);
    world.gateway.stop_and_count();
}

#[test]
fn f33_what_waits_for_a_name_gives_its_name_up_and_not_its_datagrams() {
    let (server, port) = silent_server();
    let world = UdpWorld::with(port, |setup| {
        let setup = setup.set("limits", "flows_max = 16").set("node", "workers = 1");
        setup.set("limits", "undecided_flows_max = 5").set("limits", "identify_deadline = \"10 min\"")
    });
    let [front, _] = halves(LISTED);
    let accesses: Vec<_> = (1..=11).map(|number| world.proxied(number, Header::Each)).collect();
    for access in &accesses[..4] {
        access.inject(&front);
        assert_eq!(soon(&server).unwrap().0, front, "at once");
    }
    accesses[4].inject(&front);
    world.gateway.await_metric("zrgw_flows_open", 5);
    assert_eq!(soon(&server), None, "one over the quarter");
    // Each further one has the oldest give its name up, which leaves the quarter to the next; then that is the one that waits.
    for access in &accesses[5..] {
        access.inject(&front);
    }
    let came = (0..).map_while(|_| soon(&server)).count();
    assert_eq!(came, 6, "all but the one that came last and waits");
    world.gateway.await_metric("zrgw_undecided_evicted_total", 6);
    let usage = world.gateway.stop_and_count();
    // The last two come from addresses that nobody has.
    assert_eq!(usage.unattributed("undecided").0, 9 * front.len() as u64);
}

#[test]
fn s_a_hello_that_never_completes_times_out_and_is_carried_or_refused() {
    let (server, port) = silent_server();
    let world = UdpWorld::with(port, |setup| setup.set("limits", "identify_deadline = \"500 ms\""));
    let [front, _] = halves(LISTED);
    let (steered, proxied) = (world.steered(1), world.proxied(2, Header::Each));
    steered.inject(&front);
    proxied.inject(&front);
    let (_, from) = soon(&server).unwrap();
    // Repeating itself does not put the deadline off.
    let refused = eventually(|| {
        steered.inject(&front);
        proxied.inject(&front);
        std::thread::sleep(Duration::from_millis(150));
        world.gateway.metric("zrgw_refused_total{reason=\"not_routed\"}") >= 1
    });
    assert!(refused, "{}", world.gateway.ask("/metrics").unwrap().1);
    let charged = eventually(|| {
        server.send_to(b"late answer", from).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        world.judged("quic", "charged", "timeout") == 1
    });
    assert!(charged, "the relay goes on\n{}", world.gateway.ask("/metrics").unwrap().1);
    world.await_counted(&[&steered, &proxied]);
    let (up, down) = proxied.carried();
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.charged("s2", "timeout"), (up, down));
    assert_eq!(usage.unattributed("undecided"), steered.carried(), "refused: nobody answered");
    assert_eq!(steered.carried().1, 0);
}

#[test]
fn steered_flows_wait_for_ten_datagrams_and_no_more() {
    let (server, port) = silent_server();
    let world = UdpWorld::new(port);
    let [front, back] = halves(LISTED);
    let fill = |access: &Access, count: u8| {
        access.inject(&front);
        (0..count).for_each(|number| access.inject(&[0x40, number]));
        access.inject(&back);
    };
    let access = world.steered(1);
    fill(&access, 8);
    assert_eq!(soon(&server).unwrap().0, front);
    for number in 0..8_u8 {
        assert_eq!(soon(&server).unwrap().0, [0x40, number]);
    }
    assert_eq!(soon(&server).unwrap().0, back);
    let over = world.steered(2);
    fill(&over, 9);
    world.await_refused("not_routed", 1);
    assert_eq!(soon(&server), None);
    let usage = world.gateway.stop_and_count();
    let all = access.carried().0 + over.carried().0;
    assert_eq!(usage.unattributed("undecided"), (all, 0), "nobody answered");
}

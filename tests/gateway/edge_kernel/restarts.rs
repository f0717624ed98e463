//! Processes come and go; the kernel counts and marks on, and every byte has one account.

use std::net::TcpStream;
use std::time::Duration;

use support::client::finish;
use support::edge::{Edge, LISTED, foreign, origin};
use support::eventually;
use support::link::Link;

use super::{echo, echoes, edge, hello, visit, visit_over};

/// Kills the gateway, and starts it again in its folder.
fn start_again(edge: Edge, meanwhile: impl FnOnce(&Link)) -> Edge {
    let Edge { gateway, link, pins } = edge;
    let setup = gateway.kill();
    meanwhile(&link);
    Edge { gateway: link.at_gateway(|| setup.start()), link, pins }
}

/// Waits until all that has passed by now is saved.
fn await_saved(edge: &Edge) {
    let before = edge.metric("zrgw_ticks_total");
    assert!(eventually(|| edge.metric("zrgw_ticks_total") >= before + 3));
}

#[test]
fn k5_t33_flows_go_on_without_a_process_and_each_byte_has_one_account() {
    let Some(mut edge) = edge() else { return };
    let _origins = echoes(&edge);
    let mut open: Vec<TcpStream> = Vec::new();
    for (to, name) in
        [(origin(0, 443), LISTED), (origin(1, 443), LISTED), (foreign(0, 443), "not-listed.example")]
    {
        let mut stream = edge.connect(to);
        echo(&mut stream, &hello(name));
        open.push(stream);
    }
    for _ in 0..3 {
        await_saved(&edge);
        edge = start_again(edge, |link| {
            // Open flows, and one that begins and ends meanwhile.
            open.iter_mut().for_each(|stream| echo(stream, &[7; 20_000]));
            visit_over(link, origin(0, 443), LISTED);
        });
        open.iter_mut().for_each(|stream| echo(stream, &[7; 20_000]));
    }
    open.into_iter().for_each(|stream| {
        finish(stream);
    });
    edge.await_flows_closed();
    let counted = edge.link.counted();
    let usage = edge.stop_and_count();
    assert_eq!(usage.total(), counted, "{:#?}", usage.rows);
    // Those that went on did so under their names, and the ones that began meanwhile were read from the ring.
    let charged = usage.charged("s1", "not_listed");
    assert_eq!(usage.exempt("s1"), (counted.0 - charged.0, counted.1 - charged.1), "{:#?}", usage.rows);
    assert!(charged.1 > 120_000);
}

#[test]
fn k5_t33_killed_at_any_moment_nothing_is_counted_twice() {
    let Some(mut edge) = edge() else { return };
    let _origins = echoes(&edge);
    let mut open: Vec<TcpStream> = (0..2).map(|family| edge.connect(origin(family, 443))).collect();
    open.iter_mut().for_each(|stream| echo(stream, &hello(LISTED)));
    for round in 0..8_u64 {
        open.iter_mut().for_each(|stream| echo(stream, &[7; 10_000]));
        std::thread::sleep(Duration::from_millis(round * 17));
        edge = start_again(edge, |_| ());
    }
    open.into_iter().for_each(|stream| {
        finish(stream);
    });
    edge.await_flows_closed();
    let (up, down) = edge.link.counted();
    let usage = edge.stop_and_count();
    let (all_up, all_down) = usage.total();
    println!("exported {:?}, passed {:?}", usage.total(), (up, down));
    assert!(all_up <= up && all_down <= down, "{all_up} {all_down} of {up} {down}: {:#?}", usage.rows);
    // What one reading took and no tick saved.
    assert!(up - all_up <= 8 * 24_000 && down - all_down <= 8 * 24_000);
}

#[test]
fn k5_an_orderly_restart_loses_nothing() {
    let Some(edge) = edge() else { return };
    let _origins = echoes(&edge);
    let mut stream = edge.connect(origin(0, 443));
    echo(&mut stream, &hello(LISTED));
    let Edge { gateway, link, pins } = edge;
    let setup = link.at_gateway(|| gateway.stop());
    echo(&mut stream, &[7; 20_000]);
    let edge = Edge { gateway: link.at_gateway(|| setup.start()), link, pins };
    echo(&mut stream, &[7; 20_000]);
    finish(stream);
    edge.await_flows_closed();
    let counted = edge.link.counted();
    let usage = edge.stop_and_count();
    assert_eq!((usage.exempt("s1"), usage.total()), (counted, counted));
}

#[test]
fn k5_a_process_that_takes_over_goes_on_with_flows_and_counts() {
    let Some(edge) = edge() else { return };
    let _origins = echoes(&edge);
    let mut stream = edge.connect(origin(0, 443));
    echo(&mut stream, &hello(LISTED));
    let successor = edge.take_over();
    echo(&mut stream, &[7; 20_000]);
    visit(&edge, origin(1, 443), LISTED);
    finish(stream);
    let Edge { gateway, link, pins } = edge;
    let (status, setup) = link.at_gateway(|| gateway.wait());
    assert!(status.success(), "{}", setup.log());
    let (up, down) = link.counted();
    link.at_gateway(|| successor.stop());
    drop(pins);
    let usage = setup.usage();
    assert!(usage.conserved);
    assert_eq!(usage.exempt("s1"), (up, down), "{:#?}", usage.rows);
}

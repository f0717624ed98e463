//! Random flows while lists change under them: every byte is conserved.

use std::io::Write;

use support::client::*;
use support::eventually;
use support::hellos;
use support::origin::Origin;
use support::world::World;

use super::{LISTED, descriptors, exchange, visit_of};

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

//! A resolver that is down, a state folder that cannot be used, and no room for accounts: traffic flows, and every byte is told.

use std::io::Write;
use std::time::Duration;

use support::client::*;
use support::eventually;
use support::origin::Origin;
use support::world::World;

use super::{LISTED, exchange, visit_of, whole};

#[test]
fn t41_with_the_resolver_down_traffic_flows_and_known_addresses_are_exempt() {
    let origin = Origin::echo();
    let address = origin.address.ip();
    let world = World::with(origin, |setup| {
        setup.set("lookup", "try_timeout = \"200 ms\"").set("lookup", "total_timeout = \"400 ms\"").raw(
            &format!(
                "[[trusted_answers.static]]\nname = \"pinned.listed.example\"\naddresses = [\"{address}\"]\n"
            ),
        )
    });
    whole(world.steered(1), &visit_of(LISTED));
    whole(world.proxied(1), &visit_of(LISTED));
    world.resolver.set_silent(true);
    // Learnt before, stated in the configuration, unknown.
    whole(world.proxied(2), &visit_of(LISTED));
    whole(world.steered(2), &visit_of(LISTED));
    whole(world.proxied(2), &visit_of("pinned.listed.example"));
    whole(world.proxied(3), &visit_of("new.listed.example"));
    let mut client = world.steered(4);
    client.write_all(&visit_of("new.listed.example")).unwrap();
    assert_eq!(read_to_end(&mut client).unwrap(), [21, 3, 3, 0, 2, 2, 80], "alert internal_error");
    drop(client);
    assert_eq!(world.gateway.ask("/healthz").unwrap().0, 200);
    assert!(eventually(|| world.gateway.metric("zrgw_lookups_total{outcome=\"failed\"}") >= 1));
    let status = world.gateway.ask("/api/v1/status").unwrap();
    assert_eq!(status.0, 200);
    assert!(serde_json::from_str::<serde_json::Value>(&status.1).unwrap()["list"]["serial"] == 3);
    let usage = world.gateway.stop_and_count();
    let (known, pinned, new) = (
        visit_of(LISTED).len() as u64,
        visit_of("pinned.listed.example").len() as u64,
        visit_of("new.listed.example").len() as u64,
    );
    assert_eq!(usage.exempt("s2"), (2 * known + pinned, 2 * known + pinned));
    assert_eq!(usage.of("s2"), usage.exempt("s2"));
    assert_eq!(usage.charged("s3", "address_mismatch"), (new, new));
    assert_eq!(usage.exempt("s3"), (0, 0));
}

#[test]
fn t41_a_resolver_that_never_answers_for_aaaa_costs_time_not_traffic() {
    let world = World::with(Origin::echo(), |setup| {
        setup.set("lookup", "try_timeout = \"200 ms\"").set("lookup", "total_timeout = \"400 ms\"")
    });
    world.resolver.ignore_aaaa();
    world.resolver.set_delay(Duration::from_millis(50));
    let visit = visit_of(LISTED);
    whole(world.steered(1), &visit);
    whole(world.proxied(2), &visit);
    let usage = world.gateway.stop_and_count();
    let length = visit.len() as u64;
    assert_eq!(usage.exempt("s1"), (length, length));
    assert_eq!(usage.exempt("s2"), (length, length));
}

#[test]
fn t41_a_state_folder_that_cannot_be_used_charges_everything_until_it_can() {
    let world = World::with(Origin::echo(), |setup| {
        // A file where the folder should be: permission bits do not bind root.
        setup.write("state", "in the way");
        setup.set("export", "unsaved_max = \"1 s\"")
    });
    let state = world.gateway.setup().path("state");
    world.gateway.await_readiness(|code, body| code == 503 && body.contains("export: "));
    let (_, body) = world.gateway.ask("/readyz").unwrap();
    assert!(body.contains(state.file_name().unwrap().to_str().unwrap()), "the place is missing in {body}");
    let visit = visit_of(LISTED);
    whole(world.proxied(1), &visit);
    whole(world.steered(1), &visit);
    // Somebody makes room: the counts that waited are saved, and what comes is exempt again.
    std::fs::remove_file(&state).unwrap();
    world.gateway.await_readiness(|_, body| !body.contains("export: ") && !body.contains("overload"));
    whole(world.proxied(2), &visit);
    let usage = world.gateway.stop_and_count();
    let length = visit.len() as u64;
    assert_eq!(usage.exempt("s1"), (0, 0));
    assert_eq!(usage.charged("s1", "overload"), (2 * length, 2 * length), "{usage:?}");
    assert_eq!(usage.exempt("s2"), (length, length), "{usage:?}");
}

#[test]
fn what_is_sealed_in_the_middle_of_a_period_for_want_of_room_is_published_at_once() {
    // Nothing ends a period within this test.
    let world = World::with(Origin::echo(), |setup| {
        setup.set("export", "period = \"24 h\"").set("export", "accounts_max = 2")
    });
    let visit = visit_of(LISTED);
    let mut clients: Vec<_> = (1..=3).map(|number| (world.proxied(number), 0)).collect();
    let published = eventually(|| {
        for (client, bytes) in &mut clients {
            exchange(client, &visit);
            *bytes += visit.len() as u64;
        }
        !world.gateway.setup().usage().rows.is_empty()
    });
    assert!(published, "{}", world.gateway.log());
    let all = clients.iter().map(|(_, bytes)| bytes).sum();
    for (client, _) in clients {
        assert_eq!(finish(client), b"");
    }
    world.gateway.await_flows_closed();
    assert_eq!(world.gateway.stop_and_count().total(), (all, all));
}

//! What a node knows after a restart: the copy of its answers, one that is broken, and one that cannot be written.

use support::LIST;
use support::origin::Origin;
use support::world::World;

use super::{LISTED, exchange};

#[test]
fn n12_a_restarted_node_knows_what_it_knew_while_the_resolver_is_silent() {
    let world = World::with(Origin::echo(), |setup| setup.set("lookup", "scheduled_per_second_max = 0"));
    let length = exchange(&world, 1, LISTED);
    world.gateway.await_metric("zrgw_trusted_answers", 1);
    let setup = world.gateway.stop();
    assert!(setup.path("state/answers.snapshot").exists());
    world.resolver.set_silent(true);
    let world = World { gateway: setup.start(), resolver: world.resolver, origin: world.origin };
    assert_eq!(world.gateway.metric("zrgw_trusted_answers"), 1);
    exchange(&world, 2, LISTED);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), (length, length));
    assert_eq!(usage.exempt("s2"), (length, length), "{:?}", usage.reasons("s2"));
}

#[test]
fn n12_a_broken_copy_is_told_and_left_aside() {
    let world = World::with(Origin::echo(), |setup| setup.set("lookup", "scheduled_per_second_max = 0"));
    exchange(&world, 1, LISTED);
    world.gateway.await_metric("zrgw_trusted_answers", 1);
    let setup = world.gateway.stop();
    let path = setup.path("state/answers.snapshot");
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let world = World { gateway: setup.start(), resolver: world.resolver, origin: world.origin };
    let log = world.gateway.log();
    assert!(log.contains("answers.snapshot") && log.contains("left aside"), "{log}");
    assert_eq!(world.gateway.metric("zrgw_trusted_answers"), 0);
    // And it learns again.
    exchange(&world, 2, LISTED);
    world.gateway.await_metric("zrgw_trusted_answers", 1);
    let usage = world.gateway.stop_and_count();
    assert!(usage.exempt("s2").0 > 0);
}

/// Opening a pipe that nobody reads never ends, as with a disk that hangs.
#[test]
fn b16_a_copy_that_cannot_be_written_for_ever_costs_neither_the_seal_nor_the_end() {
    let world = World::with(Origin::echo(), |setup| setup.set("lookup", "scheduled_per_second_max = 0"));
    let length = exchange(&world, 1, LISTED);
    world.gateway.await_metric("zrgw_trusted_answers", 1);
    let path = world.gateway.setup().path("state/answers.part");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let setup = world.gateway.stop();
    assert!(setup.log().contains("answers.snapshot: not written in time"), "{}", setup.log());
    assert!(!setup.path("state/answers.snapshot").exists());
    assert_eq!(setup.usage().exempt("s1"), (length, length));
}

#[test]
fn n12_a_list_that_no_longer_has_a_name_does_not_take_it_back() {
    let world = World::with(Origin::echo(), |setup| setup.set("lookup", "scheduled_per_second_max = 0"));
    exchange(&world, 1, LISTED);
    let setup = world.gateway.stop();
    // The lists ever accepted go with their folder: what is left is a list of another name.
    std::fs::remove_dir_all(setup.path("state/lists")).unwrap();
    setup.write("list.toml", LIST.replace("listed.example", "elsewhere.example"));
    let gateway = setup.start();
    assert_eq!(gateway.metric("zrgw_trusted_answers"), 0);
    gateway.stop();
}

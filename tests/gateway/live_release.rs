//! Records that leave a running node's state once billing has them (`export.release`).

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests may panic")]

use std::fs;
use std::path::Path;

use billing_export::{
    Account, ByteBasis, Entry, Exporter, Flags, NoFault, Reason, Session, Settings, SubscriberType, Tick,
    Timestamp, Usage, Volume, Watermark,
};
use jiff::SignedDuration;
use support::origin::Origin;
use support::world::World;
use support::{Setup, eventually};

/// A ledger of the day before yesterday: so many periods of one record each, published.
fn old_ledger(setup: &Setup, periods: i64) {
    let [state, usage, staging] = ["state", "usage", "usage.staging"].map(|name| setup.path(name));
    let settings = Settings::new("test-node".parse().unwrap(), state, usage, staging, ByteBasis::Payload);
    let begin = Timestamp::now() - SignedDuration::from_hours(48);
    let mut exporter = Exporter::open(settings, begin, [7; 16], Box::new(NoFault)).unwrap();
    for period in 0..periods {
        let from = begin + SignedDuration::from_mins(15 * period);
        let session = Session::new(SubscriberType::Account, "s1", "").unwrap();
        let account = Account { session, list: None, entry: Entry::because(Reason::NotListed) };
        let volume = Volume { up: 40, down: 1_500 };
        let tick = Tick {
            sequence: u64::try_from(period).unwrap() + 1,
            from,
            at: from,
            seen: volume,
            pending_after: Volume::ZERO,
            usage: vec![Usage { account, flags: Flags::NONE, volume }],
            capped: Vec::new(),
            spent: Vec::new(),
            stepped: false,
        };
        exporter.checkpoint(&tick).unwrap();
    }
    exporter.seal_due(begin + SignedDuration::from_mins(15 * periods)).unwrap();
    exporter.courier().deliver().unwrap();
    exporter.close().unwrap();
}

/// Writes billing's word: it has so many of the files.
fn write_watermark(setup: &Setup, name: &str, files: u64) {
    let mark =
        Watermark { node_id: "test-node".parse().unwrap(), epoch: 1, record_seq: files, file_seq: files };
    fs::create_dir_all(setup.path("watermarks")).unwrap();
    setup.write(&format!("watermarks/{name}"), mark.to_text().unwrap());
}

/// Usage files in the pickup folder.
fn files(folder: &Path) -> usize {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().ends_with(".csv")).count()
}

#[test]
fn records_leave_a_running_node_when_billing_has_them_and_they_are_old_and_its_files_stay() {
    let world = World::with(Origin::echo(), |setup| {
        old_ledger(&setup, 4);
        write_watermark(&setup, "test-node.json", 3);
        setup.set("export", "release = \"watermark-file\"").set("export", "retention = \"1 h\"")
    });
    world.gateway.await_metric("zrgw_outbox_records", 1);
    let pickup = world.gateway.setup().path("usage");
    assert_eq!(files(&pickup), 4, "they belong to billing");
    let setup = world.gateway.stop();
    assert!(setup.log().contains("records that billing has leave the ledger"));
}

#[test]
fn what_a_configured_sink_does_not_have_stays_whatever_billing_has() {
    let world = World::with(Origin::echo(), |setup| {
        old_ledger(&setup, 4);
        write_watermark(&setup, "test-node.json", 3);
        // The name of its first file is taken by another content.
        let first = fs::read_dir(setup.path("usage")).unwrap().map(|entry| entry.unwrap().file_name());
        let first = first.filter(|name| name.to_string_lossy().ends_with(".csv")).min().unwrap();
        fs::create_dir(setup.path("audit")).unwrap();
        setup.write(&format!("audit/{}", first.to_string_lossy()), "another's");
        setup
            .set("export", "release = \"watermark-file\"")
            .set("export", "retention = \"1 h\"")
            .raw("[[sink]]\nid = \"audit\"\nfrom = \"oldest\"\nkind = \"file\"\ndir = \"audit\"\n")
    });
    let errors = || world.gateway.metric("zrgw_sink_errors_total{sink=\"audit\"}");
    assert!(eventually(|| errors() >= 2), "{}", world.gateway.log());
    assert_eq!(world.gateway.metric("zrgw_outbox_records"), 4);
    assert!(!world.gateway.stop().log().contains("leave the ledger"));
}

#[test]
fn nothing_leaves_without_billing_s_word_and_a_wrong_one_is_told_under_attention() {
    let world = World::with(Origin::echo(), |setup| {
        old_ledger(&setup, 2);
        // Another node's would have the files of this one.
        write_watermark(&setup, "test-node.json", 9);
        setup.set("export", "release = \"watermark-file\"").set("export", "retention = \"1 h\"")
    });
    world.gateway.await_readiness(|code, body| code == 200 && body.contains("release_held: "));
    world.gateway.await_metric("zrgw_outbox_records", 2);
    let setup = world.gateway.stop();
    // By default nothing ever leaves.
    write_watermark(&setup, "test-node.json", 2);
    let gateway = setup.set("export", "release = \"none\"").start();
    // The first run's stop has sealed a heartbeat.
    gateway.await_metric("zrgw_outbox_records", 3);
    assert!(eventually(|| gateway.ask("/readyz").is_some_and(|(_, body)| !body.contains("release_held"))));
    assert_eq!(gateway.metric("zrgw_outbox_records"), 3);
}

//! A copy of the folders put back, or the witness gone: a new epoch begins, and nothing is published twice.

use std::fs;

use super::crash::{Bytes, Lab, Load, Row, Shape, seed, sum_where, wait_for};
use super::{both, copy_folder, one_run, some_traffic};

#[test]
fn b3_a_restored_copy_of_the_state_begins_an_epoch_with_a_gap() {
    let seed = seed();
    let lab = Lab::new(&Shape::default());
    let first = one_run(&lab, seed);
    let copy = lab.folder().join("yesterday");
    copy_folder(&lab.state, &copy);
    let second = one_run(&lab, seed ^ 1);
    fs::remove_dir_all(&lab.state).unwrap();
    copy_folder(&copy, &lab.state);
    let third = one_run(&lab, seed ^ 2);
    lab.verify();
    let files = lab.pickup();
    let gaps: Vec<_> = files
        .iter()
        .filter(|(name, content)| {
            name.ends_with(".csv")
                && String::from_utf8_lossy(content).lines().any(|line| line.contains(",gap,"))
        })
        .map(|(name, _)| name)
        .collect();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert!(gaps[0].contains("_00002_"), "{gaps:?}");
    // What was published before the copy was put back is billing's; the rest of it was lost with the ledger, and nothing is twice.
    assert_eq!(lab.totals(), both(&both(&first, &second), &third));
    assert!(!lab.totals().contains_key(&Row::orphaned()));
    let all = sum_where(&lab.totals(), |_| true);
    assert!(all != Bytes::default());
}

/// The witness alone deleted after a kill: every committed byte comes into a record, and the log says what was done.
#[test]
fn f65_a_witness_deleted_after_a_kill_costs_no_committed_byte() {
    let lab = Lab::new(&Shape { period: "900 s", ..Shape::default() });
    let daemon = lab.start(None);
    let load = Load::start(&lab, seed());
    some_traffic(&load, 40);
    wait_for("a saved tick", || (sum_where(&lab.ledger().sums, |_| true).down > 100_000).then_some(()));
    daemon.kill();
    load.end();
    let committed = lab.ledger().sums;
    fs::remove_file(lab.staging.join("crash-1.witness")).unwrap();
    let daemon = lab.start(None);
    lab.wait_ready();
    daemon.stop(&lab);
    lab.verify();
    let totals = lab.totals();
    for (row, bytes) in &committed {
        assert!(
            bytes.at_most(totals.get(row).copied().unwrap_or_default()),
            "{row:?}: {bytes:?} in {totals:?}"
        );
    }
    assert!(lab.pickup().keys().any(|file| file.contains("_00002_")), "a second epoch");
    let log = lab.log();
    assert!(log.contains("the witness is gone") && log.contains("what was committed is kept"), "{log}");
}

/// State and staging put back together while billing's files are taken away: the witness in memory knows better.
#[test]
fn f63_state_and_staging_put_back_together_begin_an_epoch() {
    let lab = Lab::new(&Shape::default());
    one_run(&lab, seed());
    let copy = lab.folder().join("snapshot");
    let folders = [("state", &lab.state), ("staging", &lab.staging)];
    for (name, folder) in folders {
        copy_folder(folder, &copy.join(name));
    }
    one_run(&lab, seed() ^ 1);
    let mut known = lab.pickup();
    for file in fs::read_dir(&lab.usage).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    for (name, folder) in folders {
        fs::remove_dir_all(folder).unwrap();
        copy_folder(&copy.join(name), folder);
    }
    one_run(&lab, seed() ^ 2);
    let identities = |files: &std::collections::HashMap<String, Vec<u8>>| -> Vec<String> {
        let data = files.iter().filter(|(name, _)| name.ends_with(".csv"));
        let lines = data.flat_map(|(_, content)| {
            String::from_utf8_lossy(content).lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
        });
        lines.map(|line| line.splitn(4, ',').take(3).collect::<Vec<_>>().join(",")).collect()
    };
    let new = lab.pickup();
    assert!(!new.is_empty() && new.keys().all(|name| name.contains("_00002_")), "{:?}", new.keys());
    known.extend(new);
    let all = identities(&known);
    let unique: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!(unique.len(), all.len(), "no record has the name of another");
    // An ordinary start is none of it.
    one_run(&lab, seed() ^ 3);
    assert!(!lab.pickup().keys().any(|name| name.contains("_00003_")));
}

//! Adjust rows: on the day and account of the usage record they correct, whatever comes first.

use jiff::SignedDuration;

use crate::forge::Forge;
use crate::oracle::Bench;
use crate::support::*;

/// The one total of a subscriber: day, bytes, records.
fn total(bench: &Bench<'_>, id: &str) -> String {
    bench.sql(&format!("SELECT local_day, up_bytes, down_bytes, records FROM zrgw.total WHERE subscriber_id = '{id}' ORDER BY 1"))
}

/// A usage record, a correction of it a month later, and a correction of that: three files of their own.
fn three(bench: &Bench<'_>) -> (Forge, [std::path::PathBuf; 3]) {
    let mut forge = Forge::new("zrgw-03");
    let usage = forge.usage("1", 100, 1_000);
    let first = forge.write(&bench.root.path().join("all"));
    forge.start += SignedDuration::from_hours(24 * 30);
    let adjust = forge.adjust("1", usage, -40, -400);
    let second = forge.write(&bench.root.path().join("all"));
    forge.adjust("1", adjust, 15, 150);
    let third = forge.write(&bench.root.path().join("all"));
    (forge, [first, second, third])
}

#[test]
fn b30_a_correction_of_a_correction_counts_on_the_day_of_the_record_in_any_order() {
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for order in orders {
        let bench = Bench::new();
        std::fs::create_dir(bench.root.path().join("all")).unwrap();
        let (_, files) = three(&bench);
        let mut totals = Vec::new();
        for index in order {
            crate::deliver(&files[index], &bench.usage());
            bench.taken();
            totals.push(total(&bench, "1"));
        }
        assert_eq!(totals[2], "2020-04-06|75|750|1", "{order:?}");
        // Nothing is counted before its record is there.
        let at = order.iter().position(|index| *index == 0).unwrap();
        assert!(totals[..at].iter().all(String::is_empty), "{order:?}: {totals:?}");
        assert_eq!(bench.sql("SELECT count(*) FROM zrgw.total"), "1");
        assert_eq!(
            bench.sql("SELECT count(*) FROM zrgw.record WHERE kind = 'adjust' AND local_day = '2020-05-06'"),
            "2"
        );
        let before = bench.dump();
        bench.taken();
        assert_eq!(bench.dump(), before, "{order:?}");
    }
}

#[test]
fn b30_record_and_correction_in_one_file_and_over_epochs() {
    let bench = Bench::new();
    let mut forge = Forge::new("zrgw-03");
    let usage = forge.usage("1", 100, 1_000);
    forge.adjust("1", usage, -100, -1_000);
    forge.usage("2", 1, 1);
    forge.write(&bench.usage());
    (forge.epoch, forge.seq) = (2, 1);
    forge.adjust("1", usage, 7, 0);
    forge.write(&bench.usage());
    bench.taken();
    assert_eq!(total(&bench, "1"), "2020-04-06|7|0|1");
    assert_eq!(total(&bench, "2"), "2020-04-06|1|1|1");
}

#[test]
fn b30_a_total_below_zero_is_refused_with_its_file() {
    let bench = Bench::new();
    let mut forge = Forge::new("zrgw-03");
    let usage = forge.usage("1", 100, 1_000);
    forge.write(&bench.usage());
    bench.taken();
    let before = bench.dump();
    forge.adjust("1", usage, -101, 0);
    forge.usage("2", 5, 5);
    let (data, manifest) = forge.render();
    crate::forge::rewrite(&data, manifest.clone(), &bench.usage(), |_| ());
    let ran = bench.once();
    assert_eq!((ran.code, ran.counts), (1, [0, 1, 1, 0, 0]), "{}", ran.errors);
    assert!(ran.errors.contains(&manifest.file) && ran.errors.contains(": below_zero: "), "{}", ran.errors);
    assert_eq!(bench.dump(), before);
    assert_eq!(bench.sql("SELECT count(*) FROM zrgw.adjustment"), "0");
}

#[test]
fn b30_a_correction_that_waited_and_would_go_below_zero_keeps_its_record_in() {
    let bench = Bench::new();
    let all = bench.root.path().join("all");
    std::fs::create_dir(&all).unwrap();
    let mut forge = Forge::new("zrgw-03");
    let usage = forge.usage("1", 100, 1_000);
    let first = forge.write(&all);
    forge.adjust("1", usage, -101, 0);
    let second = forge.write(&all);
    crate::deliver(&second, &bench.usage());
    bench.taken();
    crate::deliver(&first, &bench.usage());
    let ran = bench.once();
    assert_eq!((ran.code, ran.counts), (1, [1, 1, 1, 0, 1]), "{}", ran.errors);
    assert!(ran.errors.contains(second.file_name().unwrap().to_str().unwrap()), "{}", ran.errors);
    assert!(ran.errors.contains(": below_zero: "), "{}", ran.errors);
    assert_eq!(total(&bench, "1"), "2020-04-06|100|1000|1");
    assert_eq!(bench.sql("SELECT state FROM zrgw.adjustment"), "refused");
    // Another record of this total comes: the correction fits, and is added.
    forge.usage("1", 50, 50);
    forge.start = at(0);
    forge.rows.clear();
    forge.seq -= 1;
    forge.usage("1", 50, 50);
    forge.write(&bench.usage());
    bench.taken();
    assert_eq!(total(&bench, "1"), "2020-04-06|49|1050|2");
    assert_eq!(bench.sql("SELECT state FROM zrgw.adjustment"), "applied");
}

#[test]
fn b30_a_correction_of_itself_or_of_what_is_later_is_refused() {
    let bench = Bench::new();
    let mut forge = Forge::new("zrgw-03");
    let usage = forge.usage("1", 100, 100);
    let own = billing_export::record::Reference { epoch: usage.epoch, seq: usage.seq + 1 };
    forge.adjust("1", own, -1, -1);
    forge.write(&bench.usage());
    let ran = bench.once();
    assert_eq!(ran.code, 1);
    assert!(ran.errors.contains(": row: ") && ran.errors.contains("wanted an earlier one"), "{}", ran.errors);
}

#[test]
fn b30_random_corrections_by_many_nodes_come_to_what_a_plain_sum_says() {
    let seed = 0x5eed_0001;
    println!("seed {seed:#x}");
    let mut random = Seeded(seed);
    let bench = Bench::new();
    let all = bench.root.path().join("all");
    std::fs::create_dir(&all).unwrap();
    let mut sums: std::collections::BTreeMap<String, [i128; 2]> = std::collections::BTreeMap::new();
    let mut files = Vec::new();
    for node in 0..3 {
        let mut forge = Forge::new(&format!("zrgw-{node}"));
        // What stands behind each reference, and what is left of it.
        let mut open: Vec<(billing_export::record::Reference, String, [i128; 2])> = Vec::new();
        for _ in 0..12 {
            for _ in 0..=random.below(4) {
                let id = format!("{}", random.below(5));
                if open.is_empty() || random.below(2) == 0 {
                    let (up, down) = (random.below(1_000), random.below(1_000));
                    let reference = forge.usage(&id, up, down);
                    let bytes = [i128::from(up), i128::from(down)];
                    open.push((reference, id.clone(), bytes));
                    let sum = sums.entry(id).or_default();
                    (sum[0], sum[1]) = (sum[0] + bytes[0], sum[1] + bytes[1]);
                } else {
                    let at = usize::try_from(random.below(open.len() as u64)).unwrap();
                    let (reference, id, left) = open[at].clone();
                    let change = left.map(|left| -i128::from(random.below(u64::try_from(left).unwrap() + 1)));
                    let next = forge.adjust(&id, reference, change[0], change[1]);
                    let left = [left[0] + change[0], left[1] + change[1]];
                    // The next correction of this record goes over this one.
                    open[at] = (next, id.clone(), left);
                    let sum = sums.entry(id).or_default();
                    (sum[0], sum[1]) = (sum[0] + change[0], sum[1] + change[1]);
                }
            }
            files.push(forge.write(&all));
            forge.start += SignedDuration::from_mins(15);
        }
    }
    while !files.is_empty() {
        let at = usize::try_from(random.below(files.len() as u64)).unwrap();
        crate::deliver(&files.swap_remove(at), &bench.usage());
        if random.below(3) == 0 {
            bench.taken();
        }
    }
    bench.taken();
    let wanted: Vec<_> = sums.iter().map(|(id, [up, down])| format!("{id}|{up}|{down}")).collect();
    let found = bench
        .sql("SELECT subscriber_id, sum(up_bytes), sum(down_bytes) FROM zrgw.total GROUP BY 1 ORDER BY 1");
    assert_eq!(found, wanted.join("\n"));
    assert_eq!(bench.sql("SELECT count(*) FROM zrgw.adjustment WHERE state <> 'applied'"), "0");
}

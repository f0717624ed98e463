//! Questions to the ledger: a subscriber's day, and the operator's figures.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::forge::Forge;
use crate::oracle::Bench;
use crate::support::*;
use crate::{delivered, example};

/// The command with the configuration: exit code, standard output, standard error.
fn asked(bench: &Bench<'_>, command: &str, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_billing-export"))
        .args([command, "--config"])
        .arg(bench.config())
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// `explain --format json` of the ledger.
fn explained(bench: &Bench<'_>, id: &str, day: &str) -> Value {
    let (code, out, err) = asked(bench, "explain", &["--subscriber", id, "--day", day, "--format", "json"]);
    assert_eq!((code, err.as_str()), (0, ""));
    serde_json::from_str(&out).unwrap()
}

#[test]
fn explain_says_the_same_of_the_ledger_as_of_the_files() {
    let (node, bench) = (delivered(), Bench::new());
    copy_dir(&node.settings.pickup_dir, &bench.usage());
    bench.taken();
    for id in ["77010000001", "77010000002"] {
        let of_ledger = explained(&bench, id, "2020-04-06");
        let output = Command::new(env!("CARGO_BIN_EXE_billing-export"))
            .args([
                "explain",
                "--subscriber",
                id,
                "--day",
                "2020-04-06",
                "--zone",
                "Asia/Almaty",
                "--format",
                "json",
            ])
            .arg(&node.settings.pickup_dir)
            .output()
            .unwrap();
        assert_eq!(of_ledger, serde_json::from_slice::<Value>(&output.stdout).unwrap());
    }
    let (code, out, err) = asked(&bench, "explain", &["--subscriber", "77010000009", "--day", "2020-04-06"]);
    assert!(code == 1 && out.is_empty() && err.contains("in the ledger"), "{err}");
    let (code, _, err) =
        asked(&bench, "explain", &["--subscriber", "1", "--day", "2020-04-06", "--zone", "UTC"]);
    assert!(code == 2 && err.contains("cannot be used with"), "{err}");
}

#[test]
fn b30_totals_of_the_ledger_are_those_of_its_files() {
    let (mut forge, bench) = (Forge::new("a"), Bench::new());
    let usage = forge.usage("77010000001", 100, 1_000);
    forge.usage("77010000002", 5, 5);
    forge.write(&bench.usage());
    forge.adjust("77010000001", usage, -40, -400);
    forge.write(&bench.usage());
    bench.taken();
    for by in ["subscriber", "service", "day", "reason"] {
        let of_ledger = asked(&bench, "totals", &["--by", by, "--format", "json"]);
        let output = Command::new(env!("CARGO_BIN_EXE_billing-export"))
            .args(["totals", "--by", by, "--zone", "Asia/Almaty", "--format", "json"])
            .arg(bench.usage())
            .output()
            .unwrap();
        let of_files = String::from_utf8(output.stdout).unwrap();
        assert_eq!(of_ledger, (0, of_files.clone(), String::new()), "{by}");
        assert!(of_files.contains("\"records\":\"2\"") || by == "subscriber", "{of_files}");
    }
    let (code, _, err) = asked(&bench, "totals", &["--zone", "UTC"]);
    assert!(code == 2 && err.contains("cannot be used with"), "{err}");
}

#[test]
fn b30_explain_of_the_ledger_is_net_of_corrections_and_says_what_is_left() {
    let (mut forge, mut bench) = (Forge::new("a"), Bench::new());
    let usage = forge.usage("77010000001", 100, 1_000);
    forge.usage("77010000002", 5, 5);
    forge.write(&bench.usage());
    let first = forge.adjust("77010000001", usage, -40, -400);
    forge.write(&bench.usage());
    forge.adjust("77010000001", first, 10, 0);
    forge.write(&bench.usage());
    bench.more = "[allowance]\nzone = \"Asia/Almaty\"\ndaily = \"1 KiB\"\ncounters_max = 5\n\
                  [[allowance.group]]\nid = \"video\"\nservices = [\"another\"]\nmonthly = \"1 MiB\"\n"
        .into();
    bench.taken();
    let said = explained(&bench, "77010000001", "2020-04-06");
    assert_eq!(said["exempt"][0]["up_bytes"], "70");
    assert_eq!(said["exempt"][0]["down_bytes"], "600");
    let adjusted = said["adjusted"].as_array().unwrap();
    let bytes: Vec<_> = adjusted.iter().map(|one| (&one["up_bytes"], &one["down_bytes"])).collect();
    assert_eq!(bytes, [(&"-40".into(), &"-400".into()), (&"10".into(), &"0".into())]);
    let wanted = serde_json::json!([
        { "allowance": "group:video", "span": "month 2020-04-01", "limit": "1048576", "used": "0", "left": "1048576" },
        { "allowance": "overall", "span": "day 2020-04-06", "limit": "1024", "used": "670", "left": "354" },
    ]);
    assert_eq!(said["allowances"], wanted);
    bench.more = bench.more.replace("Asia/Almaty", "UTC");
    let (code, _, err) = asked(&bench, "explain", &["--subscriber", "77010000001", "--day", "2020-04-06"]);
    assert!(code == 78 && err.contains("allowance.zone"), "{err}");
}

#[test]
fn a_day_is_complete_when_every_node_reaches_its_end() {
    let (mut node, bench) = (Node::new(), Bench::new());
    example(&mut node);
    let deliver = |node: &Node| {
        copy_dir(&node.settings.pickup_dir, &bench.usage());
        bench.taken();
    };
    deliver(&node);
    assert_eq!(explained(&bench, "77010000001", "2020-04-06")["complete"], false);
    // Heartbeats to the next day of Almaty.
    let mut exporter = node.open(at(46 * MINUTE));
    exporter.seal_due(at(6 * 60 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    deliver(&node);
    assert_eq!(explained(&bench, "77010000001", "2020-04-06")["complete"], true);
    exporter.close().unwrap();
    // A state that was lost: the gap begins where its last tick was, in this day.
    fs::remove_file(node.settings.staging_dir.join("zrgw-01.witness")).unwrap();
    let mut exporter = node.open(at(24 * 60 * MINUTE));
    exporter.publish().unwrap();
    exporter.close().unwrap();
    deliver(&node);
    assert_eq!(explained(&bench, "77010000001", "2020-04-06")["complete"], false);
    bench.sql("UPDATE zrgw.record SET start_utc = '2020-04-06T18:00:00Z' WHERE kind = 'gap'");
    assert_eq!(explained(&bench, "77010000001", "2020-04-06")["complete"], true, "of the next day alone");
    // Another node that is not as far.
    let mut other = Forge::new("b");
    other.usage("77010000009", 1, 1);
    other.write(&bench.usage());
    bench.taken();
    assert_eq!(explained(&bench, "77010000001", "2020-04-06")["complete"], false);
}

#[test]
fn questions_are_asked_of_a_ledger_that_is_there_and_by_a_role_that_may_only_read() {
    let (node, bench) = (delivered(), Bench::new());
    let arguments = ["--subscriber", "77010000001", "--day", "2020-04-06"];
    let (code, _, err) = asked(&bench, "explain", &arguments);
    assert!(code == 78 && err.contains("found no tables in schema"), "{code}: {err}");
    copy_dir(&node.settings.pickup_dir, &bench.usage());
    bench.taken();
    let role = format!("desk_{}", bench.database);
    bench.sql(&format!(
        "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA zrgw TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA zrgw TO {role}"
    ));
    let text = fs::read_to_string(bench.config()).unwrap().replace("user=postgres", &format!("user={role}"));
    let path = bench.root.path().join("desk.toml");
    fs::write(&path, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_billing-export"))
        .args(["explain", "--config"])
        .arg(&path)
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with("Subscriber 77010000001 (msisdn) on 2020-04-06"), "{said}");
    bench.sql(&format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}"));
}

#[test]
fn reconcile_names_the_cause_of_each_difference_and_says_no_to_those_that_stay_open() {
    let (node, bench) = (delivered(), Bench::new());
    copy_dir(&node.settings.pickup_dir, &bench.usage());
    bench.taken();
    let operator = bench.root.path().join("operator.csv");
    let head = "subscriber_type,subscriber_id,start_utc,end_utc,up_bytes,down_bytes\n";
    let hour = "2020-04-06T12:00:00Z,2020-04-06T12:45:00Z";
    let run = |rows: &str, more: &[&str]| {
        fs::write(&operator, format!("{head}{rows}")).unwrap();
        let path = operator.display().to_string();
        asked(&bench, "reconcile", &[&["--operator", &path], more].concat())
    };
    // 77010000002: 30 and 60 exempt, 3 and 3 nobody's of this id.
    let rows = format!(
        "msisdn,77010000002,{hour},33,63\nmsisdn,77010000002,{hour},33,64\nmsisdn,77010000002,{hour},40,80\n"
    );
    let (code, out, err) = run(&rows, &["--tolerance", "1.1"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert_eq!(
        out,
        format!(
            "subscriber_type,subscriber_id,start_utc,end_utc,up_bytes,down_bytes,exempt_up,exempt_down,charged_up,charged_down,\
             difference_up,difference_down,percent,cause\n\
             msisdn,77010000002,{hour},33,63,30,60,3,3,0,0,0.00,equal\n\
             msisdn,77010000002,{hour},33,64,30,60,3,3,0,1,1.04,within_tolerance\n\
             msisdn,77010000002,{hour},40,80,30,60,3,3,7,17,20.00,byte_basis\n"
        )
    );
    let after = "2020-04-06T12:00:00Z,2020-04-06T13:00:00Z";
    let (code, out, _) = run(&format!("msisdn,77010000002,{after},40,80\n"), &["--format", "json"]);
    let said: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &said[0]["cause"], &said[0]["difference_down"]),
        (0, &"incomplete".into(), &"17".into())
    );
    // As if headers were counted.
    bench.sql("UPDATE zrgw.record SET byte_basis = 'ip'");
    let rows = format!(
        "msisdn,77010000002,{hour},40,80\nmsisdn,77010000002,{hour},30,80\nmsisdn,77010000009,{hour},1,1\n"
    );
    let (code, out, err) = run(&rows, &[]);
    let causes: Vec<_> = out.lines().skip(1).map(|line| line.rsplit(',').next().unwrap()).collect();
    assert_eq!(
        (code, &causes[..]),
        (1, &["unexplained", "more_than_operator", "not_seen_here"][..]),
        "{out}"
    );
    assert!(err.contains("2 rows are"), "{err}");
    for (rows, wanted) in [
        ("msisdn,1,2020-04-06,2020-04-07,1,1\n", "operator.csv:2: start_utc"),
        ("msisdn,1\n", "operator.csv:2: found 2 values"),
    ] {
        let (code, _, err) = run(rows, &[]);
        assert!(code == 1 && err.contains(wanted), "{code}: {err}");
    }
    for wrong in ["1.005", "-1", "", "a"] {
        assert_eq!(run("", &["--tolerance", wrong]).0, 2, "{wrong}");
    }
    fs::write(&operator, "a,b\n").unwrap();
    let path = operator.display().to_string();
    let (code, _, err) = asked(&bench, "reconcile", &["--operator", &path]);
    assert!(code == 1 && err.contains("operator.csv:1: found the columns"), "{code}: {err}");
}

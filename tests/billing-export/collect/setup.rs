//! Configurations, zones and versions that cannot work; a ledger that is not there.

use std::fs;
use std::process::Command;

use crate::delivered;
use crate::oracle::{Bench, ran};
use crate::support::*;

#[test]
fn another_zone_and_a_newer_ledger_are_refused() {
    let (node, mut bench) = (delivered(), Bench::new());
    copy_dir(&node.settings.pickup_dir, &bench.usage());
    bench.taken();
    let before = bench.dump();
    bench.zone = "Asia/Qyzylorda".into();
    let ran = bench.once();
    assert_eq!(ran.code, 78, "{}", ran.errors);
    assert!(ran.errors.contains("ledger.zone") && ran.errors.contains("Asia/Almaty"), "{}", ran.errors);
    bench.zone = "Asia/Almaty".into();
    bench.sql("INSERT INTO zrgw.migration (number) VALUES (99)");
    let ran = bench.once();
    assert_eq!(ran.code, 78, "{}", ran.errors);
    assert!(ran.errors.contains("found tables of version 99"), "{}", ran.errors);
    assert_eq!(bench.dump(), before);
    bench.sql("DELETE FROM zrgw.migration WHERE number = 99");
    bench.taken();
}

#[test]
fn an_ordinary_role_is_enough() {
    let (node, bench) = (delivered(), Bench::new());
    copy_dir(&node.settings.pickup_dir, &bench.usage());
    let role = format!("ordinary_{}", bench.database);
    bench.sql(&format!("CREATE ROLE {role} LOGIN; CREATE SCHEMA zrgw AUTHORIZATION {role}; REVOKE CREATE ON DATABASE {} FROM PUBLIC", bench.database));
    let text = fs::read_to_string(bench.config()).unwrap().replace("user=postgres", &format!("user={role}"));
    let path = bench.root.path().join("ordinary.toml");
    fs::write(&path, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_billing-export"))
        .args(["collect", "--once", "--format", "json", "--config"])
        .arg(&path)
        .output()
        .unwrap();
    let ran = ran(output);
    assert_eq!(ran.code, 0, "{}", ran.errors);
    bench.agrees_with(&node.data_files());
    bench.sql(&format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}"));
}

#[test]
fn two_collectors_make_the_tables_at_once() {
    let bench = Bench::new();
    let running: Vec<_> = (0..4).map(|_| bench.command(true).spawn().unwrap()).collect();
    for one in running {
        let ran = ran(one.wait_with_output().unwrap());
        assert_eq!(ran.code, 0, "{}", ran.errors);
    }
    assert_eq!(bench.sql("SELECT count(*), max(number) FROM zrgw.migration"), "1|1");
}

#[test]
fn a_ledger_or_source_that_is_not_there_is_told() {
    let bench = Bench::new();
    let mut away = Bench::new();
    away.database = "nobody_made_it".into();
    let ran = away.once();
    assert_eq!(ran.code, 74, "{}", ran.errors);
    assert!(ran.errors.contains("the ledger: ") && ran.errors.contains("nobody_made_it"), "{}", ran.errors);
    fs::remove_dir(bench.usage()).unwrap();
    let ran = bench.once();
    assert_eq!(ran.code, 74, "{}", ran.errors);
    assert!(ran.errors.contains("usage: reading the names in the source"), "{}", ran.errors);
    let text = fs::read_to_string(bench.config()).unwrap();
    let socket = bench.root.path().join("no-socket");
    let text = text.replace(&bench.cluster.socket_dir().display().to_string(), &socket.display().to_string());
    fs::write(bench.root.path().join("away.toml"), text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_billing-export"))
        .args(["collect", "--once", "--config"])
        .arg(bench.root.path().join("away.toml"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(74), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn wrong_configurations_are_told_with_their_line() {
    let mut bench = Bench::new();
    bench.more = "[[source]]\nkind = \"nats\"\nurl = \"nats://127.0.0.1\"\nstream = \"usage\"\n".into();
    let ran = bench.once();
    assert_eq!(ran.code, 78, "{}", ran.errors);
    assert!(ran.errors.contains("collect.toml:16: source.kind: found \"nats\""), "{}", ran.errors);
    bench.more = "[admin]\naddres = \"127.0.0.1:1\"\n".into();
    let ran = bench.once();
    assert_eq!(ran.code, 78, "{}", ran.errors);
    assert!(ran.errors.contains("collect.toml:16: unknown field `addres`"), "{}", ran.errors);
    bench.more = String::new();
    let output =
        Command::new(env!("CARGO_BIN_EXE_billing-export")).args(["collect", "--once"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let output = Command::new(env!("CARGO_BIN_EXE_billing-export"))
        .args(["collect", "--once", "--config", "/nonexistent/collect.toml"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(74));
    let output =
        Command::new(env!("CARGO_BIN_EXE_billing-export")).args(["collect", "--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(help.contains("Examples:") && help.contains("--once"), "{help}");
}

#[test]
fn a_plain_summary_is_one_line() {
    let (node, bench) = (delivered(), Bench::new());
    copy_dir(&node.settings.pickup_dir, &bench.usage());
    let output = Command::new(env!("CARGO_BIN_EXE_billing-export"))
        .args(["collect", "--once", "--config"])
        .arg(bench.config())
        .output()
        .unwrap();
    let files = node.data_files();
    let records: usize = files.iter().map(|path| rows(path).len()).sum();
    let wanted =
        format!("{} files taken, 0 known, 0 refused, 0 not complete, {records} records taken\n", files.len());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), wanted);
}

#[test]
fn a_source_that_is_away_keeps_none_of_the_others_out() {
    let (node, mut bench) = (delivered(), Bench::new());
    copy_dir(&node.settings.pickup_dir, &bench.root.path().join("other"));
    fs::remove_dir(bench.usage()).unwrap();
    bench.more = "[[source]]\nkind = \"files\"\ndir = \"other\"\n".into();
    let ran = bench.once();
    assert_eq!((ran.code, ran.counts[0]), (74, node.data_files().len() as u64), "{}", ran.errors);
    bench.agrees_with(&node.data_files());
}

#[test]
fn a_password_stands_in_a_file_beside_the_configuration() {
    let (node, bench) = (delivered(), Bench::new());
    copy_dir(&node.settings.pickup_dir, &bench.usage());
    bench.sql(&format!(
        "CREATE ROLE secret LOGIN PASSWORD 'Пароль \\ 1'; ALTER DATABASE {} OWNER TO secret",
        bench.database
    ));
    let text = fs::read_to_string(bench.config()).unwrap();
    let text = text.replace("user=postgres", "user=secret");
    let text = text.replace("schema = ", "password_file = \"password\"\nschema = ");
    let run = |password: &str| {
        fs::write(bench.root.path().join("password"), password).unwrap();
        fs::write(bench.root.path().join("secret.toml"), &text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_billing-export"));
        command.args(["collect", "--once", "--format", "json", "--config"]);
        ran(command.arg(bench.root.path().join("secret.toml")).output().unwrap())
    };
    let wrong = run("guess\n");
    assert_eq!(wrong.code, 74, "{}", wrong.errors);
    assert!(wrong.errors.contains("password authentication failed"), "{}", wrong.errors);
    assert_eq!(run("\n").code, 78);
    let right = run("Пароль \\ 1\n");
    assert_eq!(right.code, 0, "{}", right.errors);
    bench.agrees_with(&node.data_files());
}

#[test]
fn a_schema_may_be_called_like_a_word_of_sql() {
    let (node, bench) = (delivered(), Bench::new());
    copy_dir(&node.settings.pickup_dir, &bench.usage());
    let text = fs::read_to_string(bench.config()).unwrap().replace("schema = \"zrgw\"", "schema = \"order\"");
    let path = bench.root.path().join("order.toml");
    fs::write(&path, text).unwrap();
    for _ in 0..2 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_billing-export"));
        let output = command.args(["collect", "--once", "--config"]).arg(&path).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let records: usize = node.data_files().iter().map(|path| rows(path).len()).sum();
    assert_eq!(bench.sql("SELECT count(*) FROM \"order\".record"), records.to_string());
}

#[test]
fn the_questions_of_the_manual_are_answered() {
    let (node, bench) = (delivered(), Bench::new());
    copy_dir(&node.settings.pickup_dir, &bench.usage());
    bench.taken();
    let manual = include_str!("../../../billing-export/docs/ledger.md");
    let (_, questions) = manual.split_once("```sql\n").unwrap();
    let (questions, _) = questions.split_once("```").unwrap();
    let answers = bench.sql(questions);
    let count = questions.matches("SELECT").count();
    assert!(count >= 8, "{count}");
    assert!(answers.contains("2020-04-06|bilimland|reported|300|6000"), "{answers}");
    assert!(answers.contains("not_listed|12884901900"), "{answers}");
    assert!(answers.contains("zrgw-01|1|1|"), "{answers}");
}

#[test]
fn a_ledger_is_reached_over_tcp_by_its_url() {
    let (node, bench) = (delivered(), Bench::new());
    copy_dir(&node.settings.pickup_dir, &bench.usage());
    let url = format!("postgresql://postgres@127.0.0.1:{}/{}", bench.cluster.port(), bench.database);
    let text = format!(
        "[ledger]\nurl = \"{url}\"\nzone = \"Asia/Almaty\"\n[[source]]\nkind = \"files\"\ndir = \"usage\"\n"
    );
    let path = bench.root.path().join("tcp.toml");
    fs::write(&path, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_billing-export"));
    let ran =
        ran(command.args(["collect", "--once", "--format", "json", "--config"]).arg(&path).output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.errors);
    bench.agrees_with(&node.data_files());
}

//! The command: what it prints, where, and with which exit code. Golden texts are written anew with GOLDEN=write.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "tests may panic"
)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The instant at which lists are judged in these tests.
const AT: &str = "2020-04-10T00:00:00+06:00";

/// Runs the command in the folder of the golden files.
fn allowlist(arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_allowlist"));
    command.args(arguments).current_dir(golden("")).env("COLUMNS", "100");
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that does not read its input may be gone before all is written.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/allowlist/golden").join(file)
}

/// Asserts exit code and both outputs against `file`.
fn assert_golden(arguments: &[&str], code: i32, file: &str) {
    let output = allowlist(arguments, b"");
    let text = format!(
        "{}--- standard error\n{}--- exit {}\n",
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
        output.status.code().unwrap()
    );
    if std::env::var_os("GOLDEN").is_some_and(|word| word == "write") {
        std::fs::write(golden(file), &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(golden(file)).unwrap(), "{file}");
    assert_eq!(output.status.code(), Some(code), "{text}");
}

#[test]
fn lint_says_what_is_wrong_and_what_to_do() {
    assert_golden(&["lint", "--at", AT, "suspicious.toml"], 1, "lint.plain");
    assert_golden(&["lint", "--at", AT, "--format", "json", "suspicious.toml"], 1, "lint.json");
    assert_golden(&["lint", "--at", AT, "broken.toml"], 1, "lint-broken.plain");
}

#[test]
fn lint_of_a_good_list_succeeds() {
    assert_golden(
        &["lint", "--at", AT, "../../../allowlist/lists/kz-education-2020.toml"],
        0,
        "lint-shipped.plain",
    );
    assert_golden(&["lint", "--at", AT, "--format", "json", "contract.toml"], 0, "lint-contract.json");
}

#[test]
fn show_tells_a_list_in_words_and_in_json() {
    assert_golden(&["show", "suspicious.toml"], 0, "show.plain");
    assert_golden(&["show", "--format", "json", "suspicious.toml"], 0, "show.json");
}

#[test]
fn show_writes_the_canonical_form_and_nothing_else() {
    let contract = std::fs::read(golden("contract.toml")).unwrap();
    let loose =
        String::from_utf8(contract.clone()).unwrap().replace(" = ", "  =  ").replace("\n\n", "\n# remark\n");
    let output = allowlist(&["show", "--canonical", "-"], loose.as_bytes());
    assert_eq!(output.stdout, contract);
    assert!(output.stderr.is_empty());
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_list_that_is_none_is_refused_with_every_problem_on_standard_error() {
    let output = allowlist(&["show", "broken.toml"], b"");
    assert_eq!(output.status.code(), Some(78));
    assert!(output.stdout.is_empty());
    let wanted: String =
        include_str!("golden/broken.txt").lines().map(|line| format!("broken.toml:{line}\n")).collect();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), wanted);
}

#[test]
fn each_kind_of_failure_has_its_exit_code_and_remedy() {
    for (arguments, input, code, words) in [
        (&["lint", "absent.toml"][..], &b""[..], 74, "absent.toml: cannot be read"),
        (&["show", "."], b"", 74, ".: cannot be read"),
        (&["show", "-"], b"", 78, "standard input:1:1: found the document without `format`"),
        (&["show", "-"], b"format = 1\nab\xffc", 78, "standard input:2:3: found a byte that is not UTF-8"),
        (&["lint", "-"], b"\xff", 78, "standard input:1:1: found a byte that is not UTF-8"),
        (&["lint", "-", "--bytes-max", "4"], b"format = 1\n", 1, "1 errors"),
        // F26: said once, with what makes a list.
        (&["lint", "-"], b"https://a.kz/\nhttps://b.kz/\n", 1, "to make a list: "),
        (&["lint", "-"], b"https://a.kz/\nhttps://b.kz/\n", 1, "standard input: 1 errors"),
        (&["show", "-"], b"https://a.kz/\nhttps://b.kz/\n", 78, "to make a list: "),
        (&["lint"], b"", 2, "Usage"),
        (&["sign", "x"], b"", 2, "unrecognized subcommand"),
        (&["lint", "--at", "yesterday", "x"], b"", 2, "--at"),
        (&["show", "--canonical", "--format", "json", "x"], b"", 2, "cannot be used with"),
    ] {
        let output = allowlist(arguments, input);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
        assert!(message.contains(words), "{arguments:?}: {message}");
    }
}

#[test]
fn help_of_each_subcommand_has_examples_and_exit_codes() {
    for subcommand in ["lint", "show"] {
        let output = allowlist(&[subcommand, "--help"], b"");
        let help = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(help.contains("Examples:") && help.contains("Exit status:"), "{help}");
    }
}

#[test]
fn a_closed_standard_output_is_no_failure_of_the_list() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_allowlist"))
        .args(["show", "contract.toml"])
        .current_dir(golden(""))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

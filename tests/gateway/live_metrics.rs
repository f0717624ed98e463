//! Every metric moves: those that one gateway with ordinary traffic moves are read from its page, each of the others names the
//! test that demands a value of it (fault F21: a metric that nobody had ever seen rise could not rise).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

#[path = "live_metrics/moved_by.rs"]
mod moved_by;
#[path = "live_metrics/traffic.rs"]
mod traffic;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use moved_by::MOVED_BY;
use traffic::{an_ordinary_evening, answers_of_all_kinds};

/// Where what nothing on the network can bring about is counted.
const COUNTED: &str = "gateway/src/app/node/status/count.rs";
/// Where metrics are declared.
const DECLARED: [&str; 5] = [
    "gateway/src/app/node/status/readings.rs",
    COUNTED,
    "gateway/src/net/node/event.rs",
    "gateway/src/net/dns/count/metrics.rs",
    "gateway/src/net/radius/figures.rs",
];

/// A file of the workspace.
fn source(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names in quotes, metrics by what they begin with.
fn names(text: &str) -> BTreeSet<String> {
    let quoted = text.split('"').filter(|part| part.starts_with("zrgw_"));
    let is_part = |part: &char| part.is_ascii_lowercase() || *part == '_';
    quoted.filter(|part| part.chars().all(|part| is_part(&part))).map(ToOwned::to_owned).collect()
}

/// All metrics.
fn declared() -> BTreeSet<String> {
    DECLARED.iter().flat_map(|path| names(&source(path))).collect()
}

/// The code of a test, by its name; metrics that have a name in its file stand in it as they are.
fn body(text: &str, test: &str) -> Option<String> {
    let (_, from) = text.split_once(&format!("fn {test}("))?;
    // It ends at a brace that stands where the function does.
    let margin = if text.contains(&format!("\nfn {test}(")) { "\n}\n" } else { "\n    }\n" };
    let mut code = from.split_once(margin)?.0.to_owned();
    for line in text.lines() {
        let named = line.strip_prefix("const ").and_then(|rest| rest.split_once(": &str = "));
        if let Some((name, metric)) = named.filter(|(_, value)| value.starts_with("\"zrgw_")) {
            code = code.replace(name, metric.trim_end_matches(';'));
        }
    }
    Some(code)
}

/// Whether a statement speaks of this metric, and does not merely say that it is 0.
fn demands(code: &str, metric: &str) -> bool {
    let is_next = |rest: &str| !rest.starts_with(|next: char| next.is_ascii_lowercase() || next == '_');
    let speaks = |part: &&str| part.match_indices(metric).any(|(at, _)| is_next(&part[at + metric.len()..]));
    let is_zero = |part: &str| {
        let part: String = part.chars().filter(|part| !part.is_whitespace()).collect();
        ["),0)", "),0,", "\",0)", "==0", "==0.0"].iter().any(|zero| part.contains(zero))
    };
    code.split(';').filter(speaks).any(|part| !is_zero(part))
}

#[test]
fn f21_every_metric_of_a_running_gateway_moves_here_or_in_the_test_that_is_named_for_it() {
    let described = declared();
    let mut seen = BTreeSet::new();
    an_ordinary_evening(&mut seen);
    answers_of_all_kinds(&mut seen);
    let elsewhere: BTreeMap<_, _> =
        MOVED_BY.iter().map(|(metric, file, test)| (*metric, (*file, *test))).collect();
    let mut findings: Vec<String> = seen
        .iter()
        .filter(|metric| !described.contains(*metric))
        .map(|metric| format!("{metric} is not described"))
        .collect();
    findings.extend(
        elsewhere
            .keys()
            .filter(|metric| !described.contains(**metric))
            .map(|metric| format!("{metric} is no metric: remove it from MOVED_BY")),
    );
    for metric in described.iter().filter(|metric| !seen.contains(*metric)) {
        let Some((file, test)) = elsewhere.get(metric.as_str()) else {
            findings.push(format!(
                "nothing moves {metric}: make it move here, or name in MOVED_BY the test that does"
            ));
            continue;
        };
        match body(&source(file), test) {
            None => findings.push(format!("{metric}: {file} has no test {test}")),
            Some(code) if !demands(&code, metric) => {
                findings.push(format!("{metric}: {test} of {file} never demands that it is more than 0"));
            }
            Some(_) => {}
        }
    }
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

/// Names that stand in the code of the gateway are those that it describes.
#[test]
fn f21_every_metric_of_the_code_is_described() {
    fn below(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                below(&path, found);
            } else {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    below(&root, &mut files);
    let known = declared();
    assert!(known.len() > 60, "{known:?}");
    for file in &files {
        let unknown: Vec<_> = names(&fs::read_to_string(file).unwrap()).difference(&known).cloned().collect();
        assert!(unknown.is_empty(), "{}: {unknown:?} are not described", file.display());
    }
}

/// The reader of tests above is not fooled by a test that says a metric stays 0.
#[test]
fn only_a_value_other_than_zero_is_a_demand() {
    for none in [
        "assert_eq!(gateway.metric(\"zrgw_a_total\"), 0);",
        "assert_eq!(gateway.metric(\"zrgw_a_total\"), 0, \"at the limit\");",
        "gateway.await_metric(\"zrgw_a_total\", 0);",
        "assert!(lab.metric(\"zrgw_a_total\") == 0.0);",
        "gateway.await_metric(\"zrgw_a_total_more\", 1);",
    ] {
        assert!(!demands(none, "zrgw_a_total"), "{none}");
    }
    for some in [
        "gateway.await_metric(\"zrgw_a_total{label=\\\"x\\\"}\", 1);",
        "assert!(gateway.metric(\"zrgw_a_total\") > 0);",
        "assert_eq!(gateway.metric(\"zrgw_a_total\"), 0); let name = \"zrgw_a_total\";",
    ] {
        assert!(demands(some, "zrgw_a_total"), "{some}");
    }
}

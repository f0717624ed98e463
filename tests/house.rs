//! The rules of the house that a machine can hold (`gateway/docs/architecture.md`): top level, direction of dependencies, purity,
//! unsafe code, reasons for dependencies, file length, headers, fuzz targets, wiring of tests and benches.
//!
//! Works from any package of the workspace. Every finding names file and line, the rule and what to do; each rule has a
//! sample beside it that it must refuse.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "tests may panic"
)]

#[path = "house/circles.rs"]
mod circles;
#[path = "house/floors.rs"]
mod floors;
#[path = "house/references.rs"]
mod references;
#[path = "house/scan.rs"]
mod scan;
#[path = "house/source.rs"]
mod source;
#[path = "house/wiring.rs"]
mod wiring;

use scan::tokens;
use source::{CRATES, Source, git_list, none, sample, sources};

/// What the top level may hold, and whether it must.
const TOP_LEVEL: [(&str, bool); 15] = [
    ("Cargo.toml", true),
    ("Cargo.lock", true),
    ("README.md", true),
    ("gateway", true),
    ("allowlist", true),
    ("billing-export", true),
    ("config", true),
    ("tests", true),
    ("benches", false),
    (".ci", true),
    (".github", false),
    (".gitignore", true),
    (".rustfmt.toml", true),
    (".clippy.toml", true),
    (".deny.toml", true),
];
/// Files that may hold unsafe code.
const UNSAFE_FILES: [&str; 3] =
    ["gateway/src/net/tcp/splice.rs", "gateway/src/net/sys/socket.rs", "gateway/src/net/kernel/slots.rs"];
/// Lines above which a file asks for a second look.
const SECOND_LOOK_LINES: usize = 400;
/// Lines a file never has.
const WALL_LINES: usize = 600;
/// The three that do not know one another.
const LEAVES: [&str; 3] = ["config", "allowlist", "billing-export"];

/// Entries of the top level that do not belong, and those that are missing.
fn judge_top_level(listed: &[String]) -> Vec<String> {
    let top = |path: &String| path.split('/').next().unwrap_or_default().to_owned();
    let mut present: Vec<String> = listed.iter().map(top).collect();
    present.sort();
    present.dedup();
    let strange =
        present.iter().filter(|entry| TOP_LEVEL.iter().all(|(name, _)| name != entry)).map(|entry| {
            format!(
                "{entry}:1: the top level holds exactly so many entries; move it into its crate or folder"
            )
        });
    let missing = TOP_LEVEL.iter().filter(|(name, must)| *must && present.iter().all(|entry| entry != name));
    strange.chain(missing.map(|(name, _)| format!("{name}:1: the top level lacks it; restore it"))).collect()
}

#[test]
fn the_top_level_holds_what_the_design_names() {
    let samples: Vec<String> = ["docs/a.md", "Cargo.toml"].map(str::to_owned).to_vec();
    assert!(judge_top_level(&samples).iter().any(|finding| finding.starts_with("docs:1:")));
    assert!(
        judge_top_level(&samples)
            .iter()
            .any(|finding| finding.starts_with("README.md:1: the top level lacks"))
    );
    match git_list(&[]) {
        Some(listed) => none(judge_top_level(&listed)),
        None => println!("SKIPPED: the top level: no git repository tells what belongs to the project"),
    }
}

/// The dependencies of a manifest: line, section, name, the whole line.
fn dependencies(text: &str) -> Vec<(usize, String, String, String)> {
    let mut section = String::new();
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(header) = line.trim().strip_prefix('[') {
            section = header.trim_end_matches(']').to_owned();
            if let Some((kind, name)) = section.rsplit_once("dependencies.") {
                found.push((index + 1, format!("{kind}dependencies"), name.to_owned(), line.to_owned()));
            }
        } else if section.ends_with("dependencies")
            && let Some((name, _)) = line.split_once(['.', '=', ' '])
            && !name.is_empty()
            && !line.starts_with('#')
        {
            found.push((index + 1, section.clone(), name.trim().to_owned(), line.to_owned()));
        }
    }
    found
}

/// Leaves that know a sibling, and dependencies with a version of their own.
fn judge_crates(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in
        sources.iter().filter(|s| CRATES.iter().any(|krate| s.path == format!("{krate}/Cargo.toml")))
    {
        for (line, section, name, whole) in dependencies(&source.text) {
            if LEAVES.contains(&source.krate()) && CRATES.contains(&name.as_str()) {
                let rule = format!(
                    "[{section}] {name}: leaves do not know one another; let gateway/src/app join them"
                );
                findings.push(source.finding(line, &rule));
            }
            if !whole.contains("workspace = true") {
                let rule = format!(
                    "{name}: one version for all; write it in [workspace.dependencies] with its reason"
                );
                findings.push(source.finding(line, &rule));
            }
        }
    }
    findings
}

#[test]
fn leaves_know_no_sibling_and_versions_stand_in_one_place() {
    let refused = |text| judge_crates(&sample("config/Cargo.toml", text)).len();
    assert_eq!(refused("[dependencies]\nallowlist.workspace = true\n"), 1);
    assert_eq!(refused("[dev-dependencies]\ngateway = { workspace = true }\n"), 1);
    assert_eq!(refused("[dependencies]\ntoml = \"1.2\"\n"), 1);
    assert_eq!(refused("[dependencies]\ntoml.workspace = true\n[lints]\nworkspace = true\n"), 0);
    none(judge_crates(&sources()));
}

/// Workspace dependencies without a sentence above them; path dependencies and families of one name excepted.
fn judge_reasons(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.path == "Cargo.toml") {
        let lines: Vec<&str> = source.text.lines().collect();
        let mut before = String::new();
        for (line, section, name, whole) in dependencies(&source.text) {
            let commented = line >= 2 && lines[line - 2].trim_start().starts_with("# ");
            let family = !before.is_empty() && name.starts_with(&before);
            if section == "workspace.dependencies" && !commented && !family && !whole.contains("path = ") {
                let rule =
                    format!("{name}: each dependency says above it why it is taken and why std does not do");
                findings.push(source.finding(line, &rule));
            }
            before = name;
        }
    }
    findings
}

#[test]
fn each_dependency_says_why_it_is_taken() {
    let refused = |text| judge_reasons(&sample("Cargo.toml", text)).len();
    assert_eq!(
        refused("[workspace.dependencies]\n# Why.\nserde = \"1\"\nserde_json = \"1\"\ntoml = \"1\"\n"),
        1
    );
    none(judge_reasons(&sources()));
}

/// Unsafe code outside its two files, or without its reason.
fn judge_unsafe(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.path.ends_with(".rs")) {
        let lines: Vec<&str> = source.text.lines().collect();
        for token in tokens(&source.text).iter().filter(|token| token.text == "unsafe") {
            let above = &lines[token.line.saturating_sub(6)..token.line];
            if !UNSAFE_FILES.contains(&source.path.as_str()) {
                let rule =
                    format!("unsafe code stands in {} only; use a safe wrapper", UNSAFE_FILES.join(" and "));
                findings.push(source.finding(token.line, &rule));
            } else if !above.iter().any(|line| line.contains("SAFETY:")) {
                let rule = "unsafe code without `// SAFETY:` above it; say why it is sound";
                findings.push(source.finding(token.line, rule));
            }
        }
    }
    findings
}

#[test]
fn unsafe_code_stands_in_three_files_with_its_reason() {
    let refused = |path: &str, text| judge_unsafe(&sample(path, text)).len();
    assert_eq!(refused("gateway/src/net/dns.rs", "// SAFETY: no.\nunsafe { f() }"), 1);
    assert_eq!(refused("gateway/src/net/tcp/splice.rs", "\n\n\n\n\n\n\n\nunsafe { f() }"), 1);
    assert_eq!(refused("gateway/src/net/tcp/splice.rs", "// SAFETY: the pipe is open.\nunsafe { f() }"), 0);
    assert_eq!(refused("gateway/src/net/dns.rs", "#![deny(unsafe_code)] // unsafe"), 0);
    none(judge_unsafe(&sources()));
}

/// Files over the wall; those that ask for a second look are printed.
fn judge_length(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.path.ends_with(".rs")) {
        let lines = source.text.lines().count();
        if lines > WALL_LINES {
            findings
                .push(source.finding(lines, &format!("{lines} lines; at most {WALL_LINES}: cut it by idea")));
        } else if lines > SECOND_LOOK_LINES {
            println!("second look: {} has {lines} lines", source.path);
        }
    }
    findings
}

#[test]
fn no_file_is_longer_than_the_wall() {
    assert_eq!(judge_length(&sample("config/src/a.rs", &"\n".repeat(WALL_LINES))).len(), 0);
    assert_eq!(judge_length(&sample("config/src/a.rs", &"\n".repeat(WALL_LINES + 1))).len(), 1);
    none(judge_length(&sources()));
}

/// Rust files that do not say what they are for.
fn judge_headers(sources: &[Source]) -> Vec<String> {
    let bare = |source: &&Source| {
        let judged = source.path.ends_with(".rs") && !source.path.starts_with("tests/fuzz/bins/");
        judged && !source.text.lines().any(|line| line.starts_with("//!"))
    };
    let rule = "no module header; start with `//!`: what it is for, what it may not do, its RFC sections";
    sources.iter().filter(bare).map(|source| source.finding(1, rule)).collect()
}

#[test]
fn every_file_says_what_it_is_for() {
    assert_eq!(judge_headers(&sample("config/src/a.rs", "use a; //! late")).len(), 1);
    none(judge_headers(&sources()));
}

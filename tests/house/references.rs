//! What comments and names of tests cite by number stands in the repository (decision 32).

use std::collections::BTreeSet;

use crate::source::{Source, none, root, sample, sources};

/// Where decisions stand, each as a line that begins with its number.
const DECISIONS: &str = "gateway/docs/decisions.md";
/// Where traps stand, each as `- T1 …`.
const TRAPS: &str = "tests/TRAPS.md";
/// Letters of traps' numbers.
const LETTERS: [char; 10] = ['b', 'c', 'f', 'h', 'm', 'n', 'q', 't', 'v', 'k'];
/// Documents that a reader of the repository does not have.
const ELSEWHERE: [&str; 4] = ["DESIGN", "CONTRACT", "STYLE.md", "TRAPS part"];

/// Numbers of decisions that a line of text cites: "decision 3", "decisions 3, 4 and 5".
fn decisions_cited(line: &str) -> Vec<u32> {
    let mut cited = Vec::new();
    for (at, _) in line.match_indices("decision") {
        let rest = &line[at + "decision".len()..];
        let Some(rest) = rest.strip_prefix("s ").or_else(|| rest.strip_prefix(' ')) else { continue };
        for word in rest.split([' ', ',']).filter(|word| !word.is_empty()) {
            let number = word.trim_end_matches(['.', ')', ';', ':', '`']);
            match number.parse() {
                Ok(number) => cited.push(number),
                Err(_) if word == "and" => continue,
                Err(_) => break,
            }
            if word != number {
                break;
            }
        }
    }
    cited
}

/// Numbers of decisions that stand in the text.
fn decisions_told(text: &str) -> BTreeSet<u32> {
    text.lines().filter_map(|line| line.split_once(". ")?.0.parse().ok()).collect()
}

/// Numbers of traps that a test's name begins with, in upper case.
fn traps_cited(name: &str) -> Vec<String> {
    let is_trap = |part: &&str| {
        part.starts_with(LETTERS) && part.len() > 1 && part[1..].bytes().all(|byte| byte.is_ascii_digit())
    };
    name.split('_').take_while(is_trap).map(str::to_uppercase).collect()
}

/// Numbers of traps that stand in the text.
fn traps_told(text: &str) -> BTreeSet<String> {
    let first = |line: &str| Some(line.strip_prefix("- ")?.split([' ', ',']).next()?.to_owned());
    let also = |line: &str| -> Vec<String> {
        let numbers = line.strip_prefix("- ").unwrap_or_default().split(' ');
        numbers.map_while(|word| word.strip_suffix(',')).map(str::to_owned).collect()
    };
    let lines = || text.lines().filter(|line| line.starts_with("- "));
    let mut told: BTreeSet<String> = lines().filter_map(first).collect();
    for line in lines() {
        let mut more = also(line);
        // The one behind the last comma.
        more.extend(
            line[2..].split(", ").nth(more.len()).and_then(|word| word.split(' ').next()).map(str::to_owned),
        );
        told.extend(more);
    }
    told
}

/// Numbers that stand nowhere, and documents that nobody has.
fn judge_references(sources: &[Source], decisions: &str, traps: &str) -> Vec<String> {
    let (decisions, traps) = (decisions_told(decisions), traps_told(traps));
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.path.ends_with(".rs")) {
        for (number, line) in source.text.lines().enumerate() {
            let number = number + 1;
            for cited in decisions_cited(line).iter().filter(|cited| !decisions.contains(cited)) {
                findings.push(source.finding(number, &format!("decision {cited} is not in {DECISIONS}")));
            }
            let name =
                line.trim_start().strip_prefix("fn ").or_else(|| line.trim_start().strip_prefix("async fn "));
            for cited in name.map(traps_cited).unwrap_or_default() {
                if !traps.contains(&cited) {
                    findings.push(
                        source.finding(
                            number,
                            &format!("trap {cited} is not in {TRAPS}: say it there in a line"),
                        ),
                    );
                }
            }
            if source.path != "tests/house/references.rs" {
                for elsewhere in ELSEWHERE.iter().filter(|word| line.contains(*word)) {
                    findings.push(source.finding(
                        number,
                        &format!("{elsewhere} is no document of this repository: cite its place here"),
                    ));
                }
            }
        }
    }
    findings
}

#[test]
fn what_is_cited_stands_in_the_repository() {
    let (decisions, traps) = ("3. **Tee.** …\n13. **Bytes.**", "- T1 A hello.\n- F3, F60 Two at once.");
    let judge = |text: &str| judge_references(&sample("gateway/src/a.rs", text), decisions, traps);
    assert!(
        judge("/// Tee (decision 3), bytes (decisions 3 and 13).\nfn t1_f3_f60_a() {}\nfn u32_a() {}")
            .is_empty()
    );
    assert_eq!(
        judge("// decisions 3, 4\nfn t2_f60_b() {}\n// DESIGN §7"),
        [
            "gateway/src/a.rs:1: decision 4 is not in gateway/docs/decisions.md",
            "gateway/src/a.rs:2: trap T2 is not in tests/TRAPS.md: say it there in a line",
            "gateway/src/a.rs:3: DESIGN is no document of this repository: cite its place here"
        ]
    );
    let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    none(judge_references(&sources(), &read(DECISIONS), &read(TRAPS)));
}

/// Documents that say where things are.
const GUIDES: [&str; 4] =
    ["gateway/docs/architecture.md", DECISIONS, ".github/CONTRIBUTING.md", "billing-export/docs/sinks.md"];
/// First folders of paths that are told from the root, and of those that are told from the gateway's sources.
const FROM_ROOT: [&str; 7] =
    ["gateway", "config", "allowlist", "billing-export", "tests", "benches", ".github"];
const FROM_GATEWAY: [&str; 4] = ["wire", "flow", "net", "app"];

/// Paths that a guide names and that `is_there` does not find, at their lines.
fn judge_places(guide: &str, text: &str, is_there: impl Fn(&str) -> bool) -> Vec<String> {
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for word in line.split(|letter: char| letter.is_whitespace() || "`()|,;".contains(letter)) {
            let word = word.trim_end_matches(['.', ':', '/']);
            let Some((first, rest)) = word.split_once('/') else { continue };
            let path = match first {
                first if FROM_ROOT.contains(&first) => word.to_owned(),
                first if FROM_GATEWAY.contains(&first) => format!("gateway/src/{word}"),
                _ => continue,
            };
            if rest.is_empty() || rest.contains(['*', '{', '<']) {
                continue;
            }
            if ![path.clone(), format!("{path}.rs")].iter().any(|path| is_there(path)) {
                findings.push(format!("{guide}:{}: there is no {word}", number + 1));
            }
        }
    }
    findings
}

#[test]
fn places_that_the_guides_name_are_there() {
    let is_there = |path: &str| ["gateway/src/net/dns.rs", "config/src"].contains(&path);
    let text =
        "`net/dns.rs`, `net/dns/` and `config/src`.\n   net/worker   carries; and/or, TLS/QUIC `net/<x>.rs`";
    assert_eq!(judge_places("a.md", text, is_there), ["a.md:2: there is no net/worker"]);
    let in_tree = |path: &str| root().join(path).exists();
    let judge =
        |guide: &str| judge_places(guide, &std::fs::read_to_string(root().join(guide)).unwrap(), in_tree);
    none(GUIDES.into_iter().flat_map(judge).collect());
}

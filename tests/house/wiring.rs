//! Tests, benches and fuzz targets that exist are built and run.

use crate::source::{Source, none, sample, sources, walk};

/// Test and bench files that nothing builds.
fn judge_wiring(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    let manifests = || sources.iter().filter(|source| source.path.ends_with("/Cargo.toml"));
    for source in sources.iter().filter(|source| source.path.ends_with(".rs")) {
        let inside = |folder| source.path.starts_with(folder);
        if !(inside("tests/") || inside("benches/")) || inside("tests/fuzz/") {
            continue;
        }
        let file = source.path.rsplit('/').next().unwrap();
        let stem = match file {
            "mod.rs" => source.path.rsplit('/').nth(1).unwrap(),
            _ => file.trim_end_matches(".rs"),
        };
        let (folder, _) = source.path.rsplit_once('/').unwrap();
        let wired = manifests().any(|manifest| {
            let is_own = manifest.path == format!("{folder}/Cargo.toml");
            let path = if is_own { format!("path = \"{file}\"") } else { format!("\"../{}\"", source.path) };
            manifest.text.contains(&path)
        });
        let named = match file {
            "mod.rs" => format!("{stem}/mod.rs\"]"),
            _ => format!("{file}\"]"),
        };
        let part = sources.iter().filter(|o| o.path.ends_with(".rs") && o.path != source.path).any(|other| {
            let neighbour = other.path.rsplit_once('/').is_some_and(|(own, _)| folder.starts_with(own));
            let by_name = neighbour && other.text.contains(&format!("mod {stem};"));
            by_name || other.text.lines().any(|line| line.starts_with("#[path = ") && line.ends_with(&named))
        });
        if !wired && !part {
            let rule =
                "nothing builds this file; wire it by [[test]] or [[bench]] path in its crate's Cargo.toml";
            findings.push(source.finding(1, rule));
        }
    }
    findings
}

#[test]
fn every_test_and_bench_is_wired() {
    let mut samples = sample("tests/config/a.rs", "mod support;");
    samples.extend(sample("tests/config/support.rs", ""));
    samples.extend(sample("tests/house/c.rs", "#[path = \"../config/d.rs\"]\nmod elsewhere;"));
    samples.extend(sample("tests/config/d.rs", ""));
    samples.extend(sample("benches/b.rs", ""));
    assert_eq!(judge_wiring(&samples).len(), 3, "a, b and c");
    samples.extend(sample(
        "config/Cargo.toml",
        "[[test]]\npath = \"../tests/config/a.rs\"\npath = \"../tests/house/c.rs\"\n",
    ));
    assert_eq!(
        judge_wiring(&samples),
        [
            "benches/b.rs:1: nothing builds this file; wire it by [[test]] or [[bench]] path in its crate's Cargo.toml"
        ]
    );
    none(judge_wiring(&sources()));
}

/// Fuzz targets that lack a bin, a row in the manifest, a corpus or a replay. `corpora` are the folders with content.
fn judge_fuzz(sources: &[Source], corpora: &[String]) -> Vec<String> {
    let mut findings = Vec::new();
    let names = |folder: &str| -> Vec<String> {
        let name = |source: &Source| Some(source.path.strip_prefix(folder)?.strip_suffix(".rs")?.to_owned());
        sources.iter().filter_map(name).filter(|name| !name.contains('/')).collect()
    };
    let (bins, targets) = (names("tests/fuzz/bins/"), names("tests/fuzz/targets/"));
    let mut all: Vec<&String> = bins.iter().chain(&targets).filter(|name| *name != "mod").collect();
    all.sort();
    all.dedup();
    for name in all {
        let mut lacks = |holds: bool, what: String| {
            if !holds {
                findings.push(format!("tests/fuzz/bins/{name}.rs:1: fuzz target {name} lacks {what}"));
            }
        };
        lacks(bins.contains(name), format!("its bin; add tests/fuzz/bins/{name}.rs"));
        lacks(
            targets.contains(name),
            format!("its body; add tests/fuzz/targets/{name}.rs with `pub fn run(data: &[u8])`"),
        );
        lacks(corpora.contains(name), format!("a corpus; add inputs to tests/corpus/{name}/"));
        let row = |source: &Source| {
            source.path == "tests/fuzz/Cargo.toml" && source.text.contains(&format!("bins/{name}.rs\""))
        };
        lacks(sources.iter().any(row), "its [[bin]] row in tests/fuzz/Cargo.toml".to_owned());
        let replays = |source: &Source| {
            let test = source.path.starts_with("tests/") && !source.path.starts_with("tests/fuzz/");
            test && !source.path.starts_with("tests/house")
                && source.text.contains(&format!("targets/{name}.rs"))
        };
        lacks(
            sources.iter().any(replays),
            "a replay; run tests/corpus through its `run` in a plain test".to_owned(),
        );
    }
    findings
}

#[test]
fn every_fuzz_target_has_body_bin_corpus_and_replay() {
    let mut samples = sample("tests/fuzz/bins/hello.rs", "");
    assert_eq!(judge_fuzz(&samples, &[]).len(), 4);
    samples.extend(sample("tests/fuzz/targets/hello.rs", ""));
    samples.extend(sample("tests/fuzz/Cargo.toml", "path = \"bins/hello.rs\""));
    samples.extend(sample("tests/gateway/replay.rs", "#[path = \"../fuzz/targets/hello.rs\"] mod hello;"));
    assert_eq!(judge_fuzz(&samples, &["hello".to_owned()]).len(), 0);
    let mut files = Vec::new();
    walk("tests/corpus", &mut files);
    let corpora: Vec<String> =
        files.iter().filter_map(|file| file.split('/').nth(2).map(str::to_owned)).collect();
    none(judge_fuzz(&sources(), &corpora));
}

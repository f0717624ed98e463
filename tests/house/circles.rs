//! No circle of files across rooms: what stands apart can be read, tested and moved apart.
//!
//! A room is a folder of a floor with the file of its name: `net/dns.rs` and `net/dns/`. Within a room files may need one another.

use std::collections::{BTreeMap, BTreeSet};

use crate::scan::{Path as RustPath, paths, tokens};
use crate::source::{Source, none, sources};

/// A module of the gateway that is a file.
type Module<'s> = Vec<&'s str>;

/// The module that a path leads to: the longest one that is a file.
fn target<'s>(
    from: &[&'s str],
    path: &'s RustPath,
    files: &BTreeMap<Module<'s>, &'s Source>,
) -> Option<Module<'s>> {
    let words: Vec<&str> = path.words.iter().map(String::as_str).collect();
    let absolute = match words.as_slice() {
        ["crate", rest @ ..] => rest.to_vec(),
        ["super", ..] => {
            let supers = words.iter().take_while(|word| **word == "super").count();
            // A visibility.
            if supers == words.len() {
                return None;
            }
            let up = supers.checked_sub(path.inline_depth)?;
            let base = from.get(..from.len().checked_sub(up)?)?;
            [base, &words[supers..]].concat()
        }
        _ => return None,
    };
    let known = (1..=absolute.len()).rev().map(|length| absolute[..length].to_vec());
    known.into_iter().find(|module| files.contains_key(module))
}

/// What each file uses of files in other rooms, and of its own.
fn uses<'s>(
    files: &BTreeMap<Module<'s>, &'s Source>,
    all: &'s [Vec<RustPath>],
) -> BTreeMap<Module<'s>, BTreeSet<Module<'s>>> {
    let of = |(module, paths): (&Module<'s>, &'s Vec<RustPath>)| {
        let code = paths.iter().filter(|path| !path.in_tests);
        let targets = code.filter_map(|path| target(module, path, files)).filter(|target| target != module);
        (module.clone(), targets.collect())
    };
    files.keys().zip(all).map(of).collect()
}

/// All that can be reached from a file.
fn reached<'s>(from: &Module<'s>, uses: &BTreeMap<Module<'s>, BTreeSet<Module<'s>>>) -> BTreeSet<Module<'s>> {
    let (mut found, mut left) = (BTreeSet::new(), vec![from.clone()]);
    while let Some(module) = left.pop() {
        for next in uses.get(&module).into_iter().flatten() {
            if found.insert(next.clone()) {
                left.push(next.clone());
            }
        }
    }
    found
}

/// Uses that close a circle across rooms.
fn judge_circles(sources: &[Source]) -> Vec<String> {
    let code = sources.iter().filter(|source| source.is_code() && source.krate() == "gateway");
    let files: BTreeMap<_, _> =
        code.map(|source| (source.module(), source)).filter(|(module, _)| !module.is_empty()).collect();
    let all: Vec<_> = files.values().map(|source| paths(&tokens(&source.text))).collect();
    let uses = uses(&files, &all);
    let reached: BTreeMap<_, _> =
        uses.keys().map(|module| (module.clone(), reached(module, &uses))).collect();
    let room = |module: &Module<'_>| module.iter().take(2).map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let mut findings = Vec::new();
    for (module, targets) in &uses {
        for target in targets {
            if room(module) != room(target) && reached.get(target).is_some_and(|back| back.contains(module)) {
                findings.push(format!(
                    "{}: uses {}, which needs it in turn: part what both need from one of them",
                    files[module].path,
                    target.join("::")
                ));
            }
        }
    }
    findings
}

#[test]
fn no_files_of_different_rooms_need_one_another() {
    let found = |files: &[(&str, &str)]| {
        let sources: Vec<_> = files
            .iter()
            .map(|(path, text)| Source { path: format!("gateway/src/{path}.rs"), text: (*text).to_owned() })
            .collect();
        judge_circles(&sources).len()
    };
    let a = ("net/a/one", "use crate::net::b::two::Two; mod x { use super::super::three; }");
    assert_eq!(found(&[a, ("net/b/two", "fn f() { crate::net::a::one::g() }")]), 2);
    assert_eq!(
        found(&[a, ("net/b/two", "use super::three;"), ("net/b/three", "use crate::net::a;"), ("net/a", "")]),
        0
    );
    let through = [a, ("net/b/two", "use super::three;"), ("net/b/three", "use crate::net::a::one;")];
    assert_eq!(found(&through), 2);
    assert_eq!(found(&[("net/a/one", "use super::two;"), ("net/a/two", "use super::one;")]), 0, "one room");
    assert_eq!(
        found(&[("net/a", "use super::b;"), ("net/b", "#[cfg(test)] mod tests { use crate::net::a; }")]),
        0
    );
    none(judge_circles(&sources()));
}

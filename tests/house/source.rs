//! The project's files as the house rules read them.

use std::path::{Path, PathBuf};
use std::process::Command;

/// All crates of the workspace.
pub const CRATES: [&str; 4] = ["gateway", "config", "allowlist", "billing-export"];

/// A file of the project.
pub struct Source {
    /// Path from the top, with `/`.
    pub path: String,
    /// Its text.
    pub text: String,
}

impl Source {
    /// The module a Rust file is, from its crate's root: `gateway/src/net/dns.rs` is `["net", "dns"]`.
    pub fn module(&self) -> Vec<&str> {
        let below = self.path.split_once("/src/").map_or("", |(_, below)| below);
        let mut module: Vec<&str> = below.trim_end_matches(".rs").split('/').collect();
        if matches!(module.last(), Some(&("mod" | "lib" | "main")))
            && self.path != format!("{}/src/main.rs", self.krate())
        {
            module.pop();
        }
        module
    }

    /// The crate's folder.
    pub fn krate(&self) -> &str {
        self.path.split('/').next().unwrap()
    }

    /// True for a Rust file of a crate's own code, but for files of tests alone.
    pub fn is_code(&self) -> bool {
        self.path.ends_with(".rs")
            && !self.path.ends_with("/tests.rs")
            && CRATES.iter().any(|krate| self.path.starts_with(&format!("{krate}/src/")))
    }

    /// A finding at a line of this file.
    pub fn finding(&self, line: usize, rule: &str) -> String {
        format!("{}:{line}: {rule}", self.path)
    }
}

/// The workspace's folder: the nearest one upwards whose Cargo.toml has `[workspace]`.
pub fn root() -> PathBuf {
    // At run time too, so that a moved checkout is judged where it stands.
    let here = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or(PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let holds = |folder: &&Path| {
        std::fs::read_to_string(folder.join("Cargo.toml")).is_ok_and(|text| text.contains("[workspace]"))
    };
    here.ancestors().find(holds).expect("a Cargo.toml with [workspace] above this package").to_path_buf()
}

/// What git lists, or `None` where there is no git or no repository.
pub fn git_list(arguments: &[&str]) -> Option<Vec<String>> {
    let output =
        Command::new("git").args(["ls-files", "-z"]).args(arguments).current_dir(root()).output().ok()?;
    let listed = String::from_utf8(output.stdout).ok()?;
    let listed: Vec<String> = listed.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect();
    (output.status.success() && !listed.is_empty()).then_some(listed)
}

/// All files below `folder` (from the top), build output left out: where git does not help.
pub fn walk(folder: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(root().join(folder)).into_iter().flatten().flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && !matches!(name.as_str(), "target" | ".git" | "artifacts") => {
                walk(&path, found)
            }
            Ok(kind) if kind.is_file() => found.push(path),
            _ => {}
        }
    }
}

/// All text files of the project that the rules read: Rust and TOML.
pub fn sources() -> Vec<Source> {
    let listed = git_list(&["--cached", "--others", "--exclude-standard"]).unwrap_or_else(|| {
        let mut found = Vec::new();
        walk("", &mut found);
        found
    });
    let mut sources: Vec<Source> = listed
        .into_iter()
        .filter(|path| path.ends_with(".rs") || path.ends_with(".toml"))
        .filter_map(|path| std::fs::read_to_string(root().join(&path)).ok().map(|text| Source { path, text }))
        .collect();
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(sources.iter().any(|source| source.is_code()), "no source found below {}", root().display());
    sources
}

/// A sample file for the rules' own checks.
pub fn sample(path: &str, text: &str) -> Vec<Source> {
    vec![Source { path: path.to_owned(), text: text.to_owned() }]
}

/// Fails with all findings.
pub fn none(findings: Vec<String>) {
    assert!(findings.is_empty(), "{} against the house rules:\n{}", findings.len(), findings.join("\n"));
}

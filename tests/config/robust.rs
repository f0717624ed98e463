//! Whatever stands in the file, the answer is a configuration or problems with places inside the text, never a panic.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

use config::{Config, Problem, SECTIONS};
use proptest::prelude::*;
use std::path::Path;

const FULL: &str = include_str!("../../config/examples/full.toml");
const TABLE: &str = include_str!("../../config/examples/subscribers.csv");

/// Places lie in the text, rise, and nothing is said in empty words.
fn judge(text: &str, problems: &[Problem]) {
    assert!(!problems.is_empty(), "refused without a problem");
    let lines: Vec<&str> = text.strip_prefix('\u{feff}').unwrap_or(text).split('\n').collect();
    let mut last = (0, 0);
    for problem in problems {
        let line = usize::try_from(problem.line).unwrap();
        let column = usize::try_from(problem.column).unwrap();
        assert!((1..=lines.len()).contains(&line), "{problem}");
        assert!(column >= 1 && column <= lines[line - 1].chars().count() + 2, "{problem}");
        assert!(
            !problem.key.is_empty() && !problem.found.is_empty() && !problem.wanted.is_empty(),
            "{problem:?}"
        );
        assert!((line, column) >= last, "places fall at {problem}");
        assert!(!problem.to_string().contains(['\n', '\u{1b}']), "{problem:?}");
        last = (line, column);
    }
}

/// Parses as configuration and judges the problems.
fn config(text: &str) -> bool {
    match Config::parse(text, Path::new("/")) {
        Ok(_) => true,
        Err(problems) => {
            judge(text, &problems);
            false
        }
    }
}

/// Parses as subscriber table and judges the problems.
fn table(text: &str) {
    if let Err(problems) = config::subscribers::parse(text, 1 << 20, 100) {
        judge(text, &problems);
    }
}

#[test]
fn truncation_of_the_full_example_at_every_byte() {
    let mut taken = 0;
    for end in (0..=FULL.len()).filter(|end| FULL.is_char_boundary(*end)) {
        taken += usize::from(config(&FULL[..end]));
    }
    assert!(taken > 0, "the whole file is taken");
    // Without its later sections a file is still whole, so what must hold is that the first ones are not cut.
    assert!(!config(&FULL[..FULL.find("[export]").unwrap()]));
}

#[test]
fn truncation_of_the_subscriber_table_at_every_byte() {
    for end in 0..=TABLE.len() {
        table(&TABLE[..end]);
    }
}

/// One change of a text: at a place (by fraction), delete so many characters and put others there.
fn mutation() -> impl Strategy<Value = (prop::sample::Index, usize, String)> {
    let keys: Vec<String> =
        SECTIONS.iter().flat_map(|s| s.keys).map(|key| format!("\n{} = ", key.name)).collect();
    let headers: Vec<String> =
        SECTIONS.iter().flat_map(|s| [format!("\n[{}]\n", s.name), format!("\n[[{}]]\n", s.name)]).collect();
    let scraps = [
        "\"",
        "'''",
        "[",
        "]",
        "{",
        "}",
        "=",
        ".",
        ",",
        "\n",
        "#",
        "-",
        "\u{0}",
        "қ",
        "0x",
        "1e9",
        "nan",
        "18446744073709551616",
        "\"auto\"",
        "\"5 s\"",
        "[[",
        "{a.b={c=1}}",
    ];
    let insert = prop_oneof![
        prop::sample::select(scraps.map(str::to_owned).to_vec()),
        prop::sample::select(keys),
        prop::sample::select(headers),
        "\\PC{0,8}",
    ];
    (any::<prop::sample::Index>(), 0_usize..12, insert)
}

/// Applies the changes in turn.
fn mutated(text: &str, changes: Vec<(prop::sample::Index, usize, String)>) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    for (place, deleted, inserted) in changes {
        let at = place.index(characters.len() + 1);
        let end = (at + deleted).min(characters.len());
        characters.splice(at..end, inserted.chars());
    }
    characters.into_iter().collect()
}

// A failing input is printed whole; a mended one is kept in `tests/corpus/`.
proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutations_of_the_full_example(changes in prop::collection::vec(mutation(), 1..6)) {
        config(&mutated(FULL, changes));
    }

    #[test]
    fn mutations_of_the_subscriber_table(changes in prop::collection::vec(mutation(), 1..6)) {
        table(&mutated(TABLE, changes));
    }

    #[test]
    fn any_text(text in "\\PC{0,200}") {
        config(&text);
        table(&text);
    }
}

#[test]
fn deep_nesting_is_refused() {
    let deep = format!("a = {}", "[".repeat(100_000));
    assert!(!config(&deep));
    let dotted = format!("{}a = 1", "a.".repeat(100_000));
    assert!(!config(&dotted));
}

//! Reads Rust text as far as the house rules need it: words and marks with their lines, paths with `use` trees spread
//! out, module depth, test code marked. Comments and literals are passed over. No macro is expanded.

/// A word (identifier, keyword, number) or mark (`::`, or one character of punctuation).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Line, from 1.
    pub line: usize,
    /// Its text.
    pub text: String,
    /// True inside `#[cfg(test)] mod … { … }`.
    pub in_tests: bool,
    /// How many `mod … {` of this file enclose it.
    pub inline_depth: usize,
}

/// A path as written, `use` trees spread out: `["crate", "flow", "tally"]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// Line of its last word.
    pub line: usize,
    /// Its words.
    pub words: Vec<String>,
    /// True inside test code.
    pub in_tests: bool,
    /// How many inline modules enclose it.
    pub inline_depth: usize,
    /// True when `!` follows: a macro call.
    pub is_macro: bool,
    /// True when `.` stands before: a method or field.
    pub is_member: bool,
}

/// Number of characters of the comment or literal that starts at `at`, if one does.
fn passed_over(text: &[char], at: usize) -> Option<usize> {
    let rest = &text[at..];
    match rest {
        ['/', '/', ..] => Some(rest.iter().position(|c| *c == '\n').unwrap_or(rest.len())),
        ['/', '*', ..] => {
            let (mut depth, mut index) = (0_usize, 0);
            while index < rest.len() {
                match &rest[index..] {
                    ['/', '*', ..] => (depth, index) = (depth + 1, index + 2),
                    ['*', '/', ..] if depth == 1 => return Some(index + 2),
                    ['*', '/', ..] => (depth, index) = (depth - 1, index + 2),
                    _ => index += 1,
                }
            }
            Some(rest.len())
        }
        ['"', ..] => Some(quoted(rest, '"')),
        // A character, unless it is a lifetime: 'a' against 'a.
        ['\'', '\\', ..] | ['\'', _, '\'', ..] => Some(quoted(rest, '\'')),
        ['r' | 'b' | 'c', ..] => {
            let prefix = rest.iter().take_while(|c| matches!(c, 'r' | 'b' | 'c')).count();
            let hashes = rest[prefix..].iter().take_while(|c| **c == '#').count();
            let raw = rest[..prefix].contains(&'r');
            match rest.get(prefix + hashes) {
                Some('"') if prefix <= 2 && raw => {
                    let end: Vec<char> =
                        std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
                    let body = prefix + hashes + 1;
                    let close = rest[body..].windows(end.len()).position(|w| w == end);
                    Some(close.map_or(rest.len(), |close| body + close + end.len()))
                }
                Some('"') if prefix == 1 && hashes == 0 => Some(1 + quoted(&rest[1..], '"')),
                Some('\'') if prefix == 1 && rest[0] == 'b' && hashes == 0 => {
                    Some(1 + quoted(&rest[1..], '\''))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// Length of a literal that starts with `mark` and ends at the next one that is not escaped.
fn quoted(rest: &[char], mark: char) -> usize {
    let mut index = 1;
    while index < rest.len() {
        match rest[index] {
            '\\' => index += 2,
            c if c == mark => return index + 1,
            _ => index += 1,
        }
    }
    rest.len()
}

/// The words and marks of a Rust text.
pub fn tokens(text: &str) -> Vec<Token> {
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut line) = (0, 1);
    let mut tokens: Vec<Token> = Vec::new();
    while at < text.len() {
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let starts_word = !(at > 0 && word(text[at - 1]));
        if let Some(length) = passed_over(&text, at).filter(|_| starts_word || !word(text[at])) {
            line += text[at..at + length].iter().filter(|c| **c == '\n').count();
            at += length;
            continue;
        }
        let length = match text[at] {
            c if word(c) => text[at..].iter().take_while(|c| word(**c)).count(),
            ':' if text.get(at + 1) == Some(&':') => 2,
            _ => 1,
        };
        if !text[at].is_whitespace() {
            let text: String = text[at..at + length].iter().collect();
            tokens.push(Token { line, text, in_tests: false, inline_depth: 0 });
        } else if text[at] == '\n' {
            line += 1;
        }
        at += length;
    }
    mark_modules(&mut tokens);
    tokens
}

/// Fills in `in_tests` and `inline_depth`.
fn mark_modules(tokens: &mut [Token]) {
    // One entry per open brace: (opens a module, opens test code).
    let mut open: Vec<(bool, bool)> = Vec::new();
    for index in 0..tokens.len() {
        if tokens[index].text == "{" {
            let module = index >= 2 && tokens[index - 2].text == "mod";
            open.push((module, module && behind_cfg_test(&tokens[..index - 2])));
        }
        tokens[index].in_tests = open.iter().any(|(_, tests)| *tests);
        tokens[index].inline_depth = open.iter().filter(|(module, _)| *module).count();
        if tokens[index].text == "}" {
            open.pop();
        }
    }
}

/// True when `#[cfg(test)]` stands right before, with nothing but a visibility or other attributes between.
fn behind_cfg_test(before: &[Token]) -> bool {
    let start =
        before.iter().rposition(|token| matches!(token.text.as_str(), ";" | "{" | "}")).map_or(0, |i| i + 1);
    before[start..].windows(4).any(|w| ["cfg", "(", "test", ")"].iter().zip(w).all(|(a, b)| *a == b.text))
}

/// The paths of a Rust text.
pub fn paths(tokens: &[Token]) -> Vec<Path> {
    let mut paths = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let token = &tokens[at];
        if token.text == "use" {
            at = spread(tokens, at + 1, &[], &mut paths);
        } else if is_word(token) && (at == 0 || tokens[at - 1].text != "::") {
            let is_member = at > 0 && tokens[at - 1].text == ".";
            let mut words = vec![token.text.clone()];
            while at + 2 < tokens.len() && tokens[at + 1].text == "::" && is_word(&tokens[at + 2]) {
                words.push(tokens[at + 2].text.clone());
                at += 2;
            }
            let is_macro = tokens.get(at + 1).is_some_and(|next| next.text == "!")
                && tokens.get(at + 2).is_some_and(|next| matches!(next.text.as_str(), "(" | "[" | "{"));
            let Token { line, in_tests, inline_depth, .. } = tokens[at].clone();
            paths.push(Path { line, words, in_tests, inline_depth, is_macro, is_member });
            at += 1;
        } else {
            at += 1;
        }
    }
    paths
}

/// Spreads out one `use` tree that starts at `at` below `stem`; the index after it.
fn spread(tokens: &[Token], mut at: usize, stem: &[String], paths: &mut Vec<Path>) -> usize {
    let mut words = stem.to_vec();
    while at < tokens.len() {
        let token = &tokens[at];
        match token.text.as_str() {
            "::" => at += 1,
            "{" => {
                at += 1;
                while at < tokens.len() && tokens[at].text != "}" {
                    at = spread(tokens, at, &words, paths);
                    if tokens.get(at).is_some_and(|token| token.text == ",") {
                        at += 1;
                    }
                }
                return at + 1;
            }
            "as" => at += 2,
            "," | "}" | ";" => break,
            _ => {
                words.push(token.text.clone());
                at += 1;
            }
        }
    }
    if let Some(last) = tokens.get(at.saturating_sub(1)) {
        let (line, in_tests, inline_depth) = (last.line, last.in_tests, last.inline_depth);
        paths.push(Path { line, words, in_tests, inline_depth, is_macro: false, is_member: false });
    }
    at
}

/// True for identifiers and keywords.
fn is_word(token: &Token) -> bool {
    token.text.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_')
}

/// The scanner itself must see what it is there to see.
#[test]
fn the_scanner_reads_literals_comments_use_trees_and_modules() {
    let words = |text: &str| tokens(text).into_iter().map(|token| token.text).collect::<Vec<_>>();
    assert_eq!(words("a /* b /* c */ d */ e // f\ng"), ["a", "e", "g"]);
    assert_eq!(
        words(r##"x "tokio \" y" r#"std::fs " "# b"z" br"q" 'c' '\'' b'\'' 'life w"##),
        ["x", "'", "life", "w"]
    );
    assert_eq!(words("for_r\"in\""), ["for_r"], "a word that ends in r does not start a raw string");
    let found: Vec<(usize, String)> = paths(&tokens(
        "use crate::{flow::tally, net as n,\n wire::{self, tls::*}};\nfn f() { std::fs::read(a::b) ; x.c() }",
    ))
    .into_iter()
    .map(|path| (path.line, path.words.join("::")))
    .collect();
    for expected in [
        (1, "crate::flow::tally"),
        (1, "crate::net"),
        (2, "crate::wire::self"),
        (2, "crate::wire::tls::*"),
        (3, "std::fs::read"),
        (3, "a::b"),
    ] {
        assert!(found.contains(&(expected.0, expected.1.to_owned())), "{expected:?} not in {found:?}");
    }
    let marked = tokens("mod a { x } #[cfg(test)]\nmod tests { y { z } } w");
    let of = |word: &str| marked.iter().find(|token| token.text == word).unwrap().clone();
    assert!(!of("x").in_tests && of("y").in_tests && of("z").in_tests && !of("w").in_tests);
    assert_eq!((of("x").inline_depth, of("z").inline_depth, of("w").inline_depth), (1, 1, 0));
    assert!(paths(&tokens("info!(1)"))[0].is_macro);
    assert!(!paths(&tokens("a != b"))[0].is_macro);
    assert!(paths(&tokens("p.exists()"))[1].is_member);
}

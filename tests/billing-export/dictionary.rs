//! The data dictionary (`billing-export/docs/records.md`) names every column, word and manifest key there is, in order.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "tests may panic"
)]

use billing_export::codec::Format;
use billing_export::{Cause, Class, Disposition, Flag, Reason, SubscriberType};

const DICTIONARY: &str = include_str!("../../billing-export/docs/records.md");
const MANIFEST: &str = include_str!("golden/zrgw-01_usage_20200406T121500Z_00001_0000000001.manifest.json");

/// The text below a heading, up to the next.
fn section(heading: &str) -> &'static str {
    let (_, text) = DICTIONARY.split_once(&format!("# {heading}\n")).unwrap();
    text.split_once("\n#").map_or(text, |(section, _)| section)
}

/// What stands in back quotes.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The first words in back quotes of each row of a section's table.
fn rows(heading: &str) -> Vec<&'static str> {
    let rows = section(heading).lines().filter(|line| line.starts_with("| `"));
    rows.map(|line| quoted(line)[0]).collect()
}

#[test]
fn the_columns_stand_in_order() {
    assert_eq!(rows("Usage files: what stands in them"), Vec::from_iter(Format::NEWEST.columns()));
}

#[test]
fn every_word_stands_there() {
    assert_eq!(quoted(section("Reasons"))[..], Reason::ALL.map(|reason| reason.label())[..]);
    assert_eq!(rows("Causes"), Cause::ALL.map(|cause| cause.label()));
    assert_eq!(rows("Flags"), Flag::ALL.map(|flag| flag.label()));
    let columns = section("Usage files: what stands in them");
    let words = |column: &str| -> Vec<&str> {
        let row = columns.lines().find(|line| line.starts_with(&format!("| `{column}`"))).unwrap();
        quoted(row.split('|').nth(3).unwrap())
    };
    assert_eq!(words("class"), Class::ALL.map(|class| class.label()));
    assert_eq!(words("subscriber_type"), SubscriberType::ALL.map(|kind| kind.label()));
    assert_eq!(words("disposition"), Disposition::ALL.map(|disposition| disposition.label()));
}

#[test]
fn the_table_of_the_sql_has_the_columns_and_the_manifest_s_keys_stand_there() {
    let (_, table) = DICTIONARY.split_once("CREATE TABLE usage (").unwrap();
    let (table, _) = table.split_once("PRIMARY KEY").unwrap();
    let names: Vec<&str> = table.split(',').filter_map(|column| column.split_whitespace().next()).collect();
    assert_eq!(names, Vec::from_iter(Format::NEWEST.columns()));
    let manifest: serde_json::Value = serde_json::from_str(MANIFEST).unwrap();
    let told = quoted(section("The manifest"));
    for key in manifest.as_object().unwrap().keys() {
        let is_told = told
            .iter()
            .any(|word| key == word || word.strip_suffix('…').is_some_and(|stem| key.starts_with(stem)));
        assert!(is_told, "{key} is not in the data dictionary");
    }
}

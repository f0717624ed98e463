//! Periods, heartbeats and a clock that is set (B9, B11).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

mod support;

#[path = "clock/periods.rs"]
mod periods;
#[path = "clock/steps.rs"]
mod steps;
#[path = "clock/years.rs"]
mod years;

use support::*;

/// Kind, start, end, flags of each published row.
fn windows(node: &Node) -> Vec<(String, String, String, String)> {
    let short = |text: &String| text.trim_start_matches("2020-04-").trim_end_matches(".000Z").to_owned();
    let pick = |row: &Row| {
        (row["kind"].clone(), short(&row["start_utc"]), short(&row["end_utc"]), row["flags"].clone())
    };
    node.rows().iter().map(pick).collect()
}

/// The tuple of [`windows`].
fn window(kind: &str, start: &str, end: &str, flags: &str) -> (String, String, String, String) {
    (kind.into(), start.into(), end.into(), flags.into())
}

/// No window ends before it starts, none overlaps the one of the seal before, and no byte is lost.
fn check_order(node: &Node, up_bytes: i128) {
    let rows = node.rows();
    for pair in rows.windows(2) {
        let same = pair[0]["start_utc"] == pair[1]["start_utc"] && pair[0]["end_utc"] == pair[1]["end_utc"];
        assert!(same || pair[0]["end_utc"] <= pair[1]["start_utc"], "{pair:#?}");
    }
    for row in &rows {
        assert!(row["start_utc"] <= row["end_utc"], "{row:#?}");
    }
    assert_eq!(node.verify().up_bytes, up_bytes);
}

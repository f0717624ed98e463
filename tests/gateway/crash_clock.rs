//! The system's clock set under a running node (traps F13, F66): by a library in front of the system's, so that the wall clock
//! moves and the monotonic one does not.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

#[allow(dead_code, unused_imports, reason = "each test uses a part of it")]
#[path = "crash/mod.rs"]
mod crash;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;

use crash::{Lab, Load, Shape, seed, wait_for};

/// `clock_gettime` whose wall clock is off by the seconds in a file.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *at) {
    int result = syscall(SYS_clock_gettime, id, at);
    const char *path = getenv("CLOCK_OFFSET_FILE");
    if (result == 0 && id == CLOCK_REALTIME && path) {
        char text[32] = {0};
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file >= 0) {
            if (read(file, text, sizeof text - 1) > 0) at->tv_sec += atoll(text);
            close(file);
        }
    }
    return result;
}
"#;

/// Builds the library.
fn shim(folder: &Path) -> PathBuf {
    let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
    fs::write(&source, SHIM).unwrap();
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).status();
    assert!(built.expect("a C compiler, which the ledger needs too").success());
    library
}

/// Sets the clock off by so many seconds: the file is there or the one before is.
fn set(offset: &Path, seconds: i64) {
    let part = offset.with_extension("part");
    fs::write(&part, seconds.to_string()).unwrap();
    fs::rename(&part, offset).unwrap();
}

/// Days as seconds.
const DAY: i64 = 86_400;

/// Lets subscribers browse until so many exchanges more were whole.
fn some_traffic(load: &Load, exchanges: u64) {
    let whole = load.books.whole.load(Ordering::Relaxed);
    wait_for("traffic", || (load.books.whole.load(Ordering::Relaxed) >= whole + exchanges).then_some(()));
}

#[test]
fn f13_f66_a_clock_years_ahead_for_a_moment_dates_no_record_and_is_told_once() {
    let lab = Lab::new(&Shape::default());
    let (library, offset) = (shim(lab.folder()), lab.folder().join("offset"));
    set(&offset, 0);
    let daemon = lab.start_preloaded(&library, ("CLOCK_OFFSET_FILE", &offset));
    lab.wait_ready();
    let load = Load::start(&lab, seed());
    some_traffic(&load, 20);
    set(&offset, 400 * DAY);
    let counted = |what: &str| format!("zrgw_clock_steps_total{{outcome=\"{what}\"}} 1");
    let told = |what: &str| lab.get("/metrics").unwrap().1.contains(&counted(what));
    wait_for("the step to be seen", || told("doubted").then_some(()));
    let (code, _) =
        wait_for("attention", || lab.get("/readyz").ok().filter(|(_, body)| body.contains("clock_step: ")));
    assert_eq!(code, 200, "traffic is carried and judged");
    some_traffic(&load, 20);
    set(&offset, 0);
    wait_for("the step to be over", || told("withdrawn").then_some(()));
    some_traffic(&load, 20);
    let books = load.end();
    daemon.stop(&lab);
    lab.verify();
    assert_eq!(lab.totals(), books.rows(), "the list was in force all the time");
    let log = lab.log();
    assert_eq!(log.matches("the clock was set").count(), 1, "{log}");
    let year = |name: &str| name.split('_').nth(2).unwrap()[..4].to_owned();
    let years: std::collections::BTreeSet<_> = lab.pickup().keys().map(|name| year(name)).collect();
    assert_eq!(years.len(), 1, "{years:?}");
    let flagged = |content: &Vec<u8>| String::from_utf8_lossy(content).contains("clock_step");
    assert!(!lab.pickup().values().any(flagged), "no record's time is one of two clocks");
}

#[test]
fn f13_a_node_that_started_years_ahead_and_is_stopped_goes_on_at_the_present() {
    let lab = Lab::new(&Shape::default());
    let (library, offset) = (shim(lab.folder()), lab.folder().join("offset"));
    set(&offset, 20 * DAY);
    let daemon = lab.start_preloaded(&library, ("CLOCK_OFFSET_FILE", &offset));
    let load = Load::start(&lab, seed());
    some_traffic(&load, 20);
    daemon.stop(&lab);
    let ahead = load.end();
    set(&offset, 0);
    let daemon = lab.start_preloaded(&library, ("CLOCK_OFFSET_FILE", &offset));
    lab.wait_ready();
    let load = Load::start(&lab, seed() ^ 1);
    some_traffic(&load, 20);
    let books = load.end();
    daemon.stop(&lab);
    lab.verify();
    assert!(ahead.whole.load(Ordering::Relaxed) >= 20 && books.whole.load(Ordering::Relaxed) >= 20);
    assert!(lab.log().contains("more than a day ahead of the clock"), "{}", lab.log());
    let today = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(DAY);
    let limit = today.strftime("%Y%m%dT%H%M%SZ").to_string();
    for name in lab.pickup().keys() {
        let parts: Vec<_> = name.split('_').collect();
        assert_eq!(parts[3] == "00002", parts[2] < limit.as_str(), "{name}");
    }
}

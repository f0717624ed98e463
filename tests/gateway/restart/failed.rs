//! New processes that cannot start, or are killed after they took over: the old one goes on, and no byte is doubled.

use std::fs;
use std::time::Duration;

use super::crash::{Books, Kind, Lab, Visit, wait_for};
use super::{LONG, SHORT, assert_counted_once, carried, patient, recorded, said, slow, take_over};

#[test]
fn s_a_new_process_with_a_bad_configuration_leaves_the_old_one_as_it_was() {
    let lab = Lab::new(&patient());
    let books = Books::default();
    let old = lab.start(None);
    let good = fs::read_to_string(lab.folder().join("gateway.toml")).unwrap();
    let mut visit = slow(&lab, &books, Kind::FirstListed, LONG, 20);
    // It does not read; it cannot have its address, which it learns when the sockets are already in its hands.
    for (bad, code) in [
        (good.replace("period = ", "periode = "), 78),
        (
            good.replacen(
                "[[listener]]",
                "[[listener]]\nmode = \"proxy_protocol\"\naddress = \"192.0.2.1:7\"\n[[listener]]",
                1,
            ),
            74,
        ),
    ] {
        fs::write(lab.folder().join("gateway.toml"), bad).unwrap();
        assert_eq!(lab.spawn_successor().wait().code(), Some(code), "{}", lab.log());
        let mut short = Visit::open(&lab, &books, Kind::SecondListed).unwrap();
        short.exchange(SHORT, Duration::ZERO).unwrap();
        short.end().unwrap();
        assert!(visit.read(&mut [0; 4096]).unwrap() > 0);
    }
    fs::write(lab.folder().join("gateway.toml"), good).unwrap();
    lab.origin.hurry();
    visit.end().unwrap();
    lab.wait_ready();
    old.stop(&lab);
    assert_counted_once(&lab, &books);
}

#[test]
fn s_a_new_process_killed_while_the_old_one_drains_costs_no_doubled_byte() {
    let lab = Lab::new(&patient());
    let books = Books::default();
    let mut old = lab.start(None);
    let mut visit = slow(&lab, &books, Kind::FirstListed, LONG, 20);
    let new = take_over(&lab);
    let counted = || lab.ledger().sums.get(&Kind::FirstListed.row()).copied().unwrap_or_default();
    let before = counted();
    wait_for("the old one's counts in the new one's ledger", || {
        assert!(visit.read(&mut [0; 4096]).unwrap() > 0);
        (counted().down > before.down).then_some(())
    });
    new.kill();
    assert!(visit.read(&mut [0; 4096]).unwrap() > 0, "the flow is cut\n{}", lab.log());
    // A third one is started as the service manager does after any crash.
    let third = lab.spawn_successor();
    wait_for("the third", || (said(&lab, "gateway runs") == 3).then_some(()));
    let before = counted();
    wait_for("the counts to go to the third", || {
        assert!(visit.read(&mut [0; 4096]).unwrap() > 0);
        (counted().down > before.down).then_some(())
    });
    lab.origin.hurry();
    visit.end().unwrap();
    assert!(old.wait().success(), "{}", lab.log());
    third.stop(&lab);
    lab.verify();
    for (row, found) in lab.totals() {
        let kind = Kind::ALL.into_iter().find(|kind| kind.row() == row);
        let limit = kind.map_or_else(|| carried(&books), |kind| books.carried(kind));
        assert!(found.at_most(limit), "{row:?} {found:?} {limit:?}");
    }
    assert!(recorded(&lab).at_most(carried(&books)));
}

/// Bytes that the log says may be in no record.
fn told_lost(lab: &Lab) -> u64 {
    let log = lab.log();
    let lines = log.lines().filter(|line| line.contains("may be in no record"));
    lines.map(|line| number_after(line, "up=") + number_after(line, "down=")).sum()
}

/// The number behind `key` in a line of the log.
fn number_after(line: &str, key: &str) -> u64 {
    let rest = line.split(key).nth(1).unwrap_or_else(|| panic!("{key} in {line}"));
    rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

/// How a process comes after one that was killed while the one before it drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// It takes over.
    TakesOver,
    /// It is started as if nothing ran.
    Starts,
    /// There is none: the old one ends by itself.
    None,
}

#[test]
fn f67_a_draining_process_whose_successor_is_killed_saves_its_own_counts() {
    for next in [Next::TakesOver, Next::Starts, Next::None] {
        println!("{next:?}");
        let lab = Lab::new(&patient());
        let books = Books::default();
        let mut old = lab.start(None);
        let mut visit = slow(&lab, &books, Kind::FirstListed, LONG, 20);
        let new = take_over(&lab);
        let counted = || lab.ledger().sums.get(&Kind::FirstListed.row()).copied().unwrap_or_default();
        let mut wait_for_more = |what: &str| {
            let before = counted();
            wait_for(what, || {
                assert!(visit.read(&mut [0; 4096]).unwrap() > 0, "the flow is cut\n{}", lab.log());
                (counted().down > before.down).then_some(())
            });
        };
        wait_for_more("the old one's counts in the new one's ledger");
        new.kill();
        wait_for_more("the old one's counts in its own ledger");
        assert_eq!(said(&lab, "this one saves what its open flows carry"), 1, "{}", lab.log());
        let third = match next {
            Next::TakesOver => Some(lab.spawn_successor()),
            Next::Starts => Some(lab.start(None)),
            Next::None => None,
        };
        if third.is_some() {
            lab.wait_ready();
            wait_for_more("the old one's counts in the third one's ledger");
            // New flows of the third are counted beside them.
            let mut short = Visit::open(&lab, &books, Kind::FirstListed).unwrap();
            short.exchange(SHORT, Duration::ZERO).unwrap();
            short.end().unwrap();
        }
        lab.origin.hurry();
        visit.end().unwrap();
        assert!(old.wait().success(), "{}", lab.log());
        if let Some(third) = third {
            third.stop(&lab);
        }
        lab.verify();
        for (row, found) in lab.totals() {
            let kind = Kind::ALL.into_iter().find(|kind| kind.row() == row);
            let limit = kind.map_or_else(|| carried(&books), |kind| books.carried(kind));
            assert!(found.at_most(limit), "{row:?} {found:?} {limit:?}");
        }
        let (all, recorded) = (carried(&books), recorded(&lab));
        assert!(recorded.at_most(all), "{recorded:?} {all:?}");
        let missing = all.up + all.down - recorded.up - recorded.down;
        assert!(missing <= told_lost(&lab), "{missing} bytes are in no record\n{}", lab.log());
        assert!(!lab.pickup().keys().any(|file| file.contains("_00002_")), "one epoch");
        assert!(!lab.state.join("restart.sock").exists(), "the socket goes with the last process");
    }
}

/// Two processes drain when the third is killed: one of them takes the ledger back, the other hands its counts to it.
#[test]
fn f67_two_draining_processes_share_the_ledger_that_came_back() {
    let lab = Lab::new(&patient());
    let books = Books::default();
    let mut first = lab.start(None);
    let mut of_first = slow(&lab, &books, Kind::FirstListed, LONG, 20);
    let mut second = take_over(&lab);
    let mut of_second = slow(&lab, &books, Kind::SecondListed, LONG, 20);
    let third = take_over(&lab);
    let counted = |kind: Kind| lab.ledger().sums.get(&kind.row()).copied().unwrap_or_default().down;
    let mut wait_for_more = |what: &str| {
        let before = [Kind::FirstListed, Kind::SecondListed].map(counted);
        wait_for(what, || {
            assert!(
                of_first.read(&mut [0; 4096]).unwrap() > 0 && of_second.read(&mut [0; 4096]).unwrap() > 0
            );
            let more = [Kind::FirstListed, Kind::SecondListed].map(counted);
            (more[0] > before[0] && more[1] > before[1]).then_some(())
        });
    };
    wait_for_more("the counts of both in the third one's ledger");
    third.kill();
    wait_for_more("the counts of both in the ledger that came back");
    assert_eq!(said(&lab, "this one saves what its open flows carry"), 1, "{}", lab.log());
    lab.origin.hurry();
    of_first.end().unwrap();
    of_second.end().unwrap();
    assert!(first.wait().success() && second.wait().success(), "{}", lab.log());
    // Whichever ended last: a start afterwards finds everything sealed.
    lab.start(None).stop(&lab);
    lab.verify();
    let (all, recorded) = (carried(&books), recorded(&lab));
    assert!(recorded.at_most(all), "{recorded:?} {all:?}");
    let missing = all.up + all.down - recorded.up - recorded.down;
    assert!(missing <= told_lost(&lab), "{missing} bytes are in no record\n{}", lab.log());
}

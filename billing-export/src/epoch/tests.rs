//! Tests of `epoch`.

use super::*;

/// A database.
fn mark(start_id: &str, pending: Option<(&str, &str)>, file_seq: u64) -> Mark {
    Mark {
        start_id: Some(start_id.into()),
        pending: pending.map(|(id, then)| (id.into(), then.into())),
        epoch: 3,
        file_seq,
        boot_id: Some("boot".into()),
    }
}

/// A witness.
fn says(start_id: &str, file_seq: u64) -> Witness {
    Witness::Says { start_id: start_id.into(), epoch: 3, file_seq }
}

/// The course in the same boot, with this witness on the disk and none in memory.
fn course(mark: Option<&Mark>, witness: &Witness, names: Names) -> Option<Course> {
    let witnesses = Witnesses { disk: witness.clone(), memory: Witness::Absent };
    super::course(mark, &witnesses, names, Some("boot"))
}

#[test]
fn f63_what_is_put_back_together_is_told_by_the_witness_in_memory_or_by_another_boot() {
    let state = mark("a", None, 5);
    let with = |memory: Witness, boot: Option<&str>| {
        let witnesses = Witnesses { disk: says("a", 5), memory };
        super::course(Some(&state), &witnesses, Names::default(), boot)
    };
    let open = |course: Option<Course>| match course {
        Some(Course::New { epoch: 4, open, .. }) => Some(open),
        Some(Course::Same) => None,
        other => panic!("{other:?}"),
    };
    for boot in [Some("boot"), None] {
        assert_eq!(open(with(says("a", 5), boot)), None, "an ordinary start");
        assert_eq!(open(with(Witness::Absent, boot)), None, "memory forgets");
        assert_eq!(open(with(Witness::Unreadable, boot)), None);
        assert_eq!(open(with(says("a", 6), boot)), Some(Open::SetAside), "a copy of the same run");
        assert_eq!(
            open(with(says("b", 5), boot)),
            Some(Open::Seal),
            "of an earlier run, nothing handed out since"
        );
        assert_eq!(open(with(says("b", 6), boot)), Some(Open::SetAside));
    }
    assert_eq!(open(with(Witness::Absent, Some("other"))), Some(Open::Seal), "another boot");
    let unknown = Mark { boot_id: None, ..mark("a", None, 5) };
    let witnesses = Witnesses { disk: says("a", 5), memory: Witness::Absent };
    let course = |boot| super::course(Some(&unknown), &witnesses, Names::default(), boot);
    assert_eq!(course(Some("other")), Some(Course::Same), "a ledger from before boots were noted");
    // With everything on the disk gone, memory still knows.
    let gone = Witnesses { disk: Witness::Absent, memory: says("a", 5) };
    let found = super::course(None, &gone, Names::default(), Some("boot"));
    assert!(matches!(found, Some(Course::New { epoch: 4, file_seq: 5, .. })), "{found:?}");
}

#[test]
fn f63_every_stage_of_an_interrupted_start_is_the_same_state_for_both_witnesses() {
    let (old, new) = (says("a", 5), says("b", 5));
    for (start_id, disk, memory) in [
        ("a", &old, &old),
        ("a", &old, &Witness::Absent),
        ("a", &new, &old),
        ("a", &new, &new),
        ("b", &new, &new),
        // A new epoch was begun over a witness on the disk that was gone, and cut short.
        ("", &Witness::Absent, &old),
        ("", &new, &old),
    ] {
        let then = Witnesses {
            disk: if start_id.is_empty() { Witness::Absent } else { old.clone() },
            memory: old.clone(),
        };
        let mark = Mark {
            start_id: (!start_id.is_empty()).then(|| start_id.to_owned()),
            pending: Some(("b".into(), then.summary())),
            ..mark("a", None, 5)
        };
        let witnesses = Witnesses { disk: disk.clone(), memory: memory.clone() };
        let found = super::course(Some(&mark), &witnesses, Names::default(), Some("boot"));
        assert_eq!(found, Some(Course::Same), "{start_id} {witnesses:?}");
    }
}

/// Shorthand.
fn is_new(mark: Option<&Mark>, witness: &Witness, names: Names) -> bool {
    matches!(course(mark, witness, names), Some(Course::New { epoch: 4, .. }))
}

#[test]
fn b3_every_stage_of_an_interrupted_start_is_the_same_state() {
    let none = Names::default();
    for (mark, witness) in [
        (mark("a", None, 5), says("a", 5)),
        (mark("a", Some(("b", "a")), 5), says("a", 5)),
        (mark("a", Some(("b", "a")), 5), says("b", 5)),
        (mark("b", None, 5), says("b", 5)),
        (mark("a", Some(("b", "x")), 5), says("x", 4)),
        (mark("a", Some(("b", "absent")), 5), Witness::Absent),
        (mark("a", Some(("b", "unreadable")), 5), Witness::Unreadable),
    ] {
        assert_eq!(course(Some(&mark), &witness, none), Some(Course::Same), "{mark:?} {witness:?}");
    }
}

#[test]
fn b3_a_restored_created_or_orphaned_state_begins_a_new_epoch() {
    let none = Names::default();
    assert!(is_new(Some(&mark("a", None, 5)), &says("b", 5), none), "yesterday's copy");
    assert!(is_new(Some(&mark("a", None, 5)), &says("a", 6), none), "a copy of the same run");
    assert!(is_new(Some(&mark("a", Some(("b", "a")), 5)), &says("a", 6), none), "the same, interrupted");
    assert!(is_new(Some(&mark("a", None, 5)), &Witness::Absent, none));
    assert!(is_new(Some(&mark("a", None, 5)), &Witness::Unreadable, none));
    assert!(is_new(Some(&mark("a", None, 5)), &says("a", 5), Names { epoch: 3, file_seq: 6 }));
    assert!(is_new(None, &says("a", 5), none));
    assert!(is_new(None, &Witness::Absent, Names { epoch: 3, file_seq: 6 }));
    assert_eq!(course(None, &Witness::Absent, none), Some(Course::First));
    let last = Mark { epoch: u32::MAX, ..mark("a", None, 5) };
    assert_eq!(course(Some(&last), &says("b", 5), none), None, "no epoch is left");
}

#[test]
fn f65_open_counters_are_set_aside_only_where_files_beyond_the_ledger_are_known() {
    let none = Names::default();
    let known = Names { epoch: 3, file_seq: 5 };
    let open = |witness: &Witness, names| match course(Some(&mark("a", None, 5)), witness, names) {
        Some(Course::New { open, .. }) => open,
        other => panic!("wanted a new epoch, found {other:?}"),
    };
    for witness in [Witness::Absent, Witness::Unreadable, says("b", 5), says("b", 4)] {
        assert_eq!(open(&witness, none), Open::Seal, "{witness:?}");
        assert_eq!(open(&witness, known), Open::Seal, "{witness:?}: all of these files are the ledger's");
        assert_eq!(open(&witness, Names { epoch: 3, file_seq: 6 }), Open::SetAside, "{witness:?}");
        assert_eq!(open(&witness, Names { epoch: 4, file_seq: 2 }), Open::SetAside, "{witness:?}");
    }
    assert_eq!(open(&says("a", 6), none), Open::SetAside);
    let later = Witness::Says { start_id: "b".into(), epoch: 4, file_seq: 5 };
    assert_eq!(open(&later, none), Open::SetAside);
}

#[test]
fn b3_the_new_epoch_and_file_stand_above_everything_known() {
    let names = Names { epoch: 7, file_seq: 40 };
    let witness = Witness::Says { start_id: "w".into(), epoch: 9, file_seq: 12 };
    let Some(Course::New { epoch, file_seq, .. }) = course(Some(&mark("a", None, 50)), &witness, names)
    else {
        panic!("wanted a new epoch");
    };
    assert_eq!((epoch, file_seq), (10, 50));
}

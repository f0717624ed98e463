//! What a write of the table tells: the blocks that changed, and the sessions that ended.

use std::collections::BTreeSet;

use gateway::flow::session::What;

use super::{batches, bind, block, release, rows, table};

#[test]
fn b19_a_reload_tells_of_what_changed_and_of_nothing_else() {
    let sessions = table(10);
    let before = [("10.0.0.1/32", "a"), ("10.0.0.2/32", "b"), ("10.0.0.3/32", "c"), ("10.0.0.0/8", "rest")];
    sessions.replace_static(rows(&before));
    let seen = sessions.number();
    assert_eq!(sessions.replace_static(rows(&before)).changed, 0);
    assert_eq!((sessions.number(), batches(&sessions, seen)), (seen, Vec::new()));
    let after = [("10.0.0.1/32", "a"), ("10.0.0.2/32", "new"), ("10.0.0.4/32", "d"), ("10.0.0.0/8", "rest")];
    assert_eq!(sessions.replace_static(rows(&after)).changed, 3);
    let [(number, What::Blocks(blocks))] = &batches(&sessions, seen)[..] else { panic!("one small write") };
    assert_eq!(*number, seen + 1);
    let told: BTreeSet<_> = blocks
        .iter()
        .map(|changed| {
            (changed.block.ends().0, changed.holder.as_ref().map(|one| one.subscriber_id().to_owned()))
        })
        .collect();
    let wanted = [("10.0.0.2/32", "new"), ("10.0.0.3/32", "rest"), ("10.0.0.4/32", "d")];
    assert_eq!(told, wanted.map(|(prefix, id)| (block(prefix).ends().0, Some(id.to_owned()))).into());
}

#[test]
fn b19_a_session_ends_with_its_last_block_and_is_told_once() {
    let sessions = table(10);
    let ended = || sessions.take_ended().iter().map(|one| one.subscriber_id().to_owned()).collect::<Vec<_>>();
    sessions.replace_static(rows(&[("10.0.0.1/32", "a"), ("2001:db8::/64", "a"), ("10.0.0.2/32", "b")]));
    assert!(ended().is_empty());
    sessions.replace_static(rows(&[("2001:db8::/64", "a"), ("10.0.0.2/32", "b")]));
    assert!(ended().is_empty(), "it has its other prefix");
    // From one block to another in one write, and to another session's.
    sessions.replace_static(rows(&[("10.0.0.9/32", "a"), ("10.0.0.2/32", "c")]));
    assert_eq!(ended(), ["b"]);
    sessions.apply([release("10.0.0.9/32"), bind("10.0.0.9/32", "x"), release("10.0.0.9/32")]);
    assert_eq!(ended(), ["x"], "and a is still in the table");
    sessions.replace_static([]);
    assert_eq!(ended(), ["a", "c"]);
    assert!(ended().is_empty());
}

#[test]
fn b19_of_as_many_ends_as_there_may_be_sessions_all_are_told_and_of_one_more_not() {
    let sessions = table(2);
    for (ends, told) in [(2, 2), (3, 2)] {
        for number in 0..ends {
            sessions.apply([bind("10.0.0.1/32", &number.to_string())]);
        }
        sessions.apply([release("10.0.0.1/32")]);
        assert_eq!(sessions.take_ended().len(), told);
    }
}

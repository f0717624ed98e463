//! `billing-export adjust`: exit codes, what it prints, and what it leaves.

use std::process::Command;

use super::*;

/// Exit code, standard output, standard error.
fn command(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_billing-export")).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// The command with these arguments behind the state.
fn adjust_by_command(node: &Node, arguments: &[&str]) -> (i32, String, String) {
    let state = node.settings.state_dir.display().to_string();
    let mut all = vec!["adjust", "--state", &state, "--epoch", "1", "--note", "a test"];
    all.extend(arguments);
    command(&all)
}

#[test]
fn b30_the_command_prints_the_correction_and_refuses_with_one() {
    let mut node = Node::new();
    one_period(&mut node).close().unwrap();
    let (code, out, err) = adjust_by_command(&node, &["--seq", "1", "--up", "-30", "--down", "+5"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(
        out,
        "{\"node_id\":\"zrgw-01\",\"epoch\":1,\"record_seq\":\"4\",\"ref_epoch\":1,\"ref_seq\":\"1\",\
         \"up_bytes\":\"-30\",\"down_bytes\":\"5\"}\n"
    );
    let (code, out, _) = adjust_by_command(&node, &["--seq", "1", "--void"]);
    assert!(code == 0 && out.contains("\"up_bytes\":\"-70\",\"down_bytes\":\"-2005\""), "{out}");
    for (arguments, code, wanted) in [
        (&["--seq", "9", "--void"][..], 1, "found no usage or adjust record"),
        (&["--seq", "2", "--up=-11", "--down=0"], 1, "-1 bytes up"),
        (&["--seq", "2", "--up=0", "--down=0"], 1, "found 0 bytes to correct"),
        (&["--seq", "2", "--up=1"], 2, "--down"),
        (&["--seq", "2"], 2, "--void"),
        (&["--seq", "2", "--void", "--up=1", "--down=1"], 2, "cannot be used with"),
        (&["--seq", "2", "--up=1.5", "--down=1"], 2, "whole number of bytes"),
        (&["--seq", "2", "--up=18446744073709551616", "--down=1"], 2, "whole number of bytes"),
    ] {
        let (found, out, err) = adjust_by_command(&node, arguments);
        assert_eq!((found, out.as_str()), (code, ""), "{arguments:?}: {err}");
        assert!(err.contains(wanted), "{err}, wanted {wanted}");
    }
    let (code, _, err) = command(&[
        "adjust",
        "--state",
        "/nonexistent",
        "--epoch",
        "1",
        "--seq",
        "1",
        "--void",
        "--note",
        "a",
    ]);
    assert!(code == 74 && err.contains("node.state_dir"), "{code}: {err}");
    let mut exporter = node.open(at(30 * MINUTE));
    exporter.publish().unwrap();
    exporter.close().unwrap();
    assert_eq!(net(&node, "77010000001"), (0, 0));
    node.verify();
    let pickup = node.settings.pickup_dir.display().to_string();
    let (code, out, err) = command(&["totals", &pickup, "--by", "day", "--zone", "Asia/Almaty"]);
    assert!(code == 0 && out.contains("2020-04-06"), "{out}{err}");
    let last = node.data_files().pop().unwrap();
    let (code, out, _) = command(&["show", last.to_str().unwrap()]);
    assert!(code == 0 && out.contains("\"kind\":\"adjust\",\"ref_epoch\":1,\"ref_seq\":\"1\""), "{out}");
}

#[test]
fn b30_a_running_exporter_answers_the_command() {
    let mut node = Node::new();
    let mut exporter = one_period(&mut node);
    let asked = |node: &Node, arguments: &[&str]| {
        let state = node.settings.state_dir.clone();
        let mut all = vec!["adjust".to_owned(), "--state".into(), state.display().to_string()];
        all.extend(["--epoch", "1", "--note", "a test"].map(str::to_owned));
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        std::thread::spawn(move || command(&all.iter().map(String::as_str).collect::<Vec<_>>()))
    };
    for (arguments, code) in
        [(["--seq", "1", "--void"], 0), (["--seq", "1", "--void"], 1), (["--seq", "3", "--void"], 0)]
    {
        let command = asked(&node, &arguments);
        while !command.is_finished() {
            // By the clock that the command has.
            exporter.make_corrections(Timestamp::now()).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let (found, out, err) = command.join().unwrap();
        assert_eq!(found, code, "{out}{err}");
    }
    // One that does not look for requests: nothing is made, and nothing is left to be made later.
    let (code, _, err) = asked(&node, &["--seq", "2", "--void"]).join().unwrap();
    assert!(code == 74 && err.contains("nothing was written"), "{err}");
    assert_eq!(exporter.make_corrections(Timestamp::now()).unwrap(), []);
    exporter.publish().unwrap();
    exporter.close().unwrap();
    assert_eq!((net(&node, "77010000001"), net(&node, "77010000002")), ((0, 0), (10, 20)));
    node.verify();
}

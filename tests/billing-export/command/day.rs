//! What `explain` says of a subscriber's day.

use std::fs;

use super::{command, example, pickup};
use crate::support::*;

/// `explain` on these paths: exit code, standard output, standard error.
fn explain(paths: &[&str], arguments: &[&str]) -> (i32, String, String) {
    let all: Vec<&str> = ["explain"].iter().chain(paths).chain(arguments).copied().collect();
    command(&all)
}

#[test]
fn explain_says_what_was_free_and_what_was_charged_in_sentences_and_as_json() {
    let node = example();
    let folder = pickup(&node);
    let of = |id: &'static str| ["--subscriber", id, "--day", "2020-04-06", "--zone", "Asia/Almaty"];
    let (code, out, err) = explain(&[&folder], &of("77010000001"));
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(
        out,
        "Subscriber 77010000001 (msisdn) on 2020-04-06, local time of Asia/Almaty.\n\
         Free of charge at bilimland: 6,000 bytes received and 300 sent; to be taken off the bill.\n\
         Charged as usual: 18 bytes received and 15 sent, because the sites are not on the list of free study sites \
         (not_listed).\n\
         Edition 3 of the list kz-education was in force.\n\
         The day is not complete: records of it are still to come, or are missing.\n"
    );
    // The same folder twice is counted once.
    let json = [&of("77010000002")[..], &["--format", "json"]].concat();
    let (code, out, err) = explain(&[&folder, &folder], &json);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(
        out,
        "{\"subscriber_type\":\"msisdn\",\"subscriber_id\":\"77010000002\",\"day\":\"2020-04-06\",\"zone\":\"Asia/Almaty\",\
         \"complete\":false,\"exempt\":[{\"service_id\":\"daryn-online\",\"disposition\":\"reported\",\"up_bytes\":\"30\",\
         \"down_bytes\":\"60\"}],\"charged\":[{\"reason\":\"no_subscriber\",\"up_bytes\":\"3\",\"down_bytes\":\"3\"}],\
         \"adjusted\":[],\"allowances\":[],\"lists\":[{\"list_id\":\"kz-education\",\"serials\":[\"3\"]}]}\n"
    );
}

#[test]
fn b30_explain_is_net_of_corrections_and_complete_when_the_day_is() {
    let mut node = example();
    let made = node.open(at(46 * MINUTE));
    made.close().unwrap();
    let state = node.settings.state_dir.display().to_string();
    let (code, _, err) = command(&[
        "adjust", "--state", &state, "--epoch", "1", "--seq", "1", "--up", "-100", "--down", "-1000",
        "--note", "a test",
    ]);
    assert_eq!(code, 0, "{err}");
    let mut exporter = node.open(at(47 * MINUTE));
    // Heartbeats speak for the hours in which nothing was counted.
    exporter.seal_due(at(24 * 60 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    exporter.close().unwrap();
    let folder = pickup(&node);
    let asked =
        ["--subscriber", "77010000001", "--day", "2020-04-06", "--zone", "Asia/Almaty", "--format", "json"];
    let (code, out, _) = explain(&[&folder], &asked);
    let said: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &said["complete"]), (0, &true.into()));
    let exempt = &said["exempt"][0];
    assert_eq!((&exempt["up_bytes"], &exempt["down_bytes"]), (&"200".into(), &"5000".into()));
    assert_eq!(said["adjusted"][0]["record_seq"], "13");
    assert_eq!(said["adjusted"][0]["up_bytes"], "-100");
}

#[test]
fn explain_answers_no_where_nothing_is_known_and_refuses_what_it_cannot_read() {
    let node = example();
    let folder = pickup(&node);
    let zone = ["--zone", "Asia/Almaty"];
    for (arguments, code, wanted) in [
        (&["--subscriber", "77010000009", "--day", "2020-04-06"][..], 1, "found nothing of subscriber"),
        (&["--subscriber", "77010000001", "--day", "2020-04-05"], 1, "found nothing of subscriber"),
        (&["--subscriber", "77010000001", "--day", "2020-04-06", "--type", "imsi"], 1, "found nothing"),
        (&["--subscriber", "77010000001", "--day", "2020-04-31"], 2, "--day"),
        (
            &["--subscriber", "77010000001", "--day", "2020-04-06", "--type", "none"],
            2,
            "msisdn, imsi or account",
        ),
        (&["--subscriber", "77010000001"], 2, "--day"),
    ] {
        let (found, out, err) = explain(&[&folder], &[arguments, &zone].concat());
        assert_eq!((found, out.as_str()), (code, ""), "{arguments:?}: {err}");
        assert!(err.contains(wanted), "{err}, wanted {wanted}");
    }
    let asked = ["--subscriber", "77010000001", "--day", "2020-04-06", "--zone", "Asia/Astana"];
    let (code, _, err) = explain(&[&folder], &asked);
    assert!(code == 2 && err.contains("Asia/Astana"), "{err}");
    let data = node.data_files().remove(1);
    let text = fs::read_to_string(&data).unwrap();
    fs::write(&data, text.replace(",100,2000,", ",101,2000,")).unwrap();
    let asked = ["--subscriber", "77010000001", "--day", "2020-04-06", "--zone", "UTC"];
    let (code, out, err) = explain(&[&folder], &asked);
    assert!(
        code == 1 && out.is_empty() && err.contains("sha256") && err.contains("delivered again"),
        "{err}"
    );
}

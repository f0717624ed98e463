//! What `show` and `render` write: exact numbers, the place of what cannot be read, the same bytes again.

use std::fs;
use std::path::Path;

use billing_export::*;

use super::{command, example, pickup};
use crate::support::*;

#[test]
fn b12_show_prints_exact_numbers_as_strings() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    let bytes = (1 << 53) + 1;
    exporter.checkpoint(&tick(1, at(0), &[(exempt("1", "a"), volume(bytes, (1 << 63) - 1))])).unwrap();
    exporter.seal_due(at(15 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    let data = node.data_files().remove(0);
    let (code, out, err) = command(&["show", data.to_str().unwrap()]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(
        out,
        "{\"node_id\":\"zrgw-01\",\"epoch\":1,\"record_seq\":\"1\",\"kind\":\"usage\",\"ref_epoch\":null,\
         \"ref_seq\":null,\"class\":\"exempt\",\"reason\":null,\"subscriber_type\":\"msisdn\",\"subscriber_id\":\"1\",\
         \"session_id\":\"s-1\",\"service_id\":\"a\",\"rating_group\":100,\"list_id\":\"kz-education\",\
         \"list_serial\":\"3\",\"start_utc\":\"2020-04-06T12:00:00.000Z\",\"end_utc\":\"2020-04-06T12:15:00.000Z\",\
         \"up_bytes\":\"9007199254740993\",\"down_bytes\":\"9223372036854775807\",\
         \"up_bytes_total\":\"9007199254740993\",\"down_bytes_total\":\"9223372036854775807\",\
         \"byte_basis\":\"payload\",\"disposition\":\"reported\",\"cause\":\"period\",\"flags\":null}\n"
    );
    let manifest = data.to_str().unwrap().replace(".csv", ".manifest.json");
    let (code, out, _) = command(&["show", &manifest]);
    assert_eq!((code, out), (0, fs::read_to_string(&manifest).unwrap()));
    let (code, out, err) = command(&["totals", &pickup(&node), "--by", "subscriber"]);
    assert!(code == 0 && out.contains("9223372036854775807"), "{err}");
}

#[test]
fn show_names_line_and_column_of_what_it_cannot_read() {
    let node = example();
    let data = node.data_files().remove(0);
    let text = fs::read_to_string(&data).unwrap();
    fs::write(&data, text.replace(",not_listed,", ",because,")).unwrap();
    let (code, out, err) = command(&["show", data.to_str().unwrap()]);
    assert_eq!((code, out.lines().count()), (1, 1), "{err}");
    assert!(err.contains("line 3: reason: found \"because\", wanted one of the reasons"), "{err}");
    fs::write(&data, "a,b\n").unwrap();
    let (code, _, err) = command(&["show", data.to_str().unwrap()]);
    assert!(code == 1 && err.contains("line 1") && err.contains("columns of a usage file"), "{err}");
}

#[test]
fn render_writes_the_same_bytes_again_even_while_the_ledger_is_in_use() {
    let mut node = example();
    let exporter = node.open(at(46 * MINUTE));
    let out = node.root.path().join("again");
    let state = node.settings.state_dir.join(STORE_NAME);
    let render = |seq: &str| {
        command(&[
            "render",
            "--state",
            state.to_str().unwrap(),
            "--file-seq",
            seq,
            "--out",
            out.to_str().unwrap(),
        ])
    };
    let (code, stdout, err) = render("2");
    assert_eq!((code, stdout.lines().count()), (0, 2), "{err}");
    for path in stdout.lines().map(Path::new) {
        let first = node.settings.pickup_dir.join(path.file_name().unwrap());
        assert_eq!(fs::read(path).unwrap(), fs::read(first).unwrap());
    }
    assert_eq!(render("2").0, 0, "again is no error");
    let (code, _, err) = render("9");
    assert!(code == 1 && err.contains("wanted one from 1 to 3"), "{err}");
    let (code, _, err) = render("18446744073709551615");
    assert!(code == 1 && err.contains("wanted one from 1 to 3"), "{err}");
    fs::write(out.join(node.data_files()[0].file_name().unwrap()), "other").unwrap();
    let (code, _, err) = render("1");
    assert!(code == 1 && err.contains("found a file with sha256"), "{err}");
    drop(exporter);
}

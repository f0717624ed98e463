//! Flows without a name: where DNS evidence alone makes them exempt, and what overrides it.

use serde_json::Value;
use support::capture::*;

use super::{CLIENT, RESOLVER, SITE, Scene, addresses, nameless, run, verdicts};

#[test]
fn t8_n13_a_flow_without_a_name_is_exempt_for_who_asked_where_the_rule_says_so() {
    let mut scene = Scene::new();
    scene.learns("media.example", &[SITE]);
    scene.learns("listed.example", &["203.0.113.2"]);
    scene.talk(CLIENT, "203.0.113.1:443", &nameless());
    scene.talk("10.0.0.3", "203.0.113.1:443", &nameless());
    scene.talk(CLIENT, "203.0.113.2:443", &nameless());
    scene.talk(CLIENT, "203.0.113.3:443", &nameless());
    scene.talk(CLIENT, "203.0.113.1:444", &nameless());
    // A's look-up verifies B's name.
    scene.talk("10.0.0.3", "203.0.113.1:443", &hello("media.example"));
    let wanted = ["dns_only", "no_name", "dns_only_off", "no_name", "port", "name_and_address"];
    assert_eq!(scene.verdicts(&[]), wanted);
    assert_eq!(scene.verdicts(&["--resolver", "10.0.0.54"])[0], "no_name");
    let lines = run(&[scene.file(true)], &[]);
    let exempt = lines.iter().find(|line| line["basis"] == "dns_only").unwrap();
    assert_eq!((&exempt["rule"], &exempt["name"]), (&"school/media.example".into(), &Value::Null));
    assert_eq!(scene.verdicts(&["--names-only"])[0], "no_name");
}

#[test]
fn t7_t8_a_readable_name_or_an_unreadable_protocol_overrides_dns_evidence() {
    let mut scene = Scene::new();
    scene.learns("media.example", &[SITE]);
    let server = "203.0.113.1:443";
    let second = [hello("media.example"), hello("other.example")].concat();
    let ambiguous = {
        let mut bytes = hello("media.example");
        let place = bytes.windows(5).position(|five| five == b"media").unwrap();
        bytes[place] = 0;
        bytes
    };
    let cases: [(&[u8], &str); 7] = [
        (&hello("other.example"), "not_listed"),
        (&hello("cloudflare-ech.com"), "hidden_name"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not_recognised"),
        (b"\x80\x2e\x01\x00\x02\x00\x15", "not_recognised"),
        (&hello("media.example")[..60], "undecided"),
        (&ambiguous, "ambiguous"),
        (&second, "second_name"),
    ];
    for (data, _) in &cases {
        scene.talk(CLIENT, server, data);
    }
    assert_eq!(scene.verdicts(&[]), cases.map(|(_, wanted)| wanted));
}

#[test]
fn n7_an_address_at_which_the_client_asked_for_an_unlisted_name_too_gives_no_dns_evidence() {
    for listed_first in [true, false] {
        let mut scene = Scene::new();
        if listed_first {
            scene.learns("media.example", &[SITE]);
        }
        scene.learns("stranger.example", &[SITE]);
        if !listed_first {
            scene.learns("media.example", &[SITE]);
        }
        scene.talk(CLIENT, "203.0.113.1:443", &nameless());
        scene.visits("media.example", SITE);
        assert_eq!(scene.verdicts(&[]), ["dns_shared", "name_and_address"], "{listed_first}");
    }
}

#[test]
fn f1_what_another_client_asked_for_leaves_dns_evidence_as_it_is() {
    let mut scene = Scene::new();
    scene.learns("media.example", &[SITE]);
    scene.asked("10.0.0.9", RESOLVER, &addresses("stranger.example", &[SITE]));
    scene.talk(CLIENT, "203.0.113.1:443", &nameless());
    assert_eq!(scene.verdicts(&[]), ["dns_only"]);
}

#[test]
fn n6_dns_evidence_is_judged_when_the_flow_starts_and_by_stamps_that_run_forward_only() {
    let mut scene = Scene::new();
    scene.learns("media.example", &[SITE]);
    let long = scene.next_talk(CLIENT, "203.0.113.1:443");
    scene.push(long.open());
    scene.now += 180;
    scene.talk(CLIENT, "203.0.113.1:443", &nameless());
    scene.now += 1;
    scene.talk(CLIENT, "203.0.113.1:443", &nameless());
    scene.now += 86_400;
    scene.push([long.up(0, &nameless())]);
    assert_eq!(scene.verdicts(&[]), ["dns_only", "dns_only", "dns_expired"]);
    // Without stamps no time passes.
    assert_eq!(verdicts(&run(&[scene.file(false)], &[])), ["dns_only"; 3]);
    // Stamps that step back say nothing any more.
    let mut back = scene.clone();
    back.now = 1_500_000_000;
    back.talk(CLIENT, "203.0.113.1:443", &nameless());
    assert_eq!(back.verdicts(&[]), ["dns_only", "dns_only", "dns_expired", "dns_only"]);
}

//! Which answers of a capture are believed: by whom they were given, to which question, when, and whatever else is in it.

use std::net::{IpAddr, SocketAddr};

use hickory_proto::rr::RecordType;
use support::capture::*;
use support::messages::{fqdn, query};

use super::{CLIENT, RESOLVER, SITE, Scene, addresses, end, run, verdicts};

#[test]
fn t17_only_the_given_resolvers_teach() {
    let mut scene = Scene::new();
    scene.asked(CLIENT, "203.0.113.66:53", &addresses("listed.example", &["203.0.113.7"]));
    scene.asked(CLIENT, "10.0.0.54:53", &addresses("listed.example", &["203.0.113.8"]));
    scene.visits("listed.example", "203.0.113.7");
    scene.visits("listed.example", "203.0.113.8");
    assert_eq!(scene.verdicts(&[]), ["name_and_address", "name_and_address"]);
    assert_eq!(scene.verdicts(&["--resolver", "10.0.0.54"]), ["address_mismatch", "name_and_address"]);
    assert_eq!(scene.verdicts(&["--resolver", "10.0.0.53"]), ["address_mismatch", "address_mismatch"]);
    let both = ["--resolver", "10.0.0.54", "--resolver", "203.0.113.66"];
    assert_eq!(scene.verdicts(&both), ["name_and_address", "name_and_address"]);
}

#[test]
fn n2_t17_what_answers_no_question_is_not_learnt() {
    let good = addresses("listed.example", &[SITE]);
    let client = end("10.0.0.2:5000");
    let query = || query("listed.example", RecordType::A).to_vec().unwrap();
    let judge = |packets: &[(SocketAddr, SocketAddr, Vec<u8>)]| {
        let mut scene = Scene::new();
        for (from, to, data) in packets {
            scene.datagram(*from, *to, data);
        }
        scene.visits("listed.example", SITE);
        scene.verdicts(&[]).pop().unwrap()
    };
    let resolver = end(RESOLVER);
    let bytes = good.to_vec().unwrap();
    assert_eq!(judge(&[(client, resolver, query()), (resolver, client, bytes.clone())]), "name_and_address");
    let refused = |what: &str, packets: &[(SocketAddr, SocketAddr, Vec<u8>)]| {
        assert_eq!(judge(packets), "address_mismatch", "{what}");
    };
    refused("unsolicited", &[(resolver, client, bytes.clone())]);
    refused("answer first", &[(resolver, client, bytes.clone()), (client, resolver, query())]);
    let mut other_id = good.clone();
    other_id.metadata.id ^= 1;
    refused("id", &[(client, resolver, query()), (resolver, client, other_id.to_vec().unwrap())]);
    let other = addresses("www.listed.example", &[SITE]).to_vec().unwrap();
    refused("question", &[(client, resolver, query()), (resolver, client, other)]);
    let mut letters = bytes.clone();
    letters[13] ^= 0x20;
    refused("letter case", &[(client, resolver, query()), (resolver, client, letters)]);
    refused("client port", &[(client, resolver, query()), (resolver, end("10.0.0.2:5001"), bytes.clone())]);
    refused("client", &[(client, resolver, query()), (resolver, end("10.0.0.3:5000"), bytes.clone())]);
    refused("server", &[(client, resolver, query()), (end("10.0.0.54:53"), client, bytes.clone())]);
    refused("query as answer", &[(client, resolver, query()), (resolver, client, query())]);
    let mut cut = bytes.clone();
    cut.truncate(bytes.len() - 1);
    refused("cut short", &[(client, resolver, query()), (resolver, client, cut)]);
    // A second answer to one question, late: whoever sends it, the client has stopped listening.
    let first = addresses("listed.example", &["203.0.113.9"]).to_vec().unwrap();
    refused("late", &[(client, resolver, query()), (resolver, client, first), (resolver, client, bytes)]);
}

#[test]
fn t17_answers_behind_the_verdict_do_not_help_and_those_before_the_name_do() {
    let mut scene = Scene::new();
    let data = hello("listed.example");
    let early = scene.next_talk(CLIENT, "203.0.113.1:443");
    let late = scene.next_talk(CLIENT, "203.0.113.1:443");
    scene.push(early.open());
    scene.push(late.open());
    scene.push([early.up(0, &data)]);
    scene.push([late.up(0, &data[..40])]);
    scene.learns("listed.example", &[SITE]);
    scene.push([late.up(40, &data[40..])]);
    assert_eq!(scene.verdicts(&[]), ["address_mismatch", "name_and_address"]);
}

#[test]
fn t17_a_flow_whose_start_was_not_captured_rests_on_what_was_learnt_before_it() {
    let mut scene = Scene::new();
    let data = hello("listed.example");
    let before = scene.next_talk(CLIENT, "203.0.113.1:443");
    scene.push([before.up(0, &data)]);
    scene.learns("listed.example", &[SITE]);
    let behind = scene.next_talk(CLIENT, "203.0.113.1:443");
    scene.push([behind.up(0, &data)]);
    assert_eq!(scene.verdicts(&[]), ["address_mismatch", "name_and_address"]);
}

#[test]
fn t17_answers_of_one_file_say_nothing_of_the_next() {
    let mut first = Scene::new();
    first.learns("listed.example", &[SITE]);
    let mut second = Scene::new();
    second.visits("listed.example", SITE);
    assert_eq!(verdicts(&run(&[first.file(true), second.file(true)], &[])), ["address_mismatch"]);
}

#[test]
fn n11_private_answers_are_not_learnt_but_in_a_laboratory() {
    let mut scene = Scene::new();
    for private in ["192.168.1.10", "127.0.0.1", "169.254.169.254"] {
        scene.learns("listed.example", &[private]);
        scene.visits("listed.example", private);
    }
    assert_eq!(scene.verdicts(&[]), ["address_mismatch"; 3]);
    assert_eq!(scene.verdicts(&["--allow-private"]), ["name_and_address"; 3]);
}

#[test]
fn t42_a_flood_of_queries_and_broken_streams_is_bounded_and_harmless() {
    let mut scene = Scene::new();
    let resolver = end(RESOLVER);
    for number in 0..2_000_u16 {
        let client =
            SocketAddr::new(IpAddr::from([10, 1, number.to_be_bytes()[0], number.to_be_bytes()[1]]), 7_000);
        scene.datagram(client, resolver, &query("listed.example", RecordType::A).to_vec().unwrap());
        let talk = scene.next_talk(CLIENT, RESOLVER);
        scene.push([talk.open().remove(0), talk.up(0, &[0xff; 90])]);
    }
    scene.learns("listed.example", &[SITE]);
    scene.visits("listed.example", SITE);
    assert_eq!(scene.verdicts(&[]).last().unwrap(), "name_and_address");
    assert!(fqdn("listed.example").is_fqdn());
}

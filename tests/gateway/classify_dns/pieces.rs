//! Answers that come over TCP or in fragments: they count like those of one datagram, in any cutting.

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use support::capture::*;
use support::messages::query;

use super::{CLIENT, RESOLVER, SITE, Scene, addresses, end};

/// A TCP connection to the resolver: `query` up, then `answer` down in the given pieces.
fn over_tcp(scene: &mut Scene, query: &[u8], pieces: &[&[u8]]) {
    let talk = scene.next_talk(CLIENT, RESOLVER);
    scene.push(talk.open());
    scene.push([talk.up(0, query)]);
    let mut offset = 0;
    for piece in pieces {
        scene.push([talk.down(offset, piece)]);
        offset += piece.len() as u32;
    }
}

/// A message behind its length.
fn framed(message: &Message) -> Vec<u8> {
    let bytes = message.to_vec().unwrap();
    [&(bytes.len() as u16).to_be_bytes()[..], &bytes].concat()
}

#[test]
fn t20_after_a_truncated_answer_the_one_over_tcp_counts_in_any_cutting() {
    let mut truncated = addresses("listed.example", &["203.0.113.9"]);
    truncated.metadata.truncation = true;
    let (asked, whole) =
        (framed(&query("listed.example", RecordType::A)), framed(&addresses("listed.example", &[SITE])));
    for cut in 0..whole.len() {
        let mut scene = Scene::new();
        scene.asked(CLIENT, RESOLVER, &truncated);
        let (first, second) = whole.split_at(cut);
        let pieces: Vec<&[u8]> = [first, second].into_iter().filter(|piece| !piece.is_empty()).collect();
        over_tcp(&mut scene, &asked, &pieces);
        scene.visits("listed.example", SITE);
        scene.visits("listed.example", "203.0.113.9");
        assert_eq!(scene.verdicts(&[]), ["name_and_address", "address_mismatch"], "cut at {cut}");
    }
}

#[test]
fn n2_over_tcp_an_answer_needs_its_question_and_one_reading() {
    let (asked, whole) =
        (framed(&query("listed.example", RecordType::A)), framed(&addresses("listed.example", &[SITE])));
    let mut unasked = Scene::new();
    over_tcp(&mut unasked, &framed(&query("other.example", RecordType::A)), &[&whole]);
    unasked.visits("listed.example", SITE);
    assert_eq!(unasked.verdicts(&[]), ["address_mismatch"]);
    // The first half again with another byte: two readers, two answers.
    let mut conflict = Scene::new();
    let talk = conflict.next_talk(CLIENT, RESOLVER);
    conflict.push(talk.open());
    let mut other = whole[..20].to_vec();
    other[16] ^= 1;
    conflict.push([talk.up(0, &asked), talk.down(0, &whole[..20]), talk.down(0, &other)]);
    conflict.push([talk.down(20, &whole[20..])]);
    conflict.visits("listed.example", SITE);
    assert_eq!(conflict.verdicts(&[]), ["address_mismatch"]);
    // Two questions in one stream, answered in the other order.
    let mut pipelined = Scene::new();
    let second = framed(&query("www.listed.example", RecordType::A));
    let mut numbered = second.clone();
    numbered[3] ^= 1;
    let mut answers = addresses("www.listed.example", &["203.0.113.2"]);
    answers.metadata.id ^= 1;
    over_tcp(&mut pipelined, &[asked, numbered].concat(), &[&framed(&answers), &whole]);
    pipelined.visits("www.listed.example", "203.0.113.2");
    pipelined.visits("listed.example", SITE);
    assert_eq!(pipelined.verdicts(&[]), ["name_and_address"; 2]);
}

#[test]
fn t20_an_answer_in_fragments_counts_unless_they_contradict() {
    let message = addresses("listed.example", &[SITE]).to_vec().unwrap();
    for contradict in [false, true] {
        let mut scene = Scene::new();
        let client = end("10.0.0.2:5000");
        scene.datagram(client, end(RESOLVER), &query("listed.example", RecordType::A).to_vec().unwrap());
        let whole = udp(53, 5_000, &message);
        let part = |from: usize, to: usize, more: u16, flip: u8| {
            let mut data = whole[from..to].to_vec();
            data[0] ^= flip;
            let field = more | (from / 8) as u16;
            let length = (20 + data.len()) as u16;
            ethernet(&ipv4(&[10, 0, 0, 53], &[10, 0, 0, 2], 17, &data, field, 7, length))
        };
        scene.push([part(0, 24, 0x2000, 0)]);
        if contradict {
            scene.push([part(16, 24, 0x2000, 1)]);
        }
        scene.push([part(24, whole.len(), 0, 0)]);
        scene.visits("listed.example", SITE);
        let wanted = if contradict { "address_mismatch" } else { "name_and_address" };
        assert_eq!(scene.verdicts(&[]).last().unwrap(), wanted);
    }
}

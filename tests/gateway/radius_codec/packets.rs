//! What is framed, what is authentic, what is answered.

use gateway::wire::radius::{Facts, Packet, RequestKind, Unauthentic, answer, authentic};
use gateway::wire::reader::Malformed;

use super::encode::{RANDOM, accounting, assert_answers, attributes, hash, keyed, request, status_server};
use super::{SECRET, judge};

/// The field that breaks a datagram.
fn broken(datagram: &[u8]) -> &'static str {
    match Packet::parse(datagram) {
        Ok(_) => panic!("framed"),
        Err(Malformed { field }) => field,
    }
}

/// An answer.
fn answered(signed: &[u8]) -> Vec<u8> {
    let mut out = vec![1, 2, 3];
    answer(&judge(signed).unwrap(), SECRET, &mut out);
    out
}

#[test]
fn packets_of_20_to_4096_octets_are_framed_and_what_is_behind_them_ignored() {
    let least = request().signed(SECRET);
    assert_eq!((least.len(), Packet::parse(&least).unwrap().length()), (20, 20));
    let of = |octets: usize| {
        let full = (0..(octets - 20) / 255).fold(request(), |all, _| all.attribute(18, &[b'x'; 253]));
        full.attribute(18, &vec![b'y'; (octets - 20) % 255 - 2]).signed(SECRET)
    };
    for octets in [32, 4095, 4096] {
        let whole = of(octets);
        assert_eq!(Packet::parse(&whole).unwrap().length(), octets);
        let padded = [&whole[..], &[0xff; 5000]].concat();
        assert!(Packet::parse(&padded) == Packet::parse(&whole));
        assert!(authentic(Packet::parse(&padded).unwrap(), SECRET).is_ok());
        for end in 0..octets {
            let field = broken(&whole[..end]);
            let wanted = ["header", "authenticator", "length"][usize::from(end > 3) + usize::from(end > 19)];
            assert_eq!(field, wanted, "cut at {end}");
        }
    }
    assert_eq!(broken(&of(4097)), "length");
    let with_length = |length: u16| {
        let mut packet = of(4097);
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        packet
    };
    assert_eq!(broken(&with_length(0)), "length");
    assert_eq!(broken(&with_length(19)), "length");
    assert_eq!(Packet::parse(&with_length(20)).unwrap().attributes().count(), 0);
    assert_eq!(broken(&with_length(u16::MAX)), "length");
}

#[test]
fn attributes_whose_lengths_break_the_packet_refuse_it() {
    for octets in [&[1][..], &[1, 0], &[1, 1], &[1, 3], &[1, 255, 0], &[26, 6, 0, 0, 0, 9, 1], &[1, 2, 1]] {
        assert_eq!(broken(&request().raw(octets).signed(SECRET)), "attribute length", "{octets:?}");
        let behind = request().attribute(1, b"bob").raw(octets).signed(SECRET);
        assert_eq!(broken(&behind), "attribute length", "{octets:?}");
    }
    let empty = request().raw(&[1, 2]).signed(SECRET);
    assert_eq!(Packet::parse(&empty).unwrap().attributes().count(), 1, "an empty value breaks nothing");
}

#[test]
fn the_request_authenticator_shows_who_knows_the_secret() {
    let signed = accounting(1).attribute(1, b"bob").signed(SECRET);
    let packet = Packet::parse(&signed).unwrap();
    assert_eq!(judge(&signed).unwrap().kind(), RequestKind::Accounting);
    assert_eq!((packet.code(), packet.identifier(), &packet.authenticator()[..]), (4, 7, &signed[4..20]));
    for secret in [&b""[..], b"a secret of client", b"a secret of clients ", b"A secret of clients"] {
        assert_eq!(authentic(packet, secret), Err(Unauthentic::RequestAuthenticator));
    }
    for bit in 0..signed.len() * 8 {
        let mut forged = signed.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        let judged = Packet::parse(&forged).map(|packet| authentic(packet, SECRET));
        assert!(!matches!(judged, Ok(Ok(_))), "bit {bit}");
    }
    for code in (0..=255).filter(|code| ![4, 12].contains(code)) {
        assert_eq!(judge(&accounting(1).code(code).signed(SECRET)), Err(Unauthentic::Code(code)));
    }
    assert!(!format!("{packet:?}").contains("bob"), "{packet:?}");
}

#[test]
fn c25_a_message_authenticator_is_held_as_freeradius_computes_it() {
    let signed = accounting(3).message_authenticator().attribute(1, b"bob").signed(SECRET);
    assert!(judge(&signed).is_ok(), "both authenticators are zero");
    // As for an Access-Request: computed while the Request Authenticator stands, which is then made anew over it.
    let mut other_way = accounting(3).attribute(1, b"bob").message_authenticator().signed(SECRET);
    let at = other_way.len() - 16;
    other_way[at..].fill(0);
    let value = keyed(SECRET, &other_way);
    other_way[at..].copy_from_slice(&value);
    assert_eq!(judge(&resigned(other_way)), Err(Unauthentic::MessageAuthenticator));
    assert!(judge(&resigned(signed)).is_ok(), "signing anew is no fault by itself");
    for places in 0..3 {
        let mut encoder = accounting(3);
        for place in 0..3 {
            encoder = if place == places {
                encoder.message_authenticator()
            } else {
                encoder.attribute(33, &[place])
            };
        }
        let signed = encoder.signed(SECRET);
        assert!(judge(&signed).is_ok(), "in any place");
        let at = attributes(&signed).iter().find(|(kind, ..)| *kind == 80).unwrap().1;
        let mut forged = signed.clone();
        forged[at + 15] ^= 1;
        assert_eq!(judge(&resigned(forged)), Err(Unauthentic::MessageAuthenticator));
    }
    for octets in [0, 15, 17] {
        let odd = accounting(3).attribute(80, &vec![0; octets]);
        assert_eq!(judge(&odd.signed(SECRET)), Err(Unauthentic::MessageAuthenticator), "{octets} octets");
    }
    let two = accounting(3).message_authenticator().message_authenticator();
    assert_eq!(judge(&two.signed(SECRET)), Err(Unauthentic::MessageAuthenticator));
}

/// The packet with its Request Authenticator made anew.
fn resigned(mut packet: Vec<u8>) -> Vec<u8> {
    packet[4..20].fill(0);
    let value = hash(&[&packet, SECRET]);
    packet[4..20].copy_from_slice(&value);
    packet
}

#[test]
fn c26_status_server_is_answered_if_it_is_authentic() {
    let signed = status_server().message_authenticator().attribute(32, b"relay").signed(SECRET);
    assert_eq!(signed[4..20], RANDOM);
    assert_eq!(judge(&signed).unwrap().kind(), RequestKind::StatusServer);
    assert_answers(&answered(&signed), &signed, SECRET);
    assert_eq!(judge(&status_server().signed(SECRET)), Err(Unauthentic::NoMessageAuthenticator));
    for bit in 0..signed.len() * 8 {
        let mut forged = signed.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        let judged = Packet::parse(&forged).map(|packet| authentic(packet, SECRET));
        assert!(!matches!(judged, Ok(Ok(_))), "bit {bit}");
    }
}

#[test]
fn c26_every_authentic_request_has_an_answer_with_its_proxy_states() {
    let plain = [
        request(),
        accounting(1),
        accounting(15),
        accounting(2).attribute(33, b"").attribute(1, b"bob").attribute(33, &[0xff; 253]).attribute(33, b"3"),
        accounting(3).vendor(9, &[(33, b"not one")]).tlvs(241, 33, &[(33, b"nor this")]),
    ];
    for encoder in plain {
        for encoder in [encoder.clone(), encoder.clone().message_authenticator()] {
            let signed = encoder.signed(SECRET);
            assert_answers(&answered(&signed), &signed, SECRET);
        }
    }
    // 4096 octets: 15 times 255, a Message-Authenticator, and 213 octets more.
    let full = (0..15).fold(request(), |all, place| all.attribute(33, &[place; 253]));
    let signed = full.message_authenticator().attribute(33, &[b'z'; 231]).signed(SECRET);
    assert_eq!(signed.len(), 4096);
    let answer = answered(&signed);
    assert_eq!(answer.len(), 4096, "never longer than the request");
    assert_answers(&answer, &signed, SECRET);
}

#[test]
fn c24_another_authenticator_under_the_same_identifier_is_another_request() {
    let interim = accounting(3).signed(SECRET);
    let stop = accounting(2).signed(SECRET);
    let (interim, stop) = (Packet::parse(&interim).unwrap(), Packet::parse(&stop).unwrap());
    assert_eq!(interim.identifier(), stop.identifier());
    assert_ne!(interim.authenticator(), stop.authenticator());
    let again = accounting(3).integer(41, 5).signed(SECRET);
    assert_ne!(
        Packet::parse(&again).unwrap().authenticator(),
        interim.authenticator(),
        "Acct-Delay-Time changed"
    );
}

#[test]
fn what_is_read_and_answered_allocates_nothing() {
    let signed = accounting(3)
        .message_authenticator()
        .attribute(33, b"state")
        .attribute(1, b"bob")
        .attribute(8, &[10, 0, 0, 7])
        .attribute(22, b"192.168.1.0/24 0.0.0.0 0")
        .vendor(6527, &[(121, b"180.0.1.248 37674-37723,35807-38556 router base")])
        .vendor(2011, &[(161, &[198, 51, 100, 7]), (162, &[0, 0, 4, 0]), (163, &[0, 0, 7, 255])])
        .signed(SECRET);
    let mut out = Vec::with_capacity(4096);
    let words = ["calling-station-id:msisdn", "user-name:account"].map(|word| word.parse().unwrap());
    let info = allocation_counter::measure(|| {
        let request = judge(&signed).unwrap();
        let facts = Facts::of(&request);
        assert_eq!((facts.blocks().len(), facts.subscriber(&words).is_some()), (3, true));
        answer(&request, SECRET, &mut out);
    });
    assert_eq!(info.count_total, 0);
}

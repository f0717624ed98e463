//! Segments that are missing, sent again, changed or out of place: what the stream then says.

use support::capture::*;

use super::{charged, exempt, listed, only};

#[test]
fn without_syn_the_stream_starts_at_the_lowest_sequence_number() {
    let hello = listed();
    let talk = Talk::from_port(1);
    let pieces: Vec<_> = hello.chunks(20).enumerate().map(|(n, part)| talk.up(n as u32 * 20, part)).collect();
    let reversed: Vec<_> = pieces.iter().rev().cloned().collect();
    assert_eq!(only(&reversed), exempt());
    // The same around the end of the number space.
    for initial in (u32::MAX - hello.len() as u32 - 2..=u32::MAX).step_by(7) {
        let talk = Talk { initial, ..talk };
        let mut pieces: Vec<_> =
            hello.chunks(20).enumerate().map(|(n, part)| talk.up(n as u32 * 20, part)).collect();
        pieces.rotate_left(3);
        assert_eq!(only(&pieces), exempt(), "{initial}");
        assert_eq!(only(&talk.whole(&hello, 13)), exempt(), "{initial}");
    }
}

#[test]
fn keep_alive_probes_change_nothing() {
    let hello = listed();
    let talk = Talk::from_port(1);
    let before = u32::MAX; // one less than the stream's first byte
    for probe in [&b""[..], b"\0"] {
        // Before the first byte, without SYN and with it.
        assert_eq!(only(&[talk.up(before, probe), talk.up(0, &hello)]), exempt());
        let mut packets = talk.open();
        packets.extend([talk.up(before, probe), talk.up(0, &hello[..50])]);
        // In the middle: the last byte again, with another value.
        packets.extend([
            talk.up(49, probe),
            talk.up(50, &hello[50..]),
            talk.up(hello.len() as u32 - 1, probe),
        ]);
        assert_eq!(only(&packets), exempt());
        assert_eq!(only(&packets[4..]), exempt(), "without the start");
    }
}

#[test]
fn data_in_the_syn_is_read_once() {
    let hello = listed();
    let talk = Talk::from_port(1);
    let mut packets = vec![talk.up_raw(1000, SYN, &hello[..40]), talk.down_raw(5000, 1041, SYN | ACK, b"")];
    packets.push(talk.up(40, &hello[40..]));
    assert_eq!(only(&packets), exempt());
    // The server took only the SYN: the client sends it again.
    packets.insert(2, talk.up(0, &hello[..40]));
    assert_eq!(only(&packets), exempt());
}

#[test]
fn identical_retransmission_is_harmless_and_counted() {
    let hello = listed();
    let talk = Talk::from_port(1);
    let mut packets = talk.open();
    packets.extend([
        talk.up(0, &hello[..70]),
        talk.up(0, &hello[..30]),
        talk.up(20, &hello[20..]),
        talk.up(0, &hello),
    ]);
    let lines = classified(&packets);
    assert_eq!(lines[0]["name"], "www.listed.example");
    let bytes = 40 * 6 + 70 + 30 + (hello.len() - 20) + hello.len();
    assert_eq!(lines[0]["up_bytes"], bytes);
    assert_eq!(lines[0]["down_bytes"], 40);
}

#[test]
fn t28_a_retransmission_with_other_bytes_is_ambiguous() {
    let (one, two) = (hello("www.listed.example"), hello("www.evilxx.example"));
    assert_eq!(one.len(), two.len());
    let length = one.len() as u32;
    let talk = Talk::from_port(1);
    let cases = [
        // After the whole hello.
        vec![talk.up(0, &one), talk.up(0, &two)],
        // While it is incomplete, over what was read.
        vec![talk.up(0, &one[..length as usize - 1]), talk.up(10, &two[10..])],
        // Both still out of order.
        vec![talk.up(40, &one[40..]), talk.up(30, &two[30..]), talk.up(0, &one[..40])],
        // Two flights later, when data has been exchanged.
        vec![
            talk.up(0, &one),
            talk.down(0, b"x"),
            talk.up(length, b"\x17\x03\x03\0\x01a"),
            talk.up(20, &two[20..]),
        ],
    ];
    for case in cases {
        assert_eq!(only(&[talk.open(), case.clone()].concat()), charged("ambiguous"));
        assert_eq!(only(&case), charged("ambiguous"), "without SYN");
    }
    // Behind the hello nothing is compared.
    let later = [
        talk.up(0, &one),
        talk.up(length, b"\x17\x03\x03\0\x01a"),
        talk.up(length + 900, b"aaa"),
        talk.up(length + 900, b"bbb"),
    ];
    assert_eq!(only(&[talk.open(), later.to_vec()].concat()), exempt());
}

#[test]
fn a_missing_piece_hides_the_name_unless_the_hello_came_before_it() {
    let hello = listed();
    let talk = Talk::from_port(1);
    let mut packets = talk.open();
    packets.extend([
        talk.up(0, &hello[..30]),
        talk.up(31, &hello[31..]),
        talk.up(hello.len() as u32, &[0x17; 50]),
    ]);
    assert_eq!(only(&packets), charged("undecided"));
    packets.push(talk.up(30, &hello[30..31]));
    assert_eq!(only(&packets), exempt(), "the piece came late");
    let mut packets = talk.open();
    packets.extend([talk.up(0, &hello), talk.up(4000, &[0x17; 50])]);
    assert_eq!(only(&packets), exempt(), "the hole is behind the hello");
    let packets = [talk.open(), vec![talk.up(10, &hello[10..])]].concat();
    assert_eq!(only(&packets), charged("undecided"), "the first bytes never came");
}

#[test]
fn data_behind_fin_is_not_part_of_the_stream_and_reset_text_neither() {
    let hello = listed();
    let talk = Talk::from_port(1);
    let mut packets = talk.open();
    packets.extend([talk.up(0, &hello[..40]), talk.up_raw(1041, FIN | ACK, b""), talk.up(40, &hello[40..])]);
    assert_eq!(only(&packets), charged("undecided"));
    let mut packets = talk.open();
    packets.extend([talk.up(0, &hello[..40]), talk.up_raw(1041, RST, &hello[40..])]);
    assert_eq!(only(&packets), charged("undecided"));
}

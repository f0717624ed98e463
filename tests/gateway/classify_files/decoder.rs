//! The decoder of capture files by itself: both orders, every kind of block, files cut at each byte, and its limits.

use gateway::wire::pcap::file::{Decoder, FileError, INTERFACES_MAX, LinkType, RECORD_BYTES_MAX, Step};
use support::capture::*;

use super::{enhanced, interface, number, section};

/// A packet as a decoder gave it: link type, bytes, wire length, time.
type Packet = (Option<u16>, Vec<u8>, usize, Option<u64>);

/// Decodes a file fed in pieces of `piece` bytes.
fn decoded(file: &[u8], piece: usize) -> (Vec<Packet>, Result<(), FileError>) {
    let mut decoder = Decoder::new();
    let mut packets = Vec::new();
    for part in file.chunks(piece) {
        decoder.feed(part);
        loop {
            match decoder.step() {
                Ok(Step::Packet(packet)) => packets.push((
                    packet.link.map(|link| link.0),
                    packet.bytes.to_vec(),
                    packet.wire_bytes,
                    packet.unix_nanos,
                )),
                Ok(Step::NeedMore) => break,
                Err(error) => return (packets, Err(error)),
            }
        }
    }
    (packets, decoder.end())
}

/// A classic file with one packet of three captured bytes, five on the wire.
fn classic(magic: u32, little: bool, extra: usize) -> Vec<u8> {
    let version = if little { [2, 0, 4, 0] } else { [0, 2, 0, 4] };
    let n = |value| number(value, little);
    [
        &n(magic)[..],
        &version,
        &[0; 8],
        &n(96),
        // The upper bits tell of a frame check sequence.
        &n(0xf400_0001),
        &n(1_600_000_000),
        &n(123_456),
        &n(3),
        &n(5),
        &vec![9; extra],
        b"abc",
    ]
    .concat()
}

#[test]
fn classic_files_in_both_orders_and_resolutions() {
    for little in [true, false] {
        for (magic, extra, nanos) in
            [(0xa1b2_c3d4, 0, 123_456_000), (0xa1b2_3c4d, 0, 123_456), (0xa1b2_cd34, 8, 123_456_000)]
        {
            let file = classic(magic, little, extra);
            let expected = vec![(Some(1), b"abc".to_vec(), 5, Some(1_600_000_000_000_000_000 + nanos))];
            for piece in [1, 7, file.len()] {
                assert_eq!(decoded(&file, piece), (expected.clone(), Ok(())), "{magic:x} {little}");
            }
        }
    }
}

#[test]
fn sections_of_both_orders_with_interfaces_of_their_own() {
    let option = |code: u16, value: &[u8], little: bool| {
        let two = |value: u16| if little { value.to_le_bytes() } else { value.to_be_bytes() };
        let padding = vec![0; value.len().next_multiple_of(4) - value.len()];
        [&two(code)[..], &two(value.len() as u16), value, &padding].concat()
    };
    let mut file = Vec::new();
    let mut expected = Vec::new();
    for little in [true, false] {
        let n = |value| number(value, little);
        file.extend(section(little));
        file.extend(interface(1, 4, b"", little));
        file.extend(interface(
            113,
            0,
            &[option(2, b"eth0", little), option(9, &[9], little)].concat(),
            little,
        ));
        file.extend(interface(101, 0, &option(9, &[0x80 | 10], little), little));
        let offset = if little { 100_i64.to_le_bytes() } else { 100_i64.to_be_bytes() };
        file.extend(interface(228, 0, &option(14, &offset, little), little));
        file.extend(block(4, b"names, not read", little));
        file.extend(enhanced(0, 2_000_000, b"one", 3, little));
        file.extend(enhanced(1, 5, b"two", 9, little));
        file.extend(enhanced(2, 1024 * 3, b"three", 5, little));
        file.extend(enhanced(3, 1_000_000, b"four", 4, little));
        file.extend(enhanced(9, 1, b"nobody's", 8, little));
        // Simple: cut at the snap length of the first interface.
        file.extend(block(3, &[&n(6)[..], b"simp"].concat(), little));
        let drops = if little { [1, 0, 0, 0] } else { [0, 1, 0, 0] };
        file.extend(block(2, &[&drops[..], &n(0), &n(7), &n(3), &n(3), b"old"].concat(), little));
        expected.extend([
            (Some(1), b"one".to_vec(), 3, Some(2_000_000_000)),
            (Some(113), b"two".to_vec(), 9, Some(5)),
            (Some(101), b"three".to_vec(), 5, Some(3_000_000_000)),
            (Some(228), b"four".to_vec(), 4, Some(101_000_000_000)),
            (None, b"nobody's".to_vec(), 8, None),
            (Some(1), b"simp".to_vec(), 6, None),
            (Some(113), b"old".to_vec(), 3, Some(7)),
        ]);
    }
    for piece in [1, 3, file.len()] {
        assert_eq!(decoded(&file, piece), (expected.clone(), Ok(())));
    }
}

#[test]
fn a_file_cut_at_every_byte_gives_what_came_before() {
    let classic_file = pcap(1, &Talk::from_port(1).whole(&hello("www.listed.example"), 60));
    let mut sections = section(true);
    sections.extend(interface(1, 0, b"", true));
    for (at, packet) in Talk::from_port(1).whole(&hello("www.listed.example"), 60).iter().enumerate() {
        sections.extend(enhanced(0, at as u64, packet, packet.len() as u32, true));
        sections.extend(block(5, &[7; 40], true));
    }
    for file in [classic_file, sections] {
        let (whole, _) = decoded(&file, file.len());
        let mut clean = 0;
        for length in 0..file.len() {
            let (packets, end) = decoded(&file[..length], 1000);
            assert_eq!(packets, whole[..packets.len()]);
            match end {
                Ok(()) => clean += 1,
                Err(error) => {
                    assert!(matches!(error, FileError::Truncated { at, .. } if at == length as u64))
                }
            }
        }
        assert!(clean >= whole.len(), "between two records nothing is missing");
    }
}

#[test]
fn limits_of_records_blocks_and_interfaces() {
    let mut file = pcap(1, &[vec![7; 262_144]]);
    assert_eq!(decoded(&file, 5000).0.len(), 1, "at the limit");
    file[32..36].copy_from_slice(&262_145_u32.to_le_bytes());
    assert!(matches!(decoded(&file, 5000).1, Err(FileError::Damaged { at: 24, found: 262_145, .. })));

    let start = [section(true), interface(1, 0, b"", true)].concat();
    for (length, count) in [(RECORD_BYTES_MAX - 32, 2), (RECORD_BYTES_MAX - 28, 1)] {
        let big = enhanced(0, 0, &vec![1; length], length as u32, true);
        let file = [start.clone(), big, enhanced(0, 0, b"after", 5, true)].concat();
        let (packets, end) = decoded(&file, 9000);
        assert_eq!((packets.len(), end), (count, Ok(())), "a longer block is skipped, not held");
    }
    let mut file = section(true);
    for _ in 0..INTERFACES_MAX {
        file.extend(interface(1, 0, b"", true));
    }
    assert_eq!(decoded(&file, 9000).1, Ok(()));
    file.extend(interface(1, 0, b"", true));
    assert!(matches!(decoded(&file, 9000).1, Err(FileError::Damaged { found: 4097, .. })));
    file.extend(section(true));

    // A block that promises more than ever comes holds nothing.
    let mut decoder = Decoder::new();
    decoder
        .feed(&[section(true), [&5_u32.to_le_bytes()[..], &0xffff_fff0_u32.to_le_bytes()].concat()].concat());
    for _ in 0..100 {
        assert_eq!(decoder.step(), Ok(Step::NeedMore));
        decoder.feed(&[0; 10_000]);
    }
    assert!(matches!(decoder.end(), Err(FileError::Truncated { .. })));
}

#[test]
fn damaged_structure_is_named_with_its_place() {
    let start = section(true);
    let bad_length = [&start[..], &[6, 0, 0, 0, 13, 0, 0, 0, 0, 0, 0, 0]].concat();
    assert!(matches!(
        decoded(&bad_length, 99).1,
        Err(FileError::Damaged { at: 28, field: "block length", found: 13, .. })
    ));
    let mut second = [start.clone(), interface(1, 0, b"", true)].concat();
    let last = second.len() - 4;
    second[last] ^= 1;
    assert!(matches!(decoded(&second, 99).1, Err(FileError::Damaged { field: "second block length", .. })));
    let mut order = start;
    order[8] = 0;
    assert!(matches!(decoded(&order, 99).1, Err(FileError::Damaged { field: "byte-order magic", .. })));
    assert_eq!(decoded(b"PK\x03\x04....", 99).1, Err(FileError::NotACapture { found: *b"PK\x03\x04" }));
    assert_eq!(LinkType(1), LinkType(1));
}

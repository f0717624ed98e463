//! Tests of `layout`.

use super::*;
use crate::wire::dns::question;

/// `a.kz` A with OPT of 1,232 bytes, DO, and an unknown option.
const QUERY: &[u8] =
    b"\0\x01\x01\x10\0\x01\0\0\0\0\0\x01\x01a\x02kz\0\0\x01\0\x01\0\0\x29\x04\xd0\0\0\x80\0\0\x06\xff\xff\0\x02ab";
/// Its answer: a CNAME, an address, an OPT.
const ANSWER: &[u8] = b"\0\x01\x81\x80\0\x01\0\x02\0\0\0\x01\x01a\x02kz\0\0\x01\0\x01\
\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x04\x01b\xc0\x0e\
\xc0\x22\0\x01\0\x01\0\0\0\x3d\0\x04\x01\x02\x03\x04\
\0\0\x29\x04\xd0\0\0\0\0\0\0";

#[test]
fn opt_of_a_query_is_found_with_its_place() {
    let read = question(QUERY).unwrap();
    let additional = additional(QUERY, &read).unwrap();
    let edns = additional.edns.unwrap();
    assert_eq!((additional.end, additional.is_signed), (QUERY.len(), false));
    assert_eq!(edns_of_any(QUERY), Some(edns));
    assert_eq!(options(QUERY, &edns), b"\xff\xff\0\x02ab");
    assert_eq!((edns.udp_bytes_max, edns.version, edns.dnssec_ok), (1_232, 0, true));
    assert_eq!(QUERY[edns.size_at..edns.size_at + 2], [4, 0xd0]);
    assert!(checking_disabled(QUERY));
    assert!(!checking_disabled(ANSWER));
}

#[test]
fn a_signature_is_told_by_the_record_behind_everything_else() {
    let read = question(QUERY).unwrap();
    let is_signed = |query: &[u8]| additional(query, &read).is_ok_and(|additional| additional.is_signed);
    assert!(!is_signed(QUERY));
    for (kind, signed) in [(TYPE_TSIG, true), (TYPE_SIG, true), (16, false)] {
        let [high, low] = kind.to_be_bytes();
        let record = [0, high, low, 0, 0xff, 0, 0, 0, 0, 0, 2, 7, 7];
        let mut query = [QUERY, &record].concat();
        query[11] = 2;
        assert_eq!(is_signed(&query), signed, "{kind}");
        for end in QUERY.len()..query.len() {
            assert!(!is_signed(&query[..end]), "{end}");
        }
        // In front of something else it signs nothing.
        let mut inside = [&QUERY[..read.section.end], &record, &QUERY[read.section.end..]].concat();
        inside[11] = 2;
        assert!(!is_signed(&inside));
    }
}

#[test]
fn t20_every_prefix_of_a_query_with_opt_is_malformed() {
    let read = question(QUERY).unwrap();
    for end in read.section.end..QUERY.len() {
        assert!(additional(&QUERY[..end], &read).is_err(), "{end}");
        assert_eq!(edns_of_any(&QUERY[..end]), None);
    }
    let mut more = QUERY.to_vec();
    more.push(0);
    assert_eq!(additional(&more, &read).map(|read| read.end), Ok(QUERY.len()), "f44: it ends before that");
    let twice = [QUERY, &QUERY[read.section.end..]].concat();
    let mut twice = twice;
    twice[11] = 2;
    assert!(additional(&twice, &read).is_err());
    for (count, other) in [(11, 7), (11, 9)] {
        let mut elsewhere = QUERY.to_vec();
        elsewhere.swap(count, other);
        assert!(additional(&elsewhere, &read).is_err(), "in another section");
    }
    let owned = [&QUERY[..read.section.end], b"\x01a", &QUERY[read.section.end..]].concat();
    assert!(additional(&owned, &read).is_err(), "with an owner");
    let mut counted = QUERY.to_vec();
    counted[6..12].fill(0xff);
    assert!(additional(&counted, &read).is_err());
    counted = QUERY.to_vec();
    counted[4..6].fill(0xff);
    assert_eq!(edns_of_any(&counted), None);
}

#[test]
fn ttls_and_end_of_the_answer_section_are_found() {
    let read = question(ANSWER).unwrap();
    let Said { ttls, end, has_soa } = said(ANSWER, &read, 2).unwrap();
    assert!(!has_soa);
    assert_eq!(ttls.iter().map(|place| ANSWER[place.clone()][3]).collect::<Vec<_>>(), [0x3c, 0x3d]);
    assert_eq!(end, ANSWER.len() - 11);
    assert!(said(ANSWER, &read, 1).is_err());
    for cut in read.section.end..end {
        assert!(said(&ANSWER[..cut], &read, 2).is_err(), "{cut}");
    }
    // The same without the address, and with a first authority record of this type.
    for kind in [TYPE_SOA, 2] {
        let [high, low] = kind.to_be_bytes();
        let authority = [&[0xc0, 0x0e, high, low, 0, 1, 0, 0, 0, 9, 0, 2, 7, 7][..]].concat();
        let mut negative = [&ANSWER[..end - 16], &authority].concat();
        (negative[7], negative[9], negative[11]) = (1, 1, 0);
        let found = said(&negative, &read, 2).unwrap();
        let is_soa = kind == TYPE_SOA;
        assert_eq!(
            (found.has_soa, found.end == negative.len(), found.ttls.len()),
            (is_soa, is_soa, if is_soa { 2 } else { 1 })
        );
    }
}

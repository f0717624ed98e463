//! Large hellos: with the name far behind, at the caps, one byte over, and those that never complete.

use gateway::wire::tls::{Ech, Facts, HelloLimits, HelloStream, Outcome, hello_message};
use support::hellos::{self, Hello, record, records};

use super::{LIMITS, Said, drive, name, same_in_every_cutting, same_in_every_record_size};

#[test]
fn t4_post_quantum_hello_with_the_name_behind_the_key_share() {
    for bytes in [1800, 2000, 2200] {
        let message = Hello::post_quantum("listed.edu").padded_to(bytes).message();
        assert_eq!(message.len(), bytes);
        let share = message.windows(2).position(|window| window == [0x11, 0xec]).unwrap();
        let at = message.windows(10).position(|window| window == b"listed.edu").unwrap();
        assert!(at > share + hellos::MLKEM_SHARE_BYTES);
        let said = [Said::Hello(Some(b"listed.edu".to_vec()), Some(Ech { config_id: Some(0x5a) }))];
        same_in_every_record_size(&message, &said);
    }
}

#[test]
fn i_t2_post_quantum_hello_of_1588_bytes() {
    let message = Hello::post_quantum("daryn.online").padded_to(1588).message();
    let said = [Said::Hello(Some(b"daryn.online".to_vec()), Some(Ech { config_id: Some(0x5a) }))];
    same_in_every_record_size(&message, &said);
}

#[test]
fn t4_i_t3_hello_of_the_cap_and_one_byte_more() {
    let at_limit = Hello::named("listed.edu").padded_to(16384).message();
    same_in_every_record_size(&at_limit, &[name("listed.edu")]);
    let over = Hello::named("listed.edu").padded_to(16385).message();
    same_in_every_record_size(&over, &[Said::Oversize]);
    // One record is not allowed to hold it, but says the same.
    same_in_every_cutting(&record(22, &over), &[Said::Oversize]);
    assert_eq!(
        hello_message(&at_limit, 16384),
        Outcome::Hello(Facts { name: Some(b"listed.edu"), ech: None })
    );
    assert_eq!(hello_message(&over, 16384), Outcome::Oversize);
}

#[test]
fn i_t3_wire_bytes_of_tiny_records_at_the_cap_and_one_over() {
    // Records of one byte take six, so a hello of n bytes takes 6 n; empty records fill up to the cap.
    let message = Hello::named("listed.edu").message();
    let body = records(&message, 1);
    let room = LIMITS.wire_bytes_max - body.len();
    let filler = room % 5;
    let mut wire = record(22, &[]).repeat(room / 5);
    wire.extend(&body);
    assert_eq!(wire.len() + filler, LIMITS.wire_bytes_max);
    assert_eq!(drive(&wire), [name("listed.edu")]);

    let exact = HelloLimits { wire_bytes_max: wire.len(), ..LIMITS };
    let one_less = HelloLimits { wire_bytes_max: wire.len() - 1, ..LIMITS };
    for size in [1, 1000, wire.len()] {
        let mut stream = HelloStream::new(exact);
        let last = wire.chunks(size).map(|piece| is_hello(&stream.push(piece).outcome)).last();
        assert_eq!(last, Some(true), "{size}");
        let mut stream = HelloStream::new(one_less);
        let last = wire.chunks(size).map(|piece| stream.push(piece).outcome == Outcome::Oversize).last();
        assert_eq!(last, Some(true), "{size}");
    }
    // The same holds where the hello would be read in place.
    let one_record = Hello::named("listed.edu").wire();
    let mut stream = HelloStream::new(HelloLimits { wire_bytes_max: one_record.len(), ..LIMITS });
    assert!(is_hello(&stream.push(&one_record).outcome));
    let mut stream = HelloStream::new(HelloLimits { wire_bytes_max: one_record.len() - 1, ..LIMITS });
    assert_eq!(stream.push(&one_record).outcome, Outcome::Oversize);
}

fn is_hello(outcome: &Outcome<'_>) -> bool {
    matches!(outcome, Outcome::Hello(_))
}

#[test]
fn t4_a_hello_that_never_completes_is_held_to_the_cap() {
    let promised = Hello::named("listed.edu").padded_to(16384).message();
    let mut stream = HelloStream::new(LIMITS);
    for (at, piece) in records(&promised[..16383], 16384).chunks(1).enumerate() {
        assert_eq!(stream.push(piece).outcome, Outcome::NeedMore);
        assert!(stream.buffer_bytes() <= (2 * at).max(512), "grows by what came, not by what was promised");
    }
    assert!(stream.buffer_bytes() <= 16384);
}

//! The second hello of a connection: where it is read, what ends the watch for it, and that a final outcome stays.

use gateway::wire::tls::{HelloStream, Outcome};
use support::hellos::{self, Hello, SERVER_NAME, record, records, server_name};

use super::{LIMITS, Said, drive, name, same_in_every_cutting};

#[test]
fn t5_the_second_hello_is_read_wherever_it_may_stand() {
    let (first, second) = (Hello::post_quantum("listed.edu").modern(), Hello::named("other.com"));
    let said = drive(&first.wire());
    let both = [said[0].clone(), name("other.com")];
    let plain = [first.wire(), second.wire()].concat();
    let compat = [first.wire(), hellos::change_cipher_spec(), second.wire()].concat();
    let pieces = [first.wire(), hellos::change_cipher_spec(), records(&second.message(), 3)].concat();
    let joined = records(&[first.message(), second.message()].concat(), 16384);
    for wire in [plain, compat, pieces, joined] {
        same_in_every_cutting(&wire, &both);
        let mut ended = wire.clone();
        ended.extend(record(23, &[0; 50]));
        ended.extend(Hello::named("third.org").wire());
        let mut said = both.to_vec();
        said.push(Said::Ended);
        same_in_every_cutting(&ended, &said);
    }
}

#[test]
fn t5_what_ends_the_watch_for_a_second_hello() {
    let first = Hello::named("listed.edu").wire();
    let ended = [name("listed.edu"), Said::Ended];
    let late = Hello::named("other.com").wire();
    let tls12_finish = [
        records(&hellos::message(11, &[5; 3000]), 16384),
        records(&hellos::message(16, &[0x42; 66]), 16384),
        hellos::change_cipher_spec(),
    ]
    .concat();
    // A Finished of TLS 1.2: explicit nonce of zeros (GCM), or any random byte but a hello's in front.
    for nonce in [0_u8, 2, 0x14, 0xff] {
        let finished = record(22, &[nonce; 40]);
        let wire = [&first[..], &tls12_finish, &finished, &late].concat();
        same_in_every_cutting(&wire, &ended);
    }
    // One that begins like a hello is no hello when it does not go on as one.
    let mut lookalike = vec![0xee; 40];
    lookalike[..4].copy_from_slice(&[1, 0, 0x3f, 0xff]);
    let data = record(23, &[1; 9]);
    let wire = [&first[..], &tls12_finish, &record(22, &lookalike), &data, &late].concat();
    same_in_every_cutting(&wire, &ended);
    lookalike[..4].copy_from_slice(&[1, 0, 0, 36]);
    let wire = [&first[..], &tls12_finish, &record(22, &lookalike), &data, &late].concat();
    same_in_every_cutting(&wire, &ended);
    // Application data at once (TLS 1.3), alerts before it do no harm.
    let wire = [&first[..], &record(21, &[1, 0]), &hellos::change_cipher_spec(), &data, &late].concat();
    same_in_every_cutting(&wire, &ended);
    same_in_every_cutting(&[&first[..], &data, &late].concat(), &ended);
}

#[test]
fn t5_second_hello_at_the_caps_and_cut_off() {
    let first = Hello::named("listed.edu").wire();
    let said = |last| vec![name("listed.edu"), last];
    for ccs in [vec![], hellos::change_cipher_spec()] {
        let at_limit = records(&Hello::named("other.com").padded_to(16384).message(), 16384);
        same_in_every_cutting(&[&first[..], &ccs, &at_limit].concat(), &said(name("other.com")));
        let over = records(&Hello::named("other.com").padded_to(16385).message(), 16384);
        same_in_every_cutting(&[&first[..], &ccs, &over].concat(), &said(Said::Oversize));
        let two = Hello::named("a.kz").with(SERVER_NAME, server_name(b"b.kz")).wire();
        same_in_every_cutting(&[&first[..], &ccs, &two].concat(), &said(Said::Ambiguous));
    }
    let second = Hello::named("other.com").message();
    let interrupted =
        [&first[..], &record(22, &second[..30]), &record(21, &[1, 0]), &record(22, &second[30..])];
    same_in_every_cutting(&interrupted.concat(), &said(Said::Malformed("record type")));
    let endless = [first, records(&hellos::message(11, &[0; 60_000]), 16384)].concat();
    same_in_every_cutting(&endless, &said(Said::Oversize));
}

#[test]
fn a_final_outcome_stays() {
    let mut stream = HelloStream::new(LIMITS);
    assert_eq!(stream.push(b"nonsense").outcome, Outcome::NotTls);
    assert_eq!(stream.push(&Hello::named("listed.edu").wire()).outcome, Outcome::NotTls);
    let mut stream = HelloStream::new(LIMITS);
    let two = Hello::named("a.kz").with(SERVER_NAME, server_name(b"b.kz")).wire();
    assert_eq!(stream.push(&two).outcome, Outcome::Ambiguous);
    assert_eq!(stream.push(&Hello::named("listed.edu").wire()).outcome, Outcome::Ambiguous);
}

//! The hello reader: cutting, records, caps, the table of notes §1.1, what a hello may lack and what it may not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

use support::hellos;

use gateway::wire::tls::{Ech, Facts, HelloLimits, HelloStream, Outcome, hello_message};
use hellos::{Hello, SERVER_NAME, record, records, records_cut_at, server_name, server_names};

const LIMITS: HelloLimits = HelloLimits { handshake_bytes_max: 16 * 1024, wire_bytes_max: 32 * 1024 };

/// One thing that a stream said, owned.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Hello(Option<Vec<u8>>, Option<Ech>),
    Ended,
    Malformed(&'static str),
    Ambiguous,
    Oversize,
    NotTls,
}

/// Feeds pieces; what was said, and how many bytes were copied.
fn drive_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Said>, u64) {
    let mut stream = HelloStream::new(LIMITS);
    let mut said = Vec::new();
    for piece in pieces {
        let mut rest = piece;
        loop {
            let step = stream.push(rest);
            let consumed = step.consumed;
            let last = match step.outcome {
                Outcome::NeedMore => {
                    assert_eq!(consumed, rest.len());
                    break;
                }
                Outcome::Hello(facts) => {
                    said.push(Said::Hello(facts.name.map(<[u8]>::to_vec), facts.ech));
                    rest = &rest[consumed..];
                    continue;
                }
                Outcome::Ended => Said::Ended,
                Outcome::Malformed { field } => Said::Malformed(field),
                Outcome::Ambiguous => Said::Ambiguous,
                Outcome::Oversize => Said::Oversize,
                Outcome::NotTls => Said::NotTls,
            };
            said.push(last);
            assert_eq!(stream.buffer_bytes(), 0, "a final outcome frees the buffer");
            return (said, stream.copied_bytes());
        }
        assert!(stream.buffer_bytes() <= LIMITS.handshake_bytes_max);
    }
    (said, stream.copied_bytes())
}

fn drive(bytes: &[u8]) -> Vec<Said> {
    drive_pieces([bytes]).0
}

fn drive_segments(bytes: &[u8], size: usize) -> Vec<Said> {
    drive_pieces(bytes.chunks(size)).0
}

fn name(name: &str) -> Said {
    Said::Hello(Some(name.as_bytes().to_vec()), None)
}

/// The same bytes in many cuttings say the same.
fn same_in_every_cutting(bytes: &[u8], said: &[Said]) {
    for size in [1, 2, 3, 5, 7, 536, 1460, usize::MAX] {
        assert_eq!(drive_segments(bytes, size.min(bytes.len().max(1))), said, "segments of {size}");
    }
}

/// A handshake message in all record and segment sizes of I-T1 says the same.
fn same_in_every_record_size(message: &[u8], said: &[Said]) {
    for size in [1, 7, 100, 16384] {
        let wire = records(message, size);
        if wire.len() > LIMITS.wire_bytes_max {
            continue;
        }
        for segment in [1, 7, 536, 1460] {
            assert_eq!(drive_segments(&wire, segment), said, "records of {size}, segments of {segment}");
        }
        assert_eq!(drive(&wire), said, "records of {size}, one segment");
    }
}

#[test]
fn t1_hello_split_at_every_offset_and_byte_by_byte() {
    for hello in [Hello::named("listed.edu"), Hello::post_quantum("listed.edu")] {
        let wire = hello.wire();
        let whole = drive(&wire);
        assert!(matches!(&whole[..], [Said::Hello(Some(name), _)] if name == b"listed.edu"));
        for at in 0..=wire.len() {
            let (one, two) = wire.split_at(at);
            assert_eq!(drive_pieces([one, two]).0, whole, "cut at {at}");
        }
        assert_eq!(drive_segments(&wire, 1), whole);
    }
}

#[test]
fn t1_every_prefix_needs_more_and_nothing_else() {
    let wire = Hello::post_quantum("listed.edu").wire();
    for end in 0..wire.len() {
        assert_eq!(drive(&wire[..end]), [], "prefix of {end}");
        assert_eq!(drive_segments(&wire[..end], 1), [], "prefix of {end}, byte by byte");
    }
    let message = Hello::named("listed.edu").message();
    for end in 0..message.len() {
        assert_eq!(hello_message(&message[..end], 16384), Outcome::NeedMore);
    }
}

#[test]
fn t2_hello_split_into_records_at_every_offset() {
    let message = Hello::named("www.listed.edu").message();
    let said = [name("www.listed.edu")];
    for at in 1..message.len() {
        let wire = records_cut_at(&message, &[at]);
        assert_eq!(drive(&wire), said, "records cut at {at}");
        assert_eq!(drive_segments(&wire, 1), said, "records cut at {at}, byte by byte");
    }
    for size in 1..=message.len() {
        assert_eq!(drive(&records(&message, size)), said, "records of {size}");
    }
}

#[test]
fn t2_hello_split_into_three_records_around_and_inside_the_name() {
    let message = Hello::named("listed.edu").message();
    let at = message.windows(10).position(|window| window == b"listed.edu").unwrap();
    for one in at - 8..at + 10 {
        for two in one + 1..at + 14 {
            let wire = records_cut_at(&message, &[one, two]);
            assert_eq!(drive(&wire), [name("listed.edu")], "records cut at {one} and {two}");
        }
    }
}

#[test]
fn t2_empty_records_are_tolerated_and_bounded_by_the_wire_cap() {
    let message = Hello::named("listed.edu").message();
    let mut wire = record(22, &[]);
    wire.extend(record(22, &message[..50]));
    wire.extend(record(22, &[]).repeat(100));
    wire.extend(record(22, &message[50..]));
    same_in_every_cutting(&wire, &[name("listed.edu")]);

    let endless = record(22, &[]).repeat(LIMITS.wire_bytes_max / 5 + 1);
    assert_eq!(drive(&endless[..LIMITS.wire_bytes_max]), []);
    same_in_every_cutting(&endless, &[Said::Oversize]);
}

/// T3: the second record's header falls into the name. Who skips record headers reads `other.com`; who ignores them and
/// takes the bytes as they lie reads `listed.edu`.
#[test]
fn t3_a_reader_that_ignores_record_headers_reads_another_name() {
    let message = Hello::named("other.com").message();
    let at = message.windows(9).position(|window| window == b"other.com").unwrap();
    let wire = records_cut_at(&message, &[at]);
    let naive = &wire[5 + at..5 + at + 9];
    assert_ne!(naive, b"other.com", "the header lies where a naive reader expects the name");
    assert_eq!(drive(&wire), [name("other.com")]);

    let wire = deceptive_hello();
    assert_eq!(naive_server_name(&wire).as_deref(), Some(&b"listed.edu"[..]), "the trap is set");
    same_in_every_cutting(&wire, &[name("other.com")]);
}

/// A hello in two records. Taken without record headers it names `other.com`; taken with the second header left inside,
/// everything behind it is shifted by five bytes, and there `listed.edu` stands.
fn deceptive_hello() -> Vec<u8> {
    // X is cut by the record boundary. The naive reader takes the five header bytes for X's data, so for it X ends five
    // bytes early, and these five begin an extension that ends behind the four bytes that head Y.
    let mut x = vec![0; 20];
    x.extend([0xbb, 0xbb, 0, 5, 0]);
    // Y's data is an extension for the naive alone.
    let mut y = SERVER_NAME.to_be_bytes().to_vec();
    y.extend(hellos::block16(&server_name(b"listed.edu")));
    let message = Hello::bare()
        .with(0xaaaa, x)
        .with(0xcccc, y)
        .with(SERVER_NAME, server_name(b"other.com"))
        .modern()
        .message();
    let x_at = message.windows(2).position(|window| window == [0xaa, 0xaa]).unwrap();
    records_cut_at(&message, &[x_at + 4 + 3])
}

/// What a reader makes of it that strips the first record header only.
fn naive_server_name(wire: &[u8]) -> Option<Vec<u8>> {
    let body = &wire[9..];
    let mut at = 2 + 32;
    at += 1 + usize::from(body[at]);
    at += 2 + usize::from(u16::from_be_bytes([body[at], body[at + 1]]));
    at += 1 + usize::from(body[at]);
    at += 2;
    while at + 4 <= body.len() {
        let kind = u16::from_be_bytes([body[at], body[at + 1]]);
        let length = usize::from(u16::from_be_bytes([body[at + 2], body[at + 3]]));
        if kind == SERVER_NAME {
            return Some(body[at + 4 + 5..at + 4 + length].to_vec());
        }
        at += 4 + length;
    }
    None
}

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

#[test]
fn fast_path_reads_in_place_and_others_copy_each_byte_once() {
    let hello = Hello::post_quantum("listed.edu");
    let (wire, message) = (hello.wire(), hello.message());
    let length = u64::try_from(message.len()).unwrap();
    assert_eq!(drive_pieces([&wire[..]]).1, 0, "one segment, one record: in place");
    let mut more = wire.clone();
    more.extend(record(23, &[1; 100]));
    assert_eq!(drive_pieces([&more[..]]).1, 0, "what follows makes no difference");
    assert_eq!(
        drive_pieces(wire.split_at(100).0.chunks(100).chain([&wire[100..]])).1,
        length,
        "two segments"
    );
    assert_eq!(drive_pieces([&records(&message, 700)[..]]).1, length, "three records");
    assert_eq!(drive_pieces(records(&message, 1).chunks(1)).1, length, "byte by byte: still each once");
}

/// The hello's rows of notes §1.1, with the outcome of this reader.
#[test]
fn i_t1_the_table_of_odd_hellos_row_by_row() {
    let named = || Hello::named("daryn.online");
    let sni = |data: Vec<u8>| named().replaced(SERVER_NAME, data);
    let raw = |bytes: &[u8]| Said::Hello(Some(bytes.to_vec()), None);
    let long = [b'a'; 300];
    let rows: Vec<(&str, Hello, Said)> = vec![
        ("plain", named(), raw(b"daryn.online")),
        ("upper case", sni(server_name(b"DARYN.Online")), raw(b"DARYN.Online")),
        ("trailing dot", sni(server_name(b"daryn.online.")), raw(b"daryn.online.")),
        ("underscore", sni(server_name(b"a_b.daryn.online")), raw(b"a_b.daryn.online")),
        ("leading hyphen", sni(server_name(b"-a.kz")), raw(b"-a.kz")),
        ("UTF-8", sni(server_name("білім.қаз".as_bytes())), raw("білім.қаз".as_bytes())),
        ("NUL", sni(server_name(b"daryn.online\0.evil")), raw(b"daryn.online\0.evil")),
        ("space", sni(server_name(b"daryn online")), raw(b"daryn online")),
        ("300 bytes", sni(server_name(&long)), raw(&long)),
        ("IPv4 literal", sni(server_name(b"192.0.2.1")), raw(b"192.0.2.1")),
        ("two host_names", sni(server_names(&[(0, b"a.kz"), (0, b"b.kz")])), Said::Ambiguous),
        ("one host_name twice", sni(server_names(&[(0, b"a.kz"), (0, b"a.kz")])), Said::Ambiguous),
        ("two server_names", named().with(SERVER_NAME, server_name(b"b.kz")), Said::Ambiguous),
        (
            "two empty-handed server_names",
            named().with(SERVER_NAME, server_names(&[(9, b"x")])),
            Said::Ambiguous,
        ),
        ("strange type before", sni(server_names(&[(9, b"x"), (0, b"a.kz")])), raw(b"a.kz")),
        ("strange type behind", sni(server_names(&[(0, b"a.kz"), (9, b"")])), raw(b"a.kz")),
        ("strange type only", sni(server_names(&[(9, b"x")])), Said::Hello(None, None)),
        (
            "strange and two names",
            sni(server_names(&[(0, b"a.kz"), (9, b"x"), (0, b"b.kz")])),
            Said::Ambiguous,
        ),
        ("empty list", sni(vec![0, 0]), Said::Malformed("server_name_list")),
        ("empty extension", sni(vec![]), Said::Malformed("server_name_list")),
        ("empty name", sni(server_name(b"")), Said::Malformed("host_name")),
        ("list too long", sni(vec![0, 9, 0, 0, 1, b'a']), Said::Malformed("server_name_list")),
        ("list too short", sni(vec![0, 4, 0, 0, 1, b'a', 0]), Said::Malformed("server_name_list")),
        ("name too long", sni(vec![0, 4, 0, 0, 2, b'a']), Said::Malformed("host_name")),
        ("no name length", sni(vec![0, 2, 0, 0]), Said::Malformed("host_name")),
        ("no signature_algorithms", Hello::bare().with(SERVER_NAME, server_name(b"a.kz")), raw(b"a.kz")),
        ("bad renegotiation_info", named().with(0xff01, vec![9]), raw(b"daryn.online")),
        ("bad supported_versions", named().replaced(43, vec![]), raw(b"daryn.online")),
        ("an extension twice", named().with(13, vec![]), raw(b"daryn.online")),
        ("no server_name", Hello::bare().modern(), Said::Hello(None, None)),
        ("no extensions block", Hello { extensions: None, ..named() }, Said::Hello(None, None)),
        ("SSL 3.0 version", Hello { version: [3, 0], ..named() }, raw(b"daryn.online")),
        ("strange version", Hello { version: [9, 9], ..named() }, raw(b"daryn.online")),
        ("no session id", Hello { session_id: vec![], ..named() }, raw(b"daryn.online")),
        (
            "session id of 33",
            Hello { session_id: vec![1; 33], ..named() },
            Said::Malformed("legacy_session_id"),
        ),
        ("odd cipher list", Hello { suites: vec![1, 2, 3], ..named() }, Said::Malformed("cipher_suites")),
        ("no ciphers", Hello { suites: vec![], ..named() }, Said::Malformed("cipher_suites")),
        (
            "no compression",
            Hello { compression: vec![], ..named() },
            Said::Malformed("legacy_compression_methods"),
        ),
        ("three compressions", Hello { compression: vec![1, 64, 0], ..named() }, raw(b"daryn.online")),
    ];
    for (row, hello, said) in rows {
        println!("{row}");
        same_in_every_record_size(&hello.message(), &[said]);
    }
}

#[test]
fn i_t1_lengths_that_do_not_fit_are_malformed() {
    let good = Hello::named("daryn.online").body();
    let mut longer = good.clone();
    longer.push(0);
    let said = |body: &[u8]| drive(&records(&hellos::message(1, body), 16384));
    assert_eq!(said(&longer), [Said::Malformed("extensions")]);
    for end in 0..good.len() {
        // Where the extensions block is missing altogether the hello is one of old: complete and nameless.
        let nameless = end == 2 + 32 + 33 + 2 + 6 + 2;
        match said(&good[..end])[..] {
            [Said::Malformed(_)] => assert!(!nameless),
            [Said::Hello(None, None)] => assert!(nameless),
            ref other => panic!("body of {end}: {other:?}"),
        }
    }
}

#[test]
fn i_t1_second_message_in_the_same_record_is_fine() {
    let mut two = Hello::named("listed.edu").message();
    two.extend(hellos::message(11, &[0; 40]));
    same_in_every_record_size(&two, &[name("listed.edu")]);
}

#[test]
fn i_t1_what_is_no_tls_and_what_is_no_hello() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n"[..],
        &[0x80, 0x2e, 1, 0, 2, 0, 0x15],
        &[0x17, 3, 3, 0, 5],
        &[0x16, 2, 0],
        &[0],
    ] {
        same_in_every_cutting(bytes, &[Said::NotTls]);
    }
    let server_hello = hellos::message(2, &[3, 3, 0, 0]);
    same_in_every_cutting(&records(&server_hello, 16384), &[Said::Malformed("handshake type")]);
    let message = Hello::named("listed.edu").message();
    for other in [20, 21, 23, 24, 99] {
        let mut wire = record(22, &message[..60]);
        wire.extend(record(other, &[1, 0]));
        wire.extend(record(22, &message[60..]));
        same_in_every_cutting(&wire, &[Said::Malformed("record type")]);
    }
    for version in [[3, 0], [3, 1], [3, 3], [3, 4], [3, 0xff]] {
        let mut wire = Hello::named("listed.edu").wire();
        wire[1..3].copy_from_slice(&version);
        same_in_every_cutting(&wire, &[name("listed.edu")]);
    }
}

#[test]
fn i_t7_ech_is_seen_and_changes_no_name() {
    let outer = |id| Hello::named("listed.edu").with(hellos::ECH, hellos::grease_ech(id));
    for id in [0, 7, 255] {
        let ech = Some(Ech { config_id: Some(id) });
        same_in_every_cutting(&outer(id).wire(), &[Said::Hello(Some(b"listed.edu".to_vec()), ech)]);
    }
    for data in [vec![], vec![1], vec![0, 0, 1, 0, 1]] {
        let wire = Hello::named("listed.edu").with(hellos::ECH, data).wire();
        let ech = Some(Ech { config_id: None });
        same_in_every_cutting(&wire, &[Said::Hello(Some(b"listed.edu".to_vec()), ech)]);
    }
}

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

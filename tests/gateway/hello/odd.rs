//! What a hello may lack and what it may not: the table of odd hellos, lengths, other protocols, ECH.

use gateway::wire::tls::Ech;
use support::hellos::{self, Hello, SERVER_NAME, record, records, server_name, server_names};

use super::{Said, drive, name, same_in_every_cutting, same_in_every_record_size};

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

//! A steered name has what its origin has: what does not exist stays so, and nothing else of the origin's is told.

use std::net::{Ipv4Addr, SocketAddr};

use support::ask::*;
use support::client::*;
use support::unbound::{LISTED, Unbound};
use support::{PATIENCE, Setup, has};

use super::{OURS, authority, gateway};

/// What Unbound knows below a listed subtree, of every kind.
fn subtree() -> Unbound {
    let records = [
        "example. SOA ns.listed.example. admin.listed.example. 1 3600 600 86400 60",
        "listed.example. NS ns.listed.example.",
        "four.listed.example. 60 A 127.0.2.1",
        "six.listed.example. 60 AAAA 2001:db8::1",
        "both.listed.example. 60 A 127.0.2.1",
        "both.listed.example. 60 AAAA 2001:db8::1",
        "text.listed.example. 60 TXT words",
        "hinting.listed.example. 60 HTTPS 1 . alpn=h2 ipv4hint=127.0.2.1",
        "plain.listed.example. 60 HTTPS 1 . alpn=h2",
    ];
    let data: String = records.iter().map(|record| format!(" local-data: \"{record}\"\n")).collect();
    Unbound::start(&format!("server:\n local-zone: \"example.\" static\n{data}"))
}

const OURS_V6: &str = "2001:db8:5::5";

/// Answers to a question: through the gateway, and Unbound's own.
fn both_answers(unbound: &Unbound, address: SocketAddr, name: &str, kind: u16) -> (Vec<u8>, Vec<u8>) {
    let asked = query(3, &format!("{name}.listed.example"), kind);
    let own = ask(Ipv4Addr::LOCALHOST, unbound.address, &asked, PATIENCE).unwrap();
    (ask(subscriber(1), address, &asked, PATIENCE).unwrap(), own)
}

fn holds(answer: &[u8], bytes: &[u8]) -> bool {
    answer.windows(bytes.len()).any(|part| part == bytes)
}

#[test]
fn f46_what_does_not_exist_stays_so_and_what_exists_is_steered() {
    if !has("unbound") {
        return;
    }
    let unbound = subtree();
    let (gateway, address) = gateway(unbound.address, |setup| {
        setup.steered().set("dns", &format!("steer_addresses = [\"127.0.0.1\", \"{OURS_V6}\"]"))
    });
    let answers = |name: &str, kind| both_answers(&unbound, address, name, kind);
    for kind in [A, AAAA, HTTPS] {
        let (given, own) = answers("nowhere", kind);
        assert_eq!((rcode(&given), &given), (3, &own), "no such name");
        let (given, own) = answers("text", kind);
        assert_eq!((rcode(&given), &given), (0, &own), "no such record");
        assert_eq!(given[6..10], [0, 0, 0, 1], "with its SOA record");
    }
    let ours_v6 = OURS_V6.parse::<std::net::Ipv6Addr>().unwrap().octets();
    for (name, has_v4, has_v6) in [("four", true, false), ("six", false, true), ("both", true, true)] {
        for (kind, is_there, ours) in [(A, has_v4, &OURS[..]), (AAAA, has_v6, &ours_v6)] {
            let (given, own) = answers(name, kind);
            assert_eq!(
                (rcode(&given), given[7] == 1, holds(&given, ours)),
                (0, is_there, is_there),
                "{name} {kind}"
            );
            assert!(is_there || given == own, "{name} {kind}");
        }
    }
    gateway.stop();
}

/// Who keeps a CNAME asks for its target next, which nobody steers: of an alias nothing is told but what it has.
#[test]
fn f46_the_target_of_a_steered_alias_is_not_told() {
    const TARGET: &[u8] = b"\x03cdn\x08unlisted\x07example\0";
    let upstream = support::scripted::server(|query| {
        let mut reply = support::scripted::answered(query, [127, 0, 2, 1]);
        let end = reply.len() - 16;
        let address = reply.split_off(end);
        let length = u8::try_from(TARGET.len()).unwrap();
        reply.extend([&[0xc0, 12, 0, 5, 0, 1, 0, 0, 1, 0, 0, length], TARGET].concat());
        if query[end - 4..end - 2] == [0, 1] {
            reply.extend([TARGET, &address[2..]].concat());
            reply[7] = 2;
        }
        vec![(true, reply)]
    });
    let (gateway, address) = gateway(upstream, Setup::steered);
    let (known, stranger) = (subscriber(1), Ipv4Addr::new(127, 0, 3, 1));
    for kind in [A, AAAA, HTTPS] {
        let told = |from| ask(from, address, &query(3, LISTED, kind), PATIENCE).unwrap();
        assert!(holds(&told(stranger), TARGET), "{kind}");
        let given = told(known);
        assert!(!holds(&given, TARGET) && rcode(&given) == 0, "{kind}: {given:?}");
        assert_eq!(holds(&given, &OURS), kind == A, "{kind}");
        assert_eq!(authority(&given, LISTED), (kind != A).then_some((6, 7)), "{kind}");
    }
    gateway.stop();
}

/// With an address of ours of one family a site that has such is reached through it; one that has none is reached past us,
/// for nobody is cut off.
#[test]
fn f46_a_name_with_addresses_of_one_family_alone_is_reached_where_ours_are_of_the_other() {
    if !has("unbound") {
        return;
    }
    let unbound = subtree();
    let ours_v6 = OURS_V6.parse::<std::net::Ipv6Addr>().unwrap().octets();
    let families = [("127.0.0.1", A, &OURS[..], AAAA, "six"), (OURS_V6, AAAA, &ours_v6[..], A, "four")];
    for (ours, kind, bytes, other, alone) in families {
        let (gateway, address) = gateway(unbound.address, |setup| {
            setup.steered().set("dns", &format!("steer_addresses = [\"{ours}\"]"))
        });
        for round in 0..2 {
            let (given, own) = both_answers(&unbound, address, alone, other);
            assert_eq!(given, own, "{ours} {round}: its own");
            let (given, own) = both_answers(&unbound, address, alone, kind);
            assert_eq!(given, own, "{ours} {round}: there is none");
            // Whatever is asked first.
            let (given, _) = both_answers(&unbound, address, "both", other);
            let said = (rcode(&given), authority(&given, "both.listed.example"));
            assert_eq!(said, (0, Some((6, 7))), "{ours} {round}");
            let (given, _) = both_answers(&unbound, address, "both", kind);
            assert!(holds(&given, bytes), "{ours} {round}");
            let (given, own) = both_answers(&unbound, address, "nowhere", other);
            assert_eq!((rcode(&given), given), (3, own));
        }
        gateway.stop();
    }
}

/// An address is hinted at where the origin hints at one of its family.
#[test]
fn f46_a_steered_service_binding_hints_at_what_the_origin_has() {
    if !has("unbound") || !has("dig") {
        return;
    }
    let unbound = subtree();
    let (gateway, address) = gateway(unbound.address, |setup| {
        setup.steered().set("dns", &format!("steer_addresses = [\"127.0.0.1\", \"{OURS_V6}\"]"))
    });
    for (name, said) in [("hinting", "1 . alpn=\"h2\" ipv4hint=127.0.0.1"), ("plain", "1 . alpn=\"h2\"")] {
        let words = ["+short", &format!("{name}.listed.example"), "HTTPS"];
        assert_eq!(dig(subscriber(1), address, &words).trim(), said);
    }
    gateway.stop();
}
